//! The state directory: see ARCHITECTURE.md for its layout, which is a contract.
//!
//! Invariant: a generation directory has its final name only when it is complete and durable; a
//! pending directory likewise. Temporary names belong to nobody once their process has died.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::disk::{Access, Dir, Kind, StateLock, TEMPORARY_PREFIX};
use crate::model::{Generation, GenerationId, IssuerName, LineageName, Secret, printable};
use crate::pki::sha256_hex;
use crate::plan::LiveGeneration;

use super::record::{self, AccountRecord, Intent, Record};
use super::{Bundle, Holding, Holdings, NewGeneration, Store, StoreError, key_access};

/// Layout of the whole directory; a newer one is refused.
const LAYOUT: u32 = 1;

/// Largest record, intent, account or `meta.json` read.
const LARGEST_RECORD: usize = 1 << 20;

/// Largest PEM file read back.
const LARGEST_PEM: usize = 512 << 10;

/// Inner directories may be traversed but not listed by others: whether anyone gets this far is
/// the state root's mode, 0700 unless the administrator opens it for a group.
const TRAVERSABLE: u32 = 0o711;
const PRIVATE: u32 = 0o700;

/// A [`Store`] in a directory of this machine.
#[derive(Clone, Debug)]
pub struct DirStore {
    tree: Arc<Tree>,
}

#[derive(Debug)]
struct Tree {
    root: Dir,
    live: Dir,
    archive: Dir,
    pending: Dir,
    records: Dir,
    accounts: Dir,
    quarantine: Dir,
    /// Only the holder of the lock repairs.
    lock: Option<StateLock>,
}

impl DirStore {
    /// Opens a state directory for this process alone, making it if it is not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let root = Dir::open_or_create(path, PRIVATE)?;
        let lock = StateLock::acquire(&root)?;
        let version = root.read("version", 64)?;
        if let Some(text) = &version {
            check_layout(text)?;
        }
        let tree = Tree::make(root, Some(lock))?;
        if version.is_none() {
            // Last: whoever reads beside us takes it as the sign that the rest is there.
            tree.root.replace("version", format!("{LAYOUT}\n").as_bytes(), &private())?;
        }
        Ok(Self { tree: Arc::new(tree) })
    }

    /// Opens a state directory for reading beside a process that may be writing. `None` if there
    /// is none.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>, StoreError> {
        let root = match Dir::open(path) {
            Ok(root) => root,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(text) = root.read("version", 64)? else { return Ok(None) };
        check_layout(&text)?;
        Ok(Some(Self { tree: Arc::new(Tree::find(root)?) }))
    }

    /// Runs disk work on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let tree = Arc::clone(&self.tree);
        tokio::task::spawn_blocking(move || work(&tree))
            .await
            .unwrap_or(Err(StoreError::Interrupted))
    }
}

fn check_layout(text: &[u8]) -> Result<(), StoreError> {
    let text = String::from_utf8_lossy(text);
    match text.trim().parse() {
        Ok(found) if found <= LAYOUT => Ok(()),
        Ok(found) => {
            let what = "the state directory".to_owned();
            Err(StoreError::TooNew { what, found, known: LAYOUT })
        }
        Err(_) => Err(StoreError::Damaged {
            what: "the file `version` of the state directory".to_owned(),
            how: printable(&text, 40),
        }),
    }
}

#[async_trait]
impl Store for DirStore {
    async fn holdings(&self) -> Result<Holdings, StoreError> {
        self.blocking(Tree::holdings).await
    }

    async fn holding(&self, name: &LineageName) -> Result<Holding, StoreError> {
        let name = name.clone();
        self.blocking(move |tree| tree.holding(&name)).await
    }

    async fn save_record(&self, name: &LineageName, record: &Record) -> Result<(), StoreError> {
        let file = format!("{name}.json");
        let content = record::seal(&file, record)?;
        self.blocking(move |tree| Ok(tree.records.replace(&file, &content, &private())?)).await
    }

    async fn begin(
        &self,
        name: &LineageName,
        intent: &Intent,
        key: &Secret,
    ) -> Result<(), StoreError> {
        let (name, key) = (name.clone(), key.clone());
        let intent = record::seal("intent.json", intent)?;
        self.blocking(move |tree| tree.begin(name.as_str(), &intent, &key)).await
    }

    async fn pending(&self, name: &LineageName) -> Result<Option<(Intent, Secret)>, StoreError> {
        let name = name.clone();
        self.blocking(move |tree| {
            let Some(dir) = tree.pending.try_sub(name.as_str())? else { return Ok(None) };
            let (intent, key) =
                (dir.read("intent.json", LARGEST_RECORD)?, dir.read("privkey.pem", LARGEST_PEM)?);
            let (Some(intent), Some(key)) = (intent, key) else { return Ok(None) };
            Ok(Some((record::open("intent.json", &intent)?, Secret::new(key))))
        })
        .await
    }

    async fn save_intent(&self, name: &LineageName, intent: &Intent) -> Result<(), StoreError> {
        let name = name.clone();
        let content = record::seal("intent.json", intent)?;
        self.blocking(move |tree| {
            let dir = tree.pending.sub(name.as_str())?;
            Ok(dir.replace("intent.json", &content, &private())?)
        })
        .await
    }

    async fn abandon(&self, name: &LineageName) -> Result<(), StoreError> {
        let name = name.clone();
        self.blocking(move |tree| tree.abandon(name.as_str())).await
    }

    async fn commit(
        &self,
        name: &LineageName,
        new: &NewGeneration<'_>,
    ) -> Result<Generation, StoreError> {
        let files = Files {
            bundle: Bundle {
                privkey: new.key.clone(),
                cert: new.chain.leaf_pem(),
                chain: new.chain.rest_pem(),
                fullchain: new.chain.full_pem(),
                combined: Secret::new([&new.chain.full_pem(), new.key.expose()].concat()),
            },
            group: new.group.map(str::to_owned),
        };
        let generation = Generation {
            id: GenerationId(0),
            issuer: new.issuer.clone(),
            key: new.kind,
            ordered: BTreeSet::new(),
            profile: new.profile.map(str::to_owned),
            issued_at: new.now,
            facts: new.chain.facts().clone(),
        };
        let generation =
            Generation { ordered: new.ordered.iter().cloned().collect(), ..generation };
        let name = name.clone();
        self.blocking(move |tree| tree.commit(name.as_str(), generation, &files)).await
    }

    async fn bundle(&self, name: &LineageName, id: GenerationId) -> Result<Bundle, StoreError> {
        let name = name.clone();
        self.blocking(move |tree| tree.bundle(name.as_str(), id)).await
    }

    async fn switch(&self, name: &LineageName, id: GenerationId) -> Result<(), StoreError> {
        let name = name.clone();
        self.blocking(move |tree| {
            // A link to nothing would be worse than the one that is there.
            tree.archive.sub(name.as_str())?.sub(&id.to_string())?;
            Ok(tree.live.switch_symlink(name.as_str(), &format!("../archive/{name}/{id}"))?)
        })
        .await
    }

    async fn prune(&self, name: &LineageName, ids: &[GenerationId]) -> Result<(), StoreError> {
        let (name, ids) = (name.clone(), ids.to_vec());
        self.blocking(move |tree| {
            let Some(dir) = tree.archive.try_sub(name.as_str())? else { return Ok(()) };
            for id in ids {
                dir.remove_tree(&id.to_string())?;
            }
            Ok(())
        })
        .await
    }

    async fn account(
        &self,
        issuer: &IssuerName,
        directory: &str,
    ) -> Result<Option<AccountRecord>, StoreError> {
        let (issuer, file) = (issuer.clone(), account_file(directory));
        self.blocking(move |tree| {
            let Some(dir) = tree.accounts.try_sub(issuer.as_str())? else { return Ok(None) };
            let Some(content) = dir.read(&file, LARGEST_RECORD)? else { return Ok(None) };
            record::open(&format!("accounts/{issuer}/{file}"), &content).map(Some)
        })
        .await
    }

    async fn save_account(
        &self,
        issuer: &IssuerName,
        account: &AccountRecord,
    ) -> Result<(), StoreError> {
        let (issuer, file) = (issuer.clone(), account_file(&account.directory));
        let content = record::seal(&file, account)?;
        self.blocking(move |tree| {
            let dir = tree.accounts.sub_or_create(issuer.as_str(), PRIVATE)?;
            Ok(dir.replace(&file, &content, &private())?)
        })
        .await
    }

    async fn quarantine(&self, label: &str, content: &[u8]) -> Result<(), StoreError> {
        let (label, content) = (label.to_owned(), content.to_owned());
        self.blocking(move |tree| tree.keep_aside(&label, &content)).await
    }
}

/// One account per directory URL: the account of a staging server must never be taken for that of
/// the production server under the same name.
fn account_file(directory: &str) -> String {
    let digest = sha256_hex(directory.as_bytes());
    format!("account-{}.json", digest.get(..16).unwrap_or(&digest))
}

fn private() -> Access {
    Access::mode(0o600)
}

struct Files {
    bundle: Bundle,
    group: Option<String>,
}

impl Tree {
    fn make(root: Dir, lock: Option<StateLock>) -> Result<Self, StoreError> {
        Ok(Self {
            live: root.sub_or_create("live", TRAVERSABLE)?,
            archive: root.sub_or_create("archive", TRAVERSABLE)?,
            pending: root.sub_or_create("pending", PRIVATE)?,
            records: root.sub_or_create("records", PRIVATE)?,
            accounts: root.sub_or_create("accounts", PRIVATE)?,
            quarantine: root.sub_or_create("quarantine", PRIVATE)?,
            root,
            lock,
        })
    }

    fn find(root: Dir) -> Result<Self, StoreError> {
        Ok(Self {
            live: root.sub("live")?,
            archive: root.sub("archive")?,
            pending: root.sub("pending")?,
            records: root.sub("records")?,
            accounts: root.sub("accounts")?,
            quarantine: root.sub("quarantine")?,
            root,
            lock: None,
        })
    }

    fn holdings(&self) -> Result<Holdings, StoreError> {
        if self.lock.is_some() {
            for dir in [&self.root, &self.live, &self.pending, &self.records] {
                sweep(dir, &dir.entries()?)?;
            }
        }
        let records = self.records.entries()?;
        let from_records = records.iter().filter_map(|(name, _)| name.strip_suffix(".json"));
        let others = [self.archive.entries()?, self.pending.entries()?].concat();
        let names: BTreeSet<LineageName> = from_records
            .chain(others.iter().map(|(name, _)| name.as_str()))
            .filter_map(|name| name.parse().ok())
            .collect();
        Ok(names
            .into_iter()
            .map(|name| {
                let holding = self.holding(&name);
                (name, holding)
            })
            .collect())
    }

    fn holding(&self, name: &LineageName) -> Result<Holding, StoreError> {
        let mut record = self.record(name)?;
        let generations = self.generations(name)?;
        let newest = match (generations.last(), record.newest.take()) {
            (None, _) => None,
            (Some(id), Some(known)) if known.id == *id => Some(known),
            (Some(_), _) => self.newest_readable(name, &generations)?,
        };
        let live = self.live_id(name)?.filter(|id| generations.contains(id));
        let live = match (live, &newest) {
            (None, _) => None,
            (Some(id), Some(newest)) if newest.id == id => {
                Some(LiveGeneration { id, not_after: newest.facts.validity.not_after })
            }
            (Some(id), _) => self
                .generation(name, id)?
                .map(|g| LiveGeneration { id, not_after: g.facts.validity.not_after }),
        };
        record.newest.clone_from(&newest);
        Ok(Holding { record, newest, live, generations, intent: self.intent(name)? })
    }

    /// The record; a damaged one is set aside, since everything in it but the memory of failures
    /// can be read from the generations.
    fn record(&self, name: &LineageName) -> Result<Record, StoreError> {
        let file = format!("{name}.json");
        let Some(content) = self.records.read(&file, LARGEST_RECORD)? else {
            return Ok(Record::default());
        };
        match record::open(&format!("records/{file}"), &content) {
            Err(StoreError::Damaged { .. }) => {
                self.set_aside(&format!("record-{name}"), &content)?;
                if self.lock.is_some() {
                    self.records.remove(&file)?;
                }
                Ok(Record::default())
            }
            other => other,
        }
    }

    fn intent(&self, name: &LineageName) -> Result<Option<Intent>, StoreError> {
        let Some(dir) = self.pending.try_sub(name.as_str())? else { return Ok(None) };
        let content = dir.read("intent.json", LARGEST_RECORD)?.unwrap_or_default();
        match record::open(&format!("pending/{name}/intent.json"), &content) {
            Err(StoreError::Damaged { .. }) => {
                self.set_aside(&format!("intent-{name}"), &content)?;
                if self.lock.is_some() {
                    self.abandon(name.as_str())?;
                }
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    fn generations(&self, name: &LineageName) -> Result<Vec<GenerationId>, StoreError> {
        let Some(dir) = self.archive.try_sub(name.as_str())? else { return Ok(Vec::new()) };
        let entries = dir.entries()?;
        if self.lock.is_some() {
            sweep(&dir, &entries)?;
        }
        let mut ids: Vec<GenerationId> = entries
            .iter()
            .filter(|(_, kind)| *kind == Kind::Directory)
            .filter_map(|(name, _)| GenerationId::from_directory_name(name))
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The newest generation whose `meta.json` is sound; those above it are of no use.
    fn newest_readable(
        &self,
        name: &LineageName,
        generations: &[GenerationId],
    ) -> Result<Option<Generation>, StoreError> {
        for id in generations.iter().rev() {
            if let Some(generation) = self.generation(name, *id)? {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    /// One generation's `meta.json`; `None` if it is damaged.
    fn generation(
        &self,
        name: &LineageName,
        id: GenerationId,
    ) -> Result<Option<Generation>, StoreError> {
        let dir = self.archive.sub(name.as_str())?.sub(&id.to_string())?;
        let content = dir.read("meta.json", LARGEST_RECORD)?.unwrap_or_default();
        match record::open::<Generation>(&format!("archive/{name}/{id}/meta.json"), &content) {
            Ok(generation) => Ok(Some(Generation { id, ..generation })),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn live_id(&self, name: &LineageName) -> Result<Option<GenerationId>, StoreError> {
        let target = self.live.read_link(name.as_str())?;
        let prefix = format!("../archive/{name}/");
        Ok(target
            .as_deref()
            .and_then(|target| target.strip_prefix(&prefix))
            .and_then(GenerationId::from_directory_name))
    }

    fn begin(&self, name: &str, intent: &[u8], key: &Secret) -> Result<(), StoreError> {
        self.abandon(name)?;
        let temporary = format!("{TEMPORARY_PREFIX}{name}");
        self.pending.remove_tree(&temporary)?;
        let dir = self.pending.sub_or_create(&temporary, PRIVATE)?;
        dir.create("privkey.pem", key.expose(), &private())?;
        dir.create("intent.json", intent, &private())?;
        dir.sync()?;
        Ok(self.pending.rename_new(&temporary, &self.pending, name)?)
    }

    /// By rename first: a half-removed pending directory must not be taken for one.
    fn abandon(&self, name: &str) -> Result<(), StoreError> {
        if self.pending.try_sub(name)?.is_none() {
            return Ok(());
        }
        let temporary = format!("{TEMPORARY_PREFIX}{name}");
        self.pending.remove_tree(&temporary)?;
        self.pending.rename_new(name, &self.pending, &temporary)?;
        Ok(self.pending.remove_tree(&temporary)?)
    }

    fn commit(
        &self,
        name: &str,
        mut generation: Generation,
        files: &Files,
    ) -> Result<Generation, StoreError> {
        let lineage = self.archive.sub_or_create(name, TRAVERSABLE)?;
        let highest = lineage
            .entries()?
            .iter()
            .filter_map(|(name, _)| GenerationId::from_directory_name(name))
            .max();
        generation.id = highest.map_or(GenerationId(1), GenerationId::next);
        let final_name = generation.id.to_string();
        let temporary = format!("{TEMPORARY_PREFIX}{final_name}");
        let written = self
            .write_generation(&lineage, &temporary, &generation, files)
            .and_then(|()| Ok(lineage.rename_new(&temporary, &lineage, &final_name)?));
        if let Err(error) = written {
            // The first error is the one to report; what cannot be removed is swept at start.
            drop(lineage.remove_tree(&temporary));
            return Err(error);
        }
        self.abandon(name)?;
        Ok(generation)
    }

    fn write_generation(
        &self,
        lineage: &Dir,
        temporary: &str,
        generation: &Generation,
        files: &Files,
    ) -> Result<(), StoreError> {
        let keys = key_access(files.group.as_deref());
        let directory =
            Access { mode: if files.group.is_some() { 0o750 } else { PRIVATE }, ..keys.clone() };
        lineage.remove_tree(temporary)?;
        let dir = lineage.sub_or_create(temporary, PRIVATE)?;
        let bundle = &files.bundle;
        dir.create("privkey.pem", bundle.privkey.expose(), &keys)?;
        dir.create("cert.pem", &bundle.cert, &keys)?;
        dir.create("chain.pem", &bundle.chain, &keys)?;
        dir.create("fullchain.pem", &bundle.fullchain, &keys)?;
        dir.create("combined.pem", bundle.combined.expose(), &keys)?;
        dir.create("meta.json", &record::seal("meta.json", generation)?, &keys)?;
        dir.set_access(&directory)?;
        Ok(dir.sync()?)
    }

    fn bundle(&self, name: &str, id: GenerationId) -> Result<Bundle, StoreError> {
        let dir = self.archive.sub(name)?.sub(&id.to_string())?;
        let read = |file: &str| -> Result<Vec<u8>, StoreError> {
            dir.read(file, LARGEST_PEM)?.ok_or_else(|| StoreError::Damaged {
                what: format!("generation {id} of {name}"),
                how: format!("{file} is missing"),
            })
        };
        Ok(Bundle {
            privkey: Secret::new(read("privkey.pem")?),
            cert: read("cert.pem")?,
            chain: read("chain.pem")?,
            fullchain: read("fullchain.pem")?,
            combined: Secret::new(read("combined.pem")?),
        })
    }

    fn set_aside(&self, label: &str, content: &[u8]) -> Result<(), StoreError> {
        if self.lock.is_some() && !content.is_empty() {
            self.keep_aside(label, content)?;
        }
        Ok(())
    }

    fn keep_aside(&self, label: &str, content: &[u8]) -> Result<(), StoreError> {
        let digest = sha256_hex(content);
        let name = format!("{label}-{}", digest.get(..8).unwrap_or(&digest));
        Ok(self.quarantine.replace(&name, content, &private())?)
    }
}

/// Removes what an earlier process left under temporary names.
fn sweep(dir: &Dir, entries: &[(String, Kind)]) -> Result<(), StoreError> {
    for (name, _) in entries.iter().filter(|(name, _)| name.starts_with(TEMPORARY_PREFIX)) {
        dir.remove_tree(name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
