//! Challenges as the solvers see them: what to show, and what has been shown where.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::identifier::Identifier;

/// The challenge types this program can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChallengeKind {
    /// RFC 8555 §8.3.
    #[serde(rename = "http-01")]
    Http01,
}

impl ChallengeKind {
    /// The registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
        }
    }
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A challenge token that is safe as a file name and in a URL path.
///
/// RFC 8555 §8.3 allows base64url characters only; CAs that sent `../` have made other
/// clients write outside their webroot (CVE-2026-40611).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

/// The CA sent a token that RFC 8555 does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CA sent a challenge token that is not 16 to 128 base64url characters")]
pub struct InvalidToken;

impl Token {
    /// Accepts 16 to 128 characters of the base64url alphabet.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let is_base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (16..=128).contains(&text.len()) && text.bytes().all(is_base64url) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidToken)
        }
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Token {
    type Error = InvalidToken;

    fn try_from(text: String) -> Result<Self, InvalidToken> {
        Self::parse(&text)
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

/// One challenge to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What is being validated.
    pub identifier: Identifier,
    /// How.
    pub kind: ChallengeKind,
    /// The CA's token.
    pub token: Token,
    /// `token.thumbprint` (RFC 8555 §8.1): the bytes an http-01 validation must find.
    pub key_authorization: String,
}

/// Something a solver has put where a CA can see it. Written to the journal *before* it is put
/// there, so that a later run can take it away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// What is being validated.
    pub identifier: Identifier,
    /// How.
    pub kind: ChallengeKind,
    /// The solver's name in the configuration.
    pub solver: String,
    /// The CA's token.
    pub token: Token,
    /// Where it was put, for solvers whose settings may change in between: a directory for a
    /// webroot, nothing for a listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_not_base64url_are_refused() {
        assert!(Token::parse("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0").is_ok());
        for bad in
            ["", "short", "../../../../etc/cron.d/x", "aaaaaaaaaaaaaaaa.", "aaaaaaaaaaaaaaa\n"]
        {
            assert_eq!(Token::parse(bad), Err(InvalidToken), "{bad:?}");
        }
        assert_eq!(Token::parse(&"a".repeat(129)), Err(InvalidToken));
    }
}
