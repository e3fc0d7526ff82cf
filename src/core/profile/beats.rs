//! The native profile's gauges of schedulers of periodic tasks.

use std::sync::Arc;

use super::config::NativeConfig;
use super::vector::{Part, Vector};
use super::{Context, float};
use crate::series::{MetricKind, SeriesTable};
use crate::state::{State, Symbol};

/// Which beats run.
#[derive(Debug)]
pub(super) struct Beats {
    up: Vector<1>,
    count: Vector<1>,
}

impl Beats {
    pub(super) fn new(
        config: &NativeConfig,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let name = |name: &str| format!("{}{name}", config.prefix);
        let up = (
            &*name("beat_up"),
            MetricKind::Gauge,
            "Whether celery beat is running and its schedule advances (1), or it does not answer (0); needs Celery 5.7 and beat_enable_remote_control.",
        );
        let count = (
            &*name("beats"),
            MetricKind::Gauge,
            "Number of known celery beat processes, by state.",
        );
        Self {
            up: Vector::new(series, broker, up, ["beat"]).reset_at_restart(series),
            count: Vector::new(series, broker, count, ["state"]).reset_at_restart(series),
        }
    }

    /// Sets the gauges. Without a beat that can be asked, there are no series: it may run and not
    /// answer.
    pub(super) fn level(&mut self, state: &State, context: &mut Context<'_>) {
        self.up.begin();
        self.count.begin();
        let mut counts = None;
        for beat in state.beats(context.now) {
            let [online, offline] = counts.get_or_insert([0, 0]);
            *online += beat.processes;
            *offline += u64::from(!beat.online);
            let value = f64::from(u8::from(beat.online));
            self.up.set([Part::Name(beat.name)], value, context);
        }
        let counts = counts.into_iter().flatten();
        for (state, count) in ["online", "offline"].into_iter().zip(counts) {
            self.count.set([Part::Word(state)], float(count), context);
        }
        self.up.end_others(context.series);
        self.count.end_others(context.series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.up.names()
    }

    pub(super) const fn limited(&self) -> u64 {
        self.up.limited()
    }
}
