//! Draws the tables of a view, one below another.

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::canvas::Canvas;
use super::letters::divided;
use super::state::{Filter, List, State};
use super::theme::Theme;
use crate::terminal::cell::Tone;
use crate::terminal::table::{Layout, SEPARATOR};

/// Lines of a table without its rows: its title and the titles of its columns.
const HEAD_LINES: usize = 2;

/// Draws the tables of the view, and remembers how many rows of each are on the screen.
pub(super) fn draw(canvas: &mut Canvas<'_>, state: &mut State) {
    let sections = state.view.sections();
    let needs: Vec<usize> = sections
        .iter()
        .map(|section| state.list(*section).table.rows.len().max(1))
        .collect();
    let focus = state.section();
    let filter = state.filter.clone();
    for (section, height) in sections.iter().zip(shared(canvas.height(), &needs)) {
        let many = sections.len() > 1;
        let list = state.list_mut(*section);
        list.show(height);
        if height > 0 {
            let focused = *section == focus;
            let mark = match (many, focused) {
                (false, _) => "",
                (true, true) => "› ",
                (true, false) => "  ",
            };
            title(canvas, list, &filter, mark);
            rows(canvas, list, &filter, focused);
        }
    }
}

/// Shares the lines of the screen: a row for each table in turn, as long as it has more. A table without room for a
/// single row gets none, and is not shown.
fn shared(height: usize, needs: &[usize]) -> Vec<usize> {
    let mut rows = vec![0; needs.len()];
    let mut left = height;
    for rows in &mut rows {
        if left > HEAD_LINES {
            left -= HEAD_LINES + 1;
            *rows = 1;
        }
    }
    loop {
        let mut given = false;
        for (rows, needed) in rows.iter_mut().zip(needs) {
            if left > 0 && *rows > 0 && *rows < *needed {
                *rows += 1;
                left -= 1;
                given = true;
            }
        }
        if !given {
            return rows;
        }
    }
}

fn title(canvas: &mut Canvas<'_>, list: &List, filter: &Filter, mark: &str) {
    let table = &list.table;
    let mut text = format!("{mark}{} {}", table.title, table.counted());
    if filter.is_set() {
        text = format!("{text} {}", filter.words());
    }
    if list.height < table.rows.len() {
        let (first, last) = (list.offset + 1, list.offset + list.height);
        text = format!("{text} · rows {first}–{}", last.min(table.rows.len()));
    }
    canvas.text(&text, Tone::Strong);
}

fn rows(canvas: &mut Canvas<'_>, list: &List, filter: &Filter, focused: bool) {
    let table = &list.table;
    let layout = table.layout(canvas.width());
    head(canvas, list, &layout);
    if table.rows.is_empty() {
        let reason = match (table.total, filter.is_set()) {
            (0, _) | (_, false) => "none known",
            (_, true) => "the filter leaves none; Esc clears it",
        };
        canvas.text(reason, Tone::Faint);
        return;
    }
    let shown = table.rows.iter().enumerate().skip(list.offset);
    for (at, row) in shown.take(list.height) {
        let cells = table.cells(row, &layout);
        let mut spans: Vec<Span<'_>> = Vec::new();
        for (text, tone) in &cells {
            if !spans.is_empty() {
                spans.push(Span::raw(SEPARATOR));
            }
            spans.push(canvas.span(text, *tone));
        }
        let line = Line::from(spans);
        if focused && at == list.at {
            canvas.line(&line.style(Theme::selected()));
        } else {
            canvas.line(&line);
        }
    }
}

/// The titles of the columns. The letter that sorts is in upper case, and underlined.
fn head(canvas: &mut Canvas<'_>, list: &List, layout: &Layout) {
    let style = canvas.theme.style(Tone::Faint);
    let letter_style = canvas.theme.style(Tone::Strong);
    let mut spans: Vec<Span<'_>> = Vec::new();
    for (at, text) in list.table.head(layout) {
        if !spans.is_empty() {
            spans.push(Span::raw(SEPARATOR));
        }
        let head = &list.table.columns[at];
        let letter = list.letters.get(at).copied().flatten();
        let [before, letter, behind] = divided(&text, head.title, letter);
        let style = if head.sorted.is_some() {
            letter_style
        } else {
            style
        };
        spans.push(Span::styled(before, style));
        spans.push(Span::styled(
            letter,
            letter_style.add_modifier(Modifier::UNDERLINED),
        ));
        spans.push(Span::styled(behind, style));
    }
    canvas.line(&Line::from(spans));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_gets_a_row_before_one_gets_more() {
        assert_eq!(shared(9, &[5, 5, 5]), [1, 1, 1]);
        assert_eq!(shared(12, &[5, 1, 5]), [3, 1, 2]);
        assert_eq!(shared(100, &[5, 1, 5]), [5, 1, 5]);
        assert_eq!(shared(7, &[5, 5, 5]), [2, 1, 0]);
        assert_eq!(shared(2, &[5]), [0]);
    }
}
