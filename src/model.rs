//! The vocabulary: plain values that every other module speaks in. RFC 8555's words, spelled out.
//!
//! Invariant: no I/O, no clock, no randomness; nothing here names another module of this crate.

pub mod certificate;
pub mod challenge;
pub mod failure;
pub mod identifier;
pub mod lineage;
pub mod secret;
pub mod time;

pub use certificate::{CertificateFacts, Generation, KeyKind};
pub use challenge::{ChallengeKind, InvalidToken, Presented, Task, Token};
pub use failure::{Cause, Failure, FailureClass, Trouble, printable};
pub use identifier::{DnsName, Identifier, InvalidIdentifier};
pub use lineage::{
    DeploymentDigest, GenerationId, InvalidName, IssuerName, LineageName, Request, Satisfy, Spec,
    SpecDigest,
};
pub use secret::Secret;
pub use time::{Clock, Timestamp, Validity, stable_hash};
