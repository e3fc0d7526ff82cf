//! The answers of broker and workers that a poller reports: queue lengths and worker state.
//!
//! Events report what happened; these report the current state. They arrive as complete rounds, so
//! anything absent from a round is known to be absent.

use std::sync::Arc;
use std::time::Duration;

use super::Binding;
use crate::event::BrokerId;
use crate::timestamp::Timestamp;

/// The result of one polling round.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub broker: BrokerId,
    /// When the round started.
    pub asked: Timestamp,
    /// When the round ended.
    pub received: Timestamp,
    pub answers: Answers,
}

/// The kind of request and its result.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// One round over all watched queues. Absent queues do not exist.
    Queues(Vec<QueueLevel>),
    /// The workers' answers in one round of remote control. Absent workers did not answer.
    Workers(Vec<WorkerAnswer>),
    /// The nodes that answered as `celery beat` in one round that asked every known one.
    Beats(Vec<BeatAnswer>),
    /// Redis: the bindings of queues to exchanges.
    Bindings(Vec<Binding>),
    /// Redis: channels on which events are published and that are not subscribed to.
    Elsewhere(Vec<String>),
}

/// The level of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLevel {
    pub queue: String,
    /// Messages that no worker has yet; on Redis, over all priority steps.
    pub length: u64,
    /// Redis: messages delivered to workers and not acknowledged. Absent until they have been
    /// counted completely.
    pub unacked: Option<u64>,
    /// RabbitMQ: the number of channels that consume the queue.
    pub consumers: Option<u64>,
}

/// The answer of one worker. Fields are absent if they were not answered or could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerAnswer {
    /// The full node name.
    pub worker: String,
    pub pid: Option<i64>,
    /// How many tasks it can run at once now, and with a fully grown pool.
    pub pool_size: Option<u64>,
    pub slots: Option<u64>,
    /// The number of child processes; prefork only.
    pub processes: Option<u64>,
    pub prefetch_count: Option<u64>,
    /// Seconds since it started.
    pub uptime: Option<u64>,
    /// The queues that it consumes.
    pub queues: Option<Vec<String>>,
    /// Those of its queues that may have messages without giving it any, although it has room:
    /// queues with a single active consumer, and streams, whose length includes what was consumed.
    pub passive_queues: Vec<String>,
    /// The bindings of these queues.
    pub bindings: Vec<Binding>,
    /// Running tasks.
    pub active: Option<Vec<TaskAnswer>>,
    /// Tasks that it has received and not started.
    pub reserved: Option<Vec<TaskAnswer>>,
    /// Tasks that it has received and that are not due.
    pub scheduled: Option<Vec<TaskAnswer>>,
    /// Whether the three lists above are complete: each was answered exactly once, and none was
    /// truncated.
    pub complete: bool,
    /// The tasks that it can run. Absent if not requested.
    pub registered: Option<Vec<RegisteredTask>>,
}

/// A task that a worker can run, with its settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegisteredTask {
    pub name: String,
    /// The time between two starts that its rate limit demands. Absent without one, and the longest
    /// possible time if the limit cannot be read.
    pub rate_pause: Option<Duration>,
    /// How often it may be retried. Absent if there is no limit.
    pub max_retries: Option<u32>,
    /// Seconds after which it is stopped: the hard limit or, without one, the soft limit.
    pub time_limit: Option<f64>,
}

/// The answer of one beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeatAnswer {
    /// The full node name.
    pub beat: String,
    /// Number of processes that answered under this name.
    pub processes: u64,
}

/// A task that a worker has. Its arguments are never read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskAnswer {
    pub uuid: String,
    pub name: Option<String>,
    /// The queue it came from. Absent if it is not certain.
    pub queue: Option<String>,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When it is due, if it is scheduled.
    pub eta: Option<Timestamp>,
}

/// State that the poller needs, sent back to it through a watch channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollTargets {
    /// Queues seen in events and answers.
    pub queues: Vec<Arc<str>>,
    /// Workers that are online.
    pub workers: Vec<Arc<str>>,
    /// Workers that are online and send no task events.
    pub silent: Vec<Arc<str>>,
    /// Known beats, online or not.
    pub beats: Vec<Arc<str>>,
    /// How many starts of worker processes were seen. New processes are asked soon.
    pub begun: u64,
    /// Whether any event has arrived.
    pub events_arrive: bool,
    /// Whether the settings of tasks are needed: they are not known yet, or may have changed, or a
    /// worker received a task that it does not list and may be holding back because of a rate
    /// limit.
    pub task_settings_wanted: bool,
}
