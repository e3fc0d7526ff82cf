//! The rows of schedulers, periodic tasks, workflows and tasks that run too long.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compose::Sources;
use super::document::{BeatRow, LongRunningRow, PeriodicRow, WorkflowRow};
use crate::state::Allowed;

/// The name of a workflow's root task, if no event reported it.
const UNKNOWN: &str = "unknown";

impl Sources<'_> {
    pub(super) fn beats(&self) -> Vec<BeatRow> {
        let clusters = self.overview.clusters.iter();
        let beats = clusters.flat_map(|broker| {
            let beats = broker.cluster.beats.iter();
            beats.map(|(name, beat)| BeatRow {
                broker: broker.label.clone(),
                name: Arc::clone(name),
                online: beat.online,
                since_timestamp_seconds: beat.since.seconds(),
                last_seen_timestamp_seconds: beat.seen.seconds(),
                processes: beat.processes,
            })
        });
        beats.collect()
    }

    /// Every task that is published, because it may be periodic, with what is known of its schedule.
    pub(super) fn periodic(&self) -> Vec<PeriodicRow> {
        let last = self.facts.last.iter();
        let last = last.filter(|(_, last)| last.sent.is_some());
        let mut rows: BTreeMap<_, PeriodicRow> = last
            .map(|((broker, name), last)| {
                let row = PeriodicRow {
                    broker: broker.clone(),
                    name: Arc::clone(name),
                    last_sent_timestamp_seconds: last.sent,
                    last_succeeded_timestamp_seconds: last.succeeded,
                    last_failed_timestamp_seconds: last.failed,
                    ..PeriodicRow::default()
                };
                ((broker.clone(), Arc::clone(name)), row)
            })
            .collect();
        for broker in &self.overview.clusters {
            let learned = broker.cluster.periodic.iter();
            for (name, task) in
                learned.filter(|(_, task)| task.period.is_some() || task.senders.is_some())
            {
                let id = (broker.label.clone(), Arc::clone(name));
                let row = rows.entry(id).or_insert_with(|| PeriodicRow {
                    broker: broker.label.clone(),
                    name: Arc::clone(name),
                    last_sent_timestamp_seconds: task.last_sent.map(|at| at.seconds()),
                    ..PeriodicRow::default()
                });
                row.period_seconds = task.period.map(|period| period.as_secs_f64());
                row.next_due_timestamp_seconds = task.next_due.map(|due| due.seconds());
                row.senders = task.senders;
                row.overdue_seconds = task.overdue.map(|overdue| overdue.as_secs_f64());
            }
        }
        rows.into_values().collect()
    }

    pub(super) fn workflows(&self) -> Vec<WorkflowRow> {
        let at = self.overview.at;
        let clusters = self.overview.clusters.iter();
        let rows = clusters.flat_map(|broker| {
            let workflows = broker.cluster.workflows.iter();
            workflows.map(move |(root, level)| WorkflowRow {
                broker: broker.label.clone(),
                name: root.clone().unwrap_or_else(|| UNKNOWN.into()),
                open: level.open,
                oldest_age_seconds: level.oldest.map(|since| at.since(since).as_secs_f64()),
                chords_waiting: level.chords,
                oldest_chord_age_seconds: level
                    .oldest_chord
                    .map(|since| at.since(since).as_secs_f64()),
            })
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by(|one, other| (&one.broker, &one.name).cmp(&(&other.broker, &other.name)));
        rows
    }

    pub(super) fn long_running(&self) -> Vec<LongRunningRow> {
        let clusters = self.overview.clusters.iter();
        let rows = clusters.flat_map(|broker| {
            let long = broker.cluster.long_running.iter();
            long.map(|(name, worker, one)| LongRunningRow {
                broker: broker.label.clone(),
                name: Arc::clone(name),
                count: one.count,
                since_timestamp_seconds: one.since.seconds(),
                worker: worker.clone(),
                allowed_seconds: one.allowed.seconds(),
                time_limit: matches!(one.allowed, Allowed::TimeLimit(_)),
            })
        });
        rows.collect()
    }
}
