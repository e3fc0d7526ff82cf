//! Tracks one Celery cluster, as seen through one broker, and reports what changes.
//!
//! Takes an [`Event`](crate::event::Event), or a [`Report`] with the answers of the broker and its
//! workers, and the time of receipt. Returns [`Change`]s, small values that a profile turns into
//! samples. Levels that are not sums of changes (workers, queues, the oldest waiting tasks) are
//! read from the state.
//!
//! This module handles reordered, duplicate and missing events: see `task.rs` for the life of a
//! task, `worker.rs` for that of a worker, `workflows.rs` for tasks that belong together,
//! `processed.rs` for missing events, and `shard.rs` for sharing a cluster among several daemons.

mod binding;
mod generated;
mod names;
mod report;
mod texts;

mod chunks;
mod task;
mod tasks;

mod processed;
mod stalled;
mod watched;
mod worker;
mod workers;

mod beats;
mod hint;
mod periodic;
mod queues;
mod registered;
mod rounds;
mod runtimes;

mod held;
mod route;

mod workflows;

mod shard;

mod cluster;

pub use beats::Beat;
pub use binding::{Binding, ExchangeKind, queue_delivered, topic_matches};
pub use cluster::{
    Allowed, CapturedCluster, ClusterOverview, Limits, LongRunning, Stalled, State, WorkerOverview,
    WorkerTimeout,
};
pub use generated::is_uuid;
pub use hint::{Hint, HintReason};
pub use names::{Names, OTHER, Symbol};
pub use periodic::{Crontab, CrontabError, PeriodicTask, Schedule};
pub use queues::Queue;
pub use report::{
    Answers, BeatAnswer, PollTargets, QueueLevel, RegisteredTask, Report, TaskAnswer, WorkerAnswer,
};
pub use shard::Shard;
pub use worker::{Software, Worker};

use crate::event::{EventKind, Refusal};
use crate::timestamp::Timestamp;

/// How many events are best applied together: enough for accesses to memory to overlap, and few
/// enough to stay in the processor's cache.
pub const EVENTS_TOGETHER: usize = 16;

/// One change caused by an event or by the passage of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// An event was received.
    Event(ReceivedEvent),
    /// An event was received again. It changes nothing else.
    Duplicate,
    /// An interval between two hosts' clocks was negative and was counted as zero.
    Clamped,
    /// A number in an event was implausible and was ignored.
    Refused(Refusal),
    /// Tasks that a worker reported as started and whose events never arrived.
    Missing(u64),
    /// A task took a step.
    Task {
        step: Step,
        of: TaskKey,
        /// By the sender's clock.
        at: Timestamp,
        /// The sender of the event: a worker or, for task-sent, a client if clients are kept.
        sender: Option<Symbol>,
    },
    /// An attempt ended after running for this many seconds.
    Ran {
        outcome: Outcome,
        seconds: f64,
        of: TaskKey,
    },
    /// An attempt started after its task had been in its queue, and due, for this many seconds.
    QueueWaited { seconds: f64, of: TaskKey },
    /// An attempt started this many seconds after its worker received it.
    PrefetchWaited {
        seconds: f64,
        of: TaskKey,
        eta: bool,
    },
    /// A task finished this many seconds after it was first due.
    TurnedAround {
        outcome: Outcome,
        seconds: f64,
        of: TaskKey,
    },
    /// A task finished after this many attempts.
    Finished {
        outcome: Outcome,
        attempts: u16,
        /// It failed, and may not be retried again.
        exhausted: bool,
        of: TaskKey,
    },
    /// A task in flight changed its place, or is no longer in flight.
    Moved {
        from: Option<Place>,
        to: Option<Place>,
    },
    /// A task in flight is presumed lost.
    Lost { reason: Loss, of: TaskKey },
    /// A task is no longer in flight: broker and workers no longer have it, and no event reported
    /// its end.
    Unreported { reason: Unreported, of: TaskKey },
    /// A workflow ended this many seconds after its first task was sent; 0 if that is implausible.
    Workflow {
        outcome: WorkflowOutcome,
        /// The name of its root task; absent if no event reported it.
        root: Option<Symbol>,
        seconds: f64,
    },
}

/// The open workflows of one root task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkflowLevel {
    /// Number of workflows that have not ended.
    pub open: u64,
    /// When the oldest of them began.
    pub oldest: Option<Timestamp>,
    /// Time of the latest event of the one that has been without an event for longest.
    pub idle: Option<Timestamp>,
    /// Number of chords whose `celery.chord_unlock` polls for the end of their header.
    pub chords: u64,
    /// Since when the oldest of them waits.
    pub oldest_chord: Option<Timestamp>,
}

/// How a workflow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkflowOutcome {
    Completed,
    /// A task of it failed, was revoked, rejected or cancelled, expired, or was lost with its
    /// worker.
    Failed,
    /// A task of it was given up, because no event of it arrived for `task_timeout`.
    Abandoned,
}

/// The properties that all events have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedEvent {
    pub kind: EventKind,
    /// The type of an event that Celery does not define, if such types are kept.
    pub other: Option<Symbol>,
    /// The worker, or the client if clients are kept.
    pub sender: Option<Symbol>,
    /// The name of the task that the event is about.
    pub task: Option<Symbol>,
}

/// The labels that a task is counted under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TaskKey {
    /// Absent if no event reported it.
    pub name: Option<Symbol>,
    /// Absent if it cannot be determined.
    pub queue: Option<Symbol>,
    /// Absent until a worker has the task.
    pub worker: Option<Symbol>,
}

/// The place of a task in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub stage: TaskStage,
    pub of: TaskKey,
    /// The task has an ETA.
    pub eta: bool,
}

/// A step in the life of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Sent,
    Received,
    Started,
    Succeeded,
    /// With the class of the exception, if known.
    Failed(Option<Symbol>),
    Retried(Option<Symbol>),
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

/// How an attempt that ran ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    Retried,
}

/// The progress of a task in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskStage {
    /// Sent, and not yet received by a worker.
    Sent,
    /// On its way to a worker again, after an attempt that requested a retry.
    Retry,
    /// Received by a worker and waiting.
    Received,
    /// Running.
    Started,
}

/// Why a task in flight is presumed lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It was running in a worker that restarted or is gone.
    Worker,
    /// No event of it arrived for `task_timeout`.
    Timeout,
    /// It was the least recently updated of more than `max_tasks`.
    Evicted,
}

/// Why a task whose end was not reported is no longer in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreported {
    /// The worker that had it no longer lists it.
    Ended,
    /// It is due, its queue is empty, and no worker of the queue lists it.
    Gone,
}

impl TaskStage {
    /// Whether no worker is known to have the task.
    pub const fn is_on_the_way(self) -> bool {
        matches!(self, Self::Sent | Self::Retry)
    }
}

impl WorkflowOutcome {
    /// The value of the label `outcome`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
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
