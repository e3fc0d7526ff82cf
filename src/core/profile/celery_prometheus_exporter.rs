//! The metric families of zerok/celery-prometheus-exporter, as exposed on its page.
//!
//! Source: its release 1.7.0 and the page of a running instance, compared with ours in
//! `tests/it/compat.rs`. Differences: a rejected task leaves the state STARTED, only online workers
//! count, and the length of every known queue is shown.

use std::sync::Arc;

use super::vector::{Part, Vector, part};
use super::{Context, ExporterBuckets, Keep, Limited, float};
use crate::series::{LabelSet, MetricKind, SeriesTable};
use crate::state::{Change, Outcome, State, Step, Symbol, TaskKey, TaskStage};

/// Celery's states, all of which exist from the start.
const STATES: [&str; 7] = [
    "PENDING", "RECEIVED", "STARTED", "SUCCESS", "FAILURE", "RETRY", "REVOKED",
];

/// The states that tasks are currently in; the others are counts.
const SETS: [&str; 4] = ["PENDING", "RECEIVED", "STARTED", "RETRY"];

/// What the exporter's client shows for a missing name.
const NAME: &str = "None";

#[derive(Debug)]
pub struct CeleryPrometheusExporter {
    tasks: Vector<1>,
    by_name: Vector<2>,
    runtime: Vector<1>,
    latency: Vector<0>,
    workers: Vector<0>,
    queue_length: Vector<1>,
}

impl CeleryPrometheusExporter {
    pub(super) fn new(
        buckets: &ExporterBuckets,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let gauge = MetricKind::Gauge;
        Self {
            tasks: Vector::new(
                series,
                broker,
                ("celery_tasks", gauge.clone(), "Number of tasks per state"),
                ["state"],
            ),
            by_name: Vector::new(
                series,
                broker,
                (
                    "celery_tasks_by_name",
                    gauge.clone(),
                    "Number of tasks per state and name",
                ),
                ["state", "name"],
            ),
            runtime: Vector::new(
                series,
                broker,
                (
                    "celery_tasks_runtime_seconds",
                    MetricKind::Histogram(buckets.runtime()),
                    "Task runtime (seconds)",
                ),
                ["name"],
            ),
            latency: Vector::new(
                series,
                broker,
                (
                    "celery_task_latency",
                    MetricKind::Histogram(buckets.wait()),
                    "Seconds between a task is received and started.",
                ),
                [],
            ),
            workers: Vector::new(
                series,
                broker,
                ("celery_workers", gauge.clone(), "Number of alive workers"),
                [],
            )
            .reset_at_restart(series),
            queue_length: Vector::new(
                series,
                broker,
                (
                    "celery_queue_length",
                    gauge,
                    "Number of tasks in the queue.",
                ),
                ["queue_name"],
            )
            .reset_at_restart(series),
        }
    }

    pub(super) fn apply(&mut self, change: Change, context: &mut Context<'_>) {
        match change {
            Change::Task { step, of, .. } => {
                let state = match step {
                    Step::Succeeded => "SUCCESS",
                    Step::Failed(_) => "FAILURE",
                    Step::Revoked(_) => "REVOKED",
                    Step::Sent
                    | Step::Received
                    | Step::Started
                    | Step::Retried(_)
                    | Step::Rejected { .. }
                    | Step::Cancelled => return,
                };
                self.tasks.add([Part::Word(state)], 1.0, context);
                if of.name.is_some() {
                    let key = [Part::Word(state), part(of.name, NAME)];
                    self.by_name.add(key, 1.0, context);
                }
            }
            Change::Ran {
                outcome: Outcome::Succeeded,
                seconds,
                of,
            } => self
                .runtime
                .observe([part(of.name, NAME)], seconds, context),
            Change::PrefetchWaited { seconds, .. } => self.latency.observe([], seconds, context),
            Change::Moved { from, to } => {
                if let Some(from) = from {
                    self.enter(from.stage, from.of, -1, context);
                }
                if let Some(to) = to {
                    self.enter(to.stage, to.of, 1, context);
                }
            }
            Change::Event(_)
            | Change::Duplicate
            | Change::Clamped
            | Change::Refused(_)
            | Change::Missing(_)
            | Change::Ran { .. }
            | Change::QueueWaited { .. }
            | Change::TurnedAround { .. }
            | Change::Finished { .. }
            | Change::Lost { .. }
            | Change::Unreported { .. }
            | Change::Workflow { .. } => {}
        }
    }

    /// Sets the restored numbers of tasks in flight to 0; the tasks are added again afterwards.
    pub(super) fn after_restore(&self, context: &mut Context<'_>) {
        let is_set = |labels: &LabelSet| {
            let mut states = labels.iter().filter(|(name, _)| *name == "state");
            states.any(|(_, state)| SETS.contains(&state))
        };
        self.tasks.zero_restored(context.series, is_set);
        self.by_name.zero_restored(context.series, is_set);
    }

    pub(super) fn level(&mut self, state: &State, context: &mut Context<'_>) {
        for state in STATES {
            if SETS.contains(&state) {
                self.tasks.enter([Part::Word(state)], 0, context);
            } else {
                self.tasks.touch([Part::Word(state)], context);
            }
        }
        self.latency.touch([], context);
        let online = state.workers().filter(|worker| worker.online).count();
        self.workers.set([], float(online as u64), context);
        self.queue_length.begin();
        for (name, queue) in state.queues() {
            if let Some(length) = queue.length {
                self.queue_length
                    .set([Part::Name(name)], float(length), context);
            }
        }
        self.queue_length.end_others(context.series);
    }

    pub(super) fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        self.by_name.expire(keep, series);
        self.runtime.expire(keep, series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let queues = self.queue_length.names();
        self.by_name
            .names()
            .chain(self.runtime.names())
            .chain(queues)
    }

    pub(super) fn limited(&self) -> Limited {
        Limited {
            series: self.by_name.limited() + self.runtime.limited() + self.queue_length.limited(),
            exceptions: 0,
            queues: 0,
        }
    }

    fn enter(&mut self, stage: TaskStage, of: TaskKey, n: i64, context: &mut Context<'_>) {
        let state = match stage {
            TaskStage::Sent => "PENDING",
            TaskStage::Retry => "RETRY",
            TaskStage::Received => "RECEIVED",
            TaskStage::Started => "STARTED",
        };
        self.tasks.enter([Part::Word(state)], n, context);
        if of.name.is_some() {
            let key = [Part::Word(state), part(of.name, NAME)];
            self.by_name.enter(key, n, context);
        }
    }
}
