//! The table of series.

mod relabelled;

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::limit::Limit;
use super::relabel::Relabel;
use super::{
    Buckets, Exemplar, Exponential, Family, FamilyId, Histogram, Info, LabelSet, MetricKind,
    Origin, Room, Row, Snapshot, Value,
};
use crate::timestamp::Timestamp;
use relabelled::Place;
pub use relabelled::Refused;

/// A ready handle to a series. Valid until the series is closed by whoever opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesId(u32);

/// All series, and their values.
#[derive(Debug)]
pub struct Series {
    families: Vec<Family>,
    /// The families as the snapshots have them; made anew when one was added.
    shared: Arc<[Family]>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Closed since the last snapshot. Not free before the next one has taken them out of `order`.
    closed: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The used slots by family and labels; in order unless `unsorted`.
    order: Vec<u32>,
    unsorted: bool,
    limit: Limit,
    relabel: Relabel,
    refused: Refused,
    /// Families that rules made.
    made: usize,
    /// New histograms have a native form too.
    native_histograms: bool,
    serial: u64,
    /// Of the newest snapshot.
    number: u64,
    /// The newest snapshot, or when the table was made.
    at: Timestamp,
}

#[derive(Debug)]
struct Slot {
    info: Arc<Info>,
    /// How often it was opened and not closed: two keys may come to the same labels, as a task that is called
    /// `unknown` and one whose name is not known.
    users: u32,
    room: Room,
    value: Value,
    /// Of a counter.
    exemplar: Option<Arc<Exemplar>>,
}

impl Series {
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
            native_histograms: false,
            serial: 0,
            number: 0,
            at: now,
        }
    }

    /// The same table; `on`: histograms that are opened from here on have a native form too.
    #[must_use]
    pub const fn with_native_histograms(mut self, on: bool) -> Self {
        self.native_histograms = on;
        self
    }

    /// Adds a family, or finds the one of that name and type.
    pub fn family(&mut self, family: Family) -> FamilyId {
        let same = |known: &Family| known.name == family.name && known.is_like(&family);
        let known = self.families.iter().position(same);
        let index = known.unwrap_or_else(|| {
            self.families.push(family);
            self.families.len() - 1
        });
        FamilyId(u32::try_from(index).expect("families are some dozens"))
    }

    /// Finds or makes a series, to be [closed](Self::close) once for each time; a new one has the value 0. What it is
    /// in the end is for the rules to say. `None` where the limit leaves no room.
    pub fn open(&mut self, family: FamilyId, labels: LabelSet, room: Room) -> Option<SeriesId> {
        self.open_with(family, labels, room, None)
    }

    /// The same; a new histogram gets `buckets` in place of its family's.
    pub fn open_with(
        &mut self,
        family: FamilyId,
        labels: LabelSet,
        room: Room,
        buckets: Option<&Arc<Buckets>>,
    ) -> Option<SeriesId> {
        let kind = family;
        let (family, labels) = match self.place(family, labels) {
            Place::Row(family, labels) => (family, labels),
            Place::Nowhere(hidden) => return self.limit.share(room).then_some(hidden),
        };
        let hash = self.hasher.hash_one((family, &labels));
        let same = |&slot: &u32| {
            let info = &slot_of(&self.slots, slot).info;
            info.family == family && info.labels == labels
        };
        if let Some(&slot) = self.index.find(hash, same) {
            if !self.limit.share(room) {
                return None;
            }
            let id = SeriesId(slot);
            self.slot(id).users += 1;
            return Some(id);
        }
        let value = match &self.families[kind.index()].kind {
            MetricKind::Counter | MetricKind::Gauge => Value::Number(0.0),
            MetricKind::Histogram(usual) => {
                let mut histogram = Histogram::new(Arc::clone(buckets.unwrap_or(usual)));
                histogram.native = self.native_histograms.then(Box::<Exponential>::default);
                Value::Histogram(histogram)
            }
        };
        if !self.limit.take(value.samples(), room) {
            return None;
        }
        self.serial += 1;
        let info = Arc::new(Info {
            serial: self.serial,
            family,
            labels,
            after: self.at,
        });
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("the limit is far below 2^32")
        });
        self.slots[slot as usize] = Some(Slot {
            info,
            users: 1,
            room,
            value,
            exemplar: None,
        });
        let hasher = &self.hasher;
        self.index.insert_unique(hash, slot, |&slot| {
            let info = &slot_of(&self.slots, slot).info;
            hasher.hash_one((info.family, &info.labels))
        });
        self.order.push(slot);
        self.unsorted = true;
        Some(SeriesId(slot))
    }

    /// Gives a series back. When all who opened it have, it ends: it is not in the next snapshot.
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
        let Some(slot) = self.slots[id.0 as usize].take() else {
            return;
        };
        let info = &slot.info;
        let hash = self.hasher.hash_one((info.family, &info.labels));
        if let Ok(entry) = self.index.find_entry(hash, |&slot| slot == id.0) {
            entry.remove();
        }
        self.limit.give(slot.value.samples(), slot.room);
        self.closed.push(id.0);
    }

    /// Whether that many samples would still fit under the limit.
    pub const fn has_room(&self, samples: usize) -> bool {
        self.limit.has(samples)
    }

    /// Adds to a counter or a gauge.
    #[inline]
    pub fn add(&mut self, id: SeriesId, n: f64) {
        match &mut self.slot(id).value {
            Value::Number(number) => *number += n,
            Value::Histogram(_) => debug_assert!(false, "a histogram is observed, not added to"),
        }
    }

    /// Adds to a counter what a task did, which becomes its exemplar, if it is the first since the last snapshot.
    pub fn add_of(&mut self, id: SeriesId, n: f64, origin: Option<Origin<'_>>) {
        self.add(id, n);
        let next = self.number + 1;
        let newest = &mut self.slot(id).exemplar;
        if let Some(origin) = origin
            && newest.as_ref().is_none_or(|newest| newest.snapshot != next)
        {
            let before = newest.as_ref().map(|newest| newest.at);
            *newest = Some(origin.exemplar(n, before, next));
        }
    }

    /// Sets a gauge, or a counter that is counted elsewhere.
    #[inline]
    pub fn set(&mut self, id: SeriesId, n: f64) {
        match &mut self.slot(id).value {
            Value::Number(number) => *number = n,
            Value::Histogram(_) => debug_assert!(false, "a histogram is observed, not set"),
        }
    }

    /// Sets a gauge that only goes up.
    pub fn raise(&mut self, id: SeriesId, n: f64) {
        match &mut self.slot(id).value {
            Value::Number(number) => *number = number.max(n),
            Value::Histogram(_) => debug_assert!(false, "a histogram is observed, not raised"),
        }
    }

    /// Counts a value in a histogram.
    #[inline]
    pub fn observe(&mut self, id: SeriesId, value: f64) {
        self.observe_of(id, value, None);
    }

    /// Counts a value of a task in a histogram, where it becomes the exemplar of its bucket, if it is the first there
    /// since the last snapshot.
    #[inline]
    pub fn observe_of(&mut self, id: SeriesId, value: f64, origin: Option<Origin<'_>>) {
        debug_assert!(!value.is_nan(), "only numbers are observed");
        let next = self.number + 1;
        match (&mut self.slot(id).value, origin) {
            (Value::Histogram(histogram), Some(origin)) => {
                histogram.observe_of(value, origin, next);
            }
            (Value::Histogram(histogram), None) => histogram.observe(value),
            (Value::Number(_), _) => debug_assert!(false, "only a histogram is observed"),
        }
    }

    /// Puts a histogram that is counted elsewhere in place. It has the forms that it was counted in.
    pub fn replace(&mut self, id: SeriesId, histogram: Histogram) {
        self.slot(id).value = Value::Histogram(histogram);
    }

    /// How many samples the next snapshot has.
    pub fn samples(&self) -> usize {
        let slots = self.slots.iter().skip(self.hidden()).flatten();
        slots.map(|slot| slot.value.samples()).sum()
    }

    /// All values as of `at`, or two milliseconds after the snapshot before, where the clock stepped back.
    ///
    /// Two, because between two snapshots the zero of a new counter has to find a place.
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
            // Nearly in order already: what is new stands at the end.
            self.order.sort_by(|&a, &b| {
                let (a, b) = (&slot_of(slots, a).info, &slot_of(slots, b).info);
                (a.family, &a.labels).cmp(&(b.family, &b.labels))
            });
            self.unsorted = false;
        }
        let before = Timestamp::from_millis(self.at.millis() + 2);
        self.at = Timestamp::from_millis(at.millis()).max(before);
        self.number += 1;
        let rows = self.order.iter().map(|&slot| {
            let of = slot_of(&self.slots, slot);
            Row {
                slot,
                info: Arc::clone(&of.info),
                value: of.value.clone(),
                exemplar: of.exemplar.clone(),
            }
        });
        Snapshot {
            number: self.number,
            at: self.at,
            families: Arc::clone(&self.shared),
            rows: rows.collect(),
            last,
        }
    }

    fn slot(&mut self, id: SeriesId) -> &mut Slot {
        self.slots[id.0 as usize]
            .as_mut()
            .expect("an open series has its slot")
    }
}

fn slot_of(slots: &[Option<Slot>], slot: u32) -> &Slot {
    slots[slot as usize]
        .as_ref()
        .expect("an indexed slot is used")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::LabelName;

    const START: Timestamp = Timestamp::from_millis(1_000);

    fn table() -> (Series, FamilyId) {
        let mut series = Series::new(3, START);
        let family = series.family(Family {
            name: "x_total".into(),
            kind: MetricKind::Counter,
            help: "X.",
            labels: Vec::new(),
        });
        (series, family)
    }

    fn labels(name: &str) -> LabelSet {
        LabelSet::new([(LabelName::from_static("name"), name.into())])
    }

    #[test]
    fn the_same_labels_are_the_same_series() {
        let (mut series, family) = table();
        let first = series
            .open(family, labels("a"), Room::Limited)
            .expect("room");
        series.add(first, 2.0);
        let again = series
            .open(family, labels("a"), Room::Limited)
            .expect("room");
        series.add(again, 3.0);

        let snapshot = series.snapshot(Timestamp::from_millis(2_000), false);
        assert_eq!(snapshot.number_of("x_total", &[("name", "a")]), Some(5.0));
        assert_eq!(snapshot.rows.len(), 1);
    }

    #[test]
    fn a_series_ends_when_all_who_opened_it_have_closed_it() {
        let (mut series, family) = table();
        let ids = [(); 2].map(|()| series.open(family, labels("a"), Room::Limited));
        assert_eq!(ids[0], ids[1]);
        series.close(ids[0].expect("room"));
        series.add(ids[1].expect("room"), 2.0);
        let shown = |series: &mut Series| {
            let snapshot = series.snapshot(Timestamp::from_millis(2_000), false);
            snapshot.number_of("x_total", &[("name", "a")])
        };
        assert_eq!(shown(&mut series), Some(2.0));
        series.close(ids[1].expect("room"));
        assert_eq!(shown(&mut series), None);
    }

    #[test]
    fn the_limit_refuses_and_a_closed_series_makes_room() {
        let (mut series, family) = table();
        let ids = ["a", "b", "c"].map(|name| series.open(family, labels(name), Room::Limited));
        assert_eq!(series.open(family, labels("d"), Room::Limited), None);
        assert!(
            series
                .open(family, labels("(other)"), Room::Reserved)
                .is_some()
        );

        series.close(ids[0].expect("room"));
        assert!(series.open(family, labels("d"), Room::Limited).is_some());
        assert_eq!(series.open(family, labels("e"), Room::Limited), None);
    }

    #[test]
    fn a_native_form_takes_room_for_one_sample_and_gives_it_back() {
        let buckets = Arc::new(Buckets::new(&[1.0]).expect("in order"));
        // A bound, +Inf, sum and count.
        for (native, room, fits) in [(false, 4, true), (true, 4, false), (true, 5, true)] {
            let mut series = Series::new(room, START).with_native_histograms(native);
            let family = series.family(Family {
                name: "x_seconds".into(),
                kind: MetricKind::Histogram(Arc::clone(&buckets)),
                help: "X.",
                labels: Vec::new(),
            });
            let id = series.open(family, labels("a"), Room::Limited);
            assert_eq!(id.is_some(), fits, "{native} {room}");
            if let Some(id) = id {
                assert_eq!(series.samples(), room);
                series.close(id);
            }
            assert!(series.has_room(room), "{native} {room}");
        }
    }

    #[test]
    fn a_series_that_comes_back_is_another_one() {
        let (mut series, family) = table();
        let first = series
            .open(family, labels("a"), Room::Limited)
            .expect("room");
        series.add(first, 2.0);
        let before = series.snapshot(Timestamp::from_millis(2_000), false);
        series.close(first);
        series
            .open(family, labels("a"), Room::Limited)
            .expect("room");
        let after = series.snapshot(Timestamp::from_millis(3_000), false);

        assert_ne!(before.rows[0].info.serial, after.rows[0].info.serial);
        assert_eq!(after.number_of("x_total", &[("name", "a")]), Some(0.0));
        assert_eq!(after.rows[0].info.after, before.at);
    }

    #[test]
    fn rows_go_out_by_family_and_labels_whatever_the_order_of_opening() {
        let (mut series, family) = table();
        for name in ["c", "a", "b"] {
            series
                .open(family, labels(name), Room::Limited)
                .expect("room");
        }
        let rows = series.snapshot(Timestamp::from_millis(2_000), false).rows;
        let names: Vec<_> = rows.iter().flat_map(|row| row.info.labels.iter()).collect();

        assert_eq!(names, [("name", "a"), ("name", "b"), ("name", "c")]);
    }

    #[test]
    fn time_goes_forward_when_the_clock_steps_back() {
        let (mut series, _) = table();
        let first = series.snapshot(Timestamp::from_millis(5_000), false);
        let second = series.snapshot(Timestamp::from_millis(4_000), false);

        assert_eq!(second.at, Timestamp::from_millis(5_002));
        assert_eq!((first.number, second.number), (1, 2));
    }
}
