//! What workers reply over remote control: one message each, `{"<node name>": <value>}`.
//!
//! In: the body of a reply to one of four commands. Out: what is kept of it. The arguments of tasks are stepped
//! over, whatever they are; Python's `NaN` and lone surrogates in them end nothing.
//!
//! Source: Celery 4.4 to 5.7, `celery/worker/control.py`, checked against the recordings in
//! `tests/golden/pidbox`.

use std::collections::BTreeMap;

use super::binding::{self, Binding};
use crate::event::json::{Cursor, key_text};
use crate::event::{DecodeError, Value};
use crate::state::TaskAnswer;
use crate::timestamp::Timestamp;

/// The longest name that is kept, in bytes; longer ones are cut off the answer.
const TEXT_MAX: usize = 1024;

/// How many tasks, or queues, one reply may hold; what stands behind them is not read.
const ITEMS_MAX: usize = 10_000;

/// A start before that is no time of day: some versions of Celery give the seconds since the host booted.
const STARTED_MIN_SECONDS: f64 = 1e9;

/// A command that workers are asked to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Stats,
    ActiveQueues,
    Active,
    Reserved,
    Conf,
}

impl Method {
    /// What is asked again and again.
    pub(super) const POLLED: &[Self] = &[
        Self::Stats,
        Self::ActiveQueues,
        Self::Active,
        Self::Reserved,
    ];
    /// What is asked once, by who sets things up.
    pub(super) const SETTINGS: &[Self] = &[Self::Conf];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::ActiveQueues => "active_queues",
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Conf => "conf",
        }
    }

    /// What goes with the command, in JSON.
    pub(super) const fn arguments(self) -> &'static str {
        match self {
            Self::Stats | Self::ActiveQueues | Self::Active | Self::Reserved => "{}",
            Self::Conf => "{\"with_defaults\": true}",
        }
    }
}

/// What a worker is set to, as far as it is for who reads its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `worker_send_task_events`; the option `-E` of a worker's command line does not show in it.
    pub task_events: Option<bool>,
    /// `task_send_sent_event`. It is who publishes that heeds it, mostly with the same settings.
    pub sent_event: Option<bool>,
    pub event_exchange: Option<String>,
}

/// What one worker has replied so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Replies {
    pub(super) pid: Option<i64>,
    pub(super) pool_size: Option<u64>,
    pub(super) processes: Option<u64>,
    pub(super) prefetch_count: Option<u64>,
    pub(super) queues: Option<Vec<Binding>>,
    pub(super) active: Option<Vec<Task>>,
    pub(super) reserved: Option<Vec<Task>>,
    pub(super) settings: Option<Settings>,
    /// Which commands were answered, one bit each.
    answered: u8,
}

/// A task, with what its queue is found by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Task {
    uuid: String,
    name: Option<String>,
    exchange: Option<String>,
    routing_key: Option<String>,
    started: Option<Timestamp>,
}

impl Replies {
    pub(super) fn has_all(&self, methods: &[Method]) -> bool {
        self.answered.count_ones() as usize == methods.len()
    }

    /// Reads a value that answers a command. An error that a worker gives in its place (`{"error": …}`) is an
    /// answer that says nothing.
    fn read(&mut self, method: Method, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        self.answered |= 1 << method as u8;
        match method {
            Method::Stats if cursor.peek() == Some(b'{') => self.read_stats(cursor),
            Method::ActiveQueues if cursor.peek() == Some(b'[') => {
                self.queues = Some(items(cursor, read_queue)?);
                Ok(())
            }
            Method::Active if cursor.peek() == Some(b'[') => {
                self.active = Some(items(cursor, read_task)?);
                Ok(())
            }
            Method::Reserved if cursor.peek() == Some(b'[') => {
                self.reserved = Some(items(cursor, read_task)?);
                Ok(())
            }
            Method::Conf if cursor.peek() == Some(b'{') => {
                self.settings = Some(read_settings(cursor)?);
                Ok(())
            }
            Method::Stats
            | Method::ActiveQueues
            | Method::Active
            | Method::Reserved
            | Method::Conf => cursor.skip(1),
        }
    }

    fn read_stats(&mut self, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
        cursor.map(|cursor, key| match key {
            b"pid" => {
                self.pid = whole(cursor)?.and_then(|pid| i64::try_from(pid).ok());
                Ok(())
            }
            b"prefetch_count" => {
                self.prefetch_count = whole(cursor)?;
                Ok(())
            }
            b"pool" if cursor.peek() == Some(b'{') => cursor.map(|cursor, key| match key {
                b"max-concurrency" => {
                    self.pool_size = whole(cursor)?;
                    Ok(())
                }
                b"processes" if cursor.peek() == Some(b'[') => {
                    let mut processes = 0;
                    cursor.list(|cursor| {
                        processes += 1;
                        cursor.skip(4)
                    })?;
                    self.processes = Some(processes);
                    Ok(())
                }
                _ => cursor.skip(3),
            }),
            _ => cursor.skip(2),
        })
    }
}

/// Reads the body of a reply into what its worker has replied so far; the worker. There is one in what Celery
/// sends.
pub(super) fn read(
    body: &[u8],
    method: Method,
    workers: &mut BTreeMap<String, Replies>,
) -> Result<String, DecodeError> {
    let mut cursor = Cursor::new(body);
    if cursor.peek() != Some(b'{') {
        return Err(DecodeError::NotAMap);
    }
    let mut of = String::new();
    cursor.map(|cursor, worker| {
        if worker.len() > TEXT_MAX {
            return cursor.skip(1);
        }
        key_text(worker).as_ref().clone_into(&mut of);
        let replies = workers.entry(of.clone()).or_default();
        replies.read(method, cursor)
    })?;
    cursor.end()?;
    Ok(of)
}

impl Task {
    /// The task with its queue, as far as the queues of its worker tell it.
    pub(super) fn answer(self, queues: Option<&[Binding]>) -> TaskAnswer {
        let route = self.exchange.as_deref().zip(self.routing_key.as_deref());
        let queue = route.and_then(|(exchange, key)| {
            binding::queue_of(exchange, key, queues.unwrap_or_default())
        });
        let queue = queue.map(str::to_owned);
        TaskAnswer {
            uuid: self.uuid,
            name: self.name,
            queue,
            started: self.started,
        }
    }
}

/// The elements of a list that can be read, as many as are wanted.
fn items<T>(
    cursor: &mut Cursor<'_>,
    read: impl Fn(&mut Cursor<'_>) -> Result<Option<T>, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::new();
    cursor.list(|cursor| {
        if items.len() < ITEMS_MAX && cursor.peek() == Some(b'{') {
            items.extend(read(cursor)?);
            return Ok(());
        }
        cursor.skip(2)
    })?;
    Ok(items)
}

/// Reads the few settings that are wanted. There are passwords among the others.
fn read_settings(cursor: &mut Cursor<'_>) -> Result<Settings, DecodeError> {
    let mut settings = Settings::default();
    cursor.map(|cursor, key| {
        match key {
            b"worker_send_task_events" => settings.task_events = flag(cursor)?,
            b"task_send_sent_event" => settings.sent_event = flag(cursor)?,
            b"event_exchange" => settings.event_exchange = text(cursor)?,
            _ => return cursor.skip(2),
        }
        Ok(())
    })?;
    Ok(settings)
}

fn read_queue(cursor: &mut Cursor<'_>) -> Result<Option<Binding>, DecodeError> {
    let mut name = None;
    let mut binding = Binding::default();
    cursor.map(|cursor, key| match key {
        b"name" => {
            name = text(cursor)?;
            Ok(())
        }
        b"routing_key" => {
            binding.routing_key = text(cursor)?.unwrap_or_default();
            Ok(())
        }
        b"exchange" if cursor.peek() == Some(b'{') => cursor.map(|cursor, key| match key {
            b"name" => {
                binding.exchange = text(cursor)?.unwrap_or_default();
                Ok(())
            }
            b"type" => {
                binding.topic = text(cursor)?.is_some_and(|kind| kind == "topic");
                Ok(())
            }
            _ => cursor.skip(4),
        }),
        _ => cursor.skip(3),
    })?;
    Ok(name.map(|queue| Binding { queue, ..binding }))
}

fn read_task(cursor: &mut Cursor<'_>) -> Result<Option<Task>, DecodeError> {
    let mut task = Task::default();
    cursor.map(|cursor, key| match key {
        b"id" => {
            task.uuid = text(cursor)?.unwrap_or_default();
            Ok(())
        }
        b"name" => {
            task.name = text(cursor)?;
            Ok(())
        }
        b"time_start" => {
            if let Value::Number(seconds) = cursor.value()? {
                let seconds = Some(seconds).filter(|seconds| *seconds >= STARTED_MIN_SECONDS);
                task.started = seconds.and_then(Timestamp::from_seconds);
            }
            Ok(())
        }
        b"delivery_info" if cursor.peek() == Some(b'{') => cursor.map(|cursor, key| match key {
            b"exchange" => {
                task.exchange = text(cursor)?;
                Ok(())
            }
            b"routing_key" => {
                task.routing_key = text(cursor)?;
                Ok(())
            }
            _ => cursor.skip(4),
        }),
        // The arguments are among these.
        _ => cursor.skip(3),
    })?;
    Ok((!task.uuid.is_empty()).then_some(task))
}

fn text(cursor: &mut Cursor<'_>) -> Result<Option<String>, DecodeError> {
    Ok(match cursor.value()? {
        Value::Text(text) if text.len() <= TEXT_MAX => Some(text.into_owned()),
        Value::Text(_)
        | Value::Number(_)
        | Value::Bool(_)
        | Value::Null
        | Value::Loads(_)
        | Value::Nested => None,
    })
}

/// What Python takes for true or false, in the forms that a setting may have.
fn flag(cursor: &mut Cursor<'_>) -> Result<Option<bool>, DecodeError> {
    Ok(match cursor.value()? {
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
fn whole(cursor: &mut Cursor<'_>) -> Result<Option<u64>, DecodeError> {
    Ok(match cursor.value()? {
        Value::Number(number) if (0.0..9e15).contains(&number) => Some(number as u64),
        Value::Text(_)
        | Value::Number(_)
        | Value::Bool(_)
        | Value::Null
        | Value::Loads(_)
        | Value::Nested => None,
    })
}
