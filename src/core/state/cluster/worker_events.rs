//! What a worker's own events change: the worker, and the tasks that end with it.

use hashbrown::HashSet;

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

    /// The name of an event's sender.
    pub(super) fn sender(&mut self, hostname: &str) -> Sender {
        if self.sender.0 != hostname {
            self.sender.0.clear();
            self.sender.0.push_str(hostname);
            let worker = workers::name_of(hostname, &mut self.names);
            let is_client = workers::is_client(hostname);
            let client = self.limits.keep_foreign && is_client;
            self.sender.1 = Sender {
                worker,
                client: client.then(|| self.names.intern_node(hostname)).flatten(),
                process: is_client.then(|| ProcessId::of(hostname)),
            };
        }
        self.sender.1
    }
}
