//! What is drawn in front of a view: help, all problems, everything about a row.

use super::canvas::Canvas;
use super::keys::HELP;
use super::state::{Overlay, State};
use crate::status::document::Status;
use crate::terminal::cell::Tone;
use crate::terminal::detail::Detail;
use crate::terminal::facts::{self, Pieces};
use crate::terminal::text::{padded, spark, width, wrapped};

/// Minimum width of a column of values.
const COLUMN_WIDTH_MIN: usize = 38;

/// Width of labels.
const LABEL_WIDTH: usize = 18;

/// Draws an overlay, as far as it is scrolled.
pub(super) fn draw(canvas: &mut Canvas<'_>, state: &mut State, status: &Status, overlay: &Overlay) {
    let lines = match overlay {
        Overlay::Help => help(state),
        Overlay::Problems => problems(status, canvas.width()),
        Overlay::Detail(section, id) => match section.detail(status, id) {
            Some(detail) => self::detail(&detail, canvas.width()),
            None => vec![single(
                "This row does not exist any more. Esc: back",
                Tone::Faint,
            )],
        },
    };
    let scroll_max = lines.len().saturating_sub(canvas.height());
    state.scroll = state.scroll.min(scroll_max);
    for line in &lines[state.scroll..] {
        canvas.pieces(line);
    }
}

fn single(text: &str, tone: Tone) -> Pieces {
    vec![(text.to_owned(), tone)]
}

fn help(state: &State) -> Vec<Pieces> {
    const KEY_WIDTH: usize = 16;
    const LINE_WIDTH_MAX: usize = 60;
    let mut lines = vec![single("Keys", Tone::Strong)];
    lines.extend(HELP.map(|(key, what)| {
        let key = padded(key, KEY_WIDTH, false);
        vec![(key, Tone::Strong), (what.to_owned(), Tone::Plain)]
    }));
    lines.push(Pieces::new());
    let list = state.list(state.section());
    let mut line = "Sort by:".to_owned();
    for (head, letter) in list.table.columns.iter().zip(&list.letters) {
        let Some(letter) = letter else { continue };
        let column = format!("  {} {}", letter.letter, head.title);
        if width(&line) + width(&column) > LINE_WIDTH_MAX {
            lines.push(single(&line, Tone::Plain));
            line = " ".repeat("Sort by:".len());
        }
        line.push_str(&column);
    }
    lines.push(single(&line, Tone::Plain));
    lines
}

fn problems(status: &Status, width_max: usize) -> Vec<Pieces> {
    let mut lines = vec![single("Problems, worst first", Tone::Strong)];
    if status.attention.is_empty() {
        lines.push(single("Nothing needs attention.", Tone::Good));
    }
    for problem in &status.attention {
        let problem = facts::problem(problem, status.at_timestamp_seconds, width_max);
        lines.extend(problem.iter().map(|line| single(&line.text, line.tone)));
    }
    lines
}

/// Short values in columns, then long ones, then histories.
fn detail(detail: &Detail, width_max: usize) -> Vec<Pieces> {
    let mut lines: Vec<Pieces> = wrapped(&detail.title, width_max)
        .iter()
        .map(|line| single(line, Tone::Strong))
        .collect();
    lines.push(Pieces::new());
    let columns = (width_max / COLUMN_WIDTH_MIN).max(1);
    let column_width = width_max / columns;
    let value_width = column_width.saturating_sub(LABEL_WIDTH + 2);
    let is_short =
        |label: &str, text: &str| width(label) < LABEL_WIDTH && width(text) <= value_width;
    let (short, long): (Vec<_>, Vec<_>) = detail
        .entries
        .iter()
        .partition(|entry| is_short(&entry.label, &entry.text));
    let per_column = short.len().div_ceil(columns);
    for row in 0..per_column {
        let mut line = Pieces::new();
        for entry in (0..columns).filter_map(|column| short.get(column * per_column + row)) {
            line.push((padded(&entry.label, LABEL_WIDTH, false), Tone::Faint));
            line.push((padded(&entry.text, value_width + 2, false), entry.tone));
        }
        lines.push(line);
    }
    for entry in long {
        let label_width = LABEL_WIDTH.max(width(&entry.label).min(width_max / 2) + 1);
        let mut label = padded(&entry.label, label_width, false);
        for text in wrapped(&entry.text, width_max.saturating_sub(label_width)) {
            lines.push(vec![(label, Tone::Faint), (text, entry.tone)]);
            label = " ".repeat(label_width);
        }
    }
    for (covers, history) in &detail.histories {
        if history.is_empty() {
            continue;
        }
        let highest = history.iter().flatten().max().copied().unwrap_or_default();
        let bars = spark(history, width_max.saturating_sub(LABEL_WIDTH + 16));
        lines.push(vec![
            (padded(covers, LABEL_WIDTH, false), Tone::Faint),
            (bars, Tone::Good),
            (format!("  highest {highest}"), Tone::Faint),
        ]);
    }
    lines
}
