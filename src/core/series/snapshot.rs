//! All series at one instant.

use std::sync::Arc;

use super::{Exemplar, Family, FamilyId, Histogram, LabelSet};
use crate::timestamp::Timestamp;

/// The properties of a series that do not change during its lifetime.
#[derive(Debug, PartialEq, Eq)]
pub struct Info {
    /// A unique number. It is not reused, even if the same series starts again after its end.
    pub serial: u64,
    pub family: FamilyId,
    pub labels: LabelSet,
    /// The time of the last snapshot before the series started. It began to count after that.
    pub after: Timestamp,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The value of a counter or gauge.
    Number(f64),
    Histogram(Histogram),
}

impl Value {
    /// The number of samples that the value produces.
    pub fn samples(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            // The bounds, +Inf, sum and count. A native histogram is one more sample.
            Self::Histogram(histogram) => {
                histogram.counts.len() + 2 + usize::from(histogram.native.is_some())
            }
        }
    }
}

/// A series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The slot of the series in the table: a small number that is reused after the series ends.
    pub slot: u32,
    pub info: Arc<Info>,
    pub value: Value,
    /// For a counter: a task that it counted. Histograms have exemplars per bucket.
    pub exemplar: Option<Arc<Exemplar>>,
}

/// The values between two snapshots, for people: sinks need snapshots, which have an order and a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Peek {
    pub families: Arc<[Family]>,
    pub rows: Vec<Row>,
}

/// An immutable view of all series at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Counts snapshots from 1, so a gap shows how many were missed.
    pub number: u64,
    /// At least two milliseconds later than the previous snapshot.
    pub at: Timestamp,
    pub families: Arc<[Family]>,
    /// Sorted by family, then by labels.
    pub rows: Vec<Row>,
    /// The time of the previous process' last snapshot, if its series were restored. Restored
    /// series that started before that time were part of that snapshot.
    pub restored_at: Option<Timestamp>,
    /// Whether some values are older than the timestamp, because their checkpoint could not be
    /// written.
    pub held: bool,
    /// The last snapshot: the daemon is stopping.
    pub last: bool,
}

impl Snapshot {
    /// The family of a row.
    pub fn family(&self, row: &Row) -> &Family {
        &self.families[row.info.family.index()]
    }

    /// Combines two snapshots: families for which `is_current` is true are taken from this one, all
    /// others from `before`.
    pub fn holding(self, before: &Self, is_current: impl Fn(&str) -> bool) -> Self {
        // Families are never removed, so the indexes are the same.
        let is_current: Vec<bool> = self
            .families
            .iter()
            .map(|family| is_current(&family.name))
            .collect();
        let is_current = |row: &Row| is_current[row.info.family.index()];
        let held = before.rows.iter().filter(|row| !is_current(row)).cloned();
        let mut rows: Vec<Row> = held.collect();
        rows.extend(self.rows.into_iter().filter(is_current));
        // Two sorted runs, which the sort merges efficiently.
        rows.sort_by(|a, b| {
            let order = |row: &Row| row.info.family;
            order(a)
                .cmp(&order(b))
                .then_with(|| a.info.labels.cmp(&b.info.labels))
        });
        Self {
            rows,
            held: true,
            ..self
        }
    }

    /// The value of the series with that family and exactly those labels.
    pub fn value(&self, family: &str, labels: &[(&str, &str)]) -> Option<&Value> {
        self.rows
            .iter()
            .find(|row| {
                *self.family(row).name == *family
                    && row.info.labels.iter().eq(labels.iter().copied())
            })
            .map(|row| &row.value)
    }

    /// The number of a counter or gauge. `None` if there is no such series.
    pub fn number_of(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        match self.value(family, labels)? {
            Value::Number(number) => Some(*number),
            Value::Histogram(_) => None,
        }
    }
}
