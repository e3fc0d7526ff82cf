//! A point in time as a value: what the core is given instead of a clock.

use std::time::Duration;

/// Microseconds since the Unix epoch, UTC.
///
/// Celery stamps its events with a float of seconds and microsecond digits; Prometheus wants
/// milliseconds. Microseconds hold both without rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The end of the year 9999: beyond it a number is a mistake and not a time.
    const SECONDS_MAX: f64 = 253_402_300_800.0;

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// From seconds since the epoch; `None` for what lies before 1970 or after the year 9999.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range above fits into 64 bits of microseconds"
    )]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        (0.0..Self::SECONDS_MAX)
            .contains(&seconds)
            .then(|| Self((seconds * 1e6).round() as i64))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Seconds since the epoch.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a float of seconds is what Prometheus holds"
    )]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Seconds from `earlier` to `self`; negative where the order is the other way round.
    #[expect(
        clippy::cast_precision_loss,
        reason = "intervals between events are far below 2^53 microseconds"
    )]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e6
    }

    /// The time from `earlier` to `self`; zero where the order is the other way round.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0);
        Duration::from_micros(micros)
    }

    /// The point in time that lies `delay` later.
    pub fn after(self, delay: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_microseconds() {
        let at = Timestamp::from_seconds(1_795_344_019.823_456).expect("a time of this century");

        assert_eq!(at.micros(), 1_795_344_019_823_456);
        assert_eq!(at.millis(), 1_795_344_019_823);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for seconds in [-1.0, 1e30, f64::NAN, f64::INFINITY] {
            assert_eq!(Timestamp::from_seconds(seconds), None, "{seconds}");
        }
    }

    #[test]
    fn an_interval_that_runs_backwards_is_zero() {
        let (early, late) = (Timestamp::from_millis(1), Timestamp::from_millis(3));

        assert_eq!(late.since(early), Duration::from_millis(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
