//! One actor that owns the configuration, what was observed, and the running jobs.
//!
//! Invariant: everything that can set it in motion is an [`Event`], a finished job, or time. It
//! plans after each of them, admits what fits, and sleeps until the plan's next time, a minute at
//! most: clock steps, suspends and missed events cost at most that.

mod execute;
mod journal;
mod observe;
mod status;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{Instrument, error, info, info_span, warn};

use crate::config::Config;
use crate::error::Chain;
use crate::issuer::{Issuer, Stop};
use crate::model::{Clock, Failure, FailureClass, IssuerName, LineageName, Spec, Timestamp};
use crate::plan::{self, Action, Observed, Step, Wish};
use crate::solver::Solver;
use crate::store::{Store, StoreError};

use self::execute::{Activity, Finished};
pub use self::journal::StoreVault;
pub use self::status::{
    CertificateStatus, GenerationStatus, Next, ProblemStatus, SCHEMA, Severity, State, Status,
    Story, UsedBy, build as build_status, story as build_story,
};

/// Issuances at one CA at a time: enough to hide its latency, few enough to stay far below the
/// request rates that Let's Encrypt publishes (20 new nonces, 300 new orders per second).
const ISSUANCES_PER_ISSUER: usize = 10;

/// Deployments at a time. Hooks of the same command run one by one besides.
const DEPLOYMENTS: usize = 64;

/// How long jobs that end are collected before the next plan.
const SETTLE: Duration = Duration::from_millis(2);

/// Everything a job needs: the configuration and the ports built from it.
pub struct Setup {
    /// The configuration.
    pub config: Arc<Config>,
    /// What remembers.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The CAs, by name.
    pub issuers: BTreeMap<IssuerName, Arc<dyn Issuer>>,
    /// The solvers, by name.
    pub solvers: BTreeMap<String, Arc<dyn Solver>>,
    /// Whose turn it is to run a hook.
    pub hook_turns: HookTurns,
}

/// Lets hooks of the same command run one after another.
#[derive(Clone, Debug, Default)]
pub struct HookTurns(Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>>);

impl HookTurns {
    fn turn(&self, command: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(command.to_owned()).or_default())
    }
}

/// What can set the engine in motion, besides jobs that finish and time that passes.
pub enum Event {
    /// There is a new configuration.
    Configure(Arc<Setup>),
    /// A person wants these certificates renewed now.
    Renew {
        /// Which.
        names: Vec<LineageName>,
        /// The names that are not configured, or why nothing could be noted.
        reply: oneshot::Sender<Result<Vec<LineageName>, String>>,
    },
    /// Somebody wants to see how things stand.
    Status(oneshot::Sender<Status>),
    /// Somebody wants to know all about one certificate.
    Story {
        /// Which.
        name: LineageName,
        /// `None` if nothing is known of it.
        reply: oneshot::Sender<Option<Story>>,
    },
}

/// When [`Engine::run`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When told to stop.
    Forever,
    /// When nothing is due and nothing runs.
    UntilIdle,
}

/// The actor.
pub struct Engine {
    setup: Arc<Setup>,
    specs: Vec<Spec>,
    observed: Observed,
    /// Failures that the store could not take.
    unrecorded: BTreeMap<LineageName, Vec<(Activity, Failure)>>,
    jobs: JoinSet<Finished>,
    running: BTreeMap<LineageName, Running>,
    events: mpsc::Receiver<Event>,
    heartbeat: Arc<Heartbeat>,
    longest_sleep: Duration,
    stop: Stop,
}

struct Running {
    task: Id,
    slot: Slot,
}

/// What a job occupies while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    Issuance(IssuerName),
    Deployment,
    Housekeeping,
}

/// Counts the rounds of the engine; the watchdog is fed only while it counts on.
#[derive(Debug, Default)]
pub struct Heartbeat(AtomicU64);

impl Heartbeat {
    /// Rounds so far.
    pub fn rounds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Engine {
    /// Observes everything that is held. `longest_sleep` bounds the time between two rounds.
    pub async fn new(
        setup: Arc<Setup>,
        events: mpsc::Receiver<Event>,
        longest_sleep: Duration,
        stop: Stop,
    ) -> Result<Self, StoreError> {
        let mut engine = Self {
            specs: specs(&setup.config),
            setup,
            observed: Observed::new(),
            unrecorded: BTreeMap::new(),
            jobs: JoinSet::new(),
            running: BTreeMap::new(),
            events,
            heartbeat: Arc::default(),
            longest_sleep,
            stop,
        };
        engine.observe_all().await?;
        Ok(engine)
    }

    /// What the watchdog looks at.
    pub fn heartbeat(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.heartbeat)
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        build_status(self.setup.clock.now(), &self.setup.config, &self.observed)
    }

    /// Works until told to stop or, with [`Mode::UntilIdle`], until nothing is due. Jobs that run
    /// when the stop comes are told so and waited for.
    pub async fn run(&mut self, mode: Mode) {
        while !self.stop.is_cancelled() {
            self.heartbeat.beat();
            let now = self.setup.clock.now();
            let plan = plan::plan(now, &self.specs, &self.observed);
            for action in plan.actions {
                self.admit(action);
            }
            if mode == Mode::UntilIdle && self.jobs.is_empty() {
                break;
            }
            let sleep =
                plan.wake_at.since(now).clamp(Duration::from_millis(100), self.longest_sleep);
            tokio::select! {
                Some(finished) = self.jobs.join_next_with_id() => {
                    self.finish(finished).await;
                    // With thousands of lineages a plan for each job that ends would be work
                    // without end: take what ends at the same moment together.
                    tokio::time::sleep(SETTLE).await;
                    while let Some(finished) = self.jobs.try_join_next_with_id() {
                        self.finish(finished).await;
                    }
                }
                Some(event) = self.events.recv() => self.handle(event).await,
                () = tokio::time::sleep(sleep) => {}
                () = self.stop.cancelled() => {}
            }
        }
        while let Some(finished) = self.jobs.join_next_with_id().await {
            self.finish(finished).await;
        }
    }

    fn admit(&mut self, Action { lineage, step }: Action) {
        let slot = self.slot(&lineage, &step);
        let taken = self.running.values().filter(|running| running.slot == slot).count();
        let room = match slot {
            Slot::Issuance(_) => ISSUANCES_PER_ISSUER,
            Slot::Deployment => DEPLOYMENTS,
            Slot::Housekeeping => usize::MAX,
        };
        if taken >= room {
            return;
        }
        let span = info_span!("job", lineage = %lineage);
        let unrecorded = self.unrecorded.get(&lineage).cloned().unwrap_or_default();
        let setup = Arc::clone(&self.setup);
        let job = execute::run(setup, lineage.clone(), unrecorded, self.stop.clone());
        let task = self.jobs.spawn(job.instrument(span)).id();
        self.observed.entry(lineage.clone()).or_default().busy = true;
        self.running.insert(lineage, Running { task, slot });
    }

    fn slot(&self, lineage: &LineageName, step: &Step) -> Slot {
        match step {
            Step::Issue { .. } | Step::Resume { .. } => {
                let spec = self.specs.iter().find(|spec| spec.name == *lineage);
                spec.map_or(Slot::Housekeeping, |spec| Slot::Issuance(spec.satisfy.issuer.clone()))
            }
            Step::Deploy { .. } => Slot::Deployment,
            Step::CleanUp | Step::Abandon | Step::Prune { .. } => Slot::Housekeeping,
        }
    }

    /// A job has ended, by itself or by a panic, which is its lineage's failure and nobody else's.
    async fn finish(&mut self, finished: Result<(Id, Finished), JoinError>) {
        let (name, done, unrecorded) = match finished {
            Ok((_, finished)) => (finished.name, finished.activity, finished.unrecorded),
            Err(error) => {
                let task = error.id();
                let name = self.running.iter().find(|(_, running)| running.task == task);
                let Some((name, running)) = name else { return };
                error!(lineage = %name, "a job panicked; this is a defect in certs");
                let activity = match running.slot {
                    Slot::Deployment => Activity::Deploy,
                    Slot::Issuance(_) => Activity::Issue,
                    Slot::Housekeeping => Activity::Housekeeping,
                };
                let failure = Failure {
                    class: FailureClass::Bug,
                    at: self.setup.clock.now(),
                    not_before: None,
                    summary: "a defect in certs ended the attempt".to_owned(),
                    causes: Vec::new(),
                    hint: Some("report it with the log".to_owned()),
                };
                (name.clone(), Some(activity), Some((activity, failure)))
            }
        };
        self.running.remove(&name);
        let failures = self.unrecorded.entry(name.clone()).or_default();
        match unrecorded {
            Some(failure) => failures.push(failure),
            None => failures.retain(|(activity, _)| done != Some(*activity)),
        }
        if failures.is_empty() {
            self.unrecorded.remove(&name);
        }
        self.observe(&name).await;
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Configure(setup) => {
                self.specs = specs(&setup.config);
                self.setup = setup;
                if let Err(error) = self.observe_all().await {
                    warn!(error = %Chain(&error), "cannot read the state directory, retrying");
                }
            }
            Event::Renew { names, reply } => {
                let outcome = self.request_renewal(names).await;
                // Who asked may have gone.
                drop(reply.send(outcome));
            }
            Event::Status(reply) => drop(reply.send(self.status())),
            Event::Story { name, reply } => {
                let holding = self.setup.store.holding(&name).await.ok();
                let story = build_story(
                    self.setup.clock.now(),
                    &self.setup.config,
                    &name,
                    self.observed.get(&name),
                    holding.as_ref(),
                );
                drop(reply.send(story));
            }
        }
    }

    /// Notes the wish in the records, so that it survives a restart; returns unknown names.
    async fn request_renewal(
        &mut self,
        names: Vec<LineageName>,
    ) -> Result<Vec<LineageName>, String> {
        let mut unknown = Vec::new();
        for name in names {
            if self.setup.config.certificate(&name).is_none() {
                unknown.push(name);
                continue;
            }
            if self.running.contains_key(&name) {
                // The job at work is what was asked for, or deploys what was just issued; a note
                // now would be overwritten by its outcome.
                continue;
            }
            let holding = self.setup.store.holding(&name).await;
            let mut record = holding.map_err(|error| Chain(&error).to_string())?.record;
            record.wish = Wish::Renew;
            let saved = self.setup.store.save_record(&name, &record).await;
            saved.map_err(|error| Chain(&error).to_string())?;
            info!(lineage = %name, "renewal asked for");
            self.unrecorded.remove(&name);
            self.observe(&name).await;
        }
        Ok(unknown)
    }

    async fn observe_all(&mut self) -> Result<(), StoreError> {
        let holdings = self.setup.store.holdings().await?;
        self.observed = holdings
            .iter()
            .map(|(name, holding)| (name.clone(), observe::observation(holding)))
            .collect();
        for name in self.running.keys() {
            self.observed.entry(name.clone()).or_default().busy = true;
        }
        let names: Vec<LineageName> = self.unrecorded.keys().cloned().collect();
        names.iter().for_each(|name| self.overlay(name));
        Ok(())
    }

    async fn observe(&mut self, name: &LineageName) {
        let holding = self.setup.store.holding(name).await;
        self.observed.insert(name.clone(), observe::observation(&holding));
        self.overlay(name);
    }

    fn overlay(&mut self, name: &LineageName) {
        let spec = self.specs.iter().find(|spec| spec.name == *name);
        if let (Some(failures), Some(seen), Some(spec)) =
            (self.unrecorded.get(name), self.observed.get_mut(name), spec)
        {
            observe::overlay(seen, spec, failures);
        }
    }
}

fn specs(config: &Config) -> Vec<Spec> {
    config.certificates.iter().map(|certificate| certificate.spec.clone()).collect()
}

/// Reads the state directory beside a running daemon, or without one, for showing.
pub async fn look(
    store: &dyn Store,
    config: &Config,
    now: Timestamp,
) -> Result<Status, StoreError> {
    let holdings = store.holdings().await?;
    let observed: Observed = holdings
        .iter()
        .map(|(name, holding)| (name.clone(), observe::observation(holding)))
        .collect();
    Ok(build_status(now, config, &observed))
}

/// The same for all about one certificate.
pub async fn look_at(
    store: &dyn Store,
    config: &Config,
    now: Timestamp,
    name: &LineageName,
) -> Option<Story> {
    let holding = store.holding(name).await;
    let seen = observe::observation(&holding);
    build_story(now, config, name, Some(&seen), holding.as_ref().ok())
}

#[cfg(test)]
mod tests;
