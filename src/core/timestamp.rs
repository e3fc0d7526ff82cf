//! A point in time as a value, so that the core needs no clock.

use std::time::Duration;

/// Minimum difference between the progress of the wall clock and of the monotonic clock that counts
/// as a step.
const STEP_MIN: Duration = Duration::from_secs(1);

/// Microseconds since the Unix epoch, UTC.
///
/// Celery's event times are floats of seconds with microsecond precision, and Prometheus uses
/// milliseconds. Microseconds represent both without rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The end of the year 9999. Anything later is an error, not a time.
    const SECONDS_MAX: f64 = 253_402_300_800.0;

    /// Creates a timestamp from microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Creates a timestamp from milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Creates a timestamp from seconds since the epoch; `None` before 1970 or after the year 9999.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range above fits into 64 bits of microseconds"
    )]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        (0.0..Self::SECONDS_MAX).contains(&seconds).then(|| {
            let micros = seconds * 1e6;
            let whole = micros as i64;
            // Not `round`: without SSE4.1, it is a function call.
            Self(whole + i64::from(micros - whole as f64 >= 0.5))
        })
    }

    /// Returns whether [`from_seconds`](Self::from_seconds) could have returned this value.
    pub fn is_of_events(self) -> bool {
        (0.0..Self::SECONDS_MAX).contains(&self.seconds())
    }

    /// Parses an ISO 8601 time as written by Python: `2026-11-22T16:17:33.631994+05:30`. The
    /// fraction is optional, and a missing offset means UTC.
    pub fn from_iso8601(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = text.get(from..to)?;
            let all = digits.bytes().all(|byte| byte.is_ascii_digit());
            all.then(|| digits.parse().ok()).flatten()
        };
        let bytes = text.as_bytes();
        let shaped = bytes.len() >= 19
            && [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')]
                .iter()
                .all(|&(at, byte)| bytes[at] == byte)
            && matches!(bytes[10], b'T' | b' ');
        if !shaped {
            return None;
        }
        let days = days_since_epoch(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
        let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
        let rest = text.get(19..)?;
        let digits = rest.strip_prefix('.').map_or(0, |fraction| {
            fraction
                .bytes()
                .take_while(u8::is_ascii_digit)
                .count()
                .min(6)
        });
        let micros = match digits {
            0 => 0,
            digits => number(20, 20 + digits)? * 10_i64.pow(u32::try_from(6 - digits).ok()?),
        };
        let offset = match rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit()) {
            "" | "Z" => 0,
            offset => {
                let sign = match offset.as_bytes()[0] {
                    b'+' => 1,
                    b'-' => -1,
                    _ => return None,
                };
                let (hours, minutes) = offset[1..].split_once(':')?;
                let hours: i64 = hours.parse().ok().filter(|hours| (0..24).contains(hours))?;
                let minutes: i64 = minutes.get(..2)?.parse().ok()?;
                sign * (hours * 3600 + minutes * 60)
            }
        };
        Some(Self(
            (days * 86_400 + seconds - offset) * 1_000_000 + micros,
        ))
    }

    /// Returns microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns whole milliseconds since the epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Returns whole seconds since the epoch, rounded up, and saturating in the year 2106.
    pub fn whole_seconds(self) -> u32 {
        u32::try_from(self.0.saturating_add(999_999).div_euclid(1_000_000)).unwrap_or(u32::MAX)
    }

    /// Creates a timestamp from whole seconds since the epoch.
    pub const fn from_whole_seconds(seconds: u32) -> Self {
        Self(seconds as i64 * 1_000_000)
    }

    /// Returns seconds since the epoch.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a float of seconds is what Prometheus holds"
    )]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Returns seconds from `earlier` to `self`; negative if `earlier` is later.
    #[expect(
        clippy::cast_precision_loss,
        reason = "intervals between events are far below 2^53 microseconds"
    )]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e6
    }

    /// Returns the time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0);
        Duration::from_micros(micros)
    }

    /// Returns this time, or `earliest` if this time is less than a second before it. A larger
    /// difference means that the clock was set back, so this time is used.
    #[must_use]
    pub fn no_earlier_than(self, earliest: Self) -> Self {
        if self < earliest && earliest.since(self) < STEP_MIN {
            earliest
        } else {
            self
        }
    }

    /// Returns the time `delay` earlier.
    pub fn before(self, delay: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Returns the time `delay` later.
    pub fn after(self, delay: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

/// A step of the wall clock: it was set, or the machine was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    by_micros: i64,
    /// The current time after the step.
    now: Timestamp,
}

impl ClockStep {
    /// Returns the step between two readings that are `elapsed` apart by the monotonic clock, if
    /// any.
    pub fn between(before: Timestamp, now: Timestamp, elapsed: Duration) -> Option<Self> {
        let by_micros = now.0.saturating_sub(before.after(elapsed).0);
        let is_step = u128::from(by_micros.unsigned_abs()) >= STEP_MIN.as_micros();
        is_step.then_some(Self { by_micros, now })
    }

    /// Returns by how many seconds the clock was set forward; negative if it was set back.
    pub fn seconds(self) -> f64 {
        Duration::from_micros(self.by_micros.unsigned_abs()).as_secs_f64()
            * if self.by_micros < 0 { -1.0 } else { 1.0 }
    }

    /// Returns the time after the step.
    pub const fn now(self) -> Timestamp {
        self.now
    }

    /// Shifts a time read before the step, so that its age stays the same. Times read after the
    /// step must not change: if the clock was set back, a time that is not in the future may be one
    /// of them, and is left alone.
    pub fn adjust(self, at: &mut Timestamp) {
        if self.by_micros < 0 {
            *at = (*at).min(self.now);
        } else if *at != Timestamp::default() && at.0 <= self.now.0.saturating_sub(self.by_micros) {
            at.0 = at.0.saturating_add(self.by_micros);
        }
    }
}

/// Returns the days from the epoch to a Gregorian date; `None` if the date does not exist.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years start in March, so that the leap day is the last day of the year.
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_8601_is_read_as_python_writes_it() {
        let cases = [
            ("1970-01-01T00:00:00", Some(0)),
            (
                "2026-11-22T16:17:33.631994+05:30",
                Some(1_795_344_453_631_994),
            ),
            (
                "2026-11-22T05:47:33.631994-05:00",
                Some(1_795_344_453_631_994),
            ),
            ("2026-11-22T10:47:33Z", Some(1_795_344_453_000_000)),
            ("2026-11-22 10:47:33.5+00:00", Some(1_795_344_453_500_000)),
            ("2024-02-29T00:00:00+00:00", Some(1_709_164_800_000_000)),
            ("2026-13-22T10:47:33Z", None),
            ("2026-11-22", None),
            ("2026-11-22T10:47:33 CET", None),
            ("soon, at some time to come", None),
            ("2026-11-22T10:47:33+9999999999999999:00", None),
            ("2026-11-22T1x:47:33", None),
        ];
        for (text, micros) in cases {
            let read = Timestamp::from_iso8601(text).map(Timestamp::micros);
            assert_eq!(read, micros, "{text}");
        }
    }

    #[test]
    fn seconds_keep_their_microseconds() {
        let at = Timestamp::from_seconds(1_795_344_019.823_456).expect("a time of this century");

        assert_eq!(at.micros(), 1_795_344_019_823_456);
        assert_eq!(at.millis(), 1_795_344_019_823);
    }

    #[test]
    fn seconds_are_rounded_to_the_nearest_microsecond() {
        let seconds = [
            1.795_344_019_823_456_7e9,
            5_000_000_000.123_457,
            253_402_300_799.1,
            0.3e-6,
        ];
        let seconds = seconds
            .into_iter()
            .chain([0.5e-6, 0.499_999_999_999_999_9e-6, 0.0]);
        for seconds in seconds.chain((0..1_000).map(|n| 4.6e9 + f64::from(n) * 1e-6)) {
            let at = Timestamp::from_seconds(seconds).map(|at| at.micros() as f64);
            assert_eq!(at, Some((seconds * 1e6).round()), "{seconds}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for seconds in [-1.0, 1e30, f64::NAN, f64::INFINITY] {
            assert_eq!(Timestamp::from_seconds(seconds), None, "{seconds}");
        }
    }

    #[test]
    fn a_step_is_told_from_drift_and_moves_only_times_before_it() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let elapsed = Duration::from_secs(15);
        for (now, step) in [(1_015, None), (4_615, Some(3_600.0)), (115, Some(-900.0))] {
            let found = ClockStep::between(at(1_000), at(now), elapsed);
            assert_eq!(found.map(ClockStep::seconds), step, "{now}");
        }
        let near = Timestamp::from_millis(1_015_999);
        assert_eq!(ClockStep::between(at(1_000), near, elapsed), None);

        // The current time at which the step was found, and times from before and after the step.
        let cases = [
            (4_615, [(990, 4_590), (4_610, 4_610), (0, 0)]),
            (115, [(990, 115), (110, 110), (0, 0)]),
        ];
        for (now, times) in cases {
            let step = ClockStep::between(at(1_000), at(now), elapsed).expect("a step");
            for (before, after) in times {
                let mut time = at(before);
                step.adjust(&mut time);
                assert_eq!(time, at(after), "{before} at {now}");
            }
        }
    }

    #[test]
    fn an_interval_that_runs_backwards_is_zero() {
        let (early, late) = (Timestamp::from_millis(1), Timestamp::from_millis(3));

        assert_eq!(late.since(early), Duration::from_millis(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
