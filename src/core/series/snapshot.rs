//! All series at one instant.

use std::sync::Arc;

use super::{Exemplar, Family, FamilyId, Histogram, LabelSet};
use crate::timestamp::Timestamp;

/// What a series is, for as long as it lives.
#[derive(Debug, PartialEq, Eq)]
pub struct Info {
    /// Never used for another series, nor for this one when it comes back after its end.
    pub serial: u64,
    pub family: FamilyId,
    pub labels: LabelSet,
    /// The snapshot before the first one that holds this series: it began to count behind that.
    pub after: Timestamp,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    Histogram(Histogram),
}

impl Value {
    /// How many samples it makes.
    pub fn samples(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            // The bounds, +Inf, sum and count; the native form is one.
            Self::Histogram(histogram) => {
                histogram.counts.len() + 2 + usize::from(histogram.native.is_some())
            }
        }
    }
}

/// A series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where the series stands in the table: small, and used again when the series has ended.
    pub slot: u32,
    pub info: Arc<Info>,
    pub value: Value,
    /// Of a counter: a task that it counted. Histograms have theirs by bucket.
    pub exemplar: Option<Arc<Exemplar>>,
}

/// An immutable view of all series at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Counts up by one with each snapshot, from 1: who sees a gap knows how many it missed.
    pub number: u64,
    /// Later than the one of the snapshot before, by two milliseconds at least.
    pub at: Timestamp,
    pub families: Arc<[Family]>,
    /// By family, then by labels.
    pub rows: Vec<Row>,
    /// The newest snapshot of the process before, where its series were restored: those of them that began before it
    /// went out with it.
    pub restored_at: Option<Timestamp>,
    /// Some values are older than the time: they stand still until they may go on.
    pub held: bool,
    /// No other snapshot follows: the daemon stops.
    pub last: bool,
}

impl Snapshot {
    /// The family of a row.
    pub fn family(&self, row: &Row) -> &Family {
        &self.families[row.info.family.index()]
    }

    /// The same, but only families that go on have the values of this one; the others are as they were `before`.
    pub fn holding(self, before: &Self, goes_on: impl Fn(&str) -> bool) -> Self {
        // Families are never taken away, so their places are the same.
        let goes_on: Vec<bool> = self
            .families
            .iter()
            .map(|family| goes_on(&family.name))
            .collect();
        let goes_on = |row: &Row| goes_on[row.info.family.index()];
        let held = before.rows.iter().filter(|row| !goes_on(row)).cloned();
        let mut rows: Vec<Row> = held.collect();
        rows.extend(self.rows.into_iter().filter(goes_on));
        // Two runs in order already, which the sort knows how to merge.
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

    /// The value of the series of that family with exactly those labels.
    pub fn value(&self, family: &str, labels: &[(&str, &str)]) -> Option<&Value> {
        self.rows
            .iter()
            .find(|row| {
                *self.family(row).name == *family
                    && row.info.labels.iter().eq(labels.iter().copied())
            })
            .map(|row| &row.value)
    }

    /// The number that a counter or gauge has; `None` where there is no such series.
    pub fn number_of(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        match self.value(family, labels)? {
            Value::Number(number) => Some(*number),
            Value::Histogram(_) => None,
        }
    }
}
