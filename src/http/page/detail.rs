//! Pages about one queue, task or worker: everything that is known about it, and the rows that belong to it.

use askama::Template;

use super::overview::Fact;
use super::scene::Scene;
use super::spark::Spark;
use super::table::Section;
use super::text::{Html, ago, date, shown};
use super::view::{Table, View};
use crate::status::columns::Row;
use crate::status::document::{QueueRow, TaskRow, WorkerRow};
use crate::status::format::{UNKNOWN, count, duration, exact, grouped, percent};

#[derive(Template)]
#[template(path = "detail.html")]
struct DetailT {
    cards: Vec<Card>,
    unknown: Option<String>,
}

/// The facts about one row.
struct Card {
    /// What tells it from other rows of this name.
    title: Option<String>,
    facts: Vec<Fact>,
    /// The last hour.
    spark: Option<Spark>,
    exceptions: Vec<(String, String, String)>,
}

/// The part of a page about one thing, and whether it is known.
pub(super) struct Detail {
    pub(super) html: Html,
    pub(super) is_known: bool,
    pub(super) sections: Vec<Section>,
}

/// Renders the page of a view that is about one thing; `None` for other views.
pub(super) fn render(scene: Scene<'_>) -> Option<Detail> {
    match &scene.links.view {
        View::Overview | View::Table(_) => None,
        View::Queue(name) => Some(queue(scene, name)),
        View::Task(name) => Some(task(scene, name)),
        View::Worker(name) => Some(worker(scene, name)),
    }
}

fn queue(scene: Scene<'_>, name: &str) -> Detail {
    let status = scene.status;
    let queues = named(scene, &status.queues, name);
    let tasks = of(scene, &status.tasks, |row| row.is_of_queue(name));
    let workers = of(scene, &status.workers, |row| row.is_of_queue(name));
    let is_known = queues.len() + tasks.len() + workers.len() > 0;
    let cards = queues.iter().map(|row| queue_card(row, queues.len() > 1));
    let html = html(cards.collect(), is_known, "queue", name);
    let sections = vec![
        Section::new(scene, Table::Queues, &queues),
        Section::new(scene, Table::Tasks, &tasks),
        Section::new(scene, Table::Workers, &workers),
    ];
    Detail {
        html,
        is_known,
        sections,
    }
}

fn task(scene: Scene<'_>, name: &str) -> Detail {
    let status = scene.status;
    let tasks = named(scene, &status.tasks, name);
    let periodic = named(scene, &status.periodic, name);
    let is_known = !tasks.is_empty() || !periodic.is_empty();
    let cards = tasks
        .iter()
        .map(|row| task_card(scene, row, tasks.len() > 1));
    let html = html(cards.collect(), is_known, "task", name);
    let mut sections = vec![Section::new(scene, Table::Tasks, &tasks)];
    if !periodic.is_empty() {
        sections.push(Section::new(scene, Table::Periodic, &periodic));
    }
    Detail {
        html,
        is_known,
        sections,
    }
}

fn worker(scene: Scene<'_>, name: &str) -> Detail {
    let status = scene.status;
    let workers = named(scene, &status.workers, name);
    let consumed = |queue: &QueueRow| {
        workers
            .iter()
            .any(|worker| worker.broker == queue.broker && worker.is_of_queue(&queue.name))
    };
    let queues = of(scene, &status.queues, consumed);
    let is_known = !workers.is_empty();
    let cards = workers
        .iter()
        .map(|row| worker_card(scene, row, workers.len() > 1));
    let html = html(cards.collect(), is_known, "worker", name);
    let sections = vec![
        Section::new(scene, Table::Workers, &workers),
        Section::new(scene, Table::Queues, &queues),
    ];
    Detail {
        html,
        is_known,
        sections,
    }
}

fn html(cards: Vec<Card>, is_known: bool, kind: &str, name: &str) -> Html {
    let unknown = format!(
        "No {kind} named “{}” is known. It may have been inactive for longer than metrics.series_ttl, or it \
         never existed.",
        shown(name)
    );
    Html::of(&DetailT {
        cards,
        unknown: (!is_known).then_some(unknown),
    })
}

/// The rows that the page is about. A broker in the query applies to all its parts.
fn named<R: Row + Clone>(scene: Scene<'_>, rows: &[R], name: &str) -> Vec<R> {
    of(scene, rows, |row| row.name() == name)
}

fn of<R: Row + Clone>(scene: Scene<'_>, rows: &[R], keeps: impl Fn(&R) -> bool) -> Vec<R> {
    let broker = scene.links.query.broker.as_deref();
    let of_broker = |row: &&R| broker.is_none() || row.broker().is_none() || row.broker() == broker;
    rows.iter()
        .filter(of_broker)
        .filter(|row| keeps(row))
        .cloned()
        .collect()
}

fn queue_card(row: &QueueRow, several: bool) -> Card {
    let facts = vec![
        number("length", "Waiting", row.waiting),
        number("unacked", "Unacknowledged", row.unacked),
        number("consumers", "Consumers", row.consumers),
        seconds("oldest", "Oldest", row.oldest_age_seconds),
        match row.growing {
            true => Fact::new("drain", "Drains in", "growing".to_owned()),
            false => seconds("drain", "Drains in", row.drain_seconds),
        },
        ratio("saturation", "Slots busy", row.saturation),
        number("workers", "Workers", row.workers),
    ];
    Card {
        title: row.broker.as_deref().filter(|_| several).map(shown),
        facts,
        spark: Spark::new("Waiting in the last 10 min", &row.history),
        exceptions: Vec::new(),
    }
}

fn task_card(scene: Scene<'_>, row: &TaskRow, several: bool) -> Card {
    let total = |key, label, value| number(key, label, Some(value));
    let facts = vec![
        total("sent", "Sent", row.sent),
        total("received", "Received", row.received),
        total("started", "Started", row.started),
        total("succeeded", "Succeeded", row.succeeded),
        total("failed", "Failed", row.failed),
        total("retried", "Retried", row.retried),
        total("exhausted", "Retries exhausted", row.retries_exhausted),
        total("rejected", "Rejected", row.rejected),
        total("revoked", "Revoked", row.revoked),
        total("lost", "Lost", row.lost),
        total("running", "Running", row.running),
        total("waiting", "In workers", row.received_waiting),
        total("underway", "On their way", row.sent_waiting),
        time(
            scene,
            "failure",
            "Last failure",
            row.last_failure_timestamp_seconds,
        ),
    ];
    let exceptions = row.exceptions.iter().map(|exception| {
        let counts = [exception.failed, exception.retried].map(count);
        let [failed, retried] = counts;
        (shown(&exception.exception), failed, retried)
    });
    let place = [row.queue.as_deref(), row.broker.as_deref()]
        .into_iter()
        .flatten();
    let place: Vec<String> = place.map(shown).collect();
    Card {
        title: several.then(|| place.join(", ")),
        facts,
        spark: Spark::new(
            "Completed in each minute of the last hour",
            &row.hour_history,
        ),
        exceptions: exceptions.collect(),
    }
}

fn worker_card(scene: Scene<'_>, row: &WorkerRow, several: bool) -> Card {
    let (_, state, since) = row.state();
    let mut facts = vec![
        Fact::new("state", "State", state.to_owned()),
        time(scene, "since", "Since", Some(since)),
        time(
            scene,
            "seen",
            "Last heartbeat",
            Some(row.last_seen_timestamp_seconds),
        ),
        number("active", "Running", row.active),
        number("pool", "Pool size", row.pool_size),
        number("prefetched", "Prefetched", row.prefetched.into()),
        number("processed", "Started in all", row.processed),
        seconds("clock", "Clock offset", row.clock_offset_seconds),
    ];
    if row.duplicate_name {
        let warning = "two processes use it; give each its own (-n)".to_owned();
        facts.push(Fact::new("duplicate", "Node name", warning));
    }
    if !row.stalled_queues.is_empty() {
        let queues = row.stalled_queues.join(", ");
        facts.push(Fact::new("stalled", "Accepts nothing from", queues));
    }
    Card {
        title: row.broker.as_deref().filter(|_| several).map(shown),
        facts,
        spark: None,
        exceptions: Vec::new(),
    }
}

fn number(key: &'static str, label: &'static str, value: Option<u64>) -> Fact {
    match value {
        Some(value) => Fact::new(key, label, count(value)).titled(grouped(value)),
        None => unknown(key, label),
    }
}

fn seconds(key: &'static str, label: &'static str, value: Option<f64>) -> Fact {
    match value {
        Some(value) => Fact::new(key, label, duration(value)).titled(format!("{} s", exact(value))),
        None => unknown(key, label),
    }
}

fn ratio(key: &'static str, label: &'static str, value: Option<f64>) -> Fact {
    match value {
        Some(value) => Fact::new(key, label, format!("{} %", percent(value))),
        None => unknown(key, label),
    }
}

fn time(scene: Scene<'_>, key: &'static str, label: &'static str, at: Option<f64>) -> Fact {
    match at {
        Some(at) => {
            Fact::new(key, label, ago(scene.status.at_timestamp_seconds, at)).titled(date(at))
        }
        None => unknown(key, label),
    }
}

fn unknown(key: &'static str, label: &'static str) -> Fact {
    Fact::new(key, label, UNKNOWN.to_owned())
}
