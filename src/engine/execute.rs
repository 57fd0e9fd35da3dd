//! One step for one lineage: the only code that changes anything because of a plan.
//!
//! Invariant: a job observes and plans its lineage again before it acts, so a stale plan never
//! acts. Every outcome is written into the record before the job ends; what could not be written
//! is handed back, so that it is not forgotten while the process lives.

use std::sync::Arc;

use tracing::{error, info, warn};

use crate::config::settings::CertificateSettings;
use crate::deploy::{self, HookEvent};
use crate::error::Chain;
use crate::issuer::{IssueError, IssueFailure, IssueRequest, Stop};
use crate::model::{
    Failure, FailureClass, Generation, GenerationId, LineageName, Secret, Timestamp, Trouble,
};
use crate::pki::{KeyError, PrivateKey, Wanted};
use crate::plan::{self, Deployed, Step, Wish};
use crate::store::{Attempt, Holding, Intent, NewGeneration, Outcome, Record, Store, StoreError};

use super::journal::{StoreJournal, take_away};
use super::{Setup, observe};

/// What a job hands back to the actor.
#[derive(Debug)]
pub(super) struct Finished {
    /// Whose job it was.
    pub(super) name: LineageName,
    /// What was done, if anything was due.
    pub(super) activity: Option<Activity>,
    /// A failure that could not be recorded.
    pub(super) unrecorded: Option<(Activity, Failure)>,
}

/// The activities whose failures are remembered apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Issue,
    Deploy,
    /// Taking leftovers away.
    Housekeeping,
}

/// Takes the step that is due for a lineage at this moment. `unrecorded` are failures that the
/// store does not know of.
pub(super) async fn run(
    setup: Arc<Setup>,
    name: LineageName,
    unrecorded: Vec<(Activity, Failure)>,
    stop: Stop,
) -> Finished {
    let mut finished = Finished { name: name.clone(), activity: None, unrecorded: None };
    let Some(certificate) = setup.config.certificate(&name) else { return finished };
    let job = Job { setup: &setup, certificate, stop };
    let holding = match setup.store.holding(&name).await {
        Ok(holding) => holding,
        Err(error) => {
            let failure = job.store_failure("reading what is held", &error);
            finished.unrecorded = Some((Activity::Issue, failure));
            return finished;
        }
    };
    let mut seen = observe::observation(&Ok(holding.clone()));
    observe::overlay(&mut seen, &certificate.spec, &unrecorded);
    let (_, step) = plan::decide(setup.clock.now(), &certificate.spec, &seen);
    let Some(step) = step else { return finished };
    finished.activity = Some(match &step {
        Step::Deploy { .. } => Activity::Deploy,
        Step::Resume { .. } | Step::Issue { .. } => Activity::Issue,
        Step::CleanUp | Step::Abandon | Step::Prune { .. } => Activity::Housekeeping,
    });
    finished.unrecorded = match step {
        Step::CleanUp => job.clean_up(&holding, Afterwards::Keep).await,
        Step::Abandon => job.clean_up(&holding, Afterwards::Forget).await,
        Step::Deploy { generation, .. } => job.deploy(holding.record, generation).await,
        Step::Resume { reason } | Step::Issue { reason } => {
            info!(reason = %reason, issuer = %certificate.spec.satisfy.issuer, "issuing");
            job.issue(holding).await
        }
        Step::Prune { remove } => job.prune(&remove).await,
    };
    finished
}

/// What becomes of the issuance after cleaning up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    Keep,
    Forget,
}

struct Job<'a> {
    setup: &'a Setup,
    certificate: &'a CertificateSettings,
    stop: Stop,
}

type Unrecorded = Option<(Activity, Failure)>;

impl Job<'_> {
    fn name(&self) -> &LineageName {
        &self.certificate.spec.name
    }

    fn store(&self) -> &dyn Store {
        self.setup.store.as_ref()
    }

    fn now(&self) -> Timestamp {
        self.setup.clock.now()
    }

    async fn issue(&self, holding: Holding) -> Unrecorded {
        let mut record = holding.record;
        match self.obtain().await {
            Ok(generation) => {
                info!(
                    generation = %generation.id,
                    until = %generation.facts.validity.not_after,
                    "certificate issued"
                );
                record.issue_trouble = None;
                record.wish = Wish::None;
                record.remember(self.attempt("issue", Outcome::Succeeded(generation.id)));
                record.newest = Some(generation);
                self.save(&record, Activity::Issue).await
            }
            Err(IssueError::Stopped) => {
                info!("told to stop, the order is resumed by the next run");
                None
            }
            Err(IssueError::Failed(failure)) => self.issue_failed(record, *failure).await,
        }
    }

    async fn issue_failed(&self, mut record: Record, failure: IssueFailure) -> Unrecorded {
        if failure.order_is_dead
            && let Err(error) = self.store().abandon(self.name()).await
        {
            warn!(error = %Chain(&error), "cannot forget a dead order, retrying");
        }
        let now = self.now();
        let asked = failure.retry_after.map(|wait| now.after(wait));
        let failure = Failure {
            class: failure.class,
            at: now,
            not_before: asked.max(failure.not_before),
            summary: failure.summary,
            causes: failure.causes,
            hint: failure.hint,
        };
        let wanted = self.certificate.spec.issuance_digest();
        let trouble = Trouble::extend(record.issue_trouble.as_ref(), failure.clone(), wanted);
        self.tell("certificate not issued, retrying", &trouble);
        record.issue_trouble = Some(trouble);
        if record.wish == Wish::Renew {
            record.wish = Wish::RenewTried;
        }
        let outcome = Outcome::Failed(failure.class, failure.summary.clone());
        record.remember(self.attempt("issue", outcome));
        self.save(&record, Activity::Issue).await.map(|_| (Activity::Issue, failure))
    }

    /// ERROR only for what needs a person; the rest is tried again by itself.
    fn tell(&self, message: &'static str, trouble: &Trouble) {
        let Failure { class, summary, hint, .. } = &trouble.last;
        let attempt = trouble.failures;
        let hint = hint.as_deref().unwrap_or_default();
        match class {
            FailureClass::Transient | FailureClass::RateLimited | FailureClass::Local => {
                warn!(%class, attempt, error = %summary, hint, "{message}");
            }
            FailureClass::Validation
            | FailureClass::Rejected
            | FailureClass::Account
            | FailureClass::Config
            | FailureClass::Bug => error!(%class, attempt, error = %summary, hint, "{message}"),
        }
    }

    /// From the wish to a generation on disk.
    async fn obtain(&self) -> Result<Generation, IssueError> {
        let spec = &self.certificate.spec;
        let missing = |what: &str| {
            IssueFailure::new(FailureClass::Bug, format!("the configuration lost its {what}"))
        };
        let issuer =
            self.setup.issuers.get(&spec.satisfy.issuer).ok_or_else(|| missing("issuer"))?;
        let solver =
            self.setup.solvers.get(&self.certificate.solver).ok_or_else(|| missing("solver"))?;
        let (intent, key_pem) = self.pending_or_new().await?;
        let key = PrivateKey::from_pem(&key_pem).map_err(|error| local(&error))?;
        let csr = key.request(&intent.identifiers).map_err(|error| local(&error))?;
        let order = intent.order.clone();
        let journal = StoreJournal::new(
            Arc::clone(&self.setup.store),
            spec.name.clone(),
            Arc::clone(solver),
            intent.clone(),
        );
        let request = IssueRequest {
            identifiers: &intent.identifiers,
            csr: &csr,
            profile: spec.request.profile.as_deref(),
            order: order.as_deref(),
        };
        let outcome = issuer.issue(request, &journal, &self.stop).await;
        journal.clean_up().await;
        let chain = outcome?;
        let wanted = Wanted {
            public_key: &key.public_key(),
            identifiers: &intent.identifiers,
            now: self.now(),
        };
        if let Err(rejection) = chain.inspect(&wanted) {
            let kept = self.store().quarantine(spec.name.as_str(), &chain.full_pem()).await;
            kept.map_err(|error| self.store_issue_failure(&error))?;
            let text = format!("the CA sent a certificate that is not accepted: {rejection}");
            let hint = "what it sent is kept under `quarantine/` in the state directory";
            return Err(IssueFailure::new(FailureClass::Rejected, text).hint(hint).dead().into());
        }
        let new = NewGeneration {
            key: &key_pem,
            ordered: &intent.identifiers,
            chain: &chain,
            kind: intent.key,
            issuer: &spec.satisfy.issuer,
            profile: spec.request.profile.as_deref(),
            now: self.now(),
            group: self.certificate.group.as_deref(),
        };
        let committed = self.store().commit(&spec.name, &new).await;
        Ok(committed.map_err(|error| self.store_issue_failure(&error))?)
    }

    /// The issuance under way if it is for the same wish, else a new one, durable.
    async fn pending_or_new(&self) -> Result<(Intent, Secret), IssueFailure> {
        let spec = &self.certificate.spec;
        let pending = self.store().pending(&spec.name).await;
        let pending = pending.map_err(|error| self.store_issue_failure(&error))?;
        if let Some((intent, key)) = pending
            && intent.wanted == spec.issuance_digest()
        {
            return Ok((intent, key));
        }
        let kind = spec.satisfy.key;
        let generated = tokio::task::spawn_blocking(move || PrivateKey::generate(kind)).await;
        let key = generated
            .map_err(|_| IssueFailure::new(FailureClass::Bug, "generating a key was interrupted"))?
            .map_err(|error| local(&error))?
            .pem();
        let intent = Intent {
            wanted: spec.issuance_digest(),
            issuer: spec.satisfy.issuer.clone(),
            key: kind,
            identifiers: spec.satisfy.identifiers.clone(),
            begun_at: self.now(),
            order: None,
            presented: Vec::new(),
        };
        let begun = self.store().begin(&spec.name, &intent, &key).await;
        begun.map_err(|error| self.store_issue_failure(&error))?;
        Ok((intent, key))
    }

    async fn deploy(&self, mut record: Record, id: GenerationId) -> Unrecorded {
        let spec = &self.certificate.spec;
        match self.activate(&record, id).await {
            Ok(()) => {
                info!(generation = %id, "certificate deployed");
                record.deployed = Some(Deployed { generation: id, digest: spec.deployment });
                record.deploy_trouble = None;
                record.remember(self.attempt("deploy", Outcome::Succeeded(id)));
                self.save(&record, Activity::Deploy).await
            }
            // The next run deploys again.
            Err(_) if self.stop.is_cancelled() => None,
            Err((summary, hint)) => {
                let class = FailureClass::Local;
                let failure = Failure {
                    class,
                    at: self.now(),
                    not_before: None,
                    summary: summary.clone(),
                    causes: Vec::new(),
                    hint,
                };
                let wanted = plan::deployment_wish(id, spec.deployment);
                let trouble =
                    Trouble::extend(record.deploy_trouble.as_ref(), failure.clone(), wanted);
                self.tell("certificate not deployed, retrying", &trouble);
                record.deploy_trouble = Some(trouble);
                record.remember(self.attempt("deploy", Outcome::Failed(class, summary)));
                self.save(&record, Activity::Deploy).await.map(|_| (Activity::Deploy, failure))
            }
        }
    }

    /// Switches `live`, writes the copies, runs the hooks. Each part may be repeated.
    async fn activate(
        &self,
        record: &Record,
        id: GenerationId,
    ) -> Result<(), (String, Option<String>)> {
        let name = self.name();
        let plain = |error: &StoreError| (Chain(error).to_string(), None);
        let Some(generation) = record.newest.as_ref().filter(|newest| newest.id == id) else {
            return Err((format!("generation {id} is gone"), None));
        };
        let files = self.store().bundle(name, id).await.map_err(|error| plain(&error))?;
        let key = PrivateKey::from_pem(&files.privkey);
        let is_pair = key.is_ok_and(|key| key.public_key() == generation.facts.public_key);
        if !is_pair {
            let hint = format!("`certs renew {name}` gets a new one");
            let text = format!("generation {id} is damaged: its key does not match");
            return Err((text, Some(hint)));
        }
        self.store().switch(name, id).await.map_err(|error| plain(&error))?;
        let event = match &record.deployed {
            Some(deployed) if deployed.generation == id => HookEvent::Deployed,
            Some(_) => HookEvent::Renewed,
            None => HookEvent::Issued,
        };
        let bundle = deploy::Bundle {
            privkey: files.privkey,
            cert: files.cert,
            chain: files.chain,
            fullchain: files.fullchain,
            combined: files.combined,
        };
        let environment = deploy::HookEnvironment {
            name: name.clone(),
            identifiers: self.certificate.spec.satisfy.identifiers.clone(),
            live: self.setup.config.state_dir.join("live").join(name.as_str()),
            generation: id,
            event,
            not_after: generation.facts.validity.not_after,
            fingerprint: generation.facts.fingerprint.clone(),
            key: generation.key,
            contact: self.contact(),
        };
        let outputs = self.certificate.outputs.clone();
        let written =
            tokio::task::spawn_blocking(move || deploy::write_outputs(&bundle, &outputs)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err((Chain(&error).to_string(), None)),
            Err(_) => return Err(("writing outputs was interrupted".to_owned(), None)),
        }
        for hook in &self.certificate.hooks {
            // One reload of a service at a time, however many certificates it serves.
            let turn = self.setup.hook_turns.turn(&hook.command.to_string());
            let _turn = turn.lock().await;
            match deploy::run_hook(hook, &environment, &self.stop).await {
                Ok(output) => {
                    info!(hook = %hook.name, elapsed = ?output.elapsed, "hook succeeded");
                }
                Err(error) => {
                    let hint = error.hint();
                    return Err((format!("hook {}: {}", hook.name, Chain(&error)), hint));
                }
            }
        }
        Ok(())
    }

    fn contact(&self) -> Option<String> {
        let issuer = self.setup.config.issuers.get(&self.certificate.spec.satisfy.issuer)?;
        let first = issuer.contact.first()?;
        Some(first.strip_prefix("mailto:").unwrap_or(first).to_owned())
    }

    /// Takes away what is still shown. An issuance is forgotten only when nothing of it is left:
    /// its journal is the only place that knows.
    async fn clean_up(&self, holding: &Holding, afterwards: Afterwards) -> Unrecorded {
        let intent = holding.intent.as_ref()?;
        let mut left = intent.presented.clone();
        if let Some(solver) = self.setup.solvers.get(&self.certificate.solver) {
            let gone = take_away(solver.as_ref(), &left).await;
            left.retain(|presented| !gone.contains(presented));
        }
        let is_done = left.is_empty();
        let outcome = match afterwards {
            Afterwards::Forget if is_done => {
                info!("forgetting an issuance that is no longer wanted");
                self.store().abandon(self.name()).await
            }
            Afterwards::Forget | Afterwards::Keep => {
                let intent = Intent { presented: left, ..intent.clone() };
                self.store().save_intent(self.name(), &intent).await
            }
        };
        let failure = match outcome {
            Err(error) => self.store_failure("cleaning up", &error),
            Ok(()) if is_done => return None,
            Ok(()) => Failure {
                class: FailureClass::Local,
                at: self.now(),
                not_before: None,
                summary: "challenge answers could not be taken away".to_owned(),
                causes: Vec::new(),
                hint: None,
            },
        };
        Some((Activity::Housekeeping, failure))
    }

    async fn prune(&self, remove: &[GenerationId]) -> Unrecorded {
        let error = self.store().prune(self.name(), remove).await.err()?;
        Some((Activity::Housekeeping, self.store_failure("removing old generations", &error)))
    }

    /// Saves the record; a failure to do so comes back.
    async fn save(&self, record: &Record, activity: Activity) -> Unrecorded {
        let error = self.store().save_record(self.name(), record).await.err()?;
        let failure = self.store_failure("writing the record", &error);
        error!(error = %failure.summary, "cannot remember the outcome, retrying");
        Some((activity, failure))
    }

    fn attempt(&self, what: &str, outcome: Outcome) -> Attempt {
        let issuer = (what == "issue").then(|| self.certificate.spec.satisfy.issuer.clone());
        Attempt { at: self.now(), what: what.to_owned(), issuer, outcome }
    }

    fn store_failure(&self, doing: &str, error: &StoreError) -> Failure {
        Failure {
            class: FailureClass::Local,
            at: self.now(),
            not_before: None,
            summary: format!("{doing}: {}", Chain(error)),
            causes: Vec::new(),
            hint: None,
        }
    }

    fn store_issue_failure(&self, error: &StoreError) -> IssueFailure {
        IssueFailure::new(FailureClass::Local, Chain(error).to_string())
    }
}

fn local(error: &KeyError) -> IssueFailure {
    IssueFailure::new(FailureClass::Local, Chain(error).to_string())
}
