//! Noticing that the configuration has changed.
//!
//! The directories are watched, not the files: editors and orchestrators rename over files or swap
//! links beside them. Events only say "look again"; what counts is whether the bytes differ.
//! Without events (network file systems, exhausted watches) a look once a minute is enough.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::config_files;

/// Quiet time after an event before the files are read: editors write in several steps.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// Time between looks when no event comes.
const POLL: Duration = Duration::from_secs(60);

/// The changes of one configuration.
pub(super) struct Changes {
    path: PathBuf,
    known: Option<String>,
    events: mpsc::Receiver<()>,
    is_due: bool,
    next_poll: Instant,
    /// Keeps the watch; events end when it is dropped.
    _watcher: Option<RecommendedWatcher>,
}

impl Changes {
    /// Begins to watch.
    pub(super) fn of(path: &Path) -> Self {
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is an event, too.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                // Full means that a look is due anyway.
                let _ = sender.try_send(());
            }
        });
        let watcher = watcher.and_then(|mut watcher| {
            for directory in config_files::directories(path) {
                watcher.watch(&directory, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        let watcher = match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                warn!(%error, "the configuration is not watched but looked at every minute");
                None
            }
        };
        let known = config_files::fingerprint(path);
        let next_poll = Instant::now() + POLL;
        let path = path.to_owned();
        Self { path, known, events, is_due: false, next_poll, _watcher: watcher }
    }

    /// Takes the present content as known: somebody is about to read it for another reason.
    pub(super) fn look(&mut self) {
        self.known = config_files::fingerprint(&self.path);
    }

    /// Ends when the content has changed since the last time.
    ///
    /// Cancel safe: a change that was not reported is reported by the next call.
    pub(super) async fn next(&mut self) {
        loop {
            if !self.is_due {
                tokio::select! {
                    Some(()) = self.events.recv() => {}
                    () = tokio::time::sleep_until(self.next_poll) => {}
                }
                self.is_due = true;
            }
            while let Ok(Some(())) = tokio::time::timeout(DEBOUNCE, self.events.recv()).await {}
            self.is_due = false;
            self.next_poll = Instant::now() + POLL;
            let found = config_files::fingerprint(&self.path);
            if found != self.known {
                self.known = found;
                return;
            }
        }
    }
}
