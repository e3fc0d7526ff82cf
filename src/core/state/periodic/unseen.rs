//! The times at which no sends could be observed.

use crate::timestamp::{ClockStep, Timestamp};

/// Remembered spells. Beyond that, the two oldest become one.
const SPELLS_MAX: usize = 8;

/// A time without observation, both ends inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spell {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// When sends were observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unseen {
    /// Oldest first; they do not overlap.
    spells: Vec<Spell>,
    /// The latest time of observation.
    observed: Timestamp,
}

impl Unseen {
    pub(super) fn observed(&mut self, at: Timestamp) {
        self.observed = self.observed.max(at);
    }

    /// Adds the time since the last observation.
    pub(super) fn not_observed(&mut self, now: Timestamp) {
        if self.observed == Timestamp::default() {
            return;
        }
        self.add(Spell {
            start: self.observed.min(now),
            end: now,
        });
    }

    /// Adds a spell that starts after the others, or continues the last one.
    fn add(&mut self, spell: Spell) {
        match self.spells.last_mut() {
            Some(last) if spell.start <= last.end => last.end = last.end.max(spell.end),
            _ => self.spells.push(spell),
        }
        self.observed = self.observed.max(spell.end);
        if self.spells.len() > SPELLS_MAX {
            let oldest = self.spells.remove(0);
            self.spells[0].start = oldest.start;
        }
    }

    /// The spells that end after `since`, oldest first.
    pub(super) fn after(&self, since: Timestamp) -> &[Spell] {
        let first = self.spells.partition_point(|spell| spell.end <= since);
        &self.spells[first..]
    }

    /// The seconds of an interval that were not observed.
    pub(super) fn seconds(&self, from: Timestamp, to: Timestamp) -> f64 {
        let parts = self.after(from).iter();
        let parts = parts.map(|spell| to.min(spell.end).seconds_since(from.max(spell.start)));
        parts.filter(|seconds| *seconds > 0.0).sum()
    }

    /// A step forward may be a time in which the machine was suspended, or a correction of earlier
    /// times. Either way, no conclusion may be drawn from it.
    pub(super) fn clock_set(&mut self, step: ClockStep) {
        let now = step.now();
        for spell in &mut self.spells {
            spell.start = spell.start.min(now);
            spell.end = spell.end.min(now);
        }
        self.observed = self.observed.min(now);
        if step.seconds() > 0.0 && self.observed != Timestamp::default() {
            self.not_observed(now);
        }
    }

    /// The spells and the latest time of observation, to store them.
    pub(super) fn parts(&self) -> (&[Spell], Timestamp) {
        (&self.spells, self.observed)
    }

    pub(super) fn restored(spells: impl Iterator<Item = Spell>, observed: Timestamp) -> Self {
        let mut unseen = Self::default();
        for spell in spells {
            let is_next = unseen
                .spells
                .last()
                .is_none_or(|last| last.end < spell.start);
            if is_next && spell.start <= spell.end {
                unseen.add(spell);
            }
        }
        unseen.observed(observed);
        unseen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn only_time_without_observation_counts() {
        let mut unseen = Unseen::default();
        unseen.not_observed(at(50));
        assert!(unseen.after(at(0)).is_empty());
        unseen.observed(at(100));
        for now in [110, 120, 130] {
            unseen.not_observed(at(now));
        }
        unseen.observed(at(200));
        unseen.not_observed(at(205));
        let spell = |start, end| Spell {
            start: at(start),
            end: at(end),
        };
        assert_eq!(unseen.after(at(0)), [spell(100, 130), spell(200, 205)]);
        assert_eq!(unseen.after(at(130)), [spell(200, 205)]);
        for (from, to, seconds) in [
            (0, 300, 35.0),
            (120, 202, 12.0),
            (130, 200, 0.0),
            (0, 100, 0.0),
        ] {
            assert_eq!(unseen.seconds(at(from), at(to)), seconds, "{from} {to}");
        }
    }

    #[test]
    fn many_spells_become_one_long_one() {
        let mut unseen = Unseen::default();
        for n in 0..20 {
            unseen.observed(at(100 * n + 10));
            unseen.not_observed(at(100 * n + 20));
        }
        let spells = unseen.after(at(0));
        assert_eq!(spells.len(), SPELLS_MAX);
        assert_eq!((spells[0].start, spells[0].end), (at(10), at(1_220)));
        assert_eq!(spells[SPELLS_MAX - 1].end, at(1_920));
    }
}
