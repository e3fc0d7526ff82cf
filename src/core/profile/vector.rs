//! The series of one family, indexed by label values.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Context, Keep, OTHER, label_set};
use crate::series::{
    Buckets, Family, FamilyId, LabelSet, MetricKind, RestartPolicy, Room, SeriesId, SeriesTable,
};
use crate::state::Symbol;
use crate::timestamp::Timestamp;

/// The value of a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Name(Symbol),
    Word(&'static str),
    Text(Arc<str>),
}

/// The label value for a name, or a substitute if there is none.
pub(super) fn part(name: Option<Symbol>, otherwise: &'static str) -> Part {
    name.map_or(Part::Word(otherwise), Part::Name)
}

/// A family with `N` labels, plus the broker label if configured.
#[derive(Debug)]
pub(super) struct Vector<const N: usize> {
    family: FamilyId,
    labels: [&'static str; N],
    broker: Option<Arc<str>>,
    entries: HashMap<[Part; N], Entry>,
    /// Members counted in the overflow series, by the labels they would have had, so that they are
    /// removed from it again.
    folded: HashMap<[Part; N], i64>,
    limited: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: SeriesId,
    changed: Timestamp,
    /// The current number of members, for sets. The series does not end while it is not zero.
    inside: i64,
    /// Whether it was set since [`Vector::begin`].
    current: bool,
}

impl<const N: usize> Vector<N> {
    pub(super) fn new(
        series: &mut SeriesTable,
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

    /// Adds to a counter on behalf of the current event's task.
    pub(super) fn add_of(&mut self, key: [Part; N], n: f64, context: &mut Context<'_>) {
        let (id, _) = self.id(key, context);
        context.series.add_of(id, n, context.origin);
    }

    /// Ensures that a series exists, with 0 if it is new.
    pub(super) fn touch(&mut self, key: [Part; N], context: &mut Context<'_>) {
        let (id, _) = self.id(key, context);
        context.series.touch(id);
    }

    /// Observes a value of the current event's task in a histogram.
    pub(super) fn observe(&mut self, key: [Part; N], value: f64, context: &mut Context<'_>) {
        let (id, _) = self.id(key, context);
        context.series.observe_of(id, value, context.origin);
    }

    /// Sets a gauge.
    pub(super) fn set(&mut self, key: [Part; N], value: f64, context: &mut Context<'_>) {
        // An overflow series shows the last value that was set.
        let (id, _) = self.id(key, context);
        context.series.set(id, value);
    }

    /// Raises a gauge that never decreases.
    pub(super) fn raise(&mut self, key: [Part; N], value: f64, context: &mut Context<'_>) {
        let (id, _) = self.id(key, context);
        context.series.raise(id, value);
    }

    /// Sets an existing gauge.
    pub(super) fn set_again(&mut self, key: &[Part; N], value: f64, context: &mut Context<'_>) {
        let id = match self.entries.get(key) {
            Some(entry) => Some(entry.id),
            None => self.open_restored(key, context),
        };
        if let Some(id) = id {
            context.series.set(id, value);
        }
    }

    /// Adds a member to (1) or removes one from (-1) the set whose size a gauge shows.
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

    /// Excludes gauges that are set with each snapshot from a restart: their values would be
    /// outdated, and nothing would update them.
    #[must_use]
    pub(super) fn reset_at_restart(self, series: &mut SeriesTable) -> Self {
        series.restart_policy(self.family, RestartPolicy::Reset);
        self
    }

    /// Sets the restored sizes that `is_set` selects to 0, before the members are added again.
    pub(super) fn zero_restored(
        &self,
        series: &mut SeriesTable,
        is_set: impl Fn(&LabelSet) -> bool,
    ) {
        series.zero_restored(self.family, is_set);
    }

    /// Starts an update: until [`end_others`](Self::end_others), every gauge that should exist is
    /// set.
    pub(super) fn begin(&mut self) {
        for entry in self.entries.values_mut() {
            entry.current = false;
        }
    }

    /// Ends the series that were not set since [`begin`](Self::begin).
    pub(super) fn end_others(&mut self, series: &mut SeriesTable) {
        for (_, ended) in self.entries.extract_if(|_, entry| !entry.current) {
            series.close(ended.id);
        }
    }

    /// Ends the series that `keep` does not retain.
    pub(super) fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        let alive = |part: &Part| matches!(part, Part::Name(name) if keep.is_alive(*name));
        self.entries.retain(|key, entry| {
            if !keep.is_aging(entry.changed) {
                return true;
            }
            if entry.inside != 0 || key.iter().any(alive) {
                // Otherwise it would end early after a restart.
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
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let keys = self.entries.keys().chain(self.folded.keys());
        keys.flatten().filter_map(|part| match part {
            Part::Name(name) => Some(*name),
            Part::Word(_) | Part::Text(_) => None,
        })
    }

    /// How often the overflow series was used.
    pub(super) const fn limited(&self) -> u64 {
        self.limited
    }

    /// The series with these labels, or the overflow series, and whether it is the former.
    fn id(&mut self, key: [Part; N], context: &mut Context<'_>) -> (SeriesId, bool) {
        self.id_as(key, false, context)
    }

    fn id_as(
        &mut self,
        key: [Part; N],
        zeroed: bool,
        context: &mut Context<'_>,
    ) -> (SeriesId, bool) {
        let now = context.now;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.changed = now;
            entry.current = true;
            return (entry.id, true);
        }
        match self.open(key.clone(), Room::Limited, zeroed, context) {
            Some(id) => (id, true),
            None => (self.other(&key, zeroed, context), false),
        }
    }

    fn other(&mut self, key: &[Part; N], zeroed: bool, context: &mut Context<'_>) -> SeriesId {
        self.limited += 1;
        let key = fold(key);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.changed = context.now;
            entry.current = true;
            return entry.id;
        }
        self.open(key, Room::Reserved, zeroed, context)
            .expect("the reserve has no limit")
    }

    /// Opens a series. `zeroed` sets a restored value to 0.
    fn open(
        &mut self,
        key: [Part; N],
        room: Room,
        zeroed: bool,
        context: &mut Context<'_>,
    ) -> Option<SeriesId> {
        let labels = self.label_set(&key, context);
        let id = if zeroed {
            context.series.open_zeroed(self.family, labels, room)?
        } else {
            context.series.open(self.family, labels, room)?
        };
        self.enter_new(key, id, context);
        Some(id)
    }

    /// Opens a series if it was restored.
    pub(super) fn open_restored(
        &mut self,
        key: &[Part; N],
        context: &mut Context<'_>,
    ) -> Option<SeriesId> {
        if !context.series.has_restored() {
            return None;
        }
        let labels = self.label_set(key, context);
        let id = context.series.open_restored(self.family, labels, None)?;
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

/// How often the overflow series of any of these families was used.
pub(super) fn limited<const N: usize>(vectors: &[Vector<N>]) -> u64 {
    vectors.iter().map(Vector::limited).sum()
}

/// The labels of the overflow series, which keeps totals correct.
fn fold<const N: usize>(key: &[Part; N]) -> [Part; N] {
    key.clone().map(|part| match part {
        Part::Name(_) => Part::Word(OTHER),
        Part::Word(_) | Part::Text(_) => part,
    })
}

/// The default buckets of Python's Prometheus client.
pub(super) fn python_buckets() -> Arc<Buckets> {
    const BOUNDS: [f64; 14] = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    Arc::new(Buckets::new(&BOUNDS).expect("the bounds increase"))
}
