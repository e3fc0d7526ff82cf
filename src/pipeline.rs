//! Payloads to snapshots, by value: everything between the sources and the sinks, without IO and without a
//! clock.
//!
//! One [`Pipeline`] holds all state: what is known of each cluster, and the series of all of them. The daemon
//! gives it to its aggregator; tests, benchmarks and the demo call it themselves.

use std::sync::Arc;

use crate::config::MetricsConfig;
use crate::event::{Accept, Batch, DecodeError, Decoder};
use crate::profile::{Context, Native};
use crate::series::{Series, Snapshot};
use crate::state::{Change, Loss, State};
use crate::telemetry::metrics::{EventMetrics, Published, SeriesMetrics, Telemetry};
use crate::timestamp::Timestamp;

/// All state of the daemon about Celery.
#[derive(Debug)]
pub struct Pipeline {
    decoder: Decoder,
    clusters: Vec<Cluster>,
    series: Series,
    metrics: SeriesMetrics,
    published: Published,
}

/// What is known of the cluster behind one broker.
#[derive(Debug)]
struct Cluster {
    /// What the log calls the broker.
    broker: Arc<str>,
    accept: Accept,
    state: State,
    profile: Native,
    /// What the event at hand changed; kept for its memory.
    changes: Vec<Change>,
    metrics: EventMetrics,
    /// Why something could not be read: of what the log tells in one line, the newest, and how often.
    errors: Vec<(DecodeError, u64)>,
}

/// A broker's part in a pipeline.
#[derive(Debug)]
pub struct ClusterConfig {
    /// What the log calls the broker.
    pub broker: Arc<str>,
    /// The value of the label `broker`; absent where only one broker is configured and has no name.
    pub label: Option<Arc<str>>,
    /// The serializers whose bodies are read.
    pub accept: Accept,
    pub metrics: EventMetrics,
}

impl Pipeline {
    /// A pipeline for some clusters, in the order of the brokers' configuration.
    pub fn new(
        config: &MetricsConfig,
        clusters: Vec<ClusterConfig>,
        mut telemetry: Telemetry,
        now: Timestamp,
    ) -> Self {
        let mut series = Series::new(config.series_max, now);
        let metrics = telemetry.series();
        let clusters = clusters.into_iter().map(|cluster| Cluster {
            broker: cluster.broker,
            accept: cluster.accept,
            state: State::new(config.limits.clone()),
            profile: Native::new(config.native.clone(), cluster.label, &mut series),
            changes: Vec::new(),
            metrics: cluster.metrics,
            errors: Vec::new(),
        });
        let clusters = clusters.collect();
        let published = telemetry.open(&mut series);
        Self {
            decoder: Decoder::default(),
            clusters,
            series,
            metrics,
            published,
        }
    }

    /// Takes every event of some messages.
    pub fn take(&mut self, batch: &Batch) {
        let Self {
            decoder,
            clusters,
            series,
            ..
        } = self;
        let Some(cluster) = clusters.get_mut(batch.broker) else {
            debug_assert!(false, "a batch names a configured broker");
            return;
        };
        let now = batch.received;
        let mut newest = None;
        for payload in &batch.payloads {
            decoder.decode(payload, cluster.accept, now, |event| match event {
                Ok(event) => {
                    newest = newest.max(Some(event.timestamp));
                    cluster.state.apply(&event, now, &mut cluster.changes);
                    cluster.profile_changes(series, now);
                }
                Err(error) => cluster.refuse(error),
            });
        }
        if let Some(newest) = newest {
            cluster.metrics.lag.set(now.seconds_since(newest));
        }
    }

    /// All series as of `now`. The `last` snapshot is followed by no other.
    pub fn snapshot(&mut self, now: Timestamp, last: bool) -> Snapshot {
        let mut limited = [0, 0];
        for cluster in &mut self.clusters {
            cluster.state.expire(now, &mut cluster.changes);
            cluster.profile_changes(&mut self.series, now);
            cluster.profile.level(&cluster.state, &mut self.series);
            cluster.profile.expire(&mut self.series, now);
            if cluster.state.names().wants_sweep() {
                let used: Vec<_> = cluster.profile.names().collect();
                cluster.state.sweep(used);
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "Prometheus holds counts as floats"
            )]
            cluster
                .metrics
                .tasks_tracked
                .set(cluster.state.tasks_alive() as f64);
            limited[0] += cluster.profile.limited().series;
            limited[1] += cluster.profile.limited().exceptions;
        }
        self.metrics.limited_series.raise_to(limited[0]);
        self.metrics.limited_exceptions.raise_to(limited[1]);
        #[expect(
            clippy::cast_precision_loss,
            reason = "Prometheus holds counts as floats"
        )]
        self.metrics.series.set(self.series.samples() as f64);
        self.published.publish(&mut self.series);
        self.series.snapshot(now, last)
    }

    /// The metrics of the daemon, for who sets some of them at each snapshot.
    pub const fn published(&self) -> &Published {
        &self.published
    }

    /// How long the newest snapshot took.
    pub fn snapshot_took(&self, duration: std::time::Duration) {
        self.metrics.snapshot_duration.set(duration.as_secs_f64());
    }

    /// For each broker, how many messages and events could not be read for each reason, with the newest error. Each
    /// serializer that is not accepted comes on its own.
    pub fn refused(&self) -> impl Iterator<Item = (&Arc<str>, DecodeError, u64)> {
        self.clusters.iter().flat_map(|cluster| {
            let errors = cluster.errors.iter();
            errors.map(|(error, count)| (&cluster.broker, *error, *count))
        })
    }
}

impl Cluster {
    /// Brings what changed into the series.
    fn profile_changes(&mut self, series: &mut Series, now: Timestamp) {
        let mut context = Context {
            names: self.state.names(),
            series,
            now,
        };
        for change in self.changes.drain(..) {
            match change {
                Change::Duplicate => self.metrics.duplicate.add(1),
                Change::Lost {
                    reason: Loss::Evicted,
                    ..
                } => self.metrics.tasks_evicted.add(1),
                Change::Event(_)
                | Change::Task { .. }
                | Change::Ran { .. }
                | Change::Moved { .. }
                | Change::Lost {
                    reason: Loss::Timeout,
                    ..
                } => {}
            }
            self.profile.apply(change, &mut context);
        }
    }

    fn refuse(&mut self, error: DecodeError) {
        self.metrics.undecodable(error.reason()).add(1);
        let mut errors = self.errors.iter_mut();
        match errors.find(|(known, _)| known.is_told_with(error)) {
            Some((newest, count)) => (*newest, *count) = (error, *count + 1),
            None => self.errors.push((error, 1)),
        }
    }
}

#[cfg(test)]
mod tests;
