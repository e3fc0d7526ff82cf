//! The handles of the daemon's metrics about itself.
//!
//! Handles are atomics, created once at startup. Each stage gets its own handles, and the hot path
//! only adds to them. Each snapshot copies the values into the table of series
//! ([`Telemetry::publish`]), so the same encoders push and expose them along with everything else.

mod cells;
mod definitions;
mod gap;
mod persistent;
mod published;
mod values;

use std::sync::Arc;
use std::time::Duration;

use self::cells::{BATCH_BOUNDS, number};
pub use self::cells::{Counter, Durations, Elapsed, Gauge};
pub(super) use self::definitions::*;
pub use self::definitions::{DEFINITIONS, Definition, MetricType, starts_over};
pub use self::gap::Gap;
use self::published::{Place, Reading};
pub use self::published::{Published, Readings};
pub use self::values::OwnValue;
use super::process::Process;
use crate::bounds::{Bounds, Limit, Part};
use crate::event::{Reason, Refusal};
use crate::profile::ProfileName;
use crate::series::{Buckets, Family, LabelName, LabelSet, MetricKind, RestartPolicy, SeriesTable};
use crate::state::HintReason;
use crate::timestamp::Timestamp;
use crate::version::{DATE, REVISION};

/// Metrics of one broker connection. The hot path only adds.
#[derive(Clone, Debug)]
pub struct BrokerMetrics {
    pub connected: Gauge,
    pub reconnects: Counter,
    pub gap: Gap,
    pub messages: Counter,
    pub dropped_buffer_full: Counter,
    pub dropped_stream_cut: Counter,
    pub dropped_shutdown: Counter,
    pub bounds: Bounds,
}

impl BrokerMetrics {
    /// Counts messages dropped for a reason. Delivered messages are counted when they are read.
    pub fn dropped(&self, reason: &Counter, messages: u64) {
        self.messages.add(messages);
        reason.add(messages);
    }
}

/// Metrics about polling one broker and its workers.
#[derive(Clone, Debug)]
pub struct PollMetrics {
    pub bounds: Bounds,
    /// Whether the broker's events are subscribed to, over a connection of its own.
    pub connected: Gauge,
    pub queues: RoundMetrics,
    pub control: RoundMetrics,
}

/// Metrics about one kind of poll.
#[derive(Clone, Debug, Default)]
pub struct RoundMetrics {
    pub rounds: Counter,
    pub failures: Counter,
    pub duration: Gauge,
}

/// Metrics about the events of one broker.
#[derive(Clone, Debug)]
pub struct EventMetrics {
    /// Set by the source.
    pub connected: Gauge,
    pub messages: Counter,
    pub redelivered: Counter,
    pub repeated: Counter,
    pub missing: Counter,
    pub clamped: Counter,
    pub gap: Gap,
    pub lag: Gauge,
    pub tasks_tracked: Gauge,
    pub held: Gauge,
    pub tasks_evicted: Counter,
    undecodable: Vec<Counter>,
    refused: Vec<Counter>,
    hints: Vec<Gauge>,
}

impl EventMetrics {
    /// Returns the counter of events that could not be decoded for this reason.
    pub fn undecodable(&self, reason: Reason) -> &Counter {
        &self.undecodable[reason as usize]
    }

    /// Returns the counter of implausible values refused for this reason.
    pub fn refused(&self, refusal: Refusal) -> &Counter {
        &self.refused[refusal as usize]
    }

    /// Returns the gauge of a hint.
    pub fn hint(&self, reason: HintReason) -> &Gauge {
        &self.hints[reason as usize]
    }
}

/// Metrics about the table of series.
#[derive(Clone, Debug)]
pub struct SeriesMetrics {
    /// One gauge per enabled profile.
    pub series: Vec<Gauge>,
    pub limited_series: Counter,
    pub limited_exceptions: Counter,
    pub limited_queues: Counter,
    pub relabel_dropped: Counter,
    pub relabel_invalid: Counter,
    pub snapshot_duration: Gauge,
}

/// Metrics about configuration reloads.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    pub successful: Gauge,
    pub timestamp: Gauge,
}

/// Metrics about the checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointMetrics {
    pub duration: Gauge,
    pub failures: Counter,
    pub timestamp: Gauge,
    pub size: Gauge,
}

/// Metrics about the memory budget and the limits.
#[derive(Debug)]
struct BoundsMetrics {
    used: [Gauge; Part::ALL.len()],
    reached: [Counter; Limit::ALL.len()],
}

/// All metrics of the daemon.
#[derive(Debug, Default)]
pub struct Telemetry {
    rows: Vec<(Definition, Labels, Handle)>,
    process: Option<ProcessMetrics>,
    bounds: Bounds,
    bounded: Option<BoundsMetrics>,
}

pub(super) type Labels = Vec<(&'static str, Arc<str>)>;

#[derive(Clone, Debug)]
enum Handle {
    Counter(Counter),
    Elapsed(Elapsed),
    Gauge(Gauge),
    /// A timestamp that has no series until it is set: 0 would read as an age of half a century.
    Time(Gauge),
    Durations(Durations),
}

#[derive(Debug)]
struct ProcessMetrics {
    cpu: Elapsed,
    resident: Gauge,
    virtual_memory: Gauge,
    open_fds: Gauge,
}

impl Telemetry {
    /// Creates the metrics of a daemon that started at `start`, without any broker or sink.
    pub fn new(start: Timestamp) -> Self {
        let mut telemetry = Self::default();
        let build = vec![
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("revision", REVISION.into()),
            ("build_date", DATE.into()),
        ];
        telemetry.gauge(BUILD_INFO, build).set(1.0);
        telemetry.gauge(START_TIME, Vec::new()).set(start.seconds());
        let cpu = Elapsed::default();
        telemetry
            .rows
            .push((CPU, Vec::new(), Handle::Elapsed(cpu.clone())));
        telemetry.process = Some(ProcessMetrics {
            cpu,
            resident: telemetry.gauge(RESIDENT, Vec::new()),
            virtual_memory: telemetry.gauge(VIRTUAL, Vec::new()),
            open_fds: telemetry.gauge(OPEN_FDS, Vec::new()),
        });
        let part = |part: Part| vec![("part", part.name().into())];
        let limit = |limit: Limit| vec![("limit", limit.name().into())];
        telemetry.bounded = Some(BoundsMetrics {
            used: Part::ALL.map(|one| telemetry.gauge(MEMORY_USED, part(one))),
            reached: Limit::ALL.map(|one| telemetry.counter(LIMIT_REACHED, limit(one))),
        });
        telemetry
    }

    /// Adds the memory budget and the limits of the process.
    #[must_use]
    pub fn within(mut self, bounds: Bounds) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "Prometheus holds sizes as floats"
        )]
        self.gauge(MEMORY_LIMIT, Vec::new())
            .set(bounds.memory() as f64);
        self.bounds = bounds;
        self
    }

    /// Returns the memory budget and the limits of the process.
    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Adds the metrics of a broker.
    pub fn broker(&mut self, name: &Arc<str>) -> (BrokerMetrics, EventMetrics) {
        let labels = || vec![("broker", Arc::clone(name))];
        let with = |label, value: &str| [labels(), vec![(label, value.into())]].concat();
        let gap = Gap::default();
        self.rows
            .push((BROKER_GAP, labels(), Handle::Elapsed(gap.elapsed.clone())));
        let messages = self.counter(MESSAGES, labels());
        let connected = self.gauge(BROKER_CONNECTED, labels());
        let broker = BrokerMetrics {
            connected: connected.clone(),
            reconnects: self.counter(BROKER_RECONNECTS, labels()),
            gap: gap.clone(),
            messages: messages.clone(),
            dropped_buffer_full: self.counter(DROPPED, with("reason", "buffer_full")),
            dropped_stream_cut: self.counter(DROPPED, with("reason", "stream_cut")),
            dropped_shutdown: self.counter(DROPPED, with("reason", "shutdown")),
            bounds: self.bounds.clone(),
        };
        let reasons = Reason::ALL.iter();
        let undecodable = reasons
            .map(|reason| self.counter(UNDECODABLE, with("reason", reason.name())))
            .collect();
        let events = EventMetrics {
            connected,
            messages,
            redelivered: self.counter(REDELIVERED, labels()),
            repeated: self.counter(REPEATED, labels()),
            missing: self.counter(MISSING, labels()),
            clamped: self.counter(CLAMPED, labels()),
            refused: Refusal::ALL
                .iter()
                .map(|refusal| self.counter(REFUSED, with("reason", refusal.name())))
                .collect(),
            hints: HintReason::ALL
                .iter()
                .map(|reason| self.gauge(HINT, with("reason", reason.name())))
                .collect(),
            gap,
            lag: self.gauge(LAG, labels()),
            tasks_tracked: self.gauge(TASKS_TRACKED, labels()),
            held: self.gauge(EVENTS_HELD, labels()),
            tasks_evicted: self.counter(TASKS_EVICTED, labels()),
            undecodable,
        };
        (broker, events)
    }

    /// Adds the metrics of a broker's poller.
    pub fn poll(&mut self, name: &Arc<str>, connected: Gauge) -> PollMetrics {
        let bounds = self.bounds.clone();
        let mut rounds = |kind: &str| {
            let labels = || vec![("broker", Arc::clone(name)), ("kind", kind.into())];
            RoundMetrics {
                rounds: self.counter(POLLS, labels()),
                failures: self.counter(POLL_FAILURES, labels()),
                duration: self.gauge(POLL_DURATION, labels()),
            }
        };
        PollMetrics {
            bounds,
            connected,
            queues: rounds("queues"),
            control: rounds("control"),
        }
    }

    /// Adds the metrics of the tables of series, one table per profile.
    pub fn series(&mut self, profiles: &[ProfileName]) -> SeriesMetrics {
        let limit = |limit: &str| vec![("limit", limit.into())];
        let outcome = |outcome: &str| vec![("outcome", outcome.into())];
        SeriesMetrics {
            series: profiles
                .iter()
                .map(|profile| self.gauge(SERIES, vec![("profile", profile.name().into())]))
                .collect(),
            limited_series: self.counter(SERIES_LIMITED, limit("max_series")),
            limited_exceptions: self.counter(SERIES_LIMITED, limit("max_exceptions")),
            limited_queues: self.counter(SERIES_LIMITED, limit("max_queues")),
            relabel_dropped: self.counter(SERIES_RELABELLED, outcome("dropped")),
            relabel_invalid: self.counter(SERIES_RELABELLED, outcome("invalid")),
            snapshot_duration: self.gauge(SNAPSHOT_DURATION, Vec::new()),
        }
    }

    /// Adds the metrics of configuration reloads.
    pub fn reload(&mut self, start: Timestamp) -> ReloadMetrics {
        let metrics = ReloadMetrics {
            successful: self.gauge(RELOAD_SUCCESSFUL, Vec::new()),
            timestamp: self.time(RELOAD_TIMESTAMP, Vec::new()),
        };
        metrics.successful.set(1.0);
        metrics.timestamp.set(start.seconds());
        metrics
    }

    /// Adds the metrics of the checkpoint.
    pub fn checkpoint(&mut self) -> CheckpointMetrics {
        CheckpointMetrics {
            duration: self.gauge(CHECKPOINT_DURATION, Vec::new()),
            failures: self.counter(CHECKPOINT_FAILURES, Vec::new()),
            timestamp: self.time(CHECKPOINT_TIMESTAMP, Vec::new()),
            size: self.gauge(CHECKPOINT_SIZE, Vec::new()),
        }
    }

    /// Opens a series in a table for each metric, except for timestamps, which may not be known
    /// yet. After that, call [`Published::publish`] with each snapshot.
    pub fn open(&self, series: &mut SeriesTable) -> Published {
        let bounds = Arc::new(Buckets::new(&BATCH_BOUNDS).expect("the bounds increase"));
        let family = |definition: &Definition| Family {
            name: definition.name.into(),
            kind: match definition.kind {
                MetricType::Counter => MetricKind::Counter,
                MetricType::Gauge => MetricKind::Gauge,
                MetricType::Histogram => MetricKind::Histogram(Arc::clone(&bounds)),
            },
            help: definition.help,
            labels: definition.labels.to_vec(),
        };
        for definition in DEFINITIONS {
            let family = series.family(family(definition));
            let restart_policy = if definition.persistent {
                RestartPolicy::KeepIfOpen
            } else {
                RestartPolicy::Reset
            };
            series.restart_policy(family, restart_policy);
        }
        let rows = self.rows.iter().map(|(definition, labels, handle)| {
            let family = series.family(family(definition));
            let labels = labels
                .iter()
                .map(|(name, value)| (LabelName::from_static(name), Arc::clone(value)));
            let labels = LabelSet::new(labels);
            match handle {
                Handle::Time(_) => Place::Awaited(family, labels),
                Handle::Counter(_)
                | Handle::Elapsed(_)
                | Handle::Gauge(_)
                | Handle::Durations(_) => Place::open(family, labels, series),
            }
        });
        Published {
            buckets: Arc::clone(&bounds),
            rows: rows.collect(),
        }
    }

    /// Reads all metrics once, to be published in every table. This way, two receivers, or two
    /// profiles sent to the same receiver, get the same values.
    pub fn read(&self) -> Readings {
        if let Some(metrics) = &self.bounded {
            for (part, gauge) in Part::ALL.into_iter().zip(&metrics.used) {
                gauge.set(number(self.bounds.used(part)));
            }
            for (limit, counter) in Limit::ALL.into_iter().zip(&metrics.reached) {
                counter.raise_to(self.bounds.times(limit));
            }
        }
        let rows = self.rows.iter().map(|(_, _, handle)| match handle {
            Handle::Counter(counter) => Reading::Number(number(counter.get())),
            Handle::Elapsed(elapsed) => Reading::Number(elapsed.seconds()),
            Handle::Gauge(gauge) => Reading::Number(gauge.get()),
            Handle::Time(gauge) => match gauge.get() {
                0.0 => Reading::Unset,
                time => Reading::Number(time),
            },
            Handle::Durations(durations) => Reading::Durations(durations.read()),
        });
        Readings(rows.collect())
    }

    /// Records the process statistics reported by the kernel.
    pub fn process(&self, process: Process) {
        let Some(metrics) = &self.process else { return };
        let cpu = Duration::try_from_secs_f64(process.cpu_seconds).unwrap_or_default();
        metrics.cpu.set(cpu);
        metrics.resident.set(process.resident_bytes);
        metrics.virtual_memory.set(process.virtual_bytes);
        metrics.open_fds.set(process.open_fds);
    }

    pub(super) fn durations(&mut self, definition: Definition, labels: Labels) -> Durations {
        let durations = Durations::default();
        let handle = Handle::Durations(durations.clone());
        self.rows.push((definition, labels, handle));
        durations
    }

    pub(super) fn counter(&mut self, definition: Definition, labels: Labels) -> Counter {
        let counter = Counter::default();
        self.rows
            .push((definition, labels, Handle::Counter(counter.clone())));
        counter
    }

    pub(super) fn gauge(&mut self, definition: Definition, labels: Labels) -> Gauge {
        let gauge = Gauge::default();
        self.rows
            .push((definition, labels, Handle::Gauge(gauge.clone())));
        gauge
    }

    pub(super) fn time(&mut self, definition: Definition, labels: Labels) -> Gauge {
        let gauge = Gauge::default();
        self.rows
            .push((definition, labels, Handle::Time(gauge.clone())));
        gauge
    }
}

#[cfg(test)]
mod tests;
