//! The native profile's series of workflows, by the name of their root task.

use std::sync::Arc;

use super::config::NativeConfig;
use super::vector::{Part, Vector, limited, part};
use super::{Context, Keep, UNKNOWN, float};
use crate::series::{MetricKind, SeriesTable};
use crate::state::{State, Symbol, WorkflowOutcome};

/// Which workflows are open, and how they ended.
#[derive(Debug)]
pub(super) struct Workflows {
    ended: Vector<2>,
    gauges: [Vector<1>; 5],
}

const GAUGES: [(&str, &str); 5] = [
    (
        "workflows_open",
        "Number of workflows (a task with all tasks that it led to) of which some task is in flight.",
    ),
    (
        "workflows_oldest_timestamp_seconds",
        "Time at which the oldest open workflow began.",
    ),
    (
        "workflows_idle_timestamp_seconds",
        "Time of the latest event of the open workflow that has been without an event for longest.",
    ),
    (
        "workflows_chords_waiting",
        "Number of chords that wait for their header tasks by retrying celery.chord_unlock; result backends with native chords have none.",
    ),
    (
        "workflows_oldest_chord_timestamp_seconds",
        "Time at which the oldest of these chords began to wait.",
    ),
];

impl Workflows {
    pub(super) fn new(
        config: &NativeConfig,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let name = |name: &str| format!("{}{name}", config.prefix);
        let ended = (
            &*name("workflows_ended_total"),
            MetricKind::Counter,
            "Total number of workflows that ended, by the name of their root task and outcome.",
        );
        Self {
            ended: Vector::new(series, broker, ended, ["name", "outcome"]),
            gauges: GAUGES.map(|(gauge, help)| {
                let name = name(gauge);
                let family = (name.as_str(), MetricKind::Gauge, help);
                Vector::new(series, broker, family, ["name"]).reset_at_restart(series)
            }),
        }
    }

    /// Counts the end of a workflow.
    pub(super) fn count(
        &mut self,
        outcome: WorkflowOutcome,
        root: Option<Symbol>,
        context: &mut Context<'_>,
    ) {
        let key = [part(root, UNKNOWN), Part::Word(outcome.name())];
        self.ended.add(key, 1.0, context);
    }

    /// Sets the gauges of the names that have open workflows.
    pub(super) fn level(
        &mut self,
        state: &State,
        context: &mut Context<'_>,
        shows: &mut dyn FnMut(Symbol) -> bool,
    ) {
        self.gauges.iter_mut().for_each(Vector::begin);
        for (root, level) in state.workflows() {
            if !root.is_none_or(&mut *shows) {
                continue;
            }
            let waiting = Some(level.chords).filter(|chords| *chords > 0);
            let values = [
                Some(float(level.open)),
                level.oldest.map(|at| at.seconds()),
                level.idle.map(|at| at.seconds()),
                waiting.map(float),
                level.oldest_chord.map(|at| at.seconds()),
            ];
            for (gauge, value) in self.gauges.iter_mut().zip(values) {
                if let Some(value) = value {
                    gauge.set([part(root, UNKNOWN)], value, context);
                }
            }
        }
        for gauge in &mut self.gauges {
            gauge.end_others(context.series);
        }
    }

    pub(super) fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        self.ended.expire(keep, series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let gauges = self.gauges.iter().flat_map(Vector::names);
        self.ended.names().chain(gauges)
    }

    pub(super) fn limited(&self) -> u64 {
        self.ended.limited() + limited(&self.gauges)
    }
}
