//! What a certificate is for: DNS names, wildcards and IP addresses (RFC 8555 §9.7.7, RFC 8738).
//!
//! Invariant: an [`Identifier`] is always in canonical form (lower-case A-labels, no trailing
//! dot, one leading `*.` at most), so equality of values is equality of identifiers.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// One subject of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// A host name such as `www.example.com`.
    Dns(DnsName),
    /// `*.example.com`, held as `example.com`: covers names with exactly one more label.
    Wildcard(DnsName),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
}

/// A host name as it goes on the wire: lower-case letters, digits and hyphens in labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// The name without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not an identifier. `Display` says what to write instead where that is known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidIdentifier {
    /// Nothing was written.
    #[error("the name is empty")]
    Empty,
    /// A URL, path, port or e-mail address.
    #[error("`{0}` is not a bare host name: leave out scheme, port, path and `@`")]
    NotAHostName(String),
    /// A star that is not the whole first label.
    #[error(
        "`{0}` has a `*` that is not its whole first label: only `*.` at the start is a wildcard"
    )]
    MisplacedStar(String),
    /// A wildcard directly under a top-level label, such as `*.com`.
    #[error("`{0}` would cover a whole top-level domain; no CA issues that")]
    WildcardTooWide(String),
    /// Refused by IDNA processing (UTS #46).
    #[error("`{0}` is not a valid internationalised name")]
    Idna(String),
    /// A label that is empty, too long, or has characters other than letters, digits, hyphens.
    #[error("label `{label}` of `{name}` must be 1 to 63 letters, digits or inner hyphens")]
    Label {
        /// The whole name.
        name: String,
        /// The offending label.
        label: String,
    },
    /// More than 253 characters.
    #[error("the name has {0} characters; DNS allows 253")]
    TooLong(usize),
    /// Looks like an address, but is none.
    #[error("`{0}` ends in a number but is not an IP address")]
    NotAnAddress(String),
}

impl Identifier {
    /// The value sent to the CA in `newOrder` (RFC 8555 §7.1.4): wildcards with their `*.`.
    pub fn acme_value(&self) -> String {
        self.to_string()
    }

    /// The name a CA asks under when it validates: a wildcard without its `*.`.
    pub fn base(&self) -> String {
        match self {
            Self::Dns(name) | Self::Wildcard(name) => name.0.clone(),
            Self::Ip(address) => address.to_string(),
        }
    }

    /// Whether this is a wildcard.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Wildcard(_))
    }

    /// Whether a certificate for `self` is also good for `other` (RFC 6125 §6.4.3: one label).
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wildcard(base), Self::Dns(name)) => {
                name.0.split_once('.').is_some_and(|(_, parent)| parent == base.0)
            }
            _ => self == other,
        }
    }
}

impl FromStr for Identifier {
    type Err = InvalidIdentifier;

    /// Accepts what people write: upper case, a trailing dot, U-labels, `[::1]`.
    fn from_str(text: &str) -> Result<Self, InvalidIdentifier> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidIdentifier::Empty);
        }
        let unbracketed =
            text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = unbracketed.parse::<IpAddr>() {
            return Ok(Self::Ip(address));
        }
        if text.contains(['/', '@', ':', '[', ']']) || text.contains(char::is_whitespace) {
            return Err(InvalidIdentifier::NotAHostName(text.to_owned()));
        }
        match text.strip_prefix("*.") {
            Some(rest) => {
                let name = parse_dns(rest, text)?;
                if !name.0.contains('.') {
                    return Err(InvalidIdentifier::WildcardTooWide(text.to_owned()));
                }
                Ok(Self::Wildcard(name))
            }
            None => Ok(Self::Dns(parse_dns(text, text)?)),
        }
    }
}

fn parse_dns(name: &str, written: &str) -> Result<DnsName, InvalidIdentifier> {
    if name.contains('*') {
        return Err(InvalidIdentifier::MisplacedStar(written.to_owned()));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let ascii = idna::domain_to_ascii_cow(name.as_bytes(), idna::AsciiDenyList::EMPTY)
        .map_err(|_| InvalidIdentifier::Idna(written.to_owned()))?
        .to_ascii_lowercase();
    if ascii.is_empty() {
        return Err(InvalidIdentifier::Empty);
    }
    if ascii.len() > 253 {
        return Err(InvalidIdentifier::TooLong(ascii.len()));
    }
    if let Some(label) = ascii.split('.').find(|label| !is_ldh_label(label)) {
        return Err(InvalidIdentifier::Label { name: written.to_owned(), label: label.to_owned() });
    }
    let last = ascii.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidIdentifier::NotAnAddress(written.to_owned()));
    }
    Ok(DnsName(ascii))
}

fn is_ldh_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(&name.0),
            Self::Wildcard(name) => write!(f, "*.{}", name.0),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Identifier>().map_or_else(|e| format!("error: {e}"), |i| i.to_string())
    }

    #[test]
    fn canonical_form_is_lower_case_a_labels_without_trailing_dot() {
        assert_eq!(canonical("WWW.Example.COM."), "www.example.com");
        assert_eq!(canonical("bücher.example"), "xn--bcher-kva.example");
        assert_eq!(canonical("*.Bücher.example"), "*.xn--bcher-kva.example");
        assert_eq!(canonical("[2001:DB8::1]"), "2001:db8::1");
        assert_eq!(canonical("192.0.2.1"), "192.0.2.1");
        assert_eq!(canonical("localhost"), "localhost");
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("https://example.com", "scheme"),
            ("example.com:443", "port"),
            ("*.*.example.com", "first label"),
            ("www.*.example.com", "first label"),
            ("*.com", "top-level"),
            ("a..b", "label"),
            ("-a.example", "label"),
            ("under_score.example", "label"),
            ("10.0.0.256", "not an IP"),
            ("../../etc/passwd", "path"),
        ] {
            let said = canonical(text);
            assert!(said.starts_with("error: ") && said.contains(reason), "{text}: {said}");
        }
        let long = format!("{}.example", "a.".repeat(130));
        assert!(canonical(&long).contains("253"));
    }

    #[test]
    fn a_wildcard_covers_exactly_one_label() {
        let wildcard: Identifier = "*.example.com".parse().unwrap();
        let covers = |name: &str| wildcard.covers(&name.parse().unwrap());
        assert!(covers("www.example.com"));
        assert!(!covers("example.com"));
        assert!(!covers("a.b.example.com"));
        assert!(covers("*.example.com"));
    }
}
