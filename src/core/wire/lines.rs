//! Writes rows as sample lines, shared by both text formats.

use std::fmt::Write;
use std::sync::Arc;

use super::value::{le, write_value};
use crate::series::{Buckets, Exemplar, Histogram, Row, Snapshot, Value};
use crate::timestamp::Timestamp;

/// Maximum length of an exemplar's label set in code points (OpenMetrics, "Exemplars").
const EXEMPLAR_LENGTH_MAX: usize = 128;

/// Label of an exemplar: the task's UUID.
pub(super) const TASK_ID: &str = "task_id";

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) out: String,
    /// The labels of the current row, as written between the braces.
    labels: String,
    /// The bounds whose `le` labels are cached: most histograms of a family share them.
    buckets: Option<Arc<Buckets>>,
    le: Vec<String>,
}

/// Whether samples of a family may carry exemplars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exemplars {
    Shown,
    Hidden,
}

/// Returns the rows of each family, in order.
pub(super) fn by_family(snapshot: &Snapshot) -> impl Iterator<Item = &[Row]> {
    snapshot
        .rows
        .chunk_by(|a, b| a.info.family == b.info.family)
}

/// Returns whether an exemplar is short enough to be exported.
pub(super) fn fits(exemplar: &Exemplar) -> bool {
    TASK_ID.len() + exemplar.task_id.chars().count() <= EXEMPLAR_LENGTH_MAX
}

impl Lines {
    /// Returns an empty page with capacity for about `rows` rows.
    pub(super) fn with_room(rows: usize) -> Self {
        Self {
            out: String::with_capacity(rows * 96),
            ..Self::default()
        }
    }

    /// Writes the samples of a series named `name`.
    pub(super) fn row(&mut self, name: &str, row: &Row, exemplars: Exemplars) {
        self.labels.clear();
        for (label, value) in row.info.labels.iter() {
            if !self.labels.is_empty() {
                self.labels.push(',');
            }
            self.labels.push_str(label);
            self.labels.push_str("=\"");
            escape(&mut self.labels, value, Quotes::Escaped);
            self.labels.push('"');
        }
        match &row.value {
            Value::Number(number) => {
                self.sample(name, "", *number);
                self.end(row.exemplar.as_deref(), exemplars);
            }
            Value::Histogram(histogram) => self.histogram(name, histogram, exemplars),
        }
    }

    /// Writes the creation time of the previous row's series as an additional sample.
    pub(super) fn created(&mut self, name: &str, at: Timestamp) {
        self.name(name, "_created", None);
        write_seconds(&mut self.out, at);
        self.out.push('\n');
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram, exemplars: Exemplars) {
        let known = self.buckets.as_ref();
        if !known.is_some_and(|known| Arc::ptr_eq(known, &histogram.buckets)) {
            let bounds = histogram.buckets.bounds().iter().copied();
            self.le.clear();
            self.le.extend(bounds.chain([f64::INFINITY]).map(le));
            self.buckets = Some(Arc::clone(&histogram.buckets));
        }
        let mut count = 0.0;
        let mut shown = histogram.exemplars.iter().peekable();
        for (bucket, below) in histogram.cumulative().enumerate() {
            self.name(name, "_bucket", Some(bucket));
            write_value(&mut self.out, below);
            let exemplar = shown.next_if(|(of, _)| *of == bucket);
            self.end(exemplar.map(|(_, exemplar)| &**exemplar), exemplars);
            count = below;
        }
        self.sample(name, "_sum", histogram.sum);
        self.out.push('\n');
        self.sample(name, "_count", count);
        self.out.push('\n');
    }

    fn sample(&mut self, name: &str, suffix: &str, value: f64) {
        self.name(name, suffix, None);
        write_value(&mut self.out, value);
    }

    /// Writes the name and labels, and the space before the value.
    fn name(&mut self, name: &str, suffix: &str, bucket: Option<usize>) {
        self.out.push_str(name);
        self.out.push_str(suffix);
        let le = bucket.and_then(|bucket| self.le.get(bucket));
        if le.is_some() || !self.labels.is_empty() {
            self.out.push('{');
            self.out.push_str(&self.labels);
            if let Some(le) = le {
                let separator = if self.labels.is_empty() { "" } else { "," };
                for part in [separator, "le=\"", le, "\""] {
                    self.out.push_str(part);
                }
            }
            self.out.push('}');
        }
        self.out.push(' ');
    }

    /// Ends a line, with the exemplar if there is one.
    fn end(&mut self, exemplar: Option<&Exemplar>, exemplars: Exemplars) {
        if let Some(exemplar) = exemplar
            && exemplars == Exemplars::Shown
            && fits(exemplar)
        {
            self.out.push_str(" # {");
            self.out.push_str(TASK_ID);
            self.out.push_str("=\"");
            escape(&mut self.out, &exemplar.task_id, Quotes::Escaped);
            self.out.push_str("\"} ");
            write_value(&mut self.out, exemplar.value);
            self.out.push(' ');
            write_seconds(&mut self.out, exemplar.at);
        }
        self.out.push('\n');
    }
}

/// Handling of quotation marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quotes {
    Escaped,
    /// For help texts in the text format 0.0.4.
    Kept,
}

/// Appends a string, escaped.
pub(super) fn escape(out: &mut String, text: &str, quotes: Quotes) {
    let mut rest = text;
    while let Some(at) = memchr::memchr3(b'\\', b'\n', b'"', rest.as_bytes()) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        out.push_str(match (found.as_bytes()[0], quotes) {
            (b'\\', _) => "\\\\",
            (b'\n', _) => "\\n",
            (_, Quotes::Escaped) => "\\\"",
            (_, Quotes::Kept) => "\"",
        });
        rest = &found[1..];
    }
    out.push_str(rest);
}

/// Writes a time in seconds with millisecond precision, which is what Prometheus stores.
fn write_seconds(out: &mut String, at: Timestamp) {
    let millis = at.millis();
    let (seconds, rest) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    // Writing to a string cannot fail.
    let _ = write!(out, "{seconds}.{rest:03}");
}
