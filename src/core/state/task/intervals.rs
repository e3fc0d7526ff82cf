//! How long a task waited and ran, according to its events.

use super::{Flags, Task, UNKNOWN, outcome_of};
use crate::event::{TaskEvent, judge};
use crate::state::{Outcome, TaskStage};
use crate::timestamp::Timestamp;

/// Intervals in seconds that an event completed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::state) struct Intervals {
    /// Runtime of the attempt that the event ends.
    pub(in crate::state) ran: Option<(Outcome, f64)>,
    pub(in crate::state) queue_wait: Option<f64>,
    pub(in crate::state) prefetch_wait: Option<f64>,
    pub(in crate::state) turnaround: Option<(Outcome, f64)>,
    /// Number of attempts of the task that the event finishes.
    pub(in crate::state) attempts: Option<(Outcome, u16)>,
    /// The task failed, and may not be retried again.
    pub(in crate::state) exhausted: bool,
    /// How many of these were negative, because two clocks are never exactly equal.
    pub(in crate::state) clamped: u8,
    /// How many were implausible and left out.
    pub(in crate::state) refused: u8,
}

impl Intervals {
    /// Returns the runtime of the attempt that an event ends: as measured by the worker, or else
    /// from its start.
    pub(super) fn of_end(event: &TaskEvent<'_>, at: Timestamp, started: Option<Timestamp>) -> Self {
        let mut intervals = Self::default();
        let Some(outcome) = outcome_of(event.kind) else {
            return intervals;
        };
        let started = started.filter(|started| *started != UNKNOWN);
        let since_start = started.map(|started| at.seconds_since(started));
        // If the worker's clock was set back in between, it says nothing about the runtime.
        let longest = since_start.filter(|seconds| *seconds >= 0.0);
        let measured = event
            .runtime
            .filter(|seconds| judge::is_runtime(*seconds, longest));
        let since_start = since_start.map(|seconds| seconds.max(0.0));
        let ran = measured.or(since_start.filter(|seconds| judge::is_duration(*seconds)));
        let is_refused = (event.runtime.is_some() && measured.is_none())
            || (since_start.is_some() && ran.is_none());
        intervals.refused = is_refused.into();
        intervals.ran = ran.map(|seconds| (outcome, seconds));
        intervals
    }

    /// Seconds between times on two hosts' clocks, which may disagree on the order. `None` if the
    /// interval is implausible.
    pub(super) fn between(&mut self, from: Timestamp, to: Timestamp) -> Option<f64> {
        let seconds = to.seconds_since(from);
        self.clamped += u8::from(seconds < 0.0);
        let seconds = Some(seconds.max(0.0)).filter(|seconds| judge::is_duration(*seconds));
        self.refused += u8::from(seconds.is_none());
        seconds
    }
}

impl Task {
    pub(super) fn tell_queue_wait(&mut self, intervals: &mut Intervals) {
        let begun = self.started != UNKNOWN
            && (self.stage == Some(TaskStage::Started) || self.stage.is_none());
        if begun
            && self.due != UNKNOWN
            && !self.is_due_by_eta_only()
            && !self.flags.has(Flags::QUEUE_WAITED)
        {
            self.flags.set(Flags::QUEUE_WAITED, true);
            // After a redelivery, the wait did not start then.
            let due = std::mem::take(&mut self.due);
            intervals.queue_wait = intervals.between(due, self.started);
        }
    }

    pub(super) fn tell_prefetch_wait(&mut self, intervals: &mut Intervals) {
        if self.received != UNKNOWN
            && self.started != UNKNOWN
            && !self.flags.has(Flags::PREFETCH_WAITED)
        {
            self.flags.set(Flags::PREFETCH_WAITED, true);
            intervals.prefetch_wait = intervals.between(self.received, self.started);
        }
    }

    pub(super) fn tell_turnaround(&mut self, intervals: &mut Intervals) {
        if let Some(outcome) = self.outcome()
            && self.first_due != UNKNOWN
            && !self.flags.has(Flags::TURNED_AROUND)
        {
            self.flags.set(Flags::TURNED_AROUND, true);
            let seconds = intervals.between(self.first_due, self.ended);
            intervals.turnaround = seconds.map(|seconds| (outcome, seconds));
        }
    }
}
