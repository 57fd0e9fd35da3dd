//! The plan as text: what a situation leads to, in the words that people see.

use std::collections::BTreeSet;

use super::*;
use crate::model::{
    CertificateFacts, FailureClass, Identifier, KeyKind, Request, Satisfy, Validity,
};

pub(super) const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn spec(name: &str, identifiers: &[&str]) -> Spec {
    Spec {
        name: name.parse().unwrap(),
        satisfy: Satisfy {
            identifiers: identifiers.iter().map(|text| text.parse().unwrap()).collect(),
            key: KeyKind::EcdsaP256,
            issuer: "ca".parse().unwrap(),
        },
        request: Request::default(),
        deployment: DeploymentDigest(1),
    }
}

pub(super) fn generation(spec: &Spec, id: u32, from: Timestamp, lifetime: Duration) -> Generation {
    let identifiers: BTreeSet<Identifier> = spec.satisfy.identifiers.iter().cloned().collect();
    Generation {
        id: GenerationId(id),
        issuer: spec.satisfy.issuer.clone(),
        key: spec.satisfy.key,
        ordered: identifiers.clone(),
        profile: None,
        issued_at: from,
        facts: CertificateFacts {
            identifiers,
            validity: Validity { not_before: from, not_after: from.after(lifetime) },
            serial: format!("{id:04x}"),
            fingerprint: String::new(),
            public_key: String::new(),
            issued_by: "Test CA".to_owned(),
        },
    }
}

/// A lineage whose newest generation is live and deployed.
pub(super) fn settled(spec: &Spec, newest: Generation) -> Observation {
    Observation {
        live: Some(LiveGeneration { id: newest.id, not_after: newest.facts.validity.not_after }),
        generations: vec![newest.id],
        deployed: Some(Deployed { generation: newest.id, digest: spec.deployment }),
        newest: Some(newest),
        ..Observation::default()
    }
}

fn failure(class: FailureClass, at: Timestamp) -> Failure {
    Failure {
        class,
        at,
        not_before: None,
        summary: "it broke".to_owned(),
        causes: Vec::new(),
        hint: None,
    }
}

fn trouble(spec: &Spec, class: FailureClass, failures: u32, at: Timestamp) -> Trouble {
    Trouble { since: at, failures, last: failure(class, at), wanted: spec.issuance_digest() }
}

fn check(spec: &Spec, seen: Observation, expected: &str) {
    let observed = Observed::from([(spec.name.clone(), seen)]);
    let text = plan(NOW, std::slice::from_ref(spec), &observed).to_string();
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(text.trim().lines().collect::<Vec<_>>(), expected, "\n{text}");
}

#[test]
fn nothing_held_means_issue() {
    check(
        &spec("site", &["a.example"]),
        Observation::default(),
        "do   site: issue (no certificate yet)
         is   site: due: no certificate yet
         wake when something happens",
    );
}

#[test]
fn a_good_certificate_waits_for_two_thirds_of_its_lifetime() {
    let spec = spec("site", &["a.example"]);
    let held = settled(&spec, generation(&spec, 1, NOW, 90 * DAY));
    check(
        &spec,
        held,
        "is   site: current until 2027-03-14T04:15:42Z; deployed
         wake 2027-03-14T04:15:42Z",
    );
}

#[test]
fn a_short_lived_certificate_is_renewed_at_half_of_its_lifetime() {
    let spec = spec("site", &["a.example"]);
    let fresh = generation(&spec, 1, NOW, 160 * HOUR);
    let due = due_at(&spec.name, &fresh);
    assert!(due <= NOW.after(80 * HOUR) && due >= NOW.after(76 * HOUR), "{due}");
    let held = settled(&spec, generation(&spec, 1, NOW.before(81 * HOUR), 160 * HOUR));
    check(
        &spec,
        held,
        "do   site: issue (renewal time)
         is   site: due: renewal time; deployed
         wake when something happens",
    );
}

#[test]
fn names_added_and_removed_are_named() {
    let old = spec("site", &["a.example", "b.example"]);
    let new = spec("site", &["a.example", "c.example"]);
    check(
        &new,
        settled(&new, generation(&old, 1, NOW, 90 * DAY)),
        "do   site: issue (names changed: +c.example -b.example)
         is   site: due: names changed: +c.example -b.example; deployed
         wake when something happens",
    );
}

#[test]
fn the_order_of_names_and_the_profile_are_no_reason_to_reissue() {
    let old = spec("site", &["a.example", "b.example"]);
    let mut new = spec("site", &["b.example", "a.example"]);
    new.request.profile = Some("tlsserver".to_owned());
    let seen = settled(&new, generation(&old, 1, NOW, 90 * DAY));
    assert_eq!(decide(NOW, &new, &seen).1, None);
}

#[test]
fn a_failed_validation_waits_and_says_why() {
    let spec = spec("site", &["a.example"]);
    let seen = Observation {
        issue_trouble: Some(trouble(&spec, FailureClass::Validation, 2, NOW)),
        ..Observation::default()
    };
    check(
        &spec,
        seen,
        "is   site: waits until 2027-01-15T08:10:13Z (no certificate yet) after validation: it broke
         wake 2027-01-15T08:10:13Z",
    );
}

#[test]
fn back_off_is_waived_when_the_configuration_changed_but_not_the_ca_s_own_demand() {
    let old = spec("site", &["typo.example"]);
    let new = spec("site", &["good.example"]);
    let mut failed = trouble(&old, FailureClass::Validation, 9, NOW);
    let seen = |trouble: &Trouble| Observation {
        issue_trouble: Some(trouble.clone()),
        ..Observation::default()
    };
    assert!(matches!(decide(NOW, &new, &seen(&failed)).1, Some(Step::Issue { .. })));
    failed.last.not_before = Some(NOW.after(HOUR));
    let (verdict, step) = decide(NOW, &new, &seen(&failed));
    assert_eq!((verdict.wake_at(), step), (NOW.after(HOUR), None));
}

#[test]
fn a_ca_cannot_demand_more_than_a_day() {
    let spec = spec("site", &["a.example"]);
    let mut failed = trouble(&spec, FailureClass::RateLimited, 1, NOW);
    failed.last.not_before = Some(Timestamp::MAX);
    let seen = Observation { issue_trouble: Some(failed), ..Observation::default() };
    assert_eq!(decide(NOW, &spec, &seen).0.wake_at(), NOW.after(DAY));
}

#[test]
fn a_person_s_wish_overrides_back_off_and_renewal_time() {
    let spec = spec("site", &["a.example"]);
    let mut seen = settled(&spec, generation(&spec, 1, NOW, 90 * DAY));
    seen.issue_trouble = Some(trouble(&spec, FailureClass::Rejected, 3, NOW));
    seen.wish = Wish::Renew;
    check(
        &spec,
        seen,
        "do   site: issue (asked for)
         is   site: due: asked for; deployed
         wake when something happens",
    );
}

#[test]
fn a_wish_that_failed_stands_but_waits_like_any_other() {
    let spec = spec("site", &["a.example"]);
    let mut seen = settled(&spec, generation(&spec, 1, NOW, 90 * DAY));
    seen.issue_trouble = Some(trouble(&spec, FailureClass::Local, 1, NOW));
    seen.wish = Wish::RenewTried;
    assert!(matches!(decide(NOW, &spec, &seen).0.issuance, Issuance::Waiting { .. }));
    let later = NOW.after(2 * HOUR);
    let reason = Reason::Requested;
    assert_eq!(decide(later, &spec, &seen).1, Some(Step::Issue { reason }));
}

#[test]
fn an_order_under_way_is_resumed_unless_the_wish_changed() {
    let old = spec("site", &["a.example"]);
    let seen = |wanted: &Spec| Observation {
        pending: Some(PendingIssuance { wanted: wanted.issuance_digest(), has_order: true }),
        presented: 1,
        ..Observation::default()
    };
    assert_eq!(decide(NOW, &old, &seen(&old)).1, Some(Step::Resume { reason: Reason::Missing }));
    let new = spec("site", &["b.example"]);
    assert_eq!(decide(NOW, &new, &seen(&old)).1, Some(Step::Abandon));
}

#[test]
fn leftovers_that_cannot_be_removed_are_tried_again_later_and_hold_up_nothing() {
    let spec = spec("site", &["a.example"]);
    let mut seen = settled(&spec, generation(&spec, 1, NOW, 90 * DAY));
    seen.pending = Some(PendingIssuance { wanted: spec.issuance_digest(), has_order: true });
    assert_eq!(decide(NOW, &spec, &seen).1, Some(Step::Abandon), "nothing is wanted any more");
    seen.housekeeping_trouble = Some(trouble(&spec, FailureClass::Local, 1, NOW));
    assert_eq!(decide(NOW, &spec, &seen).1, None);
    assert_eq!(decide(NOW.after(2 * HOUR), &spec, &seen).1, Some(Step::Abandon));
    seen.wish = Wish::Renew;
    assert!(matches!(decide(NOW, &spec, &seen).1, Some(Step::Resume { .. })));
}

#[test]
fn a_new_generation_is_deployed_before_anything_else() {
    let spec = spec("site", &["a.example"]);
    let mut seen = settled(&spec, generation(&spec, 1, NOW.before(89 * DAY), 90 * DAY));
    seen.newest = Some(generation(&spec, 2, NOW.before(HOUR), 90 * DAY));
    seen.generations.push(GenerationId(2));
    check(
        &spec,
        seen,
        "do   site: deploy generation 0002 (new generation)
         is   site: current until 2027-03-15T20:02:46Z; deployment due: new generation
         wake 2027-03-15T20:02:46Z",
    );
}

#[test]
fn a_failed_deployment_waits_without_holding_up_renewal() {
    let spec = spec("site", &["a.example"]);
    let mut seen = settled(&spec, generation(&spec, 1, NOW.before(80 * DAY), 90 * DAY));
    seen.deployed = None;
    seen.deploy_trouble = Some(Trouble {
        wanted: deployment_wish(GenerationId(1), spec.deployment),
        ..trouble(&spec, FailureClass::Local, 1, NOW)
    });
    check(
        &spec,
        seen,
        "do   site: issue (renewal time)
         is   site: due: renewal time; deployment waits until 2027-01-15T08:01:01Z after: it broke
         wake 2027-01-15T08:01:01Z",
    );
}

#[test]
fn changed_hooks_deploy_the_same_generation_again() {
    let mut spec = spec("site", &["a.example"]);
    let seen = settled(&spec, generation(&spec, 1, NOW, 90 * DAY));
    spec.deployment = DeploymentDigest(2);
    let reason = DeployReason::SettingsChanged;
    let step = Step::Deploy { generation: GenerationId(1), reason };
    assert_eq!(decide(NOW, &spec, &seen).1, Some(step));
}

#[test]
fn a_valid_certificate_is_never_switched_to_a_worse_one() {
    let spec = spec("site", &["a.example"]);
    let mut seen = settled(&spec, generation(&spec, 1, NOW.before(80 * DAY), 90 * DAY));
    seen.newest = Some(generation(&spec, 2, NOW.after(HOUR), 90 * DAY));
    let (verdict, _) = decide(NOW, &spec, &seen);
    assert_eq!(verdict.deployment, Deployment::HeldBack { until: NOW.after(HOUR) });
    seen.newest = Some(generation(&spec, 2, NOW.before(95 * DAY), 90 * DAY));
    let (verdict, step) = decide(NOW, &spec, &seen);
    assert_eq!(verdict.deployment, Deployment::Nothing);
    assert!(matches!(step, Some(Step::Issue { .. })));
}

#[test]
fn old_generations_go_but_never_the_live_one() {
    let spec = spec("site", &["a.example"]);
    let mut seen = settled(&spec, generation(&spec, 8, NOW, 90 * DAY));
    seen.generations = (1..=8).map(GenerationId).collect();
    let remove = vec![GenerationId(1), GenerationId(2), GenerationId(3)];
    assert_eq!(decide(NOW, &spec, &seen).1, Some(Step::Prune { remove }));
    seen.live = seen.live.map(|live| LiveGeneration { id: GenerationId(2), ..live });
    assert_eq!(superfluous(&seen), [GenerationId(1), GenerationId(3)]);
}

#[test]
fn a_clock_set_back_does_not_stop_attempts_for_years() {
    let spec = spec("site", &["a.example"]);
    let seen = Observation {
        issue_trouble: Some(trouble(&spec, FailureClass::Transient, 1, NOW.after(365 * DAY))),
        ..Observation::default()
    };
    assert!(matches!(decide(NOW, &spec, &seen).1, Some(Step::Issue { .. })));
}

#[test]
fn waiting_times_shrink_with_the_lifetime_and_never_pass_the_expiry() {
    let spec = spec("site", &["a.example"]);
    for lifetime in [Duration::from_secs(60), 6 * HOUR, 160 * HOUR, 45 * DAY, 90 * DAY] {
        let held = generation(&spec, 1, NOW.before(lifetime * 2 / 3), lifetime);
        for failures in [1, 3, 50] {
            let mut seen = settled(&spec, held.clone());
            seen.issue_trouble = Some(trouble(&spec, FailureClass::Validation, failures, NOW));
            let next = decide(NOW, &spec, &seen).0.wake_at();
            assert!(next > NOW && next < held.facts.validity.not_after, "{lifetime:?} {next}");
        }
    }
}

#[test]
fn lineages_that_are_not_configured_are_left_alone() {
    let gone = spec("gone", &["a.example"]);
    let observed =
        Observed::from([(gone.name.clone(), settled(&gone, generation(&gone, 1, NOW, DAY)))]);
    assert_eq!(plan(NOW, &[], &observed).to_string(), "wake when something happens\n");
}
