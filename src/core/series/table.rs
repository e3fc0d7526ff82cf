//! The table of series, with methods to open, update and close series and to make snapshots.

mod continued;
mod relabelled;

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::limit::{Limit, Size};
use super::relabel::Relabel;
use super::{
    Buckets, Exemplar, Exponential, Family, FamilyId, Histogram, Info, LabelSet, MetricKind,
    Origin, Peek, Room, Row, Snapshot, Value,
};
use crate::bounds::{self, Bounds};
use crate::timestamp::Timestamp;
use continued::{Lasting, is_alike};
pub use continued::{RestartPolicy, Restored};
use relabelled::Place;
pub use relabelled::Refused;

/// A handle to an open series. Valid until its holder closes the series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesId(u32);

/// All series, and their values.
#[derive(Debug)]
pub struct SeriesTable {
    families: Vec<Family>,
    /// The families as shared with snapshots. Rebuilt when a family is added.
    shared: Arc<[Family]>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Slots closed since the last snapshot. They become free once the next one has removed them
    /// from `order`.
    closed: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The used slots, sorted by family and labels unless `unsorted`.
    order: Vec<u32>,
    unsorted: bool,
    limit: Limit,
    relabel: Relabel,
    refused: Refused,
    /// The number of families made by rules.
    made: usize,
    /// How each family continues across a restart.
    persistent: Vec<Lasting>,
    /// Slots of restored series. Those that have since been opened or ended are still listed.
    orphans: Vec<u32>,
    /// The time of the previous process' last snapshot, if its series were restored.
    restored_at: Option<Timestamp>,
    /// The time last set, in whole seconds.
    now: u32,
    /// Whether new histograms also have a native form.
    native_histograms: bool,
    serial: u64,
    /// The number of the newest snapshot.
    number: u64,
    /// The time of the newest snapshot, or when the table was created.
    at: Timestamp,
}

#[derive(Debug)]
struct Slot {
    info: Arc<Info>,
    /// How often the series was opened without being closed. Two keys may lead to the same labels,
    /// such as a task named `unknown` and one whose name is not known. An orphan (a series that was
    /// restored but not opened yet) has no users.
    users: u32,
    room: Room,
    /// When the value last changed, in seconds since the epoch. As exact as the calls that set the
    /// time.
    changed: u32,
    value: Value,
    /// The exemplar of a counter.
    exemplar: Option<Arc<Exemplar>>,
}

impl Slot {
    fn row(&self, slot: u32) -> Row {
        Row {
            slot,
            info: Arc::clone(&self.info),
            value: self.value.clone(),
            exemplar: self.exemplar.clone(),
        }
    }
}

impl SeriesTable {
    /// An empty table that may grow to `samples_max` samples.
    pub fn new(samples_max: usize, now: Timestamp) -> Self {
        Self {
            families: Vec::new(),
            shared: Arc::default(),
            slots: Vec::new(),
            free: Vec::new(),
            closed: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            order: Vec::new(),
            unsorted: false,
            limit: Limit::new(samples_max),
            relabel: Relabel::default(),
            refused: Refused::default(),
            made: 0,
            persistent: Vec::new(),
            orphans: Vec::new(),
            restored_at: None,
            now: now.whole_seconds(),
            native_histograms: false,
            serial: 0,
            number: 0,
            at: now,
        }
    }

    /// Sets whether histograms opened from now on also have a native form.
    #[must_use]
    pub const fn with_native_histograms(mut self, on: bool) -> Self {
        self.native_histograms = on;
        self
    }

    /// Applies a memory budget.
    #[must_use]
    pub fn within(mut self, bounds: Bounds) -> Self {
        self.limit.within(bounds);
        self
    }

    /// Counts that a limit on exposition was reached.
    pub fn reached(&self, limit: bounds::Limit) {
        self.limit.reached(limit);
    }

    /// Sets the current time for later changes. Each snapshot sets it as well.
    pub fn now(&mut self, now: Timestamp) {
        self.now = now.whole_seconds();
    }

    /// Adds a family, or finds the existing one with that name and type.
    pub fn family(&mut self, family: Family) -> FamilyId {
        let same = |known: &Family| known.name == family.name && known.is_like(&family);
        let known = self.families.iter().position(same);
        let index = known.unwrap_or_else(|| {
            self.families.push(family);
            self.persistent.push(Lasting::default());
            self.families.len() - 1
        });
        FamilyId(u32::try_from(index).expect("families are some dozens"))
    }

    /// Finds or creates a series. Each call must be matched by one to [`close`](Self::close). A new
    /// series has the value 0. Relabeling rules determine the resulting series. `None` if the
    /// limit leaves no room.
    pub fn open(&mut self, family: FamilyId, labels: LabelSet, room: Room) -> Option<SeriesId> {
        self.open_with(family, labels, room, None)
    }

    /// Like [`open`](Self::open), but a new histogram uses `buckets` instead of the family's
    /// default.
    pub fn open_with(
        &mut self,
        family: FamilyId,
        labels: LabelSet,
        room: Room,
        buckets: Option<&Arc<Buckets>>,
    ) -> Option<SeriesId> {
        self.open_as(family, labels, room, buckets, false)
    }

    /// Like [`open`](Self::open), for the size of a set whose members are added again after a
    /// restart: a restored value is set to 0.
    pub fn open_zeroed(
        &mut self,
        family: FamilyId,
        labels: LabelSet,
        room: Room,
    ) -> Option<SeriesId> {
        self.open_as(family, labels, room, None, true)
    }

    fn open_as(
        &mut self,
        family: FamilyId,
        labels: LabelSet,
        room: Room,
        buckets: Option<&Arc<Buckets>>,
        zeroed: bool,
    ) -> Option<SeriesId> {
        let value = self.new_value(family, buckets);
        let (family, labels) = match self.place(family, labels) {
            Place::Row(family, labels) => (family, labels),
            Place::Nowhere(hidden) => return self.limit.share(room).then_some(hidden),
        };
        if let Some(id) = self.find(family, &labels) {
            if self.slot(id).users > 0 {
                if !self.limit.share(room) {
                    return None;
                }
                self.slot(id).users += 1;
                return Some(id);
            }
            if is_alike(&self.slot(id).value, &value) {
                self.adopt(id, labels, value, zeroed);
                return Some(id);
            }
            // To a receiver, a histogram with other bounds is another series, which it cannot
            // merge.
            self.end(id);
        }
        if !self.limit.reserve(Size::of(&labels, &value), room) {
            return None;
        }
        self.serial += 1;
        let info = Arc::new(Info {
            serial: self.serial,
            family,
            labels,
            after: self.at,
        });
        Some(self.insert(Slot {
            info,
            users: 1,
            room,
            changed: self.now,
            value,
            exemplar: None,
        }))
    }

    /// The initial value of a series; `buckets` replaces the family's default.
    fn new_value(&self, family: FamilyId, buckets: Option<&Arc<Buckets>>) -> Value {
        match &self.families[family.index()].kind {
            MetricKind::Counter | MetricKind::Gauge => Value::Number(0.0),
            MetricKind::Histogram(usual) => {
                let mut histogram = Histogram::new(Arc::clone(buckets.unwrap_or(usual)));
                histogram.native = self.native_histograms.then(Box::<Exponential>::default);
                Value::Histogram(histogram)
            }
        }
    }

    /// The series with these labels, which have already been relabelled.
    fn find(&self, family: FamilyId, labels: &LabelSet) -> Option<SeriesId> {
        let hash = self.hasher.hash_one((family, labels));
        let same = |&slot: &u32| {
            let info = &slot_of(&self.slots, slot).info;
            info.family == family && info.labels == *labels
        };
        self.index.find(hash, same).map(|slot| SeriesId(*slot))
    }

    /// Adds a new series.
    fn insert(&mut self, new: Slot) -> SeriesId {
        let hash = self.hasher.hash_one((new.info.family, &new.info.labels));
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("the limit is far below 2^32")
        });
        self.slots[slot as usize] = Some(new);
        let hasher = &self.hasher;
        self.index.insert_unique(hash, slot, |&slot| {
            let info = &slot_of(&self.slots, slot).info;
            hasher.hash_one((info.family, &info.labels))
        });
        self.order.push(slot);
        self.unsorted = true;
        SeriesId(slot)
    }

    /// Closes a series. It ends once all its holders have closed it, and is not in the next
    /// snapshot.
    pub fn close(&mut self, id: SeriesId) {
        if self.is_hidden(id) {
            self.limit.unshare();
            return;
        }
        let users = &mut self.slot(id).users;
        *users -= 1;
        if *users > 0 {
            self.limit.unshare();
            return;
        }
        self.end(id);
    }

    /// Removes a series without holders.
    fn end(&mut self, id: SeriesId) {
        let Some(slot) = self.slots[id.0 as usize].take() else {
            return;
        };
        let info = &slot.info;
        let hash = self.hasher.hash_one((info.family, &info.labels));
        if let Ok(entry) = self.index.find_entry(hash, |&slot| slot == id.0) {
            entry.remove();
        }
        self.limit
            .release(Size::of(&info.labels, &slot.value), slot.room);
        self.closed.push(id.0);
    }

    /// Changes the limit on samples.
    pub const fn limit(&mut self, samples_max: usize) {
        self.limit.set(samples_max);
    }

    /// The time of the newest snapshot, or when the table was created.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether this many more samples would fit within the limit.
    pub fn has_room(&self, samples: usize) -> bool {
        self.limit.has(samples)
    }

    /// Adds to a counter or a gauge.
    #[inline]
    pub fn add(&mut self, id: SeriesId, n: f64) {
        match &mut self.changing(id).value {
            Value::Number(number) => *number += n,
            Value::Histogram(_) => debug_assert!(false, "a histogram is observed, not added to"),
        }
    }

    /// Adds to a counter. The task becomes its exemplar if it is the first since the last snapshot.
    pub fn add_of(&mut self, id: SeriesId, n: f64, origin: Option<Origin<'_>>) {
        self.add(id, n);
        let next = self.number + 1;
        let newest = &mut self.slot(id).exemplar;
        if let Some(origin) = origin
            && newest.as_ref().is_none_or(|newest| newest.snapshot != next)
        {
            let before = newest.as_ref().map(|newest| newest.at);
            if let Some(exemplar) = origin.exemplar(n, before, next) {
                *newest = Some(exemplar);
            }
        }
    }

    /// Sets a gauge, or a counter whose count is kept elsewhere.
    #[inline]
    pub fn set(&mut self, id: SeriesId, n: f64) {
        match &mut self.changing(id).value {
            Value::Number(number) => *number = n,
            Value::Histogram(_) => debug_assert!(false, "a histogram is observed, not set"),
        }
    }

    /// Sets a gauge to the maximum of its value and `n`.
    pub fn raise(&mut self, id: SeriesId, n: f64) {
        match &mut self.changing(id).value {
            Value::Number(number) => *number = number.max(n),
            Value::Histogram(_) => debug_assert!(false, "a histogram is observed, not raised"),
        }
    }

    /// Observes a value in a histogram.
    #[inline]
    pub fn observe(&mut self, id: SeriesId, value: f64) {
        self.observe_of(id, value, None);
    }

    /// Observes a value of a task in a histogram. The task becomes the exemplar of its bucket if it
    /// is the first there since the last snapshot.
    #[inline]
    pub fn observe_of(&mut self, id: SeriesId, value: f64, origin: Option<Origin<'_>>) {
        debug_assert!(!value.is_nan(), "only numbers are observed");
        let next = self.number + 1;
        match (&mut self.changing(id).value, origin) {
            (Value::Histogram(histogram), Some(origin)) => {
                histogram.observe_of(value, origin, next);
            }
            (Value::Histogram(histogram), None) => histogram.observe(value),
            (Value::Number(_), _) => debug_assert!(false, "only a histogram is observed"),
        }
    }

    /// Replaces a histogram, in both forms, with one that is maintained elsewhere.
    pub fn replace(&mut self, id: SeriesId, histogram: Histogram) {
        self.changing(id).value = Value::Histogram(histogram);
    }

    /// Marks a series as changed now, which extends its life as an orphan after a restart.
    pub fn touch(&mut self, id: SeriesId) {
        self.changing(id);
    }

    /// The number of samples in the next snapshot.
    pub fn samples(&self) -> usize {
        let slots = self.slots.iter().skip(self.hidden()).flatten();
        slots.map(|slot| slot.value.samples()).sum()
    }

    /// All values as of `at`, or two milliseconds after the previous snapshot if that is later by
    /// less than a second.
    ///
    /// Two, because the zero of a new counter needs a timestamp between two snapshots. If the clock
    /// was set back further, sample timestamps follow it: if they stood still until the clock
    /// caught up, receivers would refuse the samples for being in the future.
    pub fn snapshot(&mut self, at: Timestamp, last: bool) -> Snapshot {
        if self.shared.len() != self.families.len() {
            self.shared = self.families.as_slice().into();
        }
        if !self.closed.is_empty() {
            self.order
                .retain(|&slot| self.slots[slot as usize].is_some());
            self.free.append(&mut self.closed);
        }
        if self.unsorted {
            let slots = &self.slots;
            // Nearly sorted already: new entries are at the end.
            self.order.sort_by(|&a, &b| {
                let (a, b) = (&slot_of(slots, a).info, &slot_of(slots, b).info);
                (a.family, &a.labels).cmp(&(b.family, &b.labels))
            });
            self.unsorted = false;
        }
        let earliest = Timestamp::from_millis(self.at.millis() + 2);
        let at = Timestamp::from_millis(at.millis()).no_earlier_than(earliest);
        if at < earliest {
            self.go_back(at);
        }
        self.at = at;
        self.number += 1;
        self.now(self.at);
        let rows = self.order.iter();
        let rows = rows.map(|&slot| slot_of(&self.slots, slot).row(slot));
        Snapshot {
            number: self.number,
            at: self.at,
            families: Arc::clone(&self.shared),
            rows: rows.collect(),
            held: false,
            restored_at: self.restored_at,
            last,
        }
    }

    /// The values that the next snapshot would have if it were taken now, in no particular order.
    pub fn peek(&self) -> Peek {
        let slots = self.slots.iter().enumerate().skip(self.hidden());
        let rows = slots.filter_map(|(at, slot)| {
            let at = u32::try_from(at).expect("an index of a slot");
            Some(slot.as_ref()?.row(at))
        });
        Peek {
            families: self.families.as_slice().into(),
            rows: rows.collect(),
        }
    }

    /// Adjusts the starts of series after the clock was set back, so that none is later than the
    /// snapshot at `at`. The start of a series that was in the previous snapshot becomes unknown,
    /// because a receiver would treat a different start as a reset.
    fn go_back(&mut self, at: Timestamp) {
        let newest = self.at;
        for slot in self.slots.iter_mut().flatten() {
            if slot.info.after >= at {
                let is_new = slot.info.after == newest;
                let after = if is_new { at.millis() - 2 } else { 0 };
                slot.info = Arc::new(Info {
                    labels: slot.info.labels.clone(),
                    after: Timestamp::from_millis(after),
                    ..*slot.info
                });
            }
        }
    }

    fn slot(&mut self, id: SeriesId) -> &mut Slot {
        self.slots[id.0 as usize]
            .as_mut()
            .expect("an open series has its slot")
    }

    /// The slot of a series whose value is about to change.
    #[inline]
    fn changing(&mut self, id: SeriesId) -> &mut Slot {
        let now = self.now;
        let slot = self.slot(id);
        slot.changed = now;
        slot
    }
}

fn slot_of(slots: &[Option<Slot>], slot: u32) -> &Slot {
    slots[slot as usize]
        .as_ref()
        .expect("an indexed slot is used")
}

#[cfg(test)]
mod tests;
