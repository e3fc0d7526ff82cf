//! The cluster behind one broker: its state, and how it is shown and looked at.

use std::sync::Arc;

use super::{BrokerRetention, ClusterConfig, Delivered, Filter, View, float};
use crate::config::MetricsConfig;
use crate::event::{Accept, BrokerId, DecodeError};
use crate::profile::{Context, Profile};
use crate::series::Origin;
use crate::state::{Change, Hint, HintReason, Loss, State, Symbol};
use crate::telemetry::metrics::EventMetrics;
use crate::timestamp::Timestamp;

/// State of the cluster behind one broker.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) id: BrokerId,
    /// Name of the broker in the log.
    pub(super) broker: Arc<str>,
    /// Value of the label `broker`.
    pub(super) label: Option<Arc<str>>,
    pub(super) accept: Accept,
    pub(super) state: State,
    pub(super) filter: Filter,
    /// Changes made by the current event; kept to reuse its memory.
    pub(super) changes: Vec<Change>,
    pub(super) metrics: EventMetrics,
    /// The time without a subscription in microseconds, if there was one at the last look.
    pub(super) gap: Option<u64>,
    /// Decoding errors: the newest of each kind that is logged separately, with a count.
    pub(super) errors: Vec<(DecodeError, u64)>,
    pub(super) hints: Vec<Hint>,
    pub(super) delivered: Delivered,
}

impl Cluster {
    pub(super) fn new(
        id: BrokerId,
        cluster: ClusterConfig,
        state: State,
        config: &MetricsConfig,
    ) -> Self {
        Self {
            id,
            broker: cluster.broker,
            label: cluster.label,
            accept: cluster.accept,
            state,
            filter: Filter::new(config.task_filter.clone()),
            changes: Vec::new(),
            gap: None,
            metrics: cluster.metrics,
            errors: Vec::new(),
            hints: Vec::new(),
            delivered: match &cluster.holds {
                BrokerRetention::Nothing => Delivered::default(),
                BrokerRetention::Unacknowledged(window) => Delivered::durable(*window),
                BrokerRetention::Stream(name, window) => Delivered::stream(name, *window),
            },
        }
    }

    /// Applies changes to the series; `origin` is the task of the event that caused them.
    pub(super) fn show(&mut self, views: &mut [View], now: Timestamp, origin: Option<Origin<'_>>) {
        for &change in &self.changes {
            match change {
                Change::Duplicate => self.metrics.repeated.add(1),
                Change::Clamped => self.metrics.clamped.add(1),
                Change::Refused(refusal) => self.metrics.refused(refusal).add(1),
                Change::Missing(events) => self.metrics.missing.add(events),
                Change::Lost {
                    reason: Loss::Evicted,
                    ..
                } => self.metrics.tasks_evicted.add(1),
                Change::Event(_)
                | Change::Task { .. }
                | Change::Ran { .. }
                | Change::QueueWaited { .. }
                | Change::PrefetchWaited { .. }
                | Change::TurnedAround { .. }
                | Change::Finished { .. }
                | Change::Moved { .. }
                | Change::Unreported { .. }
                | Change::Workflow { .. }
                | Change::Lost {
                    reason: Loss::Timeout | Loss::Worker,
                    ..
                } => {}
            }
            let Some(change) = self.filter.pass(change, self.state.names()) else {
                continue;
            };
            for view in &mut *views {
                let mut context = Context {
                    names: self.state.names(),
                    series: &mut view.series,
                    now,
                    origin,
                };
                view.profiles[self.id.index()].apply(change, &mut context);
            }
        }
        self.changes.clear();
    }

    /// Drops strings that are no longer referenced, if there are many.
    pub(super) fn sweep(&mut self, views: &[View]) {
        if self.state.names().wants_sweep() {
            let profiles = views.iter().map(|view| &view.profiles[self.id.index()]);
            let used: Vec<Symbol> = profiles.flat_map(Profile::names).collect();
            self.filter.forget();
            self.state.sweep(used);
        }
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.metrics.connected.get() > 0.0
    }

    /// Updates the hints about the cluster's setup and the number of tasks in flight.
    pub(super) fn look(&mut self, now: Timestamp) {
        let is_subscribed = self.is_subscribed();
        let gap = self.metrics.gap.micros();
        let was_away = self.gap.is_some_and(|before| before != gap);
        if was_away || !is_subscribed {
            self.state.not_subscribed(now);
        }
        if is_subscribed {
            self.state.subscribed(now);
        }
        self.gap = is_subscribed.then_some(gap);
        self.hints = self.state.hints(now);
        for reason in HintReason::ALL {
            let holds = self.hints.iter().any(|hint| hint.reason == reason);
            self.metrics.hint(reason).set(f64::from(u8::from(holds)));
        }
        self.metrics
            .tasks_tracked
            .set(float(self.state.tasks_alive()));
        self.metrics.held.set(float(self.state.events_held()));
    }

    pub(super) fn refuse(&mut self, error: DecodeError) {
        self.metrics.undecodable(error.reason()).add(1);
        let mut errors = self.errors.iter_mut();
        match errors.find(|(known, _)| known.is_logged_with(error)) {
            Some((newest, count)) => (*newest, *count) = (error, *count + 1),
            None => self.errors.push((error, 1)),
        }
    }
}
