//! Shows answers to challenges where a CA looks for them.
//!
//! Invariant: where an answer will be is known before it is put there ([`Solver::place`]), so that
//! it can be journaled first; taking away what is not there is no error.

pub mod http01;

use std::path::PathBuf;

use async_trait::async_trait;
use thiserror::Error;

use crate::disk::DiskError;
use crate::model::{ChallengeKind, Presented, Task};

pub use http01::{BindError, Http01Listener, Http01Webroot};

/// One way to answer challenges of one kind.
#[async_trait]
pub trait Solver: Send + Sync {
    /// The kind of challenge it answers.
    fn kind(&self) -> ChallengeKind;

    /// Where the answer to `task` will be.
    fn place(&self, task: &Task) -> Presented;

    /// Puts the answer there. May be repeated.
    async fn present(&self, task: &Task) -> Result<(), SolverError>;

    /// Takes an answer away; that it is not there is fine.
    async fn clean_up(&self, presented: &Presented) -> Result<(), SolverError>;
}

/// Why an answer could not be shown or taken away.
#[derive(Debug, Error)]
pub enum SolverError {
    /// The listener has no socket.
    #[error("the http-01 listener does not listen")]
    NotListening(#[source] BindError),
    /// The webroot is not there.
    #[error("webroot {} does not exist; it must be the document root of the web server", .0.display())]
    NoWebroot(PathBuf),
    /// The file system.
    #[error("the webroot cannot be used")]
    Disk(#[from] DiskError),
}
