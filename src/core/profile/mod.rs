//! Turns changes into observations: each profile exposes the facts about a cluster as metric
//! families.
//!
//! Each file is one profile. A profile opens the series that it needs, updates them, and closes
//! them if they have not changed for long. It keeps handles to open series, so a change costs one
//! lookup by number. Each profile has its own table of series, because the same metric name has
//! different labels in another profile.

mod group;
mod groups;
mod vector;

mod beats;
mod config;
mod gauges;
mod long_running;
mod native;
mod periodic;
mod stalled;
mod workflows;

mod celery_exporter;
mod celery_prometheus_exporter;
mod flower;
mod ovalmoney;
mod zeit;

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;

use self::celery_exporter::CeleryExporter;
use self::celery_prometheus_exporter::CeleryPrometheusExporter;
pub use self::config::{BucketOverride, NativeConfig, TaskLabels};
use self::flower::Flower;
use self::native::Native;
use self::ovalmoney::Ovalmoney;
use self::vector::python_buckets;
use self::zeit::Zeit;
use crate::series::{Buckets, FamilyId, LabelName, LabelSet, Origin, Room, SeriesId, SeriesTable};
use crate::state::{Change, Names, OTHER, State, Symbol};
use crate::timestamp::Timestamp;

/// The label value for a task whose name no event reported.
const UNKNOWN: &str = "unknown";

/// Bucket bounds of the exporters' profiles; `None`: those of the exporter.
#[derive(Clone, Debug, Default)]
pub struct ExporterBuckets {
    pub runtime: Option<Arc<Buckets>>,
    /// Of waits and latencies.
    pub wait: Option<Arc<Buckets>>,
}

impl ExporterBuckets {
    fn runtime(&self) -> Arc<Buckets> {
        self.runtime.clone().unwrap_or_else(python_buckets)
    }

    fn wait(&self) -> Arc<Buckets> {
        self.wait.clone().unwrap_or_else(python_buckets)
    }
}

/// The available profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProfileName {
    Native,
    CeleryExporter,
    CeleryPrometheusExporter,
    Ovalmoney,
    Flower,
    Zeit,
}

impl ProfileName {
    /// Every profile.
    pub const ALL: [Self; 6] = [
        Self::Native,
        Self::CeleryExporter,
        Self::CeleryPrometheusExporter,
        Self::Ovalmoney,
        Self::Flower,
        Self::Zeit,
    ];

    /// The name used in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::CeleryExporter => "celery-exporter",
            Self::CeleryPrometheusExporter => "celery-prometheus-exporter",
            Self::Ovalmoney => "ovalmoney",
            Self::Flower => "flower",
            Self::Zeit => "zeit",
        }
    }

    /// Whether it exposes clients, and event types that Celery does not define.
    pub const fn shows_foreign(self) -> bool {
        match self {
            Self::CeleryExporter | Self::Flower => true,
            Self::Native | Self::CeleryPrometheusExporter | Self::Ovalmoney | Self::Zeit => false,
        }
    }
}

/// The context in which a profile applies changes.
#[derive(Debug)]
pub struct Context<'a> {
    pub names: &'a Names,
    pub series: &'a mut SeriesTable,
    pub now: Timestamp,
    /// The task of the current event, if exemplars may name it.
    ///
    /// Used for observations and failures, which always belong to that task. A [`Change::Lost`] or
    /// [`Change::Moved`] may concern another one.
    pub origin: Option<Origin<'a>>,
}

/// Decides which series stay.
#[derive(Debug)]
pub struct Keep {
    now: Timestamp,
    ttl: Duration,
    /// Workers that are online, and their hosts.
    alive: HashSet<Symbol>,
}

impl Keep {
    /// Keeps series that changed within `ttl` or belong to a worker that is online.
    pub fn new(state: &State, ttl: Duration, now: Timestamp) -> Self {
        let online = state.workers().filter(|worker| worker.online);
        let names = online.flat_map(|worker| [worker.name, state.names().host(worker.name)]);
        Self {
            now,
            ttl,
            alive: names.collect(),
        }
    }

    fn is_old(&self, changed: Timestamp) -> bool {
        self.now.since(changed) > self.ttl
    }

    /// Whether it has reached half of its time to live.
    fn is_aging(&self, changed: Timestamp) -> bool {
        self.now.since(changed) > self.ttl / 2
    }

    fn is_alive(&self, worker: Symbol) -> bool {
        self.alive.contains(&worker)
    }
}

/// The series of one cluster in one profile.
#[derive(Debug)]
pub enum Profile {
    Native(Box<Native>),
    CeleryExporter(Box<CeleryExporter>),
    CeleryPrometheusExporter(Box<CeleryPrometheusExporter>),
    Ovalmoney(Box<Ovalmoney>),
    Flower(Box<Flower>),
    Zeit(Box<Zeit>),
}

/// Calls the same method on whichever profile this is.
macro_rules! each {
    ($profile:expr, $one:ident => $call:expr) => {
        match $profile {
            Profile::Native($one) => $call,
            Profile::CeleryExporter($one) => $call,
            Profile::CeleryPrometheusExporter($one) => $call,
            Profile::Ovalmoney($one) => $call,
            Profile::Flower($one) => $call,
            Profile::Zeit($one) => $call,
        }
    };
}

impl Profile {
    /// Creates the profile of one cluster. `broker` is set if its series carry that label.
    pub fn new(
        name: ProfileName,
        config: &NativeConfig,
        buckets: &ExporterBuckets,
        broker: Option<Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let label = broker.as_ref();
        match name {
            ProfileName::Native => Self::Native(Native::new(config.clone(), broker, series).into()),
            ProfileName::CeleryExporter => {
                Self::CeleryExporter(CeleryExporter::new(buckets, label, series).into())
            }
            ProfileName::CeleryPrometheusExporter => {
                let profile = CeleryPrometheusExporter::new(buckets, label, series);
                Self::CeleryPrometheusExporter(profile.into())
            }
            ProfileName::Ovalmoney => {
                Self::Ovalmoney(Ovalmoney::new(buckets, label, series).into())
            }
            ProfileName::Flower => Self::Flower(Flower::new(buckets, label, series).into()),
            ProfileName::Zeit => Self::Zeit(Zeit::new(buckets, label, series).into()),
        }
    }

    /// Adds one change to the series.
    pub fn apply(&mut self, change: Change, context: &mut Context<'_>) {
        each!(self, profile => profile.apply(change, context));
    }

    /// Sets gauges from the state, for values that are not sums of changes. Gauges by task name are
    /// set for the tasks that `shows` accepts.
    pub fn level(
        &mut self,
        state: &State,
        series: &mut SeriesTable,
        now: Timestamp,
        shows: &mut dyn FnMut(Symbol) -> bool,
    ) {
        let mut context = Context {
            names: state.names(),
            series,
            now,
            origin: None,
        };
        each!(self, profile => profile.level(state, &mut context));
        if let Self::Native(profile) = self {
            profile.level_tasks(state, &mut context, shows);
        }
    }

    /// Opens restored series that must not end, and sets the sizes of sets to 0. Call it once the
    /// series and the workers are restored. Tasks in flight are added afterwards, as tasks that
    /// [moved](Change::Moved) from nowhere.
    pub fn after_restore(&mut self, state: &State, series: &mut SeriesTable, now: Timestamp) {
        let mut context = Context {
            names: state.names(),
            series,
            now,
            origin: None,
        };
        match self {
            Self::Native(profile) => profile.after_restore(state, &mut context),
            Self::CeleryPrometheusExporter(profile) => profile.after_restore(&mut context),
            Self::Flower(profile) => profile.after_restore(&mut context),
            // These have only counters, and gauges that are set again anyway.
            Self::CeleryExporter(_) | Self::Ovalmoney(_) | Self::Zeit(_) => {}
        }
    }

    /// Adds what is only added periodically, so that series and state match. Call it before they
    /// are captured.
    pub fn before_capture(&mut self, state: &State, series: &mut SeriesTable, now: Timestamp) {
        let mut context = Context {
            names: state.names(),
            series,
            now,
            origin: None,
        };
        match self {
            Self::Native(profile) => profile.before_capture(state, &mut context),
            Self::CeleryExporter(_)
            | Self::CeleryPrometheusExporter(_)
            | Self::Ovalmoney(_)
            | Self::Flower(_)
            | Self::Zeit(_) => {}
        }
    }

    /// Ends the series that have not changed for a while and do not belong to an online worker.
    pub fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        each!(self, profile => profile.expire(keep, series));
    }

    /// The names that the profile refers to.
    pub fn names(&self) -> Vec<Symbol> {
        each!(self, profile => profile.names().collect())
    }

    /// How often limits have applied so far.
    pub fn limited(&self) -> Limited {
        each!(self, profile => profile.limited())
    }
}

/// How often a limit caused a change to be counted in an overflow series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limited {
    pub series: u64,
    pub exceptions: u64,
    pub queues: u64,
}

/// A label set, with the broker label if configured.
fn label_set(
    broker: Option<&Arc<str>>,
    labels: impl IntoIterator<Item = (&'static str, Arc<str>)>,
) -> LabelSet {
    let broker = broker.map(|broker| ("broker", Arc::clone(broker)));
    let labels = labels.into_iter().chain(broker);
    LabelSet::new(labels.map(|(name, value)| (LabelName::from_static(name), value)))
}

/// A series that does not count against the limit.
fn reserved(series: &mut SeriesTable, family: FamilyId, labels: LabelSet) -> SeriesId {
    series
        .open(family, labels, Room::Reserved)
        .expect("the reserve has no limit")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds counts as floats"
)]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
