//! The native profile's gauges of tasks that run too long.

use std::sync::Arc;

use super::config::NativeConfig;
use super::vector::{Part, Vector};
use super::{Context, float};
use crate::series::{MetricKind, SeriesTable};
use crate::state::{State, Symbol};

/// How many tasks run too long, and since when the oldest of them has been running.
#[derive(Debug)]
pub(super) struct LongRunning {
    count: Vector<1>,
    oldest: Vector<1>,
}

impl LongRunning {
    pub(super) fn new(
        config: &NativeConfig,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let name = |name: &str| format!("{}{name}", config.prefix);
        let count = (
            &*name("tasks_running_long"),
            MetricKind::Gauge,
            "Number of tasks that have been running for longer than their time limit or, without one, much longer than usual; absent if there are none.",
        );
        let oldest = (
            &*name("tasks_running_long_oldest_timestamp_seconds"),
            MetricKind::Gauge,
            "Time at which the oldest of these tasks started.",
        );
        Self {
            count: Vector::new(series, broker, count, ["name"]).reset_at_restart(series),
            oldest: Vector::new(series, broker, oldest, ["name"]).reset_at_restart(series),
        }
    }

    /// Sets the gauges, and ends those of names with no such task left.
    pub(super) fn level(
        &mut self,
        state: &State,
        context: &mut Context<'_>,
        shows: &mut dyn FnMut(Symbol) -> bool,
    ) {
        self.count.begin();
        self.oldest.begin();
        for long in state.long_running(context.now) {
            if !shows(long.name) {
                continue;
            }
            let key = [Part::Name(long.name)];
            self.count.set(key.clone(), float(long.count), context);
            self.oldest.set(key, long.since.seconds(), context);
        }
        self.count.end_others(context.series);
        self.oldest.end_others(context.series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.count.names().chain(self.oldest.names())
    }

    pub(super) const fn limited(&self) -> u64 {
        self.count.limited() + self.oldest.limited()
    }
}
