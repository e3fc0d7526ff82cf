//! A strict parser for pages in the text format 0.0.4, so that two pages can be compared.

use std::collections::BTreeMap;
use std::fmt;

/// Samples by name and labels, and the types of the families.
#[derive(Debug, Default)]
pub struct Exposition {
    pub types: BTreeMap<String, String>,
    pub samples: BTreeMap<Series, f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl Exposition {
    /// Parses a page, without series about the exporter's process and without the Python client's `_created` samples,
    /// which no profile has.
    pub fn parse(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some(("TYPE", rest)) = comment.trim_start().split_once(' ') {
                    let (name, kind) = rest.split_once(' ').expect("a name and a type");
                    if counts(name) {
                        page.types.insert(name.to_owned(), kind.to_owned());
                    }
                }
                continue;
            }
            let (series, value) = Series::parse(line);
            if counts(&series.name) {
                let value = value
                    .parse()
                    .unwrap_or_else(|_| panic!("no number: {line}"));
                let before = page.samples.insert(series, value);
                assert_eq!(before, None, "twice on one page: {line}");
            }
        }
        page
    }

    /// Returns the family name of a sample: the parts of a histogram have suffixes.
    pub fn family<'a>(&self, sample: &'a str) -> &'a str {
        let ends = ["_bucket", "_sum", "_count"];
        let base = ends.iter().find_map(|end| sample.strip_suffix(end));
        base.filter(|base| {
            self.types
                .get(*base)
                .is_some_and(|kind| kind == "histogram")
        })
        .unwrap_or(sample)
    }

    /// Changes the labels of all series. Series that become equal are added up.
    pub fn relabelled(&self, relabel: impl Fn(&Series) -> Series) -> Self {
        let mut page = Self {
            types: self.types.clone(),
            samples: BTreeMap::new(),
        };
        for (series, value) in &self.samples {
            *page.samples.entry(relabel(series)).or_default() += value;
        }
        page
    }
}

/// Whether a metric is about Celery, and not about the process or the client library.
fn counts(name: &str) -> bool {
    let about = ["python_", "process_", "celeriac_"];
    !about.iter().any(|prefix| name.starts_with(prefix)) && !name.ends_with("_created")
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, kind) in &self.types {
            writeln!(f, "# TYPE {name} {kind}")?;
        }
        for (series, value) in &self.samples {
            writeln!(f, "{series} {value}")?;
        }
        Ok(())
    }
}

impl Series {
    /// Parses the series at the start of a line, and returns the rest of the line.
    fn parse(line: &str) -> (Self, &str) {
        let end = line.find(['{', ' ']).expect("a value behind the name");
        let (name, mut rest) = line.split_at(end);
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, behind) = rest.split_once("=\"").expect("a label's value");
                let (value, behind) = quoted(behind);
                // Prometheus treats a label with an empty value as absent.
                if !value.is_empty() {
                    labels.insert(label.to_owned(), plain(label, value));
                }
                rest = behind.strip_prefix(',').unwrap_or(behind);
            }
            rest = &rest[1..];
        }
        let name = name.to_owned();
        (Self { name, labels }, rest.trim())
    }

    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels
            .iter()
            .all(|(name, value)| self.labels.get(*name).is_some_and(|other| other == value))
    }
}

/// Parses a label value up to its closing quote, and returns the rest.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next().expect("an escaped character").1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    panic!("no closing quote: {text}")
}

/// Normalizes bucket bounds, which are numbers, however they are written.
fn plain(label: &str, value: String) -> String {
    let number = value.parse::<f64>().ok().filter(|_| label == "le");
    number.map_or(value, |number| number.to_string())
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter();
        let labels: Vec<_> = labels
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        write!(f, "{}{{{}}}", self.name, labels.join(","))
    }
}
