//! Events to what changed: what is known of one Celery cluster, as seen through one broker.
//!
//! In: an [`Event`](crate::event::Event) and the time of its receipt. Out: [`Change`]s, small values that a
//! profile turns into samples. The levels that are no sum of changes (workers) are read off the state.
//!
//! The knowledge of orders, duplicates and gaps is here: see `task.rs` for the life of one task.

mod names;

mod report;

mod task;
mod tasks;
mod worker;

mod cluster;

pub use cluster::{Limits, State, WorkerTimeout};
pub use names::{Name, Names};
pub use report::{Answers, Known, QueueLevel, Report, TaskAnswer, WorkerAnswer};
pub use worker::Worker;

use crate::event::Kind;

/// One thing that an event changed, or time did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// An event came.
    Event(Kind),
    /// An event came that had come before; it changes nothing else.
    Duplicate,
    /// A task took a step.
    Task { step: Step, of: Of },
    /// A task ended an attempt that ran for so many seconds.
    Ran {
        outcome: Outcome,
        seconds: f64,
        of: Of,
    },
    /// A task is in flight in another stage, or under other labels, or no longer.
    Moved {
        from: Option<(Stage, Of)>,
        to: Option<(Stage, Of)>,
    },
    /// A task in flight will not be heard of again.
    Lost { reason: Loss, of: Of },
}

/// What a task is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Of {
    pub name: Name,
    pub queue: Name,
    /// Absent before a worker had it.
    pub worker: Option<Name>,
}

/// A step in the life of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Sent,
    Received,
    Started,
    Succeeded,
    /// With the class of the exception.
    Failed(Name),
    Retried(Name),
    Rejected {
        requeue: bool,
    },
    Revoked(Revocation),
    Cancelled,
}

/// Why a task was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    Revoked,
    Expired,
    Terminated,
}

/// How an attempt ended that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    Retried,
}

/// Where a task in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// On its way to a worker.
    Sent,
    /// In a worker, waiting.
    Received,
    /// Running.
    Started,
}

/// Why a task in flight was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing was heard of it for `task_timeout`.
    Timeout,
    /// It was the oldest of more than `max_tasks`.
    Evicted,
}
