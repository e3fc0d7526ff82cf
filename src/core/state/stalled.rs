//! Remembers since when one worker has accepted no task from queues that have messages for it.
//!
//! Each round of remote control that finds the worker idle beside a queue is added by
//! [`Stalls::found`]; anything the worker does with a task, and any round that finds otherwise, ends
//! what was found. One round is not enough, because a message may be on its way to the worker, and
//! its events to celeriac. So a stall is shown only once all sources confirm it some seconds later:
//!
//! ```text
//!   levels   ──> 0 ─────────────────> 0 ───────────
//!   round    ──────── idle ─────────────── idle ───
//!                      since         confirmed ┘
//!   events   ───────── read up to here at least ┘    heartbeats with the same count of tasks,
//!                                                    no event of a task
//! ```
//!
//! Nothing of it is stored in a checkpoint: two rounds find it again.

use std::time::Duration;

use super::Symbol;
use crate::timestamp::{ClockStep, Timestamp};

/// Two observations closer together count as one: messages and events take a moment, and clocks
/// differ.
const APART: Duration = Duration::from_secs(5);

/// The queues that one worker accepts nothing from, and what is known of its work.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stalls {
    /// When the latest sign of its work was received: an event of a task, or a higher count of
    /// started tasks.
    worked: Timestamp,
    /// When the latest heartbeat with that count was received.
    counted: Timestamp,
    /// In the order of their queues, all of which the worker consumes. Empty unless the worker is
    /// idle beside a backlog.
    list: Vec<Stall>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    queue: Symbol,
    /// The end of the first round that found it.
    since: Timestamp,
    confirmed: bool,
}

/// How recent the sources are that a round is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recency {
    /// When the round started and ended.
    pub(super) asked: Timestamp,
    pub(super) now: Timestamp,
    /// When the broker was asked for queue lengths.
    pub(super) levels_asked: Timestamp,
    /// Up to when events have been read, and the last time at which some may have been missed.
    pub(super) read_until: Timestamp,
    pub(super) unseen_until: Timestamp,
    /// The longest that the worker may hold tasks of which nothing is known before it starts one.
    pub(super) pause: Duration,
}

impl Stalls {
    /// Records a sign that it works.
    pub(super) fn works(&mut self, now: Timestamp) {
        self.worked = now;
        self.end();
    }

    /// Records a heartbeat with the number of tasks that it has started.
    pub(super) const fn count(&mut self, now: Timestamp) {
        self.counted = now;
    }

    /// When the latest sign of its work was received.
    pub(super) const fn worked(&self) -> Timestamp {
        self.worked
    }

    /// When the latest heartbeat with the number of tasks that it has started was received.
    pub(super) const fn counted(&self) -> Timestamp {
        self.counted
    }

    /// Records that it is not idle beside a backlog, or that this is unknown.
    pub(super) fn end(&mut self) {
        self.list.clear();
    }

    /// Ends the stalls on queues that have no messages.
    pub(super) fn keep(&mut self, has_backlog: impl Fn(Symbol) -> bool) {
        self.list.retain(|stall| has_backlog(stall.queue));
    }

    /// Records a round that found it idle beside exactly these queues, which are sorted.
    pub(super) fn found(&mut self, queues: &[Symbol], recency: &Recency) {
        let counted = self.counted;
        let found = queues.iter().map(|&queue| {
            let known = self.list.binary_search_by_key(&queue, |stall| stall.queue);
            let known = known.ok().map(|at| self.list[at]);
            // It may have accepted tasks while nobody listened.
            match known.filter(|stall| stall.since > recency.unseen_until) {
                Some(stall) => Stall {
                    confirmed: stall.confirmed || recency.confirms(stall.since, counted),
                    ..stall
                },
                None => Stall {
                    queue,
                    since: recency.now,
                    confirmed: false,
                },
            }
        });
        self.list = found.collect();
    }

    /// The queues that it is known to accept nothing from, and since when.
    pub(super) fn confirmed(&self) -> impl Iterator<Item = (Symbol, Timestamp)> {
        let confirmed = self.list.iter().filter(|stall| stall.confirmed);
        confirmed.map(|stall| (stall.queue, stall.since))
    }

    /// Shifts stored times after our clock was set.
    pub(super) fn clock_set(&mut self, step: ClockStep) {
        let since = self.list.iter_mut().map(|stall| &mut stall.since);
        let times = [&mut self.worked, &mut self.counted].into_iter();
        times.chain(since).for_each(|at| step.adjust(at));
    }
}

impl Recency {
    /// Whether all sources show that a worker, whose latest count was received at `counted`, has
    /// still not accepted anything some time after `since`. The levels were read again as well:
    /// others may have emptied the queue after it was asked for the first time.
    fn confirms(&self, since: Timestamp, counted: Timestamp) -> bool {
        let later = [self.asked, self.read_until, counted];
        let apart = APART.saturating_add(self.pause);
        later.into_iter().all(|at| at.since(since) >= apart) && self.levels_asked > since
    }
}

#[cfg(test)]
mod tests;
