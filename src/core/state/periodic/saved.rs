//! Stores and restores what is known about periodic tasks.

use super::history::{ALL_SHIFTS, History, seconds};
use super::recent::{Rate, Recent};
use super::tape::{Run, Tape};
use super::unseen::{Spell, Unseen};
use super::{CapturedPeriodic, PeriodicTasks, cost};
use crate::bounds::{Limit, Part};
use crate::saved;
use crate::state::texts::{Restored, Texts};
use crate::timestamp::Timestamp;

impl CapturedPeriodic {
    pub(in crate::state) fn stored(&self, texts: &mut Texts) -> saved::PeriodicTasks {
        let (spells, observed) = self.unseen.parts();
        let spells = spells.iter().map(|spell| saved::Unobserved {
            start: spell.start.micros(),
            end: spell.end.micros(),
        });
        let tasks = self
            .tasks
            .iter()
            .map(|(name, history)| saved::PeriodicTask {
                name: texts.place(Some(*name)),
                ..history.stored()
            });
        let tasks = tasks.collect();
        let configured = self.configured.iter();
        let configured = configured.map(|(name, configured)| saved::ConfiguredTask {
            name: texts.place(Some(*name)),
            schedule: configured.schedule.to_string(),
            since: configured.since.micros(),
        });
        saved::PeriodicTasks {
            tasks,
            unobserved: spells.collect(),
            observed: observed.micros(),
            configured: configured.collect(),
        }
    }
}

impl PeriodicTasks {
    /// Restores everything. Implausible histories are left out. Sends since then were not observed:
    /// call [`not_observed`](Self::not_observed).
    pub(in crate::state) fn restore(
        &mut self,
        saved: &saved::PeriodicTasks,
        texts: &mut Restored<'_>,
        now: Timestamp,
    ) {
        let past = |micros| saved::past(micros, now);
        let spells = saved.unobserved.iter().map(|spell| Spell {
            start: past(spell.start),
            end: past(spell.end),
        });
        self.unseen = Unseen::restored(spells, past(saved.observed));
        for task in &saved.configured {
            let known = texts.name(task.name);
            let known = known.and_then(|name| self.configured.get_mut(&name));
            let same = known.filter(|known| known.schedule.to_string() == task.schedule);
            if let Some(configured) = same {
                configured.since = past(task.since);
            }
        }
        for task in &saved.tasks {
            let Some(name) = texts.name(task.name) else {
                continue;
            };
            match History::restored(task, now) {
                Some(history) if self.bounds.has_room(Part::Tasks, cost(&history)) => {
                    self.insert(name, history);
                }
                Some(_) => {
                    self.bounds.reached(Limit::PeriodicTasks);
                    self.sent_unrecorded(name, past(task.last_sent));
                }
                None => self.sent_unrecorded(name, past(task.last_sent)),
            }
        }
    }
}

impl History {
    fn stored(&self) -> saved::PeriodicTask {
        let rate = |rate: Rate| saved::Predictions {
            count: rate.predictions.into(),
            true_share: rate.true_share,
        };
        saved::PeriodicTask {
            name: 0,
            last_sent: self.last_sent.micros(),
            recent: self.recent.times().to_vec(),
            uniform: Some(rate(self.uniform)),
            period: self.period,
            calm_since: self.calm_since,
            long_until: self.long_until,
            weekly: Some(rate(self.weekly)),
            runs: self.tape.runs().map(|run| run.stored()).collect(),
            weekly_from: self.weekly_from,
            weekly_due: self.weekly_due,
            shifts: self.shifts.into(),
            changed: self.changed,
            probation: self.probation,
        }
    }

    /// Restores a history; `None` if its times are not in order or in the future.
    fn restored(saved: &saved::PeriodicTask, now: Timestamp) -> Option<Self> {
        let last_sent = Some(saved::past(saved.last_sent, now));
        let last_sent = last_sent.filter(|at| *at != Timestamp::default())?;
        let last = seconds(last_sent);
        let is_sorted = saved.recent.is_sorted_by(|earlier, later| earlier < later);
        if !is_sorted || saved.recent.last().is_none_or(|at| *at > last) {
            return None;
        }
        let mut recent = Recent::default();
        for at in &saved.recent {
            recent.push(*at);
        }
        let restored = |saved: Option<saved::Predictions>| {
            let rate = saved.and_then(|saved| {
                let share = Some(saved.true_share).filter(|share| (0.0..=1.0).contains(share))?;
                Some(Rate {
                    predictions: u8::try_from(saved.count).unwrap_or(u8::MAX).min(128),
                    true_share: share,
                })
            });
            rate.unwrap_or_default()
        };
        let runs = saved.runs.iter().filter_map(Run::restored);
        let is_weekly = saved.weekly_from <= last && saved.weekly_from < saved.weekly_due;
        let weekly = |at: u32| if is_weekly { at } else { 0 };
        let mut history = Self {
            recent,
            uniform: restored(saved.uniform),
            period: saved.period,
            calm_since: saved.calm_since,
            long_until: saved.long_until.min(last),
            weekly: restored(saved.weekly),
            tape: Tape::restored(runs, last),
            weekly_from: weekly(saved.weekly_from),
            weekly_due: weekly(saved.weekly_due),
            shifts: u8::try_from(saved.shifts).unwrap_or(ALL_SHIFTS) & ALL_SHIFTS,
            changed: saved.changed,
            probation: saved.probation,
            ..Self::new(last_sent)
        };
        history.refresh();
        Some(history)
    }
}

impl Run {
    fn stored(self) -> saved::SendRun {
        saved::SendRun {
            first: self.first,
            length: self.last - self.first,
            gaps: self.gaps.into(),
            unobserved: self.unseen,
        }
    }

    fn restored(saved: &saved::SendRun) -> Option<Self> {
        Some(Self {
            first: saved.first,
            last: saved.first.checked_add(saved.length)?,
            gaps: u16::try_from(saved.gaps).ok()?,
            unseen: saved.unobserved,
        })
    }
}
