//! The weekly model: a send is followed by the same gap as one and two weeks before.
//!
//! Crontabs are in local time, so after a change of clocks, all times of the week are an hour
//! earlier or later in UTC. Until sends have shown which, all possibilities count.

use super::calendar::{DAY, HOUR, WEEK, clock_change};
use super::history::{ALL_SHIFTS, History, is_near, whole};
use super::recent::Rate;

/// A gap longer than this, including an hour for a change of clocks, is not weekly.
const WEEKLY_GAP_MAX: i64 = 8 * DAY;

/// How far a send may be from the same one a week before.
const NEAR: i64 = 25;

/// How much later in UTC a send was before a change of clocks, with its bit.
const SHIFTS: [(u8, i64); 3] = [(0b001, -HOUR), (0b010, 0), (0b100, HOUR)];

impl History {
    /// Judges what was expected before the send at `now`.
    pub(super) fn learn_weekly(&mut self, now: i64, gap: i64) {
        if gap > WEEKLY_GAP_MAX {
            self.tape.clear();
            self.weekly = Rate::default();
            (self.weekly_from, self.weekly_due) = (0, 0);
            return;
        }
        if self.tape.is_one_run() {
            return;
        }
        let due = i64::from(self.weekly_due);
        if due > 0 {
            let expected = due - i64::from(self.weekly_from);
            let is_change = clock_change(now.min(due), now.max(due)).is_some();
            let off_by_an_hour = is_change && (now - due).abs() <= HOUR + NEAR;
            self.weekly
                .add(is_near(now, due, expected) || off_by_an_hour);
        } else if self
            .tape
            .start()
            .is_some_and(|start| start <= now - gap - 2 * WEEK)
        {
            self.weekly.add(false);
        }
    }

    /// Looks up when the send after the one at `now` is due.
    pub(super) fn expect_weekly(&mut self, now: i64, gap: i64, is_seen: bool) {
        if self.tape.is_one_run() {
            (self.weekly_from, self.weekly_due) = (0, 0);
            return;
        }
        if let Some(end) = clock_change(now - WEEK, now) {
            if i64::from(self.changed) != end || now <= end {
                self.changed = whole(end);
                self.shifts = ALL_SHIFTS;
            }
            if now > end && is_seen {
                self.narrow_shifts(now, gap);
            }
        }
        // Without such a send, this one was sent by a user, or the schedule has changed.
        let due = self.a_week_before(now);
        self.weekly_from = due.map_or(0, |_| whole(now));
        self.weekly_due = due.map_or(0, whole);
    }

    /// Rules out shifts by the gap before this send.
    fn narrow_shifts(&mut self, now: i64, gap: i64) {
        let mut left = 0;
        for (bit, shift) in self.shifts() {
            let around = self.tape.around(now - WEEK + shift, NEAR);
            let before = around.and_then(|around| Some(around.found - around.before?));
            let has_changed = clock_change(now - gap, now).is_some()
                || clock_change(now - gap - WEEK, now - WEEK).is_some();
            let hour = if has_changed { HOUR } else { 0 };
            let slack = (gap / 10).max(2 * NEAR) + hour;
            if before.is_some_and(|before| (before - gap).abs() <= slack) {
                left |= bit;
            }
        }
        if left != 0 {
            self.shifts = left;
        }
    }

    fn shifts(&self) -> impl Iterator<Item = (u8, i64)> {
        let shifts = self.shifts;
        SHIFTS.into_iter().filter(move |(bit, _)| shifts & bit != 0)
    }

    /// When the send after `from` is due, if it followed in the same way both a week and two weeks
    /// before. With several possible shifts, the latest of these times.
    pub(super) fn a_week_before(&self, from: i64) -> Option<i64> {
        let next = |weeks: i64, shift: i64| {
            let back = weeks * WEEK - shift;
            let around = self.tape.around(from - back, NEAR)?;
            let due = around.next? + back;
            // That send may already have been at the new time.
            let is_new = shift != 0 && clock_change(from - back, due - back).is_some();
            Some(if is_new { due.max(due - shift) } else { due })
        };
        let change = clock_change(from - 2 * WEEK, from);
        // Twice in one of these weeks, clocks change on successive Sundays, in different countries.
        let is_only =
            change.is_none_or(|end| clock_change(from - 2 * WEEK, end - 2 * DAY).is_none());
        let confirmed = |due: i64| {
            let hour = if change.is_some() { HOUR } else { 0 };
            let slack = ((due - from) / 10).max(2 * NEAR) + hour;
            let possible = SHIFTS.into_iter().filter(|(bit, shift)| match change {
                None => *shift == 0,
                Some(end) if is_only && whole(end) == self.changed => self.shifts & bit != 0,
                Some(_) => true,
            });
            let others = possible.filter_map(|(_, shift)| next(2, shift));
            let other = others.min_by_key(|other| (other - due).abs())?;
            let off = (other - due).abs();
            // One of the sends may have been delayed by a busy beat.
            let earlier = if off <= 2 * NEAR {
                due.min(other)
            } else {
                due.max(other)
            };
            (off <= slack).then_some(earlier)
        };
        if clock_change(from - WEEK, from).is_none() {
            return next(1, 0).and_then(confirmed);
        }
        let shifts = self.shifts().filter_map(|(_, shift)| next(1, shift));
        shifts.filter_map(confirmed).max()
    }
}
