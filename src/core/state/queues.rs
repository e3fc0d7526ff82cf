//! Queues: how full they are, and who consumes them.
//!
//! Levels come from the broker, consumers from the workers' answers. A queue that neither mentions any more is not
//! shown; nor is any level when the broker has not answered for long, because an old level is wrong. Which queues to
//! ask the broker for is [`Watched`].

use std::time::Duration;

use hashbrown::HashMap;

use super::generated::folded;
use super::watched::Watched;
use super::{Name, Names, QueueLevel, Worker};
use crate::bounds::Bounds;
use crate::timestamp::{ClockStep, Timestamp};

/// How long a level is believed at least.
const BELIEVED_MIN: Duration = Duration::from_secs(120);

/// How many rounds may be missed before levels are not believed any more.
const ROUNDS_MISSED_MAX: u32 = 3;

/// What is known of one queue. What nobody told is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Messages that wait to be delivered, and those delivered and not acknowledged.
    pub length: Option<u64>,
    pub unacked: Option<u64>,
    /// As the broker counts them.
    pub consumers: Option<u64>,
    /// Workers that consume it: how many, how many tasks they can run at once when their pools have grown, in how many processes, and how many
    /// tasks they run now, of whatever queue.
    pub workers: Option<u64>,
    pub slots: Option<u64>,
    pub processes: Option<u64>,
    pub active: Option<u64>,
}

/// The newest levels.
#[derive(Debug, Default)]
pub(super) struct Queues {
    levels: HashMap<Name, Queue>,
    /// Workers were asked: a queue that none of them consumes has none.
    workers_asked: bool,
    updated: Timestamp,
    /// When the newest round began.
    asked: Timestamp,
    /// The time between the newest round and the one before.
    interval: Duration,
    pub(super) watched: Watched,
}

impl Queues {
    pub(super) fn within(bounds: Bounds) -> Self {
        Self {
            watched: Watched::within(bounds),
            ..Self::default()
        }
    }

    /// Takes the levels of all queues. A queue that nothing named within `ttl` is watched no longer.
    pub(super) fn take(
        &mut self,
        levels: &[QueueLevel],
        names: &mut Names,
        ttl: Duration,
        asked: Timestamp,
        now: Timestamp,
    ) {
        self.asked = asked;
        self.interval = now.since(self.updated);
        if self.updated == Timestamp::default() {
            self.interval = Duration::ZERO;
        }
        self.updated = now;
        self.levels.clear();
        for level in levels {
            // Queues with generated names are one, and their levels add up.
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

    /// Notes that a round of remote control is over, whoever answered.
    pub(super) const fn workers_asked(&mut self) {
        self.workers_asked = true;
    }

    /// When the newest round began.
    pub(super) const fn asked(&self) -> Timestamp {
        self.asked
    }

    /// The queues that hold no message and of which no worker holds one, as far as the broker says, with the number of
    /// their consumers.
    pub(super) fn empty(&self) -> impl Iterator<Item = (Name, Option<u64>)> {
        let empty = self.levels.iter().filter(|(_, level)| {
            level.length == Some(0) && level.unacked.is_none_or(|unacked| unacked == 0)
        });
        empty.map(|(name, level)| (*name, level.consumers))
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        step.adjust(&mut self.updated);
        step.adjust(&mut self.asked);
        self.watched.clock_set(step);
    }

    /// Forgets levels that are too old to be true.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let believed = BELIEVED_MIN.max(self.interval.saturating_mul(ROUNDS_MISSED_MAX));
        if now.since(self.updated) > believed {
            self.levels.clear();
        }
    }

    /// Every queue that is known, with the workers that consume it.
    pub(super) fn with_workers<'a>(
        &self,
        workers: impl Iterator<Item = &'a Worker>,
    ) -> HashMap<Name, Queue> {
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

    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        self.levels.keys().copied().chain(self.watched.names())
    }
}

impl Queue {
    /// What its workers make up can be told, from none on.
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
