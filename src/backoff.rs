//! Retry delays: exponential backoff with jitter, and a bound on Retry-After.

use std::time::Duration;

/// Delays that double from `min` to `max`, plus up to 50% of jitter.
///
/// The jitter keeps agents that lost the same receiver from reconnecting all at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
}

/// Maximum jitter, as a fraction of the delay.
const JITTER: f64 = 0.5;

/// Longest Retry-After that is honoured. Prometheus has no limit here, so a single wrong header can
/// stop it from sending.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

impl Backoff {
    /// Returns `None` if `min` is zero or above `max`.
    pub fn new(min: Duration, max: Duration) -> Option<Self> {
        (!min.is_zero() && min <= max).then_some(Self { min, max })
    }

    /// Returns the delay before retry number `attempt`, counted from 0; `dice` is in `0.0..1.0`.
    pub fn delay(&self, attempt: u32, dice: f64) -> Duration {
        let base = self
            .min
            .saturating_mul(2_u32.saturating_pow(attempt))
            .min(self.max);
        base.mul_f64(1.0 + JITTER * dice.clamp(0.0, 1.0))
            .min(self.max)
    }

    /// Like [`delay`](Self::delay), unless the receiver asked for a specific time: then that time,
    /// but at least `min` and at most five minutes.
    pub fn delay_asked(&self, asked: Option<Duration>, attempt: u32, dice: f64) -> Duration {
        asked.map_or_else(
            || self.delay(attempt, dice),
            |asked| asked.clamp(self.min, RETRY_AFTER_MAX.max(self.min)),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn retry_after_beyond_the_window_is_cut() {
        let backoff =
            Backoff::new(Duration::from_millis(30), Duration::from_secs(5)).expect("min ≤ max");
        let seconds = Duration::from_secs;

        assert_eq!(backoff.delay_asked(Some(seconds(20)), 0, 0.0), seconds(20));
        assert_eq!(
            backoff.delay_asked(Some(seconds(86_400)), 0, 0.0),
            seconds(300)
        );
        assert_eq!(
            backoff.delay_asked(Some(seconds(0)), 9, 0.9),
            Duration::from_millis(30)
        );
    }

    #[test]
    fn chance_adds_up_to_a_half() {
        let seconds = Duration::from_secs;
        let backoff = Backoff::new(seconds(4), seconds(100)).expect("min ≤ max");
        let delays = [0.0, 0.5, 1.0].map(|dice| backoff.delay(0, dice));
        assert_eq!(delays, [seconds(4), seconds(5), seconds(6)]);
        assert_eq!(backoff.delay(2, 0.5), seconds(20));
    }

    proptest! {
        #[test]
        fn delays_stay_in_their_window_and_never_shrink(min in 1..1_000_u64, more in 0..100_000_u64, attempt in 0..80_u32, dice in 0.0..1.0_f64) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + more));
            let backoff = Backoff::new(min, max).expect("min ≤ max");

            prop_assert!((min..=max).contains(&backoff.delay(attempt, dice)));
            prop_assert!(backoff.delay(attempt, 0.0) <= backoff.delay(attempt + 1, 0.0));
        }
    }
}
