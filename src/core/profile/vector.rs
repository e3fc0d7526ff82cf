//! The series of one family, by the values of its labels.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Context, Keep, OTHER, label_set};
use crate::series::{
    Across, Buckets, Family, FamilyId, LabelSet, MetricKind, Room, Series, SeriesId,
};
use crate::state::Name;
use crate::timestamp::Timestamp;

/// The value of a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Name(Name),
    Word(&'static str),
    Text(Arc<str>),
}

/// What a label shows of a name, and what in its place where there is none.
pub(super) fn part(name: Option<Name>, otherwise: &'static str) -> Part {
    name.map_or(Part::Word(otherwise), Part::Name)
}

/// A family with `N` labels, and that of the broker where there is one.
#[derive(Debug)]
pub(super) struct Vector<const N: usize> {
    family: FamilyId,
    labels: [&'static str; N],
    broker: Option<Arc<str>>,
    entries: HashMap<[Part; N], Entry>,
    /// What entered the series of all others, by the labels that it would have had: it leaves it from there too.
    folded: HashMap<[Part; N], i64>,
    limited: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: SeriesId,
    changed: Timestamp,
    /// What it holds now, where things enter and leave: it does not end while that is not nothing.
    inside: i64,
    /// It was set since [`Vector::begin`].
    current: bool,
}

impl<const N: usize> Vector<N> {
    pub(super) fn new(
        series: &mut Series,
        broker: Option<&Arc<str>>,
        (name, kind, help): (&str, MetricKind, &'static str),
        labels: [&'static str; N],
    ) -> Self {
        let family = series.family(Family {
            name: name.into(),
            kind,
            help,
            labels: labels.to_vec(),
        });
        Self {
            family,
            labels,
            broker: broker.cloned(),
            entries: HashMap::new(),
            folded: HashMap::new(),
            limited: 0,
        }
    }

    /// Adds to a counter.
    pub(super) fn add(&mut self, key: [Part; N], n: f64, context: &mut Context<'_>) {
        let (id, _) = self.id(key, context);
        context.series.add(id, n);
    }

    /// Adds to a counter what the task of the event at hand did.
    pub(super) fn add_of(&mut self, key: [Part; N], n: f64, context: &mut Context<'_>) {
        let (id, _) = self.id(key, context);
        context.series.add_of(id, n, context.origin);
    }

    /// Makes sure that a series is there, with 0 if it is new.
    pub(super) fn touch(&mut self, key: [Part; N], context: &mut Context<'_>) {
        let (id, _) = self.id(key, context);
        context.series.touch(id);
    }

    /// Counts a value of the task of the event at hand in a histogram.
    pub(super) fn observe(&mut self, key: [Part; N], value: f64, context: &mut Context<'_>) {
        let (id, _) = self.id(key, context);
        context.series.observe_of(id, value, context.origin);
    }

    /// Sets a gauge.
    pub(super) fn set(&mut self, key: [Part; N], value: f64, context: &mut Context<'_>) {
        // What stands for many shows the last that was set.
        let (id, _) = self.id(key, context);
        context.series.set(id, value);
    }

    /// Sets a gauge that only goes up.
    pub(super) fn raise(&mut self, key: [Part; N], value: f64, context: &mut Context<'_>) {
        let (id, _) = self.id(key, context);
        context.series.raise(id, value);
    }

    /// Sets a gauge that is there.
    pub(super) fn set_again(&mut self, key: &[Part; N], value: f64, context: &mut Context<'_>) {
        let id = match self.entries.get(key) {
            Some(entry) => Some(entry.id),
            None => self.reopen(key, context),
        };
        if let Some(id) = id {
            context.series.set(id, value);
        }
    }

    /// Something enters (1) or leaves (-1) the set whose size a gauge shows.
    pub(super) fn enter(&mut self, key: [Part; N], n: i64, context: &mut Context<'_>) {
        let leaves_others = n < 0 && self.folded.contains_key(&key);
        let (id, own) = if leaves_others {
            (self.other(&key, true, context), false)
        } else {
            self.id_as(key.clone(), true, context)
        };
        if own {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.inside += n;
            }
        } else {
            let folded = self.folded.entry(key.clone()).or_default();
            *folded += n;
            if *folded <= 0 {
                self.folded.remove(&key);
            }
            if let Some(entry) = self.entries.get_mut(&fold(&key)) {
                entry.inside += n;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "one at a time")]
        context.series.add(id, n as f64);
    }

    /// Says that the gauges are levels: what is restored of them would be of before, and nobody would set it.
    #[must_use]
    pub(super) fn of_levels(self, series: &mut Series) -> Self {
        series.across(self.family, Across::Anew);
        self
    }

    /// The sets have nothing in them before their members come in again, as far as `is_set` says that they are sets.
    pub(super) fn empty_restored(&self, series: &mut Series, is_set: impl Fn(&LabelSet) -> bool) {
        series.empty_restored(self.family, is_set);
    }

    /// From here to [`end_others`](Self::end_others) every gauge is set that there is to be.
    pub(super) fn begin(&mut self) {
        for entry in self.entries.values_mut() {
            entry.current = false;
        }
    }

    /// Ends the series that were not set since [`begin`](Self::begin).
    pub(super) fn end_others(&mut self, series: &mut Series) {
        for (_, ended) in self.entries.extract_if(|_, entry| !entry.current) {
            series.close(ended.id);
        }
    }

    /// Ends the series that are not to stay.
    pub(super) fn expire(&mut self, keep: &Keep, series: &mut Series) {
        let alive = |part: &Part| matches!(part, Part::Name(name) if keep.is_alive(*name));
        self.entries.retain(|key, entry| {
            if !keep.is_aging(entry.changed) {
                return true;
            }
            if entry.inside != 0 || key.iter().any(alive) {
                // It would end early if the daemon was started again.
                series.touch(entry.id);
                return true;
            }
            let stays = !keep.is_old(entry.changed);
            if !stays {
                series.close(entry.id);
            }
            stays
        });
    }

    /// The names that the labels refer to.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        let keys = self.entries.keys().chain(self.folded.keys());
        keys.flatten().filter_map(|part| match part {
            Part::Name(name) => Some(*name),
            Part::Word(_) | Part::Text(_) => None,
        })
    }

    /// How often the series of all others stood in.
    pub(super) const fn limited(&self) -> u64 {
        self.limited
    }

    /// The series with these labels, or that of all others; and whether it is its own.
    fn id(&mut self, key: [Part; N], context: &mut Context<'_>) -> (SeriesId, bool) {
        self.id_as(key, false, context)
    }

    fn id_as(
        &mut self,
        key: [Part; N],
        emptied: bool,
        context: &mut Context<'_>,
    ) -> (SeriesId, bool) {
        let now = context.now;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.changed = now;
            entry.current = true;
            return (entry.id, true);
        }
        match self.open(key.clone(), Room::Limited, emptied, context) {
            Some(id) => (id, true),
            None => (self.other(&key, emptied, context), false),
        }
    }

    fn other(&mut self, key: &[Part; N], emptied: bool, context: &mut Context<'_>) -> SeriesId {
        self.limited += 1;
        let key = fold(key);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.changed = context.now;
            entry.current = true;
            return entry.id;
        }
        self.open(key, Room::Reserved, emptied, context)
            .expect("the reserve has no limit")
    }

    /// `emptied`: what was restored of it does not count.
    fn open(
        &mut self,
        key: [Part; N],
        room: Room,
        emptied: bool,
        context: &mut Context<'_>,
    ) -> Option<SeriesId> {
        let labels = self.label_set(&key, context);
        let id = if emptied {
            context.series.open_emptied(self.family, labels, room)?
        } else {
            context.series.open(self.family, labels, room)?
        };
        self.enter_new(key, id, context);
        Some(id)
    }

    /// Opens a series where it was restored.
    pub(super) fn reopen(
        &mut self,
        key: &[Part; N],
        context: &mut Context<'_>,
    ) -> Option<SeriesId> {
        if !context.series.has_restored() {
            return None;
        }
        let labels = self.label_set(key, context);
        let id = context.series.reopen(self.family, labels, None)?;
        self.enter_new(key.clone(), id, context);
        Some(id)
    }

    fn enter_new(&mut self, key: [Part; N], id: SeriesId, context: &Context<'_>) {
        let entry = Entry {
            id,
            changed: context.now,
            inside: 0,
            current: true,
        };
        self.entries.insert(key, entry);
    }

    fn label_set(&self, key: &[Part; N], context: &Context<'_>) -> LabelSet {
        let texts = key.iter().map(|part| match part {
            Part::Name(name) => context.names.text(*name),
            Part::Word(word) => (*word).into(),
            Part::Text(text) => Arc::clone(text),
        });
        label_set(self.broker.as_ref(), self.labels.into_iter().zip(texts))
    }
}

/// How often the series of all others stood in, in any of some families.
pub(super) fn limited<const N: usize>(vectors: &[Vector<N>]) -> u64 {
    vectors.iter().map(Vector::limited).sum()
}

/// The labels of what stands for everything beyond the limit: totals stay right.
fn fold<const N: usize>(key: &[Part; N]) -> [Part; N] {
    key.clone().map(|part| match part {
        Part::Name(_) => Part::Word(OTHER),
        Part::Word(_) | Part::Text(_) => part,
    })
}

/// The buckets that Python's Prometheus client has by default.
pub(super) fn python_buckets() -> Arc<Buckets> {
    const BOUNDS: [f64; 14] = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    Arc::new(Buckets::new(&BOUNDS).expect("the bounds increase"))
}
