//! The metric families of OvalMoney/celery-exporter, as exposed on its page.
//!
//! Source: its release 1.5.1 and the page of a running instance, compared with ours in
//! `tests/it/compat.rs`. Differences: the queue is the task's own instead of the last one used for
//! its name, and latency is measured from received to started, as its help text says, instead of
//! from the first event.

use std::sync::Arc;

use super::vector::{Part, Vector, part};
use super::{Context, ExporterBuckets, Keep, Limited, float};
use crate::series::{MetricKind, SeriesTable};
use crate::state::{Change, Outcome, State, Step, Symbol, TaskKey};

/// What the exporter shows for unknown values.
const UNDEFINED: &str = "undefined";

/// The default of the exporter's option `--namespace`.
const NAMESPACE: Part = Part::Word("celery");

#[derive(Debug)]
pub struct Ovalmoney {
    tasks: Vector<4>,
    runtime: Vector<3>,
    latency: Vector<3>,
    workers: Vector<1>,
}

impl Ovalmoney {
    pub(super) fn new(
        buckets: &ExporterBuckets,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let labels = ["namespace", "name", "queue"];
        let runtime = (
            "celery_tasks_runtime_seconds",
            MetricKind::Histogram(buckets.runtime()),
            "Task runtime.",
        );
        let latency = (
            "celery_tasks_latency_seconds",
            MetricKind::Histogram(buckets.wait()),
            "Time between a task is received and started.",
        );
        let tasks = (
            "celery_tasks_total",
            MetricKind::Counter,
            "Number of task events.",
        );
        let workers = (
            "celery_workers",
            MetricKind::Gauge,
            "Number of alive workers",
        );
        Self {
            tasks: Vector::new(
                series,
                broker,
                tasks,
                ["namespace", "name", "state", "queue"],
            ),
            runtime: Vector::new(series, broker, runtime, labels),
            latency: Vector::new(series, broker, latency, labels),
            workers: Vector::new(series, broker, workers, ["namespace"]).reset_at_restart(series),
        }
    }

    pub(super) fn apply(&mut self, change: Change, context: &mut Context<'_>) {
        match change {
            Change::Task { step, of, .. } => {
                let state = match step {
                    Step::Sent => "PENDING",
                    Step::Received => "RECEIVED",
                    Step::Started => "STARTED",
                    Step::Succeeded => "SUCCESS",
                    Step::Failed(_) => "FAILURE",
                    Step::Retried(_) => "RETRY",
                    Step::Rejected { .. } => "REJECTED",
                    Step::Revoked(_) => "REVOKED",
                    Step::Cancelled => "UNDEFINED",
                };
                let [namespace, name, queue] = key(of);
                let key = [namespace, name, Part::Word(state), queue];
                self.tasks.add(key, 1.0, context);
            }
            Change::Ran {
                outcome: Outcome::Succeeded,
                seconds,
                of,
            } => self.runtime.observe(key(of), seconds, context),
            Change::PrefetchWaited { seconds, of, .. } => {
                self.latency.observe(key(of), seconds, context);
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
            | Change::Moved { .. }
            | Change::Lost { .. }
            | Change::Unreported { .. }
            | Change::Workflow { .. } => {}
        }
    }

    pub(super) fn level(&mut self, state: &State, context: &mut Context<'_>) {
        let online = state.workers().filter(|worker| worker.online).count();
        self.workers.set([NAMESPACE], float(online as u64), context);
    }

    pub(super) fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        self.tasks.expire(keep, series);
        self.runtime.expire(keep, series);
        self.latency.expire(keep, series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let histograms = self.runtime.names().chain(self.latency.names());
        self.tasks.names().chain(histograms)
    }

    pub(super) const fn limited(&self) -> Limited {
        Limited {
            series: self.tasks.limited() + self.runtime.limited() + self.latency.limited(),
            exceptions: 0,
            queues: 0,
        }
    }
}

fn key(of: TaskKey) -> [Part; 3] {
    [
        NAMESPACE,
        part(of.name, UNDEFINED),
        part(of.queue, UNDEFINED),
    ]
}
