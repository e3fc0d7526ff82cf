//! The metric families of danihodovic/celery-exporter, as exposed on its page.
//!
//! Source: its release 0.12 and the page of a running instance (0.11.2), compared with ours in
//! `tests/it/compat.rs`. Differences: a worker is up if any node on its host is, a queue's length
//! on Redis covers all priority steps, and a worker is offline after `worker_timeout` and removed
//! after `worker_retention`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::vector::{Part, Vector, limited, part};
use super::{Context, ExporterBuckets, Keep, Limited, float};
use crate::series::{Buckets, MetricKind, SeriesTable};
use crate::state::{Change, Outcome, State, Step, Symbol, TaskKey};

/// The label of an unknown queue: the exporter's option `default_queue_name`.
const QUEUE: &str = "celery";

/// What the exporter's client shows for a missing name.
const NAME: &str = "None";

const WAIT_BOUNDS: [f64; 14] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
];

/// The class of an exception that the exporter cannot parse.
const CLASS: &str = "UnknownException";

#[derive(Debug)]
pub struct CeleryExporter {
    counters: [Vector<3>; Counter::ALL.len()],
    failed: Vector<4>,
    runtime: Vector<3>,
    queue_wait: Vector<3>,
    worker_up: Vector<1>,
    worker_active: Vector<1>,
    queues: [Vector<1>; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    Sent,
    Received,
    Started,
    Succeeded,
    Rejected,
    Revoked,
    Retried,
}

impl Counter {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (
            Self::Sent,
            "celery_task_sent_total",
            "Sent when a task message is published.",
        ),
        (
            Self::Received,
            "celery_task_received_total",
            "Sent when the worker receives a task.",
        ),
        (
            Self::Started,
            "celery_task_started_total",
            "Sent just before the worker executes the task.",
        ),
        (
            Self::Succeeded,
            "celery_task_succeeded_total",
            "Sent if the task executed successfully.",
        ),
        (
            Self::Rejected,
            "celery_task_rejected_total",
            "The task was rejected by the worker, possibly to be re-queued or moved to a dead letter queue.",
        ),
        (
            Self::Revoked,
            "celery_task_revoked_total",
            "Sent if the task has been revoked.",
        ),
        (
            Self::Retried,
            "celery_task_retried_total",
            "Sent if the task failed, but will be retried in the future.",
        ),
    ];
}

/// The gauges of a queue, with their help.
const QUEUE_GAUGES: [(&str, &str); 4] = [
    (
        "celery_queue_length",
        "The number of message in broker queue.",
    ),
    (
        "celery_active_consumer_count",
        "The number of active consumer in broker queue.",
    ),
    (
        "celery_active_worker_count",
        "The number of active workers in broker queue.",
    ),
    (
        "celery_active_process_count",
        "The number of active processes in broker queue.",
    ),
];

impl CeleryExporter {
    pub(super) fn new(
        buckets: &ExporterBuckets,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let labels = ["name", "hostname", "queue_name"];
        let counters = Counter::ALL.map(|(_, name, help)| {
            Vector::new(series, broker, (name, MetricKind::Counter, help), labels)
        });
        let failed = (
            "celery_task_failed_total",
            MetricKind::Counter,
            "Sent if the execution of the task failed.",
        );
        let failed = Vector::new(
            series,
            broker,
            failed,
            ["name", "hostname", "queue_name", "exception"],
        );
        let mut gauge = |name, help, label| {
            Vector::new(series, broker, (name, MetricKind::Gauge, help), [label])
                .reset_at_restart(series)
        };
        let worker_up = gauge(
            "celery_worker_up",
            "Indicates if a worker has recently sent a heartbeat.",
            "hostname",
        );
        let worker_active = gauge(
            "celery_worker_tasks_active",
            "The number of tasks the worker is currently processing",
            "hostname",
        );
        let queues = QUEUE_GAUGES.map(|(name, help)| gauge(name, help, "queue_name"));
        let wait = buckets
            .wait
            .clone()
            .unwrap_or_else(|| Arc::new(Buckets::new(&WAIT_BOUNDS).expect("the bounds increase")));
        let mut histogram = |name, help, buckets| {
            Vector::new(
                series,
                broker,
                (name, MetricKind::Histogram(buckets), help),
                labels,
            )
        };
        Self {
            counters,
            failed,
            runtime: histogram(
                "celery_task_runtime",
                "Histogram of task runtime measurements.",
                buckets.runtime(),
            ),
            queue_wait: histogram(
                "celery_task_queue_wait_time",
                "Histogram of the time tasks wait in their queue.",
                wait,
            ),
            worker_up,
            worker_active,
            queues,
        }
    }

    pub(super) fn apply(&mut self, change: Change, context: &mut Context<'_>) {
        match change {
            Change::Task {
                step, of, sender, ..
            } => self.count(step, of, sender, context),
            Change::Ran {
                outcome: Outcome::Succeeded,
                seconds,
                of,
            } => self
                .runtime
                .observe(key(of, of.worker, context), seconds, context),
            Change::QueueWaited { seconds, of } => {
                self.queue_wait
                    .observe(key(of, of.worker, context), seconds, context);
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
        let mut hosts: BTreeMap<Symbol, (bool, Option<u64>)> = BTreeMap::new();
        for worker in state.workers() {
            let host = hosts.entry(context.names.host(worker.name)).or_default();
            host.0 |= worker.online;
            host.1 = worker
                .active
                .map_or(host.1, |active| Some(host.1.unwrap_or(0) + active));
        }
        self.worker_up.begin();
        self.worker_active.begin();
        for (host, (up, active)) in hosts {
            let up = f64::from(u8::from(up));
            self.worker_up.set([Part::Name(host)], up, context);
            if let Some(active) = active {
                self.worker_active
                    .set([Part::Name(host)], float(active), context);
            }
        }
        self.worker_up.end_others(context.series);
        self.worker_active.end_others(context.series);

        let queues = state.queues();
        for (at, gauge) in self.queues.iter_mut().enumerate() {
            gauge.begin();
            for (name, queue) in &queues {
                let value = [
                    queue.length,
                    queue.consumers,
                    queue.workers,
                    queue.processes,
                ][at];
                if let Some(value) = value {
                    gauge.set([Part::Name(*name)], float(value), context);
                }
            }
            gauge.end_others(context.series);
        }
    }

    pub(super) fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        for counter in &mut self.counters {
            counter.expire(keep, series);
        }
        self.failed.expire(keep, series);
        self.runtime.expire(keep, series);
        self.queue_wait.expire(keep, series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let counters = self.counters.iter().flat_map(Vector::names);
        let histograms = self.runtime.names().chain(self.queue_wait.names());
        let workers = self.worker_up.names().chain(self.worker_active.names());
        let queues = self.queues.iter().flat_map(Vector::names);
        counters
            .chain(self.failed.names())
            .chain(histograms)
            .chain(workers)
            .chain(queues)
    }

    pub(super) fn limited(&self) -> Limited {
        Limited {
            series: limited(&self.counters)
                + limited(&self.queues)
                + self.failed.limited()
                + self.runtime.limited()
                + self.queue_wait.limited()
                + self.worker_up.limited()
                + self.worker_active.limited(),
            exceptions: 0,
            queues: 0,
        }
    }

    fn count(
        &mut self,
        step: Step,
        of: TaskKey,
        sender: Option<Symbol>,
        context: &mut Context<'_>,
    ) {
        let counter = match step {
            Step::Sent => Some(Counter::Sent),
            Step::Received => Some(Counter::Received),
            Step::Started => Some(Counter::Started),
            Step::Succeeded => Some(Counter::Succeeded),
            Step::Rejected { .. } => Some(Counter::Rejected),
            Step::Revoked(_) => Some(Counter::Revoked),
            Step::Retried(_) => Some(Counter::Retried),
            Step::Failed(_) => None,
            Step::Cancelled => return,
        };
        let key = key(of, sender, context);
        for (own, which) in self.counters.iter_mut().zip(Counter::ALL) {
            if Some(which.0) == counter {
                own.add(key.clone(), 1.0, context);
            } else if counter != Some(Counter::Sent) {
                // As in the exporter, every counter exists with 0 from a worker's first event.
                own.touch(key.clone(), context);
            }
        }
        let [name, hostname, queue] = key;
        let failed = |class| [name, hostname, queue, class];
        match step {
            Step::Sent => {}
            Step::Failed(class) => self.failed.add_of(failed(part(class, CLASS)), 1.0, context),
            Step::Received
            | Step::Started
            | Step::Succeeded
            | Step::Rejected { .. }
            | Step::Revoked(_)
            | Step::Retried(_)
            | Step::Cancelled => self.failed.touch(failed(Part::Word("")), context),
        }
    }
}

fn key(of: TaskKey, sender: Option<Symbol>, context: &Context<'_>) -> [Part; 3] {
    let host = sender.map(|sender| context.names.host(sender));
    [part(of.name, NAME), part(host, ""), part(of.queue, QUEUE)]
}
