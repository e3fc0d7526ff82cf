//! What a broker and its workers answered when they were asked, and what whoever asks needs to know.

use std::sync::Arc;

use crate::timestamp::Timestamp;

/// What one broker, or the workers behind it, answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The broker's place in the configuration.
    pub broker: usize,
    pub received: Timestamp,
    pub answers: Answers,
}

/// The answers of one round.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// One round over all queues that are watched; a queue that is not there is absent.
    Queues(Vec<QueueLevel>),
    /// What the workers answered in one round of remote control. Those that did not answer are absent.
    Workers(Vec<WorkerAnswer>),
    /// Redis: channels on which events are published that are not subscribed to.
    Elsewhere(Vec<String>),
}

/// How full a queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLevel {
    pub queue: String,
    /// Messages that wait to be delivered.
    pub length: u64,
    /// Messages that are delivered and not acknowledged. Redis only: RabbitMQ does not say.
    pub unacked: Option<u64>,
    /// RabbitMQ only.
    pub consumers: Option<u64>,
}

/// What a worker says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerAnswer {
    /// The full node name.
    pub worker: String,
    pub pid: Option<i64>,
    /// Tasks that it can run at once.
    pub pool_size: Option<u64>,
    /// Processes of its pool: a prefork pool has them.
    pub processes: Option<u64>,
    pub prefetch_count: Option<u64>,
    /// The queues that it consumes.
    pub queues: Option<Vec<String>>,
    /// What it runs now.
    pub active: Option<Vec<TaskAnswer>>,
    /// What it has received and not started.
    pub reserved: Option<Vec<TaskAnswer>>,
}

/// A task as its worker tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskAnswer {
    pub uuid: String,
    pub name: Option<String>,
    pub queue: Option<String>,
    pub started: Option<Timestamp>,
}

/// What is known of a cluster that whoever asks it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Queues seen in events and answers.
    pub queues: Vec<Arc<str>>,
    /// Workers that are online.
    pub workers: Vec<Arc<str>>,
    /// Those of them that send no task events although they run tasks.
    pub silent: Vec<Arc<str>>,
    /// Whether any event has come.
    pub heard: bool,
}
