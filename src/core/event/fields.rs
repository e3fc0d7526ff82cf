//! Collects the event members that are used, whatever the serializer, and builds the event from
//! them.

use std::borrow::Cow;

use super::kind::{EventKind, TaskKind, WorkerKind};
use super::{DecodeError, Detail, Event, OtherEvent, TaskEvent, WorkerEvent, exception};
use crate::timestamp::Timestamp;

/// The longest name, uuid, queue or node name that is accepted, in bytes. Prometheus receivers
/// refuse label values beyond 1 or 2 KiB, and stored input needs a bound.
pub const TEXT_MAX: usize = 1024;

/// How many bytes are kept from the end of a traceback. The class comes before the message, which
/// may be long.
pub(super) const TRACEBACK_TAIL: usize = 32 * 1024;

/// The deepest nesting of a body. Celery's events have two levels, and a task may add a few.
pub(super) const DEPTH_MAX: usize = 128;

/// The most values in a body whose serializer requires remembering them: pickle its memo, YAML its
/// anchors. A Celery batch has about 1,000; this many take 20 MiB at worst.
pub(super) const VALUES_MAX: usize = 1 << 18;

/// The longest software name, version or system that is taken, in bytes.
const SOFTWARE_MAX: usize = 128;

/// A member of an event that is used. All others are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Type,
    Timestamp,
    Hostname,
    Pid,
    Uuid,
    Name,
    Queue,
    Exchange,
    RoutingKey,
    RootId,
    ParentId,
    Retries,
    Eta,
    Expires,
    Runtime,
    Exception,
    Traceback,
    Requeue,
    Terminated,
    Expired,
    Freq,
    Active,
    Processed,
    Loadavg,
    SwIdent,
    SwVer,
    SwSys,
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
            b"exchange" => Self::Exchange,
            b"routing_key" => Self::RoutingKey,
            b"retries" => Self::Retries,
            b"eta" => Self::Eta,
            b"expires" => Self::Expires,
            b"runtime" => Self::Runtime,
            b"exception" => Self::Exception,
            b"traceback" => Self::Traceback,
            b"requeue" => Self::Requeue,
            b"terminated" => Self::Terminated,
            b"expired" => Self::Expired,
            b"freq" => Self::Freq,
            b"active" => Self::Active,
            b"processed" => Self::Processed,
            b"loadavg" => Self::Loadavg,
            b"sw_ident" => Self::SwIdent,
            b"sw_ver" => Self::SwVer,
            b"sw_sys" => Self::SwSys,
            b"root_id" => Self::RootId,
            b"parent_id" => Self::ParentId,
            _ => return None,
        })
    }

    /// The part of a text without escapes that a field needs; without a field, that a name needs.
    /// Invalid UTF-8 becomes U+FFFD.
    ///
    /// A text far longer than [`TEXT_MAX`] is cut a little beyond it: it is refused for its length
    /// and need not be read in full.
    pub(super) fn text(field: Option<Self>, bytes: &[u8]) -> Cow<'_, str> {
        let part = if field == Some(Self::Traceback) {
            &bytes[bytes.len().saturating_sub(TRACEBACK_TAIL)..]
        } else if field == Some(Self::Exception) {
            &bytes[..bytes.len().min(exception::EXCEPTION_HEAD)]
        } else {
            &bytes[..bytes.len().min(TEXT_MAX + 4)]
        };
        String::from_utf8_lossy(part)
    }

    /// Whether it holds a number.
    pub(super) const fn is_number(self) -> bool {
        match self {
            Self::Timestamp
            | Self::Pid
            | Self::Retries
            | Self::Runtime
            | Self::Freq
            | Self::Active
            | Self::Processed => true,
            Self::Type
            | Self::Hostname
            | Self::Uuid
            | Self::Name
            | Self::Queue
            | Self::Exchange
            | Self::RoutingKey
            | Self::RootId
            | Self::ParentId
            | Self::Eta
            | Self::Expires
            | Self::Exception
            | Self::Traceback
            | Self::Requeue
            | Self::Terminated
            | Self::Expired
            | Self::Loadavg
            | Self::SwIdent
            | Self::SwVer
            | Self::SwSys => false,
        }
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
            Self::Exchange => "exchange",
            Self::RoutingKey => "routing_key",
            Self::RootId => "root_id",
            Self::ParentId => "parent_id",
            Self::Retries => "retries",
            Self::Eta => "eta",
            Self::Expires => "expires",
            Self::Runtime => "runtime",
            Self::Exception => "exception",
            Self::Traceback => "traceback",
            Self::Requeue => "requeue",
            Self::Terminated => "terminated",
            Self::Expired => "expired",
            Self::Freq => "freq",
            Self::Active => "active",
            Self::Processed => "processed",
            Self::Loadavg => "loadavg",
            Self::SwIdent => "sw_ident",
            Self::SwVer => "sw_ver",
            Self::SwSys => "sw_sys",
        }
    }
}

/// The value of a member.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    /// Integers beyond 53 bits are rounded; none of the numbers used can validly be that large.
    Number(f64),
    Text(Cow<'a, str>),
    /// A list of three numbers, where [`Field::Loadavg`] asks for one.
    Loads([f64; 3]),
    /// Any other list, a map, or bytes that are no text.
    Nested,
}

impl Value<'_> {
    /// The list that [`Field::Loadavg`] expects: three numbers. `None` stands for an element that
    /// is not a number.
    pub(super) fn loads(elements: impl IntoIterator<Item = Option<f64>>) -> Self {
        let mut loads = [0.0; 3];
        let mut count = 0;
        for element in elements {
            match (element, loads.get_mut(count)) {
                (Some(load), Some(place)) => *place = load,
                _ => return Self::Nested,
            }
            count += 1;
        }
        if count == loads.len() {
            Self::Loads(loads)
        } else {
            Self::Nested
        }
    }
}

/// What has been read of one event so far.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    kind: Option<EventKind>,
    /// The type as written, if Celery does not define it.
    other: Option<Cow<'a, str>>,
    timestamp: Option<f64>,
    hostname: Option<Cow<'a, str>>,
    pid: Option<f64>,
    uuid: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    queue: Option<Cow<'a, str>>,
    exchange: Option<Cow<'a, str>>,
    routing_key: Option<Cow<'a, str>>,
    root_id: Option<Cow<'a, str>>,
    has_parent: bool,
    retries: Option<f64>,
    eta: Option<Cow<'a, str>>,
    expires: Option<Cow<'a, str>>,
    runtime: Option<f64>,
    exception: Option<Cow<'a, str>>,
    traceback: Option<Cow<'a, str>>,
    requeue: bool,
    terminated: bool,
    expired: bool,
    freq: Option<f64>,
    active: Option<f64>,
    processed: Option<f64>,
    loadavg: Option<[f64; 3]>,
    sw_ident: Option<Cow<'a, str>>,
    sw_ver: Option<Cow<'a, str>>,
    sw_sys: Option<Cow<'a, str>>,
    /// The first problem. Stored rather than returned, so that the rest of a batch is still read.
    problem: Option<DecodeError>,
}

impl<'a> Fields<'a> {
    /// Takes the value of one member.
    pub(super) fn put(&mut self, field: Field, value: Value<'a>) {
        self.put_inlined(field, value);
    }

    /// The same, inlined: where the kind of value is known, nothing is left to match.
    #[inline(always)]
    pub(super) fn put_inlined(&mut self, field: Field, value: Value<'a>) {
        match field {
            Field::Type => match value {
                Value::Text(text) => {
                    let kind = EventKind::of(&text);
                    self.kind = Some(kind);
                    self.other = Some(text).filter(|_| kind == EventKind::Other);
                }
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Loads(_)
                | Value::Nested => self.refuse(DecodeError::Field("type")),
            },
            Field::Timestamp => self.timestamp = self.number(field, value),
            Field::Hostname => self.hostname = self.text(field, value),
            Field::Pid => self.pid = self.number(field, value),
            Field::Uuid => self.uuid = self.text(field, value),
            Field::Name => self.name = self.text(field, value),
            Field::Queue => self.queue = self.text(field, value),
            // These are only hints about the queue: an invalid one is ignored.
            Field::Exchange => self.exchange = lenient(value),
            Field::RoutingKey => self.routing_key = lenient(value),
            Field::RootId => self.root_id = id(value),
            Field::ParentId => self.has_parent = id(value).is_some(),
            Field::Retries => self.retries = self.number(field, value),
            Field::Eta => self.eta = lenient(value),
            Field::Expires => self.expires = lenient(value),
            Field::Runtime => self.runtime = self.number(field, value),
            Field::Exception => self.exception = lenient(value),
            Field::Traceback => self.traceback = lenient(value),
            Field::Requeue => self.requeue = value == Value::Bool(true),
            Field::Terminated => self.terminated = value == Value::Bool(true),
            Field::Expired => self.expired = value == Value::Bool(true),
            Field::Freq => self.freq = self.number(field, value),
            Field::Active => self.active = self.number(field, value),
            Field::Processed => self.processed = self.number(field, value),
            Field::Loadavg => {
                if let Value::Loads(loads) = value {
                    self.loadavg = Some(loads);
                }
            }
            Field::SwIdent => self.sw_ident = brief(value),
            Field::SwVer => self.sw_ver = brief(value),
            Field::SwSys => self.sw_sys = brief(value),
        }
    }

    /// Whether a traceback is needed, because the exception alone does not identify its class.
    pub(super) fn wants_traceback(&self) -> bool {
        !self.exception.as_deref().is_some_and(exception::is_certain)
    }

    /// Marks the event as unusable. The first reason is kept.
    pub(super) fn refuse(&mut self, problem: DecodeError) {
        self.problem.get_or_insert(problem);
    }

    /// Builds the event, for which the texts are taken out. `received` replaces a missing timestamp.
    pub(super) fn event(&mut self, received: Timestamp) -> Result<Event<'a>, DecodeError> {
        let kind = self.kind.ok_or(DecodeError::Field("type"));
        if let Some(problem) = self
            .problem
            .filter(|problem| kind != Ok(EventKind::Other) || is_grave(*problem))
        {
            return Err(problem);
        }
        let kind = kind?;
        // Python writes NaN and infinities for "no number"; a finite number that is not a valid
        // time is an error.
        let timestamp = match self.timestamp.filter(|seconds| seconds.is_finite()) {
            None => received,
            Some(seconds) => {
                Timestamp::from_seconds(seconds).ok_or(DecodeError::Field("timestamp"))?
            }
        };
        let hostname = self.hostname.take().unwrap_or_default();
        let pid = self.pid.and_then(whole);
        let detail = match kind {
            EventKind::Task(kind) => Detail::Task(self.task(kind)?),
            EventKind::Worker(kind) => Detail::Worker(self.worker(kind)),
            EventKind::Other => Detail::Other(OtherEvent {
                kind: self.other.take().unwrap_or_default(),
                uuid: self.uuid.take(),
            }),
        };
        Ok(Event {
            timestamp,
            hostname,
            pid,
            detail,
        })
    }

    fn task(&mut self, kind: TaskKind) -> Result<TaskEvent<'a>, DecodeError> {
        let uuid = self
            .uuid
            .take()
            .filter(|uuid| !uuid.is_empty())
            .ok_or(DecodeError::Field("uuid"))?;
        let traceback = self.traceback.as_deref();
        let exception = self
            .exception
            .take()
            .and_then(|repr| exception::class_of(repr, traceback));
        let [queue, exchange, routing_key] = route(
            self.queue.take(),
            self.exchange.take(),
            self.routing_key.take(),
        );
        Ok(TaskEvent {
            kind,
            uuid,
            name: self.name.take().filter(|name| !name.is_empty()),
            queue,
            exchange,
            routing_key,
            root_id: self.root_id.take(),
            has_parent: self.has_parent,
            retries: self
                .retries
                .and_then(whole)
                .and_then(|n| u32::try_from(n).ok()),
            eta: self.eta.as_deref().and_then(Timestamp::from_iso8601),
            expires: self.expires.as_deref().and_then(Timestamp::from_iso8601),
            runtime: self
                .runtime
                .filter(|seconds| seconds.is_finite() && *seconds >= 0.0),
            exception,
            requeue: self.requeue,
            terminated: self.terminated,
            expired: self.expired,
        })
    }

    fn worker(&mut self, kind: WorkerKind) -> WorkerEvent<'a> {
        let count = |n: Option<f64>| n.and_then(whole).and_then(|n| u64::try_from(n).ok());
        WorkerEvent {
            kind,
            freq: self.freq.filter(|freq| freq.is_finite() && *freq > 0.0),
            active: count(self.active),
            processed: count(self.processed),
            loadavg: self
                .loadavg
                .filter(|loads| loads.iter().all(|load| load.is_finite())),
            sw_ident: self.sw_ident.take(),
            sw_ver: self.sw_ver.take(),
            sw_sys: self.sw_sys.take(),
        }
    }

    #[inline(always)]
    fn text(&mut self, field: Field, value: Value<'a>) -> Option<Cow<'a, str>> {
        match value {
            Value::Text(text) if text.len() <= TEXT_MAX => Some(text),
            Value::Text(_) => {
                self.refuse(DecodeError::Oversized(field.name()));
                None
            }
            Value::Null => None,
            Value::Bool(_) | Value::Number(_) | Value::Loads(_) | Value::Nested => {
                self.refuse(DecodeError::Field(field.name()));
                None
            }
        }
    }

    #[inline(always)]
    fn number(&mut self, field: Field, value: Value<'a>) -> Option<f64> {
        match value {
            Value::Number(number) => Some(number),
            Value::Null => None,
            Value::Bool(_) | Value::Text(_) | Value::Loads(_) | Value::Nested => {
                self.refuse(DecodeError::Field(field.name()));
                None
            }
        }
    }
}

/// Whether a problem makes an event of any type unusable. Events that Celery does not define may
/// use field names differently.
fn is_grave(problem: DecodeError) -> bool {
    if let DecodeError::Field(name) | DecodeError::Oversized(name) = problem {
        matches!(name, "type" | "timestamp" | "hostname" | "uuid")
    } else {
        true
    }
}

/// A text that is only a hint: an invalid value costs the hint, not the event.
fn lenient(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Loads(_) | Value::Nested => None,
    }
}

/// The id of a related task: an invalid or overlong one costs the relation, not the event.
fn id(value: Value<'_>) -> Option<Cow<'_, str>> {
    lenient(value).filter(|id| !id.is_empty() && id.len() <= TEXT_MAX)
}

/// A text that is only a hint and becomes a label: a long one costs the hint.
fn brief(value: Value<'_>) -> Option<Cow<'_, str>> {
    lenient(value).filter(|text| !text.is_empty() && text.len() <= SOFTWARE_MAX)
}

/// The queue, exchange and routing key of a task-sent; exchange and routing key only if they
/// matter.
///
/// With the default exchange, the routing key is the queue. With any other, the queue depends on
/// bindings: the event names the default queue if the caller gave an exchange and no queue, and
/// none with native delayed delivery (Celery 5.5).
fn route<'a>(
    queue: Option<Cow<'a, str>>,
    exchange: Option<Cow<'a, str>>,
    routing_key: Option<Cow<'a, str>>,
) -> [Option<Cow<'a, str>>; 3] {
    let queue = queue.filter(|queue| !queue.is_empty());
    let routing_key = routing_key.filter(|key| !key.is_empty() && key.len() <= TEXT_MAX);
    match exchange {
        None => [queue, None, None],
        Some(exchange) if exchange.is_empty() => [routing_key.or(queue), None, None],
        Some(_) if queue.is_some() && queue == routing_key => [queue, None, None],
        Some(exchange) if exchange.len() <= TEXT_MAX => [queue, Some(exchange), routing_key],
        Some(_) => [None, None, None],
    }
}

/// A number that is an integer and represented exactly.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked against the range of exact integers"
)]
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    // Not `fract`: without SSE4.1, it is a function call.
    let whole = number as i64;
    (whole as f64 == number && number.abs() <= EXACT).then_some(whole)
}

#[cfg(test)]
mod tests;
