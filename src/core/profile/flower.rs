//! The metric families of Flower, as exposed at its `/metrics`.
//!
//! Source: its release 2.2.0 and the page of a running instance, compared with ours in
//! `tests/it/compat.rs`. Differences: prefetched tasks are counted as a set, and a task that has
//! ended shows no prefetch time, even if its second attempt had an ETA.

use std::sync::Arc;

use super::vector::{Part, Vector, part};
use super::{Context, ExporterBuckets, Keep, Limited, float};
use crate::event::EventKind;
use crate::series::{MetricKind, SeriesTable};
use crate::state::{
    Change, Outcome, Place, ReceivedEvent, State, Step, Symbol, TaskKey, TaskStage,
};

/// The prefix of the event types that it counts.
const TASK_GROUP: &str = "task-";

#[derive(Debug)]
pub struct Flower {
    events: Vector<3>,
    runtime: Vector<2>,
    prefetch_time: Vector<2>,
    prefetched: Vector<2>,
    online: Vector<1>,
    executing: Vector<1>,
}

impl Flower {
    pub(super) fn new(
        buckets: &ExporterBuckets,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let gauge = MetricKind::Gauge;
        let runtime = MetricKind::Histogram(buckets.runtime());
        let by_task = ["worker", "task"];
        Self {
            events: Vector::new(
                series,
                broker,
                (
                    "flower_events_total",
                    MetricKind::Counter,
                    "Number of events",
                ),
                ["worker", "type", "task"],
            ),
            runtime: Vector::new(
                series,
                broker,
                ("flower_task_runtime_seconds", runtime, "Task runtime"),
                by_task,
            ),
            prefetch_time: Vector::new(
                series,
                broker,
                (
                    "flower_task_prefetch_time_seconds",
                    gauge.clone(),
                    "The time the task spent waiting at the celery worker to be executed.",
                ),
                by_task,
            ),
            prefetched: Vector::new(
                series,
                broker,
                (
                    "flower_worker_prefetched_tasks",
                    gauge.clone(),
                    "Number of tasks of given type prefetched at a worker",
                ),
                by_task,
            ),
            online: Vector::new(
                series,
                broker,
                (
                    "flower_worker_online",
                    gauge.clone(),
                    "Worker online status",
                ),
                ["worker"],
            )
            .reset_at_restart(series),
            executing: Vector::new(
                series,
                broker,
                (
                    "flower_worker_number_of_currently_executing_tasks",
                    gauge,
                    "Number of tasks currently executing at a worker",
                ),
                ["worker"],
            )
            .reset_at_restart(series),
        }
    }

    pub(super) fn apply(&mut self, change: Change, context: &mut Context<'_>) {
        match change {
            Change::Event(seen) => self.count(seen, context),
            Change::Ran {
                outcome: Outcome::Succeeded,
                seconds,
                of,
            } => self.runtime.observe(key(of), seconds, context),
            Change::PrefetchWaited {
                seconds,
                of,
                eta: false,
            } => self.prefetch_time.set(key(of), seconds, context),
            Change::Task {
                step: Step::Succeeded | Step::Failed(_),
                of,
                ..
            } => self.prefetch_time.set_again(&key(of), 0.0, context),
            Change::Moved { from, to } => {
                for (place, n) in [(from, -1), (to, 1)] {
                    if let Some(Place {
                        stage: TaskStage::Received,
                        of,
                        eta: false,
                    }) = place
                    {
                        self.prefetched.enter(key(of), n, context);
                    }
                }
            }
            Change::Duplicate
            | Change::Clamped
            | Change::Refused(_)
            | Change::Missing(_)
            | Change::Task { .. }
            | Change::Ran { .. }
            | Change::QueueWaited { .. }
            | Change::PrefetchWaited { .. }
            | Change::TurnedAround { .. }
            | Change::Finished { .. }
            | Change::Lost { .. }
            | Change::Unreported { .. }
            | Change::Workflow { .. } => {}
        }
    }

    /// Sets the restored numbers of prefetched tasks to 0; the tasks are added again afterwards.
    pub(super) fn after_restore(&self, context: &mut Context<'_>) {
        self.prefetched.zero_restored(context.series, |_| true);
    }

    pub(super) fn level(&mut self, state: &State, context: &mut Context<'_>) {
        self.online.begin();
        self.executing.begin();
        for worker in state.workers() {
            let online = f64::from(u8::from(worker.online));
            self.online.set([Part::Name(worker.name)], online, context);
            if let Some(active) = worker.active {
                self.executing
                    .set([Part::Name(worker.name)], float(active), context);
            }
        }
        self.online.end_others(context.series);
        self.executing.end_others(context.series);
    }

    pub(super) fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        self.events.expire(keep, series);
        self.runtime.expire(keep, series);
        self.prefetch_time.expire(keep, series);
        self.prefetched.expire(keep, series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let prefetch = self.prefetch_time.names().chain(self.prefetched.names());
        let workers = self.online.names().chain(self.executing.names());
        self.events
            .names()
            .chain(self.runtime.names())
            .chain(prefetch)
            .chain(workers)
    }

    pub(super) fn limited(&self) -> Limited {
        Limited {
            series: self.events.limited()
                + self.runtime.limited()
                + self.prefetch_time.limited()
                + self.prefetched.limited()
                + self.online.limited()
                + self.executing.limited(),
            exceptions: 0,
            queues: 0,
        }
    }

    fn count(&mut self, seen: ReceivedEvent, context: &mut Context<'_>) {
        let kind = match (seen.kind, seen.other) {
            (EventKind::Task(_), _) => Part::Word(seen.kind.name()),
            (EventKind::Other, Some(other))
                if context.names.text(other).starts_with(TASK_GROUP) =>
            {
                Part::Name(other)
            }
            (EventKind::Worker(_) | EventKind::Other, _) => return,
        };
        let key = [part(seen.sender, ""), kind, part(seen.task, "")];
        self.events.add(key, 1.0, context);
    }
}

fn key(of: TaskKey) -> [Part; 2] {
    [part(of.worker, ""), part(of.name, "")]
}
