//! Events to what changed: what is known of one Celery cluster, as seen through one broker.
//!
//! In: an [`Event`](crate::event::Event), or a [`Report`] of what broker and workers answered, and the time of its
//! receipt. Out: [`Change`]s, small values that a profile turns into samples. The levels that are no sum of changes
//! (workers, queues, what has waited longest) are read off the state.
//!
//! The knowledge of orders, duplicates and gaps is here: see `task.rs` for the life of one task, `worker.rs` for
//! that of a worker, `processed.rs` for what is missing, `shard.rs` for what several daemons share.

mod binding;
mod generated;
mod names;
mod report;
mod texts;

mod chunks;
mod task;
mod tasks;

mod processed;
mod watched;
mod worker;
mod workers;

mod hint;
mod queues;

mod held;
mod route;

mod shard;

mod cluster;

pub use binding::{Binding, ExchangeKind, queue_delivered, topic_matches};
pub use cluster::{Captured, Limits, State, WorkerTimeout};
pub use generated::is_uuid;
pub use hint::{Hint, HintReason};
pub use names::{Name, Names, OTHER};
pub use queues::Queue;
pub use report::{Answers, Known, QueueLevel, Report, TaskAnswer, WorkerAnswer};
pub use shard::Shard;
pub use worker::{Software, Worker};

use crate::event::{Kind, Refusal};
use crate::timestamp::Timestamp;

/// One thing that an event changed, or time did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// An event came.
    Event(Seen),
    /// An event came that had come before; it changes nothing else.
    Duplicate,
    /// An interval between two hosts' clocks was negative and counts as none.
    Clamped,
    /// A number in an event cannot be right, and was left out.
    Refused(Refusal),
    /// Tasks that a worker says it started and whose events never came.
    Missing(u64),
    /// A task took a step.
    Task {
        step: Step,
        of: Of,
        /// By the sender's clock.
        at: Timestamp,
        /// Who sent the event: a worker, or for task-sent a client where those are kept.
        sender: Option<Name>,
    },
    /// A task ended an attempt that ran for so many seconds.
    Ran {
        outcome: Outcome,
        seconds: f64,
        of: Of,
    },
    /// An attempt began that had been in its queue, and was due, for so many seconds.
    QueueWaited { seconds: f64, of: Of },
    /// An attempt began that its worker had received so many seconds before.
    PrefetchWaited { seconds: f64, of: Of, eta: bool },
    /// A task finished, so many seconds after it was due first.
    TurnedAround {
        outcome: Outcome,
        seconds: f64,
        of: Of,
    },
    /// A task finished with its so-many-th attempt.
    Finished {
        outcome: Outcome,
        attempts: u16,
        of: Of,
    },
    /// A task is in flight in another place, or no longer.
    Moved {
        from: Option<Place>,
        to: Option<Place>,
    },
    /// A task in flight will not be heard of again.
    Lost { reason: Loss, of: Of },
    /// A task left flight because broker and workers no longer have it, and no event reported how it ended.
    Unreported { reason: Unreported, of: Of },
}

/// An event, as far as it is the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: Kind,
    /// The type of an event that Celery does not define, where such are kept.
    pub other: Option<Name>,
    /// The worker, or the client where those are kept.
    pub sender: Option<Name>,
    /// The name of the task that the event is about.
    pub task: Option<Name>,
}

/// What a task is counted under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Of {
    /// Absent where no event told it.
    pub name: Option<Name>,
    /// Absent where it cannot be known.
    pub queue: Option<Name>,
    /// Absent before a worker had it.
    pub worker: Option<Name>,
}

/// Where a task in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub stage: Stage,
    pub of: Of,
    /// It is not to be run before a time that was set.
    pub eta: bool,
}

/// A step in the life of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Sent,
    Received,
    Started,
    Succeeded,
    /// With the class of the exception, where one can be read.
    Failed(Option<Name>),
    Retried(Option<Name>),
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

/// How far a task in flight has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// On its way to a worker.
    Sent,
    /// On its way to a worker once more, after an attempt that asked for it.
    Retry,
    /// In a worker, waiting.
    Received,
    /// Running.
    Started,
}

/// Why a task in flight was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It ran in a worker that restarted, or is gone.
    Worker,
    /// Nothing was heard of it for `task_timeout`.
    Timeout,
    /// It was the oldest of more than `max_tasks`.
    Evicted,
}

/// Why a task whose end no event reported is no longer in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreported {
    /// The worker that had it no longer lists it.
    Ended,
    /// It is due, its queue is empty, and no worker of the queue lists it.
    Gone,
}

impl Stage {
    /// Whether no worker has it, as far as is known.
    pub const fn is_on_the_way(self) -> bool {
        matches!(self, Self::Sent | Self::Retry)
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
