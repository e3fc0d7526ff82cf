//! What rules make of a series before it is opened: another one, one that is there already, or none.
//!
//! Rules see the family's name as `__name__`, and of a histogram no `le`: it is one series here. Two series that
//! rules make the same are one: what is added to or observed in either adds up, what is set shows the value that was
//! set last, and it ends when both have ended. One that is dropped, or that would be no valid series, gets a handle
//! to a hidden slot, which takes everything and shows nothing.

use std::iter::Sum;

use super::{Lasting, Series, SeriesId, Slot};
use crate::bounds::Limit;
use crate::series::relabel::{NAME, Relabel, Relabelled};
use crate::series::{
    Buckets, Family, FamilyId, Histogram, Info, LabelSet, MetricKind, Room, Value,
};
use std::sync::Arc;

/// Families that rules may make. Families stay to the end, so a rule that makes names of tasks into names of metrics
/// has to have a bound. Beyond, series are invalid.
const FAMILIES_MAX: usize = 1_000;

/// The slots of dropped numbers and of dropped histograms, where there are rules.
const NUMBER: SeriesId = SeriesId(0);
const HISTOGRAM: SeriesId = SeriesId(1);

/// How many series rules kept from being, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub dropped: u64,
    /// Without a valid name of a metric, with a label that none may have, or of a name that another type has.
    pub invalid: u64,
}

/// Where a series goes.
pub(super) enum Place {
    Row(FamilyId, LabelSet),
    /// The slot that takes what nobody shows.
    Nowhere(SeriesId),
}

impl Series {
    /// With rules for every series; on an empty table.
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

    /// How many series the rules refused.
    pub const fn refused(&self) -> Refused {
        self.refused
    }

    /// How many of the slots at the front are no series.
    pub(super) fn hidden(&self) -> usize {
        if self.relabel.is_empty() { 0 } else { 2 }
    }

    pub(super) fn is_hidden(&self, id: SeriesId) -> bool {
        (id.0 as usize) < self.hidden()
    }

    /// Where the rules put a series of a family.
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
        // A histogram has its own `le` where it goes out.
        let clashes = hidden == HISTOGRAM && kept.iter().any(|(name, _)| name == "le");
        match self.family_like(family, &name) {
            Some(family) if !clashes => Place::Row(family, labels.relabelled(kept)),
            Some(_) | None => {
                self.refused.invalid += 1;
                Place::Nowhere(hidden)
            }
        }
    }

    /// The family of a name with the type and help of another one; `None` where that name is taken.
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
        self.lasting[made.index()] = Lasting {
            like: Some(original),
            ..self.lasting[original.index()]
        };
        Some(made)
    }
}

/// Whether a family has the name of a part of a histogram.
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
