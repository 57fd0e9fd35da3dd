//! From a certificate request to a chain, by way of a CA.
//!
//! Invariant: an issuer sees a request, never the private key of a certificate, and never a path.
//! What must outlive the process goes through the ports [`Journal`] and [`Vault`] before the CA
//! hears of it.

pub mod acme;

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::model::{Cause, ChallengeKind, FailureClass, Identifier, Secret, Task, Timestamp};
use crate::pki::Chain;

/// Tells a job to come to an end at its next resting place.
pub type Stop = CancellationToken;

/// A CA.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// Gets a certificate. The chain has been parsed but not inspected.
    ///
    /// Challenge answers presented through `journal` are *not* taken away here: the caller does
    /// that, whatever the outcome.
    async fn issue(
        &self,
        request: IssueRequest<'_>,
        journal: &dyn Journal,
        stop: &Stop,
    ) -> Result<Chain, IssueError>;
}

/// What is to be issued.
#[derive(Clone, Debug)]
pub struct IssueRequest<'a> {
    /// The identifiers of the order.
    pub identifiers: &'a [Identifier],
    /// The certificate request, DER, for exactly these identifiers.
    pub csr: &'a [u8],
    /// Certificate profile to ask for.
    pub profile: Option<&'a str>,
    /// URL of an order that was opened earlier for the same request.
    pub order: Option<&'a str>,
}

/// Where an issuance writes what a later run needs, and how it gets challenges answered.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Notes the URL of the order; durable when this returns.
    async fn order_opened(&self, url: &str) -> Result<(), JournalError>;

    /// The challenge type that can be answered for this identifier.
    fn challenge_for(&self, identifier: &Identifier) -> ChallengeKind;

    /// Notes, then shows, the answers to challenges.
    async fn present(&self, tasks: &[Task]) -> Result<(), JournalError>;
}

/// Where the account at the CA is kept.
#[async_trait]
pub trait Vault: Send + Sync {
    /// The account, if there is one.
    async fn load(&self) -> Result<Option<AccountState>, JournalError>;

    /// Keeps the account; durable when this returns.
    async fn save(&self, state: &AccountState) -> Result<(), JournalError>;
}

/// An account at a CA, confirmed or about to be made.
#[derive(Clone, Debug)]
pub struct AccountState {
    /// Private key, PKCS #8 DER.
    pub key: Secret,
    /// URL of the account; `None` until the CA has confirmed it.
    pub url: Option<String>,
    /// Key identifier of the external account binding it was made with.
    pub external_account: Option<String>,
}

/// This machine could not do what the issuance needed.
#[derive(Debug, Error)]
#[error("{summary}")]
pub struct JournalError {
    /// The whole chain of causes in one line.
    pub summary: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Why there is no chain.
#[derive(Debug, Error)]
pub enum IssueError {
    /// Told to stop; the order can be resumed.
    #[error("stopped")]
    Stopped,
    /// It did not work.
    #[error(transparent)]
    Failed(Box<IssueFailure>),
}

/// A failed issuance, in the form that is remembered.
#[derive(Clone, Debug, Error)]
#[error("{summary}")]
pub struct IssueFailure {
    /// Kind; decides the back-off.
    pub class: FailureClass,
    /// How long the CA asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Until when the CA asks to be left alone, where it said that in words.
    pub not_before: Option<Timestamp>,
    /// One printable line.
    pub summary: String,
    /// Problems of single identifiers.
    pub causes: Vec<Cause>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the order can never become a certificate.
    pub order_is_dead: bool,
}

impl IssueFailure {
    /// A failure about which only class and text are known.
    pub fn new(class: FailureClass, summary: impl Into<String>) -> Self {
        let summary = summary.into();
        Self {
            class,
            retry_after: None,
            not_before: None,
            summary,
            causes: Vec::new(),
            hint: None,
            order_is_dead: false,
        }
    }

    /// With a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// With the order given up.
    #[must_use]
    pub fn dead(self) -> Self {
        Self { order_is_dead: true, ..self }
    }
}

impl From<IssueFailure> for IssueError {
    fn from(failure: IssueFailure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<JournalError> for IssueError {
    fn from(error: JournalError) -> Self {
        let hint = error.hint;
        IssueFailure { hint, ..IssueFailure::new(FailureClass::Local, error.summary) }.into()
    }
}
