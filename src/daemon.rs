//! The life of the process: start, reload, stop, and what systemd hears of it.
//!
//! Invariant: once started, nothing but SIGTERM or SIGINT ends it. A configuration that cannot be
//! taken over leaves the last good one running, and is shown as a problem until it is mended.

mod clock;
mod config_files;
mod notify;
mod ports;
mod secrets;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::config::Loaded;
use crate::engine::{Engine, Event, Heartbeat, Mode, Setup, State};
use crate::error::Chain;
use crate::issuer::Stop;
use crate::model::LineageName;
use crate::serve;
use crate::store::{DirStore, Store, StoreError};

pub use clock::SystemClock;
pub use config_files::{ConfigError, load as load_config};
pub use ports::Ports;

/// The daemon looks at everything again at least this often, whatever its plan says.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Jobs that are told to stop get this long; systemd kills after 30 s.
const STOP_GRACE: Duration = Duration::from_secs(24);

/// Why the daemon could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state directory.
    #[error("the state directory {} cannot be used", path.display())]
    Store {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The sockets for `certs status` and `certs renew`.
    #[error("the sockets of the daemon cannot be made")]
    Serve(#[from] serve::ServeError),
    /// Signals.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// Runs until told to stop.
///
/// Must be called within a tokio runtime with I/O and time enabled.
pub async fn run(config_path: &Path) -> Result<(), StartError> {
    let loaded = config_files::load(config_path)?;
    config_files::warn_about(&loaded);
    let state_dir = loaded.config.state_dir.clone();
    let in_store = |source| StartError::Store { path: state_dir.clone(), source };
    let store: Arc<dyn Store> = Arc::new(DirStore::open(&state_dir).map_err(in_store)?);
    let stop = Stop::new();
    let mut ports = Ports::new(store, Arc::new(SystemClock), stop.clone());
    let setup = ports.equip(Arc::new(loaded.config));
    let config = Arc::clone(&setup.config);
    let (events, inbox) = mpsc::channel(64);
    let longest_sleep =
        notify::watchdog_interval().map_or(LONGEST_SLEEP, |interval| LONGEST_SLEEP.min(interval));
    let mut engine =
        Engine::new(setup, inbox, longest_sleep, stop.clone()).await.map_err(in_store)?;
    let problems = serve::Problems::default();
    let server = serve::start(&config.runtime_dir, events.clone(), problems.clone(), stop.clone())?;
    let heartbeat = engine.heartbeat();
    let mut control =
        Control { config_path: config_path.to_owned(), config, ports, events, problems, heartbeat };
    let signals = Signals::new().map_err(StartError::Signals)?;
    let work = tokio::spawn(async move { engine.run(Mode::Forever).await });
    notify::ready();
    info!(version = env!("CARGO_PKG_VERSION"), "certs is running");
    control.until_stopped(signals, &work).await;
    stop.cancel();
    notify::stopping();
    info!("stopping");
    if tokio::time::timeout(STOP_GRACE, work).await.is_err() {
        warn!("some jobs did not end in time; the next run takes up where they were");
    }
    server.remove_sockets();
    Ok(())
}

/// One pass over everything, without sockets or reloads; returns how things stand afterwards.
///
/// With `only`, other certificates are left alone; `requested` renews those even if they are not
/// due.
pub async fn once(
    loaded: Loaded,
    only: &[LineageName],
    requested: Requested,
) -> Result<crate::engine::Status, StartError> {
    let mut config = loaded.config;
    if !only.is_empty() {
        config.certificates.retain(|certificate| only.contains(&certificate.spec.name));
    }
    let state_dir = config.state_dir.clone();
    let in_store = |source| StartError::Store { path: state_dir.clone(), source };
    let store: Arc<dyn Store> = Arc::new(DirStore::open(&state_dir).map_err(in_store)?);
    if requested == Requested::Yes {
        for name in only {
            let mut record = store.holding(name).await.map_err(in_store)?.record;
            record.wish = crate::plan::Wish::Renew;
            store.save_record(name, &record).await.map_err(in_store)?;
        }
    }
    let stop = Stop::new();
    let mut ports = Ports::new(store, Arc::new(SystemClock), stop.clone());
    let setup = ports.equip(Arc::new(config));
    let (_events, inbox) = mpsc::channel(1);
    let mut engine =
        Engine::new(setup, inbox, LONGEST_SLEEP, stop.clone()).await.map_err(in_store)?;
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    let stopper = stop.clone();
    tokio::spawn(async move {
        signals.end().await;
        stopper.cancel();
    });
    engine.run(Mode::UntilIdle).await;
    let status = engine.status();
    stop.cancel();
    Ok(status)
}

/// Whether certificates are renewed although they are not due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// Only what is due.
    No,
    /// In any case.
    Yes,
}

struct Signals {
    hangup: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What steers a running engine from outside.
struct Control {
    config_path: PathBuf,
    config: Arc<crate::config::Config>,
    ports: Ports,
    events: mpsc::Sender<Event>,
    problems: serve::Problems,
    heartbeat: Arc<Heartbeat>,
}

impl Control {
    async fn until_stopped(&mut self, mut signals: Signals, work: &JoinHandle<()>) {
        let mut changes = watch::Changes::of(&self.config_path);
        let mut status_line = tokio::time::interval(Duration::from_secs(5));
        let mut watchdog = notify::Watchdog::new();
        loop {
            tokio::select! {
                _ = signals.hangup.recv() => {
                    changes.look();
                    self.reload("SIGHUP").await;
                }
                () = changes.next() => self.reload("a changed file").await,
                () = signals_end(&mut signals.terminate, &mut signals.interrupt) => return,
                () = watchdog.due() => watchdog.feed(self.heartbeat.rounds()),
                _ = status_line.tick() => self.tell_status().await,
            }
            if work.is_finished() {
                error!("the scheduler ended by a defect in certs");
                return;
            }
        }
    }

    async fn reload(&mut self, why: &'static str) {
        notify::reloading();
        match config_files::load(&self.config_path) {
            Ok(loaded) => {
                config_files::warn_about(&loaded);
                self.take_over(loaded, why).await;
            }
            Err(error) => {
                error!(why, error = %Chain(&error), "the new configuration is not used");
                self.problems.set(vec![format!(
                    "the configuration on disk is not in use (`certs check` tells why); the last \
                     good one is: {error}"
                )]);
            }
        }
        notify::ready();
    }

    async fn take_over(&mut self, loaded: Loaded, why: &'static str) {
        let mut config = loaded.config;
        let mut problems = Vec::new();
        for (what, old, new) in [
            ("state_dir", &self.config.state_dir, &mut config.state_dir),
            ("runtime_dir", &self.config.runtime_dir, &mut config.runtime_dir),
        ] {
            if old != new {
                problems.push(format!("`{what}` has changed; that needs a restart"));
                new.clone_from(old);
            }
        }
        for problem in &problems {
            error!(problem, "the new configuration is used but for this");
        }
        self.problems.set(problems);
        let setup: Arc<Setup> = self.ports.equip(Arc::new(config));
        self.config = Arc::clone(&setup.config);
        info!(why, certificates = self.config.certificates.len(), "configuration taken over");
        // The engine ends only after this loop has.
        drop(self.events.send(Event::Configure(setup)).await);
    }

    /// One line for `systemctl status`.
    async fn tell_status(&self) {
        if !notify::is_supervised() {
            return;
        }
        let (reply, answer) = tokio::sync::oneshot::channel();
        if self.events.try_send(Event::Status(reply)).is_err() {
            return;
        }
        let Ok(Ok(status)) = tokio::time::timeout(Duration::from_secs(1), answer).await else {
            return;
        };
        let count = |state: State| {
            status.certificates.iter().filter(|certificate| certificate.state == state).count()
        };
        let total = status.certificates.len();
        let failing = status
            .certificates
            .iter()
            .filter(|certificate| {
                certificate.problem.is_some() || certificate.deploy_problem.is_some()
            })
            .count();
        let problems = if self.problems.is_empty() { "" } else { "; configuration not in use" };
        notify::status(&format!(
            "{total} certificates: {} ok, {failing} failing{problems}",
            count(State::Ok)
        ));
    }
}

async fn signals_end(
    terminate: &mut tokio::signal::unix::Signal,
    interrupt: &mut tokio::signal::unix::Signal,
) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
