//! The cluster behind one broker: its state, and how it is shown and looked at.

use std::ops::Range;
use std::sync::Arc;

use super::{BrokerRetention, ClusterConfig, Delivered, Filter, View, float};
use crate::config::MetricsConfig;
use crate::event::{Accept, Batch, BrokerId, DecodeError, Event, Position};
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
    /// Changes that are not shown yet; kept to reuse the memory.
    pub(super) changes: Vec<Change>,
    /// Where the changes of each event of the current round end.
    pub(super) ends: Vec<usize>,
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
            ends: Vec::new(),
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

    /// Whether a payload of a batch was delivered before. Counts it if so.
    pub(super) fn is_again(&mut self, batch: &Batch, payload: usize) -> bool {
        let Position::Delivered {
            mark, fingerprints, ..
        } = &batch.position
        else {
            return false;
        };
        let is_again = fingerprints
            .get(payload)
            .is_some_and(|fingerprint| self.delivered.is_again(mark.link, *fingerprint));
        if is_again {
            self.metrics.redelivered.add(1);
        }
        is_again
    }

    /// Applies events to the state. Their changes are not shown yet.
    pub(super) fn apply(&mut self, events: &[Event<'_>], now: Timestamp) {
        self.ends.clear();
        let (changes, ends) = (&mut self.changes, &mut self.ends);
        self.state.apply_all(events, now, changes, ends);
    }

    /// Applies all changes to the series.
    pub(super) fn show(&mut self, views: &mut [View], now: Timestamp) {
        self.show_changes(0..self.changes.len(), views, now, None);
        self.changes.clear();
    }

    /// Applies some changes to the series; `origin` is the task of the event that caused them.
    pub(super) fn show_changes(
        &mut self,
        some: Range<usize>,
        views: &mut [View],
        now: Timestamp,
        origin: Option<Origin<'_>>,
    ) {
        let changes = &self.changes[some];
        for change in changes {
            match change {
                Change::Duplicate => self.metrics.repeated.add(1),
                Change::Clamped => self.metrics.clamped.add(1),
                Change::Refused(refusal) => self.metrics.refused(*refusal).add(1),
                Change::Missing(events) => self.metrics.missing.add(*events),
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
        }
        for view in views {
            let profile = &mut view.profiles[self.id.index()];
            let mut context = Context {
                names: self.state.names(),
                series: &mut view.series,
                now,
                origin,
            };
            for change in changes {
                if let Some(change) = self.filter.pass(*change, context.names) {
                    profile.apply(change, &mut context);
                }
            }
        }
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
