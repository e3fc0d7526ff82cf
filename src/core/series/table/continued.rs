//! Continues series across a restart.
//!
//! Restored series are *orphans*: they have a slot, labels, a value, a start time and reserved
//! room, and are part of each snapshot, but no caller has opened them. A caller that opens the same
//! family and labels adopts the orphan with its count. So restarting with another configuration
//! interrupts only the series that it changes: orphans that no caller opens end when they would
//! have ended without the restart.
//!
//! `capture` copies what outlives the process, and `restore` makes orphans of it. `open_restored`
//! opens a series only if it is an orphan. Sets are rebuilt from their members, so `open_zeroed` and
//! `zero_restored` set an orphan to 0. Families that are not restored at all
//! [reset](RestartPolicy::Reset).

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use super::{SeriesId, SeriesTable, Size, Slot};
use crate::saved;
use crate::series::captured::{CapturedFamily, CapturedRow, CapturedTable};
use crate::series::label::is_metric_name;
use crate::series::{
    Buckets, Exponential, Family, FamilyId, Histogram, Info, LabelSet, MetricKind, Room, Value,
};
use crate::timestamp::Timestamp;

/// A label that any series may have.
const BROKER: &str = "broker";

/// The longest time between two snapshots. No series changed later than that after the last one.
const INTERVAL_SECONDS_MAX: u32 = 3_600;

/// The suffix of gauges that are timestamps.
const TIME: &str = "_timestamp_seconds";

/// How the series of a family continue across a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Restored as orphans until they are opened.
    #[default]
    Keep,
    /// Restored only if they are already open. The others end, because the objects that they
    /// counted are gone.
    KeepIfOpen,
    /// Not restored: each process keeps its own values, or sets them with each snapshot.
    Reset,
}

/// Properties of a family that are not exposed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lasting {
    pub(super) restart_policy: RestartPolicy,
    /// The family from which a rule made it.
    pub(super) like: Option<FamilyId>,
}

/// How many series were restored, and how many were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub series: usize,
    /// Not restored because the family no longer exists, has another type, or cannot be read.
    pub unknown: usize,
    /// Not restored because the limit is lower than before.
    pub full: usize,
}

impl SeriesTable {
    /// Sets how a family's series continue across a restart.
    pub fn restart_policy(&mut self, family: FamilyId, restart_policy: RestartPolicy) {
        self.persistent[family.index()].restart_policy = restart_policy;
    }

    /// Copies everything that outlives the process. Takes about as long as a snapshot.
    pub fn capture(&self) -> CapturedTable {
        let families = self.families.iter().zip(&self.persistent);
        let families = families.map(|(family, persistent)| CapturedFamily {
            name: Arc::clone(&family.name),
            kind: (&family.kind).into(),
            like: persistent
                .like
                .map(|like| Arc::clone(&self.families[like.index()].name)),
        });
        // Allocated at full size, because moving it while it grows would take longer than filling
        // it.
        let mut rows = Vec::with_capacity(self.order.len());
        for slot in &self.order {
            let Some(slot) = &self.slots[*slot as usize] else {
                continue;
            };
            if self.persistent[slot.info.family.index()].restart_policy != RestartPolicy::Reset {
                rows.push(CapturedRow {
                    info: Arc::clone(&slot.info),
                    value: without_exemplars(&slot.value),
                    changed: slot.changed,
                    limited: slot.room == Room::Limited,
                });
            }
        }
        CapturedTable {
            families: families.collect(),
            rows,
        }
    }

    /// Restores captured series. `at` is the time of that process' last snapshot. The profiles must
    /// have set up the table, and no snapshot may have been made.
    pub fn restore(&mut self, saved: &saved::View, at: Timestamp) -> Restored {
        let mut restored = Restored::default();
        self.at = self.at.max(at);
        self.restored_at = Some(at);
        let changed_max = at.whole_seconds().saturating_add(INTERVAL_SECONDS_MAX);
        let texts = saved.texts.iter().map(|text| text.as_str().into());
        let texts: Vec<Arc<str>> = texts.collect();
        let bounds = saved.bounds.iter();
        let bounds = bounds.map(|bounds| Buckets::new(&bounds.upper).map(Arc::new));
        let bounds: Vec<Option<Arc<Buckets>>> = bounds.collect();
        let lengths = saved.families.iter().map(|family| family.series.len());
        self.make_place(lengths.sum());
        for family in &saved.families {
            let Some(id) = self.restored_family(family) else {
                restored.unknown += family.series.len();
                continue;
            };
            let labels = &self.families[id.index()].labels;
            let known: Vec<&'static str> = labels.iter().copied().chain([BROKER]).collect();
            for series in &family.series {
                let labels = labels_of(series, &texts, &known);
                let value = self.restored_value(id, series, &bounds, at);
                let (Some(labels), Some(value)) = (labels, value) else {
                    restored.unknown += 1;
                    continue;
                };
                let after = saved::time_ms(series.after_ms).min(at);
                if let Some(there) = self.find(id, &labels) {
                    self.restore_open(there, value, after);
                    restored.series += 1;
                    continue;
                }
                if self.persistent[id.index()].restart_policy != RestartPolicy::Keep {
                    continue;
                }
                let room = if series.limited {
                    Room::Limited
                } else {
                    Room::Reserved
                };
                if !self.limit.reserve(Size::of(&labels, &value), room) {
                    restored.full += 1;
                    continue;
                }
                self.serial += 1;
                let info = Arc::new(Info {
                    serial: self.serial,
                    family: id,
                    labels,
                    after,
                });
                self.insert_orphan(Slot {
                    info,
                    users: 0,
                    room,
                    changed: series.changed.min(changed_max),
                    value,
                    exemplar: None,
                });
                restored.series += 1;
            }
        }
        restored
    }

    /// Adds a series that no profile has opened yet.
    fn insert_orphan(&mut self, slot: Slot) {
        let SeriesId(slot) = self.insert(slot);
        self.orphans.push(slot);
    }

    /// Ends orphans that have not changed for `ttl`.
    pub fn expire_restored(&mut self, ttl: Duration, now: Timestamp) {
        for slot in std::mem::take(&mut self.orphans) {
            let Some(orphan) = self.orphan(slot) else {
                continue;
            };
            if now.since(Timestamp::from_whole_seconds(orphan.changed)) > ttl {
                self.end(SeriesId(slot));
            } else {
                self.orphans.push(slot);
            }
        }
    }

    /// Whether there may be orphans.
    pub const fn has_restored(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// Whether there is an orphan with that family and labels, whose room is already reserved.
    pub fn is_restored(&mut self, family: FamilyId, labels: LabelSet) -> bool {
        self.find_orphan(family, labels).is_some()
    }

    /// Opens a series if there is an orphan that can continue as it. Otherwise does nothing.
    pub fn open_restored(
        &mut self,
        family: FamilyId,
        labels: LabelSet,
        buckets: Option<&Arc<Buckets>>,
    ) -> Option<SeriesId> {
        let (id, labels) = self.find_orphan(family, labels)?;
        let value = self.new_value(family, buckets);
        let continues = is_alike(&self.slot(id).value, &value);
        if continues {
            self.adopt(id, labels, value, false);
        }
        continues.then_some(id)
    }

    /// Sets the orphans of a family that are sizes of sets to 0: members are added again one by
    /// one, and some may never return. `is_set` decides by the labels after relabeling.
    pub fn zero_restored(&mut self, family: FamilyId, is_set: impl Fn(&LabelSet) -> bool) {
        for at in 0..self.orphans.len() {
            let slot = self.orphans[at];
            let Some(orphan) = self.orphan(slot) else {
                continue;
            };
            let info = Arc::clone(&orphan.info);
            let like = self.persistent[info.family.index()].like;
            if (info.family == family || like == Some(family)) && is_set(&info.labels) {
                // Does not count as a change: the orphan ends when it would have ended anyway.
                self.slot(SeriesId(slot)).value = Value::Number(0.0);
            }
        }
    }

    /// Hands an orphan to the caller that opens it with the initial value `value`.
    pub(super) fn adopt(&mut self, id: SeriesId, labels: LabelSet, value: Value, zeroed: bool) {
        let now = self.now;
        let slot = self.slot(id);
        match (&mut slot.value, value) {
            (Value::Histogram(known), Value::Histogram(new)) => known.buckets = new.buckets,
            (known, new) if zeroed => *known = new,
            _ => {}
        }
        slot.users = 1;
        slot.changed = now;
        // Use the caller's strings, which it shares with its other series, so that those from the
        // checkpoint can be freed.
        slot.info = Arc::new(Info {
            labels,
            ..*slot.info
        });
    }

    /// Restores a series that is already open.
    fn restore_open(&mut self, id: SeriesId, value: Value, after: Timestamp) {
        let slot = self.slot(id);
        // An orphan already exists if the stored data contains the series twice.
        if slot.users > 0 && is_alike(&slot.value, &value) {
            slot.value = value;
            slot.info = Arc::new(Info {
                labels: slot.info.labels.clone(),
                after,
                ..*slot.info
            });
        }
    }

    /// Reserves space for this many series at once.
    fn make_place(&mut self, series: usize) {
        let Self {
            slots,
            index,
            hasher,
            order,
            ..
        } = self;
        slots.reserve(series);
        order.reserve(series);
        index.reserve(series, |&slot| {
            let info = &super::slot_of(slots, slot).info;
            hasher.hash_one((info.family, &info.labels))
        });
    }

    fn orphan(&self, slot: u32) -> Option<&Slot> {
        let slot = self.slots[slot as usize].as_ref();
        slot.filter(|slot| slot.users == 0)
    }

    /// The orphan with that family and labels, and its labels after relabeling.
    fn find_orphan(&mut self, family: FamilyId, labels: LabelSet) -> Option<(SeriesId, LabelSet)> {
        if !self.has_restored() {
            return None;
        }
        // This is only a query, so series that rules refuse are not counted.
        let refused = self.refused;
        let place = self.place(family, labels);
        self.refused = refused;
        let super::Place::Row(family, labels) = place else {
            return None;
        };
        let found = self.find(family, &labels)?;
        self.orphan(found.0).map(|_| (found, labels))
    }

    /// Finds the family with a name and type. A family made by a rule is created again.
    fn restored_family(&mut self, saved: &saved::Family) -> Option<FamilyId> {
        let kind = saved.kind();
        let named = |name: &str| {
            let is_it =
                |family: &Family| *family.name == *name && saved::Kind::from(&family.kind) == kind;
            let at = self.families.iter().position(is_it)?;
            u32::try_from(at).ok().map(FamilyId)
        };
        if let Some(known) = named(&saved.name) {
            return Some(known);
        }
        let like = named(&saved.like)?;
        let makes = !self.relabel.is_empty() && is_metric_name(&saved.name);
        makes.then(|| self.family_like(like, &saved.name)).flatten()
    }

    fn restored_value(
        &self,
        family: FamilyId,
        saved: &saved::Series,
        bounds: &[Option<Arc<Buckets>>],
        at: Timestamp,
    ) -> Option<Value> {
        let histogram = match (&self.families[family.index()].kind, &saved.histogram) {
            (MetricKind::Counter, None) => {
                return saved::counter(saved.number).map(Value::Number);
            }
            (MetricKind::Gauge, None) => {
                let number = if self.families[family.index()].name.ends_with(TIME) {
                    // The series may have changed after the newest snapshot.
                    let until = at.after(Duration::from_secs(INTERVAL_SECONDS_MAX.into()));
                    saved::past_seconds(saved.number, until)
                } else {
                    Some(saved.number).filter(|number| number.is_finite())
                };
                return number.map(Value::Number);
            }
            (MetricKind::Histogram(_), Some(histogram)) => histogram,
            (MetricKind::Counter | MetricKind::Gauge, Some(_))
            | (MetricKind::Histogram(_), None) => return None,
        };
        let buckets = bounds.get(usize::try_from(histogram.bounds).ok()?)?;
        let buckets = Arc::clone(buckets.as_ref()?);
        // The counts are summed when exposed, and keep growing.
        let mut counts = histogram.counts.iter();
        let count = counts.try_fold(0_u64, |sum, count| sum.checked_add(*count));
        let count = saved::count(count?)?;
        if histogram.counts.len() != buckets.bounds().len() + 1 {
            return None;
        }
        let native = match &histogram.native {
            Some(native) if self.native_histograms => Some(Exponential::from_saved(native)?.into()),
            Some(_) | None => None,
        };
        Some(Value::Histogram(Histogram {
            buckets,
            counts: histogram.counts.as_slice().into(),
            sum: saved::sum(histogram.sum, count)?,
            native,
            exemplars: Vec::new(),
        }))
    }
}

/// Whether a series with the value `known` can continue as one with the value `other`.
pub(super) fn is_alike(known: &Value, other: &Value) -> bool {
    match (known, other) {
        (Value::Number(_), Value::Number(_)) => true,
        (Value::Histogram(known), Value::Histogram(other)) => {
            known.buckets == other.buckets && known.native.is_some() == other.native.is_some()
        }
        (Value::Number(_), Value::Histogram(_)) | (Value::Histogram(_), Value::Number(_)) => false,
    }
}

/// Exemplars are not kept: they were already sent, and a task of another process explains little.
fn without_exemplars(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(*number),
        Value::Histogram(histogram) => Value::Histogram(Histogram {
            buckets: Arc::clone(&histogram.buckets),
            counts: histogram.counts.clone(),
            sum: histogram.sum,
            native: histogram.native.clone(),
            exemplars: Vec::new(),
        }),
    }
}

fn labels_of(
    saved: &saved::Series,
    texts: &[Arc<str>],
    known: &[&'static str],
) -> Option<LabelSet> {
    let (pairs, rest) = saved.labels.as_chunks::<2>();
    let text = |place: u32| texts.get(usize::try_from(place).ok()?).cloned();
    let pairs = pairs
        .iter()
        .map(|[name, value]| Some((text(*name)?, text(*value)?)));
    let pairs: Option<Vec<_>> = pairs.collect();
    LabelSet::restored(pairs.filter(|_| rest.is_empty())?, known)
}

#[cfg(test)]
mod tests;
