//! The metric families of ZeitOnline/celery_redis_prometheus, as exposed on its page.
//!
//! Source: its release 2.0.0 and the page of a running instance, compared with ours in
//! `tests/it/compat.rs`. Differences: `queue` is the task's queue instead of its routing key, the
//! time in the queue excludes a countdown, and queue lengths are available on RabbitMQ too.

use std::sync::Arc;

use super::vector::{Part, Vector, part};
use super::{Context, ExporterBuckets, Keep, Limited, float};
use crate::series::{MetricKind, SeriesTable};
use crate::state::{Change, Outcome, State, Step, Symbol, TaskKey};

/// What the exporter shows for an unknown queue.
const QUEUE: &str = "None";

/// The class of a failure that counts as a state of its own.
const EXCEEDED: &str = "MaxRetriesExceededError";

#[derive(Debug)]
pub struct Zeit {
    tasks: Vector<2>,
    queue_time: Vector<1>,
    runtime: Vector<1>,
    queue_length: Vector<1>,
}

impl Zeit {
    pub(super) fn new(
        buckets: &ExporterBuckets,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let tasks = ("celery_tasks_total", MetricKind::Counter, "Number of tasks");
        let queue_time = (
            "celery_task_queuetime_seconds",
            MetricKind::Histogram(buckets.wait()),
            "Task queue wait time",
        );
        let runtime = (
            "celery_task_runtime_seconds",
            MetricKind::Histogram(buckets.runtime()),
            "Task runtime",
        );
        let length = ("celery_queue_length", MetricKind::Gauge, "Queue length");
        Self {
            tasks: Vector::new(series, broker, tasks, ["queue", "state"]),
            queue_time: Vector::new(series, broker, queue_time, ["queue"]),
            runtime: Vector::new(series, broker, runtime, ["queue"]),
            queue_length: Vector::new(series, broker, length, ["queue"]).reset_at_restart(series),
        }
    }

    pub(super) fn apply(&mut self, change: Change, context: &mut Context<'_>) {
        match change {
            Change::Task { step, of, .. } => {
                let state = match step {
                    Step::Started => "started",
                    Step::Succeeded => "succeeded",
                    Step::Failed(Some(class)) if *context.names.text(class) == *EXCEEDED => {
                        "retries-exceeded"
                    }
                    Step::Failed(_) => "failed",
                    Step::Retried(_) => "retried",
                    Step::Sent
                    | Step::Received
                    | Step::Rejected { .. }
                    | Step::Revoked(_)
                    | Step::Cancelled => return,
                };
                let [queue] = key(of);
                self.tasks.add([queue, Part::Word(state)], 1.0, context);
            }
            Change::Ran {
                outcome: Outcome::Succeeded,
                seconds,
                of,
            } => self.runtime.observe(key(of), seconds, context),
            Change::QueueWaited { seconds, of } => {
                self.queue_time.observe(key(of), seconds, context);
            }
            Change::Event(_)
            | Change::Duplicate
            | Change::Clamped
            | Change::Refused(_)
            | Change::Missing(_)
            | Change::Ran { .. }
            | Change::PrefetchWaited { .. }
            | Change::TurnedAround { .. }
            | Change::Finished { .. }
            | Change::Moved { .. }
            | Change::Lost { .. }
            | Change::Unreported { .. }
            | Change::Workflow { .. } => {}
        }
    }

    pub(super) fn level(&mut self, state: &State, context: &mut Context<'_>) {
        self.queue_length.begin();
        for (name, queue) in state.queues() {
            if let Some(length) = queue.length {
                let length = float(length + queue.unacked.unwrap_or(0));
                self.queue_length.set([Part::Name(name)], length, context);
            }
        }
        self.queue_length.end_others(context.series);
    }

    pub(super) fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        self.tasks.expire(keep, series);
        self.queue_time.expire(keep, series);
        self.runtime.expire(keep, series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let histograms = self.queue_time.names().chain(self.runtime.names());
        let queues = self.queue_length.names();
        self.tasks.names().chain(histograms).chain(queues)
    }

    pub(super) fn limited(&self) -> Limited {
        Limited {
            series: self.tasks.limited()
                + self.queue_time.limited()
                + self.runtime.limited()
                + self.queue_length.limited(),
            exceptions: 0,
            queues: 0,
        }
    }
}

fn key(of: TaskKey) -> [Part; 1] {
    [part(of.queue, QUEUE)]
}
