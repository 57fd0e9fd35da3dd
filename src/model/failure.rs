//! What went wrong, in the form that is remembered on disk.
//!
//! Handling and reporting are apart: back-off and exit status depend on [`FailureClass`]
//! alone; `summary`, `causes` and `hint` are for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::identifier::Identifier;
use super::lineage::SpecDigest;
use super::time::Timestamp;

/// The kind of a failure: decides when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// Network, time-out, CA error 5xx: may pass by itself.
    Transient,
    /// The CA said when it will listen again; see [`Failure::not_before`].
    RateLimited,
    /// The CA looked and did not find our answer: our web server, DNS or firewall.
    Validation,
    /// The CA will not issue this: policy, CAA, blocked name.
    Rejected,
    /// The account is unusable: terms, external binding, deactivated.
    Account,
    /// The configuration cannot work as it is.
    Config,
    /// This machine: disk, permissions, hook.
    Local,
    /// A defect in this program.
    Bug,
}

impl FailureClass {
    /// The name used in records and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::RateLimited => "rate-limited",
            Self::Validation => "validation",
            Self::Rejected => "rejected",
            Self::Account => "account",
            Self::Config => "config",
            Self::Local => "local",
            Self::Bug => "bug",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the CA said about one identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The identifier concerned.
    pub identifier: Identifier,
    /// The CA's words, control characters escaped.
    pub problem: String,
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Kind; decides the back-off.
    pub class: FailureClass,
    /// When it failed.
    pub at: Timestamp,
    /// The other side's own earliest time for another attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// One line for people: the whole chain of causes, control characters escaped.
    pub summary: String,
    /// Per-identifier problems, if the CA named any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Failures in a row of one activity of one lineage. Removed by the first success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When the first of the row happened.
    pub since: Timestamp,
    /// How many in a row, at least 1.
    pub failures: u32,
    /// The latest.
    pub last: Failure,
    /// What was wanted at the time; a different wish waives the back-off.
    pub wanted: SpecDigest,
}

impl Trouble {
    /// `earlier` with one more failure, which happened while `wanted` was configured.
    ///
    /// The row starts afresh when the wish has changed in between.
    pub fn extend(earlier: Option<&Self>, last: Failure, wanted: SpecDigest) -> Self {
        match earlier.filter(|trouble| trouble.wanted == wanted) {
            Some(trouble) => Self {
                since: trouble.since,
                failures: trouble.failures.saturating_add(1),
                last,
                wanted,
            },
            None => Self { since: last.at, failures: 1, last, wanted },
        }
    }
}

/// Makes text from a CA, DNS or a hook safe to print: control characters become escapes, and
/// anything past `limit` characters is cut with an ellipsis.
pub fn printable(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for (n, character) in text.trim().chars().enumerate() {
        if n == limit {
            out.push('…');
            break;
        }
        match character {
            '\n' | '\r' | '\t' => out.push(' '),
            // Bidirectional overrides can make a terminal show other text than is there.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(character.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_from_a_ca_are_made_harmless() {
        assert_eq!(printable("a\x1b[31mred\nnext", 100), "a\\u{1b}[31mred next");
        assert_eq!(printable("abc", 2), "ab…");
        assert_eq!(printable("\u{202e}cba", 100), "\\u{202e}cba");
    }
}
