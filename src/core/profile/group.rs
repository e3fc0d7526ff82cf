//! The series of one (name, queue, worker), which are created, kept and ended together.

use crate::series::SeriesId;
use crate::state::{Loss, Outcome, Revocation, Step, Symbol, TaskStage, Unreported};
use crate::timestamp::Timestamp;

/// The key of a group. Each part is set if it is used as a label and known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) name: Option<Symbol>,
    pub(super) queue: Option<Symbol>,
    pub(super) worker: Option<Symbol>,
    /// Represents all queues beyond `max_queues`; `queue` is `None`.
    pub(super) other_queues: bool,
}

impl Key {
    /// The key used for a queue that has no place of its own.
    pub(super) const fn without_place(self) -> Self {
        Self {
            queue: None,
            other_queues: true,
            ..self
        }
    }
}

/// A counter of a group, except for those by exception class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    Sent,
    Received,
    Started,
    Succeeded,
    Requeued,
    Rejected,
    Revoked,
    Expired,
    Terminated,
    Cancelled,
    WorkerLost,
    TimedOut,
    Evicted,
    UnreportedEnded,
    UnreportedGone,
    RetriesExhausted,
}

/// The counter families of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CounterFamily {
    Sent,
    Received,
    Started,
    Succeeded,
    Failed,
    Retried,
    Rejected,
    Revoked,
    Cancelled,
    Lost,
    Unreported,
    RetriesExhausted,
}

impl CounterFamily {
    /// In the order of their discriminants.
    pub(super) const ALL: [Self; 12] = [
        Self::Sent,
        Self::Received,
        Self::Started,
        Self::Succeeded,
        Self::Failed,
        Self::Retried,
        Self::Rejected,
        Self::Revoked,
        Self::Cancelled,
        Self::Lost,
        Self::Unreported,
        Self::RetriesExhausted,
    ];
}

impl Counter {
    pub(super) const COUNT: usize = 16;

    /// The family, and the label that distinguishes this counter from others in the family.
    pub(super) const fn shown(self) -> (CounterFamily, Option<(&'static str, &'static str)>) {
        match self {
            Self::Sent => (CounterFamily::Sent, None),
            Self::Received => (CounterFamily::Received, None),
            Self::Started => (CounterFamily::Started, None),
            Self::Succeeded => (CounterFamily::Succeeded, None),
            Self::Requeued => (CounterFamily::Rejected, Some(("requeue", "true"))),
            Self::Rejected => (CounterFamily::Rejected, Some(("requeue", "false"))),
            Self::Revoked => (CounterFamily::Revoked, Some(("reason", "revoked"))),
            Self::Expired => (CounterFamily::Revoked, Some(("reason", "expired"))),
            Self::Terminated => (CounterFamily::Revoked, Some(("reason", "terminated"))),
            Self::Cancelled => (CounterFamily::Cancelled, None),
            Self::WorkerLost => (CounterFamily::Lost, Some(("reason", "worker_lost"))),
            Self::TimedOut => (CounterFamily::Lost, Some(("reason", "timeout"))),
            Self::Evicted => (CounterFamily::Lost, Some(("reason", "evicted"))),
            Self::UnreportedEnded => (CounterFamily::Unreported, Some(("reason", "ended"))),
            Self::UnreportedGone => (CounterFamily::Unreported, Some(("reason", "gone"))),
            Self::RetriesExhausted => (CounterFamily::RetriesExhausted, None),
        }
    }

    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Sent,
        Self::Received,
        Self::Started,
        Self::Succeeded,
        Self::Requeued,
        Self::Rejected,
        Self::Revoked,
        Self::Expired,
        Self::Terminated,
        Self::Cancelled,
        Self::WorkerLost,
        Self::TimedOut,
        Self::Evicted,
        Self::UnreportedEnded,
        Self::UnreportedGone,
        Self::RetriesExhausted,
    ];

    /// The counters of worker events. They start at 0 with the group's first event.
    pub(super) const OF_WORKERS: [Self; 8] = [
        Self::Received,
        Self::Started,
        Self::Succeeded,
        Self::Requeued,
        Self::Rejected,
        Self::Revoked,
        Self::Expired,
        Self::Terminated,
    ];
}

impl From<Loss> for Counter {
    fn from(reason: Loss) -> Self {
        match reason {
            Loss::Worker => Self::WorkerLost,
            Loss::Timeout => Self::TimedOut,
            Loss::Evicted => Self::Evicted,
        }
    }
}

impl From<Unreported> for Counter {
    fn from(reason: Unreported) -> Self {
        match reason {
            Unreported::Ended => Self::UnreportedEnded,
            Unreported::Gone => Self::UnreportedGone,
        }
    }
}

/// Where a step is counted: in a counter of the group or in one of an exception class.
pub(super) enum Target {
    Plain(Counter),
    Failed(Option<Symbol>),
    Retried(Option<Symbol>),
}

impl From<Step> for Target {
    fn from(step: Step) -> Self {
        Self::Plain(match step {
            Step::Failed(class) => return Self::Failed(class),
            Step::Retried(class) => return Self::Retried(class),
            Step::Sent => Counter::Sent,
            Step::Received => Counter::Received,
            Step::Started => Counter::Started,
            Step::Succeeded => Counter::Succeeded,
            Step::Rejected { requeue: true } => Counter::Requeued,
            Step::Rejected { requeue: false } => Counter::Rejected,
            Step::Revoked(Revocation::Revoked) => Counter::Revoked,
            Step::Revoked(Revocation::Expired) => Counter::Expired,
            Step::Revoked(Revocation::Terminated) => Counter::Terminated,
            Step::Cancelled => Counter::Cancelled,
        })
    }
}

/// A histogram of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distribution {
    Succeeded,
    Failed,
    Retried,
    QueueWait,
    PrefetchWait,
    TurnaroundSucceeded,
    TurnaroundFailed,
    AttemptsSucceeded,
    AttemptsFailed,
}

/// The histogram families of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HistogramFamily {
    Runtime,
    QueueWait,
    PrefetchWait,
    Turnaround,
    Attempts,
}

impl HistogramFamily {
    /// In the order of their discriminants.
    pub(super) const ALL: [Self; 5] = [
        Self::Runtime,
        Self::QueueWait,
        Self::PrefetchWait,
        Self::Turnaround,
        Self::Attempts,
    ];
}

impl Distribution {
    pub(super) const COUNT: usize = 9;

    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Succeeded,
        Self::Failed,
        Self::Retried,
        Self::QueueWait,
        Self::PrefetchWait,
        Self::TurnaroundSucceeded,
        Self::TurnaroundFailed,
        Self::AttemptsSucceeded,
        Self::AttemptsFailed,
    ];

    pub(super) const fn runtime(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Retried => Self::Retried,
        }
    }

    /// The histogram for a task that has finished. A task to be retried has not.
    pub(super) const fn turnaround(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::TurnaroundSucceeded,
            Outcome::Failed | Outcome::Retried => Self::TurnaroundFailed,
        }
    }

    pub(super) const fn attempts(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::AttemptsSucceeded,
            Outcome::Failed | Outcome::Retried => Self::AttemptsFailed,
        }
    }

    /// The family, and the label that distinguishes this histogram from others in the family.
    pub(super) const fn shown(self) -> (HistogramFamily, Option<(&'static str, &'static str)>) {
        const SUCCEEDED: Option<(&str, &str)> = Some(("outcome", "succeeded"));
        const FAILED: Option<(&str, &str)> = Some(("outcome", "failed"));
        match self {
            Self::Succeeded => (HistogramFamily::Runtime, SUCCEEDED),
            Self::Failed => (HistogramFamily::Runtime, FAILED),
            Self::Retried => (HistogramFamily::Runtime, Some(("outcome", "retried"))),
            Self::QueueWait => (HistogramFamily::QueueWait, None),
            Self::PrefetchWait => (HistogramFamily::PrefetchWait, None),
            Self::TurnaroundSucceeded => (HistogramFamily::Turnaround, SUCCEEDED),
            Self::TurnaroundFailed => (HistogramFamily::Turnaround, FAILED),
            Self::AttemptsSucceeded => (HistogramFamily::Attempts, SUCCEEDED),
            Self::AttemptsFailed => (HistogramFamily::Attempts, FAILED),
        }
    }
}

/// The exposed state of a task in flight. A task waiting for its next attempt counts as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum InFlightStage {
    Sent,
    Received,
    Started,
}

impl InFlightStage {
    pub(super) const ALL: [Self; 3] = [Self::Sent, Self::Received, Self::Started];

    /// The value of the label `state`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Started => "started",
        }
    }
}

impl From<TaskStage> for InFlightStage {
    fn from(stage: TaskStage) -> Self {
        match stage {
            TaskStage::Sent | TaskStage::Retry => Self::Sent,
            TaskStage::Received => Self::Received,
            TaskStage::Started => Self::Started,
        }
    }
}

/// An exception class as exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Named(Symbol),
    /// The class could not be parsed.
    Unknown,
    /// Any class beyond `max_exceptions`.
    Other,
}

/// A series of an exception class.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassSeries {
    pub(super) class: Class,
    pub(super) id: SeriesId,
    pub(super) changed: Timestamp,
}

/// The series of one key.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: Key,
    pub(super) counters: [Option<SeriesId>; Counter::COUNT],
    pub(super) failed: Vec<ClassSeries>,
    pub(super) retried: Vec<ClassSeries>,
    pub(super) in_flight: [Option<SeriesId>; InFlightStage::ALL.len()],
    /// How many tasks are in flight under this key. The group stays while there are any.
    pub(super) flying: usize,
    pub(super) histograms: [Option<SeriesId>; Distribution::COUNT],
    pub(super) changed: Timestamp,
}

impl Group {
    pub(super) const fn new(key: Key, now: Timestamp) -> Self {
        Self {
            key,
            counters: [None; Counter::COUNT],
            failed: Vec::new(),
            retried: Vec::new(),
            in_flight: [None; InFlightStage::ALL.len()],
            flying: 0,
            histograms: [None; Distribution::COUNT],
            changed: now,
        }
    }

    /// Every series of the group.
    pub(super) fn series(&self) -> impl Iterator<Item = SeriesId> {
        let classes = self
            .failed
            .iter()
            .chain(&self.retried)
            .map(|class| class.id);
        self.shared_series().chain(classes)
    }

    /// Series that end with the group. Those of exception classes end separately.
    pub(super) fn shared_series(&self) -> impl Iterator<Item = SeriesId> {
        let series = self
            .counters
            .iter()
            .chain(&self.in_flight)
            .chain(&self.histograms);
        series.copied().flatten()
    }

    /// The names that the group refers to.
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let classes = self
            .failed
            .iter()
            .chain(&self.retried)
            .filter_map(|series| match series.class {
                Class::Named(class) => Some(class),
                Class::Unknown | Class::Other => None,
            });
        [self.key.name, self.key.queue, self.key.worker]
            .into_iter()
            .flatten()
            .chain(classes)
    }
}
