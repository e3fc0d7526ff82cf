//! Calendar arithmetic without a time zone database: days of the month, and the weekends on which
//! clocks change.
//!
//! All times are in seconds since the epoch, UTC.

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const WEEK: i64 = 7 * DAY;

/// Sundays on which clocks change in Europe, North America, Australia and New Zealand: month, first
/// and last day.
const FORWARD: [(i64, i64, i64); 4] = [(3, 8, 14), (3, 25, 31), (9, 24, 30), (10, 1, 7)];
const BACK: [(i64, i64, i64); 3] = [(4, 1, 7), (10, 25, 31), (11, 1, 7)];

/// How far a change may be from midnight UTC at the start of that Sunday: Saturday 10:00 to Sunday
/// 14:00 includes 02:00 or 03:00 local time from Auckland to Los Angeles.
const AROUND: i64 = 14 * HOUR;

/// The first Sunday after the epoch is its fourth day.
const FIRST_SUNDAY: i64 = 3 * DAY;

/// Sundays to look at; an interval that contains more overlaps some change.
const SUNDAYS_MAX: i64 = 30;

/// Returns the last moment of the latest weekend with a clock change that overlaps an interval.
pub(super) fn clock_change(from: i64, to: i64) -> Option<i64> {
    latest(from, to, |date| is_in(&FORWARD, date) || is_in(&BACK, date))
}

/// Returns whether clocks may be set back in an interval, so that it is an hour longer than it is by
/// local time.
pub(super) fn is_set_back(from: i64, to: i64) -> bool {
    latest(from, to, |date| is_in(&BACK, date)).is_some()
}

fn is_in(changes: &[(i64, i64, i64)], (month, day): (i64, i64)) -> bool {
    let mut changes = changes.iter();
    changes.any(|(of, first, last)| month == *of && (*first..=*last).contains(&day))
}

fn latest(from: i64, to: i64, is_change: impl Fn((i64, i64)) -> bool) -> Option<i64> {
    let sunday = |at: i64| (at - FIRST_SUNDAY).div_euclid(WEEK);
    let first = sunday(from - AROUND - 1) + 1;
    let last = sunday(to + AROUND);
    let sundays = (first.max(last - SUNDAYS_MAX)..=last).rev();
    let mut sundays = sundays.map(|week| FIRST_SUNDAY + week * WEEK);
    let found = sundays.find(|sunday| is_change(date(*sunday)));
    found.map(|sunday| sunday + AROUND)
}

/// Returns the month and the day of the month.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub(super) const fn date(at: i64) -> (i64, i64) {
    let days = at.div_euclid(DAY) + 719_468;
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, day)
}

/// Offsets from UTC at which days begin. With one of them, local midnight is not near the end of a
/// day, so that sends on the same local day are on the same day here.
pub(super) const OFFSETS: [i64; 3] = [0, 12 * HOUR, -12 * HOUR];

/// Days of the month, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Days {
    days: u32,
    offset: i64,
}

impl Days {
    /// The days of some times.
    pub(super) fn of(times: &[u32], offset: i64) -> Self {
        let bits = times.iter().map(|at| 1 << date(i64::from(*at) + offset).1);
        Self {
            days: bits.fold(0, |days, day: u32| days | day),
            offset,
        }
    }

    pub(super) const fn len(self) -> u32 {
        self.days.count_ones()
    }

    /// Returns the next time after `at` on one of the days, at the same time of day; `None` if
    /// there is none within two months.
    pub(super) fn next(self, at: i64) -> Option<i64> {
        let mut later = (1..=62).map(|days| at + days * DAY);
        later.find(|at| self.days & (1 << date(at + self.offset).1) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    fn at(text: &str) -> i64 {
        let at = Timestamp::from_iso8601(text).expect("a time");
        at.micros() / 1_000_000
    }

    #[test]
    fn clocks_change_on_the_weekends_on_which_they_do() {
        for (moment, changes) in [
            ("2026-03-29T01:00:00", true),
            ("2026-10-25T01:00:00", true),
            ("2026-03-08T07:00:00", true),
            ("2026-11-01T09:00:00", true),
            ("2026-04-04T16:00:00", true),
            ("2026-10-03T16:00:00", true),
            ("2027-03-28T01:00:00", true),
            ("2026-03-28T09:59:59", false),
            ("2026-03-29T14:00:01", false),
            ("2026-03-15T01:00:00", false),
            ("2026-03-31T01:00:00", false),
            ("2026-07-05T01:00:00", false),
            ("2026-10-18T01:00:00", false),
        ] {
            let moment_at = at(moment);
            assert_eq!(
                clock_change(moment_at, moment_at).is_some(),
                changes,
                "{moment}"
            );
        }
        let (friday, monday) = (at("2026-10-23T17:45:00"), at("2026-10-26T09:00:00"));
        assert_eq!(
            clock_change(friday, monday),
            Some(at("2026-10-25T14:00:00"))
        );
        assert_eq!(clock_change(friday - WEEK, monday - WEEK), None);
        assert!(clock_change(0, monday).is_some());
        assert!(is_set_back(friday, monday));
        let march = at("2026-03-29T01:00:00");
        assert!(clock_change(march, march).is_some() && !is_set_back(march, march));
    }

    #[test]
    fn the_next_day_of_a_set_is_found_across_months() {
        let times = ["2026-01-01T04:00:00", "2026-01-31T04:00:00"];
        let days = Days::of(
            &times.map(|text| u32::try_from(at(text)).expect("a time")),
            0,
        );
        for (from, next) in [
            ("2026-01-31T04:00:00", Some("2026-02-01T04:00:00")),
            ("2026-02-01T04:00:00", Some("2026-03-01T04:00:00")),
            ("2028-02-29T04:00:00", Some("2028-03-01T04:00:00")),
            ("2026-12-31T23:59:00", Some("2027-01-01T23:59:00")),
        ] {
            assert_eq!(days.next(at(from)), next.map(at), "{from}");
        }
        assert_eq!(days.len(), 2);
    }
}
