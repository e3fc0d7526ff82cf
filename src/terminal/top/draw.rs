//! Draws the state: two lines at the top, the view or what is in front of it, and the keys at the bottom.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::canvas::Canvas;
use super::overlay;
use super::state::{Connection, Overlay, State, View};
use super::tables;
use super::theme::Theme;
use crate::escape::printable;
use crate::status::document::Status;
use crate::status::format;
use crate::terminal::cell::Tone;
use crate::terminal::facts::{self, Pieces};
use crate::terminal::text::{cut, spark, width, wrapped};

/// Below this, nothing useful fits.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 15;

/// From here on, there is room for words.
const WIDTH_WIDE: u16 = 100;
const HEIGHT_HIGH: usize = 30;

/// Draws one frame.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, theme: Theme) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let text = format!(
            "celeriac top needs {WIDTH_MIN}×{HEIGHT_MIN} characters; this terminal has {}×{}.",
            area.width, area.height
        );
        paragraph(buffer, area, &text, Style::new());
        return;
    }
    let mut canvas = Canvas {
        buffer,
        theme,
        area,
    };
    header(&mut canvas, state);
    tabs(&mut canvas, state);
    banner(&mut canvas, state);
    let mut body = canvas.area;
    body.height = body.height.saturating_sub(1);
    canvas.area.y = body.bottom();
    canvas.area.height = 1;
    footer(&mut canvas, state);
    canvas.area = body;
    // Not borrowed from the state, which remembers what was drawn.
    let Some(status) = state.status.take() else {
        waiting(&mut canvas, state);
        return;
    };
    match state.overlay.clone() {
        Some(overlay) => overlay::draw(&mut canvas, state, &status, &overlay),
        None => {
            if state.view == View::Overview {
                overview(&mut canvas, &status);
            }
            tables::draw(&mut canvas, state);
        }
    }
    if state.outage().is_some() && state.overlay != Some(Overlay::Help) {
        canvas.buffer.set_style(body, theme.style(Tone::Faint));
    }
    state.status = Some(status);
}

/// The instance on the left, and what matters most on the right. If there is not enough room, the last parts about the
/// instance are left out.
fn header(canvas: &mut Canvas<'_>, state: &State) {
    let mut left = "celeriac".to_owned();
    let mut right = Pieces::new();
    if let Some(status) = &state.status {
        let short = canvas.area.width < WIDTH_WIDE;
        right.push(facts::counted(&status.attention, short));
        right.push((format!(" · {}", facts::window(status)), Tone::Plain));
        if state.paused {
            right.push((" · ".to_owned(), Tone::Plain));
            right.push(("PAUSED".to_owned(), Tone::Warning));
        }
        let at = format::clock(status.at_timestamp_seconds);
        right.push((format!(" · as of {at}"), Tone::Plain));
    }
    let right_width: usize = right.iter().map(|(text, _)| width(text)).sum();
    let room = canvas.width().saturating_sub(right_width + 2);
    if let Some(status) = &state.status {
        for part in facts::heading(status) {
            let longer = format!("{left} · {part}");
            if width(&longer) > room {
                break;
            }
            left = longer;
        }
    }
    let gap = canvas.width().saturating_sub(width(&left) + right_width);
    let mut pieces = vec![(left, Tone::Strong), (" ".repeat(gap), Tone::Plain)];
    pieces.extend(right);
    canvas.pieces(&pieces);
}

fn tabs(canvas: &mut Canvas<'_>, state: &State) {
    let mut spans = Vec::new();
    for (nth, view) in View::ALL.into_iter().enumerate() {
        let style = if view == state.view {
            Theme::selected()
        } else {
            Style::new()
        };
        spans.push(Span::styled(
            format!(" {} {} ", nth + 1, view.title()),
            style,
        ));
    }
    canvas.line(&Line::from(spans));
}

/// What is wrong with the figures as a whole.
fn banner(canvas: &mut Canvas<'_>, state: &State) {
    let Some((since, why)) = state.outage() else {
        return;
    };
    if state.status.is_none() {
        return;
    }
    let since = match since.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => format::duration(since.as_secs_f64()),
    };
    let text = format!(
        "! No new figures for {since}, trying again: {}",
        printable(why)
    );
    let text = cut(&text, canvas.width()).into_owned();
    let style = canvas
        .theme
        .style(Tone::Bad)
        .add_modifier(Modifier::REVERSED);
    canvas.line(&Line::from(text).style(style));
}

fn footer(canvas: &mut Canvas<'_>, state: &State) {
    const KEYS: [(&str, &str); 10] = [
        ("q", "quit"),
        ("?", "help"),
        ("/", "filter"),
        ("!", "invert"),
        ("Enter", "details"),
        ("⇧letter", "sort"),
        ("w", "window"),
        ("p", "pause"),
        ("a", "problems"),
        ("Esc", "back"),
    ];
    if let Some(error) = &state.filter.error {
        // An expression that is not valid is explained in several lines, the last of which has the reason.
        let reason = error.lines().last().unwrap_or_default();
        let prompt = state.prompt.as_deref().unwrap_or(&state.filter.text);
        let text = format!("/{}  ! {}", printable(prompt), printable(reason.trim()));
        canvas.text(&cut(&text, canvas.width()), Tone::Bad);
        return;
    }
    if let Some(prompt) = &state.prompt {
        let text = printable(prompt).into_owned();
        let line = Line::from(vec![
            Span::raw("/"),
            Span::raw(text),
            Span::styled(" ", Theme::selected()),
            canvas.span(
                "  Enter: keep   Esc: clear   re:… for a regular expression",
                Tone::Faint,
            ),
        ]);
        canvas.line(&line);
        return;
    }
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, what) in KEYS {
        let more = width(key) + width(what) + 3;
        if used + more > canvas.width() + 2 {
            break;
        }
        used += more;
        spans.push(canvas.span(key, Tone::Strong));
        spans.push(canvas.span(" ", Tone::Plain));
        spans.push(canvas.span(what, Tone::Faint));
        spans.push(Span::raw("  "));
    }
    canvas.line(&Line::from(spans));
}

/// Before the first document.
fn waiting(canvas: &mut Canvas<'_>, state: &State) {
    canvas.skip(1);
    match &state.connection {
        Connection::Lost(_, failure) => {
            let style = canvas.theme.style(Tone::Bad);
            let lines = paragraph(
                canvas.buffer,
                canvas.area,
                &format!("! {}", failure.message),
                style,
            );
            canvas.skip(lines + 1);
            canvas.text("Trying again. Press q to quit.", Tone::Faint);
        }
        Connection::Connecting(_) | Connection::Current(_) => {
            let text = format!("Connecting to {} …", printable(&state.url));
            canvas.text(&text, Tone::Plain);
        }
    }
}

/// What is wrong, and the totals.
fn overview(canvas: &mut Canvas<'_>, status: &Status) {
    let at = status.at_timestamp_seconds;
    let lines = status.attention.iter().flat_map(|problem| {
        let mut lines = facts::problem(problem, at, canvas.width());
        // What to do about it is a key away.
        if canvas.height() < HEIGHT_HIGH {
            lines.truncate(1);
        }
        lines
    });
    let lines: Vec<_> = lines.collect();
    let room = (canvas.height() / 4).max(2);
    let (shown, left) = if lines.len() <= room {
        (lines.len(), 0)
    } else {
        (room - 1, lines.len() + 1 - room)
    };
    for line in &lines[..shown] {
        canvas.text(&line.text, line.tone);
    }
    if left > 0 {
        canvas.text(&format!("   {left} more; press a to show all"), Tone::Faint);
    }
    for (label, facts) in [
        ("Summary", facts::summary(status)),
        ("Trust", facts::trust(status)),
    ] {
        for line in facts::flow(label, &facts, canvas.width()) {
            canvas.pieces(&line);
        }
    }
    let summary = &status.summary;
    let columns = (canvas.width().saturating_sub(42) / 2).clamp(10, 60);
    let [completed, waiting] = [&summary.completed_history, &summary.waiting_history]
        .map(|history| spark(history, columns));
    canvas.pieces(&vec![
        ("10 min   ".to_owned(), Tone::Strong),
        ("completed ".to_owned(), Tone::Plain),
        (completed, Tone::Good),
        (" · ".to_owned(), Tone::Faint),
        ("waiting ".to_owned(), Tone::Plain),
        (waiting, Tone::Warning),
    ]);
}

/// Writes a text in as many lines as it needs, and returns their number.
fn paragraph(buffer: &mut Buffer, area: Rect, text: &str, style: Style) -> u16 {
    let lines = wrapped(text, usize::from(area.width));
    let mut written = 0;
    for (line, y) in lines.iter().zip(area.y..area.bottom()) {
        buffer.set_stringn(area.x, y, line, usize::from(area.width), style);
        written += 1;
    }
    written
}
