//! When a certificate is due for renewal: a fraction of its lifetime, never a number of days.

use std::time::Duration;

use crate::model::{Generation, LineageName, Timestamp, stable_hash};

/// Lifetimes below this are renewed at half their time instead of two thirds.
///
/// Let's Encrypt's integration guide: without ARI, renew with a third of the lifetime left, with
/// half of it below ten days.
const SHORT_LIVED: Duration = Duration::from_secs(10 * 24 * 3600);

/// Renewals of certificates that were issued together are spread over this much of the lifetime
/// *before* the due time, so that a fleet does not arrive at its CA as a herd.
const SPREAD: f64 = 1.0 / 40.0;

/// When `generation` is due. The same on every call: the spread comes from name and serial.
pub fn due_at(name: &LineageName, generation: &Generation) -> Timestamp {
    let validity = generation.facts.validity;
    let fraction = if validity.lifetime() < SHORT_LIVED { 1.0 / 2.0 } else { 2.0 / 3.0 };
    let draw = stable_hash([name.as_str(), &generation.facts.serial]);
    // 53 bits are what a float holds exactly.
    let share = (draw >> 11) as f64 / (1_u64 << 53) as f64;
    validity.at(fraction - share * SPREAD)
}
