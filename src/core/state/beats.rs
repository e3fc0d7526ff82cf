//! Tracks the schedulers of periodic tasks, as far as they can be asked.
//!
//! `celery beat` sends no events of its own. Since Celery 5.7 it answers `ping` if
//! `beat_enable_remote_control` is on, and stops answering once its last tick is too old, so
//! silence means that it has stopped, hangs, or cannot be reached.
//!
//! Source: Celery 5.7, `celery/beat.py`, `BeatPidbox`.

use std::time::Duration;

use super::rounds::Rounds;
use super::texts::{Restored, Texts};
use super::{BeatAnswer, Names, Symbol};
use crate::saved;
use crate::timestamp::{ClockStep, Timestamp};

/// The most beats that are tracked. A cluster has one.
const BEATS_MAX: usize = 100;

/// After this many rounds without an answer, a beat is offline. One answer may be lost or late.
const MISSED_MAX: u8 = 2;

/// How long the last beat of a cluster is remembered: usually nothing replaces it, and then it must
/// not look as if there had never been one.
const LAST_RETENTION: Duration = Duration::from_hours(24);

/// One node that answers as a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    pub name: Symbol,
    pub online: bool,
    /// When it was first seen online, or found to be offline.
    pub since: Timestamp,
    /// When it last answered.
    pub seen: Timestamp,
    /// Number of processes that answered under its name in the latest round.
    pub processes: u64,
    missed: u8,
}

/// All beats of a cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Beats {
    list: Vec<Beat>,
    rounds: Rounds,
}

impl Beats {
    /// Applies a complete round, in which every known beat was asked. Returns whether all answers
    /// had room.
    pub(super) fn apply(
        &mut self,
        answers: &[BeatAnswer],
        names: &mut Names,
        now: Timestamp,
    ) -> bool {
        self.rounds.ended(now);
        for beat in &mut self.list {
            beat.missed = beat.missed.saturating_add(1);
        }
        for answer in answers {
            let Some(name) = names.intern_node(&answer.beat) else {
                continue;
            };
            if let Some(beat) = self.find_or_insert(name, now) {
                beat.answered(answer.processes, now);
            }
        }
        for beat in &mut self.list {
            beat.judge(now);
        }
        self.list.len() < BEATS_MAX
    }

    /// Forgets beats that have been offline for longer than `retention`, or for a day if no other
    /// runs.
    pub(super) fn expire(&mut self, retention: Duration, now: Timestamp) {
        let some_online = self.list.iter().any(|beat| beat.online);
        let retention = if some_online {
            retention
        } else {
            retention.max(LAST_RETENTION)
        };
        self.list
            .retain(|beat| beat.online || now.since(beat.since) <= retention);
    }

    /// All known beats. Empty if none could be asked for a while, since their state is not known
    /// then.
    pub(super) fn current(&self, now: Timestamp) -> impl Iterator<Item = &Beat> {
        let is_current = !self.rounds.are_outdated(now);
        self.list.iter().filter(move |_| is_current)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.list.iter().map(|beat| beat.name)
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        self.rounds.clock_set(step);
        for beat in &mut self.list {
            step.adjust(&mut beat.since);
            step.adjust(&mut beat.seen);
        }
    }

    pub(super) fn stored(&self, texts: &mut Texts) -> Vec<saved::Beat> {
        let stored = self.list.iter().map(|beat| saved::Beat {
            name: texts.place(Some(beat.name)),
            online: beat.online,
            since: beat.since.micros(),
            seen: beat.seen.micros(),
        });
        stored.collect()
    }

    pub(super) fn restore(
        &mut self,
        saved: &saved::Beat,
        texts: &mut Restored<'_>,
        now: Timestamp,
    ) {
        // By our clock, which may have been set back.
        let past = |micros| saved::time(micros).min(now);
        if let Some(name) = texts.node(saved.name)
            && let Some(beat) = self.find_or_insert(name, now)
        {
            beat.online = saved.online;
            beat.since = past(saved.since);
            beat.seen = past(saved.seen);
            beat.processes = u64::from(saved.online);
        }
    }

    fn find_or_insert(&mut self, name: Symbol, now: Timestamp) -> Option<&mut Beat> {
        let known = self.list.iter().position(|beat| beat.name == name);
        if known.is_none() && self.list.len() < BEATS_MAX {
            self.list.push(Beat {
                name,
                online: true,
                since: now,
                seen: now,
                processes: 0,
                missed: 0,
            });
        }
        let at = known.unwrap_or(self.list.len() - 1);
        self.list.get_mut(at).filter(|beat| beat.name == name)
    }
}

impl Beat {
    fn answered(&mut self, processes: u64, now: Timestamp) {
        self.seen = now;
        self.missed = 0;
        self.processes = processes;
        if !self.online {
            self.online = true;
            self.since = now;
        }
    }

    fn judge(&mut self, now: Timestamp) {
        if self.online && self.missed >= MISSED_MAX {
            self.online = false;
            self.since = now;
            self.processes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn answers(beats: &[(&str, u64)]) -> Vec<BeatAnswer> {
        let answers = beats.iter().map(|(beat, processes)| BeatAnswer {
            beat: (*beat).to_owned(),
            processes: *processes,
        });
        answers.collect()
    }

    fn shown(beats: &Beats, names: &Names, seconds: i64) -> Vec<(String, bool, u64)> {
        let shown = beats.current(at(seconds)).map(|beat| {
            let name = names.text(beat.name).to_string();
            (name, beat.online, beat.processes)
        });
        shown.collect()
    }

    #[test]
    fn a_beat_is_offline_after_two_rounds_without_an_answer() {
        let (mut beats, mut names) = (Beats::default(), Names::default());
        let up = answers(&[("celerybeat@a", 1)]);
        let _ = beats.apply(&up, &mut names, at(0));
        let _ = beats.apply(&[], &mut names, at(60));
        let state = |online, processes| vec![("celerybeat@a".to_owned(), online, processes)];
        assert_eq!(shown(&beats, &names, 60), state(true, 1));
        let _ = beats.apply(&up, &mut names, at(120));
        let _ = beats.apply(&[], &mut names, at(180));
        let _ = beats.apply(&[], &mut names, at(240));
        assert_eq!(shown(&beats, &names, 240), state(false, 0));
        assert_eq!(beats.list[0].since, at(240));
        assert_eq!(beats.list[0].seen, at(120));

        let _ = beats.apply(&answers(&[("celerybeat@a", 2)]), &mut names, at(300));
        assert_eq!(shown(&beats, &names, 300), state(true, 2));
        assert_eq!(beats.list[0].since, at(300));

        // Nothing is known once nobody has been asked for a while.
        assert_eq!(shown(&beats, &names, 420), state(true, 2));
        assert_eq!(shown(&beats, &names, 481), []);
    }

    #[test]
    fn an_offline_beat_is_forgotten_and_an_online_one_is_not() {
        let (mut beats, mut names) = (Beats::default(), Names::default());
        let retention = Duration::from_secs(3600);
        let _ = beats.apply(&answers(&[("a@h", 1), ("b@h", 1)]), &mut names, at(0));
        for round in 1..=2 {
            let _ = beats.apply(&answers(&[("b@h", 1)]), &mut names, at(60 * round));
        }
        beats.expire(retention, at(120 + 3600));
        assert_eq!(beats.list.len(), 2);
        beats.expire(retention, at(120 + 3601));
        let left: Vec<_> = beats.names().map(|name| names.text(name)).collect();
        assert_eq!(left, ["b@h".into()]);
        // The last one is remembered for a day.
        for round in 0..2 {
            let _ = beats.apply(&[], &mut names, at(4_000 + 60 * round));
        }
        beats.expire(retention, at(4_060 + 86_400));
        assert_eq!(beats.list.len(), 1);
        beats.expire(retention, at(4_060 + 86_401));
        assert_eq!(beats.list.len(), 0);
    }

    #[test]
    fn at_most_a_hundred_are_tracked() {
        let (mut beats, mut names) = (Beats::default(), Names::default());
        let many: Vec<_> = (0..101).map(|n| format!("celerybeat@{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), 1)).collect();
        assert!(!beats.apply(&answers(&many), &mut names, at(0)));
        assert_eq!(beats.list.len(), BEATS_MAX);
    }

    #[test]
    fn a_restart_keeps_the_state_and_not_the_rounds() {
        let (mut beats, mut names) = (Beats::default(), Names::default());
        let _ = beats.apply(&answers(&[("a@h", 1), ("b@h", 1)]), &mut names, at(0));
        for round in 1..=2 {
            let _ = beats.apply(&answers(&[("b@h", 1)]), &mut names, at(60 * round));
        }
        let mut texts = Texts::default();
        let stored = beats.stored(&mut texts);
        let texts = texts.stored(&names);
        let (mut again, mut names) = (Beats::default(), Names::default());
        for beat in &stored {
            let mut texts = Restored::new(&texts, &mut names);
            again.restore(beat, &mut texts, at(200));
        }
        assert_eq!(shown(&again, &names, 200), [], "not asked yet");
        let _ = again.apply(&[], &mut names, at(210));
        let expected = [("a@h".to_owned(), false, 0), ("b@h".to_owned(), true, 1)];
        assert_eq!(shown(&again, &names, 210), expected);
        assert_eq!(again.list[0].since, at(120));
    }
}
