//! The tables of the page and of the terminal: one definition of every column.

use std::cmp::Ordering;
use std::sync::Arc;

use super::document::{
    BrokerRow, PeriodicRow, QueueRow, ReceiverRow, TaskRow, WorkerRow, WorkflowRow,
};

/// The value of a cell. `None` is shown as unknown, and sorted last.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    Text(&'a str),
    OptionalText(Option<&'a str>),
    Texts(Option<&'a [Arc<str>]>),
    Count(Option<u64>),
    /// Something that happened this often, and ideally never.
    Trouble(u64),
    /// Events a minute, or samples a second.
    Rate(Option<f64>),
    Ratio(Option<f64>),
    /// A share that is bad if it is not 0.
    TroubleRatio(Option<f64>),
    Seconds(Option<f64>),
    /// The median and the 95th percentile, in seconds.
    Percentiles(Option<f64>, Option<f64>),
    /// A point in time, shown as its distance from the time of the document.
    Time(Option<f64>),
    /// A number of a possible number.
    Of(Option<u64>, Option<u64>),
    Bytes(u64, Option<u64>),
    Load(Option<[f64; 3]>),
    /// Whether all is well, what the state is, and since when.
    State(bool, &'a str, Option<f64>),
    /// A queue's time until it is empty, and whether it grows instead.
    Drain(Option<f64>, bool),
    /// A history, oldest value first.
    Spark(&'a [Option<u32>]),
}

/// A column of a table with rows of type `R`.
#[derive(Debug)]
pub struct Column<R> {
    /// The name in `sort=`, and of the field in CSS.
    pub key: &'static str,
    /// With the unit.
    pub title: &'static str,
    pub cell: for<'a> fn(&'a R) -> Cell<'a>,
}

/// A row of a table.
pub trait Row: Sized + 'static {
    /// The section that shows it, such as `queues`.
    const SECTION: &'static str;
    /// The first one identifies the row.
    const COLUMNS: &'static [Column<Self>];
    /// The order without `sort=`: a column, and whether its highest value comes first.
    const ORDER: (&'static str, bool);

    /// The text that identifies it to people.
    fn name(&self) -> &str;
    /// The broker, if brokers have names.
    fn broker(&self) -> Option<&str>;
    /// The queues that it belongs to.
    fn is_of_queue(&self, queue: &str) -> bool;

    /// A text that identifies it in its table. Stable across updates.
    fn id(&self) -> String {
        format!("{}\0{}", self.broker().unwrap_or_default(), self.name())
    }
}

const fn column<R>(
    key: &'static str,
    title: &'static str,
    cell: for<'a> fn(&'a R) -> Cell<'a>,
) -> Column<R> {
    Column { key, title, cell }
}

impl Row for QueueRow {
    const SECTION: &'static str = "queues";
    const ORDER: (&'static str, bool) = ("waiting", true);
    const COLUMNS: &'static [Column<Self>] = &[
        column("queue", "Queue", |row| Cell::Text(&row.name)),
        column("waiting", "Waiting", |row| Cell::Count(row.waiting)),
        column("unacked", "Unacked", |row| Cell::Count(row.unacked)),
        column("oldest", "Oldest", |row| {
            Cell::Seconds(row.oldest_age_seconds)
        }),
        column("in", "In/min", |row| Cell::Rate(row.in_per_minute)),
        column("out", "Out/min", |row| Cell::Rate(row.out_per_minute)),
        column("drain", "Drains in", |row| {
            Cell::Drain(row.drain_seconds, row.growing)
        }),
        column("wait", "Wait p50, p95", |row| {
            Cell::Percentiles(row.wait_p50_seconds, row.wait_p95_seconds)
        }),
        column("busy", "Slots busy", |row| Cell::Of(row.active, row.slots)),
        column("workers", "Workers", |row| Cell::Count(row.workers)),
        column("history", "10 min", |row| Cell::Spark(&row.history)),
    ];

    fn name(&self) -> &str {
        &self.name
    }

    fn broker(&self) -> Option<&str> {
        self.broker.as_deref()
    }

    fn is_of_queue(&self, queue: &str) -> bool {
        *self.name == *queue
    }
}

impl Row for TaskRow {
    const SECTION: &'static str = "tasks";
    const ORDER: (&'static str, bool) = ("done", true);
    const COLUMNS: &'static [Column<Self>] = &[
        column("task", "Task", |row| Cell::Text(&row.name)),
        column("queue", "Queue", |row| {
            Cell::OptionalText(row.queue.as_deref())
        }),
        column("done", "Done/min", |row| Cell::Rate(row.done_per_minute)),
        column("failed", "Failed %", |row| {
            Cell::TroubleRatio(row.failed_ratio)
        }),
        column("retried", "Retried %", |row| Cell::Ratio(row.retried_ratio)),
        column("runtime", "Runtime p50, p95", |row| {
            Cell::Percentiles(row.runtime_p50_seconds, row.runtime_p95_seconds)
        }),
        column("wait", "Wait p95", |row| {
            Cell::Seconds(row.wait_p95_seconds)
        }),
        column("running", "Running", |row| Cell::Count(Some(row.running))),
        column("failure", "Last failure", |row| {
            Cell::Time(row.last_failure_timestamp_seconds)
        }),
        column("run", "Last run", |row| {
            Cell::Time(row.last_run_timestamp_seconds)
        }),
        column("history", "10 min", |row| Cell::Spark(&row.history)),
    ];

    fn name(&self) -> &str {
        &self.name
    }

    fn broker(&self) -> Option<&str> {
        self.broker.as_deref()
    }

    fn is_of_queue(&self, queue: &str) -> bool {
        self.queue.as_deref() == Some(queue)
    }

    fn id(&self) -> String {
        let broker = self.broker().unwrap_or_default();
        let queue = self.queue.as_deref().unwrap_or_default();
        format!("{broker}\0{}\0{queue}", self.name)
    }
}

impl WorkerRow {
    /// Whether all is well, what the state is, and since when.
    pub(crate) fn state(&self) -> (bool, &'static str, f64) {
        match self.stalled_since_timestamp_seconds {
            Some(since) => (false, "stalled", since),
            None if self.online => (true, "up", self.since_timestamp_seconds),
            None => (false, "gone", self.since_timestamp_seconds),
        }
    }
}

impl Row for WorkerRow {
    const SECTION: &'static str = "workers";
    const ORDER: (&'static str, bool) = ("worker", false);
    const COLUMNS: &'static [Column<Self>] = &[
        column("worker", "Worker", |row| Cell::Text(&row.name)),
        column("since", "State", |row| {
            let (is_fine, state, since) = row.state();
            Cell::State(is_fine, state, Some(since))
        }),
        column("busy", "Busy/pool", |row| {
            Cell::Of(row.active, row.pool_size)
        }),
        column("prefetched", "Prefetched", |row| {
            Cell::Count(Some(row.prefetched))
        }),
        column("done", "Done/min", |row| Cell::Rate(row.done_per_minute)),
        column("load", "Load", |row| Cell::Load(row.load)),
        column("software", "Celery", |row| {
            Cell::OptionalText(row.software.as_deref())
        }),
        column("clock", "Clock offset", |row| {
            Cell::Seconds(row.clock_offset_seconds)
        }),
        column("events", "Events", |row| match row.sends_events {
            Some(true) => Cell::State(true, "on", None),
            Some(false) => Cell::State(false, "off", None),
            None => Cell::OptionalText(None),
        }),
        column("queues", "Queues", |row| Cell::Texts(row.queues.as_deref())),
    ];

    fn name(&self) -> &str {
        &self.name
    }

    fn broker(&self) -> Option<&str> {
        self.broker.as_deref()
    }

    fn is_of_queue(&self, queue: &str) -> bool {
        let mut queues = self.queues.iter().flatten();
        queues.any(|own| **own == *queue)
    }
}

impl Row for PeriodicRow {
    const SECTION: &'static str = "periodic";
    const ORDER: (&'static str, bool) = ("sent", true);
    const COLUMNS: &'static [Column<Self>] = &[
        column("task", "Task", |row| Cell::Text(&row.name)),
        column("period", "Period", |row| Cell::Seconds(row.period_seconds)),
        column("sent", "Sent", |row| {
            Cell::Time(row.last_sent_timestamp_seconds)
        }),
        column("overdue", "Overdue", |row| {
            Cell::Seconds(row.overdue_seconds.filter(|seconds| *seconds > 0.0))
        }),
        column("succeeded", "Succeeded", |row| {
            Cell::Time(row.last_succeeded_timestamp_seconds)
        }),
        column("failed", "Failed", |row| {
            Cell::Time(row.last_failed_timestamp_seconds)
        }),
    ];

    fn name(&self) -> &str {
        &self.name
    }

    fn broker(&self) -> Option<&str> {
        self.broker.as_deref()
    }

    fn is_of_queue(&self, _: &str) -> bool {
        true
    }
}

impl Row for WorkflowRow {
    const SECTION: &'static str = "workflows";
    const ORDER: (&'static str, bool) = ("oldest", true);
    const COLUMNS: &'static [Column<Self>] = &[
        column("root", "Root task", |row| Cell::Text(&row.name)),
        column("open", "Open", |row| Cell::Count(Some(row.open))),
        column("oldest", "Oldest", |row| {
            Cell::Seconds(row.oldest_age_seconds)
        }),
        column("chords", "Chords", |row| {
            Cell::Count(Some(row.chords_waiting))
        }),
    ];

    fn name(&self) -> &str {
        &self.name
    }

    fn broker(&self) -> Option<&str> {
        self.broker.as_deref()
    }

    fn is_of_queue(&self, _: &str) -> bool {
        true
    }
}

impl Row for BrokerRow {
    const SECTION: &'static str = "brokers";
    const ORDER: (&'static str, bool) = ("broker", false);
    const COLUMNS: &'static [Column<Self>] = &[
        column("broker", "Broker", |row| Cell::Text(&row.name)),
        column("state", "State", |row| {
            let state = if row.connected {
                "connected"
            } else {
                "disconnected"
            };
            Cell::State(row.connected, state, row.since_timestamp_seconds)
        }),
        column("delivery", "Delivery", |row| Cell::Text(&row.delivery)),
        column("events", "Events/s", |row| {
            Cell::Rate(row.events_per_second)
        }),
        column("lag", "Lag", |row| Cell::Seconds(row.lag_seconds)),
        column("gaps", "Gaps", |row| Cell::Seconds(Some(row.gap_seconds))),
        column("dropped", "Dropped", |row| Cell::Trouble(row.dropped)),
    ];

    fn name(&self) -> &str {
        &self.name
    }

    fn broker(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn is_of_queue(&self, _: &str) -> bool {
        true
    }
}

impl Row for ReceiverRow {
    const SECTION: &'static str = "receivers";
    const ORDER: (&'static str, bool) = ("receiver", false);
    const COLUMNS: &'static [Column<Self>] = &[
        column("receiver", "Receiver", |row| Cell::Text(&row.name)),
        column("state", "State", |row| {
            let state = if row.working { "working" } else { "failing" };
            Cell::State(row.working, state, row.since_timestamp_seconds)
        }),
        column("protocol", "Protocol", |row| {
            Cell::OptionalText(row.protocol.as_deref().or(Some(&row.kind)))
        }),
        column("samples", "Samples/s", |row| {
            Cell::Rate(row.samples_per_second)
        }),
        column("pending", "Pending", |row| Cell::Count(Some(row.pending))),
        column("age", "Oldest", |row| {
            Cell::Seconds(row.pending_age_seconds)
        }),
        column("failed", "Failed", |row| Cell::Trouble(row.failed)),
        column("dropped", "Dropped", |row| Cell::Trouble(row.dropped)),
        column("error", "Last error", |row| {
            Cell::OptionalText(row.last_error.as_deref())
        }),
        column("queue", "Queue used", |row| {
            Cell::Bytes(row.queue_bytes, row.queue_limit_bytes)
        }),
    ];

    fn name(&self) -> &str {
        &self.name
    }

    fn broker(&self) -> Option<&str> {
        None
    }

    fn is_of_queue(&self, _: &str) -> bool {
        true
    }
}

impl Cell<'_> {
    /// The number that it is sorted by; `None` for texts and unknown values.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Self::Text(_) | Self::OptionalText(_) | Self::Texts(_) => None,
            Self::Count(count) => count.map(float),
            Self::Trouble(count) => Some(float(count)),
            Self::Rate(value)
            | Self::Ratio(value)
            | Self::TroubleRatio(value)
            | Self::Seconds(value)
            | Self::Time(value) => value,
            Self::Percentiles(median, high) => high.or(median),
            Self::Of(part, whole) => match (part, whole) {
                (Some(part), Some(whole)) if whole > 0 => Some(float(part) / float(whole)),
                (part, _) => part.map(float),
            },
            Self::Bytes(bytes, _) => Some(float(bytes)),
            Self::Load(load) => load.map(|load| load[0]),
            Self::State(_, _, since) => since,
            Self::Drain(_, true) => Some(f64::INFINITY),
            Self::Drain(seconds, false) => seconds,
            Self::Spark(history) => {
                let known = history.iter().flatten();
                Some(known.map(|&count| f64::from(count)).sum())
            }
        }
    }

    /// The order of two cells of a column, lowest first. Unknown values come last whether the order is reversed or not.
    pub fn compare(&self, other: &Self, reversed: bool) -> Ordering {
        let turn = |order: Ordering| if reversed { order.reverse() } else { order };
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => turn(one.cmp(other)),
            (Self::State(one, ..), Self::State(other, ..)) if one != other => turn(one.cmp(other)),
            (Self::OptionalText(one), Self::OptionalText(other)) => {
                unknown_last(*one, *other, |one, other| turn(one.cmp(other)))
            }
            (Self::Texts(one), Self::Texts(other)) => {
                unknown_last(*one, *other, |one, other| turn(one.cmp(other)))
            }
            (one, other) => unknown_last(one.number(), other.number(), |one, other| {
                turn(one.total_cmp(&other))
            }),
        }
    }
}

fn unknown_last<T>(
    one: Option<T>,
    other: Option<T>,
    compare: impl FnOnce(T, T) -> Ordering,
) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => compare(one, other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds counts as floats"
)]
const fn float(count: u64) -> f64 {
    count as f64
}
