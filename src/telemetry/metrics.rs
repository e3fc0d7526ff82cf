//! Every metric of the daemon about itself: name, type, help, handle.
//!
//! Handles are atomics that are made once, when the stages are; a stage gets its part by value, and the hot
//! path only adds. With each snapshot the values are copied into the table of series ([`Telemetry::publish`]),
//! so that they are pushed and exposed with everything else, by the same encoders.

mod gap;
mod lasting;
mod published;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub use self::gap::Gap;
use self::published::{Place, Reading};
pub use self::published::{Published, Readings};
use super::process::Process;
use crate::bounds::{Bounds, Limit, Part};
use crate::event::{Reason, Refusal};
use crate::profile::ProfileName;
use crate::series::{Across, Buckets, Family, LabelName, LabelSet, MetricKind, Series};
use crate::state::HintReason;
use crate::timestamp::Timestamp;

/// A metric of the daemon: what the documentation says of it, and the table that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    pub name: &'static str,
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    /// A counter that goes on where the process before ended. The books of sinks are of one process: what was taken is
    /// sent, failed, dropped or pending in that one.
    pub lasting: bool,
}

macro_rules! definitions {
    ($($constant:ident = $($lasting:ident)? $kind:literal $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) const $constant: Definition = Definition {
            name: $name,
            kind: $kind,
            labels: &$labels,
            help: $help,
            lasting: !stringify!($($lasting)?).is_empty(),
        };)*
        /// Every metric of the daemon, in the order in which they go out.
        pub const DEFINITIONS: &[Definition] = &[$($constant),*];
    };
}

definitions! {
    BUILD_INFO = "gauge" "celeriac_build_info" ["version"], "Information about the build; always 1.";
    BROKER_CONNECTED = "gauge" "celeriac_broker_connected" ["broker"], "Whether celeriac is subscribed to the broker's events (1) or not (0).";
    BROKER_RECONNECTS = lasting "counter" "celeriac_broker_reconnects_total" ["broker"], "Total number of times the subscription was re-established.";
    BROKER_GAP = lasting "counter" "celeriac_broker_gap_seconds_total" ["broker"], "Total time without a subscription, in seconds, counted from the last sign of life of the broker. With a data_dir, includes the time the daemon was not running.";
    POLLS = lasting "counter" "celeriac_polls_total" ["broker", "kind"], "Total number of polls of queues or workers.";
    POLL_FAILURES = lasting "counter" "celeriac_poll_failures_total" ["broker", "kind"], "Total number of failed polls.";
    POLL_DURATION = "gauge" "celeriac_poll_duration_seconds" ["broker", "kind"], "Duration of the last poll.";
    MESSAGES = lasting "counter" "celeriac_messages_total" ["broker"], "Total number of messages received from the broker.";
    UNDECODABLE = lasting "counter" "celeriac_messages_undecodable_total" ["broker", "reason"], "Total number of messages, and of events within messages, that could not be decoded, by reason.";
    DROPPED = lasting "counter" "celeriac_messages_dropped_total" ["broker", "reason"], "Total number of messages dropped before they were read, by reason.";
    DUPLICATE = lasting "counter" "celeriac_messages_duplicate_total" ["broker", "reason"], "Total number of duplicates: messages that the broker redelivered, which are dropped (redelivered), and events that a worker sent twice, which count in celery_events_total only (repeated).";
    MISSING = lasting "counter" "celeriac_events_missing_total" ["broker"], "Total number of tasks that workers reported as started but whose events did not arrive.";
    CLAMPED = lasting "counter" "celeriac_intervals_clamped_total" ["broker"], "Total number of negative intervals between the clocks of two hosts; they count as 0.";
    REFUSED = lasting "counter" "celeriac_values_refused_total" ["broker", "reason"], "Total number of implausible numbers in events that were ignored: a timestamp more than ten minutes ahead, replaced by the time of receipt (timestamp), a runtime longer than the time since the start or a wait longer than a year (duration), and a worker's processed count that grew too fast (processed).";
    HINT = "gauge" "celeriac_hint" ["broker", "reason"], "Whether the cluster's setup keeps events from arriving (1) or not (0), by reason; the log and /-/ready give details.";
    LAG = "gauge" "celeriac_event_lag_seconds" ["broker"], "Age of the newest event when it was processed, by its sender's clock.";
    EVENTS_HELD = "gauge" "celeriac_events_held" ["broker"], "Number of task events held back for at most one snapshot interval because the queue of their task is not known yet.";
    TASKS_TRACKED = "gauge" "celeriac_tasks_tracked" ["broker"], "Number of tasks in flight that are tracked.";
    TASKS_EVICTED = lasting "counter" "celeriac_tasks_evicted_total" ["broker"], "Total number of tasks in flight evicted because max_tasks was reached.";
    SERIES = "gauge" "celeriac_series" ["profile"], "Number of samples per snapshot, by profile.";
    SERIES_LIMITED = lasting "counter" "celeriac_series_limited_total" ["limit"], "Total number of updates counted in an overflow series, by the limit that was reached.";
    SERIES_RELABELLED = lasting "counter" "celeriac_series_relabelled_total" ["outcome"], "Total number of series rejected by metrics.relabel_configs: dropped by a rule, or invalid after relabeling.";
    SNAPSHOT_DURATION = "gauge" "celeriac_snapshot_duration_seconds" [], "Time it took to create the last snapshot.";
    SAMPLES_IN = "counter" "celeriac_remote_storage_samples_in_total" ["remote_name", "url"], "Total number of samples queued for the receiver, including those found in the queue at startup: sent, failed, dropped or pending.";
    HISTOGRAMS_IN = "counter" "celeriac_remote_storage_histograms_in_total" ["remote_name", "url"], "Total number of native histograms queued for the receiver, including those found in the queue at startup: sent, failed, dropped or pending.";
    EXEMPLARS_IN = "counter" "celeriac_remote_storage_exemplars_in_total" ["remote_name", "url"], "Total number of exemplars queued for the receiver, including those found in the queue at startup: sent, failed, dropped or pending.";
    SAMPLES = "counter" "celeriac_remote_storage_samples_total" ["remote_name", "url"], "Total number of samples accepted by the receiver.";
    HISTOGRAMS = "counter" "celeriac_remote_storage_histograms_total" ["remote_name", "url"], "Total number of native histograms accepted by the receiver.";
    EXEMPLARS = "counter" "celeriac_remote_storage_exemplars_total" ["remote_name", "url"], "Total number of exemplars accepted by the receiver.";
    SAMPLES_FAILED = "counter" "celeriac_remote_storage_samples_failed_total" ["remote_name", "url"], "Total number of samples refused by the receiver.";
    HISTOGRAMS_FAILED = "counter" "celeriac_remote_storage_histograms_failed_total" ["remote_name", "url"], "Total number of native histograms refused by the receiver.";
    EXEMPLARS_FAILED = "counter" "celeriac_remote_storage_exemplars_failed_total" ["remote_name", "url"], "Total number of exemplars refused by the receiver.";
    SAMPLES_RETRIED = "counter" "celeriac_remote_storage_samples_retried_total" ["remote_name", "url"], "Total number of samples retried.";
    HISTOGRAMS_RETRIED = "counter" "celeriac_remote_storage_histograms_retried_total" ["remote_name", "url"], "Total number of native histograms retried.";
    EXEMPLARS_RETRIED = "counter" "celeriac_remote_storage_exemplars_retried_total" ["remote_name", "url"], "Total number of exemplars retried.";
    SAMPLES_DROPPED = "counter" "celeriac_remote_storage_samples_dropped_total" ["remote_name", "url", "reason"], "Total number of samples dropped before they were sent, by reason.";
    HISTOGRAMS_DROPPED = "counter" "celeriac_remote_storage_histograms_dropped_total" ["remote_name", "url", "reason"], "Total number of native histograms dropped before they were sent, by reason.";
    EXEMPLARS_DROPPED = "counter" "celeriac_remote_storage_exemplars_dropped_total" ["remote_name", "url", "reason"], "Total number of exemplars dropped before they were sent, by reason.";
    SAMPLES_PENDING = "gauge" "celeriac_remote_storage_samples_pending" ["remote_name", "url"], "Number of samples waiting to be sent.";
    HISTOGRAMS_PENDING = "gauge" "celeriac_remote_storage_histograms_pending" ["remote_name", "url"], "Number of native histograms waiting to be sent.";
    EXEMPLARS_PENDING = "gauge" "celeriac_remote_storage_exemplars_pending" ["remote_name", "url"], "Number of exemplars waiting to be sent.";
    METADATA = "counter" "celeriac_remote_storage_metadata_total" ["remote_name", "url"], "Total number of metadata entries accepted by the receiver, in separate requests (1.0).";
    METADATA_FAILED = "counter" "celeriac_remote_storage_metadata_failed_total" ["remote_name", "url"], "Total number of metadata entries that the receiver refused or that were not retried.";
    METADATA_BYTES = "counter" "celeriac_remote_storage_metadata_bytes_total" ["remote_name", "url"], "Total number of compressed metadata bytes sent.";
    BYTES = "counter" "celeriac_remote_storage_bytes_total" ["remote_name", "url"], "Total number of compressed sample bytes sent, including retries.";
    BATCH_DURATION = "histogram" "celeriac_remote_storage_sent_batch_duration_seconds" ["remote_name", "url"], "Duration of requests, with or without a response.";
    HIGHEST = "gauge" "celeriac_remote_storage_highest_timestamp_in_seconds" ["remote_name", "url"], "Time of the newest sample queued for the receiver; absent before the first one.";
    HIGHEST_SENT = "gauge" "celeriac_remote_storage_queue_highest_sent_timestamp_seconds" ["remote_name", "url"], "Time of the newest sample that the receiver accepted; absent before the first one.";
    SHARDS = "gauge" "celeriac_remote_storage_shards" ["remote_name", "url"], "Number of requests currently in flight.";
    SHARDS_DESIRED = "gauge" "celeriac_remote_storage_shards_desired" ["remote_name", "url"], "Number of concurrent requests that would be sent if enough were queued.";
    SHARDS_MIN = "gauge" "celeriac_remote_storage_shards_min" ["remote_name", "url"], "Configured min_shards.";
    SHARDS_MAX = "gauge" "celeriac_remote_storage_shards_max" ["remote_name", "url"], "Configured max_shards.";
    SAMPLES_MAX = "gauge" "celeriac_remote_storage_max_samples_per_send" ["remote_name", "url"], "Maximum number of samples per request: as configured, or lower if the receiver refused larger requests.";
    QUEUE_BYTES = "gauge" "celeriac_remote_storage_queue_bytes" ["remote_name", "url"], "Number of compressed bytes waiting to be sent.";
    QUEUE_DAMAGED = "counter" "celeriac_remote_storage_queue_damaged_bytes_total" ["remote_name", "url"], "Total number of bytes of the queue on disk that were damaged.";
    QUEUE_TROUBLE = "gauge" "celeriac_remote_storage_queue_disk_failing" ["remote_name", "url"], "Whether queueing on disk is failing (1), so that samples are kept in memory, or not (0).";
    PROTOCOL = "gauge" "celeriac_remote_storage_protocol_version" ["remote_name", "url"], "Remote-write version in use: 1 or 2.";
    WRITTEN_OTHER = "counter" "celeriac_remote_storage_written_mismatch_total" ["remote_name", "url"], "Total number of accepted 2.0 requests for which the receiver reported an unexpected number of stored values.";
    QUARANTINED = "gauge" "celeriac_remote_storage_series_quarantined" ["remote_name", "url"], "Number of series that the receiver refuses. Their samples count as failed, and some are retried from time to time.";
    SNAPSHOTS_MISSED = "counter" "celeriac_remote_storage_snapshots_missed_total" ["remote_name", "url"], "Total number of snapshots skipped because the previous one was still being encoded.";
    PUSHES = "counter" "celeriac_pushes_total" ["pushgateway", "outcome"], "Total number of pushes to a Pushgateway: delivered, refused, or failed and retried with the newest snapshot.";
    PUSH_DURATION = "histogram" "celeriac_push_duration_seconds" ["pushgateway"], "Duration of pushes, with or without a response.";
    LAST_PUSH = "gauge" "celeriac_last_push_timestamp_seconds" ["pushgateway"], "Time of the last successful push to a Pushgateway; absent before the first one.";
    CHECKPOINT_DURATION = "gauge" "celeriac_checkpoint_duration_seconds" [], "Time it took to write the last checkpoint.";
    CHECKPOINT_FAILURES = "counter" "celeriac_checkpoint_failures_total" [], "Total number of checkpoints that could not be written. Until one can, pages do not update, and no samples are sent and no events acknowledged.";
    CHECKPOINT_TIMESTAMP = "gauge" "celeriac_checkpoint_timestamp_seconds" [], "Time of the newest checkpoint on disk; absent before this process has written one.";
    CHECKPOINT_SIZE = "gauge" "celeriac_checkpoint_size_bytes" [], "Size of the last checkpoint.";
    RELOAD_SUCCESSFUL = "gauge" "celeriac_config_last_reload_successful" [], "Whether the last configuration reload succeeded (1) or not (0).";
    RELOAD_TIMESTAMP = "gauge" "celeriac_config_last_reload_success_timestamp_seconds" [], "Time of the last successful configuration reload.";
    HTTP_LIMITED = "counter" "celeriac_http_limited_total" ["limit"], "Total number of connections closed and requests refused because a limit of the HTTP listener was reached, by limit.";
    MEMORY_LIMIT = "gauge" "celeriac_memory_limit_bytes" [], "Memory budget of the daemon: limits.memory, or a share of the control group's limit; absent without a limit.";
    MEMORY_USED = "gauge" "celeriac_memory_bytes" ["part"], "Estimated memory used by data from events, brokers and workers, including copies for outputs, by part.";
    LIMIT_REACHED = lasting "counter" "celeriac_limit_reached_total" ["limit"], "Total number of times a limit on external input was reached, by limit.";
    CPU = "counter" "process_cpu_seconds_total" [], "User and system CPU time.";
    RESIDENT = "gauge" "process_resident_memory_bytes" [], "Resident memory size.";
    VIRTUAL = "gauge" "process_virtual_memory_bytes" [], "Virtual memory size.";
    OPEN_FDS = "gauge" "process_open_fds" [], "Open file descriptors.";
    START_TIME = "gauge" "process_start_time_seconds" [], "Start time of the process since the Unix epoch.";
}

/// Whether a family is one of the daemon's own that begin anew with each process: nothing that a crash takes back.
pub fn begins_anew(family: &str) -> bool {
    let mut own = DEFINITIONS.iter();
    own.any(|own| own.name == family && !own.lasting)
}

/// Bounds for the time that a request takes, in seconds: those of Prometheus' own metric, without its outliers.
const BATCH_BOUNDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// A count that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<CounterCells>);

#[derive(Debug, Default)]
struct CounterCells {
    count: AtomicU64,
    /// What was counted before this process.
    before: AtomicU64,
}

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.count.fetch_add(n, Relaxed);
    }

    /// For a count that is kept elsewhere, since the process began.
    pub fn raise_to(&self, n: u64) {
        let before = self.0.before.load(Relaxed);
        self.0.count.fetch_max(before.saturating_add(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.count.load(Relaxed)
    }

    /// Goes on from what was counted before this process.
    fn restore(&self, before: u64) {
        self.0.before.fetch_add(before, Relaxed);
        self.0.count.fetch_add(before, Relaxed);
    }
}

/// A duration that only grows, kept in microseconds and shown in seconds.
#[derive(Clone, Debug, Default)]
pub struct Elapsed(Arc<AtomicU64>);

impl Elapsed {
    pub fn add(&self, duration: Duration) {
        self.0.fetch_add(
            u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            Relaxed,
        );
    }
}

/// A value that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Sets it, unless it is higher.
    pub fn raise_to(&self, value: f64) {
        if value > self.get() {
            self.set(value);
        }
    }

    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// How long something takes, in the buckets of [`BATCH_BOUNDS`].
#[derive(Clone, Debug, Default)]
pub struct Durations(Arc<DurationCells>);

#[derive(Debug, Default)]
struct DurationCells {
    counts: [AtomicU64; BATCH_BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Durations {
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BATCH_BOUNDS.partition_point(|bound| *bound < seconds);
        self.0.counts[bucket].fetch_add(1, Relaxed);
        self.0.micros.fetch_add(
            u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            Relaxed,
        );
    }

    fn read(&self) -> (Box<[u64]>, f64) {
        let counts = self.0.counts.iter().map(|count| count.load(Relaxed));
        (counts.collect(), seconds(self.0.micros.load(Relaxed)))
    }
}

/// What is reported about one broker connection. The hot path only adds.
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
    /// Counts messages that are given up for a reason. Those that are handed over are counted when they are read.
    pub fn dropped(&self, reason: &Counter, messages: u64) {
        self.messages.add(messages);
        reason.add(messages);
    }
}

/// What is reported about asking one broker and its workers.
#[derive(Clone, Debug)]
pub struct PollMetrics {
    pub bounds: Bounds,
    pub queues: RoundMetrics,
    pub control: RoundMetrics,
}

/// What is reported about one kind of rounds.
#[derive(Clone, Debug, Default)]
pub struct RoundMetrics {
    pub rounds: Counter,
    pub failures: Counter,
    pub duration: Gauge,
}

/// What is reported about the events of one broker.
#[derive(Clone, Debug)]
pub struct EventMetrics {
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
    /// The counter for what could not be read for that reason.
    pub fn undecodable(&self, reason: Reason) -> &Counter {
        &self.undecodable[reason as usize]
    }

    /// The counter for numbers that cannot be right.
    pub fn refused(&self, refusal: Refusal) -> &Counter {
        &self.refused[refusal as usize]
    }

    /// The gauge of a hint.
    pub fn hint(&self, reason: HintReason) -> &Gauge {
        &self.hints[reason as usize]
    }
}

/// What is reported about the table of series.
#[derive(Clone, Debug)]
pub struct SeriesMetrics {
    /// One for each profile that runs.
    pub series: Vec<Gauge>,
    pub limited_series: Counter,
    pub limited_exceptions: Counter,
    pub limited_queues: Counter,
    pub relabel_dropped: Counter,
    pub relabel_invalid: Counter,
    pub snapshot_duration: Gauge,
}

/// What is reported about reading the configuration.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    pub successful: Gauge,
    pub timestamp: Gauge,
}

/// What is reported about the checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointMetrics {
    pub duration: Gauge,
    pub failures: Counter,
    pub timestamp: Gauge,
    pub size: Gauge,
}

/// What is reported about the memory budget and the limits.
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
    /// A time that has no series until it is set: 0 would read as an age of half a century.
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
    /// The metrics of a daemon that started at `start`, about no broker and no sink yet.
    pub fn new(start: Timestamp) -> Self {
        let mut telemetry = Self::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION").into())];
        telemetry.gauge(BUILD_INFO, version).set(1.0);
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

    /// The same for a process within a memory budget.
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

    /// What bounds the process.
    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Adds a broker.
    pub fn broker(&mut self, name: &Arc<str>) -> (BrokerMetrics, EventMetrics) {
        let labels = || vec![("broker", Arc::clone(name))];
        let with = |label, value: &str| [labels(), vec![(label, value.into())]].concat();
        let gap = Gap::default();
        self.rows
            .push((BROKER_GAP, labels(), Handle::Elapsed(gap.elapsed.clone())));
        let messages = self.counter(MESSAGES, labels());
        let broker = BrokerMetrics {
            connected: self.gauge(BROKER_CONNECTED, labels()),
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
            messages,
            redelivered: self.counter(DUPLICATE, with("reason", "redelivered")),
            repeated: self.counter(DUPLICATE, with("reason", "repeated")),
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

    /// Adds the poller of a broker.
    pub fn poll(&mut self, name: &Arc<str>) -> PollMetrics {
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
            queues: rounds("queues"),
            control: rounds("control"),
        }
    }

    /// Adds the tables of series, one for each profile.
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

    /// Adds what is read of the configuration.
    pub fn reload(&mut self, start: Timestamp) -> ReloadMetrics {
        let metrics = ReloadMetrics {
            successful: self.gauge(RELOAD_SUCCESSFUL, Vec::new()),
            timestamp: self.time(RELOAD_TIMESTAMP, Vec::new()),
        };
        metrics.successful.set(1.0);
        metrics.timestamp.set(start.seconds());
        metrics
    }

    /// Adds the checkpoint.
    pub fn checkpoint(&mut self) -> CheckpointMetrics {
        CheckpointMetrics {
            duration: self.gauge(CHECKPOINT_DURATION, Vec::new()),
            failures: self.counter(CHECKPOINT_FAILURES, Vec::new()),
            timestamp: self.time(CHECKPOINT_TIMESTAMP, Vec::new()),
            size: self.gauge(CHECKPOINT_SIZE, Vec::new()),
        }
    }

    /// Opens a series for each metric in a table, except for times, which may not be known yet. What follows is [`Published::publish`], with each snapshot.
    pub fn open(&self, series: &mut Series) -> Published {
        let bounds = Arc::new(Buckets::new(&BATCH_BOUNDS).expect("the bounds increase"));
        let family = |definition: &Definition| Family {
            name: definition.name.into(),
            kind: match definition.kind {
                "counter" => MetricKind::Counter,
                "gauge" => MetricKind::Gauge,
                _ => MetricKind::Histogram(Arc::clone(&bounds)),
            },
            help: definition.help,
            labels: definition.labels.to_vec(),
        };
        for definition in DEFINITIONS {
            let family = series.family(family(definition));
            let across = if definition.lasting {
                Across::Opened
            } else {
                Across::Anew
            };
            series.across(family, across);
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

    /// The values of all metrics now, to be published in every table: two receivers, or two profiles that go to one,
    /// see the same.
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
            Handle::Elapsed(elapsed) => Reading::Number(seconds(elapsed.0.load(Relaxed))),
            Handle::Gauge(gauge) => Reading::Number(gauge.get()),
            Handle::Time(gauge) => match gauge.get() {
                0.0 => Reading::Unset,
                time => Reading::Number(time),
            },
            Handle::Durations(durations) => Reading::Durations(durations.read()),
        });
        Readings(rows.collect())
    }

    /// Notes what the kernel says of this process.
    pub fn process(&self, process: Process) {
        let Some(metrics) = &self.process else { return };
        let cpu = Duration::try_from_secs_f64(process.cpu_seconds).unwrap_or_default();
        metrics
            .cpu
            .0
            .store(u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX), Relaxed);
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

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds counts as floats"
)]
const fn number(n: u64) -> f64 {
    n as f64
}

const fn seconds(micros: u64) -> f64 {
    number(micros) / 1e6
}

#[cfg(test)]
mod tests;
