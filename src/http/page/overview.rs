//! The parts of a page above its tables: what is wrong, the totals, and how far the figures can be trusted.

use askama::Template;

use super::cell::{Level, gauge};
use super::notices::{self, Notice};
use super::scene::Scene;
use super::spark::Spark;
use super::text::{Html, date, shown};
use crate::status::document::{BeatRow, Problem, Severity, Status, Summary};
use crate::status::format::{UNKNOWN, age, clock, count, duration, exact, grouped, percent, rate};

/// Share of failed tasks from which the tile is red.
const FAILED_RATIO_BAD: f64 = 0.05;

#[derive(Template)]
#[template(path = "attention.html")]
struct AttentionT {
    problems: Vec<ProblemView>,
}

struct ProblemView {
    kind: String,
    class: &'static str,
    word: &'static str,
    text: String,
    advice: String,
    since: Option<(String, String)>,
    /// Address and name.
    runbook: Option<(Option<String>, String)>,
}

#[derive(Template)]
#[template(path = "notices.html")]
struct NoticesT {
    notices: Vec<Notice>,
}

#[derive(Template)]
#[template(path = "tiles.html")]
struct TilesT {
    tiles: Vec<Tile>,
}

/// A total.
struct Tile {
    key: &'static str,
    label: &'static str,
    value: String,
    unit: String,
    title: String,
    level: Level,
    gauge: Option<u32>,
    spark: Option<Spark>,
}

#[derive(Template)]
#[template(path = "trust.html")]
struct TrustT {
    facts: Vec<Fact>,
}

/// A figure with a label.
pub(super) struct Fact {
    pub(super) key: &'static str,
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) title: String,
    pub(super) level: Level,
}

impl Fact {
    pub(super) fn new(key: &'static str, label: &'static str, value: String) -> Self {
        Self {
            key,
            label,
            value,
            title: String::new(),
            level: Level::Fine,
        }
    }

    pub(super) fn titled(self, title: String) -> Self {
        Self { title, ..self }
    }

    /// A count that should be 0.
    fn trouble(key: &'static str, label: &'static str, number: u64) -> Self {
        let level = if number > 0 {
            Level::Warning
        } else {
            Level::Fine
        };
        Self {
            level,
            ..Self::new(key, label, count(number)).titled(grouped(number))
        }
    }
}

/// Renders what is wrong, worst first.
pub(super) fn attention(scene: Scene<'_>) -> Html {
    let now = scene.status.at_timestamp_seconds;
    let view = |problem: &Problem| {
        let (class, word) = match problem.severity {
            Severity::Critical => ("bad", "Critical"),
            Severity::Warning => ("warning", "Warning"),
            Severity::Info => ("info", "Info"),
        };
        let runbook = problem.runbook.as_deref();
        ProblemView {
            kind: shown(&problem.kind),
            class,
            word,
            text: long(&problem.text),
            advice: long(&problem.advice),
            since: problem
                .since_timestamp_seconds
                .map(|since| (age(now - since), date(since))),
            runbook: runbook.map(|path| (scene.links.runbook(path), shown(path))),
        }
    };
    Html::of(&AttentionT {
        problems: scene.status.attention.iter().map(view).collect(),
    })
}

/// A sentence of ours with names in it, which is not cut.
fn long(text: &str) -> String {
    crate::escape::printable(text).into_owned()
}

pub(super) fn notices(status: &Status) -> Html {
    Html::of(&NoticesT {
        notices: notices::of_page(status),
    })
}

/// Renders the totals.
pub(super) fn tiles(status: &Status) -> Html {
    let summary = &status.summary;
    let tiles = vec![
        completed(summary),
        failed(summary),
        waiting(summary),
        oldest(summary),
        running(summary),
        workers(summary),
        beat(&status.beats, status.at_timestamp_seconds),
    ];
    Html::of(&TilesT { tiles })
}

fn tile(key: &'static str, label: &'static str, value: String) -> Tile {
    Tile {
        key,
        label,
        value,
        unit: String::new(),
        title: String::new(),
        level: Level::Fine,
        gauge: None,
        spark: None,
    }
}

fn or_unknown<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), text)
}

fn completed(summary: &Summary) -> Tile {
    let value = summary.completed_per_minute;
    Tile {
        unit: "/min".to_owned(),
        title: value.map(exact).unwrap_or_default(),
        spark: Spark::new(
            "Completed in each 10 s of 10 min",
            &summary.completed_history,
        ),
        ..tile("completed", "Completed", or_unknown(value, rate))
    }
}

fn failed(summary: &Summary) -> Tile {
    let ratio = summary.failed_ratio;
    let level = match ratio {
        Some(ratio) if ratio >= FAILED_RATIO_BAD => Level::Bad,
        Some(ratio) if ratio > 0.0 => Level::Warning,
        _ => Level::Fine,
    };
    Tile {
        unit: "%".to_owned(),
        title: ratio
            .map(|ratio| format!("{} %", exact(ratio * 100.0)))
            .unwrap_or_default(),
        level,
        ..tile("failed", "Failed", or_unknown(ratio, percent))
    }
}

fn waiting(summary: &Summary) -> Tile {
    let value = summary.waiting;
    Tile {
        title: value.map(grouped).unwrap_or_default(),
        spark: Spark::new("Waiting in the last 10 min", &summary.waiting_history),
        ..tile("waiting", "Waiting", or_unknown(value, count))
    }
}

fn oldest(summary: &Summary) -> Tile {
    let value = summary.oldest_age_seconds;
    Tile {
        title: value
            .map(|age| format!("{} s", exact(age)))
            .unwrap_or_default(),
        ..tile("oldest", "Oldest waiting", or_unknown(value, duration))
    }
}

fn running(summary: &Summary) -> Tile {
    let (running, slots) = (summary.running, summary.slots);
    Tile {
        unit: slots
            .map(|slots| format!("of {} slots", count(slots)))
            .unwrap_or_default(),
        title: grouped(running),
        gauge: slots.and_then(|slots| gauge(running, slots)),
        ..tile("running", "Running", count(running))
    }
}

fn workers(summary: &Summary) -> Tile {
    let gone = summary.workers_offline;
    Tile {
        unit: if gone > 0 {
            format!("up, {} gone", count(gone))
        } else {
            "up".to_owned()
        },
        level: if gone > 0 {
            Level::Warning
        } else {
            Level::Fine
        },
        ..tile("workers", "Workers", count(summary.workers_online))
    }
}

/// Whether a scheduler of periodic tasks runs. One that cannot be asked may run all the same.
fn beat(beats: &[BeatRow], now: f64) -> Tile {
    let processes: u64 = beats.iter().map(|beat| beat.processes).sum();
    let names: Vec<String> = beats
        .iter()
        .map(|beat| {
            let seen = age(now - beat.last_seen_timestamp_seconds);
            format!("{}: last answer {seen} ago", shown(&beat.name))
        })
        .collect();
    // With several brokers, each has its own.
    let is_down = beats.iter().any(|beat| {
        let mut others = beats.iter().filter(|other| other.broker == beat.broker);
        !others.any(|other| other.online)
    });
    let (value, level) = match beats {
        [] => (UNKNOWN, Level::Fine),
        _ if is_down => ("down", Level::Bad),
        _ => ("up", Level::Fine),
    };
    let title = if beats.is_empty() {
        "Known with Celery 5.7 and beat_enable_remote_control".to_owned()
    } else {
        names.join(", ")
    };
    Tile {
        unit: if processes > 1 {
            format!("{} of them", count(processes))
        } else {
            String::new()
        },
        title,
        level,
        ..tile("beat", "Beat", value.to_owned())
    }
}

/// Renders how far the figures can be trusted.
pub(super) fn trust(status: &Status) -> Html {
    let (trust, now) = (&status.trust, status.at_timestamp_seconds);
    let since = trust.counting_since_timestamp_seconds;
    let counting = Fact::new(
        "since",
        "Counting for",
        or_unknown(since, |since| age(now - since)),
    )
    .titled(
        since
            .map(|since| format!("since {}", date(since)))
            .unwrap_or_default(),
    );
    let gaps = Fact {
        level: if trust.gap_seconds > 0.0 {
            Level::Warning
        } else {
            Level::Fine
        },
        ..Fact::new("gaps", "Gaps", duration(trust.gap_seconds)).titled(format!(
            "{} s without a subscription",
            exact(trust.gap_seconds)
        ))
    };
    let lag = Fact::new("lag", "Lag", or_unknown(trust.lag_seconds, duration));
    let mut facts = vec![
        counting,
        Fact::trouble("missing", "Missing", trust.missing),
        Fact::new("duplicate", "Duplicate", count(trust.duplicate))
            .titled(grouped(trust.duplicate)),
        Fact::trouble("undecodable", "Undecodable", trust.undecodable),
        Fact::trouble("dropped", "Dropped", trust.dropped),
        Fact::trouble("folded", "In (other)", trust.folded),
        gaps,
        lag,
    ];
    if trust.receivers_total > 0 {
        let (working, total) = (trust.receivers_working, trust.receivers_total);
        let age = or_unknown(trust.last_push_age_seconds, |age| {
            format!("{} ago", duration(age))
        });
        facts.push(Fact {
            level: if working < total {
                Level::Bad
            } else {
                Level::Fine
            },
            ..Fact::new(
                "push",
                "Last push",
                format!("{age}, to {working} of {total}"),
            )
        });
    }
    Html::of(&TrustT { facts })
}

/// The state of everything, in the header.
pub(super) fn headline(status: &Status) -> (Level, String) {
    let worst = status
        .attention
        .iter()
        .map(|problem| problem.severity)
        .min();
    let problems = status
        .attention
        .iter()
        .filter(|problem| problem.severity != Severity::Info)
        .count();
    let level = match worst {
        Some(Severity::Critical) => Level::Bad,
        Some(Severity::Warning) => Level::Warning,
        Some(Severity::Info) | None => Level::Fine,
    };
    let text = match problems {
        0 => "No problems".to_owned(),
        1 => "1 problem".to_owned(),
        more => format!("{more} problems"),
    };
    (level, text)
}

/// When the figures are from, for the header.
pub(super) fn as_of(status: &Status) -> String {
    format!("{} UTC", clock(status.at_timestamp_seconds))
}
