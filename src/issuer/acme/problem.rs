//! What a CA's refusal means: problem documents (RFC 7807, RFC 8555 §6.7) to failure classes.
//!
//! Every byte of a problem is hostile: texts are made printable and cut before they leave here.

use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::model::{Cause, FailureClass, Identifier, Timestamp, printable};

use crate::issuer::IssueFailure;

const ACME: &str = "urn:ietf:params:acme:error:";

/// Longest text of a CA that is kept, in characters.
const LONGEST: usize = 600;

/// Most subproblems that are kept.
const MOST_SUBPROBLEMS: usize = 100;

/// A problem document, or what stands in for one.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Problem {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    instance: Option<String>,
    #[serde(default)]
    subproblems: Vec<Subproblem>,
}

#[derive(Clone, Debug, Deserialize)]
struct Subproblem {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    identifier: Option<SubproblemIdentifier>,
}

#[derive(Clone, Debug, Deserialize)]
struct SubproblemIdentifier {
    value: String,
}

/// An answer of a CA that is not a success.
#[derive(Clone, Debug, Error)]
#[error("{}", self.words())]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// What the CA said.
    pub(super) problem: Problem,
    /// How long it asks to be left alone, clamped.
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// From status and body. A body that is no problem document, such as a load balancer's HTML,
    /// is replaced by the status.
    pub(super) fn new(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let problem = serde_json::from_slice(body).unwrap_or_default();
        Self { status, problem, retry_after }
    }

    /// Whether this is the error of that name (RFC 8555 §6.7), such as `badNonce`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.problem.name() == Some(name)
    }

    fn words(&self) -> String {
        let said = self.problem.words();
        if said.is_empty() { format!("HTTP status {}", self.status) } else { said }
    }

    /// What this means for an issuance.
    pub(super) fn into_failure(self, doing: &str) -> IssueFailure {
        let class = self.class();
        let mut failure = IssueFailure::new(class, format!("{doing}: {}", self.words()));
        failure.retry_after = self.retry_after;
        failure.not_before = self.problem.retry_after_in_words();
        failure.causes = self.problem.causes();
        failure.hint = self.hint();
        // What is rejected stays rejected: that order will not come to anything.
        failure.order_is_dead = class == FailureClass::Rejected;
        failure
    }

    fn class(&self) -> FailureClass {
        if self.problem.unpause_url().is_some() {
            return FailureClass::Rejected;
        }
        match self.problem.class() {
            Some(class) => class,
            None if self.status == 429 => FailureClass::RateLimited,
            None if self.status >= 500 || self.status == 408 => FailureClass::Transient,
            None => FailureClass::Rejected,
        }
    }

    fn hint(&self) -> Option<String> {
        let problem = &self.problem;
        if let Some(url) = problem.unpause_url() {
            return Some(format!("the CA has paused this account and name; open {url}"));
        }
        match problem.name()? {
            "externalAccountRequired" => Some(
                "this CA wants an account of its own: get an EAB pair there and write it under \
                 `issuers: … eab: {kid: …, hmac_key: {file: …}}`"
                    .to_owned(),
            ),
            "userActionRequired" => problem
                .instance
                .as_deref()
                .map(|url| format!("a person has to open {} and agree", printable(url, LONGEST))),
            "accountDoesNotExist" => {
                Some("the CA does not know the account; it is registered again".to_owned())
            }
            "caa" => Some("a CAA record forbids this CA; add it to the record".to_owned()),
            "invalidProfile" => {
                Some("write a profile that the CA's directory lists, or none".to_owned())
            }
            _ => None,
        }
    }
}

impl Problem {
    /// From a problem inside another object, as instant-acme hands it over.
    pub(super) fn from_library(problem: &instant_acme::Problem) -> Self {
        Self {
            kind: problem.r#type.clone(),
            title: None,
            detail: problem.detail.clone(),
            instance: None,
            subproblems: problem
                .subproblems
                .iter()
                .map(|subproblem| Subproblem {
                    kind: subproblem.r#type.clone(),
                    detail: subproblem.detail.clone(),
                    identifier: subproblem.identifier.as_ref().and_then(|identifier| {
                        let value = match identifier {
                            instant_acme::Identifier::Dns(name) => name.clone(),
                            instant_acme::Identifier::Ip(address) => address.to_string(),
                            _ => return None,
                        };
                        Some(SubproblemIdentifier { value })
                    }),
                })
                .collect(),
        }
    }

    /// The name below `urn:ietf:params:acme:error:`.
    pub(super) fn name(&self) -> Option<&str> {
        self.kind.as_deref()?.strip_prefix(ACME)
    }

    /// Type and detail as one printable line; empty if there is neither.
    pub(super) fn words(&self) -> String {
        words(self.kind.as_deref(), self.detail.as_deref().or(self.title.as_deref()))
    }

    /// The class by the error's name; `None` if it has none that RFC 8555 knows.
    pub(super) fn class(&self) -> Option<FailureClass> {
        Some(match self.name()? {
            "badNonce" | "serverInternal" | "orderNotReady" => FailureClass::Transient,
            "rateLimited" => FailureClass::RateLimited,
            "connection" | "dns" | "incorrectResponse" | "tls" | "unauthorized" => {
                FailureClass::Validation
            }
            "accountDoesNotExist"
            | "externalAccountRequired"
            | "userActionRequired"
            | "invalidContact"
            | "unsupportedContact" => FailureClass::Account,
            "invalidProfile" => FailureClass::Config,
            "badSignatureAlgorithm" => FailureClass::Bug,
            "caa"
            | "rejectedIdentifier"
            | "unsupportedIdentifier"
            | "badCSR"
            | "badPublicKey"
            | "malformed"
            | "compound"
            | "conflict" => FailureClass::Rejected,
            _ => return None,
        })
    }

    /// Problems of single identifiers.
    pub(super) fn causes(&self) -> Vec<Cause> {
        self.subproblems
            .iter()
            .take(MOST_SUBPROBLEMS)
            .filter_map(|subproblem| {
                let identifier =
                    subproblem.identifier.as_ref()?.value.parse::<Identifier>().ok()?;
                let problem = words(subproblem.kind.as_deref(), subproblem.detail.as_deref());
                Some(Cause { identifier, problem })
            })
            .collect()
    }

    /// Let's Encrypt's "paused" answer carries the way out in its text only.
    fn unpause_url(&self) -> Option<String> {
        let detail = self.detail.as_deref()?;
        let start = detail.find("https://")?;
        let url: &str =
            detail.get(start..)?.split(|c: char| c.is_whitespace() || c == '"').next()?;
        let is_unpause = detail.contains("paused") && url.contains("unpause");
        is_unpause.then(|| printable(url.trim_end_matches(['.', ',']), LONGEST))
    }

    /// Boulder puts the end of a limit into the text: `retry after 2026-11-24 07:00:00 UTC`.
    fn retry_after_in_words(&self) -> Option<Timestamp> {
        let (_, rest) = self.detail.as_deref()?.split_once("retry after ")?;
        Timestamp::parse(&format!("{}T{}Z", rest.get(..10)?, rest.get(11..19)?))
    }
}

fn words(kind: Option<&str>, detail: Option<&str>) -> String {
    let name = kind.map(|kind| kind.strip_prefix(ACME).unwrap_or(kind));
    match (name.filter(|name| *name != "about:blank"), detail) {
        (Some(name), Some(detail)) => printable(&format!("{name}: {detail}"), LONGEST),
        (Some(text), None) | (None, Some(text)) => printable(text, LONGEST),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> IssueFailure {
        Refusal::new(status, body.as_bytes(), None).into_failure("new order")
    }

    #[test]
    fn html_of_a_load_balancer_becomes_its_status() {
        let failure = refusal(503, "<html>Service Unavailable</html>");
        assert_eq!(failure.class, FailureClass::Transient);
        assert_eq!(failure.summary, "new order: HTTP status 503");
    }

    #[test]
    fn times_in_words_are_understood() {
        let body = r#"{"type":"urn:ietf:params:acme:error:rateLimited",
            "detail":"too many, retry after 2026-11-25 07:00:01 UTC: see x"}"#;
        assert_eq!(refusal(429, body).not_before, Timestamp::parse("2026-11-25T07:00:01Z"));
    }

    #[test]
    fn a_pause_shows_the_way_out() {
        let body = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":
            "Your account is temporarily prevented from requesting certificates for a.example: it is
            paused. Visit: https://portal.example/unpause?jwt=abc."}"#;
        let failure = refusal(429, &body.replace('\n', " "));
        assert_eq!(failure.class, FailureClass::Rejected);
        assert!(failure.hint.unwrap().ends_with("https://portal.example/unpause?jwt=abc"));
    }

    #[test]
    fn the_culprit_among_many_names_is_named() {
        let body = r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"policy",
            "subproblems":[{"type":"urn:ietf:params:acme:error:rejectedIdentifier",
            "detail":"blocked\u001b[31m","identifier":{"type":"dns","value":"bad.example"}}]}"#;
        let failure = refusal(400, body);
        assert_eq!(failure.class, FailureClass::Rejected);
        assert_eq!(failure.causes[0].identifier.to_string(), "bad.example");
        assert_eq!(failure.causes[0].problem, "rejectedIdentifier: blocked\\u{1b}[31m");
    }

    #[test]
    fn garbage_is_survived() {
        for body in ["", "null", "[]", "{\"type\":7}", "\u{0}\u{1}"] {
            assert_eq!(refusal(500, body).class, FailureClass::Transient);
            assert_eq!(refusal(400, body).class, FailureClass::Rejected);
        }
    }
}
