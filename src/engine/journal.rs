//! The issuer's two ports, kept by the store: the journal of one issuance, the vault of one
//! account.
//!
//! Invariant: an answer that outlives this process is journaled before it is shown, and leaves the
//! journal only when it has been taken away.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use tokio::sync::Mutex;

use crate::error::Chain;
use crate::issuer::{AccountState, Journal, JournalError, Vault};
use crate::model::{ChallengeKind, Identifier, IssuerName, LineageName, Presented, Secret, Task};
use crate::solver::Solver;
use crate::store::{AccountRecord, Intent, Store, StoreError};

/// How long taking answers away may last.
const CLEAN_UP_TIME: Duration = Duration::from_secs(20);

/// The journal of one issuance.
pub(super) struct StoreJournal {
    store: Arc<dyn Store>,
    name: LineageName,
    solver: Arc<dyn Solver>,
    entries: Mutex<Entries>,
}

struct Entries {
    intent: Intent,
    /// Everything shown by this process, what needs no journal included.
    shown: Vec<Presented>,
}

impl StoreJournal {
    /// Continues the journal of an issuance that [`Store::begin`] has begun.
    pub(super) fn new(
        store: Arc<dyn Store>,
        name: LineageName,
        solver: Arc<dyn Solver>,
        intent: Intent,
    ) -> Self {
        let shown = intent.presented.clone();
        Self { store, name, solver, entries: Mutex::new(Entries { intent, shown }) }
    }

    /// Takes away everything that was shown, whatever became of the issuance. What cannot be
    /// taken away stays in the journal for the next pass.
    pub(super) async fn clean_up(&self) {
        let mut entries = self.entries.lock().await;
        let taken_away = take_away(self.solver.as_ref(), &entries.shown).await;
        entries.shown.retain(|presented| !taken_away.contains(presented));
        let before = entries.intent.presented.len();
        entries.intent.presented.retain(|presented| !taken_away.contains(presented));
        if entries.intent.presented.len() != before
            && let Err(error) = self.store.save_intent(&self.name, &entries.intent).await
        {
            tracing::warn!(error = %Chain(&error), "cannot update the journal, retrying");
        }
    }
}

/// Takes answers away; returns those that are gone.
pub(super) async fn take_away(solver: &dyn Solver, shown: &[Presented]) -> Vec<Presented> {
    let mut gone = Vec::with_capacity(shown.len());
    for presented in shown {
        match tokio::time::timeout(CLEAN_UP_TIME, solver.clean_up(presented)).await {
            Ok(Ok(())) => gone.push(presented.clone()),
            Ok(Err(error)) => tracing::warn!(
                identifier = %presented.identifier, error = %Chain(&error),
                "cannot take a challenge answer away, retrying"
            ),
            Err(_) => tracing::warn!(
                identifier = %presented.identifier,
                "taking a challenge answer away takes too long, retrying"
            ),
        }
    }
    gone
}

#[async_trait]
impl Journal for StoreJournal {
    async fn order_opened(&self, url: &str) -> Result<(), JournalError> {
        let mut entries = self.entries.lock().await;
        entries.intent.order = Some(url.to_owned());
        self.store.save_intent(&self.name, &entries.intent).await.map_err(|e| local(&e))
    }

    fn challenge_for(&self, _identifier: &Identifier) -> ChallengeKind {
        self.solver.kind()
    }

    async fn present(&self, tasks: &[Task]) -> Result<(), JournalError> {
        let mut entries = self.entries.lock().await;
        let places: Vec<Presented> = tasks.iter().map(|task| self.solver.place(task)).collect();
        // What is only in this process's memory is gone with it and needs no journal.
        let lasting = places.iter().filter(|presented| presented.place.is_some());
        let new: Vec<Presented> =
            lasting.filter(|place| !entries.intent.presented.contains(place)).cloned().collect();
        if !new.is_empty() {
            entries.intent.presented.extend(new);
            let saved = self.store.save_intent(&self.name, &entries.intent).await;
            saved.map_err(|error| local(&error))?;
        }
        for (task, presented) in tasks.iter().zip(places) {
            entries.shown.push(presented);
            self.solver.present(task).await.map_err(|error| JournalError {
                summary: format!("showing the answer for {}: {}", task.identifier, Chain(&error)),
                hint: None,
            })?;
        }
        Ok(())
    }
}

fn local(error: &StoreError) -> JournalError {
    JournalError { summary: Chain(error).to_string(), hint: None }
}

/// The account at one CA.
#[derive(Debug)]
pub struct StoreVault {
    store: Arc<dyn Store>,
    issuer: IssuerName,
    directory: String,
}

impl StoreVault {
    /// The vault for the account at the CA with this directory URL.
    pub fn new(store: Arc<dyn Store>, issuer: IssuerName, directory: String) -> Self {
        Self { store, issuer, directory }
    }
}

#[async_trait]
impl Vault for StoreVault {
    async fn load(&self) -> Result<Option<AccountState>, JournalError> {
        let record = self.store.account(&self.issuer, &self.directory).await;
        let Some(record) = record.map_err(|error| local(&error))? else { return Ok(None) };
        let key = BASE64_STANDARD.decode(&record.key).map_err(|_| JournalError {
            summary: format!("the account key for {} is damaged", self.issuer),
            hint: Some("restore the file from a backup, or remove it to register anew".to_owned()),
        })?;
        Ok(Some(AccountState {
            key: Secret::new(key),
            url: record.url,
            external_account: record.external_account,
        }))
    }

    async fn save(&self, state: &AccountState) -> Result<(), JournalError> {
        let record = AccountRecord {
            directory: self.directory.clone(),
            key: BASE64_STANDARD.encode(state.key.expose()),
            url: state.url.clone(),
            external_account: state.external_account.clone(),
        };
        self.store.save_account(&self.issuer, &record).await.map_err(|error| local(&error))
    }
}
