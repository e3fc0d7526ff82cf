//! Applies an event about a task: its state, what it counts, and where the task is in flight.

use super::{Sender, State};
use crate::event::{EventKind, Refusal, TaskEvent, TaskKind};
use crate::state::held::HeldStep;
use crate::state::periodic::ProcessId;
use crate::state::task::{Intervals, Label, Taken};
use crate::state::tasks::{At, TaskId};
use crate::state::{Change, OTHER, Outcome, ReceivedEvent, Revocation, Step, Symbol, TaskStage};
use crate::timestamp::Timestamp;

/// An event about a task and its context.
#[derive(Clone, Copy, Debug)]
struct Arrived<'a> {
    event: &'a TaskEvent<'a>,
    stamped: Timestamp,
    now: Timestamp,
    sender: Option<Symbol>,
    /// The process that sent a task, if it is a client.
    process: Option<ProcessId>,
    /// `None` for a task-sent, which comes from the caller of the task.
    worker: Option<Symbol>,
    /// The queue of its worker, if the worker consumes only one.
    only_queue: Option<Symbol>,
}

impl State {
    pub(super) fn apply_task(
        &mut self,
        (event, id): (&TaskEvent<'_>, &TaskId<'_>),
        (stamped, now): (Timestamp, Timestamp),
        sender: Sender,
        changes: &mut Vec<Change>,
    ) {
        let worker = sender.worker.filter(|_| event.kind != TaskKind::Sent);
        let arrived = Arrived {
            event,
            stamped,
            now,
            sender: sender.worker.or(sender.client),
            process: sender.process.filter(|_| event.kind == TaskKind::Sent),
            worker,
            only_queue: worker.and_then(|worker| self.task_event_of(worker, now)),
        };
        let at = self.tasks.find_or_insert(id);
        let before = self.place_of(at);
        self.relate(at, &arrived, changes);
        let shard = self.limits.shard;
        let task = self.tasks.get_mut(at);
        if shard.is_some() {
            task.catch_up(event, stamped);
        }
        let taken = task.apply(event, stamped, worker);
        self.tasks.file(at, now);
        self.count(at, &arrived, taken, changes);
        self.follow(at, event, stamped, now);
        let after = self.place_of(at);
        if before != after {
            changes.push(Change::Moved {
                from: before,
                to: after,
            });
        }
        self.evict(now, changes);
    }

    /// Records that a worker is alive and sends task events. Returns its queue if it consumes only
    /// one.
    fn task_event_of(&mut self, worker: Symbol, now: Timestamp) -> Option<Symbol> {
        let asked_since = self.asked_since();
        let worker = self.workers.find_or_insert(worker, now)?;
        worker.sign_of_life(now);
        worker.task_event(None);
        worker.stalls.works(now);
        worker.only_queue(asked_since, now)
    }

    /// Determines which execution of the task an event belongs to, and records its details.
    fn relate(&mut self, at: At, arrived: &Arrived<'_>, changes: &mut Vec<Change>) {
        let Arrived {
            event,
            stamped,
            now,
            worker,
            ..
        } = *arrived;
        let task = self.tasks.get(at);
        if !task.is_of_earlier(event, stamped, worker) {
            // With shards, it may have ended on another one.
            let may_be_over =
                self.limits.shard.is_some() && task.stage.is_some_and(TaskStage::is_on_the_way);
            if !may_be_over && task.is_replaced_by(event, stamped) {
                self.settle(at, changes);
                self.tasks.get_mut(at).replace();
            }
            self.learn(at, arrived);
        } else if event.kind == TaskKind::Sent && !task.queue_told {
            // An earlier attempt of the same task: a retry goes to the same queue unless its own
            // task-sent differs.
            self.learn(at, arrived);
            self.tasks.get_mut(at).share_with_earlier();
        }
        let task = self.tasks.get(at);
        if matches!(event.kind, TaskKind::Sent | TaskKind::Received)
            && let Some(queue) = task.queue.filter(|_| task.queue_told)
        {
            self.queues.watched.name(queue, now);
        }
    }

    /// Records the name and queue, if the event or its worker reports them.
    fn learn(&mut self, at: At, arrived: &Arrived<'_>) {
        let event = arrived.event;
        let is_sent = event.kind == TaskKind::Sent;
        let name = event.name.as_deref().map(|name| self.names.intern(name));
        if is_sent {
            self.evidence.sent();
            self.some_expire |= event.expires.is_some();
        }
        let published = self.published(event);
        let task = self.tasks.get_mut(at);
        // Of a burst, all task-sent events may come before the first task-received.
        if event.kind == TaskKind::Received && !task.was_sent() {
            self.evidence.received();
        }
        // task-received carries the name that the worker displays; task-sent the real one behind
        // it.
        if event.kind == TaskKind::Received || task.name.is_none() {
            task.name = name.or(task.name);
        }
        let told = published.or(arrived.only_queue.filter(|_| !task.queue_told));
        if let Some(told) = told {
            task.queue = Some(told);
            task.queue_told = true;
        }
        let name = task.name;
        // Without a task-sent, its receipt shows that it was sent. Every shard receives the
        // task-sent, and only one of them the task-received.
        let is_received = event.kind == TaskKind::Received && !task.was_sent();
        let is_send = match self.limits.shard {
            None => is_sent || is_received,
            Some(shard) => is_sent && shard.is_first(),
        };
        let is_first = event.retries.unwrap_or(0) == 0 && !event.has_parent;
        if let Some(name) = name.filter(|_| is_send && is_first) {
            self.sent(name, arrived);
        }
        if is_sent {
            self.routes.sent(name, told);
        } else if let (Some(name), Some(told)) = (name, told) {
            self.routes.seen(name, told);
        }
    }

    /// Records that a task was sent on its own, and by which client.
    fn sent(&mut self, name: Symbol, arrived: &Arrived<'_>) {
        self.periodic.sent(name, arrived.stamped);
        let Some(process) = arrived.process else {
            return;
        };
        // Each beat sends Celery's own tasks, also beats of different applications. Folded names
        // are not one task.
        let text = self.names.text(name);
        if !text.starts_with("celery.") && *text != *OTHER {
            self.periodic.sent_by(process, name, arrived.stamped);
        }
    }

    /// Counts an event according to how it was interpreted.
    fn count(&mut self, at: At, arrived: &Arrived<'_>, taken: Taken, changes: &mut Vec<Change>) {
        let (event, worker) = (arrived.event, arrived.worker);
        let task = self.tasks.get(at);
        if task.queue_told && task.label() != Label::Settled {
            self.settle(at, changes);
        }
        let task = self.tasks.get(at);
        let is_settled = task.label() == Label::Settled;
        let (name, queue, is_decided) = match taken {
            Taken::Earlier {
                name,
                queue,
                replaced: true,
                ..
            } => (name, queue, true),
            Taken::Earlier { name, queue, .. } => {
                (name.or(task.name), queue.or(task.queue), is_settled)
            }
            Taken::Again | Taken::ToldTwice | Taken::Step(_) => (task.name, task.queue, is_settled),
        };
        let (eta, ran_by) = (task.eta, worker.or(task.worker));
        // Every shard receives a task-sent, and only one counts it.
        let shard = self.limits.shard;
        let counts = event.kind != TaskKind::Sent || shard.is_none_or(|it| it.owns(&event.uuid));
        if counts {
            changes.push(Change::Event(ReceivedEvent {
                kind: EventKind::Task(event.kind),
                other: None,
                sender: arrived.sender,
                task: name,
            }));
        }
        let (Taken::Step(mut intervals) | Taken::Earlier { mut intervals, .. }) = taken else {
            if counts && taken == Taken::Again {
                changes.push(Change::Duplicate);
            }
            return;
        };
        for _ in 0..intervals.clamped {
            changes.push(Change::Clamped);
        }
        for _ in 0..intervals.refused {
            changes.push(Change::Refused(Refusal::Duration));
        }
        if intervals.ran.is_some() || intervals.attempts.is_some() {
            self.attempt_ended(name, event, &mut intervals, arrived.now);
        }
        let step = HeldStep {
            step: counts.then(|| self.step(event)),
            at: arrived.stamped,
            sender: arrived.sender,
            name,
            worker,
            // An interval completed by a late task-sent belongs to the worker that ran the task.
            ran_by,
            eta,
            intervals,
        };
        if is_decided {
            step.count(name, queue, changes);
        } else {
            self.hold(at, step, event, arrived.now, changes);
        }
        if event.kind == TaskKind::Started
            && let Some(worker) = worker.and_then(|name| self.workers.find(name))
        {
            worker.task_event(Some(arrived.stamped));
        }
    }

    /// Learns from the end of an attempt, and adds whether the task may be retried again.
    fn attempt_ended(
        &mut self,
        name: Option<Symbol>,
        event: &TaskEvent<'_>,
        intervals: &mut Intervals,
        now: Timestamp,
    ) {
        if let Some((_, seconds)) = intervals.ran
            && let Some(name) = name
        {
            self.runtimes.add(name, seconds, now);
        }
        intervals.exhausted = self.has_no_retry_left(name, event, intervals);
    }

    /// Whether a task failed because it may not be retried again: Celery raised its exception for
    /// that, or the task was retried as often as its worker reports that it may be.
    fn has_no_retry_left(
        &self,
        name: Option<Symbol>,
        event: &TaskEvent<'_>,
        intervals: &Intervals,
    ) -> bool {
        let Some((Outcome::Failed, attempts)) = intervals.attempts else {
            return false;
        };
        if event.exception.as_deref() == Some("MaxRetriesExceededError") {
            return true;
        }
        let settings = name.and_then(|name| self.registered.get(&self.names.text(name)));
        let retries = settings.and_then(|settings| settings.max_retries);
        attempts > 1 && retries.is_some_and(|most| u32::from(attempts - 1) >= most)
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

    fn class(&mut self, event: &TaskEvent<'_>) -> Option<Symbol> {
        let class = event.exception.as_deref();
        class.map(|class| self.names.intern(class))
    }
}
