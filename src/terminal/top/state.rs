//! What is shown: the view, the filter, the order, the selected rows, and the document.

use std::time::{Duration, Instant};

use super::letters::{Letter, letters};
use crate::escape::printable;
use crate::status::document::Status;
use crate::status::query::{Query, Window};
use crate::terminal::section::{Choice, Section};
use crate::terminal::table::Table;

/// Without a response for this long, the figures are old.
const LATE: Duration = Duration::from_secs(5);

/// A page of `celeriac top`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Overview,
    Queues,
    Tasks,
    Workers,
    Connections,
}

/// Something in front of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    Help,
    Problems,
    /// A row.
    Detail(Section, String),
}

/// Whether the document is current.
#[derive(Clone, Debug)]
pub(super) enum Connection {
    /// Since when, without a document so far.
    Connecting(Instant),
    /// When the last document arrived.
    Current(Instant),
    /// Since when no document arrives, and why.
    Lost(Instant, Failure),
}

/// Why there is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// In a few words.
    pub(super) brief: String,
    /// With what to do.
    pub(super) message: String,
}

/// The filter of all tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) text: String,
    query: Query,
    pub(super) inverted: bool,
    /// Why the text is not a filter. The last one that was remains.
    pub(super) error: Option<String>,
}

/// The table of a section, and the place in it.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub(super) table: Table,
    pub(super) letters: Vec<Option<Letter>>,
    order: Option<(&'static str, bool)>,
    /// The row that is followed when others change places.
    id: Option<String>,
    /// Index of the selected row.
    pub(super) at: usize,
    /// Index of the first row on the screen.
    pub(super) offset: usize,
    /// Number of rows on the screen.
    pub(super) height: usize,
}

/// Everything that is shown.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) url: String,
    pub(super) view: View,
    /// Which of the view's tables the keys move in.
    pub(super) focus: usize,
    pub(super) overlay: Option<Overlay>,
    /// Number of lines of the overlay that are above the screen.
    pub(super) scroll: usize,
    /// The filter that is being typed.
    pub(super) prompt: Option<String>,
    pub(super) filter: Filter,
    pub(super) window: Window,
    pub(super) paused: bool,
    pub(super) connection: Connection,
    pub(super) status: Option<Status>,
    /// The time of the last event.
    pub(super) now: Instant,
    lists: [List; Section::ALL.len()],
}

impl View {
    pub(super) const ALL: [Self; 5] = [
        Self::Overview,
        Self::Queues,
        Self::Tasks,
        Self::Workers,
        Self::Connections,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Queues => "Queues",
            Self::Tasks => "Tasks",
            Self::Workers => "Workers",
            Self::Connections => "Brokers & receivers",
        }
    }

    pub(super) const fn sections(self) -> &'static [Section] {
        match self {
            Self::Overview => &[Section::Queues, Section::Tasks, Section::Workers],
            Self::Queues => &[Section::Queues],
            Self::Tasks => &[Section::Tasks],
            Self::Workers => &[Section::Workers],
            Self::Connections => &[Section::Brokers, Section::Receivers],
        }
    }
}

impl Filter {
    /// Filters by a text as in `q=`.
    pub(super) fn set(&mut self, text: &str) {
        text.clone_into(&mut self.text);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("q", text)
            .finish();
        match Query::parse(&query) {
            Ok(query) => {
                self.query = query;
                self.error = None;
            }
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    pub(super) const fn is_set(&self) -> bool {
        self.query.is_filtered()
    }

    /// The filter in words, such as `not matching "mail"`.
    pub(super) fn words(&self) -> String {
        let verb = if self.inverted {
            "not matching"
        } else {
            "matching"
        };
        format!("{verb} \"{}\"", printable(self.query.filter()))
    }
}

impl List {
    /// Replaces the table. The selected row stays selected, wherever it is.
    fn refresh(&mut self, section: Section, status: &Status, filter: &Filter) {
        let order = self.order.map_or_else(String::new, |(key, reversed)| {
            let sign = if reversed { "-" } else { "" };
            format!("sort={sign}{key}")
        });
        let choice = Choice {
            filter: filter.query.clone(),
            inverted: filter.inverted,
            // The key is one of a column.
            order: Query::parse(&order).unwrap_or_default(),
            rows_max: None,
        };
        self.table = section.table(status, &choice);
        self.letters = letters(&self.table);
        let mut rows = self.table.rows.iter();
        let found = self
            .id
            .as_ref()
            .and_then(|id| rows.position(|row| row.id == *id));
        let last = self.table.rows.len().saturating_sub(1);
        self.at = found.unwrap_or_else(|| self.at.min(last));
    }

    /// Selects another row.
    pub(super) fn select(&mut self, at: usize) {
        self.at = at.min(self.table.rows.len().saturating_sub(1));
        self.id = self.table.rows.get(self.at).map(|row| row.id.clone());
    }

    /// The identity of the selected row.
    pub(super) fn selected(&self) -> Option<&str> {
        self.table.rows.get(self.at).map(|row| row.id.as_str())
    }

    /// Moves the rows on the screen so that the selected one is among `height`.
    pub(super) fn show(&mut self, height: usize) {
        self.height = height;
        let last = self.table.rows.len().saturating_sub(height);
        let lowest = (self.at + 1).saturating_sub(height);
        self.offset = self.offset.clamp(lowest, self.at.max(lowest)).min(last);
    }

    /// Sorts by the column with a letter; in the other direction if it already is.
    fn sort(&mut self, letter: char) -> bool {
        let mut letters = self.letters.iter();
        let found = letters.position(|own| own.is_some_and(|own| own.letter == letter));
        let Some(head) = found.and_then(|at| self.table.columns.get(at)) else {
            return false;
        };
        let reversed = match head.sorted {
            Some(reversed) => !reversed,
            // Of numbers the highest are of interest, and texts are looked up.
            None => head.right,
        };
        self.order = Some((head.key, reversed));
        true
    }
}

impl State {
    pub(super) fn new(url: &str, filter: &str, window: Window, now: Instant) -> Self {
        let mut state = Self {
            url: url.to_owned(),
            view: View::default(),
            focus: 0,
            overlay: None,
            scroll: 0,
            prompt: None,
            filter: Filter::default(),
            window,
            paused: false,
            connection: Connection::Connecting(now),
            status: None,
            now,
            lists: Default::default(),
        };
        state.filter.set(filter);
        state
    }

    pub(super) const fn list(&self, section: Section) -> &List {
        &self.lists[section as usize]
    }

    pub(super) const fn list_mut(&mut self, section: Section) -> &mut List {
        &mut self.lists[section as usize]
    }

    /// The section that the keys move in.
    pub(super) fn section(&self) -> Section {
        let sections = self.view.sections();
        sections[self.focus.min(sections.len() - 1)]
    }

    /// A document arrived, or could not be fetched.
    pub(super) fn fetched(&mut self, fetched: Result<Status, Failure>) {
        match fetched {
            Ok(status) => {
                self.connection = Connection::Current(self.now);
                self.status = Some(status);
                self.refresh();
            }
            Err(failure) => {
                let since = match &self.connection {
                    Connection::Connecting(since)
                    | Connection::Current(since)
                    | Connection::Lost(since, _) => *since,
                };
                self.connection = Connection::Lost(since, failure);
            }
        }
    }

    /// For how long there have been no figures, and why, if the ones on the screen are old.
    pub(super) fn outage(&self) -> Option<(Duration, &str)> {
        let since = |since: &Instant| self.now.saturating_duration_since(*since);
        match &self.connection {
            Connection::Lost(from, failure) => Some((since(from), &failure.brief)),
            Connection::Current(from) if !self.paused && since(from) > LATE => {
                Some((since(from), "the daemon does not answer"))
            }
            Connection::Current(_) | Connection::Connecting(_) => None,
        }
    }

    /// Makes the tables again, after the document, the filter or an order changed.
    pub(super) fn refresh(&mut self) {
        let Some(status) = &self.status else {
            return;
        };
        for section in Section::ALL {
            self.lists[section as usize].refresh(section, status, &self.filter);
        }
    }

    pub(super) fn sort(&mut self, letter: char) {
        let section = self.section();
        if self.list_mut(section).sort(letter) {
            self.refresh();
        }
    }
}
