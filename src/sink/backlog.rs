//! Values of individual series that are held back after the rest of their records was sent.

use std::collections::HashMap;

use crate::counts::Counts;
use crate::wire::{Key, Series};

/// Whether the receiver may already have stored some values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tried {
    #[default]
    Never,
    /// They were in a request that was refused. Some receivers store the rest of such a request
    /// (Mimir, Cortex and Thanos do so with 1.0).
    Refused,
    /// They were in a request that got no response or a 5xx, or they were queued by an earlier
    /// process.
    Unanswered,
}

impl Tried {
    /// Returns whether these values of one series may already be stored, so that a refusal as out
    /// of order loses nothing.
    ///
    /// A receiver accepts its newest value again if it is identical, and refuses only older ones.
    pub(super) const fn may_be_there(self, counts: Counts) -> bool {
        match self {
            Self::Never => false,
            Self::Refused => counts.points() > 1,
            Self::Unanswered => true,
        }
    }
}

/// The part of one record that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Sequence number of the record.
    pub(super) sequence: u64,
    pub(super) counts: Counts,
    /// Whether the receiver may already have stored it, so that a refusal for that reason loses
    /// nothing.
    pub(super) may_be_there: bool,
}

/// The values of one series with the records they come from, oldest first.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) series: Series,
    pub(super) parts: Vec<Part>,
}

/// All values that are held back, by series.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    series: HashMap<Key, Waiting>,
    counts: Counts,
}

impl Waiting {
    pub(super) fn new(series: Series, sequence: u64, tried: Tried) -> Self {
        let counts = series.counts();
        Self {
            series,
            parts: vec![Part {
                sequence,
                counts,
                may_be_there: tried.may_be_there(counts),
            }],
        }
    }

    /// Marks the values as sent in a request with this outcome.
    pub(super) fn tried(&mut self, tried: Tried) {
        let may_be_there = tried.may_be_there(self.counts());
        let parts = self.parts.iter_mut();
        parts.for_each(|part| part.may_be_there |= may_be_there);
    }

    pub(super) fn counts(&self) -> Counts {
        self.parts.iter().map(|part| part.counts).sum()
    }

    fn append(&mut self, later: Self) {
        self.series.append(later.series);
        self.parts.extend(later.parts);
    }

    /// Removes the parts of the oldest records: at most `points` points, but at least one part.
    fn take_oldest(&mut self, points: u64) -> Self {
        let (mut taken, mut end) = (Counts::default(), 0);
        for part in &self.parts {
            if end > 0 && (taken + part.counts).points() > points {
                break;
            }
            taken += part.counts;
            end += 1;
        }
        Self {
            parts: self.parts.drain(..end).collect(),
            series: self.series.take_first(taken),
        }
    }

    /// Drops the exemplars, and returns how many there were in each record.
    pub(super) fn drop_exemplars(&mut self) -> Vec<Part> {
        self.series.drop_exemplars();
        let parts = self.parts.iter_mut();
        let with = parts.filter(|part| part.counts.exemplars > 0);
        with.map(|part| {
            let counts = Counts {
                exemplars: std::mem::take(&mut part.counts.exemplars),
                ..Counts::default()
            };
            Part { counts, ..*part }
        })
        .collect()
    }
}

impl Backlog {
    /// Returns how much is held back.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.series.contains_key(&key)
    }

    /// Returns the time of the oldest value of a series, in milliseconds since the epoch.
    pub(super) fn oldest(&self, key: Key) -> Option<i64> {
        self.series.get(&key)?.series.oldest()
    }

    /// Adds values that are later than those already held.
    pub(super) fn push(&mut self, later: Waiting) {
        self.counts += later.counts();
        match self.series.entry(later.series.labels.key) {
            std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().append(later),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(later);
            }
        }
    }

    /// Puts back values that were taken.
    pub(super) fn put_back(&mut self, mut earlier: Waiting) {
        let key = earlier.series.labels.key;
        self.counts += earlier.counts();
        if let Some(later) = self.series.remove(&key) {
            earlier.append(later);
        }
        self.series.insert(key, earlier);
    }

    /// Removes the oldest values of a series, from at least one record.
    pub(super) fn take_oldest(&mut self, key: Key, points: u64) -> Option<Waiting> {
        let waiting = self.series.get_mut(&key)?;
        let taken = waiting.take_oldest(points);
        if waiting.parts.is_empty() {
            self.series.remove(&key);
        }
        self.counts -= taken.counts();
        Some(taken)
    }

    /// Drops the exemplars of a series, and returns how many there were in each record.
    pub(super) fn drop_exemplars(&mut self, key: Key) -> Vec<Part> {
        let waiting = self.series.get_mut(&key);
        let dropped = waiting.map_or_else(Vec::new, Waiting::drop_exemplars);
        self.counts -= dropped.iter().map(|part| part.counts).sum();
        dropped
    }

    /// Removes all values of a series.
    pub(super) fn remove(&mut self, key: Key) -> Option<Waiting> {
        let taken = self.series.remove(&key)?;
        self.counts -= taken.counts();
        Some(taken)
    }

    /// Removes the values of a record, which must be the oldest one here, and returns their counts.
    pub(super) fn take_record(&mut self, sequence: u64) -> Counts {
        let mut counts = Counts::default();
        self.series.retain(|_, waiting| {
            while waiting
                .parts
                .first()
                .is_some_and(|part| part.sequence == sequence)
            {
                counts += waiting.take_oldest(0).counts();
            }
            !waiting.parts.is_empty()
        });
        self.counts -= counts;
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Labels;

    fn part(name: &str, sequence: u64) -> Waiting {
        let at = i64::try_from(sequence).expect("a small number") * 1_000;
        let labels = Labels::of(&[("__name__", name)]);
        Waiting::new(Series::of_sample(labels, 1.0, at), sequence, Tried::Never)
    }

    fn sequences(waiting: &Waiting) -> Vec<u64> {
        assert_eq!(
            waiting.series.counts().points(),
            waiting.parts.len() as u64,
            "values and parts"
        );
        waiting.parts.iter().map(|part| part.sequence).collect()
    }

    #[test]
    fn values_leave_in_their_order_also_when_some_were_put_back() {
        let mut backlog = Backlog::default();
        for sequence in 1..=4 {
            backlog.push(part("x", sequence));
        }
        let key = part("x", 1).series.labels.key;
        let taken = backlog.take_oldest(key, 2).expect("it waits");
        assert_eq!(sequences(&taken), [1, 2]);
        assert_eq!(backlog.counts().points(), 2);
        backlog.put_back(taken);
        let taken = backlog.take_oldest(key, 0).expect("it waits");
        assert_eq!(sequences(&taken), [1], "one at least");
        let rest = backlog.remove(key).expect("it waits");
        assert_eq!(sequences(&rest), [2, 3, 4]);
        assert!(backlog.counts().is_zero() && backlog.series.is_empty());
    }

    #[test]
    fn the_oldest_record_can_be_taken_from_all_series() {
        let mut backlog = Backlog::default();
        for (name, sequence) in [("x", 1), ("y", 1), ("y", 2)] {
            backlog.push(part(name, sequence));
        }
        assert_eq!(backlog.take_record(1).samples, 2);
        assert_eq!((backlog.counts().points(), backlog.series.len()), (1, 1));
    }
}
