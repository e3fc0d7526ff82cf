//! Parses workers' remote-control replies, one message per worker: `{"<node name>": <value>}`.
//!
//! Parses only the fields that are used. Task arguments are skipped, so Python's `NaN` and lone
//! surrogates in them cause no error.
//!
//! Source: Celery 4.4 to 5.7, `celery/worker/control.py`, checked against the recordings in
//! `tests/golden/pidbox`.

mod queue;
mod registered;
mod settings;

use std::collections::BTreeMap;

use crate::event::json::Cursor;
use crate::event::{
    ContentType, DecodeError, Kind, MsgpackReader, PickleReader, Reader, Value, YamlReader,
};
use crate::state::{Binding, RegisteredTask, TaskAnswer, queue_delivered};
use crate::timestamp::Timestamp;
use queue::{ConsumedQueue, read_queue};
use registered::read_registered;
use settings::read_settings;

/// Maximum length of a name in bytes. Longer ones are ignored.
const TEXT_MAX: usize = 1024;

/// How many tasks or queues are read from one reply. The rest is ignored.
const ITEMS_MAX: usize = 10_000;

/// A smaller start time is not since the epoch: some versions of Celery report seconds since the
/// host booted.
const STARTED_MIN_SECONDS: f64 = 1e9;

/// A command that workers are asked to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Stats,
    ActiveQueues,
    Active,
    Reserved,
    Scheduled,
    Registered,
    Conf,
    Ping,
}

impl Method {
    /// Commands sent in every round. A task moves from `scheduled` to `reserved` to `active`, and
    /// the lists are requested in this order, so a task appears in at least one of them.
    pub(super) const POLLED: &[Self] = &[
        Self::Stats,
        Self::ActiveQueues,
        Self::Scheduled,
        Self::Reserved,
        Self::Active,
    ];
    /// The same commands, plus the settings of tasks.
    pub(super) const POLLED_WITH_TASKS: &[Self] = &[
        Self::Stats,
        Self::ActiveQueues,
        Self::Registered,
        Self::Scheduled,
        Self::Reserved,
        Self::Active,
    ];
    /// Commands sent once when setting up.
    pub(super) const SETTINGS: &[Self] = &[Self::Conf, Self::Ping];
    /// The only command that a beat answers.
    pub(super) const OF_BEATS: &[Self] = &[Self::Ping];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::ActiveQueues => "active_queues",
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Scheduled => "scheduled",
            Self::Registered => "registered",
            Self::Conf => "conf",
            Self::Ping => "ping",
        }
    }

    /// The arguments of the command, in JSON.
    pub(super) const fn arguments(self) -> &'static str {
        match self {
            Self::Stats
            | Self::ActiveQueues
            | Self::Active
            | Self::Reserved
            | Self::Scheduled
            | Self::Ping => "{}",
            Self::Registered => registered::ARGUMENTS,
            Self::Conf => "{\"with_defaults\": true}",
        }
    }
}

/// The worker settings that matter to a consumer of its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `worker_send_task_events`. The worker's command-line option `-E` is not reflected in it.
    pub task_events: Option<bool>,
    /// `task_send_sent_event`. It takes effect in the publisher, which usually has the same
    /// settings.
    pub sent_event: Option<bool>,
    pub event_exchange: Option<String>,
    /// `broker_transport_options`.
    pub transport: Option<TransportOptions>,
}

/// Kombu's options that change the wire format. A worker censors options with `key` in their name,
/// such as `global_keyprefix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportOptions {
    pub sep: Option<String>,
    pub priority_steps: Option<Vec<u64>>,
    pub ack_emulation: Option<bool>,
    pub sentinel_fanout_compat: Option<bool>,
}

/// The replies of one worker so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Replies {
    pub(super) pid: Option<i64>,
    /// The pool size at startup. With prefork, `pool_grow` and an autoscaler do not change it.
    max_concurrency: Option<u64>,
    pub(super) processes: Option<u64>,
    autoscaler: Option<Autoscaler>,
    pub(super) prefetch_count: Option<u64>,
    /// Seconds since the worker started.
    pub(super) uptime: Option<u64>,
    pub(super) queues: Option<Vec<ConsumedQueue>>,
    pub(super) active: Option<Vec<Task>>,
    pub(super) reserved: Option<Vec<Task>>,
    pub(super) scheduled: Option<Vec<Task>>,
    pub(super) registered: Option<Vec<RegisteredTask>>,
    pub(super) settings: Option<Settings>,
    /// How many answers to `ping` arrived.
    pub(super) pongs: u64,
    /// Which commands were answered, one bit each.
    answered: u8,
    /// A command was answered twice: two workers share a name, and their answers overwrite each
    /// other.
    twice: bool,
}

/// The limits of an autoscaler and its current size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Autoscaler {
    max: Option<u64>,
    current: Option<u64>,
}

/// A task, with the fields that identify its queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Task {
    uuid: String,
    name: Option<String>,
    exchange: Option<String>,
    routing_key: Option<String>,
    started: Option<Timestamp>,
    eta: Option<Timestamp>,
}

impl Replies {
    /// Whether the lists contain every task of the worker.
    pub(super) fn is_complete(&self) -> bool {
        let lists = [&self.active, &self.reserved, &self.scheduled];
        let whole = |list: &Option<Vec<Task>>| list.as_ref().is_some_and(|it| it.len() < ITEMS_MAX);
        !self.twice && lists.into_iter().all(whole)
    }

    /// Whether a list may have been truncated.
    pub(super) fn is_cut(&self) -> bool {
        let tasks = [&self.active, &self.reserved, &self.scheduled];
        let tasks = tasks.into_iter().flatten().map(Vec::len);
        let queues = self.queues.as_ref().map(Vec::len);
        let names = self.registered.as_ref().map(Vec::len);
        tasks
            .chain(queues)
            .chain(names)
            .any(|length| length >= ITEMS_MAX)
    }

    pub(super) fn has_all(&self, methods: &[Method]) -> bool {
        self.answered.count_ones() as usize == methods.len()
    }

    /// Whether it answered `ping` and no other command, as a beat does.
    pub(super) const fn only_ponged(&self) -> bool {
        self.answered == 1 << Method::Ping as u8
    }

    /// How many tasks the worker can run at once now.
    pub(super) fn pool_size(&self) -> Option<u64> {
        let current = self.autoscaler.and_then(|autoscaler| autoscaler.current);
        current.or(self.processes).or(self.max_concurrency)
    }

    /// How many tasks it can run at once when its pool is fully grown.
    pub(super) fn slots(&self) -> Option<u64> {
        let max = self.autoscaler.and_then(|autoscaler| autoscaler.max);
        // A pool that shrinks keeps its busy processes.
        max.max(self.pool_size())
    }

    /// Reads the value of a command's reply. An error that a worker sends instead (`{"error": …}`)
    /// counts as an answer without information.
    fn read<'a>(
        &mut self,
        method: Method,
        reader: &mut impl Reader<'a>,
    ) -> Result<(), DecodeError> {
        let bit = 1 << method as u8;
        self.twice |= self.answered & bit != 0;
        self.answered |= bit;
        match method {
            Method::Ping => {
                self.pongs += 1;
                reader.skip(1)
            }
            Method::Stats if reader.kind() == Kind::Map => self.read_stats(reader),
            Method::ActiveQueues if reader.kind() == Kind::List => {
                self.queues = Some(items(reader, read_queue)?);
                Ok(())
            }
            Method::Active if reader.kind() == Kind::List => {
                self.active = Some(items(reader, read_task)?);
                Ok(())
            }
            Method::Reserved if reader.kind() == Kind::List => {
                self.reserved = Some(items(reader, read_task)?);
                Ok(())
            }
            Method::Scheduled if reader.kind() == Kind::List => {
                self.scheduled = Some(items(reader, read_scheduled)?);
                Ok(())
            }
            Method::Registered if reader.kind() == Kind::List => {
                self.registered = Some(read_registered(reader)?);
                Ok(())
            }
            Method::Conf if reader.kind() == Kind::Map => {
                self.settings = Some(read_settings(reader)?);
                Ok(())
            }
            Method::Stats
            | Method::ActiveQueues
            | Method::Active
            | Method::Reserved
            | Method::Scheduled
            | Method::Registered
            | Method::Conf => reader.skip(1),
        }
    }

    fn read_stats<'a>(&mut self, reader: &mut impl Reader<'a>) -> Result<(), DecodeError> {
        reader.map(|reader, key| match key {
            b"pid" => {
                self.pid = whole(reader)?.and_then(|pid| i64::try_from(pid).ok());
                Ok(())
            }
            b"uptime" => {
                self.uptime = whole(reader)?;
                Ok(())
            }
            b"prefetch_count" => {
                self.prefetch_count = whole(reader)?;
                Ok(())
            }
            b"pool" if reader.kind() == Kind::Map => reader.map(|reader, key| match key {
                b"max-concurrency" => {
                    self.max_concurrency = whole(reader)?;
                    Ok(())
                }
                b"processes" if reader.kind() == Kind::List => {
                    let mut processes = 0;
                    reader.list(|reader| {
                        processes += 1;
                        reader.skip(4)
                    })?;
                    self.processes = Some(processes);
                    Ok(())
                }
                _ => reader.skip(3),
            }),
            b"autoscaler" if reader.kind() == Kind::Map => {
                let mut autoscaler = Autoscaler::default();
                reader.map(|reader, key| {
                    match key {
                        b"max" => autoscaler.max = whole(reader)?,
                        b"current" => autoscaler.current = whole(reader)?,
                        _ => return reader.skip(3),
                    }
                    Ok(())
                })?;
                self.autoscaler = Some(autoscaler);
                Ok(())
            }
            _ => reader.skip(2),
        })
    }
}

/// Reads the body of a reply into the replies of its worker, and returns the worker. Celery sends
/// one worker per reply.
pub(super) fn read(
    content_type: ContentType,
    body: &[u8],
    method: Method,
    workers: &mut BTreeMap<String, Replies>,
) -> Result<String, DecodeError> {
    match content_type {
        ContentType::Json => read_worker(Cursor::new(body), method, workers),
        ContentType::Msgpack => read_worker(MsgpackReader::new(body)?, method, workers),
        ContentType::Yaml => {
            let text = String::from_utf8_lossy(body);
            read_worker(YamlReader::new(&text)?, method, workers)
        }
        ContentType::Pickle => read_worker(PickleReader::new(body)?, method, workers),
        ContentType::Unknown => Err(DecodeError::ContentType),
    }
}

fn read_worker<'a, R: Reader<'a>>(
    mut reader: R,
    method: Method,
    workers: &mut BTreeMap<String, Replies>,
) -> Result<String, DecodeError> {
    if reader.kind() != Kind::Map {
        return Err(DecodeError::NotAMap);
    }
    let mut of = String::new();
    reader.map(|reader, worker| {
        if worker.len() > TEXT_MAX {
            return reader.skip(1);
        }
        R::key_text(worker).as_ref().clone_into(&mut of);
        let replies = workers.entry(of.clone()).or_default();
        replies.read(method, reader)
    })?;
    reader.end()?;
    Ok(of)
}

impl Task {
    /// The task with its queue, as far as the worker's queues identify it.
    pub(super) fn answer(self, queues: Option<&[Binding]>) -> TaskAnswer {
        let route = self.exchange.as_deref().zip(self.routing_key.as_deref());
        let queue = route
            .and_then(|(exchange, key)| queue_delivered(exchange, key, queues.unwrap_or_default()));
        let queue = queue.map(str::to_owned);
        TaskAnswer {
            uuid: self.uuid,
            name: self.name,
            queue,
            started: self.started,
            eta: self.eta,
        }
    }
}

/// The readable elements of a list, up to a limit.
fn items<'a, R: Reader<'a>, T>(
    reader: &mut R,
    read: impl Fn(&mut R) -> Result<Option<T>, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::new();
    reader.list(|reader| {
        if items.len() < ITEMS_MAX && reader.kind() == Kind::Map {
            items.extend(read(reader)?);
            return Ok(());
        }
        reader.skip(2)
    })?;
    Ok(items)
}

fn read_task<'a>(reader: &mut impl Reader<'a>) -> Result<Option<Task>, DecodeError> {
    let mut task = Task::default();
    reader.map(|reader, key| match key {
        b"id" => {
            task.uuid = text(reader)?.unwrap_or_default();
            Ok(())
        }
        b"name" => {
            task.name = text(reader)?;
            Ok(())
        }
        b"time_start" => {
            if let Value::Number(seconds) = reader.value()? {
                let seconds = Some(seconds).filter(|seconds| *seconds >= STARTED_MIN_SECONDS);
                task.started = seconds.and_then(Timestamp::from_seconds);
            }
            Ok(())
        }
        b"delivery_info" if reader.kind() == Kind::Map => reader.map(|reader, key| match key {
            b"exchange" => {
                task.exchange = text(reader)?;
                Ok(())
            }
            b"routing_key" => {
                task.routing_key = text(reader)?;
                Ok(())
            }
            _ => reader.skip(4),
        }),
        // The task's arguments are among these.
        _ => reader.skip(3),
    })?;
    Ok((!task.uuid.is_empty()).then_some(task))
}

/// A scheduled task, wrapped in its ETA and priority.
fn read_scheduled<'a>(reader: &mut impl Reader<'a>) -> Result<Option<Task>, DecodeError> {
    let mut task = None;
    let mut eta = None;
    reader.map(|reader, key| match key {
        b"request" if reader.kind() == Kind::Map => {
            task = read_task(reader)?;
            Ok(())
        }
        b"eta" => {
            eta = text(reader)?.and_then(|eta| Timestamp::from_iso8601(&eta));
            Ok(())
        }
        _ => reader.skip(3),
    })?;
    Ok(task.map(|task| Task { eta, ..task }))
}

fn text<'a>(reader: &mut impl Reader<'a>) -> Result<Option<String>, DecodeError> {
    Ok(match reader.value()? {
        Value::Text(text) if text.len() <= TEXT_MAX => Some(text.into_owned()),
        Value::Text(_)
        | Value::Number(_)
        | Value::Bool(_)
        | Value::Null
        | Value::Loads(_)
        | Value::Nested => None,
    })
}

/// A setting as a Boolean, by Python's rules for truth.
fn flag<'a>(reader: &mut impl Reader<'a>) -> Result<Option<bool>, DecodeError> {
    Ok(match reader.value()? {
        Value::Bool(on) => Some(on),
        Value::Number(number) => Some(number != 0.0),
        Value::Null => Some(false),
        Value::Text(_) | Value::Loads(_) | Value::Nested => None,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in the range that is asked for, a float's whole numbers are exact"
)]
fn whole<'a>(reader: &mut impl Reader<'a>) -> Result<Option<u64>, DecodeError> {
    Ok(match reader.value()? {
        Value::Number(number) if (0.0..9e15).contains(&number) => Some(number as u64),
        Value::Text(_)
        | Value::Number(_)
        | Value::Bool(_)
        | Value::Null
        | Value::Loads(_)
        | Value::Nested => None,
    })
}
