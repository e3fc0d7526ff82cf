//! The native profile's gauges of periodic tasks.

use std::sync::Arc;

use super::config::NativeConfig;
use super::vector::{Part, Vector, limited};
use super::{Context, float};
use crate::series::{MetricKind, SeriesTable};
use crate::state::{State, Symbol};

/// When each periodic task is due, whether it is late, and whether several beats send it.
#[derive(Debug)]
pub(super) struct Periodic([Vector<1>; 4]);

const GAUGES: [(&str, &str); 4] = [
    (
        "periodic_task_period_seconds",
        "Time between the latest send of the periodic task and the next one, as learned from earlier sends or configured.",
    ),
    (
        "periodic_task_next_due_timestamp_seconds",
        "Time at which the periodic task should be sent next, as learned from earlier sends or configured.",
    ),
    (
        "periodic_task_overdue_seconds",
        "Time since the periodic task should have been sent, if that is longer than usual delays; otherwise 0.",
    ),
    (
        "periodic_task_senders",
        "Number of processes that send the task at the same interval, such as two celery beats; absent unless there are at least two (needs task-sent events).",
    ),
];

impl Periodic {
    pub(super) fn new(
        config: &NativeConfig,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        Self(GAUGES.map(|(name, help)| {
            let name = format!("{}{name}", config.prefix);
            let family = (name.as_str(), MetricKind::Gauge, help);
            Vector::new(series, broker, family, ["name"]).reset_at_restart(series)
        }))
    }

    /// Sets the gauges of tasks whose schedule has been learned, or that several processes send.
    pub(super) fn level(
        &mut self,
        state: &State,
        context: &mut Context<'_>,
        shows: &mut dyn FnMut(Symbol) -> bool,
    ) {
        self.0.iter_mut().for_each(Vector::begin);
        for task in state.periodic_tasks(context.now) {
            if !shows(task.name) {
                continue;
            }
            let values = [
                task.period.map(|period| period.as_secs_f64()),
                task.next_due.map(|due| due.seconds()),
                task.overdue.map(|overdue| overdue.as_secs_f64()),
                task.senders.map(float),
            ];
            for (gauge, value) in self.0.iter_mut().zip(values) {
                if let Some(value) = value {
                    gauge.set([Part::Name(task.name)], value, context);
                }
            }
        }
        for gauge in &mut self.0 {
            gauge.end_others(context.series);
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.0.iter().flat_map(Vector::names)
    }

    pub(super) fn limited(&self) -> u64 {
        limited(&self.0)
    }
}
