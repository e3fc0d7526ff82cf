//! The life of one task: a state machine that takes its events in any order, twice, or not at all.
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
//! Order is judged by the events' own timestamps, which one worker's main process stamps with one clock, and
//! by `retries`, which counts attempts: a retry's `task-sent` and `task-received` can come before the
//! `task-retried` of the attempt before it, and wait here (`ahead`) until it does.
//!
//! Source: Celery 4.4 to 5.7 as recorded in `tests/golden/events`.

use std::time::Duration;

use super::{Name, Outcome, Stage};
use crate::event::{TaskEvent, TaskKind};
use crate::timestamp::Timestamp;

/// Within this time a second failure, or revocation, of one attempt by one worker is the same one told twice:
/// Celery 5.7 reports a hard time limit so, and 4.4 a terminated task.
const TOLD_TWICE: Duration = Duration::from_secs(10);

/// One execution of a task, with its retries. Times are the epoch where nothing is known of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Task {
    pub(super) name: Option<Name>,
    pub(super) queue: Option<Name>,
    pub(super) worker: Option<Name>,
    /// `None`: not in flight.
    pub(super) stage: Option<Stage>,
    /// How far the next attempt has come while this one has not ended.
    ahead: Option<Stage>,
    /// Retries before the attempt that `stage` is about.
    attempt: u32,
    sent: Timestamp,
    received: Timestamp,
    started: Timestamp,
    ended: Timestamp,
    /// How the last attempt that ended did.
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    kind: TaskKind,
    worker: Option<Name>,
}

/// What an event is for the task that it is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Taken {
    /// It came before, in every detail.
    Again,
    /// It tells again, in other words, what was told.
    ToldTwice,
    /// A step; seconds where it ends an attempt that ran.
    Step { ran: Option<(Outcome, f64)> },
}

const UNKNOWN: Timestamp = Timestamp::from_micros(0);

impl Task {
    /// Takes one event that was stamped at `at` and sent by `worker`.
    pub(super) fn take(
        &mut self,
        event: &TaskEvent<'_>,
        at: Timestamp,
        worker: Option<Name>,
    ) -> Taken {
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

    fn sent(&mut self, event: &TaskEvent<'_>, at: Timestamp) -> Taken {
        if at == self.sent {
            return Taken::Again;
        }
        self.sent = at;
        let retries = event.retries.unwrap_or(self.attempt);
        if retries > self.attempt && self.stage.is_some() {
            self.ahead = self.ahead.max(Some(Stage::Sent));
        } else if self.stage.is_none() && self.end.is_none() {
            self.attempt = retries;
            self.stage = Some(Stage::Sent);
        }
        Taken::Step { ran: None }
    }

    fn received(&mut self, event: &TaskEvent<'_>, at: Timestamp, worker: Option<Name>) -> Taken {
        if at == self.received {
            return Taken::Again;
        }
        self.received = at;
        let retries = event.retries.unwrap_or(self.attempt);
        match self.stage {
            // The attempt before has not ended, as far as is known: its task-retried is still to come.
            Some(Stage::Started) if retries > self.attempt => self.ahead = Some(Stage::Received),
            // It came late, behind its own task-started.
            Some(Stage::Started) if at <= self.started => {}
            // Likewise behind the end.
            None if self.end.is_some() && at <= self.ended => {}
            _ => {
                self.attempt = retries.max(self.attempt);
                self.stage = Some(Stage::Received);
                self.worker = worker;
            }
        }
        Taken::Step { ran: None }
    }

    fn started(&mut self, at: Timestamp, worker: Option<Name>) -> Taken {
        if at == self.started {
            return Taken::Again;
        }
        let late = self.stage.is_none() && self.end.is_some() && at <= self.ended;
        if !late && at > self.started {
            if self.ahead.take().is_some() {
                self.attempt += 1;
            }
            self.started = at;
            self.stage = Some(Stage::Started);
            self.worker = worker;
        }
        Taken::Step { ran: None }
    }

    fn ended(&mut self, event: &TaskEvent<'_>, at: Timestamp, worker: Option<Name>) -> Taken {
        let end = End {
            kind: event.kind,
            worker,
        };
        if self.end == Some(end) {
            if at == self.ended {
                return Taken::Again;
            }
            let twice = matches!(event.kind, TaskKind::Failed | TaskKind::Revoked);
            if twice && self.stage.is_none() && at.since(self.ended) < TOLD_TWICE {
                return Taken::ToldTwice;
            }
        }
        let ran = self.ran(event, at);
        // An end that was stamped before this attempt began is that of an earlier one, come late.
        let late = self.stage == Some(Stage::Started) && at < self.started;
        if !late {
            let again = event.kind == TaskKind::Retried
                || (event.kind == TaskKind::Rejected && event.requeue);
            self.stage = again.then(|| self.ahead.unwrap_or(Stage::Sent));
            self.attempt += u32::from(event.kind == TaskKind::Retried);
            self.ahead = None;
            self.worker = worker.or(self.worker);
            self.ended = at;
            self.end = Some(end);
        }
        Taken::Step { ran }
    }

    /// How long the attempt ran that this event ends: as the worker measured it, else from its start.
    fn ran(&self, event: &TaskEvent<'_>, at: Timestamp) -> Option<(Outcome, f64)> {
        let outcome = match event.kind {
            TaskKind::Succeeded => Outcome::Succeeded,
            TaskKind::Failed => Outcome::Failed,
            TaskKind::Retried => Outcome::Retried,
            TaskKind::Sent
            | TaskKind::Received
            | TaskKind::Started
            | TaskKind::Rejected
            | TaskKind::Revoked
            | TaskKind::Cancelled => return None,
        };
        let running = self.stage == Some(Stage::Started) && self.started != UNKNOWN;
        let since_start = || running.then(|| at.seconds_since(self.started).max(0.0));
        event
            .runtime
            .or_else(since_start)
            .map(|seconds| (outcome, seconds))
    }
}

#[cfg(test)]
mod tests;
