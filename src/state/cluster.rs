//! The state of one cluster: joins tasks, workers and names.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::task::{Taken, Task};
use super::tasks::Tasks;
use super::worker::{self, Workers};
use super::{Change, Loss, Name, Names, Of, Outcome, Revocation, Stage, Step, Worker};
use crate::event::{Detail, Event, TaskEvent, TaskKind};
use crate::timestamp::Timestamp;

/// What bounds the state of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Tasks in flight; beyond, the one heard of longest ago is given up.
    pub tasks_max: usize,
    /// How long a task in flight may be silent before it is given up.
    pub task_timeout: Duration,
    pub worker_timeout: WorkerTimeout,
    /// How long a worker stays known that is offline.
    pub worker_retention: Duration,
    /// What the queue of a task is called that cannot be known.
    pub default_queue: Arc<str>,
}

/// How long a worker may be silent before it counts as offline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WorkerTimeout {
    /// So many heartbeats, at the pace that the worker announced.
    Missed(u32),
    After(Duration),
}

/// The name of a task that no event named.
const UNKNOWN_TASK: &str = "unknown";

/// The class of an exception that cannot be read off its event.
const UNKNOWN_CLASS: &str = "unknown";

/// What is known of one Celery cluster.
#[derive(Debug)]
pub struct State {
    limits: Limits,
    names: Names,
    tasks: Tasks,
    workers: Workers,
    /// The newest sender, which is mostly the next one too: events come in runs of one worker's.
    sender: (String, Option<Name>),
    /// The newest queue that a task of each name was seen in.
    queues: HashMap<Name, Name>,
    unknown_task: Name,
    unknown_class: Name,
    default_queue: Name,
}

impl State {
    /// A cluster of which nothing is known yet.
    pub fn new(limits: Limits) -> Self {
        let mut names = Names::default();
        let unknown_task = names.intern(UNKNOWN_TASK);
        let unknown_class = names.intern(UNKNOWN_CLASS);
        let default_queue = names.intern(&limits.default_queue);
        Self {
            limits,
            names,
            tasks: Tasks::default(),
            workers: Workers::default(),
            sender: (String::new(), None),
            queues: HashMap::new(),
            unknown_task,
            unknown_class,
            default_queue,
        }
    }

    /// Takes an event that was received at `now`; adds to `changes` what it changed.
    pub fn apply(&mut self, event: &Event<'_>, now: Timestamp, changes: &mut Vec<Change>) {
        changes.push(Change::Event(event.kind()));
        let worker = self.sender(&event.hostname);
        match &event.detail {
            Detail::Task(task) => {
                // A task-sent comes from whoever called the task.
                let worker = worker.filter(|_| task.kind != TaskKind::Sent);
                if let Some(name) = worker {
                    self.workers.sign_of_life(name, now);
                }
                self.apply_task(task, event.timestamp, worker, now, changes);
            }
            Detail::Worker(worker_event) => {
                if let Some(name) = worker {
                    self.workers.take(name, event, *worker_event, now);
                }
            }
            Detail::Other => {
                if let Some(name) = worker {
                    self.workers.sign_of_life(name, now);
                }
            }
        }
    }

    /// Does what time alone does; to be called now and then, at each snapshot at least.
    pub fn expire(&mut self, now: Timestamp, changes: &mut Vec<Change>) {
        while let Some(task) = self.tasks.expire(self.limits.task_timeout, now) {
            self.give_up(&task, Loss::Timeout, changes);
        }
        self.tasks.forget(now);
        self.workers.expire(
            self.limits.worker_timeout,
            self.limits.worker_retention,
            now,
        );
    }

    /// The texts behind the names in changes and workers.
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// Every worker that is known.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter()
    }

    /// How many tasks are in flight.
    pub const fn tasks_alive(&self) -> usize {
        self.tasks.alive()
    }

    /// Forgets texts that neither the state nor, as `used` tells, anybody else refers to.
    pub fn sweep(&mut self, used: impl IntoIterator<Item = Name>) {
        let used: Vec<Name> = used.into_iter().collect();
        let counted: hashbrown::HashSet<Name> = used.iter().copied().collect();
        let tasks = self
            .tasks
            .iter()
            .flat_map(|task| [task.name, task.queue, task.worker]);
        let in_use: hashbrown::HashSet<Name> = tasks.flatten().collect();
        // A name that nothing else knows would keep its queue for ever.
        self.queues
            .retain(|name, _| counted.contains(name) || in_use.contains(name));
        let fixed = [self.unknown_task, self.unknown_class, self.default_queue];
        let workers = self.workers.iter().map(|worker| worker.name);
        let queues = self.queues.iter().flat_map(|(name, queue)| [*name, *queue]);
        let all = fixed
            .into_iter()
            .chain(used)
            .chain(in_use)
            .chain(workers)
            .chain(queues);
        self.names.keep(all);
        // It may have been forgotten just now.
        self.sender = (String::new(), None);
    }

    fn apply_task(
        &mut self,
        event: &TaskEvent<'_>,
        at: Timestamp,
        worker: Option<Name>,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let place = self.tasks.find_or_insert(&event.uuid);
        let before = self.place(self.tasks.get(place));
        self.learn(place, event);
        let task = self.tasks.get_mut(place);
        let taken = task.take(event, at, worker);
        let after = self.place(self.tasks.get(place));
        let of = Of {
            worker,
            ..self.of(self.tasks.get(place))
        };
        self.tasks.file(place, now);

        match taken {
            Taken::Again => changes.push(Change::Duplicate),
            Taken::ToldTwice => {}
            Taken::Step { ran } => {
                changes.push(Change::Task {
                    step: self.step(event),
                    of,
                });
                if let Some((outcome, seconds)) = ran {
                    changes.push(Change::Ran {
                        outcome,
                        seconds,
                        of,
                    });
                }
            }
        }
        if before != after {
            changes.push(Change::Moved {
                from: before,
                to: after,
            });
        }
        while let Some(task) = self.tasks.evict(self.limits.tasks_max) {
            self.give_up(&task, Loss::Evicted, changes);
        }
    }

    /// The name of the worker that sent an event, if it was one.
    fn sender(&mut self, hostname: &str) -> Option<Name> {
        if self.sender.0 != hostname {
            self.sender.0.clear();
            self.sender.0.push_str(hostname);
            self.sender.1 = worker::name_of(hostname, &mut self.names);
        }
        self.sender.1
    }

    /// Notes name and queue, where the event has them.
    fn learn(&mut self, place: u32, event: &TaskEvent<'_>) {
        let name = event.name.as_deref().map(|name| self.names.intern(name));
        let queue = event.queue.as_deref().map(|queue| self.names.intern(queue));
        let task = self.tasks.get_mut(place);
        // task-received has the name that the worker shows; task-sent the one behind it.
        if event.kind == TaskKind::Received || task.name.is_none() {
            task.name = name.or(task.name);
        }
        task.queue = queue.or(task.queue);
        if let (Some(name), Some(queue)) = (name, queue) {
            self.queues.insert(name, queue);
        }
        if task.queue.is_none()
            && let Some(name) = task.name
        {
            task.queue = self.queues.get(&name).copied();
        }
    }

    fn step(&mut self, event: &TaskEvent<'_>) -> Step {
        match event.kind {
            TaskKind::Sent => Step::Sent,
            TaskKind::Received => Step::Received,
            TaskKind::Started => Step::Started,
            TaskKind::Succeeded => Step::Succeeded,
            TaskKind::Failed => Step::Failed(self.class(event)),
            TaskKind::Retried => Step::Retried(self.class(event)),
            TaskKind::Rejected => Step::Rejected {
                requeue: event.requeue,
            },
            TaskKind::Revoked if event.terminated => Step::Revoked(Revocation::Terminated),
            TaskKind::Revoked if event.expired => Step::Revoked(Revocation::Expired),
            TaskKind::Revoked => Step::Revoked(Revocation::Revoked),
            TaskKind::Cancelled => Step::Cancelled,
        }
    }

    fn class(&mut self, event: &TaskEvent<'_>) -> Name {
        event
            .exception
            .as_deref()
            .map_or(self.unknown_class, |class| self.names.intern(class))
    }

    /// Where a task is in flight, and under which labels.
    fn place(&self, task: &Task) -> Option<(Stage, Of)> {
        let stage = task.stage?;
        let of = self.of(task);
        let worker = of.worker.filter(|_| stage != Stage::Sent);
        Some((stage, Of { worker, ..of }))
    }

    fn of(&self, task: &Task) -> Of {
        Of {
            name: task.name.unwrap_or(self.unknown_task),
            queue: task.queue.unwrap_or(self.default_queue),
            worker: task.worker,
        }
    }

    fn give_up(&self, task: &Task, reason: Loss, changes: &mut Vec<Change>) {
        changes.push(Change::Lost {
            reason,
            of: self.of(task),
        });
        changes.push(Change::Moved {
            from: self.place(task),
            to: None,
        });
    }
}

impl Outcome {
    /// The value of the label `outcome`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Retried => "retried",
        }
    }
}

impl Stage {
    /// Every stage, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Sent, Self::Received, Self::Started];

    /// The value of the label `state`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Started => "started",
        }
    }
}

#[cfg(test)]
mod tests;
