//! The labels of series as sent: relabeled, interned, and owned by one series at a time.

use std::borrow::Cow;

use super::{Encoder, SentSeries, Unsent};
use crate::escape::safe_value;
use crate::series::{Family, Relabelled, Row, Snapshot, Value};
use crate::wire::v2::Meta;
use crate::wire::value::le;

/// The labels of every time series that a row becomes on the wire (several for a histogram), as
/// symbol references: name, value, name, value …, concatenated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Labels {
    pub(super) ids: Box<[u32]>,
    /// Where the labels of each time series end. A time series that is not sent has none.
    pub(super) ends: Box<[u32]>,
    /// Number of time series not sent, by reason.
    pub(super) unsent: [u16; 3],
}

impl Encoder {
    pub(super) fn sends_native(&self, row: &Row) -> bool {
        let native = match &row.value {
            Value::Histogram(histogram) => histogram.native.is_some(),
            Value::Number(_) => false,
        };
        native && self.how.native
    }

    pub(super) fn meta(&mut self, snapshot: &Snapshot, row: &Row) -> Meta {
        let at = row.info.family.index();
        if self.metas.len() <= at {
            self.metas.resize(at + 1, None);
        }
        *self.metas[at].get_or_insert_with(|| Meta::of(snapshot.family(row), &mut self.symbols))
    }

    /// Returns the labels of each time series of a row, in the order of its values.
    pub(super) fn labels(&mut self, family: &Family, row: &Row) -> Labels {
        let mut labels = Labels {
            ids: Box::default(),
            ends: Box::default(),
            unsent: [0; 3],
        };
        let (mut ids, mut ends) = (Vec::new(), Vec::new());
        for (suffix, le) in parts(row, self.sends_native(row), self.how.classic) {
            let name = format!("{}{suffix}", family.name);
            match self.label_set(row, &name, le.as_deref()) {
                Relabelled::Dropped => labels.unsent[Unsent::Dropped as usize] += 1,
                Relabelled::Invalid => labels.unsent[Unsent::Invalid as usize] += 1,
                Relabelled::Kept(set) => {
                    let from = ids.len();
                    for (name, value) in &set {
                        ids.extend([self.symbols.intern(name), self.symbols.intern(value)]);
                    }
                    if !self.own(&ids[from..], row.info.serial) {
                        labels.unsent[Unsent::Collided as usize] += 1;
                        ids.drain(from..).for_each(|id| self.symbols.release(id));
                    }
                }
            }
            ends.push(u32::try_from(ids.len()).expect("labels are bounded"));
        }
        labels.ids = ids.into();
        labels.ends = ends.into();
        labels
    }

    /// Returns the labels of one time series. PRW 1.0 and 2.0, "Labels": sorted by name in byte
    /// order, no duplicate names, no empty values.
    pub(super) fn label_set(&self, row: &Row, name: &str, le: Option<&str>) -> Relabelled {
        let own = row.info.labels.iter();
        let own = own.chain(le.map(|le| ("le", le)));
        let own = own.chain([("__name__", name)]);
        let mut labels: Vec<(String, String)> = own
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in &self.how.external {
            if !labels.iter().any(|(own, _)| own == name) {
                labels.push((name.clone(), value.clone()));
            }
        }
        labels.sort_unstable();
        let mut labels = if self.how.relabel.is_empty() {
            Relabelled::Kept(labels)
        } else {
            self.how.relabel.apply(labels)
        };
        if let Relabelled::Kept(labels) = &mut labels {
            // External labels and rules come from the configuration, which can contain any
            // character too.
            for (_, value) in labels {
                if let Cow::Owned(escaped) = safe_value(value) {
                    *value = escaped;
                }
            }
        }
        labels
    }

    /// Claims labels for a series. Returns whether it may use them. Without relabeling, no two
    /// series have the same labels.
    pub(super) fn own(&mut self, labels: &[u32], serial: u64) -> bool {
        if self.how.relabel.is_empty() {
            return true;
        }
        let owner = self.owners.entry(labels.into()).or_insert(serial);
        if !self.alive.contains(owner) {
            *owner = serial;
        }
        *owner == serial
    }

    pub(super) fn forget(&mut self, known: &SentSeries) {
        for part in 0..known.labels.ends.len() {
            let labels = known.labels.of(part);
            if self.owners.get(labels) == Some(&known.serial) {
                self.owners.remove(labels);
                self.is_freed = true;
            }
        }
        known
            .labels
            .ids
            .iter()
            .for_each(|&id| self.symbols.release(id));
    }
}

impl Labels {
    /// Returns the labels of each time series that is sent.
    pub(super) fn all(&self) -> impl Iterator<Item = Box<[u32]>> {
        let parts = (0..self.ends.len()).map(|part| self.of(part));
        parts.filter(|labels| !labels.is_empty()).map(Into::into)
    }

    pub(super) fn of(&self, part: usize) -> &[u32] {
        let from = if part == 0 { 0 } else { self.ends[part - 1] };
        &self.ids[from as usize..self.ends[part] as usize]
    }
}

/// For each time series of a row: its suffix to the family's name, and its `le` label.
pub(super) fn parts(row: &Row, native: bool, classic: bool) -> Vec<(&'static str, Option<String>)> {
    let Value::Histogram(histogram) = &row.value else {
        return vec![("", None)];
    };
    let mut parts = Vec::new();
    if classic || !native {
        let bounds = histogram.buckets.bounds().iter().copied();
        let bounds = bounds.chain([f64::INFINITY]);
        parts.extend(bounds.map(|bound| ("_bucket", Some(le(bound)))));
        parts.extend([("_sum", None), ("_count", None)]);
    }
    if native {
        parts.push(("", None));
    }
    parts
}
