//! The totals and the trust in them, as short texts; and problems.

use super::cell::{MARK, Tone, ago, count, seconds};
use super::text::{width, wrapped};
use crate::escape::printable;
use crate::status::document::{Mode, Problem, Severity, Status};
use crate::status::format;
use crate::status::query::Window;

/// A value and what it is, in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) label: &'static str,
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Fact {
    fn new(label: &'static str, text: impl Into<String>) -> Self {
        Self {
            label,
            text: text.into(),
            tone: Tone::Plain,
        }
    }

    /// A value that has a mark if `bad`.
    fn marked(label: &'static str, text: impl Into<String>, bad: bool) -> Self {
        let fact = Self::new(label, text);
        if !bad {
            return fact;
        }
        Self {
            text: format!("{MARK}{}", fact.text),
            tone: Tone::Bad,
            ..fact
        }
    }

    fn trouble(label: &'static str, count: u64) -> Self {
        Self::marked(label, format::count(count), count > 0)
    }
}

/// Texts with their tones, one after another.
pub(super) type Pieces = Vec<(String, Tone)>;

/// Facts in as many lines of `width_max` columns as they need, after a label.
pub(super) fn flow(label: &str, facts: &[Fact], width_max: usize) -> Vec<Pieces> {
    const INDENT: usize = 9;
    let mut lines = Vec::new();
    let mut line = vec![(format!("{label:<INDENT$}"), Tone::Strong)];
    let mut used = INDENT;
    for (nth, fact) in facts.iter().enumerate() {
        let columns = width(fact.label) + 1 + width(&fact.text);
        if nth > 0 && used + 3 + columns > width_max {
            lines.push(line);
            line = vec![(" ".repeat(INDENT), Tone::Plain)];
            used = INDENT;
        } else if nth > 0 {
            line.push((" · ".to_owned(), Tone::Faint));
            used += 3;
        }
        line.push((format!("{} ", fact.label), Tone::Plain));
        line.push((fact.text.clone(), fact.tone));
        used += columns;
    }
    lines.push(line);
    lines
}

/// Which instance it is, and what its figures cover.
pub(super) fn heading(status: &Status) -> Vec<String> {
    let instance = &status.instance;
    let version = instance.version.split(' ').next().unwrap_or_default();
    let up = status.at_timestamp_seconds - instance.started_timestamp_seconds;
    let mut parts = vec![
        printable(&instance.name).into_owned(),
        printable(version).into_owned(),
        format!("up {}", format::duration(up.max(0.0))),
    ];
    if instance.mode == Mode::Standby {
        let active = instance.active_instance.as_deref();
        let active = active.map(|name| format!("; {} is active", printable(name)));
        parts.push(format!("standby{}", active.unwrap_or_default()));
    }
    parts
}

/// `5m`, or the number of seconds if the document has another window than was asked for.
pub(super) fn window(status: &Status) -> String {
    let mut windows = Window::ALL.into_iter();
    let window = windows.find(|window| window.duration().as_secs() == status.window_seconds);
    window.map_or_else(
        || format!("{}s", status.window_seconds),
        |window| window.name().to_owned(),
    )
}

/// Totals over all clusters.
pub(super) fn summary(status: &Status) -> Vec<Fact> {
    let summary = &status.summary;
    let per_minute = summary.completed_per_minute;
    let completed = per_minute.map_or_else(unknown, |rate| format!("{}/min", format::rate(rate)));
    let failed = summary.failed_ratio;
    let failed_text = failed.map_or_else(unknown, |ratio| format!("{} %", format::percent(ratio)));
    let running = match summary.slots {
        Some(slots) => format!(
            "{} of {} slots",
            format::count(summary.running),
            format::count(slots)
        ),
        None => format::count(summary.running),
    };
    let online = format!("{} online", format::count(summary.workers_online));
    let mut facts = vec![
        Fact::new("completed", completed),
        Fact::marked(
            "failed",
            failed_text,
            failed.is_some_and(|ratio| ratio > 0.0),
        ),
        Fact::new("waiting", count(summary.waiting)),
        Fact::new("oldest", seconds(summary.oldest_age_seconds)),
        Fact::new("running", running),
        Fact::new("workers", online),
    ];
    if summary.workers_offline > 0 {
        facts.push(Fact::trouble("offline", summary.workers_offline));
    }
    facts
}

/// How far the figures can be trusted.
pub(super) fn trust(status: &Status) -> Vec<Fact> {
    let (trust, at) = (&status.trust, status.at_timestamp_seconds);
    let since = trust.counting_since_timestamp_seconds;
    let since = since.map_or_else(unknown, |since| format::duration((at - since).max(0.0)));
    let mut facts = vec![
        Fact::new("counting for", since),
        Fact::trouble("missing", trust.missing),
        Fact::new("duplicate", format::count(trust.duplicate)),
        Fact::trouble("undecodable", trust.undecodable),
        Fact::trouble("dropped", trust.dropped),
        Fact::marked(
            "gaps",
            format::duration(trust.gap_seconds),
            trust.gap_seconds > 0.0,
        ),
        Fact::new("lag", seconds(trust.lag_seconds)),
        Fact::trouble("folded", trust.folded),
    ];
    if trust.receivers_total > 0 {
        let (working, total) = (trust.receivers_working, trust.receivers_total);
        let last = trust.last_push_age_seconds;
        let last = last.map_or_else(unknown, |age| ago(at - age, at));
        let text = format!("{last}, {working} of {total} receivers working");
        facts.push(Fact::marked("last push", text, working < total));
    }
    facts
}

/// A line of a list of problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProblemLine {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// A problem, what to do about it, and where to read more, in lines of `width_max` columns.
pub(super) fn problem(problem: &Problem, at: f64, width_max: usize) -> Vec<ProblemLine> {
    const INDENT: usize = 3;
    let (mark, tone) = match problem.severity {
        Severity::Critical => ("!! ", Tone::Bad),
        Severity::Warning => ("!  ", Tone::Warning),
        Severity::Info => ("i  ", Tone::Plain),
    };
    let since = problem
        .since_timestamp_seconds
        .map_or_else(String::new, |since| {
            format!(" (for {})", format::duration((at - since).max(0.0)))
        });
    let room = width_max.saturating_sub(INDENT);
    let mut lines = Vec::new();
    let mut add = |first: &str, text: &str, tone| {
        let mut head = first;
        for line in wrapped(text, room) {
            let text = format!("{head:<INDENT$}{line}");
            lines.push(ProblemLine { text, tone });
            head = "";
        }
    };
    add(mark, &format!("{}{since}", problem.text), tone);
    add(" → ", &problem.advice, Tone::Plain);
    if let Some(runbook) = &problem.runbook {
        add("", &format!("docs/{runbook}"), Tone::Faint);
    }
    lines
}

/// How many problems of each severity there are, such as `1 critical, 2 warnings`; if `short`, how many in all.
pub(super) fn counted(problems: &[Problem], short: bool) -> (String, Tone) {
    let of = |severity| {
        let problems = problems.iter();
        problems
            .filter(|problem| problem.severity == severity)
            .count()
    };
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (critical, warnings) = (of(Severity::Critical), of(Severity::Warning));
    let mut parts = Vec::new();
    if critical > 0 {
        parts.push(format!("!! {critical} critical"));
    }
    if warnings > 0 {
        parts.push(format!("! {warnings} warning{}", plural(warnings)));
    }
    if short && critical + warnings > 0 {
        let mark = if critical > 0 { "!!" } else { "!" };
        let count = critical + warnings;
        parts = vec![format!("{mark} {count} problem{}", plural(count))];
    }
    match (critical, warnings) {
        (0, 0) => ("no problems".to_owned(), Tone::Good),
        (0, _) => (parts.join(", "), Tone::Warning),
        _ => (parts.join(", "), Tone::Bad),
    }
}

fn unknown() -> String {
    format::UNKNOWN.to_owned()
}
