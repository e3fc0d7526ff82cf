//! Applies relabeling rules to a series before it is opened: the result is another series, an
//! existing one, or none.
//!
//! Rules see the family's name as `__name__`, and no `le` on histograms, because a histogram is one
//! series here. Series that rules make identical are merged: additions and observations add up, a
//! set value replaces the previous one, and the series ends when all of them have ended. A series
//! that is dropped or would be invalid gets a handle to a hidden slot, which accepts every update
//! and is never exposed.

use std::iter::Sum;

use super::{Lasting, SeriesId, SeriesTable, Slot};
use crate::bounds::Limit;
use crate::series::relabel::{NAME, Relabel, Relabelled};
use crate::series::{
    Buckets, Family, FamilyId, Histogram, Info, LabelSet, MetricKind, Room, Value,
};
use std::sync::Arc;

/// Maximum number of families that rules may create. Families are never removed, so a rule that
/// turns task names into metric names needs a bound. Beyond it, series are invalid.
const FAMILIES_MAX: usize = 1_000;

/// The slots of dropped numbers and of dropped histograms, which exist if there are rules.
const NUMBER: SeriesId = SeriesId(0);
const HISTOGRAM: SeriesId = SeriesId(1);

/// How many series the rules have prevented since startup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub dropped: u64,
    /// The metric name is invalid, a label is not allowed, or the name belongs to a family of
    /// another type.
    pub invalid: u64,
}

/// The destination of a series.
pub(super) enum Place {
    Row(FamilyId, LabelSet),
    /// The hidden slot that accepts updates and is not exposed.
    Nowhere(SeriesId),
}

impl SeriesTable {
    /// Applies rules to every series. The table must be empty.
    pub fn with_relabel(mut self, relabel: Relabel) -> Self {
        debug_assert!(self.slots.is_empty(), "rules come before series");
        if relabel.is_empty() {
            return self;
        }
        let bounds = Buckets::new(&[1.0]).expect("one bound is in order");
        let values = [
            Value::Number(0.0),
            Value::Histogram(Histogram::new(Arc::new(bounds))),
        ];
        let hidden = values.map(|value| {
            Some(Slot {
                info: Arc::new(Info {
                    serial: 0,
                    family: FamilyId(0),
                    labels: LabelSet::default(),
                    after: self.at,
                }),
                users: 1,
                room: Room::Reserved,
                changed: 0,
                value,
                exemplar: None,
            })
        });
        self.slots.extend(hidden);
        Self { relabel, ..self }
    }

    /// How many series the rules have refused.
    pub const fn refused(&self) -> Refused {
        self.refused
    }

    /// Number of hidden slots at the front, which are not series.
    pub(super) fn hidden(&self) -> usize {
        if self.relabel.is_empty() { 0 } else { 2 }
    }

    pub(super) fn is_hidden(&self, id: SeriesId) -> bool {
        (id.0 as usize) < self.hidden()
    }

    /// Determines where the rules put a series of a family.
    pub(super) fn place(&mut self, family: FamilyId, labels: LabelSet) -> Place {
        if self.relabel.is_empty() {
            return Place::Row(family, labels);
        }
        let own = &self.families[family.index()];
        let hidden = match own.kind {
            MetricKind::Counter | MetricKind::Gauge => NUMBER,
            MetricKind::Histogram(_) => HISTOGRAM,
        };
        let mut given: Vec<(String, String)> = labels
            .iter()
            .chain([(NAME, own.name.as_ref())])
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        given.sort_unstable();
        let mut kept = match self.relabel.apply(given) {
            Relabelled::Kept(kept) => kept,
            Relabelled::Dropped => {
                self.refused.dropped += 1;
                return Place::Nowhere(hidden);
            }
            Relabelled::Invalid => {
                self.refused.invalid += 1;
                return Place::Nowhere(hidden);
            }
        };
        let name = kept.iter().position(|(name, _)| name == NAME);
        let name = name.map(|at| kept.remove(at).1).unwrap_or_default();
        // A histogram gets its own `le` when it is exposed.
        let clashes = hidden == HISTOGRAM && kept.iter().any(|(name, _)| name == "le");
        match self.family_like(family, &name) {
            Some(family) if !clashes => Place::Row(family, labels.relabelled(kept)),
            Some(_) | None => {
                self.refused.invalid += 1;
                Place::Nowhere(hidden)
            }
        }
    }

    /// Finds or creates a family with this name and the type and help of `original`. Returns `None`
    /// if the name belongs to a different family.
    pub(super) fn family_like(&mut self, original: FamilyId, name: &str) -> Option<FamilyId> {
        let like = &self.families[original.index()];
        let known = self.families.iter().position(|known| *known.name == *name);
        if let Some(known) = known {
            let is_like = self.families[known].is_like(like);
            return is_like.then(|| FamilyId(u32::try_from(known).expect("families are bounded")));
        }
        let family = Family {
            name: name.into(),
            ..like.clone()
        };
        let clashes = |known: &Family| is_part(known, &family) || is_part(&family, known);
        if self.made >= FAMILIES_MAX {
            self.reached(Limit::RelabelledFamilies);
            return None;
        }
        if self.families.iter().any(clashes) {
            return None;
        }
        self.made += 1;
        let made = self.family(family);
        self.persistent[made.index()] = Lasting {
            like: Some(original),
            ..self.persistent[original.index()]
        };
        Some(made)
    }
}

/// Whether a family has the same name as a component of a histogram.
fn is_part(family: &Family, histogram: &Family) -> bool {
    let suffix = family.name.strip_prefix(&*histogram.name);
    matches!(histogram.kind, MetricKind::Histogram(_))
        && suffix.is_some_and(|suffix| ["_bucket", "_sum", "_count"].contains(&suffix))
}

impl Sum for Refused {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            dropped: sum.dropped + one.dropped,
            invalid: sum.invalid + one.invalid,
        })
    }
}

#[cfg(test)]
mod tests;
