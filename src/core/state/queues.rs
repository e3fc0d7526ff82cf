//! Tracks queues: their levels and their consumers.
//!
//! Levels come from the broker, consumers from the workers' answers. A queue that neither reports
//! any more is not shown. Levels are not shown either once the broker has not answered for long,
//! because outdated levels are wrong. [`Watched`] decides which queues to poll.

use std::time::Duration;

use hashbrown::HashMap;

use super::generated::folded;
use super::rounds::Rounds;
use super::watched::Watched;
use super::{Names, QueueLevel, Symbol, Worker};
use crate::bounds::Bounds;
use crate::timestamp::{ClockStep, Timestamp};

/// The state of one queue. Unreported values are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Messages ready for delivery, and messages delivered but not acknowledged.
    pub length: Option<u64>,
    pub unacked: Option<u64>,
    /// The number of consumers according to the broker.
    pub consumers: Option<u64>,
    /// The workers that consume the queue: their number, how many tasks they can run at once with
    /// fully grown pools, their processes, and how many tasks from any queue they run now.
    pub workers: Option<u64>,
    pub slots: Option<u64>,
    pub processes: Option<u64>,
    pub active: Option<u64>,
}

/// The latest levels.
#[derive(Debug, Default)]
pub(super) struct Queues {
    levels: HashMap<Symbol, Queue>,
    /// Workers were asked, so a queue that none of them consumes has no workers.
    workers_asked: bool,
    rounds: Rounds,
    /// When the latest round started.
    asked: Timestamp,
    pub(super) watched: Watched,
}

impl Queues {
    pub(super) fn within(bounds: Bounds) -> Self {
        Self {
            watched: Watched::within(bounds),
            ..Self::default()
        }
    }

    /// Applies the levels of all queues. A queue that was not seen within `ttl` is no longer
    /// watched.
    pub(super) fn apply(
        &mut self,
        levels: &[QueueLevel],
        names: &mut Names,
        ttl: Duration,
        asked: Timestamp,
        now: Timestamp,
    ) {
        self.asked = asked;
        self.rounds.ended(now);
        self.levels.clear();
        for level in levels {
            // Queues with generated names are folded into one, so their levels add up.
            let queue = self.levels.entry(names.intern_queue(&folded(&level.queue)));
            let queue = queue.or_default();
            let sum = |a: Option<u64>, b: Option<u64>| {
                a.map_or(b, |a| Some(a.saturating_add(b.unwrap_or(0))))
            };
            queue.length = sum(queue.length, Some(level.length));
            queue.unacked = sum(queue.unacked, level.unacked);
            queue.consumers = sum(queue.consumers, level.consumers);
        }
        let levels = levels.iter();
        let named =
            levels.filter_map(|level| Some((names.find_queue(&folded(&level.queue))?, level)));
        self.watched.polled(named, ttl, now);
    }

    /// Records that a round of remote control is complete, whoever answered.
    pub(super) const fn workers_asked(&mut self) {
        self.workers_asked = true;
    }

    /// When the latest round started.
    pub(super) const fn asked(&self) -> Timestamp {
        self.asked
    }

    /// Whether the queue has messages that no worker has yet, according to levels that are current.
    pub(super) fn has_backlog(&self, queue: Symbol, now: Timestamp) -> bool {
        let level = self
            .levels
            .get(&queue)
            .filter(|level| level.length > Some(0));
        level.is_some() && !self.rounds.are_outdated(now)
    }

    /// The queues without ready or unacknowledged messages according to the broker, with the number
    /// of their consumers.
    pub(super) fn empty(&self) -> impl Iterator<Item = (Symbol, Option<u64>)> {
        let empty = self.levels.iter().filter(|(_, level)| {
            level.length == Some(0) && level.unacked.is_none_or(|unacked| unacked == 0)
        });
        empty.map(|(name, level)| (*name, level.consumers))
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        self.rounds.clock_set(step);
        step.adjust(&mut self.asked);
        self.watched.clock_set(step);
    }

    /// Removes levels that are too old.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.rounds.are_outdated(now) {
            self.levels.clear();
        }
    }

    /// All known queues, with the workers that consume them.
    pub(super) fn with_workers<'a>(
        &self,
        workers: impl Iterator<Item = &'a Worker>,
    ) -> HashMap<Symbol, Queue> {
        let mut queues = self.levels.clone();
        if self.workers_asked {
            for queue in queues.values_mut() {
                queue.begin();
            }
        }
        for worker in workers.filter(|worker| worker.online) {
            for name in worker.queues.iter().flatten() {
                let queue = queues.entry(*name).or_default();
                queue.begin();
                queue.add(worker);
            }
        }
        queues
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.levels.keys().copied().chain(self.watched.names())
    }
}

impl Queue {
    /// Starts the sums over workers at zero, because they can be determined.
    fn begin(&mut self) {
        for count in [
            &mut self.workers,
            &mut self.slots,
            &mut self.processes,
            &mut self.active,
        ] {
            count.get_or_insert(0);
        }
    }

    fn add(&mut self, worker: &Worker) {
        let add = |count: &mut Option<u64>, n: Option<u64>| {
            let sum = count.unwrap_or(0).saturating_add(n.unwrap_or(0));
            *count = Some(sum);
        };
        add(&mut self.workers, Some(1));
        add(&mut self.slots, worker.slots);
        add(&mut self.processes, worker.processes);
        add(&mut self.active, worker.active);
    }
}

#[cfg(test)]
mod tests;
