//! Decodes the messages of Celery's event exchange into events, which are views into their payload.
//!
//! Takes a [`Payload`] as delivered by a broker. Returns one [`Event`] for each event in it, or the
//! reason why it could not be read. A message contains one event or a list of them; an invalid
//! event in a list does not affect the others.
//!
//! Nothing unused is built: `args`, `kwargs` and `result` are skipped, only the class name is taken
//! from an exception and its traceback, and the values that are kept borrow from the payload.
//!
//! Source: Celery 4.4 to 5.7, `celery/events/`, checked against recordings of each in
//! `tests/golden/events`.

mod payload;

mod compression;
mod envelope;

pub mod json;
mod msgpack;
mod pickle;
mod yaml;

mod reader;

mod exception;
mod fields;
mod kind;

pub mod judge;

mod decode;
mod error;

use std::borrow::Cow;

pub use compression::Compression;
pub use decode::{Body, Decoder, Opener, decompress};
pub use error::{DecodeError, Reason};
pub use fields::TEXT_MAX;
pub use fields::Value;
pub use json::KeyOrder;
pub use judge::Refusal;
pub use kind::{EventKind, TaskKind, WorkerKind};
pub use msgpack::MsgpackReader;
pub use payload::{Accept, Batch, BrokerId, ContentType, Form, Mark, Payload, Position};
pub use pickle::PickleReader;
pub use reader::{Kind, Reader};
pub use yaml::YamlReader;

use crate::timestamp::Timestamp;

/// One event of a worker or a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// When it was sent, by the sender's clock; the time of receipt if the event has no timestamp.
    ///
    /// Celery's `utcoffset` is not applied: `timestamp` is UTC already.
    pub timestamp: Timestamp,
    /// The sender's node name (`celery@host`, `gen123@host`); empty where the event has none.
    pub hostname: Cow<'a, str>,
    /// The sender's process.
    pub pid: Option<i64>,
    /// The content of the event.
    pub detail: Detail<'a>,
}

impl Event<'_> {
    /// The type of the event.
    pub fn kind(&self) -> EventKind {
        match &self.detail {
            Detail::Task(task) => EventKind::Task(task.kind),
            Detail::Worker(worker) => EventKind::Worker(worker.kind),
            Detail::Other(_) => EventKind::Other,
        }
    }

    /// The task that the event is a step of.
    pub fn task_id(&self) -> Option<&str> {
        match &self.detail {
            Detail::Task(task) => Some(&task.uuid),
            Detail::Worker(_) | Detail::Other(_) => None,
        }
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail<'a> {
    /// A step in the life of a task.
    Task(TaskEvent<'a>),
    /// A sign of life of a worker.
    Worker(WorkerEvent<'a>),
    /// A type that Celery does not define: sent by `send_event` in a task, or by third-party code.
    Other(OtherEvent<'a>),
}

/// A step in the life of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEvent<'a> {
    pub kind: TaskKind,
    /// Any text, usually a UUID.
    pub uuid: Cow<'a, str>,
    /// On task-sent and task-received.
    pub name: Option<Cow<'a, str>>,
    /// On task-sent. Only a hint if there is an `exchange`.
    pub queue: Option<Cow<'a, str>>,
    /// On task-sent, if the exchange does not bind queues by name.
    pub exchange: Option<Cow<'a, str>>,
    /// On task-sent, with an `exchange`.
    pub routing_key: Option<Cow<'a, str>>,
    /// On task-sent and task-received: the first task of the workflow that this one belongs to. A
    /// task that no other task sent is its own root. Absent if a client uses task protocol 1.
    pub root_id: Option<Cow<'a, str>>,
    /// On task-sent and task-received: the task that sent this one; on a retry, the task itself.
    pub has_parent: bool,
    /// On task-sent and task-received: the number of earlier attempts.
    pub retries: Option<u32>,
    /// On task-sent and task-received: the earliest time to run.
    pub eta: Option<Timestamp>,
    /// On task-sent and task-received: the latest time to run.
    pub expires: Option<Timestamp>,
    /// On task-succeeded, in seconds.
    pub runtime: Option<f64>,
    /// On task-failed and task-retried: the name of the exception's class, if it can be determined.
    pub exception: Option<Cow<'a, str>>,
    /// On task-rejected.
    pub requeue: bool,
    /// On task-revoked: a running task was stopped.
    pub terminated: bool,
    /// On task-revoked: the task had expired.
    pub expired: bool,
}

impl<'a> TaskEvent<'a> {
    /// An event with only a type and a task.
    pub fn new(kind: TaskKind, uuid: impl Into<Cow<'a, str>>) -> Self {
        Self {
            kind,
            uuid: uuid.into(),
            name: None,
            queue: None,
            exchange: None,
            routing_key: None,
            root_id: None,
            has_parent: false,
            retries: None,
            eta: None,
            expires: None,
            runtime: None,
            exception: None,
            requeue: false,
            terminated: false,
            expired: false,
        }
    }
}

/// A sign of life of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerEvent<'a> {
    pub kind: WorkerKind,
    /// Seconds between heartbeats.
    pub freq: Option<f64>,
    /// Running tasks. Absent in a heartbeat that answers the `heartbeat` control command; the
    /// `freq` of such a heartbeat is a meaningless constant.
    pub active: Option<u64>,
    /// Tasks started since the worker's process started. Absent if `active` is.
    pub processed: Option<u64>,
    /// The machine's load over 1, 5 and 15 minutes. Absent if `active` is.
    pub loadavg: Option<[f64; 3]>,
    pub sw_ident: Option<Cow<'a, str>>,
    pub sw_ver: Option<Cow<'a, str>>,
    pub sw_sys: Option<Cow<'a, str>>,
}

impl WorkerEvent<'_> {
    /// An event with only a type.
    pub const fn new(kind: WorkerKind) -> Self {
        Self {
            kind,
            freq: None,
            active: None,
            processed: None,
            loadavg: None,
            sw_ident: None,
            sw_ver: None,
            sw_sys: None,
        }
    }
}

/// An event of a type that Celery does not define.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherEvent<'a> {
    /// The type as it was written.
    pub kind: Cow<'a, str>,
    /// The task that sent it, if a task called `send_event`.
    pub uuid: Option<Cow<'a, str>>,
}
