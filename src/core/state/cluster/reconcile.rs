//! Finds tasks in flight whose end no event reported, from what broker and workers still have.
//!
//! Some tasks end without an event: they raise `Ignore`, have `send_events` off, are purged from a
//! queue, run while a worker's events are off, or end while celeriac is not listening. A worker
//! lists every task it has, so a task of a live worker that is in none of its lists has *ended*. A
//! task that waits in an empty queue, and that no worker of the queue lists, is *gone*.
//!
//! One round is not enough: a task may move while the lists are made, and its events may still be
//! on their way. So a task must be missing in two rounds, some seconds apart, without an event in
//! between, and after all events sent before the first round have been read. An incomplete answer,
//! or a worker that does not answer, proves nothing, and the timeout applies.
//!
//! A worker does not list tasks that it holds back because of a rate limit. So a task that it has
//! not started counts as ended only if the worker reports no rate limit for that task name, which
//! is requested when needed.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::State;
use crate::state::shard::place;
use crate::state::task::Task;
use crate::state::workflows::Standing;
use crate::state::{Change, Symbol, TaskStage, Unreported, WorkerAnswer};
use crate::timestamp::Timestamp;

/// Two rounds closer together count as one: events take up to a second and a half, and clocks
/// differ.
const APART: Duration = Duration::from_secs(5);

/// How long after its due time a message may still be on its way to its queue.
const DUE_GRACE: Duration = Duration::from_secs(5);

/// Tasks that were missing in the latest rounds.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// By task index, the round since which each is missing.
    missing: HashMap<u32, Round>,
    /// Whether rate limits are needed to decide about some of them.
    pub(super) rates_wanted: bool,
}

/// The start and end of a round of requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) asked: Timestamp,
    pub(super) now: Timestamp,
}

/// The evidence from one round.
struct Evidence<'a> {
    asked: Timestamp,
    /// The indexes of the tasks that a worker listed.
    named: &'a HashSet<u32>,
    /// Workers with complete lists, and the names of their tasks without a rate limit, if
    /// requested.
    complete: HashMap<Symbol, Option<HashSet<Symbol>>>,
    /// Empty queues all of whose workers have complete lists.
    empty: HashSet<Symbol>,
    /// When the broker was asked for queue lengths.
    levels_asked: Timestamp,
    /// Whether the broker drops expired messages. Their tasks are counted as lost instead.
    drops_expired: bool,
}

enum Verdict {
    Present,
    RatesWanted,
    Missing(Unreported),
}

impl State {
    /// Takes tasks out of flight that were missing on broker and workers in two rounds.
    pub(super) fn reconcile(
        &mut self,
        answers: &[WorkerAnswer],
        named: &HashSet<u32>,
        round: Round,
        changes: &mut Vec<Change>,
    ) {
        let Round { asked, now } = round;
        let complete = self.complete(answers);
        let evidence = Evidence {
            asked,
            named,
            empty: self.empty_queues(&complete),
            complete,
            levels_asked: self.queues.asked(),
            drops_expired: self.limits.broker_drops_expired,
        };
        let read_until = self.read_until(now);
        let before = std::mem::take(&mut self.suspects.missing);
        self.suspects.rates_wanted = false;
        let mut concluded = Vec::new();
        for (at, last_event, task) in self.tasks.places() {
            let reason = match evidence.judge(at, last_event, task) {
                Verdict::Present => continue,
                Verdict::RatesWanted => {
                    self.suspects.rates_wanted = true;
                    continue;
                }
                Verdict::Missing(reason) => reason,
            };
            // The index may now belong to another task, which was updated later.
            let since = before.get(&at).filter(|since| last_event < since.asked);
            let since = since.copied().unwrap_or(round);
            if asked.since(since.asked) >= APART && read_until >= since.now {
                concluded.push((at, reason));
            } else {
                self.suspects.missing.insert(at, since);
            }
        }
        let shard = self.limits.shard;
        for (at, reason) in concluded {
            // Two rounds take longer than steps may be held.
            self.settle_moved(at, None, changes);
            self.tasks.give_up_one(at, now, |_, task| {
                changes.push(Change::Unreported {
                    reason,
                    of: task.key(),
                });
                changes.push(Change::Moved {
                    from: place(task, shard),
                    to: None,
                });
                true
            });
            let standing = match reason {
                // A worker does not list a task that it has finished, and its event may be missing.
                Unreported::Ended => Standing::Ended,
                Unreported::Gone => Standing::Failed,
            };
            self.ended_unseen(&[at], standing, now);
        }
    }

    /// The workers with complete lists, and the names of their tasks without a rate limit.
    fn complete(&mut self, answers: &[WorkerAnswer]) -> HashMap<Symbol, Option<HashSet<Symbol>>> {
        let complete = answers.iter().filter_map(|answer| {
            let name = self.names.find(&answer.worker)?;
            let worker = self.workers.find(name)?;
            let whole = answer.complete && worker.online && worker.is_process(answer.pid);
            let unlimited = answer.registered.as_ref().map(|tasks| {
                let unlimited = tasks.iter().filter(|task| task.rate_pause.is_none());
                let known = unlimited.filter_map(|task| self.names.find(&task.name));
                known.collect()
            });
            whole.then_some((name, unlimited))
        });
        complete.collect()
    }

    /// The empty queues all of whose workers have complete lists.
    fn empty_queues(&self, complete: &HashMap<Symbol, Option<HashSet<Symbol>>>) -> HashSet<Symbol> {
        let mut consumers: HashMap<Symbol, u64> = HashMap::new();
        let mut doubtful = HashSet::new();
        for worker in self.workers.iter().filter(|it| !it.said_goodbye()) {
            match &worker.queues {
                Some(queues) if complete.contains_key(&worker.name) => {
                    for queue in queues {
                        *consumers.entry(*queue).or_default() += 1;
                    }
                }
                Some(queues) => doubtful.extend(queues.iter().copied()),
                // A worker without a known list of queues may consume any of them.
                None if worker.online => return HashSet::new(),
                None => {}
            }
        }
        let empty = self.queues.empty().filter(|(queue, counted)| {
            let known = consumers.get(queue).copied().unwrap_or(0);
            // If there are more consumers than known workers, one is unknown.
            !doubtful.contains(queue) && counted.is_none_or(|counted| counted <= known)
        });
        empty.map(|(queue, _)| queue).collect()
    }
}

impl Evidence<'_> {
    fn judge(&self, at: u32, last_event: Timestamp, task: &Task) -> Verdict {
        // Anything since the start of the round is not reflected in its answers.
        if self.named.contains(&at) || last_event >= self.asked || task.waits_for() >= self.asked {
            return Verdict::Present;
        }
        let worker = task.worker.and_then(|worker| self.complete.get(&worker));
        match (task.stage, worker) {
            (Some(TaskStage::Started), Some(_)) => Verdict::Missing(Unreported::Ended),
            (Some(TaskStage::Received), Some(None)) => Verdict::RatesWanted,
            (Some(TaskStage::Received), Some(Some(unlimited)))
                if task.name.is_some_and(|name| unlimited.contains(&name)) =>
            {
                Verdict::Missing(Unreported::Ended)
            }
            (Some(TaskStage::Sent | TaskStage::Retry), _) if self.is_gone(last_event, task) => {
                Verdict::Missing(Unreported::Gone)
            }
            (None | Some(_), _) => Verdict::Present,
        }
    }

    /// Whether a task that no worker listed is missing from its queue as well.
    fn is_gone(&self, last_event: Timestamp, task: &Task) -> bool {
        let due = task.waits_for();
        let due_is_known = due != Timestamp::default();
        let must_be_known = task.eta || task.stage == Some(TaskStage::Retry);
        let since = last_event.max(due.after(DUE_GRACE));
        let queue = task.queue.filter(|_| task.queue_told);
        let expired = self.drops_expired && task.has_expired(self.asked);
        (due_is_known || !must_be_known)
            && !expired
            && self.levels_asked > since
            && queue.is_some_and(|queue| self.empty.contains(&queue))
    }
}

#[cfg(test)]
mod tests;
