//! The native profile's gauge of workers that accept no task although a queue of theirs has messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Context;
use super::config::NativeConfig;
use super::vector::{Part, Vector};
use crate::series::{MetricKind, SeriesTable};
use crate::state::{State, Symbol};
use crate::timestamp::Timestamp;

/// Since when workers have been stalled, by worker and queue.
#[derive(Debug)]
pub(super) struct Stalled {
    hostnames: bool,
    since: Vector<2>,
}

impl Stalled {
    pub(super) fn new(
        config: &NativeConfig,
        broker: Option<&Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let since = (
            &*format!("{}worker_stalled_timestamp_seconds", config.prefix),
            MetricKind::Gauge,
            "Time at which the worker was first found to accept no tasks although it has free slots and the queue has messages; absent otherwise (needs remote control).",
        );
        Self {
            hostnames: config.hostnames,
            since: Vector::new(series, broker, since, ["worker", "queue"]).reset_at_restart(series),
        }
    }

    /// Sets the gauges, and ends those of workers that accept tasks.
    pub(super) fn level(&mut self, state: &State, context: &mut Context<'_>) {
        // Of the workers of a host, the one that has been stalled for longest counts.
        let mut stalled: BTreeMap<(Symbol, Symbol), Timestamp> = BTreeMap::new();
        for one in state.stalled(context.now) {
            let worker = if self.hostnames {
                context.names.host(one.worker)
            } else {
                one.worker
            };
            let since = stalled.entry((worker, one.queue)).or_insert(one.since);
            *since = one.since.min(*since);
        }
        self.since.begin();
        for ((worker, queue), since) in stalled {
            let key = [Part::Name(worker), Part::Name(queue)];
            self.since.set(key, since.seconds(), context);
        }
        self.since.end_others(context.series);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.since.names()
    }

    pub(super) const fn limited(&self) -> u64 {
        self.since.limited()
    }
}
