//! The names, types, labels and help texts of the daemon's own metrics.

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    Counter,
    Gauge,
    /// A histogram of durations in seconds, with the buckets of
    /// [`BATCH_BOUNDS`](super::cells::BATCH_BOUNDS).
    Histogram,
}

/// The definition of a metric, from which the documentation and the series are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    pub name: &'static str,
    pub kind: MetricType,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    /// Whether the counter continues after a restart. Counters of sinks do not: within one process,
    /// everything queued is sent, failed, dropped or pending.
    pub persistent: bool,
}

macro_rules! definitions {
    ($($constant:ident = $kind:ident $($persistent:ident)? $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(in crate::telemetry) const $constant: Definition = Definition {
            name: $name,
            kind: MetricType::$kind,
            labels: &$labels,
            help: $help,
            persistent: !stringify!($($persistent)?).is_empty(),
        };)*
        /// Every metric of the daemon, in the order of output.
        pub const DEFINITIONS: &[Definition] = &[$($constant),*];
    };
}

definitions! {
    BUILD_INFO = Gauge "celeriac_build_info" ["version", "revision", "build_date"], "Version, and if built from a commit also that and its date; always 1.";
    BROKER_CONNECTED = Gauge "celeriac_broker_connected" ["broker"], "Whether celeriac is subscribed to the broker's events (1) or not (0).";
    BROKER_RECONNECTS = Counter persistent "celeriac_broker_reconnects_total" ["broker"], "Total number of times the subscription was re-established.";
    BROKER_GAP = Counter persistent "celeriac_broker_gap_seconds_total" ["broker"], "Total time without a subscription, in seconds, counted from the broker's last sign of life. With a data_dir, this includes the time when the daemon was not running.";
    POLLS = Counter persistent "celeriac_polls_total" ["broker", "kind"], "Total number of polls of queues or workers.";
    POLL_FAILURES = Counter persistent "celeriac_poll_failures_total" ["broker", "kind"], "Total number of failed polls.";
    POLL_DURATION = Gauge "celeriac_poll_duration_seconds" ["broker", "kind"], "Duration of the last poll.";
    MESSAGES = Counter persistent "celeriac_messages_total" ["broker"], "Total number of messages received from the broker.";
    UNDECODABLE = Counter persistent "celeriac_messages_undecodable_total" ["broker", "reason"], "Total number of messages, and of events within messages, that could not be decoded, by reason.";
    DROPPED = Counter persistent "celeriac_messages_dropped_total" ["broker", "reason"], "Total number of messages dropped before they were read, by reason.";
    REDELIVERED = Counter persistent "celeriac_messages_redelivered_total" ["broker"], "Total number of messages that the broker delivered again; they are dropped.";
    REPEATED = Counter persistent "celeriac_events_repeated_total" ["broker"], "Total number of events that a worker sent twice; they are counted only in celery_events_total.";
    MISSING = Counter persistent "celeriac_events_missing_total" ["broker"], "Total number of tasks that workers reported as started but whose events did not arrive.";
    CLAMPED = Counter persistent "celeriac_intervals_clamped_total" ["broker"], "Total number of negative intervals between the clocks of two hosts; they count as 0.";
    REFUSED = Counter persistent "celeriac_values_refused_total" ["broker", "reason"], "Total number of implausible numbers in events that were ignored: a timestamp more than ten minutes ahead, replaced by the time of receipt (timestamp), a runtime longer than the time since the start or a wait longer than a year (duration), and a worker's processed count that grew too fast (processed).";
    HINT = Gauge "celeriac_setup_problem" ["broker", "reason"], "Whether the cluster's setup keeps events from arriving (1) or not (0), by reason; the log and /-/ready give details.";
    LAG = Gauge "celeriac_event_lag_seconds" ["broker"], "Age of the newest event when it was processed, by its sender's clock.";
    EVENTS_HELD = Gauge "celeriac_events_held" ["broker"], "Number of task events held back for at most one snapshot interval because their task's queue is not known yet.";
    TASKS_TRACKED = Gauge "celeriac_tasks_tracked" ["broker"], "Number of tasks in flight that are tracked.";
    TASKS_EVICTED = Counter persistent "celeriac_tasks_evicted_total" ["broker"], "Total number of tasks in flight evicted because max_tasks was reached.";
    SERIES = Gauge "celeriac_samples" ["profile"], "Number of samples per snapshot, by profile.";
    SERIES_LIMITED = Counter persistent "celeriac_series_limited_total" ["limit"], "Total number of updates counted in an overflow series, by the limit that was reached.";
    SERIES_RELABELLED = Counter persistent "celeriac_series_relabelled_total" ["outcome"], "Total number of series rejected by metrics.relabel_configs: dropped by a rule, or invalid after relabeling.";
    SNAPSHOT_DURATION = Gauge "celeriac_snapshot_duration_seconds" [], "Time it took to create the last snapshot.";
    SAMPLES_IN = Counter "celeriac_remote_storage_samples_in_total" ["remote_name", "url"], "Total number of samples queued for the receiver, including those found in the queue at startup: sent, failed, dropped or pending.";
    HISTOGRAMS_IN = Counter "celeriac_remote_storage_histograms_in_total" ["remote_name", "url"], "Total number of native histograms queued for the receiver, including those found in the queue at startup: sent, failed, dropped or pending.";
    EXEMPLARS_IN = Counter "celeriac_remote_storage_exemplars_in_total" ["remote_name", "url"], "Total number of exemplars queued for the receiver, including those found in the queue at startup: sent, failed, dropped or pending.";
    SAMPLES = Counter "celeriac_remote_storage_samples_total" ["remote_name", "url"], "Total number of samples accepted by the receiver.";
    HISTOGRAMS = Counter "celeriac_remote_storage_histograms_total" ["remote_name", "url"], "Total number of native histograms accepted by the receiver.";
    EXEMPLARS = Counter "celeriac_remote_storage_exemplars_total" ["remote_name", "url"], "Total number of exemplars accepted by the receiver.";
    SAMPLES_FAILED = Counter "celeriac_remote_storage_samples_failed_total" ["remote_name", "url"], "Total number of samples refused by the receiver.";
    HISTOGRAMS_FAILED = Counter "celeriac_remote_storage_histograms_failed_total" ["remote_name", "url"], "Total number of native histograms refused by the receiver.";
    EXEMPLARS_FAILED = Counter "celeriac_remote_storage_exemplars_failed_total" ["remote_name", "url"], "Total number of exemplars refused by the receiver.";
    SAMPLES_RETRIED = Counter "celeriac_remote_storage_samples_retried_total" ["remote_name", "url"], "Total number of samples retried.";
    HISTOGRAMS_RETRIED = Counter "celeriac_remote_storage_histograms_retried_total" ["remote_name", "url"], "Total number of native histograms retried.";
    EXEMPLARS_RETRIED = Counter "celeriac_remote_storage_exemplars_retried_total" ["remote_name", "url"], "Total number of exemplars retried.";
    SAMPLES_DROPPED = Counter "celeriac_remote_storage_samples_dropped_total" ["remote_name", "url", "reason"], "Total number of samples dropped before they were sent, by reason.";
    HISTOGRAMS_DROPPED = Counter "celeriac_remote_storage_histograms_dropped_total" ["remote_name", "url", "reason"], "Total number of native histograms dropped before they were sent, by reason.";
    EXEMPLARS_DROPPED = Counter "celeriac_remote_storage_exemplars_dropped_total" ["remote_name", "url", "reason"], "Total number of exemplars dropped before they were sent, by reason.";
    SAMPLES_PENDING = Gauge "celeriac_remote_storage_samples_pending" ["remote_name", "url"], "Number of samples waiting to be sent.";
    HISTOGRAMS_PENDING = Gauge "celeriac_remote_storage_histograms_pending" ["remote_name", "url"], "Number of native histograms waiting to be sent.";
    EXEMPLARS_PENDING = Gauge "celeriac_remote_storage_exemplars_pending" ["remote_name", "url"], "Number of exemplars waiting to be sent.";
    METADATA = Counter "celeriac_remote_storage_metadata_total" ["remote_name", "url"], "Total number of metadata entries accepted by the receiver, in separate requests (1.0).";
    METADATA_FAILED = Counter "celeriac_remote_storage_metadata_failed_total" ["remote_name", "url"], "Total number of metadata entries that the receiver refused, or that were lost because metadata is not retried.";
    METADATA_BYTES = Counter "celeriac_remote_storage_metadata_bytes_total" ["remote_name", "url"], "Total number of compressed metadata bytes sent.";
    BYTES = Counter "celeriac_remote_storage_bytes_total" ["remote_name", "url"], "Total number of compressed sample bytes sent, including retries.";
    BATCH_DURATION = Histogram "celeriac_remote_storage_sent_batch_duration_seconds" ["remote_name", "url"], "Duration of requests, with or without a response.";
    HIGHEST = Gauge "celeriac_remote_storage_highest_timestamp_in_seconds" ["remote_name", "url"], "Time of the newest sample queued for the receiver; absent before the first one.";
    HIGHEST_SENT = Gauge "celeriac_remote_storage_queue_highest_sent_timestamp_seconds" ["remote_name", "url"], "Time of the newest sample that the receiver accepted; absent before the first one.";
    SHARDS = Gauge "celeriac_remote_storage_concurrency" ["remote_name", "url"], "Number of requests currently in flight.";
    SHARDS_DESIRED = Gauge "celeriac_remote_storage_concurrency_desired" ["remote_name", "url"], "Number of concurrent requests that would be sent if enough were queued.";
    SHARDS_MIN = Gauge "celeriac_remote_storage_concurrency_min" ["remote_name", "url"], "Configured min_shards.";
    SHARDS_MAX = Gauge "celeriac_remote_storage_concurrency_max" ["remote_name", "url"], "Configured max_shards.";
    SAMPLES_MAX = Gauge "celeriac_remote_storage_max_samples_per_send" ["remote_name", "url"], "Current maximum number of samples per request. It is lower for a while after some refusals.";
    QUEUE_BYTES = Gauge "celeriac_remote_storage_queue_bytes" ["remote_name", "url"], "Number of compressed bytes waiting to be sent.";
    QUEUE_DAMAGED = Counter "celeriac_remote_storage_queue_damaged_bytes_total" ["remote_name", "url"], "Total number of damaged bytes in the queue on disk.";
    QUEUE_TROUBLE = Gauge "celeriac_remote_storage_queue_disk_failing" ["remote_name", "url"], "Whether queueing on disk is failing (1), so that samples are kept in memory, or not (0).";
    PROTOCOL = Gauge "celeriac_remote_storage_protocol_version" ["remote_name", "url"], "Remote-write version in use: 1 or 2.";
    WRITTEN_OTHER = Counter "celeriac_remote_storage_written_mismatch_total" ["remote_name", "url"], "Total number of accepted 2.0 requests for which the receiver reported an unexpected number of stored values.";
    QUARANTINED = Gauge "celeriac_remote_storage_series_quarantined" ["remote_name", "url"], "Number of series that the receiver refuses. Their samples count as failed, and some are retried from time to time.";
    SNAPSHOTS_MISSED = Counter "celeriac_remote_storage_snapshots_missed_total" ["remote_name", "url"], "Total number of snapshots skipped because the previous one was still being encoded.";
    PUSHES = Counter "celeriac_pushes_total" ["pushgateway", "outcome"], "Total number of pushes to a Pushgateway: delivered, refused, or failed and retried with the newest snapshot.";
    PUSH_DURATION = Histogram "celeriac_push_duration_seconds" ["pushgateway"], "Duration of pushes, with or without a response.";
    LAST_PUSH = Gauge "celeriac_last_push_timestamp_seconds" ["pushgateway"], "Time of the last successful push to a Pushgateway; absent before the first one.";
    CHECKPOINT_DURATION = Gauge "celeriac_checkpoint_duration_seconds" [], "Time it took to write the last checkpoint.";
    CHECKPOINT_FAILURES = Counter "celeriac_checkpoint_failures_total" [], "Total number of failed checkpoint writes. Until one succeeds, pages do not update, no samples are sent, and no events are acknowledged.";
    CHECKPOINT_TIMESTAMP = Gauge "celeriac_checkpoint_timestamp_seconds" [], "Time of the newest checkpoint on disk; absent before this process has written one.";
    CHECKPOINT_SIZE = Gauge "celeriac_checkpoint_size_bytes" [], "Size of the last checkpoint.";
    RELOAD_SUCCESSFUL = Gauge "celeriac_config_last_reload_successful" [], "Whether the last configuration reload succeeded (1) or not (0).";
    RELOAD_TIMESTAMP = Gauge "celeriac_config_last_reload_success_timestamp_seconds" [], "Time of the last successful configuration reload.";
    HTTP_LIMITED = Counter "celeriac_http_limited_total" ["limit"], "Total number of connections closed and requests refused because a limit of the HTTP listener was reached, by limit.";
    MEMORY_LIMIT = Gauge "celeriac_memory_limit_bytes" [], "Memory budget of the daemon: limits.memory, or a share of the control group's limit; absent without a limit.";
    MEMORY_USED = Gauge "celeriac_memory_bytes" ["part"], "Estimated memory used by data from events, brokers and workers, including copies made for outputs, by part.";
    LIMIT_REACHED = Counter persistent "celeriac_limit_reached_total" ["limit"], "Total number of times a limit on external input was reached, by limit.";
    CPU = Counter "process_cpu_seconds_total" [], "User and system CPU time.";
    RESIDENT = Gauge "process_resident_memory_bytes" [], "Resident memory size.";
    VIRTUAL = Gauge "process_virtual_memory_bytes" [], "Virtual memory size.";
    OPEN_FDS = Gauge "process_open_fds" [], "Open file descriptors.";
    START_TIME = Gauge "process_start_time_seconds" [], "Start time of the process since the Unix epoch.";
}

/// Returns whether this is one of the daemon's own families that start over with each process. A
/// crash cannot roll these back, so they are published without waiting for a checkpoint.
pub fn starts_over(family: &str) -> bool {
    let mut own = DEFINITIONS.iter();
    own.any(|own| own.name == family && !own.persistent)
}
