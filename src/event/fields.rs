//! The members of an event that are read, whatever the serializer, and the event that they make.

use std::borrow::Cow;

use super::kind::{Kind, TaskKind, WorkerKind};
use super::{DecodeError, Detail, Event, TaskEvent, WorkerEvent, exception};
use crate::timestamp::Timestamp;

/// The longest name, uuid, queue or node name that is taken, in bytes. Prometheus' receivers refuse label
/// values beyond 1 or 2 KiB, and what comes from outside and is kept must have a bound.
pub(super) const TEXT_MAX: usize = 1024;

/// How much of an exception's `repr` is looked at, in bytes: the class stands at its beginning.
pub(super) const EXCEPTION_HEAD: usize = 256;

/// How much of a traceback is kept, in bytes counted from its end, where the class stands.
pub(super) const TRACEBACK_TAIL: usize = 8 * 1024;

/// How deep a body may nest. Celery's events have two levels, and a task may add a few.
pub(super) const DEPTH_MAX: usize = 128;

/// How many values may be in a body of a serializer that has to remember them: pickle its memo, YAML its anchors. A
/// batch of Celery has some 1,000; so many take 20 MiB at the worst.
pub(super) const VALUES_MAX: usize = 1 << 18;

/// A member of an event that is read. All others are stepped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Type,
    Timestamp,
    Hostname,
    Pid,
    Uuid,
    Name,
    Queue,
    Retries,
    Runtime,
    Exception,
    Traceback,
    Requeue,
    Terminated,
    Expired,
    Freq,
    Active,
    Processed,
}

impl Field {
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"type" => Self::Type,
            b"timestamp" => Self::Timestamp,
            b"hostname" => Self::Hostname,
            b"pid" => Self::Pid,
            b"uuid" => Self::Uuid,
            b"name" => Self::Name,
            b"queue" => Self::Queue,
            b"retries" => Self::Retries,
            b"runtime" => Self::Runtime,
            b"exception" => Self::Exception,
            b"traceback" => Self::Traceback,
            b"requeue" => Self::Requeue,
            b"terminated" => Self::Terminated,
            b"expired" => Self::Expired,
            b"freq" => Self::Freq,
            b"active" => Self::Active,
            b"processed" => Self::Processed,
            _ => return None,
        })
    }

    /// What is looked at of a text without escapes that stands in this field; what is no UTF-8 becomes U+FFFD.
    ///
    /// One far beyond [`TEXT_MAX`] is cut a little behind it: it is refused for its length, and need not be read
    /// for that.
    pub(super) fn text(self, bytes: &[u8]) -> Cow<'_, str> {
        let part = match self {
            Self::Exception => &bytes[..bytes.len().min(EXCEPTION_HEAD)],
            Self::Traceback => &bytes[bytes.len().saturating_sub(TRACEBACK_TAIL)..],
            Self::Type
            | Self::Timestamp
            | Self::Hostname
            | Self::Pid
            | Self::Uuid
            | Self::Name
            | Self::Queue
            | Self::Retries
            | Self::Runtime
            | Self::Requeue
            | Self::Terminated
            | Self::Expired
            | Self::Freq
            | Self::Active
            | Self::Processed => &bytes[..bytes.len().min(TEXT_MAX + 4)],
        };
        String::from_utf8_lossy(part)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Timestamp => "timestamp",
            Self::Hostname => "hostname",
            Self::Pid => "pid",
            Self::Uuid => "uuid",
            Self::Name => "name",
            Self::Queue => "queue",
            Self::Retries => "retries",
            Self::Runtime => "runtime",
            Self::Exception => "exception",
            Self::Traceback => "traceback",
            Self::Requeue => "requeue",
            Self::Terminated => "terminated",
            Self::Expired => "expired",
            Self::Freq => "freq",
            Self::Active => "active",
            Self::Processed => "processed",
        }
    }
}

/// The value of a member.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// Integers beyond 53 bits are rounded; none that is read can be that large and right.
    Number(f64),
    Text(Cow<'a, str>),
    /// A list, a map, or bytes that are no text.
    Nested,
}

/// What has been read of one event so far.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    kind: Option<Kind>,
    timestamp: Option<f64>,
    hostname: Option<Cow<'a, str>>,
    pid: Option<f64>,
    uuid: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    queue: Option<Cow<'a, str>>,
    retries: Option<f64>,
    runtime: Option<f64>,
    exception: Option<Cow<'a, str>>,
    traceback: Option<Cow<'a, str>>,
    requeue: bool,
    terminated: bool,
    expired: bool,
    freq: Option<f64>,
    active: Option<f64>,
    processed: Option<f64>,
    /// The first thing that was wrong. Kept rather than returned, so that the rest of a batch is still read.
    problem: Option<DecodeError>,
}

impl<'a> Fields<'a> {
    /// Takes the value of one member.
    pub(super) fn put(&mut self, field: Field, value: Value<'a>) {
        match field {
            Field::Type => match value {
                Value::Text(text) => self.kind = Some(Kind::of(&text)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Nested => {
                    self.refuse(DecodeError::Field("type"));
                }
            },
            Field::Timestamp => self.timestamp = self.number(field, value),
            Field::Hostname => self.hostname = self.text(field, value),
            Field::Pid => self.pid = self.number(field, value),
            Field::Uuid => self.uuid = self.text(field, value),
            Field::Name => self.name = self.text(field, value),
            Field::Queue => self.queue = self.text(field, value),
            Field::Retries => self.retries = self.number(field, value),
            Field::Runtime => self.runtime = self.number(field, value),
            Field::Exception => self.exception = lenient(value),
            Field::Traceback => self.traceback = lenient(value),
            Field::Requeue => self.requeue = value == Value::Bool(true),
            Field::Terminated => self.terminated = value == Value::Bool(true),
            Field::Expired => self.expired = value == Value::Bool(true),
            Field::Freq => self.freq = self.number(field, value),
            Field::Active => self.active = self.number(field, value),
            Field::Processed => self.processed = self.number(field, value),
        }
    }

    /// Whether a traceback is of any use: only where the exception itself says nothing.
    pub(super) fn wants_traceback(&self) -> bool {
        self.exception
            .as_deref()
            .is_none_or(|repr| repr == exception::PLACEHOLDER)
    }

    /// Notes that the event cannot be used. The first reason stays.
    pub(super) fn refuse(&mut self, problem: DecodeError) {
        self.problem.get_or_insert(problem);
    }

    /// The event that was read; `received` stands in for a timestamp that is not there.
    pub(super) fn event(self, received: Timestamp) -> Result<Event<'a>, DecodeError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let kind = self.kind.ok_or(DecodeError::Field("type"))?;
        // NaN and infinities are what Python writes for "no number"; a finite number that is no time is wrong.
        let timestamp = match self.timestamp.filter(|seconds| seconds.is_finite()) {
            None => received,
            Some(seconds) => {
                Timestamp::from_seconds(seconds).ok_or(DecodeError::Field("timestamp"))?
            }
        };
        let hostname = self.hostname.clone().unwrap_or_default();
        let pid = self.pid.and_then(whole);
        let detail = match kind {
            Kind::Task(kind) => Detail::Task(self.task(kind)?),
            Kind::Worker(kind) => Detail::Worker(self.worker(kind)),
            Kind::Other => Detail::Other,
        };
        Ok(Event {
            timestamp,
            hostname,
            pid,
            detail,
        })
    }

    fn task(self, kind: TaskKind) -> Result<TaskEvent<'a>, DecodeError> {
        let uuid = self
            .uuid
            .filter(|uuid| !uuid.is_empty())
            .ok_or(DecodeError::Field("uuid"))?;
        let exception = match self.exception {
            Some(repr) if repr == exception::PLACEHOLDER => self
                .traceback
                .as_deref()
                .and_then(exception::class_in_traceback)
                .map(|class| Cow::Owned(class.to_owned())),
            Some(repr) => exception::class_of(repr),
            None => None,
        };
        Ok(TaskEvent {
            kind,
            uuid,
            name: self.name.filter(|name| !name.is_empty()),
            queue: self.queue.filter(|queue| !queue.is_empty()),
            retries: self
                .retries
                .and_then(whole)
                .and_then(|n| u32::try_from(n).ok()),
            runtime: self
                .runtime
                .filter(|seconds| seconds.is_finite() && *seconds >= 0.0),
            exception,
            requeue: self.requeue,
            terminated: self.terminated,
            expired: self.expired,
        })
    }

    fn worker(&self, kind: WorkerKind) -> WorkerEvent {
        let count = |n: Option<f64>| n.and_then(whole).and_then(|n| u64::try_from(n).ok());
        WorkerEvent {
            kind,
            freq: self.freq.filter(|freq| freq.is_finite() && *freq > 0.0),
            active: count(self.active),
            processed: count(self.processed),
        }
    }

    fn text(&mut self, field: Field, value: Value<'a>) -> Option<Cow<'a, str>> {
        match value {
            Value::Text(text) if text.len() <= TEXT_MAX => Some(text),
            Value::Text(_) => {
                self.refuse(DecodeError::Oversized(field.name()));
                None
            }
            Value::Null => None,
            Value::Bool(_) | Value::Number(_) | Value::Nested => {
                self.refuse(DecodeError::Field(field.name()));
                None
            }
        }
    }

    fn number(&mut self, field: Field, value: Value<'a>) -> Option<f64> {
        match value {
            Value::Number(number) => Some(number),
            Value::Null => None,
            Value::Bool(_) | Value::Text(_) | Value::Nested => {
                self.refuse(DecodeError::Field(field.name()));
                None
            }
        }
    }
}

/// A text that is only a hint: anything else costs the hint and not the event.
fn lenient(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Nested => None,
    }
}

/// A number that is a whole one and exact.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked against the range of exact integers"
)]
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}
