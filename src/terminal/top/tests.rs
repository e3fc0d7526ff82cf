//! What is drawn, and what keys do.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::draw::draw;
use super::keys::Next;
use super::state::{Failure, Overlay, State, View};
use super::theme::Theme;
use crate::clock;
use crate::escape::is_unsafe;
use crate::status::query::Window;
use crate::terminal::fixture;
use crate::terminal::section::Section;
use crate::terminal::text::width;

/// The state and a terminal of a size.
struct Session {
    state: State,
    terminal: Terminal<TestBackend>,
    theme: Theme,
    began: Instant,
}

impl Session {
    /// Without a document so far.
    fn connecting(columns: u16, lines: u16) -> Self {
        let began = clock::monotonic();
        let state = State::new("http://127.0.0.1:9808", "", Window::FiveMinutes, began);
        let backend = TestBackend::new(columns, lines);
        Self {
            state,
            terminal: Terminal::new(backend).expect("a buffer"),
            theme: Theme::Palette,
            began,
        }
    }

    fn new(columns: u16, lines: u16) -> Self {
        let mut session = Self::connecting(columns, lines);
        session.state.fetched(Ok(fixture::status()));
        session
    }

    fn press(&mut self, code: KeyCode) -> Next {
        // A real terminal draws between keys, which tells the state how many rows there is room for.
        self.draw();
        self.state.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn keys(&mut self, keys: &str) -> &mut Self {
        for c in keys.chars() {
            self.press(KeyCode::Char(c));
        }
        self
    }

    /// The frame. The backend's own buffer keeps what wide characters of an earlier frame covered.
    fn draw(&mut self) -> Buffer {
        let (state, theme) = (&mut self.state, self.theme);
        let drawn = self.terminal.draw(|frame| draw(frame, state, theme));
        drawn.expect("a buffer").buffer.clone()
    }

    /// The screen as text.
    fn text(&mut self) -> String {
        let buffer = self.draw();
        let columns = usize::from(buffer.area.width);
        let mut text = String::new();
        for line in buffer.content.chunks(columns) {
            let mut x = 0;
            let mut shown = String::new();
            while x < columns {
                let symbol = line[x].symbol();
                shown.push_str(symbol);
                x += width(symbol).max(1);
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        text
    }

    /// Names of the rows of a table, in order.
    fn names(&self, section: Section) -> Vec<&str> {
        let rows = self.state.list(section).table.rows.iter();
        rows.map(|row| row.id.split('\0').nth(1).expect("a name"))
            .collect()
    }

    fn selected(&self) -> &str {
        let list = self.state.list(self.state.section());
        let id = list.selected().expect("a row");
        id.split('\0').nth(1).expect("a name")
    }
}

fn failure(brief: &str) -> Failure {
    Failure {
        brief: brief.to_owned(),
        message: format!("cannot read the status: {brief}; start it"),
    }
}

#[test]
fn every_view_fits_small_and_large_terminals() {
    for (columns, lines) in [(80, 24), (200, 60)] {
        let golden = |name: &str, session: &mut Session| {
            let text = session.text();
            assert!(!text.contains(|c| c != '\n' && is_unsafe(c)), "{text}");
            fixture::assert_golden(&format!("{name}-{columns}x{lines}.txt"), &text);
        };
        let mut session = Session::new(columns, lines);
        golden("1-overview", &mut session);
        golden("2-queues", session.keys("2"));
        golden("3-tasks", session.keys("3"));
        session.keys("/charge").press(KeyCode::Enter);
        golden("filter", &mut session);
        session.press(KeyCode::Enter);
        golden("detail", &mut session);
        session.press(KeyCode::Esc);
        session.press(KeyCode::Esc);
        golden("4-workers", session.keys("4"));
        golden("5-connections", session.keys("5"));
        golden("help", session.keys("2?"));
        golden("problems", session.keys("?a"));
        session.keys("2");
        session.state.now = session.began + Duration::from_secs(12);
        session.state.fetched(Err(failure("connection refused")));
        golden("lost", &mut session);
    }
}

#[test]
fn every_size_is_drawn_and_a_resize_needs_no_new_document() {
    for (columns, lines) in [(1, 1), (59, 24), (80, 14), (60, 15), (61, 16), (300, 100)] {
        let mut session = Session::new(80, 24);
        session.draw();
        session.terminal.backend_mut().resize(columns, lines);
        for keys in ["1", "2", "3", "4", "5", "?", "?a", "a3", "/x"] {
            let text = session.keys(keys).text();
            assert_eq!(text.lines().count(), usize::from(lines));
            let small = columns < 60 || lines < 15;
            let fits = columns > 20 && text.contains("needs 60×15");
            assert!(small == fits || columns < 20, "{columns}×{lines} {text}");
        }
    }
}

#[test]
fn colours_are_those_of_the_palette_or_none() {
    let coloured = |cell: &Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
    let beyond = |colour| matches!(colour, Color::Rgb(..) | Color::Indexed(_));
    for keys in ["1", "2", "3", "4", "5", "?", "a", "3\n"] {
        let mut session = Session::new(120, 40);
        session.keys(keys.trim_end());
        if keys.ends_with('\n') {
            session.press(KeyCode::Enter);
        }
        let cells = session.draw().content;
        assert!(
            !cells.iter().any(|cell| beyond(cell.fg) || beyond(cell.bg)),
            "{keys}"
        );
        let some = cells.iter().any(coloured);
        session.theme = Theme::Monochrome;
        assert!(!session.draw().content.iter().any(coloured), "{keys}");
        // A help needs no colours.
        assert!(some || keys == "?", "{keys}");
    }
}

#[test]
fn a_bad_state_has_a_mark_beside_its_colour() {
    for keys in ["1", "2", "3", "4", "5"] {
        let mut session = Session::new(200, 60);
        session.keys(keys);
        let buffer = session.draw();
        for (at, cell) in buffer.content.iter().enumerate() {
            let begins = cell.fg == Color::Red && buffer.content[at - 1].fg != Color::Red;
            if begins {
                let text: String = buffer.content[at..]
                    .iter()
                    .take(20)
                    .map(Cell::symbol)
                    .collect();
                assert!(text.trim_start().starts_with('!'), "{keys}: {text}");
            }
        }
    }
}

#[test]
fn a_filter_applies_while_it_is_typed_and_can_be_inverted() {
    let mut session = Session::new(80, 24);
    session.keys("2/m");
    assert_eq!(session.names(Section::Queues), ["media", "mail"]);
    session.keys("e");
    assert_eq!(session.names(Section::Queues), ["media"]);
    session.press(KeyCode::Backspace);
    session.press(KeyCode::Enter);
    session.keys("!");
    assert_eq!(session.names(Section::Queues).len(), 3);
    assert!(session.text().contains("Queues 3 of 5 not matching \"m\""));
    // Letters of a prompt are no commands.
    session.press(KeyCode::Esc);
    assert_eq!(session.names(Section::Queues).len(), 5);
    session.keys("!/q2w");
    assert_eq!(session.state.view, View::Queues);
    assert_eq!(session.state.prompt.as_deref(), Some("q2w"));
    assert!(session.text().contains("the filter leaves none"));
    session.press(KeyCode::Esc);
    assert_eq!(session.names(Section::Queues).len(), 5);
}

#[test]
fn an_invalid_expression_is_explained_and_changes_nothing() {
    let mut session = Session::new(80, 24);
    session.keys("2/re:^m");
    assert_eq!(session.names(Section::Queues), ["media", "mail"]);
    session.keys("[");
    assert_eq!(session.names(Section::Queues), ["media", "mail"]);
    let text = session.text();
    let last = text.lines().last().expect("a line");
    assert!(
        last.starts_with("/re:^m[  ! error: unclosed character class"),
        "{last}"
    );
    // It cannot be kept.
    session.press(KeyCode::Enter);
    assert_eq!(session.state.prompt.as_deref(), Some("re:^m["));
    session.keys("a]");
    assert_eq!(session.names(Section::Queues), ["mail"]);
}

#[test]
fn a_capital_letter_sorts_and_the_selected_row_is_followed() {
    let mut session = Session::new(80, 24);
    session.keys("2");
    assert_eq!(session.names(Section::Queues)[..2], ["huge", "media"]);
    session.press(KeyCode::Down);
    assert_eq!(session.selected(), "media");
    session.keys("Q");
    assert_eq!(session.names(Section::Queues)[..2], ["default", "huge"]);
    assert_eq!(session.selected(), "media");
    assert!(session.text().contains("Queue▲"), "{}", session.text());
    session.keys("Q");
    assert_eq!(session.names(Section::Queues)[4], "default");
    session.keys("W");
    // Unknown values come last in both orders.
    assert!(session.names(Section::Queues)[4].starts_with("pris"));
    session.keys("W");
    assert_eq!(session.names(Section::Queues)[0], "mail");
    assert!(session.names(Section::Queues)[4].starts_with("pris"));
    // The next document keeps order and selection, though rows changed places.
    let mut status = fixture::status();
    status.queues[1].waiting = Some(0);
    status.queues[1].name = "media".into();
    session.state.fetched(Ok(status));
    assert_eq!(session.selected(), "media");
    // A letter that no column has.
    session.keys("Z");
    assert_eq!(session.selected(), "media");
}

#[test]
fn keys_move_between_rows_tables_and_views() {
    let mut session = Session::new(80, 24);
    assert_eq!(session.state.section(), Section::Queues);
    session.press(KeyCode::Tab);
    assert_eq!(session.state.section(), Section::Tasks);
    session.press(KeyCode::End);
    let last = session.selected().to_owned();
    session.press(KeyCode::Down);
    assert_eq!(session.selected(), last);
    session.press(KeyCode::PageUp);
    session.press(KeyCode::Home);
    session.press(KeyCode::Up);
    assert_eq!(session.selected(), "shop.orders.place_order");
    session.press(KeyCode::Tab);
    session.press(KeyCode::Tab);
    assert_eq!(session.state.view, View::Queues);
    session.press(KeyCode::BackTab);
    assert_eq!(session.state.section(), Section::Workers);
    session.press(KeyCode::Left);
    assert_eq!(session.state.view, View::Connections);
    session.press(KeyCode::Right);
    assert_eq!(session.state.view, View::Overview);
    session.keys("4");
    session.press(KeyCode::Enter);
    assert!(matches!(
        session.state.overlay,
        Some(Overlay::Detail(Section::Workers, _))
    ));
    session.press(KeyCode::Esc);
    assert_eq!(
        (&session.state.overlay, session.state.view),
        (&None, View::Workers)
    );
    session.press(KeyCode::Esc);
    assert_eq!(session.state.view, View::Overview);
}

#[test]
fn a_row_that_ends_is_no_longer_shown() {
    let mut session = Session::new(80, 24);
    session.keys("4");
    session.press(KeyCode::Enter);
    assert!(session.text().contains("Worker celery@web-1"));
    let mut status = fixture::status();
    status.workers.clear();
    session.state.fetched(Ok(status));
    assert!(session.text().contains("does not exist any more"));
    session.press(KeyCode::Esc);
    assert!(session.text().contains("none known"));
    // Nothing to select or open.
    session.press(KeyCode::Down);
    session.press(KeyCode::Enter);
    assert_eq!(session.state.overlay, None);
}

#[test]
fn keys_that_need_another_document_ask_for_it() {
    let mut session = Session::new(80, 24);
    assert_eq!(session.press(KeyCode::Char('w')), Next::Fetch);
    assert_eq!(session.state.window, Window::OneHour);
    assert_eq!(session.press(KeyCode::Char('p')), Next::Pause);
    assert!(session.text().contains("PAUSED"));
    // A pause is not an outage.
    session.state.now = session.began + Duration::from_secs(600);
    assert_eq!(session.state.outage(), None);
    assert_eq!(session.press(KeyCode::Char('p')), Next::Fetch);
    assert_eq!(session.press(KeyCode::Char('x')), Next::Stay);
    assert_eq!(session.press(KeyCode::Char('q')), Next::Quit);
    session.keys("/");
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(session.state.key(interrupt), Next::Quit);
}

#[test]
fn old_figures_stay_and_are_faint() {
    let mut session = Session::new(80, 24);
    session.keys("2");
    let faint = |session: &mut Session| {
        let buffer = session.draw();
        let cell = &buffer[(0, 5)];
        cell.modifier.contains(Modifier::DIM)
    };
    assert!(!faint(&mut session));
    session.state.now = session.began + Duration::from_secs(6);
    assert!(session.text().contains("! No new figures for 6 s"));
    session.state.fetched(Err(failure("refused\u{1b}[2J")));
    let text = session.text();
    assert!(
        text.contains("for 6 s, trying again: refused\\u{1b}[2J"),
        "{text}"
    );
    assert!(text.contains("media"), "{text}");
    assert!(faint(&mut session));
    session.state.fetched(Ok(fixture::status()));
    assert!(!faint(&mut session));
}

#[test]
fn before_the_first_document_there_is_a_reason() {
    let mut session = Session::connecting(80, 24);
    assert!(
        session
            .text()
            .contains("Connecting to http://127.0.0.1:9808")
    );
    session.state.fetched(Err(failure("connection refused")));
    let text = session.text();
    assert!(
        text.contains("! cannot read the status: connection refused; start it"),
        "{text}"
    );
    assert!(text.contains("Trying again"), "{text}");
    session.keys("235?/x");
    session.press(KeyCode::Enter);
    session.state.fetched(Ok(fixture::status()));
    assert!(session.text().contains("shop-1"));
}

#[test]
fn the_documentation_shows_the_overview() {
    let mut status = fixture::status();
    status.queues.truncate(3);
    status.tasks.truncate(3);
    let mut session = Session::connecting(100, 28);
    session.state.fetched(Ok(status));
    let text = session.text();
    fixture::assert_golden("documentation-100x28.txt", &text);
    let page = include_str!("../../../docs/terminal.md");
    assert!(
        page.contains(&format!("```text\n{text}```\n")),
        "docs/terminal.md is stale:\n{text}"
    );
}
