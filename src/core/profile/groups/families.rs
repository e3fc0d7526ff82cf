//! The metric families that task series belong to.

use std::sync::Arc;

use super::super::config::{NativeConfig, TaskLabels};
use super::super::group::{CounterFamily, HistogramFamily};
use crate::series::{Buckets, Family, FamilyId, MetricKind, SeriesTable};

/// A name without prefix, the label specific to this family, and the help text.
type Definition = (&'static str, Option<&'static str>, &'static str);

const fn definition(family: CounterFamily) -> Definition {
    match family {
        CounterFamily::Sent => (
            "task_sent_total",
            None,
            "Total number of tasks published (task-sent; needs task_send_sent_event).",
        ),
        CounterFamily::Received => (
            "task_received_total",
            None,
            "Total number of tasks received by a worker (task-received).",
        ),
        CounterFamily::Started => (
            "task_started_total",
            None,
            "Total number of tasks started (task-started).",
        ),
        CounterFamily::Succeeded => (
            "task_succeeded_total",
            None,
            "Total number of tasks that succeeded (task-succeeded).",
        ),
        CounterFamily::Failed => (
            "task_failed_total",
            Some("exception"),
            "Total number of tasks that failed (task-failed), by exception class.",
        ),
        CounterFamily::Retried => (
            "task_retried_total",
            Some("exception"),
            "Total number of attempts that ended in a retry (task-retried), by exception class.",
        ),
        CounterFamily::Rejected => (
            "task_rejected_total",
            Some("requeue"),
            "Total number of tasks rejected (task-rejected), by whether they were requeued.",
        ),
        CounterFamily::Revoked => (
            "task_revoked_total",
            Some("reason"),
            "Total number of tasks revoked (task-revoked), by reason.",
        ),
        CounterFamily::Cancelled => (
            "task_cancelled_total",
            None,
            "Total number of running tasks cancelled (task-cancelled; Celery 5.1 and later).",
        ),
        CounterFamily::Lost => (
            "task_lost_total",
            Some("reason"),
            "Total number of tasks presumed lost, by reason.",
        ),
        CounterFamily::Unreported => (
            "task_unreported_total",
            Some("reason"),
            "Total number of tasks that ended without a final event, by reason (needs remote control).",
        ),
        CounterFamily::RetriesExhausted => (
            "task_retries_exhausted_total",
            None,
            "Total number of tasks that failed after the last allowed retry (needs remote control, unless the exception is MaxRetriesExceededError).",
        ),
    }
}

const fn distribution(family: HistogramFamily) -> Definition {
    match family {
        HistogramFamily::Runtime => (
            "task_runtime_seconds",
            Some("outcome"),
            "Runtime of attempts, as measured by the worker, or from start to end.",
        ),
        HistogramFamily::QueueWait => (
            "task_queue_wait_seconds",
            None,
            "Time between an attempt being sent, or its ETA, and its start (needs task_send_sent_event).",
        ),
        HistogramFamily::PrefetchWait => (
            "task_prefetch_wait_seconds",
            None,
            "Time between an attempt being received by a worker and its start.",
        ),
        HistogramFamily::Turnaround => (
            "task_turnaround_seconds",
            Some("outcome"),
            "Time between a task being sent, or its ETA, and its end, including retries (needs task_send_sent_event).",
        ),
        HistogramFamily::Attempts => (
            "task_attempts",
            Some("outcome"),
            "Number of attempts of finished tasks.",
        ),
    }
}

#[derive(Debug)]
pub(super) struct Families {
    counters: [FamilyId; CounterFamily::ALL.len()],
    histograms: [FamilyId; HistogramFamily::ALL.len()],
    pub(super) in_flight: FamilyId,
}

/// Histogram bounds for the number of attempts of a task.
const ATTEMPTS: [f64; 6] = [1.0, 2.0, 3.0, 5.0, 10.0, 20.0];

impl Families {
    pub(super) fn new(config: &NativeConfig, series: &mut SeriesTable) -> Self {
        let TaskLabels {
            name,
            queue,
            worker,
        } = config.labels;
        let task = [("name", name), ("queue", queue), ("worker", worker)];
        let task = task
            .into_iter()
            .filter_map(|(label, shown)| shown.then_some(label));
        let task: Vec<&'static str> = task.collect();
        let mut family =
            |name: &str, kind: MetricKind, own: Option<&'static str>, help: &'static str| {
                series.family(Family {
                    name: format!("{}{name}", config.prefix).into(),
                    kind,
                    help,
                    labels: task.iter().copied().chain(own).collect(),
                })
            };
        let attempts = Arc::new(Buckets::new(&ATTEMPTS).expect("the bounds increase"));
        Self {
            counters: CounterFamily::ALL.map(|counter| {
                let (name, own, help) = definition(counter);
                family(name, MetricKind::Counter, own, help)
            }),
            histograms: HistogramFamily::ALL.map(|histogram| {
                let (name, own, help) = distribution(histogram);
                let buckets = match histogram {
                    HistogramFamily::Runtime => &config.runtime_buckets,
                    HistogramFamily::QueueWait
                    | HistogramFamily::PrefetchWait
                    | HistogramFamily::Turnaround => &config.wait_buckets,
                    HistogramFamily::Attempts => &attempts,
                };
                family(name, MetricKind::Histogram(Arc::clone(buckets)), own, help)
            }),
            in_flight: family(
                "tasks_in_flight",
                MetricKind::Gauge,
                Some("state"),
                "Number of tasks in flight, by state.",
            ),
        }
    }

    pub(super) const fn counter(&self, family: CounterFamily) -> FamilyId {
        self.counters[family as usize]
    }

    pub(super) const fn histogram(&self, family: HistogramFamily) -> FamilyId {
        self.histograms[family as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_found_by_its_variant() {
        for (at, family) in CounterFamily::ALL.into_iter().enumerate() {
            assert_eq!(family as usize, at);
        }
        for (at, family) in HistogramFamily::ALL.into_iter().enumerate() {
            assert_eq!(family as usize, at);
        }
    }
}
