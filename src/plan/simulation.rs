//! Two virtual years of the real [`plan`] against a CA that fails at random.

use std::time::Duration;

use super::tests::{NOW, generation, settled, spec};
use super::*;
use crate::model::{FailureClass, stable_hash};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const LINEAGES: u64 = 20;

/// What happens to whom, decided by a hash so that every run is the same.
struct Weather {
    seed: String,
    draws: u64,
}

impl Weather {
    fn draw(&mut self, sides: u64) -> u64 {
        self.draws += 1;
        stable_hash([self.seed.as_str(), &self.draws.to_string()]) % sides
    }
}

/// The CA is down for `length` out of every twenty days.
fn is_outage(now: Timestamp, length: Duration) -> bool {
    now.unix() % (20 * DAY).as_secs().cast_signed() < length.as_secs().cast_signed()
}

struct World {
    specs: Vec<Spec>,
    observed: Observed,
    lifetime: Duration,
    outage: Duration,
    weather: Weather,
    issued: u64,
    failures: u64,
}

impl World {
    fn new(seed: &str, lifetime: Duration, outage: Duration) -> Self {
        let specs =
            (0..LINEAGES).map(|n| spec(&format!("site{n}"), &[&format!("host{n}.example")]));
        Self {
            specs: specs.collect(),
            observed: Observed::new(),
            lifetime,
            outage,
            weather: Weather { seed: seed.to_owned(), draws: 0 },
            issued: 0,
            failures: 0,
        }
    }

    /// Does what the plan says, as the engine would, and checks that it may.
    fn execute(&mut self, now: Timestamp, action: &Action) {
        let spec = self.specs.iter().find(|spec| spec.name == action.lineage).unwrap().clone();
        let before = self.observed.get(&spec.name).cloned().unwrap_or_default();
        let after = match &action.step {
            Step::Issue { .. } | Step::Resume { .. } => {
                if let Some(trouble) = &before.issue_trouble {
                    let demanded = trouble.last.not_before.unwrap_or(trouble.last.at);
                    assert!(
                        now >= demanded,
                        "{now}: {action:?} although told to wait: {trouble:?}"
                    );
                    assert!(now > trouble.last.at, "{now}: no pause after {trouble:?}");
                }
                self.attempt(now, &spec, before)
            }
            Step::Deploy { generation, .. } => {
                let newest = before.newest.clone().unwrap();
                assert_eq!(newest.id, *generation);
                if self.weather.draw(5) == 0 {
                    let wanted = deployment_wish(newest.id, spec.deployment);
                    let failed = self.failure(now, FailureClass::Local, None);
                    let trouble = Trouble::extend(before.deploy_trouble.as_ref(), failed, wanted);
                    let not_after = newest.facts.validity.not_after;
                    let live = Some(LiveGeneration { id: newest.id, not_after });
                    Observation { live, deploy_trouble: Some(trouble), ..before }
                } else {
                    let generations = before.generations;
                    Observation { generations, ..settled(&spec, newest) }
                }
            }
            Step::Prune { remove } => {
                let mut after = before;
                after.generations.retain(|id| !remove.contains(id));
                after
            }
            Step::CleanUp | Step::Abandon => Observation { presented: 0, pending: None, ..before },
        };
        self.observed.insert(spec.name, after);
    }

    fn attempt(&mut self, now: Timestamp, spec: &Spec, before: Observation) -> Observation {
        let outcome = self.weather.draw(10);
        let failed = if is_outage(now, self.outage) {
            Some((FailureClass::Transient, None))
        } else {
            match outcome {
                0 => Some((FailureClass::Validation, None)),
                1 => Some((FailureClass::RateLimited, Some(now.after(self.lifetime / 500)))),
                2 => Some((FailureClass::Transient, None)),
                _ => None,
            }
        };
        if let Some((class, not_before)) = failed {
            let failed = self.failure(now, class, not_before);
            let trouble =
                Trouble::extend(before.issue_trouble.as_ref(), failed, spec.issuance_digest());
            return Observation { issue_trouble: Some(trouble), ..before };
        }
        self.issued += 1;
        let id = before.newest.as_ref().map_or(1, |newest| newest.id.0 + 1);
        let newest = generation(spec, id, now, self.lifetime);
        let mut after = Observation { newest: Some(newest), issue_trouble: None, ..before };
        after.generations.push(GenerationId(id));
        after
    }

    fn failure(
        &mut self,
        at: Timestamp,
        class: FailureClass,
        not_before: Option<Timestamp>,
    ) -> Failure {
        self.failures += 1;
        let summary = "simulated".to_owned();
        Failure { class, at, not_before, summary, causes: Vec::new(), hint: None }
    }

    /// From `NOW` on for two years.
    fn run(&mut self) {
        let end = NOW.after(730 * DAY);
        let mut now = NOW;
        while now < end {
            let plan = plan(now, &self.specs, &self.observed);
            for action in &plan.actions {
                self.execute(now, action);
            }
            for (name, seen) in &self.observed {
                if let Some(newest) = &seen.newest {
                    let left = newest.facts.validity.not_after;
                    assert!(left > now, "{now}: {name} has expired at {left}");
                }
                assert!(seen.generations.len() <= KEPT_GENERATIONS + 1, "{name} keeps everything");
            }
            if plan.actions.is_empty() {
                assert!(plan.wake_at > now, "{now}: would spin");
                now = plan.wake_at.min(end);
            } else {
                // A step takes a moment; the next plan sees its outcome.
                now = now.after(Duration::from_secs(1));
            }
        }
    }
}

fn two_years(seed: &str, lifetime: Duration, outage: Duration) {
    let mut world = World::new(seed, lifetime, outage);
    world.run();
    // Convergence: with the weather calmed, everything settles.
    let quiet = plan(NOW.after(730 * DAY), &world.specs, &world.observed);
    let unsettled = quiet
        .verdicts
        .values()
        .filter(|verdict| !matches!(verdict.deployment, Deployment::Done))
        .count();
    assert!(unsettled <= world.specs.len() / 10, "{quiet}");
    // Load: certificates are replaced about as often as their lifetime implies, and a CA that is
    // down hears from each lineage a bounded number of times per outage.
    let ideal = LINEAGES as f64 * (730 * DAY).as_secs_f64() / (lifetime.as_secs_f64() * 0.47);
    assert!((world.issued as f64) < ideal, "{} issued, {ideal} expected", world.issued);
    let outages = LINEAGES * (730 / 20);
    assert!(world.failures < world.issued + outages * 80, "{} failures", world.failures);
    assert!(world.failures > 100, "the weather was too kind to prove anything");
}

#[test]
fn ninety_day_certificates_never_expire_over_two_years_with_outages_of_five_days() {
    two_years("ninety", 90 * DAY, 5 * DAY);
}

#[test]
fn forty_five_day_certificates_never_expire_over_two_years_with_outages_of_three_days() {
    two_years("forty-five", 45 * DAY, 3 * DAY);
}

#[test]
fn six_day_certificates_never_expire_over_two_years_with_outages_of_two_days() {
    two_years("six", 160 * HOUR, 2 * DAY);
}

#[test]
fn renewals_of_certificates_issued_together_spread_out() {
    let due: Vec<Timestamp> = (0..1000)
        .map(|n| {
            let spec = spec(&format!("site{n}"), &["a.example"]);
            due_at(&spec.name, &generation(&spec, 1, NOW, 90 * DAY))
        })
        .collect();
    let (first, last) = (due.iter().min().unwrap(), due.iter().max().unwrap());
    assert!(last.since(*first) > 2 * DAY);
    let busiest = (0..60)
        .map(|hour| {
            let from = first.after(hour * HOUR);
            due.iter().filter(|&&at| at >= from && at < from.after(HOUR)).count()
        })
        .max();
    assert!(busiest.unwrap() < 50, "{busiest:?} of 1000 in one hour");
}
