//! When to try again after failures in a row: depends on the class of the last failure, on how
//! many there were, and on how long certificates of this lineage live. Nothing else.

use std::time::Duration;

use crate::model::{
    FailureClass, Generation, SpecDigest, Timestamp, Trouble, Validity, stable_hash,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Lifetime for which the tables below are written; they shrink in proportion for shorter ones.
const USUAL_LIFETIME: Duration = Duration::from_secs(45 * 24 * 3600);

/// No attempt follows a failure sooner than this, however short the lifetime.
const SHORTEST: Duration = Duration::from_secs(2);

/// The longest a CA's own `Retry-After` is believed.
const LONGEST_DEMAND: Duration = DAY;

/// Waiting times after the first, second … failure; the last one repeats.
fn table(class: FailureClass) -> &'static [Duration] {
    const fn minutes(n: u32) -> Duration {
        Duration::from_secs(n as u64 * 60)
    }
    match class {
        // Let's Encrypt's integration guide advises 1, 10, 100 minutes, then daily. A CA or
        // network that is down costs it nothing to be asked a little more often than that.
        FailureClass::Transient => {
            const T: [Duration; 5] = [MINUTE, minutes(5), minutes(20), HOUR, minutes(360)];
            &T
        }
        FailureClass::RateLimited => {
            const T: [Duration; 3] = [minutes(10), minutes(100), minutes(720)];
            &T
        }
        // Five failed validations per name and hour are allowed (Let's Encrypt, "Authorization
        // Failures per Identifier per Account"); this stays below.
        FailureClass::Validation => {
            const T: [Duration; 4] = [MINUTE, minutes(10), minutes(100), DAY];
            &T
        }
        FailureClass::Rejected | FailureClass::Account | FailureClass::Config => {
            const T: [Duration; 3] = [HOUR, minutes(360), DAY];
            &T
        }
        FailureClass::Local => {
            const T: [Duration; 4] = [MINUTE, minutes(5), minutes(30), HOUR];
            &T
        }
        FailureClass::Bug => {
            const T: [Duration; 3] = [minutes(10), HOUR, minutes(360)];
            &T
        }
    }
}

/// When issuance may be tried again; `None` for now.
pub(super) fn next_issuance(
    now: Timestamp,
    trouble: &Trouble,
    wanted: SpecDigest,
    newest: Option<&Generation>,
) -> Option<Timestamp> {
    let last = &trouble.last;
    let demanded = last.not_before.map(|until| until.min(last.at.after(LONGEST_DEMAND)));
    let own = if trouble.wanted == wanted {
        let lifetime = newest.map_or(USUAL_LIFETIME, |g| g.facts.validity.lifetime());
        let wait = waiting_time(trouble, lifetime);
        let until = last.at.after(wait);
        // Do not sleep over the end of what is left: with little time, try more often.
        newest
            .and_then(|newest| urgent(last.at, newest.facts.validity))
            .map_or(until, |urgent| until.min(urgent))
    } else {
        // A new wish deserves a new attempt; only the CA's own demand still stands.
        last.at
    };
    still_ahead(now, last.at, own.max(demanded.unwrap_or(own)))
}

/// When deployment may be tried again; `None` for now.
pub(super) fn next_deployment(
    now: Timestamp,
    trouble: &Trouble,
    lifetime: Duration,
) -> Option<Timestamp> {
    let until = trouble.last.at.after(waiting_time(trouble, lifetime));
    still_ahead(now, trouble.last.at, until)
}

/// When leftovers may be looked at again; `None` for now.
pub(super) fn next_housekeeping(now: Timestamp, trouble: &Trouble) -> Option<Timestamp> {
    next_deployment(now, trouble, USUAL_LIFETIME)
}

/// A failure dated in the future means that the clock was set back: its date says nothing then,
/// and waiting for it could take years.
fn still_ahead(now: Timestamp, failed_at: Timestamp, until: Timestamp) -> Option<Timestamp> {
    (until > now && failed_at <= now).then_some(until)
}

fn waiting_time(trouble: &Trouble, lifetime: Duration) -> Duration {
    let table = table(trouble.last.class);
    let index = (trouble.failures.max(1) as usize - 1).min(table.len() - 1);
    let words = trouble.last.at.to_string();
    // Up to a tenth later, so that what failed together does not return together.
    let jitter = 1.0 + (stable_hash([words.as_str(), &trouble.last.summary]) % 100) as f64 / 1000.0;
    table[index].mul_f64(scale(lifetime) * jitter).max(SHORTEST)
}

/// The latest acceptable next attempt while a certificate runs out: a quarter of what is left,
/// but within the five failures per hour that Let's Encrypt allows. `None` once it has expired:
/// then the damage is done, and hammering the CA would not undo it.
fn urgent(failed_at: Timestamp, validity: Validity) -> Option<Timestamp> {
    if validity.is_over(failed_at) {
        return None;
    }
    let left = validity.not_after.since(failed_at);
    let floor = (12 * MINUTE).mul_f64(scale(validity.lifetime())).max(SHORTEST);
    Some(failed_at.after((left / 4).max(floor)))
}

fn scale(lifetime: Duration) -> f64 {
    (lifetime.as_secs_f64() / USUAL_LIFETIME.as_secs_f64()).clamp(0.0, 1.0)
}
