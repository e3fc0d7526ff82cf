//! Everything about one row of a table.

use super::cell::{Shown, Tone, ago, seconds, shown};
use super::ranked::Ranked;
use crate::escape::printable;
use crate::status::columns::Cell;
use crate::status::document::{
    BrokerRow, PeriodicRow, QueueRow, ReceiverRow, Status, TaskRow, WorkerRow,
};
use crate::status::format;

/// Maximum number of exceptions.
const EXCEPTIONS_MAX: usize = 10;

/// Everything about a row.
#[derive(Clone, Debug)]
pub(super) struct Detail {
    pub(super) title: String,
    pub(super) entries: Vec<Entry>,
    /// With the time that each one covers.
    pub(super) histories: Vec<(&'static str, Vec<Option<u32>>)>,
}

/// A value and what it is.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) label: String,
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// What is shown about a row beyond its columns.
pub(super) trait Detailed: Ranked {
    fn more(&self, status: &Status) -> Vec<(String, String)>;

    fn histories(&self) -> Vec<(&'static str, &[Option<u32>])> {
        Vec::new()
    }
}

impl Detail {
    pub(super) fn new<R: Detailed>(row: &R, status: &Status) -> Self {
        let mut title = format!("{} {}", R::COLUMNS[0].title, printable(row.name()));
        if let Some(broker) = row.broker().filter(|broker| *broker != row.name()) {
            title = format!("{title} on {}", printable(broker));
        }
        let columns = R::COLUMNS.iter().skip(1);
        let columns = columns.filter_map(|column| {
            let cell = (column.cell)(row);
            let history = matches!(cell, Cell::Spark(_));
            match shown(&cell, status.at_timestamp_seconds) {
                Shown::Text(text, tone) if !history => Some(Entry {
                    label: column.title.to_owned(),
                    text,
                    tone,
                }),
                Shown::Text(..) | Shown::Spark(_) => None,
            }
        });
        let mut entries: Vec<_> = columns.collect();
        entries.extend(row.more(status).into_iter().map(|(label, text)| Entry {
            label: printable(&label).into_owned(),
            text: printable(&text).into_owned(),
            tone: Tone::Plain,
        }));
        let histories = row.histories().into_iter();
        Self {
            title,
            entries,
            histories: histories
                .map(|(covers, history)| (covers, history.to_vec()))
                .collect(),
        }
    }
}

impl Detailed for QueueRow {
    fn more(&self, _: &Status) -> Vec<(String, String)> {
        let share = |ratio: Option<f64>| ratio.map_or_else(unknown, format::percent);
        entries([
            ("Consumers", counted(self.consumers)),
            ("Saturation %", share(self.saturation)),
        ])
    }

    fn histories(&self) -> Vec<(&'static str, &[Option<u32>])> {
        vec![("Waiting, 10 min", &self.history)]
    }
}

impl Detailed for TaskRow {
    fn more(&self, status: &Status) -> Vec<(String, String)> {
        let mut more = entries([
            ("Wait p50", seconds(self.wait_p50_seconds)),
            ("Waiting in workers", format::grouped(self.received_waiting)),
            ("On their way", format::grouped(self.sent_waiting)),
            ("Sent", format::grouped(self.sent)),
            ("Received", format::grouped(self.received)),
            ("Started", format::grouped(self.started)),
            ("Succeeded", format::grouped(self.succeeded)),
            ("Failed", format::grouped(self.failed)),
            ("Retried", format::grouped(self.retried)),
            ("Retries exhausted", format::grouped(self.retries_exhausted)),
            ("Rejected", format::grouped(self.rejected)),
            ("Revoked", format::grouped(self.revoked)),
            ("Lost", format::grouped(self.lost)),
        ]);
        let mut periodic = status.periodic.iter();
        if let Some(row) = periodic.find(|row| row.name == self.name && row.broker == self.broker) {
            let at = status.at_timestamp_seconds;
            let time = |time: Option<f64>| time.map_or_else(unknown, |time| ago(time, at));
            more.extend(entries([
                ("Last sent", time(row.last_sent_timestamp_seconds)),
                ("Last succeeded", time(row.last_succeeded_timestamp_seconds)),
            ]));
        }
        more.extend(self.exceptions.iter().take(EXCEPTIONS_MAX).map(|count| {
            let (failed, retried) = (
                format::grouped(count.failed),
                format::grouped(count.retried),
            );
            (
                count.exception.to_string(),
                format!("failed {failed}, retried {retried}"),
            )
        }));
        more
    }

    fn histories(&self) -> Vec<(&'static str, &[Option<u32>])> {
        vec![
            ("Completed, 10 min", &self.history),
            ("Completed, 1 h", &self.hour_history),
        ]
    }
}

impl Detailed for WorkerRow {
    fn more(&self, status: &Status) -> Vec<(String, String)> {
        let seen = ago(
            self.last_seen_timestamp_seconds,
            status.at_timestamp_seconds,
        );
        let mut more = entries([("Last seen", seen), ("Processed", counted(self.processed))]);
        if self.duplicate_name {
            more.extend(entries([(
                "Name",
                "! used by two processes; start each worker with a name of its own".to_owned(),
            )]));
        }
        more
    }
}

impl Detailed for PeriodicRow {
    fn more(&self, _: &Status) -> Vec<(String, String)> {
        Vec::new()
    }
}

impl Detailed for BrokerRow {
    fn more(&self, _: &Status) -> Vec<(String, String)> {
        let mut more = entries([
            ("Reason", self.reason.clone().unwrap_or_else(unknown)),
            ("Reconnects", format::grouped(self.reconnects)),
            ("Messages", format::grouped(self.messages)),
            ("Undecodable", format::grouped(self.undecodable)),
            ("Missing", format::grouped(self.missing)),
            ("Tasks tracked", format::grouped(self.tasks_tracked)),
        ]);
        if let (Some(shard), Some(shards)) = (self.shard, self.shards) {
            let text = format!("{} of {shards}", u64::from(shard) + 1);
            more.extend(entries([("Shard", text)]));
        }
        let hints = self.hints.iter();
        more.extend(hints.map(|hint| ("Hint".to_owned(), hint.clone())));
        more
    }
}

impl Detailed for ReceiverRow {
    fn more(&self, status: &Status) -> Vec<(String, String)> {
        let at = status.at_timestamp_seconds;
        let last = self.last_push_timestamp_seconds;
        let stored = match (self.on_disk, self.disk_failing) {
            (true, false) => "on disk",
            (true, true) => "! on disk, which fails",
            (false, _) => "in memory",
        };
        entries([
            ("URL", self.url.clone()),
            ("Kind", self.kind.clone()),
            ("Sent", format::grouped(self.sent)),
            ("Last push", last.map_or_else(unknown, |time| ago(time, at))),
            ("Queue", stored.to_owned()),
            ("Queue lasts", seconds(self.lasts_seconds)),
        ])
    }
}

fn entries<const N: usize>(entries: [(&str, String); N]) -> Vec<(String, String)> {
    let entries = entries.into_iter();
    entries
        .map(|(label, text)| (label.to_owned(), text))
        .collect()
}

fn counted(count: Option<u64>) -> String {
    count.map_or_else(unknown, format::grouped)
}

fn unknown() -> String {
    format::UNKNOWN.to_owned()
}
