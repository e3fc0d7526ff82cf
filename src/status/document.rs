//! The document that `GET /api/v1/status` returns, and that the page and the terminal show.
//!
//! Times are seconds since the Unix epoch, durations are seconds, and ratios lie between 0 and 1. `None` (`null` in JSON)
//! means that a value is not known; it never stands for 0. Counters and gauges have the values of the metrics that the
//! field names.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The version of the document. Fields may be added without a new version.
pub const VERSION: u32 = 1;

/// Number of points in a history.
pub const POINTS: usize = 60;

/// Everything that is known about the clusters and the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    pub instance: Instance,
    /// The time that all values are from.
    pub at_timestamp_seconds: f64,
    /// The window that rates, ratios and percentiles are computed over: 60, 300 or 3600.
    pub window_seconds: u64,
    /// The time that they are actually computed over: less than the window until it has passed since the start. Not part
    /// of the API.
    #[serde(skip)]
    pub rated_seconds: f64,
    /// What is wrong, worst first.
    pub attention: Vec<Problem>,
    pub summary: Summary,
    pub trust: Trust,
    pub queues: Vec<QueueRow>,
    pub tasks: Vec<TaskRow>,
    pub workers: Vec<WorkerRow>,
    pub beats: Vec<BeatRow>,
    pub periodic: Vec<PeriodicRow>,
    pub workflows: Vec<WorkflowRow>,
    pub long_running: Vec<LongRunningRow>,
    pub brokers: Vec<BrokerRow>,
    pub receivers: Vec<ReceiverRow>,
}

/// The daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The host name.
    pub name: String,
    /// The version, and if built from a commit also that and its date.
    pub version: String,
    pub started_timestamp_seconds: f64,
    /// Whether the instance reads events (`active`) or waits for another one to stop (`standby`).
    pub mode: Mode,
    /// In standby: the instance that is active, if known.
    pub active_instance: Option<String>,
}

/// Whether an instance reads events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Active,
    Standby,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    pub severity: Severity,
    /// A stable identifier, such as `broker_disconnected`.
    pub kind: String,
    /// The broker, receiver, queue or worker concerned, if it is a single one.
    pub subject: Option<String>,
    /// One sentence.
    pub text: String,
    /// What to do about it.
    pub advice: String,
    pub since_timestamp_seconds: Option<f64>,
    /// Path of the page that explains it, below docs/, such as `runbooks/CeleriacBrokerDisconnected.md`.
    pub runbook: Option<String>,
}

/// How bad a problem is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Events or samples are being lost, or may soon be.
    Critical,
    Warning,
    /// Some data is missing because of the setup.
    Info,
}

/// Totals over all clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Tasks that succeeded or failed, a minute.
    pub completed_per_minute: Option<f64>,
    /// Completed tasks in each 10 s of the last 10 minutes, oldest first.
    pub completed_history: Vec<Option<u32>>,
    /// Share of completed tasks that failed.
    pub failed_ratio: Option<f64>,
    /// Messages in all polled queues.
    pub waiting: Option<u64>,
    /// `waiting` at the end of each 10 s of the last 10 minutes, oldest first.
    pub waiting_history: Vec<Option<u32>>,
    /// Age of the oldest task that no worker has started.
    pub oldest_age_seconds: Option<f64>,
    /// Tasks that workers run, as far as events report.
    pub running: u64,
    /// Number of tasks that all workers can run at once.
    pub slots: Option<u64>,
    pub workers_online: u64,
    pub workers_offline: u64,
}

/// How far the figures can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// When counting began, across restarts.
    pub counting_since_timestamp_seconds: Option<f64>,
    /// Tasks that workers reported as started and whose events did not arrive.
    pub missing: u64,
    /// Messages and events that arrived more than once; they are counted once.
    pub duplicate: u64,
    /// Messages and events that could not be decoded.
    pub undecodable: u64,
    /// Messages dropped before they were read.
    pub dropped: u64,
    /// Time without a subscription, summed over brokers.
    pub gap_seconds: f64,
    /// Age of the newest event when it was processed; the largest of all brokers.
    pub lag_seconds: Option<f64>,
    /// Time since a receiver last accepted something; the longest of all receivers. `None` without receivers, or before
    /// the first push.
    pub last_push_age_seconds: Option<f64>,
    pub receivers_working: u64,
    pub receivers_total: u64,
    /// Updates that were counted under `(other)` because a limit was reached.
    pub folded: u64,
}

/// A queue of one broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueRow {
    /// The broker's configured name.
    pub broker: Option<Arc<str>>,
    pub name: Arc<str>,
    /// Messages that no worker has received (`celery_queue_length`).
    pub waiting: Option<u64>,
    /// Messages delivered and not acknowledged (`celery_queue_unacked`; Redis).
    pub unacked: Option<u64>,
    /// Consumers (`celery_queue_consumers`; RabbitMQ).
    pub consumers: Option<u64>,
    /// Age of the oldest task that no worker has received.
    pub oldest_age_seconds: Option<f64>,
    /// Tasks published, a minute (needs `task_send_sent_event`).
    pub in_per_minute: Option<f64>,
    /// Attempts started, a minute.
    pub out_per_minute: Option<f64>,
    /// Time until the queue is empty at these rates. `None` if it is not becoming shorter.
    pub drain_seconds: Option<f64>,
    /// Whether messages wait and the queue is not becoming shorter.
    pub growing: bool,
    pub wait_p50_seconds: Option<f64>,
    pub wait_p95_seconds: Option<f64>,
    /// Number of tasks that its workers can run at once (`celery_queue_slots`).
    pub slots: Option<u64>,
    /// Tasks that run on its workers, from any queue.
    pub active: Option<u64>,
    /// `active` divided by `slots`.
    pub saturation: Option<f64>,
    /// Workers that consume it (`celery_queue_workers`).
    pub workers: Option<u64>,
    /// `waiting` at the end of each 10 s of the last 10 minutes, oldest first. Empty unless among the 200 busiest.
    pub history: Vec<Option<u32>>,
}

/// The tasks of one name in one queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    pub broker: Option<Arc<str>>,
    pub name: Arc<str>,
    /// `None` if task series have no label `queue`.
    pub queue: Option<Arc<str>>,
    /// Tasks that succeeded or failed, a minute.
    pub done_per_minute: Option<f64>,
    /// Share of those that failed.
    pub failed_ratio: Option<f64>,
    /// Share of ended attempts that are to be retried.
    pub retried_ratio: Option<f64>,
    /// Attempts that ended in a retry, a minute.
    #[serde(default)]
    pub retried_per_minute: Option<f64>,
    /// Tasks that failed after the last allowed retry, a minute.
    #[serde(default)]
    pub retries_exhausted_per_minute: Option<f64>,
    pub runtime_p50_seconds: Option<f64>,
    pub runtime_p95_seconds: Option<f64>,
    pub wait_p50_seconds: Option<f64>,
    pub wait_p95_seconds: Option<f64>,
    /// Tasks that run (`celery_tasks_in_flight{state="started"}`).
    pub running: u64,
    /// Tasks that wait in a worker (`state="received"`).
    pub received_waiting: u64,
    /// Tasks on their way to a worker (`state="sent"`).
    pub sent_waiting: u64,
    pub last_failure_timestamp_seconds: Option<f64>,
    /// When a task of this name last succeeded or failed.
    pub last_run_timestamp_seconds: Option<f64>,
    /// Totals, as in `celery_task_*_total`.
    pub sent: u64,
    pub received: u64,
    pub started: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub retried: u64,
    #[serde(default)]
    pub retries_exhausted: u64,
    pub rejected: u64,
    pub revoked: u64,
    pub lost: u64,
    /// Failures and retries by exception class, most frequent first.
    pub exceptions: Vec<ExceptionCount>,
    /// Completed tasks in each 10 s of the last 10 minutes, oldest first. Empty unless among the 200 busiest.
    pub history: Vec<Option<u32>>,
    /// The same in each minute of the last hour.
    pub hour_history: Vec<Option<u32>>,
}

/// How often an exception ended attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionCount {
    /// The class.
    pub exception: Arc<str>,
    pub failed: u64,
    pub retried: u64,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerRow {
    pub broker: Option<Arc<str>>,
    /// The node name.
    pub name: Arc<str>,
    pub online: bool,
    /// When its process was first seen; if offline, when it was found to be.
    pub since_timestamp_seconds: f64,
    pub last_seen_timestamp_seconds: f64,
    /// Tasks that it runs, according to its last heartbeat.
    pub active: Option<u64>,
    pub pool_size: Option<u64>,
    /// Tasks that it has received and not started, as far as events report.
    pub prefetched: u64,
    /// Tasks started, a minute, according to its heartbeats.
    pub done_per_minute: Option<f64>,
    /// Tasks started since it was first seen, according to its heartbeats.
    pub processed: Option<u64>,
    /// Load of its host over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// `py-celery 5.6.3`, for example.
    pub software: Option<String>,
    /// Smoothed clock offset, including network latency and up to 50 ms until the event is read;
    /// positive if its clock is behind.
    pub clock_offset_seconds: Option<f64>,
    /// Whether it sends task events. `None` before its first task.
    pub sends_events: Option<bool>,
    /// The queues that it consumes.
    pub queues: Option<Vec<Arc<str>>>,
    /// Whether two processes use its node name.
    pub duplicate_name: bool,
    /// When it was first found to accept no tasks although it has free slots and the queues below have messages
    /// (`celery_worker_stalled_timestamp_seconds`).
    #[serde(default)]
    pub stalled_since_timestamp_seconds: Option<f64>,
    /// Longest first.
    #[serde(default)]
    pub stalled_queues: Vec<Arc<str>>,
}

/// A scheduler of periodic tasks (`celery beat`) that can be asked whether it is alive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BeatRow {
    pub broker: Option<Arc<str>>,
    /// The node name.
    pub name: Arc<str>,
    /// Whether it answers, which it does only while its schedule advances (`celery_beat_up`).
    pub online: bool,
    /// When it was first seen online, or found to be offline.
    pub since_timestamp_seconds: f64,
    pub last_seen_timestamp_seconds: f64,
    /// Number of processes that answer under its name.
    pub processes: u64,
}

/// The last times of a task that is published regularly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeriodicRow {
    pub broker: Option<Arc<str>>,
    pub name: Arc<str>,
    /// The time between its latest send and the next one, as learned from earlier sends
    /// (`celery_periodic_task_period_seconds`).
    pub period_seconds: Option<f64>,
    pub last_sent_timestamp_seconds: Option<f64>,
    /// When it should be sent next.
    pub next_due_timestamp_seconds: Option<f64>,
    /// Time since it should have been sent, if that is longer than usual delays; otherwise 0.
    pub overdue_seconds: Option<f64>,
    /// Number of processes that send it at the same interval, if there are several
    /// (`celery_periodic_task_senders`).
    pub senders: Option<u64>,
    pub last_succeeded_timestamp_seconds: Option<f64>,
    pub last_failed_timestamp_seconds: Option<f64>,
}

/// The open workflows with root tasks of one name. A workflow is a task with all tasks that it led to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkflowRow {
    pub broker: Option<Arc<str>>,
    /// The name of the root task, or `unknown`.
    pub name: Arc<str>,
    /// Number of workflows of which some task is in flight.
    pub open: u64,
    /// Age of the oldest of them.
    pub oldest_age_seconds: Option<f64>,
    /// Number of chords that wait for their header tasks by retrying `celery.chord_unlock`.
    pub chords_waiting: u64,
    /// How long the oldest of them has waited.
    pub oldest_chord_age_seconds: Option<f64>,
}

/// The tasks of one name that run too long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LongRunningRow {
    pub broker: Option<Arc<str>>,
    pub name: Arc<str>,
    pub count: u64,
    /// When the one that has run for longest started, and on which worker.
    pub since_timestamp_seconds: f64,
    pub worker: Option<Arc<str>>,
    /// How long a task of this name may run.
    pub allowed_seconds: f64,
    /// Whether that is the task's own time limit, or a multiple of what is usual.
    pub time_limit: bool,
}

/// A connection to a broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BrokerRow {
    pub name: Arc<str>,
    /// Whether its events are subscribed to.
    pub connected: bool,
    /// Since when it is connected, or not.
    pub since_timestamp_seconds: Option<f64>,
    /// Why not.
    pub reason: Option<String>,
    /// `transient`, `durable`, `stream` or `pubsub`.
    pub delivery: String,
    /// With shards: the number of this one, from 0.
    pub shard: Option<u32>,
    pub shards: Option<u32>,
    pub events_per_second: Option<f64>,
    pub lag_seconds: Option<f64>,
    pub gap_seconds: f64,
    pub reconnects: u64,
    pub messages: u64,
    pub dropped: u64,
    pub undecodable: u64,
    pub missing: u64,
    pub tasks_tracked: u64,
    /// Problems with the setup that keep data from arriving.
    pub hints: Vec<String>,
}

/// A receiver of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReceiverRow {
    pub name: Arc<str>,
    /// `remote_write` or `pushgateway`.
    pub kind: String,
    /// Without credentials.
    pub url: String,
    /// `1.0` or `2.0` for remote write.
    pub protocol: Option<String>,
    /// Whether the last push was accepted.
    pub working: bool,
    /// Since when it works, or not.
    pub since_timestamp_seconds: Option<f64>,
    /// Why not.
    pub last_error: Option<String>,
    pub samples_per_second: Option<f64>,
    /// Samples waiting to be sent.
    pub pending: u64,
    /// Age of the oldest pending sample.
    pub pending_age_seconds: Option<f64>,
    pub sent: u64,
    /// Samples that it refused.
    pub failed: u64,
    /// Samples dropped before they were sent.
    pub dropped: u64,
    pub last_push_timestamp_seconds: Option<f64>,
    /// Bytes in the queue, on disk if there is a `data_dir`.
    pub queue_bytes: u64,
    pub queue_limit_bytes: Option<u64>,
    /// Whether the queue is on disk.
    pub on_disk: bool,
    pub disk_failing: bool,
    /// While it does not work: how long the queue lasts at the current rate.
    pub lasts_seconds: Option<f64>,
}
