//! Builds the resulting configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::options::Given;
use super::variables::collect_references;
use crate::config::Shown;
use crate::escape::printable;

type Entries = Vec<(String, Shown)>;

/// The contents of the file.
#[derive(Debug)]
pub(super) struct Draft {
    exporter: &'static str,
    broker: Entries,
    tls: Entries,
    sentinel: Entries,
    metrics: Entries,
    rules: Vec<Shown>,
    listen: Option<String>,
    /// Paths of the page.
    paths: Vec<String>,
    healthy_paths: Vec<String>,
    ready_paths: Vec<String>,
    buckets: Entries,
    http_tls: Entries,
    notes: Vec<(String, String)>,
    unknown: Vec<(String, String)>,
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
            paths: Vec::new(),
            healthy_paths: Vec::new(),
            ready_paths: Vec::new(),
            buckets: Vec::new(),
            http_tls: Vec::new(),
            notes: Vec::new(),
            unknown: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Records an option that was not converted, with the reason.
    pub(super) fn note(&mut self, option: &str, why: impl Into<String>) {
        self.notes.push((option.to_owned(), why.into()));
    }

    /// Adds the options that were not converted.
    pub(super) fn notes_of(&mut self, given: &mut Given) {
        self.notes.append(&mut given.notes);
        self.unknown.append(&mut given.unknown);
    }

    pub(super) fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    /// Adds a key of the broker; `url` comes first.
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

    /// Adds a relabeling rule with these keys.
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

    /// Sets the address of the page, the same as the exporter's.
    pub(super) fn listen(&mut self, address: String) {
        self.listen = Some(address);
    }

    /// Serves the page at these paths.
    pub(super) fn pages(&mut self, paths: &[&str]) {
        self.paths = paths.iter().copied().map(str::to_owned).collect();
    }

    /// Answers at a path like the exporter does while it runs.
    pub(super) fn healthy_path(&mut self, path: &str) {
        self.healthy_paths.push(path.to_owned());
    }

    /// Answers at a path like the exporter does while its broker can be reached.
    pub(super) fn ready_path(&mut self, path: &str) {
        self.ready_paths.push(path.to_owned());
    }

    /// Sets the buckets of a histogram from numbers separated by commas.
    pub(super) fn buckets(&mut self, key: &str, (option, value): (&str, &str)) {
        let numbers = value.split(',').map(|number| number.trim().parse::<f64>());
        match numbers.collect::<Result<Vec<_>, _>>() {
            Ok(mut numbers) => {
                // The last bucket, which always exists.
                numbers.retain(|number| *number != f64::INFINITY);
                let numbers = numbers.into_iter().map(plain).collect();
                self.buckets.push((key.to_owned(), Shown::List(numbers)));
            }
            Err(_) => self.problem(format!(
                "{option}: expected numbers separated by commas, found `{value}`"
            )),
        }
    }

    /// Returns the file. `elsewhere` says where the values of variables are stored.
    pub(super) fn finish(
        mut self,
        elsewhere: &BTreeMap<String, String>,
    ) -> Result<GeneratedFile, Vec<String>> {
        let is_tls = !self.tls.is_empty();
        let (notes, unknown) = (
            std::mem::take(&mut self.notes),
            std::mem::take(&mut self.unknown),
        );
        let (exporter, mut problems) = (self.exporter, std::mem::take(&mut self.problems));
        let file = self.file();
        let (mut variables, mut texts) = (BTreeSet::new(), Vec::new());
        expanded_texts(&file, &mut texts);
        texts.retain(|text| !collect_references(text, &mut variables));
        if !texts.is_empty() {
            problems.push(
                "a value contains `${`, which marks a variable in a celeriac file; pass the \
                 value through an environment variable"
                    .to_owned(),
            );
        }
        if !problems.is_empty() {
            let unknown = unknown.iter();
            problems.extend(unknown.map(|(name, why)| format!("{name}: {why}")));
            return Err(problems);
        }
        let places = variables.iter().map(|name| {
            let place = elsewhere
                .get(name)
                .map_or("its value was not given", String::as_str);
            (name.clone(), place.to_owned())
        });
        let notes = [notes, unknown].concat();
        let head = head(exporter, &notes, &places.collect::<Vec<_>>());
        Ok(GeneratedFile {
            text: head + &file.to_string(),
            variables,
            is_tls,
        })
    }

    fn file(mut self) -> Shown {
        for (key, entries) in [("tls", self.tls), ("sentinel", self.sentinel)] {
            if !entries.is_empty() {
                self.broker.push(entry(key, Shown::Map(entries)));
            }
        }
        if !self.buckets.is_empty() {
            let buckets = Shown::Map(self.buckets);
            self.metrics.push(entry("exporter_buckets", buckets));
        }
        if !self.rules.is_empty() {
            let rules = Shown::List(self.rules);
            self.metrics.push(entry("relabel_configs", rules));
        }
        let mut http = Vec::new();
        http.extend(self.listen.map(|listen| entry("listen", text(&listen))));
        if !self.http_tls.is_empty() {
            http.push(entry("tls", Shown::Map(self.http_tls)));
        }
        for (key, paths) in [
            ("healthy_paths", self.healthy_paths),
            ("ready_paths", self.ready_paths),
        ] {
            if !paths.is_empty() {
                http.push(entry(key, texts(paths.iter().map(String::as_str))));
            }
        }
        let pages = self.paths.iter().map(|path| {
            let path = entry("path", text(path));
            Shown::Map(vec![path, entry("profile", text(self.exporter))])
        });
        http.push(entry("scrape", Shown::List(pages.collect())));
        let mut file = vec![entry("brokers", Shown::List(vec![Shown::Map(self.broker)]))];
        if !self.metrics.is_empty() {
            file.push(entry("metrics", Shown::Map(self.metrics)));
        }
        file.push(entry("http", Shown::Map(http)));
        Shown::Map(file)
    }
}

/// A file, and what is needed to check it.
#[derive(Debug)]
pub(super) struct GeneratedFile {
    pub(super) text: String,
    /// The variables that it needs.
    pub(super) variables: BTreeSet<String>,
    /// Whether it has TLS settings for the broker.
    pub(super) is_tls: bool,
}

fn entry(key: &str, value: Shown) -> (String, Shown) {
    (key.to_owned(), value)
}

fn head(exporter: &str, notes: &[(String, String)], variables: &[(String, String)]) -> String {
    let mut head = format!("# Generated by `celeriac migrate {exporter}`.\n");
    for (title, lines) in [
        ("Not carried over:", notes),
        ("Environment variables to set:", variables),
    ] {
        if !lines.is_empty() {
            writeln!(head, "#\n# {title}").expect("a string");
        }
        for (name, what) in lines {
            let line = format!("{name}: {what}");
            writeln!(head, "#   {}", printable(&line)).expect("a string");
        }
    }
    write!(
        head,
        "#\n# To push (with or without the page) and to keep counters across restarts:\n#\n\
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

/// Collects the texts in which variables are expanded, which excludes rules.
fn expanded_texts<'a>(value: &'a Shown, into: &mut Vec<&'a str>) {
    match value {
        Shown::Text(text) => into.push(text),
        Shown::List(items) => items.iter().for_each(|item| expanded_texts(item, into)),
        Shown::Map(entries) => {
            let entries = entries.iter().filter(|(key, _)| key != "relabel_configs");
            entries.for_each(|(_, value)| expanded_texts(value, into));
        }
        Shown::Null | Shown::Plain(_) | Shown::Secret => {}
    }
}
