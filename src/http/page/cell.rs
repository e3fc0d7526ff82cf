//! Cells of a table: how a value looks, what its tooltip says, and whether it is bad.

use std::borrow::Cow;

use super::spark::Spark;
use super::text::{ago, date, in_full, shown};
use crate::status::columns::Cell;
use crate::status::format::{age, bytes, count, duration, exact, grouped, percent, rate};

/// Share of failures from which a row is bad, and not only worth a look: that of the alert.
const FAILED_RATIO_BAD: f64 = 0.05;

/// Share of slots in use from which a queue or worker is full.
const FULL: f64 = 0.95;

/// Width of the gauge of slots in use, which is the value of a full one.
const GAUGE: f64 = 40.0;

/// Number of queues of a worker that are shown.
const TEXTS_MAX: usize = 8;

/// A cell as it is drawn.
#[derive(Debug)]
pub(super) struct CellView {
    /// Text is aligned to the left, numbers to the right.
    pub(super) is_text: bool,
    pub(super) level: Level,
    /// The value in full; empty if that is what the cell shows.
    pub(super) title: String,
    pub(super) look: Look,
}

/// How bad a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Fine,
    Warning,
    Bad,
}

/// The content of a cell.
#[derive(Debug, PartialEq)]
pub(super) enum Look {
    Unknown,
    /// There is no history of this row.
    Nothing,
    Value(String),
    /// A name or another text from outside.
    Foreign(String),
    List(Vec<String>),
    /// A name that leads to its page, and its broker if there are several.
    Link(String, String, Option<String>),
    /// The median and the 95th percentile.
    Pair(String, String),
    /// With a gauge of this width, from 0 to [`GAUGE`].
    Of(String, String, Option<u32>),
    /// A dot, a word, and since when.
    State(bool, String, Option<String>),
    Spark(Spark),
}

impl Level {
    /// The class of the cell.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Fine => "",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

impl CellView {
    /// Draws a cell of a document from `now`.
    pub(super) fn new(label: &'static str, cell: &Cell<'_>, now: f64) -> Self {
        let (look, title) = look(label, cell, now);
        Self {
            is_text: is_text(cell),
            level: level(cell),
            title,
            look,
        }
    }

    /// The class of the cell, if it has one.
    pub(super) const fn class(&self) -> Option<&'static str> {
        match (self.is_text, self.level) {
            (false, Level::Fine) => None,
            (false, level) => Some(level.class()),
            (true, Level::Fine) => Some("t"),
            (true, Level::Warning) => Some("t warning"),
            (true, Level::Bad) => Some("t bad"),
        }
    }

    /// Makes a name a link.
    pub(super) fn linked(mut self, href: String, broker: Option<&str>) -> Self {
        if let Look::Foreign(text) = self.look {
            self.look = Look::Link(href, text, broker.map(shown));
        }
        self
    }
}

/// Whether a column is aligned to the left.
pub(super) const fn is_text(cell: &Cell<'_>) -> bool {
    matches!(
        cell,
        Cell::Text(_) | Cell::OptionalText(_) | Cell::Texts(_) | Cell::State(..) | Cell::Spark(_)
    )
}

fn level(cell: &Cell<'_>) -> Level {
    match *cell {
        Cell::Trouble(1..) => Level::Bad,
        Cell::TroubleRatio(Some(ratio)) if ratio >= FAILED_RATIO_BAD => Level::Bad,
        Cell::TroubleRatio(Some(ratio)) if ratio > 0.0 => Level::Warning,
        Cell::State(false, ..) => Level::Bad,
        Cell::Drain(_, true) => Level::Warning,
        Cell::Of(Some(part), Some(whole)) if share(part, whole) >= FULL => Level::Warning,
        Cell::Bytes(bytes, Some(limit)) if share(bytes, limit) >= FULL => Level::Bad,
        Cell::Text(_)
        | Cell::OptionalText(_)
        | Cell::Texts(_)
        | Cell::Count(_)
        | Cell::Trouble(_)
        | Cell::Rate(_)
        | Cell::Ratio(_)
        | Cell::TroubleRatio(_)
        | Cell::Seconds(_)
        | Cell::Percentiles(..)
        | Cell::Time(_)
        | Cell::Of(..)
        | Cell::Bytes(..)
        | Cell::Load(_)
        | Cell::State(..)
        | Cell::Drain(..)
        | Cell::Spark(_) => Level::Fine,
    }
}

/// The content and the tooltip.
fn look(label: &str, cell: &Cell<'_>, now: f64) -> (Look, String) {
    let number = |value: Option<f64>, text: fn(f64) -> String, unit: &str| match value {
        Some(value) => value_of(text(value), exact(value), unit),
        None => unknown(),
    };
    match *cell {
        Cell::Text(text) | Cell::OptionalText(Some(text)) => {
            (Look::Foreign(shown(text)), in_full(text).into_owned())
        }
        Cell::Texts(Some(texts)) => list(texts),
        Cell::OptionalText(None) | Cell::Texts(None) => unknown(),
        Cell::Count(value) => match value {
            Some(value) => counted(value),
            None => unknown(),
        },
        Cell::Trouble(value) => counted(value),
        Cell::Rate(value) => number(value, rate, ""),
        Cell::Ratio(value) | Cell::TroubleRatio(value) => match value {
            Some(ratio) => value_of(percent(ratio), exact(ratio * 100.0), " %"),
            None => unknown(),
        },
        Cell::Seconds(value) => number(value, duration, " s"),
        Cell::Percentiles(median, high) => percentiles(median, high),
        Cell::Time(Some(at)) => (Look::Value(ago(now, at)), date(at)),
        Cell::Time(None) => unknown(),
        Cell::Of(part, whole) => of(part, whole),
        Cell::Bytes(part, limit) => {
            let title = match limit {
                Some(limit) => format!("{} of {} bytes", grouped(part), grouped(limit)),
                None => format!("{} bytes", grouped(part)),
            };
            let look = match limit {
                Some(limit) => Look::Of(bytes(part), bytes(limit), gauge(part, limit)),
                None => Look::Value(bytes(part)),
            };
            (look, title)
        }
        Cell::Load(Some(load)) => {
            let [one, five, fifteen] = load.map(|load| format!("{load:.2}"));
            let title = format!("1 min {one}, 5 min {five}, 15 min {fifteen}");
            (Look::Value(one), title)
        }
        Cell::Load(None) => unknown(),
        Cell::State(good, word, since) => {
            let title = since.map(|since| format!("since {}", date(since)));
            let since = since.map(|since| age(now - since));
            let look = Look::State(good, word.to_owned(), since);
            (look, title.unwrap_or_default())
        }
        Cell::Drain(_, true) => {
            let title = "messages wait, and the queue is not becoming shorter";
            (Look::Value("growing".to_owned()), title.to_owned())
        }
        Cell::Drain(seconds, false) => number(seconds, duration, " s"),
        Cell::Spark(history) => match Spark::new(label, history) {
            Some(spark) => (Look::Spark(spark), String::new()),
            None => (Look::Nothing, String::new()),
        },
    }
}

fn unknown() -> (Look, String) {
    (Look::Unknown, String::new())
}

fn counted(value: u64) -> (Look, String) {
    value_of(count(value), grouped(value), "")
}

/// A value, and in the tooltip what its short form leaves out.
fn value_of(short: String, long: String, unit: &str) -> (Look, String) {
    let title = if short == long {
        String::new()
    } else {
        long + unit
    };
    (Look::Value(short), title)
}

fn percentiles(median: Option<f64>, high: Option<f64>) -> (Look, String) {
    if median.is_none() && high.is_none() {
        return unknown();
    }
    let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), duration);
    let full = |value: Option<f64>| {
        value.map_or_else(
            || "unknown".to_owned(),
            |value| format!("{} s", exact(value)),
        )
    };
    let title = format!("p50 {}, p95 {}", full(median), full(high));
    (Look::Pair(text(median), text(high)), title)
}

fn of(part: Option<u64>, whole: Option<u64>) -> (Look, String) {
    let text = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), count);
    match (part, whole) {
        (None, None) => unknown(),
        (Some(part), Some(whole)) => {
            let (short, long) = ([part, whole].map(count), [part, whole].map(grouped));
            let title = if short == long {
                String::new()
            } else {
                long.join(" of ")
            };
            let [shown, of] = short;
            (Look::Of(shown, of, gauge(part, whole)), title)
        }
        (part, whole) => (Look::Of(text(part), text(whole), None), String::new()),
    }
}

fn list(texts: &[impl AsRef<str>]) -> (Look, String) {
    if texts.is_empty() {
        return (Look::Value("none".to_owned()), String::new());
    }
    let mut listed: Vec<String> = texts
        .iter()
        .take(TEXTS_MAX)
        .map(|text| shown(text.as_ref()))
        .collect();
    let title = match texts.len().saturating_sub(TEXTS_MAX) {
        0 => String::new(),
        more => {
            listed.push(format!("and {more} more"));
            let all: Vec<Cow<'_, str>> = texts
                .iter()
                .map(|text| crate::escape::printable(text.as_ref()))
                .collect();
            all.join(", ")
        }
    };
    (Look::List(listed), title)
}

/// The width of a gauge; `None` if there is nothing to fill.
pub(super) fn gauge(part: u64, whole: u64) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 40"
    )]
    let filled = |share: f64| (share * GAUGE).round().clamp(0.0, GAUGE) as u32;
    (whole > 0).then(|| filled(share(part, whole)))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "compared with a share of a few digits"
)]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
