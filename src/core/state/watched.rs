//! Tracks the queues to poll: those named recently, and those that are not empty.
//!
//! Ages are checked at each polling round and not in between, so that a queue is not forgotten
//! while polling is impossible.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::{QueueLevel, Symbol};
use crate::bounds::{Bounds, Limit};
use crate::timestamp::{ClockStep, Timestamp};

/// The most queues that are remembered, and how many of the oldest make room beyond that.
const QUEUES_MAX: usize = 10_000;
const ROOM: usize = QUEUES_MAX / 10;

/// When each queue was last named by an event, a worker or the broker.
#[derive(Debug, Default)]
pub(super) struct Watched {
    named: HashMap<Symbol, Timestamp>,
    /// The last entry, cached because tasks of one queue arrive in runs.
    newest: Option<(Symbol, Timestamp)>,
    /// Queues that were not empty in the latest round.
    backlogged: HashSet<Symbol>,
    /// The time of the latest round.
    polled: Timestamp,
    bounds: Bounds,
}

impl Watched {
    pub(super) fn within(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Records that something named a queue.
    #[inline]
    pub(super) fn name(&mut self, queue: Symbol, now: Timestamp) {
        if self.newest != Some((queue, now)) {
            self.newest = Some((queue, now));
            self.insert(queue, now);
        }
    }

    fn insert(&mut self, queue: Symbol, now: Timestamp) {
        self.named.insert(queue, now);
        if self.named.len() <= QUEUES_MAX {
            return;
        }
        self.bounds.reached(Limit::WatchedQueues);
        let mut idle: Vec<_> = self.named.iter().map(|(queue, at)| (*at, *queue)).collect();
        idle.retain(|(_, queue)| !self.backlogged.contains(queue));
        let room = ROOM.min(idle.len());
        if let Some(last) = room.checked_sub(1) {
            idle.select_nth_unstable(last);
        }
        for (_, queue) in &idle[..room] {
            self.named.remove(queue);
        }
    }

    /// Applies a round of levels: a queue with messages or consumers counts as named, and one that
    /// was not named within `ttl` is forgotten.
    pub(super) fn polled<'a>(
        &mut self,
        levels: impl Iterator<Item = (Symbol, &'a QueueLevel)>,
        ttl: Duration,
        now: Timestamp,
    ) {
        self.backlogged.clear();
        self.polled = now;
        for (queue, level) in levels {
            let backlogged = level.length > 0 || level.unacked.is_some_and(|unacked| unacked > 0);
            if backlogged && self.backlogged.len() < QUEUES_MAX {
                self.backlogged.insert(queue);
            }
            if backlogged || level.consumers.is_some_and(|consumers| consumers > 0) {
                self.name(queue, now);
            }
        }
        self.named.retain(|_, named| now.since(*named) <= ttl);
        self.newest = None;
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        step.adjust(&mut self.polled);
        self.named.values_mut().for_each(|named| step.adjust(named));
        self.newest = None;
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.named.keys().copied()
    }

    /// Each queue, and how long before the latest round it was last named, in microseconds.
    pub(super) fn ages(&self) -> impl Iterator<Item = (Symbol, i64)> {
        let age = |named: Timestamp| (self.polled.micros() - named.micros()).max(0);
        self.named
            .iter()
            .map(move |(queue, named)| (*queue, age(*named)))
    }

    /// Restores a queue with its stored age. The daemon's downtime does not count.
    pub(super) fn restore(&mut self, queue: Symbol, age: i64, now: Timestamp) {
        let named = now.micros().saturating_sub(age.max(0)).max(0);
        self.insert(queue, Timestamp::from_micros(named));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Names;

    const TTL: Duration = Duration::from_secs(100);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn level(length: u64, unacked: Option<u64>, consumers: Option<u64>) -> QueueLevel {
        QueueLevel {
            queue: String::new(),
            length,
            unacked,
            consumers,
        }
    }

    #[test]
    fn what_holds_messages_or_is_consumed_is_watched_and_the_rest_for_as_long_as_it_is_named() {
        let mut names = Names::default();
        let mut watched = Watched::default();
        let levels = [
            ("full", level(1, None, Some(0))),
            ("unacked", level(0, Some(1), None)),
            ("consumed", level(0, None, Some(1))),
            ("idle", level(0, Some(0), Some(0))),
        ]
        .map(|(queue, level)| (names.intern(queue), level));
        let absent = names.intern("absent");
        for queue in levels.iter().map(|(queue, _)| *queue).chain([absent]) {
            watched.name(queue, at(0));
        }
        let poll = |watched: &mut Watched, seconds| {
            let levels = levels.iter().map(|(queue, level)| (*queue, level));
            watched.polled(levels, TTL, at(seconds));
            let mut left: Vec<_> = watched.names().map(|queue| names.text(queue)).collect();
            left.sort();
            left.iter().map(|name| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(poll(&mut watched, 100).len(), 5);
        let (idle, _) = levels[3];
        watched.name(idle, at(150));
        let left = ["consumed", "full", "idle", "unacked"];
        assert_eq!(poll(&mut watched, 201), left);
        let left = ["consumed", "full", "unacked"];
        assert_eq!(poll(&mut watched, 100_000), left);

        // After a restart a day later, each queue has the same age as before.
        let mut restored = Watched::default();
        watched.name(idle, at(100_000));
        for (queue, age) in watched.ages() {
            restored.restore(queue, age, at(200_000));
        }
        assert_eq!(poll(&mut restored, 200_100).len(), 4);
        assert_eq!(poll(&mut restored, 200_101), left);
    }

    #[test]
    fn too_many_names_cost_the_oldest_and_none_that_holds_messages() {
        let mut names = Names::default();
        let mut watched = Watched::default();
        let full = names.intern("full");
        watched.polled([(full, &level(1, None, None))].into_iter(), TTL, at(0));
        let mut last = full;
        for n in 0..3 * QUEUES_MAX {
            last = names.intern(&n.to_string());
            watched.name(last, at(1 + i64::try_from(n).expect("small")));
            assert!(watched.named.len() <= QUEUES_MAX);
        }
        let left: HashSet<Symbol> = watched.names().collect();
        assert!(left.len() > QUEUES_MAX - ROOM && left.contains(&full) && left.contains(&last));
    }
}
