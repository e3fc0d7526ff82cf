//! The state of one cluster: joins tasks, workers, queues and names.

mod answers;
mod apply;
mod clock;
mod long_running;
mod overview;
mod reconcile;
mod saved;
mod seen;
mod settle;
mod stalled;
mod step;
mod worker_events;
mod workflows;

use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::beats::Beats;
use super::generated::is_generated;
use super::held::Held;
use super::hint::{Hint, SetupEvidence};
use super::periodic::{PeriodicTasks, Schedule};
use super::queues::Queues;
use super::registered::Registered;
use super::route::Routes;
use super::runtimes::Runtimes;
use super::shard::place;
use super::task::Task;
use super::tasks::{At, Tasks};
use super::worker::Found;
use super::workers::Workers;
use super::workflows::{Standing, Workflows};
use super::{
    Answers, Beat, Change, Loss, Names, OTHER, PeriodicTask, Place, PollTargets, Queue, Shard,
    Symbol, TaskKey, Worker,
};
use crate::bounds::Bounds;
use crate::event::Refusal;
use crate::timestamp::Timestamp;
pub use long_running::{Allowed, LongRunning};
pub use overview::{ClusterOverview, WorkerOverview};
use reconcile::Suspects;
pub use saved::CapturedCluster;
pub use stalled::Stalled;
use worker_events::{Sender, Senders};

/// The limits on the state of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Maximum number of tasks in flight; beyond it, the one silent for longest is given up.
    pub tasks_max: usize,
    /// How long a task in flight may be silent before it is given up.
    pub task_timeout: Duration,
    pub worker_timeout: WorkerTimeout,
    /// How long an offline worker is remembered.
    pub worker_retention: Duration,
    /// A running task without a time limit runs too long after this many times the 99th percentile
    /// of earlier runs; 0 for never.
    pub long_running_factor: f64,
    /// Periodic tasks whose schedule is configured.
    pub periodic: Vec<(Arc<str>, Schedule)>,
    /// Whether these are expected even if they were never sent here. With several clusters, only
    /// one of them sends each.
    pub awaits_periodic: bool,
    /// How long a queue is polled after it was last named; a non-empty queue is always polled.
    pub queue_ttl: Duration,
    /// Whether the broker retains events while celeriac is not reading them, so that they arrive
    /// late.
    pub broker_holds_events: bool,
    /// Whether the broker silently drops expired messages, so that their tasks produce no events.
    pub broker_drops_expired: bool,
    /// Whether to keep the names of clients and of event types that Celery does not define, because
    /// a profile shows them.
    pub keep_foreign: bool,
    /// Whether workers are asked for their queues.
    pub asks_workers: bool,
    /// The part of the workers' events that is received here; `None` means all of them.
    pub shard: Option<Shard>,
}

/// How long a worker may be silent before it counts as offline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WorkerTimeout {
    /// Number of heartbeats, at the interval that the worker announced.
    Missed(u32),
    After(Duration),
}

/// How long after its expiry a task that no worker received is given up. Its task-received may
/// still be on its way, and the clocks may differ.
const EXPIRED_GRACE: Duration = Duration::from_secs(15);

/// The known state of one Celery cluster.
#[derive(Debug)]
pub struct State {
    limits: Limits,
    bounds: Bounds,
    names: Names,
    tasks: Tasks,
    workers: Workers,
    queues: Queues,
    beats: Beats,
    registered: Registered,
    runtimes: Runtimes,
    periodic: PeriodicTasks,
    senders: Senders,
    routes: Routes,
    held: Held,
    workflows: Workflows,
    /// When the latest two rounds of remote control ended, older one first.
    rounds: [Timestamp; 2],
    /// When the first event arrived.
    first_event: Timestamp,
    /// Whether a task with an expiry was sent.
    some_expire: bool,
    /// Tasks in flight that neither the broker nor the workers had.
    suspects: Suspects,
    /// Timestamp of the newest event.
    newest: Timestamp,
    /// The newest time used in place of a rejected timestamp.
    substitute: Timestamp,
    /// When the state was restored from storage.
    resumed: Timestamp,
    /// The last time at which events may have been missed.
    unseen_until: Timestamp,
    evidence: SetupEvidence,
}

impl State {
    /// An empty cluster without a memory budget.
    pub fn new(limits: Limits) -> Self {
        Self::within(limits, Bounds::default())
    }

    /// An empty cluster within a memory budget.
    pub fn within(limits: Limits, bounds: Bounds) -> Self {
        let mut names = Names::default().within(bounds.clone());
        let mut periodic = PeriodicTasks::within(bounds.clone());
        for (name, schedule) in &limits.periodic {
            periodic.configure(names.intern(name), schedule.clone());
        }
        if limits.awaits_periodic {
            periodic.await_first();
        }
        Self {
            names,
            tasks: Tasks::new(limits.shard, bounds.clone()),
            workers: Workers::new(bounds.clone()),
            queues: Queues::within(bounds.clone()),
            beats: Beats::default(),
            registered: Registered::default(),
            runtimes: Runtimes::default(),
            periodic,
            senders: Senders::default(),
            routes: Routes::within(bounds.clone()),
            workflows: Workflows::within(bounds.clone()),
            bounds,
            held: Held::default(),
            rounds: [Timestamp::default(); 2],
            first_event: Timestamp::default(),
            some_expire: false,
            suspects: Suspects::default(),
            newest: Timestamp::default(),
            substitute: Timestamp::default(),
            resumed: Timestamp::default(),
            unseen_until: Timestamp::default(),
            evidence: SetupEvidence::default(),
            limits,
        }
    }

    /// Replaces the limits on tasks, workers and queues.
    pub fn limit(&mut self, limits: &Limits) {
        let Limits {
            tasks_max,
            task_timeout,
            worker_timeout,
            worker_retention,
            long_running_factor,
            periodic: _,
            awaits_periodic: _,
            queue_ttl,
            broker_drops_expired: _,
            broker_holds_events: _,
            keep_foreign: _,
            asks_workers: _,
            shard: _,
        } = *limits;
        self.limits.tasks_max = tasks_max;
        self.limits.task_timeout = task_timeout;
        self.limits.worker_timeout = worker_timeout;
        self.limits.worker_retention = worker_retention;
        self.limits.long_running_factor = long_running_factor;
        self.limits.queue_ttl = queue_ttl;
    }

    /// Applies the answers of the broker or the workers in a round that started at `asked`, and
    /// adds their effects to `changes`.
    pub fn report(
        &mut self,
        answers: &Answers,
        asked: Timestamp,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        match answers {
            Answers::Queues(levels) => {
                let ttl = self.limits.queue_ttl;
                self.queues.apply(levels, &mut self.names, ttl, asked, now);
                self.queues_drained(now);
            }
            Answers::Workers(answers) => self.workers_answered(answers, asked, now, changes),
            Answers::Beats(answers) => self.beats_answered(answers, now),
            Answers::Bindings(bindings) => {
                self.routes.bind(bindings, now);
                self.look_at_held(now, changes);
            }
            Answers::Elsewhere(channels) => self.evidence.elsewhere(channels, now),
        }
    }

    /// Applies the effects of elapsed time. Call it regularly, at least before each snapshot.
    pub fn expire(&mut self, now: Timestamp, changes: &mut Vec<Change>) {
        self.evidence.look(now);
        self.expire_held(changes);
        self.routes.expire(now);
        let shard = self.limits.shard;
        while let Some(removed) = self.tasks.expire(self.limits.task_timeout, now) {
            lost(&removed.task, &self.routes, shard, Loss::Timeout, changes);
            self.left_workflow(removed.member, Standing::Silent, now);
        }
        // With shards, we do not know whether a worker had received it.
        if self.limits.broker_drops_expired && self.some_expire && shard.is_none() {
            // Events may be late by as long as they wait in the broker.
            let read_until = if self.limits.broker_holds_events {
                self.read_until(now)
            } else {
                now
            };
            let until = read_until.before(EXPIRED_GRACE);
            let routes = &self.routes;
            let mut gone = Vec::new();
            self.tasks.give_up(now, |at, task| {
                let expired = task.has_expired(until);
                if expired {
                    lost(task, routes, shard, Loss::Timeout, changes);
                    gone.push(at);
                }
                expired
            });
            self.ended_unseen(&gone, Standing::Failed, now);
        }
        self.tasks.forget(self.limits.task_timeout, now);
        self.queues.expire(now);
        self.beats.expire(self.limits.worker_retention, now);
        self.runtimes.expire(self.limits.queue_ttl, now);
        let seen_until = self.seen_until(now);
        self.periodic.expire(self.limits.queue_ttl, seen_until);
        let (timeout, retention) = (self.limits.worker_timeout, self.limits.worker_retention);
        missing(self.workers.count_missing(now), changes);
        let mut gone = HashSet::new();
        let gone_workers = self.workers.expire(timeout, retention, self.resumed, now);
        for mut worker in gone_workers {
            missing(worker.end(), changes);
            gone.insert(worker.name);
        }
        if !gone.is_empty() {
            self.lose_tasks_of(&gone, now, now, changes);
        }
        self.workflows.settle(now, changes);
    }

    /// The problems with the cluster's setup that are visible so far.
    pub fn hints(&self, now: Timestamp) -> Vec<Hint> {
        self.evidence.hints(&self.workers, &self.names, now)
    }

    /// The number of events waiting for the queue of their task.
    pub fn events_held(&self) -> usize {
        self.held.len()
    }

    /// The names that changes, workers and queues refer to.
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// Every known worker.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter()
    }

    /// The beats that can be asked, and are believed to be in that state at `now`.
    pub fn beats(&self, now: Timestamp) -> impl Iterator<Item = &Beat> {
        self.beats.current(now)
    }

    /// Every queue that was reported.
    pub fn queues(&self) -> HashMap<Symbol, Queue> {
        self.queues.with_workers(self.workers.iter())
    }

    /// The tasks that may be periodic.
    pub fn periodic_tasks(&self, now: Timestamp) -> impl Iterator<Item = PeriodicTask> {
        self.periodic.iter(self.seen_until(now))
    }

    /// The information needed to poll the broker and the workers.
    pub fn known(&self) -> PollTargets {
        let texts = |mut names: Vec<Symbol>| -> Vec<_> {
            names.sort_unstable();
            names.dedup();
            names
                .into_iter()
                .map(|name| self.names.text(name))
                .collect()
        };
        let online = || self.workers().filter(|worker| worker.online);
        let queues = self.queues.watched.names();
        let consumed = self
            .workers()
            .flat_map(|worker| worker.queues.iter().flatten());
        let mut queues = texts(queues.chain(consumed.copied()).collect());
        // A folded name does not correspond to a queue.
        queues.retain(|queue| !is_generated(queue) && **queue != *OTHER);
        let silent = online().filter(|worker| worker.events() == Some(false));
        PollTargets {
            queues,
            workers: texts(online().map(|worker| worker.name).collect()),
            silent: texts(silent.map(|worker| worker.name).collect()),
            beats: texts(self.beats.names().collect()),
            begun: self.workers.begun,
            events_arrive: self.evidence.has_events(),
            task_settings_wanted: self.suspects.rates_wanted
                || self.workers.iter().any(Worker::settings_are_wanted),
        }
    }

    /// How many worker processes were seen to start.
    pub const fn begun(&self) -> u64 {
        self.workers.begun
    }

    /// How many tasks are in flight; with shards, those that a worker has.
    pub const fn tasks_alive(&self) -> usize {
        self.tasks.alive()
    }

    /// Removes names that neither the state nor any of the `used` symbols refers to.
    pub fn sweep(&mut self, used: impl IntoIterator<Item = Symbol>) {
        let used: Vec<Symbol> = used.into_iter().collect();
        let counted: HashSet<Symbol> = used.iter().copied().collect();
        let tasks = self.tasks.iter().flat_map(Task::names);
        let in_use: HashSet<Symbol> = tasks.collect();
        self.routes
            .retain(|name| counted.contains(name) || in_use.contains(name));
        let workers = self.workers.iter().flat_map(Worker::names);
        let all = used
            .into_iter()
            .chain(in_use)
            .chain(workers)
            .chain(self.routes.names())
            .chain(self.held.names())
            .chain(self.queues.names())
            .chain(self.beats.names())
            .chain(self.runtimes.names())
            .chain(self.workflows.names())
            .chain(self.periodic.names());
        let all: Vec<Symbol> = all.collect();
        self.names.keep(all);
        // It may have been forgotten just now.
        self.senders = Senders::default();
    }

    fn evict(&mut self, now: Timestamp, changes: &mut Vec<Change>) {
        while let Some(removed) = self.tasks.evict(self.limits.tasks_max) {
            let shard = self.limits.shard;
            lost(&removed.task, &self.routes, shard, Loss::Evicted, changes);
            self.left_workflow(removed.member, Standing::Ended, now);
        }
    }

    /// Where a task is in flight, and under which labels.
    fn place_of(&self, at: At) -> Option<Place> {
        place(self.tasks.get(at), self.limits.shard)
    }

    /// The time from which workers are expected to answer a first request; `None` if workers are
    /// not asked.
    fn asked_since(&self) -> Option<Timestamp> {
        self.limits.asks_workers.then_some(self.rounds[0])
    }
}

fn lost(
    task: &Task,
    routes: &Routes,
    shard: Option<Shard>,
    reason: Loss,
    changes: &mut Vec<Change>,
) {
    let of = task.key();
    let queue = of.queue.or_else(|| routes.fallback(of.name));
    changes.push(Change::Lost {
        reason,
        of: TaskKey { queue, ..of },
    });
    changes.push(Change::Moved {
        from: place(task, shard),
        to: None,
    });
}

impl Found {
    fn tell(self, changes: &mut Vec<Change>) {
        missing(self.missing, changes);
        if self.is_refused {
            changes.push(Change::Refused(Refusal::Processed));
        }
    }
}

fn missing(missing: u64, changes: &mut Vec<Change>) {
    if missing > 0 {
        changes.push(Change::Missing(missing));
    }
}

#[cfg(test)]
mod tests;
