//! The directory store from the outside: what is there after each operation, and what becomes of
//! things that should not be there.
#![allow(clippy::disallowed_methods, reason = "the tests make the damage that is to be repaired")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::model::{Identifier, KeyKind, SpecDigest, Timestamp};
use crate::pki::Chain;
use crate::plan::Wish;

struct Fixture {
    root: tempfile::TempDir,
    store: DirStore,
    name: LineageName,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = DirStore::open(&root.path().join("state")).unwrap();
        Self { root, store, name: "site".parse().unwrap() }
    }

    fn path(&self, inner: &str) -> PathBuf {
        self.root.path().join("state").join(inner)
    }

    /// Ends this process's use of the directory and begins another.
    fn restart(self) -> Self {
        let Self { root, store, name } = self;
        drop(store);
        let store = DirStore::open(&root.path().join("state")).unwrap();
        Self { root, store, name }
    }

    async fn commit(&self) -> Generation {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let new = NewGeneration {
            key: &Secret::new(key.serialize_pem().into_bytes()),
            ordered: &["a.example".parse().unwrap()],
            chain: &Chain::from_pem(pem.as_bytes()).unwrap(),
            kind: KeyKind::EcdsaP256,
            issuer: &"ca".parse().unwrap(),
            profile: None,
            now: Timestamp::from_unix(1_800_000_000),
            group: None,
        };
        self.store.commit(&self.name, &new).await.unwrap()
    }

    fn intent(&self) -> Intent {
        Intent {
            wanted: SpecDigest(7),
            issuer: "ca".parse().unwrap(),
            key: KeyKind::EcdsaP256,
            identifiers: vec!["a.example".parse::<Identifier>().unwrap()],
            begun_at: Timestamp::from_unix(1_800_000_000),
            order: None,
            presented: Vec::new(),
        }
    }

    async fn holding(&self) -> Holding {
        self.store.holdings().await.unwrap().remove(&self.name).unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_generation_is_complete_private_and_goes_live_by_one_link() {
    let fixture = Fixture::new();
    let first = fixture.commit().await;
    assert_eq!(first.id, GenerationId(1));
    assert_eq!(fixture.holding().await.live, None);
    fixture.store.switch(&fixture.name, first.id).await.unwrap();
    let target = fs::read_link(fixture.path("live/site")).unwrap();
    assert_eq!(target.to_str(), Some("../archive/site/0001"));
    for file in ["privkey", "cert", "chain", "fullchain", "combined"] {
        let path = fixture.path(&format!("live/site/{file}.pem"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let mode = |inner| fs::metadata(fixture.path(inner)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("archive/site/0001")), (0o700, 0o700));
    let second = fixture.commit().await;
    let holding = fixture.holding().await;
    assert_eq!(holding.newest, Some(second));
    assert_eq!(holding.live.unwrap().id, first.id);
    assert_eq!(holding.generations, [GenerationId(1), GenerationId(2)]);
    fixture.store.prune(&fixture.name, &[GenerationId(1)]).await.unwrap();
    assert_eq!(fixture.holding().await.live, None, "a dangling link is nobody's certificate");
}

#[tokio::test]
async fn an_issuance_under_way_survives_a_restart_and_ends_with_the_commit() {
    let fixture = Fixture::new();
    let key = Secret::new(b"key".to_vec());
    fixture.store.begin(&fixture.name, &fixture.intent(), &key).await.unwrap();
    let mut intent = fixture.intent();
    intent.order = Some("https://ca/order/1".to_owned());
    fixture.store.save_intent(&fixture.name, &intent).await.unwrap();
    let fixture = fixture.restart();
    let (found, key) = fixture.store.pending(&fixture.name).await.unwrap().unwrap();
    assert_eq!((found, key.expose()), (intent, b"key".as_slice()));
    fixture.commit().await;
    assert!(fixture.store.pending(&fixture.name).await.unwrap().is_none());
    assert_eq!(fs::read_dir(fixture.path("pending")).unwrap().count(), 0);
}

#[tokio::test]
async fn leftovers_of_a_dead_process_are_swept() {
    let fixture = Fixture::new();
    fixture.commit().await;
    for leftover in ["archive/site/.tmp-0002", "pending/.tmp-site", "records/.tmp-x"] {
        fs::create_dir(fixture.path(leftover)).unwrap();
        fs::write(fixture.path(leftover).join("privkey.pem"), "half").unwrap();
    }
    symlink("nowhere", fixture.path("live/.tmp-site")).unwrap();
    let fixture = fixture.restart();
    assert_eq!(fixture.holding().await.generations, [GenerationId(1)]);
    for dir in ["archive/site", "pending", "records", "live"] {
        let names = fs::read_dir(fixture.path(dir)).unwrap().map(|e| e.unwrap().file_name());
        let leftovers: Vec<_> =
            names.filter(|name| name.to_str().unwrap().starts_with(".tmp-")).collect();
        assert!(leftovers.is_empty(), "{dir}: {leftovers:?}");
    }
}

#[tokio::test]
async fn a_damaged_record_is_set_aside_and_rebuilt_from_the_generations() {
    let fixture = Fixture::new();
    let generation = fixture.commit().await;
    let record =
        Record { newest: Some(generation.clone()), wish: Wish::Renew, ..Record::default() };
    fixture.store.save_record(&fixture.name, &record).await.unwrap();
    assert_eq!(fixture.holding().await.record, record);
    fs::write(fixture.path("records/site.json"), "{\"version\":1,").unwrap();
    let holding = fixture.holding().await;
    assert_eq!(holding.newest, Some(generation));
    assert_eq!(holding.record.wish, Wish::None);
    assert_eq!(fs::read_dir(fixture.path("quarantine")).unwrap().count(), 1);
    assert!(!fixture.path("records/site.json").exists());
}

#[tokio::test]
async fn trouble_with_one_lineage_is_not_that_of_another() {
    let fixture = Fixture::new();
    fixture.commit().await;
    symlink("/etc", fixture.path("archive/evil")).unwrap();
    let holdings = fixture.store.holdings().await.unwrap();
    assert!(holdings[&fixture.name].is_ok());
    let error = holdings[&"evil".parse().unwrap()].as_ref().unwrap_err();
    assert!(error.to_string().contains("archive/evil"), "{error}");
}

#[tokio::test]
async fn something_else_in_the_place_of_live_is_not_touched() {
    let fixture = Fixture::new();
    let generation = fixture.commit().await;
    fs::create_dir(fixture.path("live/site")).unwrap();
    fs::write(fixture.path("live/site/precious"), "x").unwrap();
    let error = fixture.store.switch(&fixture.name, generation.id).await.unwrap_err();
    assert!(error.to_string().contains("live/site is a directory"), "{error}");
    assert!(fixture.path("live/site/precious").exists());
}

#[tokio::test]
async fn switching_to_a_generation_that_is_not_there_changes_nothing() {
    let fixture = Fixture::new();
    let generation = fixture.commit().await;
    fixture.store.switch(&fixture.name, generation.id).await.unwrap();
    fixture.store.switch(&fixture.name, GenerationId(9)).await.unwrap_err();
    assert_eq!(fixture.holding().await.live.unwrap().id, generation.id);
}

#[tokio::test]
async fn accounts_are_kept_apart_by_directory_url() {
    let fixture = Fixture::new();
    let issuer: IssuerName = "lab".parse().unwrap();
    let account = |directory: &str| AccountRecord {
        directory: directory.to_owned(),
        key: "secret".to_owned(),
        url: Some("https://ca/acct/1".to_owned()),
        external_account: None,
    };
    fixture.store.save_account(&issuer, &account("https://a/dir")).await.unwrap();
    assert!(fixture.store.account(&issuer, "https://b/dir").await.unwrap().is_none());
    let found = fixture.store.account(&issuer, "https://a/dir").await.unwrap().unwrap();
    assert_eq!(found.key, "secret");
    assert!(!format!("{found:?}").contains("secret"));
}

#[test]
fn one_process_at_a_time_and_no_newer_layout() {
    let fixture = Fixture::new();
    let state = fixture.path("");
    assert!(matches!(DirStore::open(&state), Err(StoreError::Lock(_))));
    assert!(DirStore::open_to_read(&state).unwrap().is_some());
    fs::write(fixture.path("version"), "2\n").unwrap();
    let error = DirStore::open_to_read(&state).unwrap_err();
    assert!(error.to_string().contains("upgrade it"), "{error}");
    assert!(DirStore::open_to_read(&fixture.root.path().join("absent")).unwrap().is_none());
}
