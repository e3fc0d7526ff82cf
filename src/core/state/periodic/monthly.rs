//! The monthly model, and long equal gaps: a few sends a month, at the same time of day.
//!
//! The time of day makes chance unlikely, so a few gaps are enough.

use super::calendar::{DAY, Days, HOUR, OFFSETS};
use super::history::{Expected, History, Model};
use super::recent::RECENT;

/// Periods of at least this length are believed after a few equal gaps.
const LONG: i64 = 2 * DAY - HOUR;

/// Number of equal long gaps, and how many of them rule out days of the month that happen to be
/// equally far apart, as in February.
const LONG_GAPS_MIN: usize = 3;
const LONG_GAPS_SURE: usize = 5;

/// Number of gaps that days of the month must explain, for each day and at least.
const GAPS_PER_DAY: usize = 2;
const MONTHLY_GAPS_MIN: usize = 3;

/// Most days of the month.
const MONTHLY_DAYS_MAX: u32 = 7;

/// How far sends at the same time of day may be apart, apart from changes of clocks.
const SAME_TIME: i64 = 60;

impl History {
    /// The expectation for schedules with a few sends a month.
    pub(super) fn long(&self) -> Option<Expected> {
        let last = self.last();
        let newest = self.recent.gaps().next()?;
        if newest < DAY - HOUR - SAME_TIME || !is_whole_days(newest) {
            return None;
        }
        let equal = |gap: &i64| {
            *gap >= LONG && is_whole_days(*gap) && (gap - newest).abs() <= HOUR + SAME_TIME
        };
        let equal = self.recent.gaps().take_while(equal).count();
        let monthly = |days: Days| {
            let due = days.next(last)?;
            Some(Expected::new(last, due, Model::Monthly(days)))
        };
        let period = self.recent.gaps().take(equal).max().unwrap_or(0);
        let uniform = Expected::new(last, last + period, Model::Uniform(period));
        match equal {
            LONG_GAPS_SURE.. => Some(uniform),
            LONG_GAPS_MIN.. => {
                let days = self
                    .days_of(MONTHLY_GAPS_MIN)
                    .filter(|days| days.len() <= 2);
                let monthly = days.and_then(monthly);
                let later = monthly.filter(|monthly| monthly.due > uniform.due);
                later.or(Some(uniform))
            }
            _ => self.sure_days().and_then(monthly),
        }
    }

    /// The days of the month that explain enough gaps.
    fn sure_days(&self) -> Option<Days> {
        (MONTHLY_GAPS_MIN..RECENT).find_map(|gaps| {
            let days = self.days_of(gaps)?;
            (gaps >= GAPS_PER_DAY * days.len() as usize).then_some(days)
        })
    }

    /// The days of the month of the latest sends, if they explain that many gaps.
    fn days_of(&self, gaps: usize) -> Option<Days> {
        let times = self.recent.times();
        let times = &times[times.len().checked_sub(gaps + 1)?..];
        let is_explained = |days: &Days| {
            let mut pairs = times.windows(2);
            days.len() <= MONTHLY_DAYS_MAX
                && pairs.all(|pair| {
                    let next = days.next(pair[0].into());
                    next.is_some_and(|next| (next - i64::from(pair[1])).abs() <= HOUR + SAME_TIME)
                })
        };
        let by_offset = OFFSETS.map(|offset| Days::of(times, offset));
        by_offset.into_iter().find(is_explained)
    }
}

/// Whether two sends with that gap were at the same time of day, by any clock.
fn is_whole_days(gap: i64) -> bool {
    let off = (gap + DAY / 2).rem_euclid(DAY) - DAY / 2;
    [-HOUR, 0, HOUR]
        .iter()
        .any(|shift| (off - shift).abs() <= SAME_TIME)
}
