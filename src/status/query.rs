//! The query parameters that the page and the API share: filter, order and window.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::columns::Row;

/// Number of rows of a section on the overview, unless `all=1`.
pub const ROWS: usize = 20;

/// Maximum size of a compiled expression. Matching takes time in proportion to it.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Maximum length of a filter.
const FILTER_MAX: usize = 200;

/// The window that rates are computed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Window {
    OneMinute,
    #[default]
    FiveMinutes,
    OneHour,
}

impl Window {
    /// Every window, shortest first.
    pub const ALL: [Self; 3] = [Self::OneMinute, Self::FiveMinutes, Self::OneHour];

    /// The value of `window=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneMinute => "1m",
            Self::FiveMinutes => "5m",
            Self::OneHour => "1h",
        }
    }

    pub const fn duration(self) -> Duration {
        match self {
            Self::OneMinute => Duration::from_mins(1),
            Self::FiveMinutes => Duration::from_mins(5),
            Self::OneHour => Duration::from_hours(1),
        }
    }
}

/// The query of a page or of an API request.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// `q`: a substring of the name, or with `re:` an expression.
    filter: Option<Filter>,
    /// `sort`: a column, with `-` highest first.
    sort: Option<(String, bool)>,
    /// `window`.
    pub window: Window,
    /// `queue`.
    pub queue: Option<String>,
    /// `broker`.
    pub broker: Option<String>,
    /// `all=1`: every row.
    pub all: bool,
}

#[derive(Clone, Debug)]
struct Filter {
    text: String,
    matches: Matches,
}

#[derive(Clone, Debug)]
enum Matches {
    /// In lower case.
    Substring(String),
    Regex(Regex),
}

/// Why a query is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("q: invalid expression: {0}")]
    Regex(String),
    #[error("q: longer than {FILTER_MAX} bytes")]
    Long,
    #[error("window: expected 1m, 5m or 1h, found `{0}`")]
    Window(String),
}

/// The rows of a section that remain.
#[derive(Debug)]
pub struct Selected<'a, R> {
    pub rows: Vec<&'a R>,
    /// How many rows match, including those beyond the first [`ROWS`].
    pub matching: usize,
    pub total: usize,
}

impl Query {
    /// Parses the part of a URL after `?`. Unknown parameters are ignored.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut parsed = Self::default();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                continue;
            }
            match &*key {
                "q" => parsed.filter = Some(Filter::parse(value)?),
                "sort" => {
                    let (column, reversed) = match value.strip_prefix('-') {
                        Some(column) => (column, true),
                        None => (&*value, false),
                    };
                    parsed.sort = Some((column.to_owned(), reversed));
                }
                "window" => {
                    let mut windows = Window::ALL.into_iter();
                    let window = windows.find(|window| window.name() == value);
                    let unknown = || QueryError::Window(value.chars().take(FILTER_MAX).collect());
                    parsed.window = window.ok_or_else(unknown)?;
                }
                "queue" => parsed.queue = Some(value.into_owned()),
                "broker" => parsed.broker = Some(value.into_owned()),
                "all" => parsed.all = value == "1",
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// The filter, as it was written.
    pub fn filter(&self) -> &str {
        self.filter.as_ref().map_or("", |filter| &filter.text)
    }

    /// The value of `sort=`, if there was one.
    pub fn sort(&self) -> Option<String> {
        self.sort.as_ref().map(|(column, reversed)| {
            let sign = if *reversed { "-" } else { "" };
            format!("{sign}{column}")
        })
    }

    /// Whether rows are filtered at all.
    pub const fn is_filtered(&self) -> bool {
        self.filter.is_some() || self.queue.is_some() || self.broker.is_some()
    }

    /// The column that a section is sorted by, and whether its highest value comes first.
    pub fn order<R: Row>(&self) -> (&'static str, bool) {
        let asked = self.sort.as_ref().and_then(|(key, reversed)| {
            let column = R::COLUMNS.iter().find(|column| column.key == key)?;
            Some((column.key, *reversed))
        });
        asked.unwrap_or(R::ORDER)
    }

    /// Whether a row remains.
    pub fn keeps<R: Row>(&self, row: &R) -> bool {
        let is_of = |queue: &str| row.is_of_queue(queue);
        let by = |broker: &str| row.broker().is_none_or(|own| own == broker);
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.is_match(row.name()))
            && self.queue.as_deref().is_none_or(is_of)
            && self.broker.as_deref().is_none_or(by)
    }

    /// The rows that remain, in order; at most `limit`, unless `all=1`.
    pub fn select<'a, R: Row>(&self, rows: &'a [R], limit: usize) -> Selected<'a, R> {
        let mut kept: Vec<&R> = rows.iter().filter(|row| self.keeps(*row)).collect();
        let (key, reversed) = self.order::<R>();
        if let Some(column) = R::COLUMNS.iter().find(|column| column.key == key) {
            kept.sort_by(|one, other| {
                (column.cell)(one)
                    .compare(&(column.cell)(other), reversed)
                    .then_with(|| one.name().cmp(other.name()))
            });
        }
        let matching = kept.len();
        if !self.all {
            kept.truncate(limit);
        }
        Selected {
            rows: kept,
            matching,
            total: rows.len(),
        }
    }

    /// The same query with some parameters replaced; an empty value removes one. Begins with `?` unless it is empty.
    pub fn with(&self, changes: &[(&str, &str)]) -> String {
        let window = (self.window != Window::default()).then(|| self.window.name().to_owned());
        let own: [(&str, Option<String>); 6] = [
            ("q", self.filter.as_ref().map(|filter| filter.text.clone())),
            ("sort", self.sort()),
            ("window", window),
            ("queue", self.queue.clone()),
            ("broker", self.broker.clone()),
            ("all", self.all.then(|| "1".to_owned())),
        ];
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in own {
            let change = changes.iter().find(|(changed, _)| *changed == key);
            let value = change.map_or(value, |(_, value)| Some((*value).to_owned()));
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                query.append_pair(key, &value);
            }
        }
        let query = query.finish();
        if query.is_empty() {
            query
        } else {
            format!("?{query}")
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with(&[]))
    }
}

impl Filter {
    fn parse(text: Cow<'_, str>) -> Result<Self, QueryError> {
        if text.len() > FILTER_MAX {
            return Err(QueryError::Long);
        }
        let matches = match text.strip_prefix("re:") {
            Some(pattern) => {
                let regex = RegexBuilder::new(pattern)
                    .size_limit(REGEX_BYTES_MAX)
                    .dfa_size_limit(REGEX_BYTES_MAX)
                    .build();
                Matches::Regex(regex.map_err(|error| QueryError::Regex(error.to_string()))?)
            }
            None => Matches::Substring(text.to_lowercase()),
        };
        Ok(Self {
            text: text.into_owned(),
            matches,
        })
    }

    fn is_match(&self, name: &str) -> bool {
        match &self.matches {
            Matches::Substring(part) => name.to_lowercase().contains(part),
            Matches::Regex(regex) => regex.is_match(name),
        }
    }
}
