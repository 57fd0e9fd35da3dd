//! What is remembered: records, issuances under way, generations, and which generation is live.
//!
//! The interface has no paths and no clock. Invariant for every adapter: an operation that
//! returned `Ok` survives a power cut, and one that did not has changed nothing that a reader of
//! `live/` can see.

mod dir;
mod record;

use std::collections::BTreeMap;

use async_trait::async_trait;
use thiserror::Error;

use crate::disk::{Access, DiskError, LockError};
use crate::model::{
    Generation, GenerationId, Identifier, IssuerName, KeyKind, LineageName, Secret, Timestamp,
};
use crate::pki::Chain;
use crate::plan::LiveGeneration;

pub use dir::DirStore;
pub use record::{AccountRecord, Attempt, Intent, Outcome, Record};

/// A place that remembers. One process uses it for writing at a time.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Everything held, for every lineage of which anything is known; an error inside is that
    /// lineage's alone. Sweeps what earlier runs left behind.
    async fn holdings(&self) -> Result<Holdings, StoreError>;

    /// Everything held of one lineage.
    async fn holding(&self, name: &LineageName) -> Result<Holding, StoreError>;

    /// Replaces the record of a lineage.
    async fn save_record(&self, name: &LineageName, record: &Record) -> Result<(), StoreError>;

    /// Begins an issuance: key and intent are durable when this returns. Replaces an earlier one.
    async fn begin(
        &self,
        name: &LineageName,
        intent: &Intent,
        key: &Secret,
    ) -> Result<(), StoreError>;

    /// The issuance under way with its key (PEM), if there is one.
    async fn pending(&self, name: &LineageName) -> Result<Option<(Intent, Secret)>, StoreError>;

    /// Journals progress of the issuance under way.
    async fn save_intent(&self, name: &LineageName, intent: &Intent) -> Result<(), StoreError>;

    /// Forgets the issuance under way, its key included; that there is none is fine.
    async fn abandon(&self, name: &LineageName) -> Result<(), StoreError>;

    /// Writes the next generation, complete and durable, and forgets the issuance under way.
    async fn commit(
        &self,
        name: &LineageName,
        new: &NewGeneration<'_>,
    ) -> Result<Generation, StoreError>;

    /// The files of a generation.
    async fn bundle(&self, name: &LineageName, id: GenerationId) -> Result<Bundle, StoreError>;

    /// Makes a generation the live one, by one atomic step.
    async fn switch(&self, name: &LineageName, id: GenerationId) -> Result<(), StoreError>;

    /// Removes generations; those that are not there are no error.
    async fn prune(&self, name: &LineageName, ids: &[GenerationId]) -> Result<(), StoreError>;

    /// The account at a CA, identified by the URL of its directory.
    async fn account(
        &self,
        issuer: &IssuerName,
        directory: &str,
    ) -> Result<Option<AccountRecord>, StoreError>;

    /// Replaces the account at a CA.
    async fn save_account(
        &self,
        issuer: &IssuerName,
        account: &AccountRecord,
    ) -> Result<(), StoreError>;

    /// Keeps something that was refused, for people to look at.
    async fn quarantine(&self, label: &str, content: &[u8]) -> Result<(), StoreError>;
}

/// Holdings by lineage.
pub type Holdings = BTreeMap<LineageName, Result<Holding, StoreError>>;

/// Everything held of one lineage.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    /// What is remembered; default if nothing is.
    pub record: Record,
    /// The newest complete generation.
    pub newest: Option<Generation>,
    /// What `live/NAME` resolves to.
    pub live: Option<LiveGeneration>,
    /// All complete generations, ascending.
    pub generations: Vec<GenerationId>,
    /// The issuance under way.
    pub intent: Option<Intent>,
}

/// What [`Store::commit`] turns into a generation.
#[derive(Debug)]
pub struct NewGeneration<'a> {
    /// The key, PEM.
    pub key: &'a Secret,
    /// The identifiers that were ordered.
    pub ordered: &'a [Identifier],
    /// The inspected chain.
    pub chain: &'a Chain,
    /// Kind of the key.
    pub kind: KeyKind,
    /// The CA.
    pub issuer: &'a IssuerName,
    /// Profile that was asked for.
    pub profile: Option<&'a str>,
    /// The present time.
    pub now: Timestamp,
    /// Group that may read the files; `None`: the owner alone.
    pub group: Option<&'a str>,
}

/// The files of a generation, PEM.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// `privkey.pem`
    pub privkey: Secret,
    /// `cert.pem`: the leaf.
    pub cert: Vec<u8>,
    /// `chain.pem`: everything after the leaf.
    pub chain: Vec<u8>,
    /// `fullchain.pem`: leaf and chain.
    pub fullchain: Vec<u8>,
    /// `combined.pem`: leaf, chain, key.
    pub combined: Secret,
}

/// Why something could not be remembered or recalled.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file system.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process has the state directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Written by a newer version of this program.
    #[error("{what} has layout version {found}; this program knows up to {known}: upgrade it")]
    TooNew {
        /// What was read.
        what: String,
        /// Its version.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// Content does not match its checksum, or is not what it should be.
    #[error("{what} is damaged: {how}")]
    Damaged {
        /// What was read.
        what: String,
        /// What is wrong with it.
        how: String,
    },
    /// The background thread doing the work died.
    #[error("disk work was interrupted")]
    Interrupted,
}

/// Access of key files: 0600, or 0640 with a group.
fn key_access(group: Option<&str>) -> Access {
    Access {
        mode: if group.is_some() { 0o640 } else { 0o600 },
        owner: None,
        group: group.map(str::to_owned),
    }
}
