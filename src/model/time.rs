//! Points in time, spans between them, and the one way to ask what time it is.
//!
//! Invariant: nothing here reads a clock. Code that decides takes `now` as an argument;
//! the only implementation of [`Clock`] that looks at the system's is in `daemon`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in wall-clock time, in whole seconds since 1970-01-01T00:00:00Z.
///
/// Arithmetic saturates: hostile input from a CA cannot make it panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 9999-12-31T23:59:59Z, the last instant that RFC 3339 and X.509 can write.
const LAST: i64 = 253_402_300_799;

impl Timestamp {
    /// The latest time that can be represented: "not before something changes".
    pub const MAX: Self = Self(LAST);

    /// From seconds since the Unix epoch, clamped to the years 1970 to 9999.
    pub const fn from_unix(seconds: i64) -> Self {
        match seconds {
            ..0 => Self(0),
            LAST.. => Self(LAST),
            _ => Self(seconds),
        }
    }

    /// Parses RFC 3339, for example `2026-11-24T07:00:00Z`; `None` if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self::from_unix(parsed.unix_timestamp()))
    }

    /// Seconds since the Unix epoch.
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// This time plus `span`, fractions of a second dropped.
    pub fn after(self, span: Duration) -> Self {
        Self::from_unix(self.0.saturating_add(whole_seconds(span)))
    }

    /// This time minus `span`, fractions of a second dropped.
    pub fn before(self, span: Duration) -> Self {
        Self::from_unix(self.0.saturating_sub(whole_seconds(span)))
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn whole_seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(moment) = OffsetDateTime::from_unix_timestamp(self.0) else {
            return f.write_str("(no such time)");
        };
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second) = moment.to_hms();
        let month = u8::from(month);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format_args!("`{text}` is not an RFC 3339 time")))
    }
}

/// From when until when a certificate is valid, both ends included (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
}

impl Validity {
    /// The whole span of validity.
    pub fn lifetime(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// The point at which `fraction` (0 to 1) of the lifetime has passed.
    pub fn at(&self, fraction: f64) -> Timestamp {
        self.not_before.after(self.lifetime().mul_f64(fraction.clamp(0.0, 1.0)))
    }

    /// Whether the certificate has expired at `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.not_after < now
    }
}

/// Where the program learns what time it is.
pub trait Clock: Send + Sync {
    /// The wall-clock time.
    fn now(&self) -> Timestamp;
}

/// A number that is the same in every run for the same words, on every machine.
///
/// Used to spread renewals: no random numbers, so a plan can be repeated. FNV-1a, 64 bits,
/// with a final mix since FNV's low-entropy high bits would cluster similar names.
pub fn stable_hash<'a>(words: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in words {
        for byte in word.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_panicking() {
        let far = Timestamp::from_unix(i64::MAX).after(Duration::MAX);
        assert_eq!(far, Timestamp::MAX);
        assert_eq!(far.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::from_unix(5).before(Duration::MAX), Timestamp::from_unix(0));
        assert_eq!(Timestamp::from_unix(0).since(far), Duration::ZERO);
    }

    #[test]
    fn text_form_survives_a_round_trip() {
        let time = Timestamp::from_unix(1_795_503_600);
        assert_eq!(time.to_string(), "2026-11-24T07:00:00Z");
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn stable_hash_separates_words_and_spreads_similar_names() {
        assert_ne!(stable_hash(["ab", "c"]), stable_hash(["a", "bc"]));
        let mut quarters = [0; 4];
        for n in 0..1000 {
            quarters[(stable_hash([format!("host{n}").as_str()]) >> 62) as usize] += 1;
        }
        assert!(quarters.iter().all(|&q| q > 180), "{quarters:?}");
    }
}
