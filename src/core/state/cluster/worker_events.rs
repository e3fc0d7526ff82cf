//! What a worker's own events change: the worker, and the tasks that end with it.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashSet};

use super::{State, lost};
use crate::event::{Event, WorkerEvent, WorkerKind};
use crate::state::periodic::ProcessId;
use crate::state::shard::place;
use crate::state::workflows::Standing;
use crate::state::{Change, Loss, Software, Symbol, workers};
use crate::timestamp::Timestamp;

/// The sender of an event, as far as it is kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sender {
    pub(super) worker: Option<Symbol>,
    pub(super) client: Option<Symbol>,
    /// The process, if it is a client.
    pub(super) process: Option<ProcessId>,
}

/// The senders of recent events. Finding one by its node name again needs no look at the parts of
/// the name.
#[derive(Debug)]
pub(super) struct Senders {
    /// By a hash of the node name; the newest of those with the same one.
    known: Vec<(String, Sender)>,
    hasher: DefaultHashBuilder,
}

/// How many are remembered.
const SENDERS: usize = 64;

impl State {
    pub(super) fn apply_worker(
        &mut self,
        name: Symbol,
        worker_event: &WorkerEvent<'_>,
        event: &Event<'_>,
        (stamped, now): (Timestamp, Timestamp),
        changes: &mut Vec<Change>,
    ) {
        match worker_event.kind {
            // An offline event from an unknown worker does not register it.
            WorkerKind::Offline => {
                if let Some(worker) = self.workers.find(name) {
                    let found = worker.say_goodbye(worker_event, event.pid, stamped, now);
                    found.tell(changes);
                }
            }
            WorkerKind::Elect | WorkerKind::ElectAck => {
                if let Some(worker) = self.workers.find_or_insert(name, now) {
                    worker.sign_of_life(now);
                }
            }
            WorkerKind::Online | WorkerKind::Heartbeat => {
                let mut intern = |text: &Option<std::borrow::Cow<'_, str>>| {
                    text.as_deref().map(|text| self.names.intern(text))
                };
                let software = Software {
                    ident: intern(&worker_event.sw_ident),
                    version: intern(&worker_event.sw_ver),
                    system: intern(&worker_event.sw_sys),
                };
                let Some(worker) = self.workers.find_or_insert(name, now) else {
                    return;
                };
                let may_wait = self.limits.broker_holds_events;
                let found = worker.beat(worker_event, event.pid, stamped, now);
                worker.measure_skew(worker_event, now.seconds_since(event.timestamp), may_wait);
                if software != Software::default() {
                    worker.software = software;
                }
                found.tell(changes);
                if let Some(until) = found.restarted {
                    self.workers.begin(now);
                    self.lose_tasks_of(&HashSet::from_iter([name]), until, now, changes);
                }
            }
        }
    }

    /// Applies the end of worker processes at `until`, by their clocks: tasks that were running are
    /// lost, tasks that were waiting return to their queue.
    pub(super) fn lose_tasks_of(
        &mut self,
        workers: &HashSet<Symbol>,
        until: Timestamp,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let (routes, shard) = (&self.routes, self.limits.shard);
        let mut gone = Vec::new();
        self.tasks.give_up(now, |at, task| {
            let Some(worker) = task.worker.filter(|worker| workers.contains(worker)) else {
                return false;
            };
            let before = place(task, shard);
            if task.worker_lost(worker, until) {
                lost(task, routes, shard, Loss::Worker, changes);
                gone.push(at);
                return true;
            }
            let after = place(task, shard);
            if before != after {
                changes.push(Change::Moved {
                    from: before,
                    to: after,
                });
            }
            false
        });
        self.ended_unseen(&gone, Standing::Failed, now);
    }

    /// The sender of an event with this node name.
    pub(super) fn sender(&mut self, hostname: &str) -> Sender {
        let at = self.senders.place(hostname);
        if self.senders.known[at].0 != hostname {
            let worker = workers::name_of(hostname, &mut self.names);
            let is_client = workers::is_client(hostname);
            let client = self.limits.keep_foreign && is_client;
            let (name, sender) = &mut self.senders.known[at];
            *sender = Sender {
                worker,
                client: client.then(|| self.names.intern_node(hostname)).flatten(),
                process: is_client.then(|| ProcessId::of(hostname)),
            };
            name.clear();
            name.push_str(hostname);
        }
        self.senders.known[at].1
    }
}

impl Senders {
    /// Where a sender is, if it is known.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "some bits of a hash are enough"
    )]
    fn place(&self, hostname: &str) -> usize {
        self.hasher.hash_one(hostname) as usize % SENDERS
    }
}

impl Default for Senders {
    fn default() -> Self {
        Self {
            known: vec![Default::default(); SENDERS],
            hasher: DefaultHashBuilder::default(),
        }
    }
}
