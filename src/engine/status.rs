//! How things stand, in the form that leaves the process: a stable contract with a schema number.
//!
//! Invariant: one builder, over the verdicts of the same plan that the engine follows.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::config::settings::CertificateSettings;
use crate::model::{Cause, Failure, FailureClass, LineageName, Timestamp, Trouble};
use crate::plan::{self, Deployment, Issuance, Observation, Observed, Verdict};
use crate::store::{Attempt, Holding};

/// Version of the JSON. Fields may be added under the same number.
pub const SCHEMA: u32 = 1;

/// Everything that `certs status` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the program that made this.
    pub version: String,
    /// When this was made.
    pub at: Timestamp,
    /// Whether a daemon made this, or a look at the state directory without one.
    pub daemon: bool,
    /// Problems of the daemon as a whole, such as a configuration that could not be taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// The certificates, in name order.
    pub certificates: Vec<CertificateStatus>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Name of the lineage.
    pub name: LineageName,
    /// The configured identifiers; those of the certificate if it is not configured.
    pub names: Vec<String>,
    /// The CA, as configured.
    pub issuer: String,
    /// In one word.
    pub state: State,
    /// How bad that is.
    pub severity: Severity,
    /// From when the newest certificate is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Until when the newest certificate is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Its serial number, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The newest generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// The generation that `live` points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<u32>,
    /// What comes next.
    pub next: Next,
    /// What is wrong with issuance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemStatus>,
    /// What is wrong with deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy_problem: Option<ProblemStatus>,
}

/// State of a certificate in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Valid, deployed, nothing to do.
    Ok,
    /// There is none yet, and none has failed.
    Missing,
    /// To be issued or deployed now.
    Due,
    /// A job is at work.
    Working,
    /// Issuance failed and waits for its next attempt.
    Waiting,
    /// Issued; outputs or hooks have failed and will be tried again.
    DeployPending,
    /// Issued; not valid yet by this machine's clock.
    HeldBack,
    /// What is held is no longer valid.
    Expired,
    /// A person has to look.
    Blocked,
    /// Held, but not in the configuration: left alone.
    Unconfigured,
}

impl State {
    /// As shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Due => "due",
            Self::Working => "working",
            Self::Waiting => "waiting for retry",
            Self::DeployPending => "deploy pending",
            Self::HeldBack => "held back",
            Self::Expired => "expired",
            Self::Blocked => "blocked",
            Self::Unconfigured => "not configured",
        }
    }
}

/// How bad a state is, in the order and with the meaning of the monitoring-plugin convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Something failed; there is time.
    Warning,
    /// Something failed and there is little or no time.
    Critical,
}

/// What comes next for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// What.
    pub what: String,
    /// When; `None` for now or for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// Failures in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemStatus {
    /// Since when.
    pub since: Timestamp,
    /// How many.
    pub failures: u32,
    /// Kind of the last one.
    pub class: FailureClass,
    /// When the last one happened.
    pub at: Timestamp,
    /// The last one in one line.
    pub summary: String,
    /// What the CA said of single identifiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// All about one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// [`SCHEMA`].
    pub schema: u32,
    /// As in the list.
    pub certificate: CertificateStatus,
    /// What the plan says, in words.
    pub plan: String,
    /// The generations held.
    pub generations: Vec<GenerationStatus>,
    /// Latest attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// URL of the order under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Where the files are and who is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<UsedBy>,
    /// SHA-256 of the newest certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Name of the CA certificate that signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<String>,
}

/// A generation on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// Its number.
    pub id: u32,
    /// Whether `live` points to it.
    pub live: bool,
}

/// Where a certificate goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedBy {
    /// The live directory.
    pub live: String,
    /// Copies.
    pub outputs: Vec<String>,
    /// Commands.
    pub hooks: Vec<String>,
}

/// How things stand at `now`.
pub fn build(now: Timestamp, config: &Config, observed: &Observed) -> Status {
    let unseen = Observation::default();
    let mut certificates = BTreeMap::new();
    for certificate in &config.certificates {
        let name = &certificate.spec.name;
        let seen = observed.get(name).unwrap_or(&unseen);
        certificates.insert(name.clone(), configured(now, certificate, seen));
    }
    for (name, seen) in observed {
        if !certificates.contains_key(name)
            && let Some(status) = unconfigured(name, seen)
        {
            certificates.insert(name.clone(), status);
        }
    }
    Status {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: now,
        daemon: false,
        problems: Vec::new(),
        certificates: certificates.into_values().collect(),
    }
}

/// All about one certificate; `None` if nothing is known of it.
pub fn story(
    now: Timestamp,
    config: &Config,
    name: &LineageName,
    seen: Option<&Observation>,
    holding: Option<&Holding>,
) -> Option<Story> {
    let unseen = Observation::default();
    let seen = seen.unwrap_or(&unseen);
    let (certificate, plan, used_by) = match config.certificate(name) {
        Some(certificate) => {
            let (verdict, _) = plan::decide(now, &certificate.spec, seen);
            let live = config.state_dir.join("live").join(name.as_str());
            let used_by = UsedBy {
                live: live.display().to_string(),
                outputs: certificate.outputs.iter().map(|o| o.path.display().to_string()).collect(),
                hooks: certificate.hooks.iter().map(|hook| hook.command.to_string()).collect(),
            };
            (configured(now, certificate, seen), verdict.to_string(), Some(used_by))
        }
        None => (unconfigured(name, seen)?, "not configured: left alone".to_owned(), None),
    };
    let live = seen.live.map(|live| live.id);
    let generations = seen
        .generations
        .iter()
        .map(|id| GenerationStatus { id: id.0, live: live == Some(*id) })
        .collect();
    Some(Story {
        schema: SCHEMA,
        certificate,
        plan,
        generations,
        attempts: holding.map(|holding| holding.record.attempts.clone()).unwrap_or_default(),
        order: holding.and_then(|holding| holding.intent.as_ref()?.order.clone()),
        used_by,
        fingerprint: seen.newest.as_ref().map(|newest| newest.facts.fingerprint.clone()),
        issued_by: seen.newest.as_ref().map(|newest| newest.facts.issued_by.clone()),
    })
}

fn configured(
    now: Timestamp,
    certificate: &CertificateSettings,
    seen: &Observation,
) -> CertificateStatus {
    let spec = &certificate.spec;
    let (verdict, _) = plan::decide(now, spec, seen);
    let state = state(now, seen, &verdict);
    CertificateStatus {
        name: spec.name.clone(),
        names: spec.satisfy.identifiers.iter().map(ToString::to_string).collect(),
        issuer: spec.satisfy.issuer.to_string(),
        state,
        severity: severity(now, seen, state),
        next: next(seen, &verdict),
        ..held(&spec.name, seen)
    }
}

/// A lineage that nobody configures any more, if a certificate is held of it.
fn unconfigured(name: &LineageName, seen: &Observation) -> Option<CertificateStatus> {
    (seen.newest.is_some() || seen.blocked.is_some()).then(|| held(name, seen))
}

fn held(name: &LineageName, seen: &Observation) -> CertificateStatus {
    let newest = seen.newest.as_ref();
    let facts = newest.map(|newest| &newest.facts);
    CertificateStatus {
        name: name.clone(),
        names: facts
            .map(|facts| facts.identifiers.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        issuer: newest.map(|newest| newest.issuer.to_string()).unwrap_or_default(),
        state: State::Unconfigured,
        severity: Severity::Ok,
        not_before: facts.map(|facts| facts.validity.not_before),
        not_after: facts.map(|facts| facts.validity.not_after),
        serial: facts.map(|facts| facts.serial.clone()),
        generation: newest.map(|newest| newest.id.0),
        live: seen.live.map(|live| live.id.0),
        next: Next { what: "nothing".to_owned(), at: None },
        problem: seen.issue_trouble.as_ref().map(problem),
        deploy_problem: seen.deploy_trouble.as_ref().map(problem),
    }
}

fn problem(trouble: &Trouble) -> ProblemStatus {
    let Failure { class, at, summary, causes, hint, .. } = trouble.last.clone();
    let Trouble { since, failures, .. } = *trouble;
    ProblemStatus { since, failures, class, at, summary, causes, hint }
}

fn state(now: Timestamp, seen: &Observation, verdict: &Verdict) -> State {
    let expired = seen.newest.as_ref().is_some_and(|newest| newest.facts.validity.is_over(now));
    match (&verdict.issuance, &verdict.deployment) {
        (Issuance::Blocked { .. }, _) => State::Blocked,
        (Issuance::Working, _) => State::Working,
        _ if expired => State::Expired,
        (Issuance::Waiting { .. }, _) => State::Waiting,
        (_, Deployment::Waiting { .. }) => State::DeployPending,
        (_, Deployment::HeldBack { .. }) => State::HeldBack,
        (Issuance::Due { .. }, _) if seen.newest.is_none() => State::Missing,
        (Issuance::Due { .. }, _) | (_, Deployment::Due { .. }) => State::Due,
        (Issuance::Current { .. }, Deployment::Nothing | Deployment::Done) => State::Ok,
    }
}

/// Thresholds are fractions of the lifetime, never days: a six-day certificate is not always
/// nearly expired, and a sixth of 90 days is time enough to act.
fn severity(now: Timestamp, seen: &Observation, state: State) -> Severity {
    let left = seen.newest.as_ref().map_or(0.0, |newest| {
        let validity = newest.facts.validity;
        let lifetime = validity.lifetime().max(Duration::from_secs(1));
        validity.not_after.since(now).as_secs_f64() / lifetime.as_secs_f64()
    });
    let in_trouble = seen.issue_trouble.is_some() || seen.deploy_trouble.is_some();
    match state {
        State::Expired | State::Blocked => Severity::Critical,
        State::Unconfigured => Severity::Ok,
        _ if seen.newest.is_none() => {
            if in_trouble {
                Severity::Critical
            } else {
                Severity::Warning
            }
        }
        _ if left < 1.0 / 10.0 => Severity::Critical,
        _ if in_trouble && left < 1.0 / 6.0 => Severity::Critical,
        _ if in_trouble || left < 1.0 / 5.0 => Severity::Warning,
        _ => Severity::Ok,
    }
}

fn next(seen: &Observation, verdict: &Verdict) -> Next {
    let again = |what: &str, at: Timestamp| Next { what: what.to_owned(), at: Some(at) };
    let at_once = |what: String| Next { what, at: None };
    match (&verdict.issuance, &verdict.deployment) {
        (Issuance::Blocked { problem }, _) => at_once(format!("a person has to look: {problem}")),
        (Issuance::Working, _) => at_once("working".to_owned()),
        (_, Deployment::Due { reason }) => at_once(format!("deploy ({reason})")),
        (Issuance::Due { reason }, _) => at_once(format!("issue ({reason})")),
        (Issuance::Waiting { until, .. }, Deployment::Waiting { until: deploy, .. })
            if deploy < until =>
        {
            again("deploy again", *deploy)
        }
        (Issuance::Waiting { until, .. }, _) => again("try again", *until),
        (_, Deployment::Waiting { until, .. }) => again("deploy again", *until),
        (_, Deployment::HeldBack { until }) => again("go live", *until),
        (Issuance::Current { until }, _) if seen.newest.is_some() => again("renew", *until),
        (Issuance::Current { .. }, _) => at_once("nothing".to_owned()),
    }
}
