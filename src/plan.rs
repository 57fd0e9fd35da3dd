//! What to do, why, and when to look again: the whole behaviour over time in one pure function.
//!
//! Invariant: [`plan`] does no I/O, reads no clock, draws no random number and logs nothing. The
//! daemon, `certs status` and the simulation over years call the same function.

mod backoff;
mod drift;
mod renewal;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    DeploymentDigest, Failure, Generation, GenerationId, LineageName, Spec, SpecDigest, Timestamp,
    Trouble,
};

pub use drift::Reason;
pub use renewal::due_at;

/// Generations kept per lineage: enough to go back, few enough to stay small.
pub const KEPT_GENERATIONS: usize = 5;

/// Everything known about the lineages at one moment.
pub type Observed = BTreeMap<LineageName, Observation>;

/// Everything known about one lineage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The newest complete generation.
    pub newest: Option<Generation>,
    /// The generation that `live/NAME` points to.
    pub live: Option<LiveGeneration>,
    /// All complete generations, ascending.
    pub generations: Vec<GenerationId>,
    /// An issuance that was begun and is neither finished nor given up.
    pub pending: Option<PendingIssuance>,
    /// Challenge answers that were shown and not yet taken away.
    pub presented: usize,
    /// What was last deployed with success.
    pub deployed: Option<Deployed>,
    /// Failed issuances in a row.
    pub issue_trouble: Option<Trouble>,
    /// Failed deployments in a row.
    pub deploy_trouble: Option<Trouble>,
    /// Failed attempts in a row at cleaning up or removing old generations.
    pub housekeeping_trouble: Option<Trouble>,
    /// Whether a person has asked for a renewal.
    pub wish: Wish,
    /// A job works on this lineage at this moment.
    pub busy: bool,
    /// What is held could not be read; nothing is done until a person has looked.
    pub blocked: Option<String>,
}

/// What a person has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Nothing.
    #[default]
    None,
    /// A renewal now, whatever failed before.
    Renew,
    /// A renewal that has been tried and failed since: it stands, and waits like any other.
    RenewTried,
}

/// What `live/NAME` resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveGeneration {
    /// Its number.
    pub id: GenerationId,
    /// When its certificate expires.
    pub not_after: Timestamp,
}

/// An issuance under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingIssuance {
    /// What was wanted when it began.
    pub wanted: SpecDigest,
    /// Whether the CA has opened an order for it.
    pub has_order: bool,
}

/// A deployment that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Of which generation.
    pub generation: GenerationId,
    /// With which outputs and hooks.
    pub digest: DeploymentDigest,
}

/// The outcome of [`plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is to be done now, at most one action per lineage.
    pub actions: Vec<Action>,
    /// How each configured lineage stands.
    pub verdicts: BTreeMap<LineageName, Verdict>,
    /// When to plan again if nothing happens before; [`Timestamp::MAX`] for never.
    pub wake_at: Timestamp,
}

/// One step for one lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Which lineage.
    pub lineage: LineageName,
    /// What to do.
    pub step: Step,
}

/// What can be done for a lineage, in order of priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take away challenge answers that nobody waits for.
    CleanUp,
    /// The same, and forget the issuance under way, which is no longer wanted.
    Abandon,
    /// Switch `live/` to this generation, write outputs, run hooks.
    Deploy {
        /// Which generation.
        generation: GenerationId,
        /// Why.
        reason: DeployReason,
    },
    /// Finish the issuance that was begun.
    Resume {
        /// Why a certificate is wanted.
        reason: Reason,
    },
    /// Get a certificate.
    Issue {
        /// Why.
        reason: Reason,
    },
    /// Remove generations that are no longer kept.
    Prune {
        /// The ones to remove.
        remove: Vec<GenerationId>,
    },
}

/// Why a deployment is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeployReason {
    /// The newest generation has never been deployed.
    NewGeneration,
    /// `live/` points elsewhere or nowhere.
    NotLive,
    /// Outputs or hooks have changed.
    SettingsChanged,
    /// The last attempt failed and its waiting time is over.
    Retry,
}

/// How a lineage stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// As to having a good certificate.
    pub issuance: Issuance,
    /// As to the newest certificate being in use.
    pub deployment: Deployment,
}

/// Whether the certificate is good enough, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuance {
    /// Nothing to do until then.
    Current {
        /// When renewal is due.
        until: Timestamp,
    },
    /// To be issued now.
    Due {
        /// Why.
        reason: Reason,
    },
    /// To be issued, but not before a time that an earlier failure set.
    Waiting {
        /// Why it is to be issued.
        reason: Reason,
        /// When the next attempt is.
        until: Timestamp,
        /// What failed.
        after: Box<Failure>,
    },
    /// A job works on it.
    Working,
    /// Nothing can be done until a person has looked.
    Blocked {
        /// At what.
        problem: String,
    },
}

/// Whether the newest generation is where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deployment {
    /// There is nothing to deploy.
    Nothing,
    /// Live, and the hooks have succeeded.
    Done,
    /// To be deployed now.
    Due {
        /// Why.
        reason: DeployReason,
    },
    /// The certificate is not valid yet; it is held back until then.
    HeldBack {
        /// Its `notBefore`.
        until: Timestamp,
    },
    /// Failed; next attempt at a time.
    Waiting {
        /// When.
        until: Timestamp,
        /// What failed.
        after: Box<Failure>,
    },
}

/// Decides for every configured lineage. Lineages that are observed but not configured get
/// neither action nor verdict: nothing of theirs is touched.
pub fn plan(now: Timestamp, specs: &[Spec], observed: &Observed) -> Plan {
    let unseen = Observation::default();
    let mut plan = Plan { actions: Vec::new(), verdicts: BTreeMap::new(), wake_at: Timestamp::MAX };
    for spec in specs {
        let seen = observed.get(&spec.name).unwrap_or(&unseen);
        let (verdict, step) = decide(now, spec, seen);
        if let Some(step) = step {
            plan.actions.push(Action { lineage: spec.name.clone(), step });
        }
        plan.wake_at = plan.wake_at.min(verdict.wake_at());
        plan.verdicts.insert(spec.name.clone(), verdict);
    }
    plan
}

/// The verdict for one lineage and the one step to take now, if any.
pub fn decide(now: Timestamp, spec: &Spec, seen: &Observation) -> (Verdict, Option<Step>) {
    let verdict =
        Verdict { issuance: issuance(now, spec, seen), deployment: deployment(now, spec, seen) };
    let step =
        if seen.busy || seen.blocked.is_some() { None } else { step(now, spec, seen, &verdict) };
    (verdict, step)
}

fn step(now: Timestamp, spec: &Spec, seen: &Observation, verdict: &Verdict) -> Option<Step> {
    let resumable = seen.pending.is_some_and(|pending| pending.wanted == spec.issuance_digest());
    let goes_on = resumable && matches!(verdict.issuance, Issuance::Due { .. });
    let is_obsolete = seen.pending.is_some()
        && (!resumable || matches!(verdict.issuance, Issuance::Current { .. }));
    let may_keep_house = seen
        .housekeeping_trouble
        .as_ref()
        .is_none_or(|trouble| backoff::next_housekeeping(now, trouble).is_none());
    if is_obsolete && may_keep_house {
        return Some(Step::Abandon);
    }
    if seen.presented > 0 && !goes_on && may_keep_house {
        return Some(Step::CleanUp);
    }
    if let (Deployment::Due { reason }, Some(newest)) = (&verdict.deployment, &seen.newest) {
        return Some(Step::Deploy { generation: newest.id, reason: *reason });
    }
    if let Issuance::Due { reason } = &verdict.issuance {
        let reason = reason.clone();
        return Some(if resumable { Step::Resume { reason } } else { Step::Issue { reason } });
    }
    let remove = superfluous(seen);
    (!remove.is_empty() && may_keep_house).then_some(Step::Prune { remove })
}

fn issuance(now: Timestamp, spec: &Spec, seen: &Observation) -> Issuance {
    if let Some(problem) = &seen.blocked {
        return Issuance::Blocked { problem: problem.clone() };
    }
    if seen.busy {
        return Issuance::Working;
    }
    let reason = match drift::reason_to_issue(now, spec, seen) {
        Ok(until) => return Issuance::Current { until },
        Err(reason) => reason,
    };
    if let Some(trouble) = &seen.issue_trouble
        && seen.wish != Wish::Renew
        && let Some(until) =
            backoff::next_issuance(now, trouble, spec.issuance_digest(), seen.newest.as_ref())
    {
        return Issuance::Waiting { reason, until, after: Box::new(trouble.last.clone()) };
    }
    Issuance::Due { reason }
}

fn deployment(now: Timestamp, spec: &Spec, seen: &Observation) -> Deployment {
    let Some(newest) = &seen.newest else { return Deployment::Nothing };
    let wanted = Deployed { generation: newest.id, digest: spec.deployment };
    let is_live = seen.live.is_some_and(|live| live.id == newest.id);
    if is_live && seen.deployed == Some(wanted) {
        return Deployment::Done;
    }
    let validity = newest.facts.validity;
    if let Some(live) = seen.live.filter(|live| live.id != newest.id) {
        if validity.not_before > now && live.not_after >= now {
            return Deployment::HeldBack { until: validity.not_before };
        }
        if validity.is_over(now) && live.not_after > validity.not_after {
            // What is live is better than what is newest: leave it.
            return Deployment::Nothing;
        }
    }
    if let Some(trouble) = &seen.deploy_trouble {
        let same_wish = trouble.wanted == deployment_wish(newest.id, spec.deployment);
        if same_wish {
            return match backoff::next_deployment(now, trouble, validity.lifetime()) {
                Some(until) => Deployment::Waiting { until, after: Box::new(trouble.last.clone()) },
                None => Deployment::Due { reason: DeployReason::Retry },
            };
        }
    }
    let reason = match seen.deployed {
        Some(done) if done == wanted => DeployReason::NotLive,
        Some(done) if done.generation == newest.id => DeployReason::SettingsChanged,
        _ => DeployReason::NewGeneration,
    };
    Deployment::Due { reason }
}

/// What a [`Trouble`] of a deployment is bound to: another generation or other hooks make its
/// back-off void.
pub fn deployment_wish(generation: GenerationId, digest: DeploymentDigest) -> SpecDigest {
    SpecDigest(digest.0 ^ u64::from(generation.0))
}

fn superfluous(seen: &Observation) -> Vec<GenerationId> {
    let in_use = |id: &GenerationId| {
        seen.live.is_some_and(|live| live.id == *id)
            || seen.deployed.is_some_and(|deployed| deployed.generation == *id)
    };
    let surplus = seen.generations.len().saturating_sub(KEPT_GENERATIONS);
    seen.generations.iter().take(surplus).filter(|id| !in_use(id)).copied().collect()
}

impl Verdict {
    /// When this verdict may change by the passing of time alone.
    pub fn wake_at(&self) -> Timestamp {
        let issuance = match &self.issuance {
            Issuance::Current { until } | Issuance::Waiting { until, .. } => *until,
            Issuance::Due { .. } | Issuance::Working | Issuance::Blocked { .. } => Timestamp::MAX,
        };
        let deployment = match &self.deployment {
            Deployment::HeldBack { until } | Deployment::Waiting { until, .. } => *until,
            Deployment::Nothing | Deployment::Done | Deployment::Due { .. } => Timestamp::MAX,
        };
        issuance.min(deployment)
    }
}

/// A span as people say it: the two largest units, `41 d 6 h`, `59 s`.
pub fn span_in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => match seconds % 60 {
            0 => format!("{minutes} min"),
            rest => format!("{minutes} min {rest} s"),
        },
        (0, _, 0) => format!("{hours} h"),
        (0, ..) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

impl fmt::Display for DeployReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewGeneration => "new generation",
            Self::NotLive => "live points elsewhere",
            Self::SettingsChanged => "outputs or hooks changed",
            Self::Retry => "trying again",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CleanUp => f.write_str("take challenge answers away"),
            Self::Abandon => f.write_str("forget an issuance that is no longer wanted"),
            Self::Deploy { generation, reason } => {
                write!(f, "deploy generation {generation} ({reason})")
            }
            Self::Resume { reason } => write!(f, "finish the order under way ({reason})"),
            Self::Issue { reason } => write!(f, "issue ({reason})"),
            Self::Prune { remove } => {
                let names: Vec<String> = remove.iter().map(ToString::to_string).collect();
                write!(f, "remove old generations {}", names.join(", "))
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.issuance {
            Issuance::Current { until } => write!(f, "current until {until}")?,
            Issuance::Due { reason } => write!(f, "due: {reason}")?,
            Issuance::Waiting { reason, until, after } => {
                write!(
                    f,
                    "waits until {until} ({reason}) after {}: {}",
                    after.class, after.summary
                )?;
            }
            Issuance::Working => f.write_str("being worked on")?,
            Issuance::Blocked { problem } => write!(f, "needs a person: {problem}")?,
        }
        match &self.deployment {
            Deployment::Nothing => Ok(()),
            Deployment::Done => f.write_str("; deployed"),
            Deployment::Due { reason } => write!(f, "; deployment due: {reason}"),
            Deployment::HeldBack { until } => write!(f, "; held back until valid at {until}"),
            Deployment::Waiting { until, after } => {
                write!(f, "; deployment waits until {until} after: {}", after.summary)
            }
        }
    }
}

/// The golden text of a plan: actions, verdicts, next look.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Action { lineage, step } in &self.actions {
            writeln!(f, "do   {lineage}: {step}")?;
        }
        for (lineage, verdict) in &self.verdicts {
            writeln!(f, "is   {lineage}: {verdict}")?;
        }
        match self.wake_at {
            Timestamp::MAX => writeln!(f, "wake when something happens"),
            at => writeln!(f, "wake {at}"),
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod simulation;
