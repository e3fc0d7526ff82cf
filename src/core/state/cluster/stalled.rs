//! Finds stalled workers: those that accept no task although a queue of theirs has messages.
//!
//! The consumer of a worker can be lost without a trace, for example when it reconnects to the
//! broker: heartbeats and answers continue, and it counts as online (Celery issues 2296 and 8030).
//! It is idle then, with free slots, beside a backlog. There are good reasons to look like that,
//! and each has its own evidence:
//!
//! | reason | evidence against it |
//! | --- | --- |
//! | It is busy, or has enough to do. | Its lists, with its slots and its prefetch count. |
//! | It accepts tasks, and they end between two rounds. | Task events; the count in its heartbeats. |
//! | It holds tasks back because of a rate limit. They are in no list. | Events of every task it received; otherwise that it starts none for as long as its slowest rate limit demands. |
//! | The broker prefers another consumer. | Its answer: [`WorkerAnswer::passive_queues`]. |
//! | The queue has become empty. | Levels asked for after its last sign of work, and again after the first round. |
//!
//! Where such evidence is incomplete, nothing is claimed: the worker did not answer completely, its
//! events are late or were missed, or other daemons receive a part of them.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::State;
use super::reconcile::Round;
use crate::state::rounds::Rounds;
use crate::state::stalled::Recency;
use crate::state::{Symbol, TaskStage, Worker, WorkerAnswer};
use crate::timestamp::Timestamp;

/// How late events may be, and how long ago the last heartbeat of a worker. Some send one a minute.
const LATE_MAX: Duration = Duration::from_secs(120);

/// Queues with messages, and how long the worker may hold tasks that are not known.
type Idle = (Vec<Symbol>, Duration);

/// A worker that accepts no task from a queue, although it could and the queue has messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    pub worker: Symbol,
    pub queue: Symbol,
    /// When this was first found.
    pub since: Timestamp,
}

impl State {
    /// The stalled workers, once for each queue.
    pub fn stalled(&self, now: Timestamp) -> Vec<Stalled> {
        let stalled = self.workers.iter().flat_map(|worker| {
            let queues = self.stalled_queues(worker, now);
            queues.map(|(queue, since)| Stalled {
                worker: worker.name,
                queue,
                since,
            })
        });
        stalled.collect()
    }

    /// The queues that a worker is stalled on, and since when. None if workers or broker have not
    /// answered for long.
    pub(super) fn stalled_queues(
        &self,
        worker: &Worker,
        now: Timestamp,
    ) -> impl Iterator<Item = (Symbol, Timestamp)> {
        let is_current = !Rounds::of(self.rounds).are_outdated(now);
        let found = worker.stalls.confirmed();
        found.filter(move |(queue, _)| is_current && self.queues.has_backlog(*queue, now))
    }

    /// Judges all workers after the answers of a round have been applied.
    pub(super) fn find_stalled(&mut self, answers: &[WorkerAnswer], round: Round) {
        let read_until = self.read_until(round.now);
        let is_readable = self.limits.shard.is_none() && round.now.since(read_until) <= LATE_MAX;
        let idle = if is_readable {
            self.idle(answers, round.now)
        } else {
            HashMap::new()
        };
        let recency = Recency {
            asked: round.asked,
            now: round.now,
            levels_asked: self.queues.asked(),
            read_until,
            unseen_until: self.unseen_until,
            pause: Duration::ZERO,
        };
        let answered = answers.iter();
        let answered = answered.filter_map(|answer| self.names.find(&answer.worker));
        let answered: HashSet<Symbol> = answered.collect();
        for worker in self.workers.iter_mut() {
            match idle.get(&worker.name) {
                // One answer may be late. If more are, heartbeats are missing as well.
                None if is_readable && !answered.contains(&worker.name) => {}
                Some((queues, pause)) => {
                    let pause = *pause;
                    worker.stalls.found(queues, &Recency { pause, ..recency });
                }
                None => worker.stalls.end(),
            }
        }
    }

    /// Ends the stalls on queues that have no messages according to the latest levels.
    pub(super) fn queues_drained(&mut self, now: Timestamp) {
        let Self {
            workers, queues, ..
        } = self;
        for worker in workers.iter_mut() {
            worker.stalls.keep(|queue| queues.has_backlog(queue, now));
        }
    }

    /// The workers that have room for another task and do not work, with those of their queues that
    /// have messages, and their pause.
    fn idle(&self, answers: &[WorkerAnswer], now: Timestamp) -> HashMap<Symbol, Idle> {
        let idle = answers.iter().filter_map(|answer| {
            let worker = self.workers.get(self.names.find(&answer.worker)?)?;
            let is_idle = worker.online
                && worker.is_process(answer.pid)
                && now.since(worker.stalls.counted()) <= LATE_MAX
                && self.queues.asked() > worker.stalls.worked()
                && has_room(worker, answer);
            let pause = self.pause_of(worker).filter(|_| is_idle)?;
            let queues = self.backlogs(answer, now);
            (!queues.is_empty()).then_some((worker.name, (queues, pause)))
        });
        let mut idle: HashMap<_, _> = idle.collect();
        if !idle.is_empty() {
            let tasks = self.tasks.in_flight();
            let waiting = tasks.filter(|task| task.stage == Some(TaskStage::Received));
            // A task for later leaves room for others: the worker prefetches one more.
            for task in waiting.filter(|task| task.waits_for() <= now) {
                task.worker.inspect(|worker| drop(idle.remove(worker)));
            }
        }
        idle
    }

    /// The longest that a worker may hold tasks that it does not list and that no event reported,
    /// before it starts one: zero if every event of its process was received. `None` if that is not
    /// known.
    fn pause_of(&self, worker: &Worker) -> Option<Duration> {
        let is_followed = worker.events() == Some(true)
            && worker.started.is_some_and(|at| at > self.unseen_until);
        is_followed.then_some(Duration::ZERO).or(worker.rate_pause)
    }

    /// The queues with messages for the worker that gave this answer, sorted.
    fn backlogs(&self, answer: &WorkerAnswer, now: Timestamp) -> Vec<Symbol> {
        let passive = answer.passive_queues.iter().map(String::as_str);
        let passive: HashSet<&str> = passive.collect();
        let queues = answer.queues.iter().flatten();
        let own = queues.filter(|queue| !passive.contains(queue.as_str()));
        // Generated names are known only in their folded form. Of the queues behind one, the
        // messages may be in another.
        let known = own.filter_map(|queue| self.names.find_queue(queue));
        let mut queues: Vec<_> = known
            .filter(|queue| self.queues.has_backlog(*queue, now))
            .collect();
        queues.sort_unstable();
        queues.dedup();
        queues
    }
}

/// Whether a worker lists all its tasks, and could accept and start another one.
fn has_room(worker: &Worker, answer: &WorkerAnswer) -> bool {
    let lists = [&answer.active, &answer.reserved, &answer.scheduled];
    let [active, reserved, scheduled] =
        lists.map(|list| list.as_ref().map_or(0, |tasks| tasks.len() as u64));
    let is_limited = worker.prefetch_count.is_some_and(|most| most > 0);
    let prefetch = worker.prefetch_least.filter(|_| is_limited);
    answer.complete
        && reserved == 0
        && worker.slots.is_some_and(|slots| active < slots)
        && prefetch.is_none_or(|most| active + scheduled < most)
}

#[cfg(test)]
mod tests;
