//! A lineage is one certificate through all its renewals: its name, what is wanted of it, and
//! the numbered generations it has had.
//!
//! Invariant: a [`LineageName`] is safe as a single path component and never comes from the
//! network.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::certificate::KeyKind;
use super::identifier::Identifier;
use super::time::stable_hash;

/// Longest lineage name, in bytes: leaves room for suffixes within a 255-byte file name.
const LONGEST_NAME: usize = 200;

/// The configured name of a certificate; a directory of this name holds its files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineageName(String);

/// The name breaks the rule for file-safe names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not usable as a name: write 1 to {LONGEST_NAME} letters, digits, `.`, `_` or `-`, \
     starting with a letter or digit"
)]
pub struct InvalidName(pub String);

impl LineageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name a certificate gets when none is configured: its first identifier, a wildcard
    /// without `*.`, an IPv6 address with `-` for `:`.
    pub fn default_for(identifier: &Identifier) -> Result<Self, InvalidName> {
        let mut text = identifier.base().replace(':', "-");
        if text.starts_with('-') {
            text.insert(0, '0');
        }
        text.parse()
    }
}

impl FromStr for LineageName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_file_safe(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }
}

fn is_file_safe(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl fmt::Display for LineageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for LineageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LineageName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The name of a CA in the configuration, such as `letsencrypt`. Same rule as a lineage name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IssuerName(String);

impl IssuerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IssuerName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_file_safe(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for IssuerName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<IssuerName> for String {
    fn from(name: IssuerName) -> Self {
        name.0
    }
}

impl fmt::Display for IssuerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of a generation within its lineage, counted from 1; four digits or more on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GenerationId(pub u32);

impl GenerationId {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Reads a directory name written by `Display`; anything else is `None`.
    pub fn from_directory_name(name: &str) -> Option<Self> {
        let id = Self(name.parse().ok()?);
        (id.0 > 0 && id.to_string() == name).then_some(id)
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

/// What the configuration wants of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name of the lineage.
    pub name: LineageName,
    /// What a certificate must match to be good enough: a mismatch means a new one.
    pub satisfy: Satisfy,
    /// What is asked for at the next issuance; a change by itself reissues nothing.
    pub request: Request,
    /// Identifies the wanted deployment (outputs and hooks): a change means deploying again.
    pub deployment: DeploymentDigest,
}

/// The half of a [`Spec`] whose mismatch is a reason to issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Satisfy {
    /// Wanted identifiers in the order written, without duplicates; never empty.
    pub identifiers: Vec<Identifier>,
    /// Wanted kind of key.
    pub key: KeyKind,
    /// The CA to issue from.
    pub issuer: IssuerName,
}

/// The half of a [`Spec`] that only shapes the next issuance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Certificate profile to ask the CA for (draft-ietf-acme-profiles).
    pub profile: Option<String>,
}

impl Spec {
    /// A digest of everything that decides whether an issuance can succeed. Back-off after a
    /// failure is waived when it differs from the digest at the time of the failure.
    pub fn issuance_digest(&self) -> SpecDigest {
        let identifiers: Vec<String> =
            self.satisfy.identifiers.iter().map(ToString::to_string).collect();
        let fixed = [
            self.satisfy.issuer.as_str(),
            self.satisfy.key.as_str(),
            self.request.profile.as_deref().unwrap_or_default(),
        ];
        SpecDigest(stable_hash(fixed.into_iter().chain(identifiers.iter().map(String::as_str))))
    }
}

/// See [`Spec::issuance_digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpecDigest(pub u64);

/// Identifies a set of outputs and hooks; see [`Spec::deployment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct DeploymentDigest(pub u64);

/// Both digests are hexadecimal strings in records: JSON numbers lose bits above 2^53.
macro_rules! hex_serde {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{:016x}", self.0))
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                u64::from_str_radix(&text, 16).map(Self).map_err(de::Error::custom)
            }
        }
    };
}

hex_serde!(SpecDigest);
hex_serde!(DeploymentDigest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "-flag", "a b", "a\0", "ä"] {
            assert!(bad.parse::<LineageName>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(201).parse::<LineageName>().is_err());
        assert!("www.example.com_2-b".parse::<LineageName>().is_ok());
    }

    #[test]
    fn default_name_drops_the_star_and_colons() {
        let name =
            |text: &str| LineageName::default_for(&text.parse().unwrap()).unwrap().to_string();
        assert_eq!(name("*.example.com"), "example.com");
        assert_eq!(name("2001:db8::1"), "2001-db8--1");
        assert_eq!(name("::1"), "0--1");
    }

    #[test]
    fn generation_numbers_survive_their_directory_name() {
        assert_eq!(GenerationId(7).to_string(), "0007");
        assert_eq!(GenerationId::from_directory_name("0007"), Some(GenerationId(7)));
        assert_eq!(GenerationId::from_directory_name("12345"), Some(GenerationId(12345)));
        for bad in ["7", "00007", "0000", "x", ".0007.tmp", "+007"] {
            assert_eq!(GenerationId::from_directory_name(bad), None, "{bad}");
        }
    }
}
