//! Keeps the previous execution of a task after a newer one has overtaken it, while its events may
//! still arrive.
//!
//! The events of two workers arrive in any order: the `task-received` of a retry on one worker can
//! precede the `task-started` of the first attempt on the other. The same happens when a broker
//! delivers a message twice, and when a task replaces itself with another one under its own id. The
//! newer execution is in flight, and the earlier one is kept with it, so that each event and each
//! wait counts for the execution that it belongs to.
//!
//! The worker distinguishes the two executions. On a single worker, the timestamps do, because one
//! process stamps them.

use std::time::Duration;

use super::{Flags, Intervals, Taken, Task, UNKNOWN, saturated};
use crate::event::{TaskEvent, TaskKind};
use crate::state::{Outcome, Symbol, TaskStage};
use crate::timestamp::Timestamp;

/// How much the clocks of two workers may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(1);

/// The state of the previous execution.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::state) struct Earlier {
    pub(in crate::state) name: Option<Symbol>,
    pub(in crate::state) queue: Option<Symbol>,
    pub(super) worker: Option<Symbol>,
    pub(super) attempt: u16,
    pub(super) due: Timestamp,
    pub(super) received: Timestamp,
    pub(super) started: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) queue_waited: bool,
    pub(super) prefetch_waited: bool,
    /// Whether it was replaced by another task with the same id.
    pub(super) replaced: bool,
}

impl Task {
    /// Whether an event belongs to the previous execution.
    pub(in crate::state) fn is_of_earlier(
        &self,
        event: &TaskEvent<'_>,
        at: Timestamp,
        worker: Option<Symbol>,
    ) -> bool {
        let Some(earlier) = &self.earlier else {
            return false;
        };
        let retries = event.retries.map_or(self.attempt, saturated);
        let before = retries == earlier.attempt && retries < self.attempt;
        let begun = match self.received.max(self.started) {
            UNKNOWN => self.sent,
            begun => begun,
        };
        match event.kind {
            TaskKind::Sent => before && !earlier.replaced && at < begun,
            TaskKind::Received if earlier.replaced => at < self.sent,
            TaskKind::Received => retries < self.attempt && at < begun,
            TaskKind::Started
            | TaskKind::Succeeded
            | TaskKind::Failed
            | TaskKind::Retried
            | TaskKind::Rejected
            | TaskKind::Revoked
            | TaskKind::Cancelled => {
                let is = |of: Option<Symbol>| of.is_some() && of == worker;
                match (is(earlier.worker), is(self.worker)) {
                    (true, false) => earlier.may_have(event.kind, at),
                    (false, true) => false,
                    (false, false) if earlier.worker.is_some() && worker.is_some() => false,
                    (true, true) | (false, false) => self.precedes(earlier, event.kind, at),
                }
            }
        }
    }

    /// Whether an event that both executions may have sent belongs to the earlier one.
    fn precedes(&self, earlier: &Earlier, kind: TaskKind, at: Timestamp) -> bool {
        let runs = earlier.started != UNKNOWN && earlier.ended == UNKNOWN;
        let has_started = self.stage.is_none() || self.stage == Some(TaskStage::Started);
        match kind {
            TaskKind::Sent | TaskKind::Received => false,
            TaskKind::Started if self.received == UNKNOWN => at < self.sent,
            TaskKind::Started => at < self.received,
            // Holds regardless of clocks: the next attempt follows a retry, and one that has not
            // started cannot end in a retry.
            TaskKind::Retried if earlier.attempt < self.attempt && (runs || !has_started) => {
                earlier.ended == UNKNOWN
            }
            TaskKind::Revoked | TaskKind::Rejected if !has_started => false,
            TaskKind::Succeeded
            | TaskKind::Failed
            | TaskKind::Retried
            | TaskKind::Cancelled
            | TaskKind::Revoked
            | TaskKind::Rejected => {
                if has_started {
                    at < self.started
                } else {
                    runs
                }
            }
        }
    }

    /// Whether a task-sent belongs to another task that takes over this one's id (`self.replace`). If
    /// that of the first attempt is missing, it is this one: a client sends it after the message, so a
    /// short attempt may be over and its retry sent before.
    pub(in crate::state) fn is_replaced_by(&self, event: &TaskEvent<'_>, at: Timestamp) -> bool {
        let received = matches!(self.stage, Some(TaskStage::Received | TaskStage::Started));
        let begun = if received { self.received } else { UNKNOWN };
        event.kind == TaskKind::Sent
            && event.retries == Some(0)
            && self.stage.is_some()
            && self.ahead.is_none()
            && self.first_due != UNKNOWN
            && at > self.sent.max(begun)
    }

    /// Lets another task take over the id.
    pub(in crate::state) fn replace(&mut self) {
        self.overtake();
        let mut earlier = self.earlier.take();
        if let Some(earlier) = &mut earlier {
            earlier.replaced = true;
        }
        *self = Self {
            earlier,
            sent: self.sent,
            first_due: self.first_due,
            ..Self::default()
        };
    }

    /// Keeps the state of this execution, because another one follows.
    pub(super) fn overtake(&mut self) {
        let has = matches!(
            self.stage,
            Some(TaskStage::Received | TaskStage::Started) | None
        );
        let started = matches!(self.stage, Some(TaskStage::Started) | None);
        let known = |is: bool, at: Timestamp| if is { at } else { UNKNOWN };
        self.earlier = Some(Box::new(Earlier {
            name: self.name,
            queue: self.queue,
            worker: self.worker.filter(|_| has),
            attempt: self.attempt,
            due: known(!self.is_due_by_eta_only(), self.due),
            received: known(has, self.received),
            started: known(started, self.started),
            ended: known(self.stage.is_none(), self.ended),
            queue_waited: self.flags.has(Flags::QUEUE_WAITED),
            prefetch_waited: self.flags.has(Flags::PREFETCH_WAITED),
            replaced: false,
        }));
    }

    /// Records that there was a previous attempt, of which nothing is known yet.
    pub(super) fn follows(&mut self, retries: u16) {
        self.earlier = Some(Box::new(Earlier {
            name: self.name,
            queue: self.queue,
            attempt: retries.saturating_sub(1),
            ..Earlier::default()
        }));
    }

    /// Whether another worker received the same message long before the worker that is known to
    /// have it.
    pub(super) fn was_received_before(&self, retries: u16, at: Timestamp) -> bool {
        let received = match self.stage {
            None => self.end.is_some(),
            Some(stage) => !stage.is_on_the_way(),
        };
        received && retries == self.attempt && self.received.since(at) > CLOCKS_DIFFER
    }

    /// Records that earlier receipt.
    pub(super) fn received_before(&mut self, at: Timestamp, worker: Option<Symbol>) {
        self.earlier = Some(Box::new(Earlier {
            name: self.name,
            queue: self.queue,
            worker,
            attempt: self.attempt,
            received: at,
            ..Earlier::default()
        }));
    }

    /// Copies the name and queue to the earlier attempt if it has none.
    pub(in crate::state) fn share_with_earlier(&mut self) {
        if let Some(earlier) = &mut self.earlier {
            earlier.name = earlier.name.or(self.name);
            earlier.queue = earlier.queue.or(self.queue);
        }
    }

    /// Applies an event of the previous execution.
    pub(super) fn take_earlier(
        &mut self,
        event: &TaskEvent<'_>,
        at: Timestamp,
        worker: Option<Symbol>,
    ) -> Taken {
        let Some(mut earlier) = self.earlier.take() else {
            return Taken::Again;
        };
        let taken = earlier.take(self, event, at, worker);
        self.earlier = Some(earlier);
        taken
    }
}

impl Earlier {
    /// Whether an event of its worker can be its own: it starts and ends once. Otherwise, the worker
    /// got a later attempt as well.
    fn may_have(&self, kind: TaskKind, at: Timestamp) -> bool {
        let known = if kind == TaskKind::Started {
            self.started
        } else {
            self.ended
        };
        known == UNKNOWN || known == at
    }

    fn take(
        &mut self,
        task: &mut Task,
        event: &TaskEvent<'_>,
        at: Timestamp,
        worker: Option<Symbol>,
    ) -> Taken {
        let mut intervals = Intervals::default();
        match event.kind {
            TaskKind::Sent => {
                if self.due != UNKNOWN {
                    return Taken::Again;
                }
                self.due = event.eta.map_or(at, |eta| eta.max(at));
                if self.attempt == 0 && task.first_due == UNKNOWN {
                    task.first_due = self.due;
                    task.tell_turnaround(&mut intervals);
                }
            }
            TaskKind::Received => {
                let retries = event.retries.map_or(self.attempt, saturated);
                // Of an even earlier one, nothing is kept.
                if retries >= self.attempt {
                    if std::mem::replace(&mut self.received, at) == at {
                        return Taken::Again;
                    }
                    self.worker = worker;
                    self.attempt = retries;
                }
            }
            TaskKind::Started => {
                if std::mem::replace(&mut self.started, at) == at {
                    return Taken::Again;
                }
                self.worker = self.worker.or(worker);
                if self.due == UNKNOWN && self.attempt == task.attempt && !task.is_due_by_eta_only()
                {
                    self.due = std::mem::take(&mut task.due);
                }
            }
            TaskKind::Succeeded
            | TaskKind::Failed
            | TaskKind::Retried
            | TaskKind::Rejected
            | TaskKind::Revoked
            | TaskKind::Cancelled => {
                if std::mem::replace(&mut self.ended, at) == at {
                    return Taken::Again;
                }
                self.end(task, event, at, &mut intervals);
            }
        }
        self.tell_waits(&mut intervals);
        Taken::Earlier {
            intervals,
            name: self.name,
            queue: self.queue,
            replaced: self.replaced,
        }
    }

    fn end(&self, task: &Task, event: &TaskEvent<'_>, at: Timestamp, intervals: &mut Intervals) {
        let outcome = super::outcome_of(event.kind);
        *intervals = Intervals::of_end(event, at, Some(self.started));
        if let Some(outcome) = outcome.filter(|outcome| *outcome != Outcome::Retried) {
            intervals.attempts = Some((outcome, self.attempt.saturating_add(1)));
            if task.first_due != UNKNOWN {
                let seconds = intervals.between(task.first_due, at);
                intervals.turnaround = seconds.map(|seconds| (outcome, seconds));
            }
        }
    }

    /// Reports each wait once both of its ends are known.
    fn tell_waits(&mut self, intervals: &mut Intervals) {
        if self.started == UNKNOWN {
            return;
        }
        if self.due != UNKNOWN && !self.queue_waited {
            self.queue_waited = true;
            intervals.queue_wait = intervals.between(self.due, self.started);
        }
        if self.received != UNKNOWN && !self.prefetch_waited {
            self.prefetch_waited = true;
            intervals.prefetch_wait = intervals.between(self.received, self.started);
        }
    }
}
