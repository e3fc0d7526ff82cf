//! The states that a page explains: what is going on, and what to do.

use super::cell::Level;
use super::scene::Scene;
use super::text::{date, shown};
use super::view::{Table, View};
use crate::status::document::{BrokerRow, Mode, ReceiverRow, Status};
use crate::status::format::{self, clock, count, duration};

/// An explanation of a state.
#[derive(Debug)]
pub(super) struct Notice {
    /// Identifies the state in tests and style sheets.
    pub(super) kind: &'static str,
    pub(super) level: Level,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) steps: Vec<String>,
}

impl Notice {
    fn new(kind: &'static str, level: Level, title: impl Into<String>, text: String) -> Self {
        Self {
            kind,
            level,
            title: title.into(),
            text,
            steps: Vec::new(),
        }
    }
}

/// The states of the whole page.
pub(super) fn of_page(status: &Status) -> Vec<Notice> {
    if status.instance.mode == Mode::Standby {
        return vec![standby(status)];
    }
    let brokers = status.brokers.iter();
    let mut notices: Vec<Notice> = brokers.filter_map(|broker| away(status, broker)).collect();
    notices.extend(nothing_received(status));
    notices.extend(status.brokers.iter().find_map(sharded));
    notices.extend(folded(status));
    notices
}

/// The states that are shown beside a table.
pub(super) fn of_table(status: &Status, table: Table) -> Vec<Notice> {
    match table {
        Table::Receivers => {
            let receivers = status.receivers.iter();
            receivers
                .filter_map(|row| unreachable(status, row))
                .collect()
        }
        Table::Periodic if !status.periodic.is_empty() => {
            let text = "Every task that is published is listed. The period is known once the task has been sent regularly for a while, usually eight days.";
            vec![Notice::new("periodic", Level::Fine, "", text.to_owned())]
        }
        Table::Queues
        | Table::Tasks
        | Table::Workers
        | Table::Periodic
        | Table::Workflows
        | Table::Brokers => Vec::new(),
    }
}

/// What an empty table means.
pub(super) fn empty(scene: Scene<'_>, table: Table, filtered: bool) -> String {
    let row = table.row();
    if filtered {
        let query = &scene.links.query;
        let filter = query.filter();
        return if filter.is_empty() {
            format!("No {row} matches the filter.")
        } else {
            format!("No {row} matches “{}”.", shown(filter))
        };
    }
    match (&scene.links.view, table) {
        (View::Queue(_) | View::Task(_) | View::Worker(_), _) => format!("No {row} is known here."),
        (_, Table::Queues) => {
            "No queue has been polled yet. celeriac polls the queues that tasks and workers use."
                .to_owned()
        }
        (_, Table::Tasks) => "No task event has arrived yet.".to_owned(),
        (_, Table::Workers) => "No worker has sent a heartbeat yet.".to_owned(),
        (_, Table::Periodic) => "No task has been published yet.".to_owned(),
        (_, Table::Workflows) => {
            "No workflow is open: no task in flight was sent by another task.".to_owned()
        }
        (_, Table::Brokers) => "No broker is configured.".to_owned(),
        (_, Table::Receivers) => {
            "No receiver is configured. The series are served for scraping.".to_owned()
        }
    }
}

fn standby(status: &Status) -> Notice {
    let active = match &status.instance.active_instance {
        Some(active) => format!(
            "{} is active. Open its page to see the figures.",
            shown(active)
        ),
        None => "Another instance is active.".to_owned(),
    };
    let text = format!("{active} This one takes over when the active instance releases data_dir.");
    Notice::new("standby", Level::Fine, "Standing by.", text)
}

/// A broker without a subscription: one that was never there, or one that was lost.
fn away(status: &Status, broker: &BrokerRow) -> Option<Notice> {
    if broker.connected {
        return None;
    }
    let name = shown(&broker.name);
    if broker.messages == 0 && broker.reconnects == 0 {
        let title = format!("Connecting to {name}.");
        let text = "Events are counted once celeriac has subscribed.".to_owned();
        return Some(Notice::new("connecting", Level::Warning, title, text));
    }
    let since = broker.since_timestamp_seconds;
    let clock = since.map_or_else(String::new, |since| format!(" and as of {}", clock(since)));
    let age = since.map(|since| (status.at_timestamp_seconds - since).max(0.0));
    let age = age.map_or_else(String::new, |age| format!(" for {}", duration(age.floor())));
    let missed = match &*broker.delivery {
        "durable" | "stream" => "Events wait in the broker and are counted later.",
        _ => "Events sent meanwhile are not counted.",
    };
    let text = format!(
        "Its figures are greyed{clock}. {missed} Gap so far: {}.",
        duration(broker.gap_seconds)
    );
    let title = format!("{name} has been disconnected{age}.");
    Some(Notice::new("disconnected", Level::Bad, title, text))
}

/// The first start, and the usual reasons for an empty page.
fn nothing_received(status: &Status) -> Option<Notice> {
    if !status.tasks.is_empty() || status.brokers.is_empty() {
        return None;
    }
    let messages: u64 = status.brokers.iter().map(|broker| broker.messages).sum();
    let workers = status.workers.len();
    let (title, text) = if workers > 0 {
        let workers = count(u64::try_from(workers).unwrap_or(u64::MAX));
        let text = format!(
            "Received so far: {} messages, heartbeats of {workers} workers, and no task event. \
             The workers run without task events:",
            count(messages)
        );
        ("Heartbeats arrive, but no task events.", text)
    } else if messages > 0 {
        let text = format!(
            "Received so far: {} messages, none about a task or a worker.",
            count(messages)
        );
        ("Nothing to show yet.", text)
    } else {
        let text =
            "Nothing has been received. Three steps make the first figures appear:".to_owned();
        ("Waiting for the first event.", text)
    };
    let steps = [
        "Start workers with -E (celery -A app worker -E), or set worker_send_task_events = True.",
        "Set task_send_sent_event = True in the applications that publish tasks, to see waiting times and queues.",
        "Run a task. It appears here within a second; check the virtual host or database number if it does not.",
    ];
    Some(Notice {
        steps: steps.map(str::to_owned).into(),
        ..Notice::new("empty", Level::Warning, title, text)
    })
}

fn sharded(broker: &BrokerRow) -> Option<Notice> {
    let (shard, shards) = (broker.shard?, broker.shards?);
    let text = "Tasks are divided between the shards, so this page shows only a part of them. \
                Sum over all shards in Prometheus.";
    let title = format!("Shard {} of {shards}.", shard.saturating_add(1));
    Some(Notice::new("shard", Level::Fine, title, text.to_owned()))
}

fn folded(status: &Status) -> Option<Notice> {
    let folded = status.trust.folded;
    (folded > 0).then(|| {
        let title = format!("{} updates were counted under (other).", count(folded));
        let text = "A limit was reached: metrics.max_series, max_queues or max_exceptions, or limits.memory. \
                    celeriac_series_limited_total names it; raise that key.";
        Notice::new("folded", Level::Warning, title, text.to_owned())
    })
}

fn unreachable(status: &Status, row: &ReceiverRow) -> Option<Notice> {
    let name = shown(&row.name);
    if row.disk_failing {
        let text = "Samples wait in memory until the disk accepts them. Free space in data_dir, \
                    or check its permissions.";
        let title = format!("{name}: the queue cannot be written to disk.");
        return Some(Notice::new("disk", Level::Bad, title, text.to_owned()));
    }
    // Before the first push, nothing is known.
    let since = row.since_timestamp_seconds.filter(|_| !row.working)?;
    let age = format::age(status.at_timestamp_seconds - since);
    let lasts = match row.lasts_seconds {
        Some(lasts) => format!(
            " At this rate the queue {} is full in {}; the oldest samples are then dropped.",
            if row.on_disk { "on disk" } else { "in memory" },
            duration(lasts)
        ),
        None => String::new(),
    };
    let text = format!(
        "Since {}. Pending: {} samples.{lasts}",
        date(since),
        count(row.pending)
    );
    let title = format!("{name} has not accepted samples for {age}.");
    Some(Notice::new("unreachable", Level::Bad, title, text))
}
