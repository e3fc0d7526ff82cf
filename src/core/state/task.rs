//! The life of one task: a state machine whose events may be reordered, duplicated or missing.
//!
//! ```text
//!            ┌───────── retried, rejected (requeue) ──────────┐
//!            ▼                                                │
//!   ──▶   sent  ──▶  received  ──▶  started  ──▶  ended  ─────┤
//!            │           │             ▲           ▲  │       │
//!            └───────────┴─────────────┼───────────┘  └───────┘
//!                        a later one implies             received, started later than the end:
//!                        the earlier ones                a redelivery, in flight again
//! ```
//!
//! Order is judged by the events' own timestamps, which one worker's main process stamps with one
//! clock, and by `retries`, which counts attempts: a retry's `task-sent` and `task-received` can
//! arrive before the `task-retried` of the previous attempt, and are remembered (`ahead`,
//! `next_due`) until it does. Intervals are reported as soon as both ends are known, whichever
//! arrives last: a client's `task-sent` may arrive after the end of a very short task.
//!
//! Source: Celery 4.4 to 5.7 as recorded in `tests/golden/events`.

mod earlier;
mod flags;
mod intervals;
mod received;
mod saved;
mod standing;

use std::time::Duration;

use super::{Outcome, Symbol, TaskAnswer, TaskKey, TaskStage};
use crate::event::judge;
use crate::event::{TaskEvent, TaskKind};
use crate::timestamp::Timestamp;
use earlier::Earlier;
use flags::Flags;
pub(super) use intervals::Intervals;

/// Within this time, a second failure or revocation of one attempt by one worker is a repetition of
/// the first: Celery 5.7 reports a hard time limit twice, and 4.4 a terminated task.
const REPEATED_WITHIN: Duration = Duration::from_secs(10);

/// One worker's events arrive in order, give or take a few seconds. An end stamped this long before
/// the start shows that the worker's clock was set back.
const SET_BACK: Duration = Duration::from_secs(60);

/// One execution of a task, with its retries. Unknown times are the epoch. There may be a million
/// of these, so fields are kept small.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Task {
    pub(super) name: Option<Symbol>,
    pub(super) queue: Option<Symbol>,
    pub(super) worker: Option<Symbol>,
    /// Timestamp of the newest task-sent.
    sent: Timestamp,
    /// When this attempt was sent, or when it was to run, whichever is later.
    due: Timestamp,
    /// The same for the next attempt, if its task-sent arrived before the end of this one.
    next_due: Timestamp,
    /// The same for the first attempt.
    first_due: Timestamp,
    received: Timestamp,
    started: Timestamp,
    ended: Timestamp,
    /// When it expires, in seconds since the epoch, rounded up; 0 if it does not expire.
    expires: u32,
    /// Retries before the attempt that `stage` is about.
    attempt: u16,
    /// `None`: not in flight.
    pub(super) stage: Option<TaskStage>,
    /// How far the next attempt has progressed while this one has not ended.
    ahead: Option<TaskStage>,
    /// How the last finished attempt ended.
    end: Option<TaskKind>,
    /// The queue was reported, not inferred from other tasks of this name.
    pub(super) queue_told: bool,
    pub(super) eta: bool,
    flags: Flags,
    /// The previous execution, while its events may still arrive: rare.
    earlier: Option<Box<Earlier>>,
}

/// Whether the queue that a task is counted under is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Label {
    /// Nothing has been counted yet.
    #[default]
    Open,
    /// Its steps are held.
    Held,
    Settled,
}

/// What an event means for its task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Taken {
    /// An exact duplicate.
    Again,
    /// It repeats what was already reported by a different event.
    ToldTwice,
    /// A step.
    Step(Intervals),
    /// A step of the execution before the one in flight, and the name and queue of that one.
    Earlier {
        intervals: Intervals,
        name: Option<Symbol>,
        queue: Option<Symbol>,
        /// It was replaced by another task under the same id.
        replaced: bool,
    },
}

const UNKNOWN: Timestamp = Timestamp::from_micros(0);

impl Task {
    /// Initializes a task that is known only because its worker listed it.
    pub(super) fn answered(&mut self, worker: Symbol, answer: &TaskAnswer, now: Timestamp) {
        self.worker = Some(worker);
        // How long it had waited is unknown.
        self.flags.set(Flags::PREFETCH_WAITED, true);
        if let Some(started) = answer.started {
            let has_happened = judge::has_happened(started, now);
            self.started = if has_happened { started } else { now };
            self.stage = Some(TaskStage::Started);
            return;
        }
        self.received = now;
        self.stage = Some(TaskStage::Received);
        if let Some(eta) = answer.eta {
            self.eta = true;
            self.flags.set(Flags::ETA_ONLY, true);
            self.due = eta;
        }
    }

    /// Applies one event, stamped at `at` and sent by `worker`.
    pub(super) fn apply(
        &mut self,
        event: &TaskEvent<'_>,
        at: Timestamp,
        worker: Option<Symbol>,
    ) -> Taken {
        if self.is_of_earlier(event, at, worker) {
            return self.take_earlier(event, at, worker);
        }
        match event.kind {
            TaskKind::Sent => self.sent(event, at),
            TaskKind::Received => self.received(event, at, worker),
            TaskKind::Started => self.started(at, worker),
            TaskKind::Succeeded
            | TaskKind::Failed
            | TaskKind::Retried
            | TaskKind::Rejected
            | TaskKind::Revoked
            | TaskKind::Cancelled => self.ended(event, at, worker),
        }
    }

    /// With shards: before [`apply`](Self::apply), catches up with attempts that ran on another
    /// shard's workers, of which only the task-sent arrived here. Keeps `due` and `next_due`
    /// matched to the current attempt and the one after it. The task may even be over.
    pub(super) fn catch_up(&mut self, event: &TaskEvent<'_>, at: Timestamp) {
        if !self.stage.is_some_and(TaskStage::is_on_the_way) {
            return;
        }
        let Some(retries) = event.retries.map(saturated) else {
            return;
        };
        let before = self.attempt.checked_sub(retries).filter(|n| *n > 0);
        let beyond = retries.checked_sub(self.attempt).filter(|n| *n > 1);
        if event.kind == TaskKind::Sent {
            if retries == 0 && self.first_due != UNKNOWN && at > self.sent.max(self.ended) {
                self.begin_anew();
            } else if let Some(beyond) = beyond {
                let next = std::mem::take(&mut self.next_due);
                self.due = if beyond == 2 { next } else { UNKNOWN };
                self.attempt = retries - 1;
            }
        } else if event.kind == TaskKind::Received && at > self.received.max(self.ended) {
            if beyond.is_some() {
                self.next_due = UNKNOWN;
            } else if let Some(before) = before {
                // The worker's events were delayed, and the task-sent of the next attempt overtook
                // them.
                let due = std::mem::take(&mut self.due);
                self.next_due = if before == 1 { due } else { UNKNOWN };
                self.ahead = Some(TaskStage::Sent);
                self.attempt = retries;
            }
        }
    }

    /// Whether the queue that its steps are counted under is decided.
    pub(super) const fn label(&self) -> Label {
        if self.flags.has(Flags::SETTLED) {
            Label::Settled
        } else if self.flags.has(Flags::HELD) {
            Label::Held
        } else {
            Label::Open
        }
    }

    pub(super) fn set_label(&mut self, label: Label) {
        self.flags.set(Flags::HELD, label == Label::Held);
        self.flags.set(Flags::SETTLED, label == Label::Settled);
    }

    /// Whether its task-sent has arrived.
    pub(super) fn was_sent(&self) -> bool {
        self.sent != UNKNOWN
    }

    /// The labels that it is counted under.
    pub(super) const fn key(&self) -> TaskKey {
        TaskKey {
            name: self.name,
            queue: self.queue,
            worker: self.worker,
        }
    }

    /// The names that it refers to.
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> + use<> {
        let earlier = self.earlier.as_deref();
        let earlier = earlier.map_or([None; 3], |it| [it.name, it.queue, it.worker]);
        let own = [self.name, self.queue, self.worker];
        own.into_iter().chain(earlier).flatten()
    }

    /// The time since which it has been waiting or running: when it entered its stage or, if it is
    /// scheduled for later, when it is due. `None` if unknown.
    pub(super) fn waits_since(&self) -> Option<Timestamp> {
        let waits = matches!(
            self.stage,
            Some(TaskStage::Sent | TaskStage::Retry | TaskStage::Received)
        );
        if waits && self.eta && self.due == UNKNOWN {
            return None;
        }
        let entered = self.entered();
        let since = if waits {
            entered.max(self.due)
        } else {
            entered
        };
        (since != UNKNOWN).then_some(since)
    }

    /// When it is due, if it has not started; the epoch if unknown or running.
    pub(super) fn waits_for(&self) -> Timestamp {
        match self.stage {
            Some(TaskStage::Sent | TaskStage::Retry | TaskStage::Received) => self.due,
            None | Some(TaskStage::Started) => UNKNOWN,
        }
    }

    fn is_due_by_eta_only(&self) -> bool {
        self.flags.has(Flags::ETA_ONLY) && self.stage != Some(TaskStage::Started)
    }

    /// When it entered its current stage; the epoch if unknown.
    pub(super) fn entered(&self) -> Timestamp {
        match self.stage {
            None => self.ended,
            Some(TaskStage::Sent | TaskStage::Retry) => self.sent.max(self.ended),
            Some(TaskStage::Received) => self.received,
            Some(TaskStage::Started) => self.started,
        }
    }

    /// Applies the end of its worker. Returns `true` if it was running and is lost. A task that was
    /// only waiting there returns to its queue.
    pub(super) fn worker_lost(&mut self, worker: Symbol, until: Timestamp) -> bool {
        if self.worker != Some(worker) || self.entered() > until {
            return false;
        }
        if self.stage == Some(TaskStage::Received) {
            self.stage = Some(TaskStage::Sent);
            self.worker = None;
        }
        self.stage == Some(TaskStage::Started)
    }

    /// Whether it is on its way and expired before `until`: RabbitMQ silently drops such a message.
    pub(super) fn has_expired(&self, until: Timestamp) -> bool {
        let on_its_way = matches!(self.stage, Some(TaskStage::Sent | TaskStage::Retry));
        on_its_way && self.expires > 0 && Timestamp::from_whole_seconds(self.expires) < until
    }

    /// Gives up the task. Later events of it are recognized as belonging to a task that has ended.
    pub(super) fn give_up(&mut self, now: Timestamp) {
        self.stage = None;
        self.ended = now;
        self.end = Some(TaskKind::Cancelled);
    }

    fn sent(&mut self, event: &TaskEvent<'_>, at: Timestamp) -> Taken {
        if at == self.sent {
            return Taken::Again;
        }
        let once_more = self.stage.is_none() && self.end.is_some() && self.first_due != UNKNOWN;
        if once_more && event.retries == Some(0) && at > self.ended {
            self.begin_anew();
        }
        self.sent = at;
        let due = event.eta.map_or(at, |eta| eta.max(at));
        let retries = event.retries.map_or(self.attempt, saturated);
        // A late event of an earlier attempt says nothing about this one.
        if retries >= self.attempt {
            self.eta = event.eta.is_some();
            self.expires = event.expires.map_or(0, Timestamp::whole_seconds);
        }
        let mut intervals = Intervals::default();
        if retries == 0 && self.first_due == UNKNOWN {
            self.first_due = due;
        }
        if retries > self.attempt && self.stage.is_some() {
            self.ahead = self.ahead.max(Some(TaskStage::Sent));
            self.next_due = due;
            self.flags
                .keep_if(Flags::ETA_ONLY, self.stage != Some(TaskStage::Started));
        } else {
            if self.stage.is_none() && self.end.is_none() {
                self.attempt = retries;
                self.stage = Some(TaskStage::Sent);
                if retries > 0 {
                    self.follows(retries);
                }
            }
            if retries == self.attempt {
                self.due = due;
                self.flags
                    .keep_if(Flags::ETA_ONLY, self.stage == Some(TaskStage::Started));
                self.tell_queue_wait(&mut intervals);
            }
            self.tell_turnaround(&mut intervals);
        }
        Taken::Step(intervals)
    }

    /// Resets the state, because the id of a task that is over is used again.
    fn begin_anew(&mut self) {
        let label = self.label();
        *self = Self {
            name: self.name,
            queue: self.queue,
            queue_told: self.queue_told,
            ..Self::default()
        };
        self.set_label(label);
    }

    fn started(&mut self, at: Timestamp, worker: Option<Symbol>) -> Taken {
        if at == self.started {
            return Taken::Again;
        }
        let mut intervals = Intervals::default();
        let late = self.stage.is_none() && self.end.is_some() && at <= self.ended;
        if !late && at > self.started {
            // Without its own task-received, this start has no waits of the previous one.
            let implied = matches!(self.stage, None | Some(TaskStage::Started));
            // The next attempt follows only if this one is running: a subtask's task-sent can
            // overtake the task's own start.
            let before = self.stage == Some(TaskStage::Started);
            if let Some(ahead) = self.ahead.take_if(|_| before) {
                self.overtake();
                self.next_attempt();
                self.flags
                    .set(Flags::PREFETCH_WAITED, ahead != TaskStage::Received);
            } else if implied && self.started != UNKNOWN {
                self.due = UNKNOWN;
                self.flags.set(Flags::PREFETCH_WAITED, true);
            }
            if self.flags.take(Flags::ETA_ONLY) {
                self.due = UNKNOWN;
            }
            self.started = at;
            self.stage = Some(TaskStage::Started);
            self.worker = worker;
            self.tell_queue_wait(&mut intervals);
            self.tell_prefetch_wait(&mut intervals);
        }
        Taken::Step(intervals)
    }

    fn ended(&mut self, event: &TaskEvent<'_>, at: Timestamp, worker: Option<Symbol>) -> Taken {
        if self.end == Some(event.kind) {
            if at == self.ended {
                return Taken::Again;
            }
            let may_be_twice = matches!(event.kind, TaskKind::Failed | TaskKind::Revoked);
            let same = may_be_twice && self.stage.is_none() && self.worker == worker;
            if same && at.since(self.ended) < REPEATED_WITHIN {
                return Taken::ToldTwice;
            }
        }
        let again =
            event.kind == TaskKind::Retried || (event.kind == TaskKind::Rejected && event.requeue);
        // An end stamped before this attempt started is a late one of an earlier attempt. So is a
        // retry of a task that is over, or one stamped before the newest known while nobody has the
        // task.
        let over = again && self.stage.is_none() && self.is_over()
            || event.kind == TaskKind::Retried
                && self.stage == Some(TaskStage::Retry)
                && at <= self.ended;
        let is_set_back =
            worker.is_some() && worker == self.worker && self.started.since(at) > SET_BACK;
        let early = self.stage == Some(TaskStage::Started) && at < self.started;
        let late = over || (early && !is_set_back);
        let running = !late && self.stage == Some(TaskStage::Started);
        let started = Some(self.started).filter(|_| running);
        let mut intervals = Intervals::of_end(event, at, started);
        if !late {
            self.ended = at;
            self.end = Some(event.kind);
            self.worker = worker.or(self.worker);
            let ahead = self.ahead.take();
            self.flags
                .keep_if(Flags::ETA_ONLY, ahead == Some(TaskStage::Received));
            self.stage = if event.kind == TaskKind::Retried {
                let received = ahead == Some(TaskStage::Received);
                if self.flags.take(Flags::NEXT_ELSEWHERE) && received {
                    // Whichever it is starts it.
                    self.worker = None;
                }
                self.next_attempt();
                self.flags.set(Flags::PREFETCH_WAITED, !received);
                Some(if received {
                    TaskStage::Received
                } else {
                    TaskStage::Retry
                })
            } else if event.kind == TaskKind::Rejected && event.requeue {
                self.due = at;
                self.flags.set(Flags::QUEUE_WAITED, false);
                Some(TaskStage::Sent)
            } else {
                None
            };
            if let Some(outcome) = self.outcome() {
                intervals.attempts = Some((outcome, self.attempt.saturating_add(1)));
                self.flags.set(Flags::TURNED_AROUND, false);
                self.tell_turnaround(&mut intervals);
            }
        }
        Taken::Step(intervals)
    }

    /// Moves on to the next attempt.
    fn next_attempt(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
        self.due = std::mem::replace(&mut self.next_due, UNKNOWN);
        self.flags.set(Flags::QUEUE_WAITED, false);
        self.flags.set(Flags::PREFETCH_WAITED, false);
    }

    /// Whether its last end was final.
    const fn is_over(&self) -> bool {
        matches!(
            self.end,
            Some(TaskKind::Succeeded | TaskKind::Failed | TaskKind::Revoked)
        )
    }

    /// How the task finished, if it has and an attempt ran.
    fn outcome(&self) -> Option<Outcome> {
        match (self.stage, self.end?) {
            (None, TaskKind::Succeeded) => Some(Outcome::Succeeded),
            (None, TaskKind::Failed) => Some(Outcome::Failed),
            _ => None,
        }
    }
}

/// The outcome of an attempt that ran, from its last event.
const fn outcome_of(kind: TaskKind) -> Option<Outcome> {
    match kind {
        TaskKind::Succeeded => Some(Outcome::Succeeded),
        TaskKind::Failed => Some(Outcome::Failed),
        TaskKind::Retried => Some(Outcome::Retried),
        TaskKind::Sent
        | TaskKind::Received
        | TaskKind::Started
        | TaskKind::Rejected
        | TaskKind::Revoked
        | TaskKind::Cancelled => None,
    }
}

fn saturated(retries: u32) -> u16 {
    u16::try_from(retries).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
