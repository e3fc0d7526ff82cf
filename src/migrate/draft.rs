//! The file that comes out.

use std::fmt::Write;

use super::options::Given;
use crate::config::Shown;

type Entries = Vec<(String, Shown)>;

/// What will stand in it.
#[derive(Debug)]
pub(super) struct Draft {
    exporter: &'static str,
    broker: Entries,
    tls: Entries,
    sentinel: Entries,
    metrics: Entries,
    rules: Vec<Shown>,
    listen: Option<String>,
    path: String,
    http_tls: Entries,
    notes: Vec<(String, String)>,
    problems: Vec<String>,
}

impl Draft {
    pub(super) fn new(exporter: &'static str) -> Self {
        Self {
            exporter,
            broker: Vec::new(),
            tls: Vec::new(),
            sentinel: Vec::new(),
            metrics: Vec::new(),
            rules: Vec::new(),
            listen: None,
            path: "/metrics".to_owned(),
            http_tls: Vec::new(),
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Says what was not taken over, and why.
    pub(super) fn note(&mut self, option: &str, why: impl Into<String>) {
        self.notes.push((option.to_owned(), why.into()));
    }

    pub(super) fn notes_of(&mut self, given: &mut Given) {
        for (option, why) in given.notes.drain(..) {
            self.note(&option, why);
        }
    }

    pub(super) fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    /// A key of the broker; `url` is the first.
    pub(super) fn broker(&mut self, key: &str, value: Shown) {
        self.broker.push((key.to_owned(), value));
    }

    pub(super) fn tls(&mut self, key: &str, value: Shown) {
        self.tls.push((key.to_owned(), value));
    }

    pub(super) fn sentinel(&mut self, key: &str, value: &str) {
        self.sentinel.push((key.to_owned(), text(value)));
    }

    pub(super) fn metrics(&mut self, key: &str, value: Shown) {
        self.metrics.push((key.to_owned(), value));
    }

    pub(super) fn http_tls(&mut self, key: &str, value: &str) {
        self.http_tls.push((key.to_owned(), text(value)));
    }

    /// A rule over series, of these keys.
    pub(super) fn rule(&mut self, keys: &[(&str, &str)]) {
        let entries = keys.iter().map(|(key, value)| {
            let value = match *key {
                "source_labels" => texts([*value]),
                _ => text(value),
            };
            ((*key).to_owned(), value)
        });
        self.rules.push(Shown::Map(entries.collect()));
    }

    /// Where the page is, as the other one had it.
    pub(super) fn listen(&mut self, address: String) {
        self.listen = Some(address);
    }

    pub(super) fn path(&mut self, path: String) {
        self.path = path;
    }

    pub(super) fn finish(mut self) -> Result<String, Vec<String>> {
        for (key, entries) in [("tls", self.tls), ("sentinel", self.sentinel)] {
            if !entries.is_empty() {
                self.broker.push((key.to_owned(), Shown::Map(entries)));
            }
        }
        if !self.rules.is_empty() {
            let rules = Shown::List(self.rules);
            self.metrics.push(("relabel_configs".to_owned(), rules));
        }
        let entry = |key: &str, value: Shown| (key.to_owned(), value);
        let page = [
            entry("path", text(&self.path)),
            entry("profile", text(self.exporter)),
        ];
        let mut http = Vec::new();
        http.extend(self.listen.map(|listen| entry("listen", text(&listen))));
        if !self.http_tls.is_empty() {
            http.push(entry("tls", Shown::Map(self.http_tls)));
        }
        let pages = Shown::List(vec![Shown::Map(page.into())]);
        http.push(entry("scrape", pages));
        let mut file = vec![entry("brokers", Shown::List(vec![Shown::Map(self.broker)]))];
        if !self.metrics.is_empty() {
            file.push(entry("metrics", Shown::Map(self.metrics)));
        }
        file.push(entry("http", Shown::Map(http)));
        let file = Shown::Map(file);
        if has_variable(&file) {
            self.problems
                .push("a value holds `${`, which stands for a variable in our file".to_owned());
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        Ok(head(self.exporter, &self.notes) + &file.to_string())
    }
}

fn head(exporter: &str, notes: &[(String, String)]) -> String {
    let mut head = format!("# Made by `celeriac migrate {exporter}`.\n");
    if !notes.is_empty() {
        head.push_str("#\n# Not taken over:\n");
        for (option, why) in notes {
            writeln!(head, "#   {option}: {why}").expect("a string");
        }
    }
    write!(
        head,
        "#\n# To push, beside the page or in its place, and to keep counters over restarts:\n#\n\
         # data_dir: /var/lib/celeriac\n# remote_write:\n#   - url: http://localhost:9090/api/v1/write\n\
         #     profile: {exporter}\n"
    )
    .expect("a string");
    head
}

pub(super) fn text(value: &str) -> Shown {
    Shown::Text(value.to_owned())
}

pub(super) fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> Shown {
    Shown::List(values.into_iter().map(text).collect())
}

pub(super) fn plain(value: impl ToString) -> Shown {
    Shown::Plain(value.to_string())
}

/// Whether a text would be read as a variable of the environment; in rules it would not.
fn has_variable(value: &Shown) -> bool {
    match value {
        Shown::Text(text) => text.contains("${"),
        Shown::List(items) => items.iter().any(has_variable),
        Shown::Map(entries) => entries
            .iter()
            .any(|(key, value)| key != "relabel_configs" && has_variable(value)),
        Shown::Null | Shown::Plain(_) | Shown::Secret => false,
    }
}
