//! Checks whether a number from outside is plausible, given the time of receipt and earlier values.
//!
//! One event must not spoil a value for good: a time in the year 2100 would remain the newest, and
//! a runtime of 1e308 s would remain in every sum. So the state checks each number here before it
//! changes anything. Values restored from a checkpoint are checked in the same way, so spoilt ones
//! recover.
//!
//! Times in the past are accepted: events may wait in a durable queue or a stream for hours, and an
//! event that is read again after a restart must mean the same. Only a time in the future depends
//! on when the event is received, so only a time that no receiver would accept is replaced.

use std::time::Duration;

use crate::timestamp::Timestamp;

/// How far a sender's clock may be ahead of ours. Remote-write receivers refuse samples further in
/// the future.
const AHEAD_MAX: Duration = Duration::from_secs(600);

/// The longest wait or runtime, in seconds: a year. A task may be scheduled months ahead, but waits
/// count from its ETA.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// How much longer an attempt may have run than the time between its two events: the worker
/// measures the runtime in the pool, and stamps the events in its main process, which may be busy.
const RUNTIME_SLACK_SECONDS: f64 = 60.0;

/// The largest plausible clock skew, in seconds: more than any time zone.
const SKEW_SECONDS_MAX: f64 = 86_400.0;

/// The most that is ever counted: a million a second for thirty years.
const COUNT_MAX: u64 = 1_000_000_000_000_000;

/// The largest value of a counter that still grows by one.
const COUNTER_MAX: f64 = 9_007_199_254_740_992.0;

/// Tasks that a worker may start in a second, and at once.
const STARTS_PER_SECOND_MAX: f64 = 10_000.0;
const STARTS_MAX: f64 = 100_000.0;

/// Which number was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A time in the future: the event counts as sent when it was received.
    Timestamp,
    /// A runtime longer than the time since the start, or a wait longer than a year.
    Duration,
    /// A worker's count of tasks that rose faster than any worker can run them.
    Processed,
}

impl Refusal {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Timestamp, Self::Duration, Self::Processed];

    /// The value of the label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::Processed => "processed",
        }
    }
}

/// Whether something known at `now` can have happened at `at`.
pub fn has_happened(at: Timestamp, now: Timestamp) -> bool {
    at <= now.after(AHEAD_MAX)
}

/// Whether a wait or runtime is plausible.
pub fn is_duration(seconds: f64) -> bool {
    (0.0..=SECONDS_MAX).contains(&seconds)
}

/// Whether so many durations can add up to a sum.
#[expect(clippy::cast_precision_loss, reason = "a bound need not be exact")]
pub fn is_sum(seconds: f64, count: u64) -> bool {
    (0.0..=SECONDS_MAX * count as f64).contains(&seconds)
}

/// Whether an attempt can have run for this long, given the time between its two events.
pub fn is_runtime(seconds: f64, since_start: Option<f64>) -> bool {
    is_duration(seconds) && since_start.is_none_or(|since| seconds <= since + RUNTIME_SLACK_SECONDS)
}

/// Whether clocks can differ by so much.
pub fn is_skew(seconds: f64) -> bool {
    seconds.abs() <= SKEW_SECONDS_MAX
}

/// Whether anything can be counted up to there.
pub const fn is_count(count: u64) -> bool {
    count <= COUNT_MAX
}

/// Whether a counter can have that value.
pub fn is_counter(number: f64) -> bool {
    (0.0..=COUNTER_MAX).contains(&number)
}

/// Whether a worker can have started so many tasks in that time.
#[expect(clippy::cast_precision_loss, reason = "a bound need not be exact")]
pub fn are_starts(tasks: u64, within: Duration) -> bool {
    tasks as f64 <= STARTS_MAX + STARTS_PER_SECOND_MAX * within.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_believed_and_the_future_as_far_as_clocks_differ() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        for (seconds, believed) in [
            (-1.8e9, true),
            (-3600.0, true),
            (600.0, true),
            (601.0, false),
        ] {
            let at = Timestamp::from_seconds(now.seconds() + seconds).expect("a time");
            assert_eq!(has_happened(at, now), believed, "{seconds}");
        }
    }

    #[test]
    fn a_runtime_fits_between_the_start_and_the_end() {
        let cases = [
            (5.0, Some(5.0), true),
            (65.0, Some(5.0), true),
            (66.0, Some(5.0), false),
            (3_600.0, None, true),
            (1.8e9, None, false),
            (f64::MAX, Some(f64::MAX), false),
            (f64::NAN, None, false),
        ];
        for (seconds, since, believed) in cases {
            assert_eq!(is_runtime(seconds, since), believed, "{seconds} {since:?}");
        }
    }

    #[test]
    fn a_number_is_plausible_up_to_its_limit() {
        let year = 31_622_400.0;
        let (exact, many) = (9_007_199_254_740_992.0, 1_000_000_000_000_000);
        for (case, is_last, is_beyond) in [
            ("duration", is_duration(year), is_duration(year + 1.0)),
            ("no duration", is_duration(0.0), is_duration(-0.1)),
            ("sum", is_sum(year * 3.0, 3), is_sum(year * 3.0 + 1.0, 3)),
            ("no sum", is_sum(0.0, 0), is_sum(-0.1, 3)),
            ("skew", is_skew(86_400.0), is_skew(86_401.0)),
            ("skew ahead", is_skew(-86_400.0), is_skew(-86_401.0)),
            ("count", is_count(many), is_count(many + 1)),
            ("counter", is_counter(exact), is_counter(exact + 2.0)),
            ("no counter", is_counter(0.0), is_counter(-1.0)),
        ] {
            assert_eq!((is_last, is_beyond), (true, false), "{case}");
        }
    }

    #[test]
    fn each_refusal_has_its_label() {
        let names = Refusal::ALL.map(Refusal::name);
        assert_eq!(names, ["timestamp", "duration", "processed"]);
    }

    #[test]
    fn a_count_of_starts_grows_with_time() {
        let second = Duration::from_secs(1);
        assert!(are_starts(110_000, second) && !are_starts(110_001, second));
        assert!(are_starts(36_000_000, 3_600 * second) && !are_starts(1 << 53, 3_600 * second));
    }
}
