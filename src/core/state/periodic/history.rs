//! What is known about the sends of one task, and when the next one is expected.
//!
//! Three models look at the gaps between sends, and each has to predict them well before it is
//! believed:
//!
//! - *Uniform*: the gaps are about equal (`*/5`, `timedelta(hours=7)`), apart from some shorter
//!   ones. For periods below two days, no longer gap may have occurred for eight days, so that
//!   nights and weekends were seen.
//! - *Weekly*: a send is followed by the same gap as one and two weeks before (`*/15 9-17 * * 1-5`).
//! - *Monthly*: sends on the same days of the month at the same time of day.
//!
//! A send that arrives after it was reported overdue shows that the model is wrong, or that there
//! was an outage. Nothing is reported for twice that gap then.
//!
//! Local time is not known, only when clocks may change: around that time, sends may be an hour
//! later.

use super::calendar::{DAY, Days, HOUR, MINUTE, clock_change, is_set_back};
use super::recent::{Rate, Recent};
use super::tape::Tape;
use super::unseen::Unseen;
use crate::timestamp::Timestamp;

/// Sends within this many seconds of the first one belong to the same occurrence: several schedule
/// entries for one task, or a batch.
const BATCH: i64 = 2;

/// Shortest period. Shorter gaps look like a stream of tasks at random times.
pub(super) const PERIOD_MIN: i64 = 8;

/// How much later than expected a send may be: a tenth of the gap, within these limits. A busy beat
/// sends up to half a minute late, and a missing monthly task must be reported the same day.
pub(super) const SLACK_MIN: i64 = 30;
const SLACK_MAX: i64 = 3 * HOUR;

/// The upper limit if the time is not learned but configured.
const PUNCTUAL_SLACK_MAX: i64 = 5 * MINUTE;

/// How far a prediction that came true may be off: a tenth of the gap, or this many seconds.
const HIT_MIN: i64 = 3;

/// How long no gap may be longer than the period. Contains a weekend.
const CALM: i64 = 8 * DAY;

/// Gaps up to this length count as a restart of beat if they are rare: at most one in this time.
const RESTART_MAX: i64 = 15 * MINUTE;
const RESTART_EVERY: i64 = 6 * HOUR;

/// Share of true predictions above which a model is believed, and below which it no longer is.
const BELIEVED: f32 = 0.85;
const DISBELIEVED: f32 = 0.75;

/// The same for the weekly model. Sends by users on top of the schedule must not look like a part
/// of it when they happen in two weeks in a row, so only few of them are tolerated.
const WEEKLY_BELIEVED: f32 = 0.97;

/// How much better the weekly model must be than the uniform one. Shorter gaps in between do not
/// confuse the uniform one.
const BETTER: f32 = 0.05;

/// How much a period may change while it is believed.
const CHANGE_MAX: f32 = 0.2;

/// The time that weekly sends must span.
const WEEKLY_SPAN: i64 = 15 * DAY;

/// The most sends that are assumed to have happened in a time without observation.
const STEPS_MAX: usize = 100;

/// Largest share of a gap that may be unobserved from which anything is learned.
const UNSEEN_MAX: f64 = 0.01;

/// How an expectation was derived, which decides what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// With the period.
    Uniform(i64),
    Weekly,
    Monthly(Days),
    /// From the configuration.
    Configured,
}

/// When the next send is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) due: i64,
    /// The time from the last send until then.
    pub(super) gap: i64,
    /// The earliest time at which it may be sent, and when it becomes overdue.
    early: i64,
    pub(super) late: i64,
    model: Model,
}

impl Expected {
    pub(super) fn new(from: i64, due: i64, model: Model) -> Self {
        let gap = due - from;
        let slack = (gap / 10).clamp(SLACK_MIN, SLACK_MAX);
        let late = due + slack;
        // By local time, it is not longer than others.
        let is_longer = is_set_back(from, late);
        Self {
            due,
            gap,
            early: due - slack,
            late: if is_longer {
                late.max(due + HOUR + SLACK_MIN)
            } else {
                late
            },
            model,
        }
    }

    /// A send at a known time.
    pub(super) fn punctual(from: i64, due: i64) -> Self {
        let gap = due - from;
        Self {
            due,
            gap,
            early: due - SLACK_MIN,
            late: due + (gap / 10).clamp(SLACK_MIN, PUNCTUAL_SLACK_MAX),
            model: Model::Configured,
        }
    }
}

/// The first expected send that could be observed since `since`. `following` returns what to expect
/// after a time without observation in which the expected send may have happened, given its end.
pub(super) fn observable(
    mut expected: Expected,
    since: Timestamp,
    unseen: &Unseen,
    following: impl Fn(Expected, i64) -> Option<Expected>,
) -> Option<Expected> {
    for spell in unseen.after(since) {
        let (start, end) = (
            i64::from(seconds(spell.start)),
            i64::from(seconds(spell.end)),
        );
        if expected.late < start {
            break;
        }
        if expected.early <= end {
            expected = following(expected, end)?;
        }
    }
    Some(expected)
}

/// The sends of one task. Times are in seconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct History {
    /// The newest send.
    pub(super) last_sent: Timestamp,
    pub(super) recent: Recent,
    pub(super) uniform: Rate,
    /// The believed period of the uniform model; 0 if it is not believed.
    pub(super) period: u32,
    /// Since when no gap was longer than the others, and when the latest longer one ended.
    pub(super) calm_since: u32,
    pub(super) long_until: u32,
    pub(super) weekly: Rate,
    pub(super) tape: Tape,
    /// The last send that had one a week before, and when the next one was due; 0 if none.
    pub(super) weekly_from: u32,
    pub(super) weekly_due: u32,
    /// By how much the times of the week changed with the latest change of clocks, as far as known:
    /// bits for an hour later, not at all, an hour earlier; and the end of that weekend.
    pub(super) shifts: u8,
    pub(super) changed: u32,
    /// Nothing is reported until then.
    pub(super) probation: u32,
    /// The result, so that it is not computed again for each snapshot.
    pub(super) expected: Option<Expected>,
}

pub(super) const ALL_SHIFTS: u8 = 0b111;

impl History {
    pub(super) fn new(at: Timestamp) -> Self {
        let seconds = seconds(at);
        let mut history = Self {
            last_sent: at,
            recent: Recent::default(),
            uniform: Rate::default(),
            period: 0,
            calm_since: seconds,
            long_until: 0,
            weekly: Rate::default(),
            tape: Tape::default(),
            weekly_from: 0,
            weekly_due: 0,
            shifts: ALL_SHIFTS,
            changed: 0,
            probation: 0,
            expected: None,
        };
        history.recent.push(seconds);
        history.tape.push(seconds, true);
        history
    }

    /// The start of the latest occurrence.
    pub(super) fn last(&self) -> i64 {
        self.recent.times().last().copied().unwrap_or(0).into()
    }

    /// Records a send. One that is older than the newest is ignored: at worst, a gap seems longer
    /// than it was.
    pub(super) fn sent(&mut self, at: Timestamp, unseen: &Unseen) {
        if at <= self.last_sent {
            return;
        }
        let before = self.last_sent;
        self.last_sent = at;
        let now = i64::from(seconds(at));
        let gap = now - self.last();
        if gap <= BATCH {
            return;
        }
        let is_seen = unseen.seconds(before, at) <= UNSEEN_MAX * at.seconds_since(before);
        if is_seen {
            if let Some(expected) = self.expected
                && now > expected.late
            {
                self.probation = whole(now + 2 * gap);
            }
            self.learn_uniform(now, gap);
            self.learn_weekly(now, gap);
        }
        self.recent.push(seconds(at));
        self.tape.push(seconds(at), is_seen);
        self.expect_weekly(now, gap, is_seen);
        self.expected = self.expectation();
    }

    /// When the next send is expected, given the time without observation. `None` if it is not
    /// known well enough.
    pub(super) fn expected(&self, now: Timestamp, unseen: &Unseen) -> Option<Expected> {
        let expected = self.expected?;
        if i64::from(self.probation) > i64::from(seconds(now)) {
            return None;
        }
        observable(expected, self.last_sent, unseen, |expected, end| {
            self.following(expected, end)
        })
    }

    /// What to expect after a time without observation in which sends happened as expected.
    fn following(&self, mut expected: Expected, end: i64) -> Option<Expected> {
        for _ in 0..STEPS_MAX {
            let (from, due) = match expected.model {
                Model::Uniform(period) => (end, end + period),
                Model::Weekly => (expected.due, self.a_week_before(expected.due)?),
                Model::Monthly(days) => (expected.due, days.next(expected.due)?),
                Model::Configured => return None,
            };
            expected = Expected::new(from, due, expected.model);
            if from == end || expected.early > end {
                return Some(expected);
            }
        }
        None
    }

    fn learn_uniform(&mut self, now: i64, gap: i64) {
        let Some(usual) = self.recent.median() else {
            return;
        };
        let has_changed = clock_change(now - gap, now).is_some();
        let excess = if has_changed { HOUR } else { 0 };
        let is_hit = is_near(gap, usual, usual);
        if is_hit || !has_changed {
            self.uniform.add(is_hit);
        }
        let is_long = gap - excess > usual + slack(usual);
        if is_long && self.period == 0 {
            let is_restart = gap <= RESTART_MAX && now - i64::from(self.long_until) > RESTART_EVERY;
            if !is_restart {
                self.calm_since = whole(now);
            }
            self.long_until = whole(now);
        }
        if self.period > 0 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a period in seconds is far below 2^24"
            )]
            let change = (usual as f32 / self.period as f32 - 1.0).abs();
            if change > CHANGE_MAX && !has_changed {
                self.uniform = Rate::default();
                self.calm_since = whole(now);
                self.period = 0;
            } else if self.uniform.true_share < DISBELIEVED {
                self.period = 0;
            }
        }
        let is_calm = now - i64::from(self.calm_since) >= CALM;
        if self.period == 0 && is_calm && usual >= PERIOD_MIN && self.uniform.is_above(BELIEVED) {
            self.period = whole(usual);
        }
    }

    /// When the next send is expected after the latest one, regardless of probation.
    fn expectation(&self) -> Option<Expected> {
        let last = self.last();
        if let Some(long) = self.long() {
            return Some(long);
        }
        let span = self.tape.start().map_or(0, |start| last - start);
        let weekly = span >= WEEKLY_SPAN && self.weekly.is_above(WEEKLY_BELIEVED);
        let is_better =
            self.period == 0 || self.weekly.true_share > self.uniform.true_share + BETTER;
        if weekly && is_better {
            let due = Some(i64::from(self.weekly_due)).filter(|due| *due > last)?;
            let from = i64::from(self.weekly_from);
            return Some(Expected::new(from, due, Model::Weekly));
        }
        if self.period == 0 {
            return None;
        }
        let period = self.recent.median().unwrap_or(0).max(self.period.into());
        Some(Expected::new(last, last + period, Model::Uniform(period)))
    }

    /// Computes the expectation after everything else was restored.
    pub(super) fn refresh(&mut self) {
        self.expected = self.expectation();
    }
}

/// How much later than expected a send may be after a gap.
fn slack(gap: i64) -> i64 {
    (gap / 10).clamp(SLACK_MIN, SLACK_MAX)
}

/// Whether a prediction came true, for a gap of that length.
pub(super) fn is_near(actual: i64, predicted: i64, gap: i64) -> bool {
    (actual - predicted).abs() <= (gap / 10).max(HIT_MIN)
}

/// Whole seconds since the epoch, rounded down.
pub(super) fn seconds(at: Timestamp) -> u32 {
    whole(at.micros().div_euclid(1_000_000))
}

/// Seconds since the epoch that fit the stored form.
pub(super) fn whole(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}
