//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::{Overlay, State, View};
use crate::status::query::Window;

/// What happens after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    /// The document is needed now, because of another window or because the pause is over.
    Fetch,
    /// No more documents are needed.
    Pause,
    Quit,
}

/// Keys and what they do, for the help.
pub(super) const HELP: [(&str, &str); 15] = [
    ("1 … 5, ← →", "change the view"),
    ("Tab", "next table, or next view"),
    ("↑ ↓, j k", "select a row"),
    ("PgUp PgDn", "a screen up or down"),
    ("Home End", "first or last row"),
    ("Enter", "everything about the selected row"),
    ("Esc", "back; clears the filter"),
    ("a", "all problems, and what to do"),
    ("/", "filter names; re: for a regular expression"),
    ("!", "show the rows that do not match"),
    (
        "Shift+letter",
        "sort by the column with that capital; again to reverse",
    ),
    ("w", "window of rates: 1m, 5m, 1h"),
    ("p", "pause"),
    ("?", "this help"),
    ("q, Ctrl+C", "quit"),
];

impl State {
    /// Handles a key.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Stay;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Next::Quit,
                _ => Next::Stay,
            };
        }
        if self.prompt.is_some() {
            self.prompted(key.code);
            return Next::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('w') => {
                let windows = Window::ALL;
                let at = windows.iter().position(|window| *window == self.window);
                self.window = windows[(at.unwrap_or_default() + 1) % windows.len()];
                return Next::Fetch;
            }
            KeyCode::Char('p') => {
                self.paused = !self.paused;
                return if self.paused {
                    Next::Pause
                } else {
                    Next::Fetch
                };
            }
            _ if self.overlay.is_some() => self.overlaid(key.code),
            code => self.viewed(code),
        }
        Next::Stay
    }

    /// A key while the filter is being typed. It applies at once.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
    fn prompted(&mut self, code: KeyCode) {
        let mut text = self.prompt.take().unwrap_or_default();
        match code {
            KeyCode::Enter => {
                if self.filter.error.is_some() {
                    self.prompt = Some(text);
                }
                return;
            }
            KeyCode::Esc => {
                self.filter_by("");
                return;
            }
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char(c) => text.push(c),
            _ => {}
        }
        self.filter_by(&text);
        self.prompt = Some(text);
    }

    fn filter_by(&mut self, text: &str) {
        self.filter.set(text);
        self.refresh();
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
    fn overlaid(&mut self, code: KeyCode) {
        match code {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace => self.overlay = None,
            KeyCode::Char('?') if self.overlay == Some(Overlay::Help) => self.overlay = None,
            KeyCode::Char('a') if self.overlay == Some(Overlay::Problems) => self.overlay = None,
            KeyCode::Char('?') => self.open(Overlay::Help),
            KeyCode::Char('a') => self.open(Overlay::Problems),
            KeyCode::Char(c @ '1'..='5') => self.go_to(c),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            // Drawing limits it to what there is.
            KeyCode::Down | KeyCode::Char('j') => self.scroll += 1,
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::PageDown => self.scroll += 10,
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
    fn viewed(&mut self, code: KeyCode) {
        let section = self.section();
        let list = self.list_mut(section);
        let (at, page) = (list.at, list.height.max(1));
        match code {
            KeyCode::Up | KeyCode::Char('k') => list.select(at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => list.select(at + 1),
            KeyCode::PageUp => list.select(at.saturating_sub(page)),
            KeyCode::PageDown => list.select(at + page),
            KeyCode::Home | KeyCode::Char('g') => list.select(0),
            KeyCode::End => list.select(usize::MAX),
            KeyCode::Enter => {
                if let Some(id) = list.selected().map(str::to_owned) {
                    // From here on, the row is followed.
                    list.select(at);
                    self.open(Overlay::Detail(section, id));
                }
            }
            KeyCode::Esc if self.filter.is_set() || self.filter.error.is_some() => {
                self.filter_by("");
            }
            KeyCode::Esc => self.go_to('1'),
            KeyCode::Right => self.turn(1),
            KeyCode::Left => self.turn(View::ALL.len() - 1),
            KeyCode::Tab if self.focus + 1 < self.view.sections().len() => self.focus += 1,
            KeyCode::Tab => self.turn(1),
            KeyCode::BackTab if self.focus > 0 => self.focus -= 1,
            KeyCode::BackTab => {
                self.turn(View::ALL.len() - 1);
                self.focus = self.view.sections().len() - 1;
            }
            KeyCode::Char('/') => self.prompt = Some(self.filter.text.clone()),
            KeyCode::Char('!') => {
                self.filter.inverted = !self.filter.inverted;
                self.refresh();
            }
            KeyCode::Char('?') => self.open(Overlay::Help),
            KeyCode::Char('a') => self.open(Overlay::Problems),
            KeyCode::Char(c @ '1'..='5') => self.go_to(c),
            KeyCode::Char(letter) if letter.is_ascii_uppercase() => self.sort(letter),
            _ => {}
        }
    }

    fn open(&mut self, overlay: Overlay) {
        self.overlay = Some(overlay);
        self.scroll = 0;
    }

    /// Shows the view with a number.
    fn go_to(&mut self, digit: char) {
        let views = View::ALL.into_iter().zip('1'..);
        if let Some((view, _)) = views.into_iter().find(|(_, own)| *own == digit) {
            self.view = view;
            self.focus = 0;
            self.overlay = None;
        }
    }

    /// Shows the view that comes this many later.
    fn turn(&mut self, by: usize) {
        let at = View::ALL.iter().position(|view| *view == self.view);
        self.view = View::ALL[(at.unwrap_or_default() + by) % View::ALL.len()];
        self.focus = 0;
    }
}
