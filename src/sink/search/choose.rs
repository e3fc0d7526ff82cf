//! Chooses the suspects to test next.

use std::collections::{HashMap, HashSet};

use super::groups::{Group, GroupKind, Suspect, Test};
use super::learn::WHOLES_MIN;
use super::{SINGLES_MIN, Search};

/// Groups up to this size are halved regardless of labels.
const SMALL: usize = 16;

impl Search {
    pub(super) fn wants_single(&self) -> bool {
        let is_over = self.singles >= SINGLES_MIN && !self.seeds.is_empty();
        let is_small = self.singles == 0 && self.pool.len() <= SMALL;
        !self.labels.is_found && !is_over && !is_small && !self.pool.is_empty() && self.target == 0
    }

    /// Sorts the pool by the value of the current label.
    pub(super) fn sort(&mut self) {
        if self.target == 0 {
            self.begin();
        }
        if !std::mem::take(&mut self.is_unsorted) {
            return;
        }
        let Some(name) = self.labels.names.first() else {
            self.loose.append(&mut self.pool);
            return;
        };
        let mut values = HashMap::<String, usize>::new();
        for suspect in &mut self.pool {
            let value = suspect.labels.value(name);
            let next = values.len();
            suspect.value = match values.get(value) {
                Some(known) => *known,
                None => *values.entry(value.to_owned()).or_insert(next),
            };
        }
        self.pool.sort_by_key(|suspect| suspect.value);
    }

    /// Chooses the labels to try and the initial group size.
    fn begin(&mut self) {
        let refused = self.singles as usize - self.seeds.len().min(self.singles as usize);
        self.target = match refused {
            0 => self.pool.len() / 2,
            // About half of the groups of this size are expected to be good.
            refused => self.singles as usize * 7 / (10 * refused),
        }
        .max(1);
        if self.singles == 0 {
            return;
        }
        let mut values = HashMap::<&str, (usize, HashSet<&str>)>::new();
        for suspect in &self.pool {
            for (name, value) in suspect.labels.iter() {
                let (series, distinct) = values.entry(name).or_default();
                *series += 1;
                distinct.insert(value);
            }
        }
        let all = self.pool.len();
        let useful = values.into_iter().filter(|(_, (series, distinct))| {
            // A label whose value is the same for all series, or different for each, carries no
            // information.
            let is_shared = distinct.len() * 2 <= *series;
            is_shared && (distinct.len() > 1 || *series < all)
        });
        // Labels of at least half of the series come first, and among those the ones with few
        // values.
        let mut useful: Vec<_> = useful
            .map(|(name, (series, distinct))| (series * 2 < all, distinct.len(), name.to_owned()))
            .collect();
        useful.sort();
        self.labels.names = useful.into_iter().map(|(_, _, name)| name).collect();
    }

    /// Chooses the largest available test, because it may clear the most series.
    pub(super) fn choose(&mut self, max: usize) -> Option<Test> {
        if self.labels.is_found && self.labels.wholes < WHOLES_MIN {
            // This shows whether the label is the right one.
            let whole = self.bad.iter().position(|group| group.is_whole);
            if let Some(group) = whole {
                return Some(self.divide(group, 1, max));
            }
        }
        let pool = self.pool_run(max);
        let loose = self.target.min(max).min(self.loose.len());
        let sizes = self.bad.iter().map(|group| self.part_size(group, max));
        let (group, part) = sizes
            .enumerate()
            .max_by_key(|(_, size)| *size)
            .unwrap_or_default();
        let is_trial = !self.labels.is_decided();
        if (is_trial || pool.len() >= loose.max(part)) && !pool.is_empty() {
            let is_one_value = self.pool[pool.start].value == self.pool[pool.end - 1].value;
            let members = self.pool.drain(pool).collect();
            return Some(Test::new(members, GroupKind::Pool { is_one_value }));
        }
        if loose >= part && loose > 0 {
            let members = self.loose.split_off(self.loose.len() - loose);
            return Some(Test::new(members, GroupKind::Loose));
        }
        (part > 0).then(|| self.divide(group, part, max))
    }

    /// Returns the suspects of the pool to test: all of one value, and more values up to the
    /// target.
    fn pool_run(&self, max: usize) -> std::ops::Range<usize> {
        let Some(last) = self.pool.len().checked_sub(1) else {
            return 0..0;
        };
        let name = self.labels.names.first().filter(|_| !self.labels.is_found);
        let seed = name.and_then(|name| {
            let values: HashSet<&str> = self.seeds.iter().map(|seed| seed.value(name)).collect();
            let is_good = |suspect: &Suspect| values.contains(suspect.labels.value(name));
            self.pool.iter().rposition(is_good)
        });
        let end = seed.unwrap_or(last) + 1;
        let begin = |end: usize| {
            let value = self.pool[end - 1].value;
            self.pool[..end].partition_point(|suspect| suspect.value < value)
        };
        let mut start = begin(end);
        while self.labels.is_decided() && start > 0 && end - begin(start) <= self.target {
            start = begin(start);
        }
        start.max(end.saturating_sub(max))..end
    }

    /// Returns how many series of a bad group to test.
    fn part_size(&self, group: &Group, max: usize) -> usize {
        let size = group.members.len();
        if group.is_whole {
            1
        } else {
            (size / 2).min(self.target).min(max).max(1)
        }
    }

    fn divide(&mut self, at: usize, size: usize, max: usize) -> Test {
        let mut group = self.bad.swap_remove(at);
        if group.is_whole {
            // Adjacent members may be similar, so spread the samples.
            let one = spread(group.sampled.into(), group.members.len());
            let one = vec![group.members.swap_remove(one)];
            return Test::new(one, GroupKind::Sample(group));
        }
        let value = |at: usize| group.members[at].value;
        let ends = 1..group.members.len();
        let between = ends.filter(|end| value(end - 1) != value(*end));
        let end = between
            .min_by_key(|end| end.abs_diff(size))
            .filter(|end| *end <= max.min(size * 2));
        let rest = group.members.split_off(end.unwrap_or(size));
        Test::new(group.members, GroupKind::Half(rest))
    }
}

/// Returns an index below `among` that is far from the previous ones.
pub(super) const fn spread(number: usize, among: usize) -> usize {
    // The golden ratio, as a fraction.
    (number * 618 + 309) % 1_000 * among / 1_000
}
