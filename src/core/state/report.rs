//! What the poller of a broker found out, as values: how long queues are, and what workers answer.
//!
//! Events tell what happened; these tell what is. They come from outside as whole rounds, so that what is absent
//! from one is known to be absent.

use std::sync::Arc;

use super::Binding;
use crate::timestamp::Timestamp;

/// What one round of asking found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The place of the broker in the configuration.
    pub broker: usize,
    /// When the round began.
    pub asked: Timestamp,
    /// When the round was over.
    pub received: Timestamp,
    pub answers: Answers,
}

/// What was asked for, and found.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// One round over all queues that are watched; a queue that is not there is absent.
    Queues(Vec<QueueLevel>),
    /// What the workers answered in one round of remote control; a worker that is absent did not answer.
    Workers(Vec<WorkerAnswer>),
    /// Redis: the bindings of queues to exchanges.
    Bindings(Vec<Binding>),
    /// Redis: channels on which events are published that are not subscribed to.
    Elsewhere(Vec<String>),
}

/// How much is in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLevel {
    pub queue: String,
    /// Messages that no worker has yet; on Redis over all priority steps.
    pub length: u64,
    /// Redis: messages that a worker has and has not acknowledged. Absent while they are not counted to the end.
    pub unacked: Option<u64>,
    /// RabbitMQ: channels that consume the queue.
    pub consumers: Option<u64>,
}

/// What one worker answered. What is absent was not answered, or not in a form that can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerAnswer {
    /// The full node name.
    pub worker: String,
    pub pid: Option<i64>,
    /// Tasks that it runs at once now, and when its pool has grown as far as it may.
    pub pool_size: Option<u64>,
    pub slots: Option<u64>,
    /// Child processes that there are; prefork only.
    pub processes: Option<u64>,
    pub prefetch_count: Option<u64>,
    /// The queues that it consumes.
    pub queues: Option<Vec<String>>,
    /// What binds them to exchanges.
    pub bindings: Vec<Binding>,
    /// Tasks that run now.
    pub active: Option<Vec<TaskAnswer>>,
    /// Tasks that it has and has not started.
    pub reserved: Option<Vec<TaskAnswer>>,
    /// Tasks that it has and that are not due.
    pub scheduled: Option<Vec<TaskAnswer>>,
    /// Whether the three lists above are all it has: each was answered, once, and none was cut.
    pub complete: bool,
    /// Names of the tasks that it runs without a rate limit; absent where it was not asked.
    pub unlimited: Option<Vec<String>>,
}

/// A task that a worker has. Its arguments are never read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskAnswer {
    pub uuid: String,
    pub name: Option<String>,
    /// The queue that it came from; absent where it cannot be told for certain.
    pub queue: Option<String>,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When it is due, if it is scheduled.
    pub eta: Option<Timestamp>,
}

/// What is known that a poller needs: the way back, through a watch channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Queues that were seen in events and answers.
    pub queues: Vec<Arc<str>>,
    /// Workers that are online.
    pub workers: Vec<Arc<str>>,
    /// Workers that are online and send no task events.
    pub silent: Vec<Arc<str>>,
    /// How many processes of workers were seen to begin: each is asked soon.
    pub begun: u64,
    /// Whether any event came.
    pub heard: bool,
    /// Whether a worker received a task that it does not list: it may hold the task back for a rate limit, so its rate
    /// limits have to be known.
    pub rates_wanted: bool,
}
