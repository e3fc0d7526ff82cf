//! Which page a request asks for, and the addresses of the others.

use super::text::{decoded, encoded};
use crate::status::query::{Query, Window};

/// The path of the overview.
pub(super) const HOME: &str = "/";

/// The path of the overview besides, in case that one is a probe or a page to scrape.
pub(super) const HOME_ELSEWHERE: &str = "/status";

/// A table of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Table {
    Queues,
    Tasks,
    Workers,
    Periodic,
    Workflows,
    Brokers,
    Receivers,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum View {
    Overview,
    Table(Table),
    Queue(String),
    Task(String),
    Worker(String),
}

impl Table {
    /// All tables, in the order of the overview.
    pub(super) const ALL: [Self; 7] = [
        Self::Queues,
        Self::Tasks,
        Self::Workers,
        Self::Periodic,
        Self::Workflows,
        Self::Brokers,
        Self::Receivers,
    ];

    /// Its path without the slash, and the `id` of its section.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Tasks => "tasks",
            Self::Workers => "workers",
            Self::Periodic => "periodic",
            Self::Workflows => "workflows",
            Self::Brokers => "brokers",
            Self::Receivers => "receivers",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Queues => "Queues",
            Self::Tasks => "Tasks",
            Self::Workers => "Workers",
            Self::Periodic => "Periodic tasks",
            Self::Workflows => "Workflows",
            Self::Brokers => "Brokers",
            Self::Receivers => "Receivers",
        }
    }

    /// What one row is.
    pub(super) const fn row(self) -> &'static str {
        match self {
            Self::Queues => "queue",
            Self::Tasks => "task",
            Self::Workers => "worker",
            Self::Periodic => "periodic task",
            Self::Workflows => "workflow",
            Self::Brokers => "broker",
            Self::Receivers => "receiver",
        }
    }
}

impl View {
    /// The routes of all pages.
    pub(super) fn routes() -> Vec<String> {
        let tables = Table::ALL.map(|table| format!("/{}", table.name()));
        let details = ["queue", "task", "worker"].map(|kind| format!("/{kind}/{{*name}}"));
        let mut routes = vec![HOME.to_owned(), HOME_ELSEWHERE.to_owned()];
        routes.extend(tables);
        routes.extend(details);
        routes
    }

    /// Parses the path of a page. Names may contain slashes, escaped or not.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        if path.is_empty() || path == "status" {
            return Some(Self::Overview);
        }
        let mut tables = Table::ALL.into_iter();
        if let Some(table) = tables.find(|table| table.name() == path) {
            return Some(Self::Table(table));
        }
        let (kind, name) = path.split_once('/')?;
        let name = decoded(name);
        match kind {
            "queue" => Some(Self::Queue(name)),
            "task" => Some(Self::Task(name)),
            "worker" => Some(Self::Worker(name)),
            _ => None,
        }
    }

    /// Its path, which [`View::parse`] reads.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Overview => HOME.to_owned(),
            Self::Table(table) => format!("/{}", table.name()),
            Self::Queue(name) => detail("queue", name),
            Self::Task(name) => detail("task", name),
            Self::Worker(name) => detail("worker", name),
        }
    }
}

/// The path of a page about one thing.
pub(super) fn detail(kind: &str, name: &str) -> String {
    // Browsers remove these two from a path, even if they are escaped.
    if name == "." || name == ".." {
        return format!("/{kind}s?q={name}");
    }
    format!("/{kind}/{}", encoded(name))
}

/// Where a page is served, and what its links keep.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// The path below which everything is served; without a slash at its end.
    pub(super) prefix: String,
    /// The path of the overview.
    pub(super) home: &'static str,
    pub(super) view: View,
    pub(super) query: Query,
    pub(super) runbook_url: Option<String>,
}

impl Links {
    /// This page.
    pub(super) fn path(&self) -> String {
        format!("{}{}", self.prefix, self.path_of(&self.view))
    }

    /// This page with other parameters.
    pub(super) fn with(&self, changes: &[(&str, &str)]) -> String {
        self.path() + &self.query.with(changes)
    }

    /// Another page with the same filter and window.
    pub(super) fn page(&self, view: &View) -> String {
        let query = self.query.with(&[("sort", ""), ("all", "")]);
        format!("{}{}{query}", self.prefix, self.path_of(view))
    }

    fn path_of(&self, view: &View) -> String {
        if *view == View::Overview {
            self.home.to_owned()
        } else {
            view.path()
        }
    }

    /// The page about one thing.
    pub(super) fn detail(&self, kind: &str, name: &str, broker: Option<&str>) -> String {
        let mut href = format!("{}{}", self.prefix, detail(kind, name));
        let window = (self.query.window != Window::default()).then(|| self.query.window.name());
        let broker = broker.map(|broker| ("broker", encoded(broker)));
        let window = window.map(|window| ("window", window.to_owned()));
        for (key, value) in broker.into_iter().chain(window) {
            let sign = if href.contains('?') { '&' } else { '?' };
            href.push(sign);
            href.push_str(key);
            href.push('=');
            href.push_str(&value);
        }
        href
    }

    /// The page of a runbook; `None` if it is not known where runbooks are served.
    pub(super) fn runbook(&self, path: &str) -> Option<String> {
        let base = self.runbook_url.as_deref()?.trim_end_matches('/');
        let file = path.rsplit('/').next().unwrap_or(path);
        Some(format!("{base}/{}", encoded(file)))
    }
}
