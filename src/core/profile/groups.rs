//! The native profile's task series, by those of (name, queue, worker) that are labels.

mod families;
mod labels;
mod places;
mod restored;

use std::sync::Arc;

use hashbrown::HashMap;

use super::config::{NativeConfig, TaskLabels};
use super::group::{
    Class, ClassSeries, Counter, CounterFamily, Distribution, Group, HistogramFamily,
    InFlightStage, Key,
};
use super::{Context, Keep, Limited};
use crate::bounds::Limit;
use crate::series::{Buckets, FamilyId, Room, SeriesId, SeriesTable};
use crate::state::{Symbol, TaskKey};
use crate::timestamp::Timestamp;
use families::Families;
use places::Places;

/// All groups of one cluster.
#[derive(Debug)]
pub(super) struct Groups {
    config: NativeConfig,
    /// The value of the label `broker`. `None` if only one broker is configured and it has no name.
    broker: Option<Arc<str>>,
    families: Families,
    groups: Vec<Option<Group>>,
    free: Vec<u32>,
    index: HashMap<Key, u32>,
    /// The last lookup. `expire` clears it right before unused symbols are swept: it may hold some.
    newest: Option<(TaskKey, u32)>,
    /// The queues of each name that have groups of their own.
    places: Places,
    /// The overflow group, used when the limit on series is reached.
    overflow: Option<u32>,
    /// Tasks in flight that were not counted under their own key, by that key. They are subtracted
    /// where they were counted, even if their key has room by then.
    folded: HashMap<Key, Folded>,
    limited: Limited,
    expired_at: Option<Timestamp>,
}

/// Number of tasks in flight of one key, by where they were counted.
#[derive(Clone, Copy, Debug, Default)]
struct Folded {
    /// In the overflow group.
    overflow: usize,
    /// In the group of all queues without a place.
    other_queues: usize,
}

impl Groups {
    pub(super) fn new(
        config: NativeConfig,
        broker: Option<Arc<str>>,
        series: &mut SeriesTable,
    ) -> Self {
        let families = Families::new(&config, series);
        Self {
            config,
            broker,
            families,
            groups: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            newest: None,
            places: Places::default(),
            overflow: None,
            folded: HashMap::new(),
            limited: Limited::default(),
            expired_at: None,
        }
    }

    /// Ends the series that `keep` does not retain.
    pub(super) fn expire(&mut self, keep: &Keep, series: &mut SeriesTable) {
        self.newest = None;
        let before = self.expired_at.replace(keep.now);
        for at in 0..self.groups.len() {
            let Some(group) = &mut self.groups[at] else {
                continue;
            };
            let alive = group.key.worker.is_some_and(|worker| keep.is_alive(worker));
            // A group is kept as a whole. After a restart, each series would have its own age
            // otherwise.
            let changed = before.is_none_or(|before| group.changed >= before);
            if changed || (keep.is_aging(group.changed) && (alive || group.flying > 0)) {
                group.shared_series().for_each(|id| series.touch(id));
            }
            if alive {
                continue;
            }
            if group.flying == 0 && keep.is_old(group.changed) {
                group.series().for_each(|id| series.close(id));
                let at = u32::try_from(at).expect("came from one");
                if self.overflow == Some(at) {
                    self.overflow = None;
                } else {
                    self.index.remove(&group.key);
                    self.places.remove(group.key);
                }
                self.groups[at as usize] = None;
                self.free.push(at);
                continue;
            }
            for classes in [&mut group.failed, &mut group.retried] {
                classes.retain(|class| {
                    let stays = !keep.is_old(class.changed);
                    if !stays {
                        series.close(class.id);
                    }
                    stays
                });
            }
        }
    }

    /// The names that the groups refer to.
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let groups = self.groups.iter().flatten().flat_map(Group::names);
        let folded = self
            .folded
            .keys()
            .flat_map(|key| [key.name, key.queue, key.worker]);
        groups.chain(folded.flatten())
    }

    /// How often limits have applied so far.
    pub(super) const fn limited(&self) -> Limited {
        self.limited
    }

    pub(super) fn count(&mut self, counter: Counter, of: TaskKey, context: &mut Context<'_>) {
        let (family, label) = counter.shown();
        let family = self.families.counter(family);
        let slot = counter as usize;
        let mut at = self.group(of, context);
        let id = loop {
            if let Some(id) = self.group_at(at, context.now).0.counters[slot] {
                break id;
            }
            if let Some(id) = self.open(at, family, label, None, context) {
                self.group_at(at, context.now).0.counters[slot] = Some(id);
                break id;
            }
            at = self.overflow_group(context);
        };
        context.series.add(id, 1.0);
    }

    pub(super) fn observe(
        &mut self,
        distribution: Distribution,
        value: f64,
        of: TaskKey,
        context: &mut Context<'_>,
    ) {
        let (family, label) = distribution.shown();
        let slot = distribution as usize;
        let mut at = self.group(of, context);
        let id = loop {
            if let Some(id) = self.group_at(at, context.now).0.histograms[slot] {
                break id;
            }
            let buckets = self.buckets(family, at, context);
            let id = self.families.histogram(family);
            if let Some(id) = self.open(at, id, label, buckets.as_ref(), context) {
                self.group_at(at, context.now).0.histograms[slot] = Some(id);
                break id;
            }
            at = self.overflow_group(context);
        };
        context.series.observe_of(id, value, context.origin);
    }

    pub(super) fn count_class(
        &mut self,
        family: CounterFamily,
        class: Option<Symbol>,
        of: TaskKey,
        context: &mut Context<'_>,
    ) {
        let at = self.group(of, context);
        let class = class.map_or(Class::Unknown, Class::Named);
        let id = self.class_series(at, family, class, context);
        let failed = family == CounterFamily::Failed;
        let origin = context.origin.filter(|_| failed);
        context.series.add_of(id, 1.0, origin);
    }

    /// A task enters (1) or leaves (-1) a stage.
    pub(super) fn adjust_in_flight(
        &mut self,
        flight: InFlightStage,
        of: TaskKey,
        n: f64,
        context: &mut Context<'_>,
    ) {
        let at = if n > 0.0 {
            let at = self.group(of, context);
            let is_overflow = self.overflow == Some(at);
            if is_overflow || self.group_at(at, context.now).0.key.other_queues {
                let folded = self.folded.entry(self.key(of, context)).or_default();
                if is_overflow {
                    folded.overflow += 1;
                } else {
                    folded.other_queues += 1;
                }
            }
            at
        } else {
            self.group_left(of, context)
        };
        let (group, _) = self.group_at(at, context.now);
        group.flying = if n > 0.0 {
            group.flying + 1
        } else {
            group.flying.saturating_sub(1)
        };
        let id = if let Some(id) = group.in_flight[flight as usize] {
            id
        } else {
            let label = Some(("state", flight.name()));
            let labels = self.group_labels(at, label, context);
            let id = context
                .series
                .open_zeroed(self.families.in_flight, labels, Room::Reserved)
                .expect("the reserve has no limit");
            self.group_at(at, context.now).0.in_flight[flight as usize] = Some(id);
            id
        };
        context.series.add(id, n);
    }

    /// The series of an exception class in a group, or of the group's other classes if there is no
    /// room for its own.
    fn class_series(
        &mut self,
        at: u32,
        family: CounterFamily,
        class: Class,
        context: &mut Context<'_>,
    ) -> SeriesId {
        let now = context.now;
        let exceptions_max = self.config.exceptions_max;
        let (group, room) = self.group_at(at, now);
        let classes = classes_of(group, family);
        if let Some(known) = classes.iter_mut().find(|known| known.class == class) {
            known.changed = now;
            return known.id;
        }
        let own = classes.iter().filter(|known| known.class != Class::Other);
        let has_place = own.count() < exceptions_max || self.has_class(at, family, class, context);
        let room = has_place.then_some(room);
        let id = room.and_then(|room| self.open_class(at, family, class, room, context));
        if let Some(id) = id {
            return id;
        }
        match room {
            Some(_) => self.limited.series += 1,
            None => {
                self.limited.exceptions += 1;
                context.series.reached(Limit::Exceptions);
            }
        }
        let classes = classes_of(self.group_at(at, now).0, family);
        if let Some(other) = classes.iter_mut().find(|known| known.class == Class::Other) {
            other.changed = now;
            return other.id;
        }
        self.open_class(at, family, Class::Other, Room::Reserved, context)
            .expect("the reserve has no limit")
    }

    fn open_class(
        &mut self,
        at: u32,
        family: CounterFamily,
        class: Class,
        room: Room,
        context: &mut Context<'_>,
    ) -> Option<SeriesId> {
        let labels = self.class_labels(at, class, context);
        let id = context
            .series
            .open(self.families.counter(family), labels, room)?;
        let series = ClassSeries {
            class,
            id,
            changed: context.now,
        };
        classes_of(self.group_at(at, context.now).0, family).push(series);
        Some(id)
    }

    /// The buckets configured for a task name.
    fn buckets(
        &self,
        family: HistogramFamily,
        at: u32,
        context: &Context<'_>,
    ) -> Option<Arc<Buckets>> {
        // The overflow group has none.
        let group = self.groups[at as usize].as_ref()?;
        let name = context.names.text(group.key.name?);
        let own = self.config.overrides.iter();
        let mut buckets = own
            .filter(|own| own.matches.is_match(&name))
            .map(|own| match family {
                HistogramFamily::Runtime => own.runtime.as_ref(),
                HistogramFamily::QueueWait
                | HistogramFamily::PrefetchWait
                | HistogramFamily::Turnaround => own.wait.as_ref(),
                HistogramFamily::Attempts => None,
            });
        buckets.find_map(|buckets| buckets.cloned())
    }

    /// The group in which a task in flight was counted when it entered.
    fn group_left(&mut self, of: TaskKey, context: &mut Context<'_>) -> u32 {
        if self.folded.is_empty() {
            return self.group(of, context);
        }
        let key = self.key(of, context);
        let Some(folded) = self.folded.get_mut(&key) else {
            return self.group(of, context);
        };
        let other = self.index.get(&key.without_place()).copied();
        let at = match (self.overflow, other) {
            (Some(at), _) if folded.overflow > 0 => {
                folded.overflow -= 1;
                at
            }
            (_, Some(at)) if folded.other_queues > 0 => {
                folded.other_queues -= 1;
                at
            }
            _ => return self.group(of, context),
        };
        if folded.overflow + folded.other_queues == 0 {
            self.folded.remove(&key);
        }
        at
    }

    /// The group in which a task is counted: the overflow group if there is no room for a new one.
    fn group(&mut self, of: TaskKey, context: &mut Context<'_>) -> u32 {
        if let Some((newest, at)) = self.newest
            && newest == of
        {
            return at;
        }
        let key = self.key(of, context);
        if let Some(&at) = self.index.get(&key) {
            self.newest = Some((of, at));
            return at;
        }
        let max = self.config.queues_max;
        let key = if self.places.has(key, max) || self.is_restored(key, context) {
            key
        } else {
            self.limited.queues += 1;
            context.series.reached(Limit::Queues);
            let other = key.without_place();
            if let Some(&at) = self.index.get(&other) {
                return at;
            }
            other
        };
        let samples = Counter::OF_WORKERS.len() + 1 + InFlightStage::ALL.len();
        if !context.series.has_room(samples) && !self.is_restored(key, context) {
            return self.overflow_group(context);
        }
        let at = self.add_group(key, context.now);
        self.index.insert(key, at);
        self.places.add(key);
        self.open_first(at, Room::Limited, context);
        at
    }

    fn key(&self, of: TaskKey, context: &Context<'_>) -> Key {
        let TaskLabels {
            name,
            queue,
            worker,
        } = self.config.labels;
        let node = of.worker.filter(|_| worker);
        Key {
            name: of.name.filter(|_| name),
            queue: of.queue.filter(|_| queue),
            worker: if self.config.hostnames {
                node.map(|node| context.names.host(node))
            } else {
                node
            },
            other_queues: false,
        }
    }

    fn overflow_group(&mut self, context: &mut Context<'_>) -> u32 {
        self.limited.series += 1;
        if let Some(at) = self.overflow {
            return at;
        }
        let at = self.add_group(Key::default(), context.now);
        self.overflow = Some(at);
        self.open_first(at, Room::Reserved, context);
        at
    }

    fn add_group(&mut self, key: Key, now: Timestamp) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.groups.push(None);
            u32::try_from(self.groups.len() - 1).expect("the limit on series is far below 2^32")
        });
        self.groups[at as usize] = Some(Group::new(key, now));
        at
    }

    /// Opens the series that start at 0 with the first event of their group.
    fn open_first(&mut self, at: u32, room: Room, context: &mut Context<'_>) {
        let key = self.group_at(at, context.now).0.key;
        let by_worker = self.config.labels.worker && self.overflow != Some(at);
        // With the label `worker`, a group has either tasks without a worker yet, or those of one
        // worker.
        let of_workers = !by_worker || key.worker.is_some();
        let of_clients = !by_worker || key.worker.is_none();
        let counters = of_workers
            .then_some(Counter::OF_WORKERS)
            .into_iter()
            .flatten();
        for counter in counters.chain(of_clients.then_some(Counter::Sent)) {
            let (family, label) = counter.shown();
            let labels = self.group_labels(at, label, context);
            let id = context
                .series
                .open(self.families.counter(family), labels, room);
            self.group_at(at, context.now).0.counters[counter as usize] = id;
        }
        for flight in InFlightStage::ALL {
            let shown = if flight == InFlightStage::Sent {
                of_clients
            } else {
                of_workers
            };
            if shown {
                let labels = self.group_labels(at, Some(("state", flight.name())), context);
                let family = self.families.in_flight;
                let id = context.series.open_zeroed(family, labels, room);
                self.group_at(at, context.now).0.in_flight[flight as usize] = id;
            }
        }
        if context.series.has_restored() {
            self.open_restored(at, context);
        }
    }

    /// Opens a series of a group if there is room for it.
    fn open(
        &mut self,
        at: u32,
        family: FamilyId,
        label: Option<(&'static str, &'static str)>,
        buckets: Option<&Arc<Buckets>>,
        context: &mut Context<'_>,
    ) -> Option<SeriesId> {
        let (_, room) = self.group_at(at, context.now);
        let labels = self.group_labels(at, label, context);
        context.series.open_with(family, labels, room, buckets)
    }

    /// A group, which is marked as changed, and the room for its new series.
    fn group_at(&mut self, at: u32, now: Timestamp) -> (&mut Group, Room) {
        let overflow = self.overflow == Some(at);
        let group = self.groups[at as usize]
            .as_mut()
            .expect("an indexed group is there");
        group.changed = now;
        let room = if overflow {
            Room::Reserved
        } else {
            Room::Limited
        };
        (group, room)
    }
}

fn classes_of(group: &mut Group, family: CounterFamily) -> &mut Vec<ClassSeries> {
    if family == CounterFamily::Failed {
        &mut group.failed
    } else {
        &mut group.retried
    }
}
