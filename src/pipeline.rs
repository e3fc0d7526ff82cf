//! Turns payloads into snapshots: everything between the sources and the sinks, without IO and
//! without a clock.
//!
//! One [`Pipeline`] holds the state of each cluster and the series of all clusters. In the daemon
//! it belongs to the aggregator; tests, benchmarks and the demo call it directly.

mod captured;
mod cluster;
mod delivered;
mod filter;
mod overview;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

pub use self::captured::{Captured, NotRestored};
use self::cluster::Cluster;
use self::delivered::Delivered;
use self::filter::Filter;
pub use self::overview::{BrokerOverview, Overview};
use self::rounds::{Output, Rounds};
use crate::bounds::Bounds;
use crate::config::MetricsConfig;
use crate::event::{Accept, Batch, BrokerId, DecodeError, Mark};
use crate::profile::{Keep, Profile, ProfileName};
use crate::series::{Refused, SeriesTable, Snapshot};
use crate::state::{Hint, Limits, PollTargets, Report, Shard, State};
use crate::telemetry::metrics::{EventMetrics, Published, SeriesMetrics, Telemetry};
use crate::telemetry::process::Process;
use crate::timestamp::{ClockStep, Timestamp};

/// All of the daemon's state about Celery.
#[derive(Debug)]
pub struct Pipeline {
    rounds: Rounds,
    clusters: Vec<Cluster>,
    views: Vec<View>,
    series_ttl: Duration,
    /// Whether exemplars with task ids are recorded.
    exemplars: bool,
    telemetry: Telemetry,
    metrics: SeriesMetrics,
}

/// All clusters in one profile.
#[derive(Debug)]
struct View {
    name: ProfileName,
    series: SeriesTable,
    published: Published,
    /// By cluster.
    profiles: Vec<Profile>,
}

/// The pipeline's settings for one broker.
#[derive(Debug)]
pub struct ClusterConfig {
    /// Name of the broker in the log.
    pub broker: Arc<str>,
    /// Value of the label `broker`; absent if the only configured broker has no name.
    pub label: Option<Arc<str>>,
    /// Accepted serializers.
    pub accept: Accept,
    /// Whether the broker drops expired messages, as RabbitMQ does.
    pub drops_expired: bool,
    /// Whether workers are asked for their queues.
    pub asks_workers: bool,
    pub holds: BrokerRetention,
    /// Which share of the workers' events arrives here; `None` if all do.
    pub shard: Option<Shard>,
    pub metrics: EventMetrics,
}

/// Which events a broker retains while celeriac is not reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerRetention {
    Nothing,
    /// Unacknowledged messages, of which up to this many are in flight.
    Unacknowledged(usize),
    /// A stream: its name, and how many messages may be read again after a restart.
    Stream(String, usize),
}

/// The settings of a profile, which shows all clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewConfig {
    pub profile: ProfileName,
    /// Whether an output uses native histograms, in addition to the classic ones.
    pub native_histograms: bool,
}

impl ViewConfig {
    /// Returns a profile with classic histograms only.
    pub const fn classic(profile: ProfileName) -> Self {
        Self {
            profile,
            native_histograms: false,
        }
    }
}

impl Pipeline {
    /// Creates a pipeline for `clusters`, in the order of the configured brokers, shown in each of
    /// `views`.
    pub fn new(
        config: &MetricsConfig,
        clusters: Vec<ClusterConfig>,
        views: &[ViewConfig],
        mut telemetry: Telemetry,
        now: Timestamp,
    ) -> Self {
        let profiles: Vec<ProfileName> = views.iter().map(|view| view.profile).collect();
        let metrics = telemetry.series(&profiles);
        let views = views.iter().map(|view| {
            let name = view.profile;
            let mut series = SeriesTable::new(config.series_max, now)
                .with_native_histograms(view.native_histograms)
                .with_relabel(config.relabel.clone())
                .within(telemetry.bounds().clone());
            let labels = clusters.iter().map(|cluster| cluster.label.clone());
            let profiles = labels
                .map(|label| {
                    let (native, exporters) = (&config.native, &config.exporter_buckets);
                    Profile::new(name, native, exporters, label, &mut series)
                })
                .collect();
            let published = telemetry.open(&mut series);
            View {
                name,
                series,
                published,
                profiles,
            }
        });
        let views = views.collect();
        let limits = Limits {
            keep_foreign: profiles.iter().any(|profile| profile.shows_foreign()),
            ..config.limits.clone()
        };
        let is_only = clusters.len() == 1;
        let clusters = clusters.into_iter().enumerate();
        let clusters = clusters.map(|(at, cluster)| {
            let is_first = cluster.shard.is_none_or(|shard| shard.is_first());
            let limits = Limits {
                broker_drops_expired: cluster.drops_expired,
                asks_workers: cluster.asks_workers,
                broker_holds_events: cluster.holds != BrokerRetention::Nothing,
                awaits_periodic: is_only && is_first,
                shard: cluster.shard,
                ..limits.clone()
            };
            let state = State::within(limits, telemetry.bounds().clone());
            Cluster::new(BrokerId::new(at), cluster, state, config)
        });
        Self {
            rounds: Rounds::default(),
            clusters: clusters.collect(),
            views,
            series_ttl: config.series_ttl,
            exemplars: config.exemplars,
            telemetry,
            metrics,
        }
    }

    /// Applies the settings that can change at runtime: limits, times to live, exemplars.
    pub fn reconfigure(&mut self, config: &MetricsConfig) {
        self.series_ttl = config.series_ttl;
        self.exemplars = config.exemplars;
        for view in &mut self.views {
            view.series.limit(config.series_max);
        }
        for cluster in &mut self.clusters {
            cluster.state.limit(&config.limits);
        }
    }

    /// Adjusts all state after the wall clock was set.
    pub fn clock_set(&mut self, step: ClockStep) {
        for cluster in &mut self.clusters {
            cluster.state.clock_set(step);
        }
    }

    /// Applies every event of a batch.
    pub fn apply_batch(&mut self, batch: &Batch) {
        let Some(cluster) = self.clusters.get_mut(batch.broker.index()) else {
            debug_assert!(false, "a batch names a configured broker");
            return;
        };
        for view in &mut self.views {
            view.series.now(batch.received);
        }
        let output = Output {
            views: &mut self.views,
            exemplars: self.exemplars,
            bounds: self.telemetry.bounds(),
        };
        self.rounds.apply(batch, cluster, output);
    }

    /// Applies a report from a broker or from the workers behind it.
    pub fn report(&mut self, report: &Report) {
        let Some(cluster) = self.clusters.get_mut(report.broker.index()) else {
            debug_assert!(false, "a report names a configured broker");
            return;
        };
        let now = report.received;
        cluster
            .state
            .report(&report.answers, report.asked, now, &mut cluster.changes);
        cluster.show(&mut self.views, now);
    }

    /// Returns all series as of `now`, in one snapshot per profile. `last` means that no more
    /// snapshots follow.
    pub fn snapshots(&mut self, now: Timestamp, last: bool) -> Vec<Snapshot> {
        for cluster in &mut self.clusters {
            cluster.state.expire(now, &mut cluster.changes);
            cluster.show(&mut self.views, now);
        }
        self.unchanged_snapshots(now, last)
    }

    /// Like [`snapshots`](Self::snapshots), but without changes caused by elapsed time. Used for
    /// the first snapshot after a restore, which must not be ahead of the checkpoint.
    pub fn unchanged_snapshots(&mut self, now: Timestamp, last: bool) -> Vec<Snapshot> {
        let mut limited = [0, 0, 0];
        for cluster in &mut self.clusters {
            let keep = Keep::new(&cluster.state, self.series_ttl, now);
            for view in &mut self.views {
                let profile = &mut view.profiles[cluster.id.index()];
                let Cluster { state, filter, .. } = &mut *cluster;
                let mut shows = |name| filter.shows(Some(name), state.names());
                profile.level(state, &mut view.series, now, &mut shows);
                profile.expire(&keep, &mut view.series);
                limited[0] += profile.limited().series;
                limited[1] += profile.limited().exceptions;
                limited[2] += profile.limited().queues;
            }
            cluster.sweep(&self.views);
            cluster.look(now);
        }
        for view in &mut self.views {
            view.series.expire_restored(self.series_ttl, now);
        }
        self.metrics.limited_series.raise_to(limited[0]);
        self.metrics.limited_exceptions.raise_to(limited[1]);
        self.metrics.limited_queues.raise_to(limited[2]);
        let refused = self.views.iter().map(|view| view.series.refused());
        let refused: Refused = refused.sum();
        self.metrics.relabel_dropped.raise_to(refused.dropped);
        self.metrics.relabel_invalid.raise_to(refused.invalid);
        for (view, gauge) in self.views.iter().zip(&self.metrics.series) {
            gauge.set(float(view.series.samples()));
        }
        let readings = self.telemetry.read();
        let views = self.views.iter_mut().map(|view| {
            view.published.publish(&readings, &mut view.series);
            view.series.snapshot(now, last)
        });
        views.collect()
    }

    /// Returns the profiles in the order of the snapshots.
    pub fn profiles(&self) -> impl Iterator<Item = ProfileName> {
        self.views.iter().map(|view| view.name)
    }

    /// Counts the events that are still held because their task's queue is unknown. Called at the
    /// end, when no more answers will arrive.
    pub fn release_held(&mut self, now: Timestamp) {
        for cluster in &mut self.clusters {
            cluster.state.release_held(&mut cluster.changes);
            cluster.show(&mut self.views, now);
        }
    }

    /// Returns the bounds of the process.
    pub const fn bounds(&self) -> &Bounds {
        self.telemetry.bounds()
    }

    /// Returns how many worker processes have started, so that pollers learn of new ones quickly.
    pub fn begun(&self) -> u64 {
        self.clusters
            .iter()
            .map(|cluster| cluster.state.begun())
            .sum()
    }

    /// Returns, for each broker, what its poller needs to know.
    pub fn known(&self) -> impl Iterator<Item = (BrokerId, PollTargets)> {
        let clusters = self.clusters.iter();
        clusters.map(|cluster| (cluster.id, cluster.state.known()))
    }

    /// Returns, for each broker, the problems with its cluster's setup as of the newest snapshot.
    pub fn hints(&self) -> impl Iterator<Item = (&Arc<str>, &[Hint])> {
        self.clusters
            .iter()
            .map(|cluster| (&cluster.broker, &*cluster.hints))
    }

    /// Returns whether a broker's events are subscribed to.
    pub fn is_subscribed(&self, broker: &str) -> bool {
        let mut clusters = self.clusters.iter();
        clusters.any(|cluster| *cluster.broker == *broker && cluster.is_subscribed())
    }

    /// Records the process statistics reported by the kernel.
    pub fn process(&self, process: Process) {
        self.telemetry.process(process);
    }

    /// Records how long the newest snapshot took.
    pub fn snapshot_took(&self, duration: Duration) {
        self.metrics.snapshot_duration.set(duration.as_secs_f64());
    }

    /// Returns, for each broker and reason, how many messages and events could not be decoded, with
    /// the newest error. Each serializer that is not accepted is reported separately.
    pub fn refused(&self) -> impl Iterator<Item = (&Arc<str>, DecodeError, u64)> {
        self.clusters.iter().flat_map(|cluster| {
            let errors = cluster.errors.iter();
            errors.map(|(error, count)| (&cluster.broker, *error, *count))
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds counts as floats"
)]
const fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
