//! The native profile: celeriac's own families.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::group::{
    ClassSeries, Counter, CounterFamily, EventSeries, Group, Key, Target, outcome_index,
};
use super::workers::WorkerGauges;
use super::{Context, label_set, reserved};
use crate::event::Kind;
use crate::series::{Buckets, Family, FamilyId, LabelSet, MetricKind, Room, Series, SeriesId};
use crate::state::{Change, Name, Of, Outcome, Stage, State};
use crate::timestamp::Timestamp;

/// What stands for everything beyond a limit.
const OTHER: &str = "(other)";

/// What the native profile shows.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeConfig {
    /// Before each name: `celery_`.
    pub prefix: Arc<str>,
    pub labels: TaskLabels,
    pub runtime_buckets: Arc<Buckets>,
    /// Exception classes of one group; beyond, they count as `(other)`.
    pub exceptions_max: usize,
    /// How long a series stays that does not change.
    pub series_ttl: Duration,
}

/// The labels of task series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLabels {
    pub name: bool,
    pub queue: bool,
    pub worker: bool,
}

/// The native series of one cluster.
#[derive(Debug)]
pub struct Native {
    config: NativeConfig,
    /// The value of the label `broker`; absent where only one broker is configured and has no name.
    broker: Option<Arc<str>>,
    families: Families,
    groups: Vec<Option<Group>>,
    free: Vec<u32>,
    index: HashMap<Key, u32>,
    /// The newest look-up: what an event changes is mostly all in one group.
    newest: Option<(Key, u32)>,
    /// Takes what the limit on series leaves no room for.
    overflow: Option<u32>,
    /// Tasks in flight that were counted in the overflow, by the key that they have: they leave it from there,
    /// even if there is room for their key by then.
    folded: HashMap<Key, usize>,
    events: EventSeries,
    workers: WorkerGauges,
    limited: Limited,
}

/// How often a limit made a change count in an overflow series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limited {
    pub series: u64,
    pub exceptions: u64,
}

#[derive(Debug)]
struct Families {
    events: FamilyId,
    counters: [FamilyId; 10],
    runtime: FamilyId,
    in_flight: FamilyId,
}

impl Families {
    fn new(config: &NativeConfig, series: &mut Series) -> Self {
        let mut family = |name: &str, kind: MetricKind, help: &'static str| {
            series.family(Family {
                name: format!("{}{name}", config.prefix).into(),
                kind,
                help,
            })
        };
        let counter = MetricKind::Counter;
        Self {
            events: family("events_total", counter.clone(), "Events received, by their type."),
            counters: [
                ("task_sent_total", "Tasks published (task-sent; needs task_send_sent_event)."),
                ("task_received_total", "Tasks that a worker took from the broker (task-received)."),
                ("task_started_total", "Tasks that began to run (task-started)."),
                ("task_succeeded_total", "Tasks that returned a result (task-succeeded)."),
                ("task_failed_total", "Tasks that failed (task-failed), by the exception's class."),
                ("task_retried_total", "Attempts that ended in a retry (task-retried), by the exception's class."),
                ("task_rejected_total", "Tasks that were rejected (task-rejected), and whether they go back to their queue."),
                ("task_revoked_total", "Tasks that were revoked (task-revoked), and why."),
                ("task_cancelled_total", "Running tasks that were cancelled (task-cancelled; Celery 5.1 and later)."),
                ("task_lost_total", "Tasks in flight that were given up, and why."),
            ]
            .map(|(name, help)| family(name, counter.clone(), help)),
            runtime: family(
                "task_runtime_seconds",
                MetricKind::Histogram(Arc::clone(&config.runtime_buckets)),
                "How long attempts ran, as the worker measured it, else from start to end.",
            ),
            in_flight: family("tasks_in_flight", MetricKind::Gauge, "Tasks that are published, received or running now."),
        }
    }

    const fn counter(&self, family: CounterFamily) -> FamilyId {
        self.counters[family as usize]
    }
}

impl Native {
    /// The profile of one cluster; `broker` where its series carry that label.
    pub fn new(config: NativeConfig, broker: Option<Arc<str>>, series: &mut Series) -> Self {
        let families = Families::new(&config, series);
        let workers = WorkerGauges::new(&config.prefix, series);
        Self {
            families,
            workers,
            config,
            broker,
            groups: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            newest: None,
            overflow: None,
            folded: HashMap::new(),
            events: [None; Kind::ALL.len()],
            limited: Limited::default(),
        }
    }

    /// Adds one change to the series.
    pub fn apply(&mut self, change: Change, context: &mut Context<'_>) {
        match change {
            Change::Event(kind) => {
                let id = self.event_series(kind, context);
                context.series.add(id, 1.0);
            }
            Change::Duplicate => {}
            Change::Task { step, of } => match Target::from(step) {
                Target::Plain(counter) => self.count(counter, of, context),
                Target::Failed(class) => {
                    self.count_class(CounterFamily::Failed, class, of, context)
                }
                Target::Retried(class) => {
                    self.count_class(CounterFamily::Retried, class, of, context);
                }
            },
            Change::Ran {
                outcome,
                seconds,
                of,
            } => {
                let id = self.runtime_series(outcome, of, context);
                context.series.observe(id, seconds);
            }
            Change::Moved { from, to } => {
                if let Some((stage, of)) = from {
                    self.fly(stage, of, -1.0, context);
                }
                if let Some((stage, of)) = to {
                    self.fly(stage, of, 1.0, context);
                }
            }
            Change::Lost { reason, of } => self.count(reason.into(), of, context),
        }
    }

    /// Sets what is a level and not a sum, as the state has it.
    pub fn level(&mut self, state: &State, series: &mut Series) {
        self.workers.level(state, series, self.broker.as_ref());
    }

    /// Ends the series that have not changed for `series_ttl`.
    pub fn expire(&mut self, series: &mut Series, now: Timestamp) {
        let ttl = self.config.series_ttl;
        self.newest = None;
        let old = |changed: Timestamp| now.since(changed) > ttl;
        for at in 0..self.groups.len() {
            let Some(group) = &mut self.groups[at] else {
                continue;
            };
            if group.flying == 0 && old(group.changed) {
                group.series().for_each(|id| series.close(id));
                let at = u32::try_from(at).expect("came from one");
                if self.overflow == Some(at) {
                    self.overflow = None;
                } else {
                    self.index.remove(&group.key);
                }
                self.groups[at as usize] = None;
                self.free.push(at);
                continue;
            }
            for classes in [&mut group.failed, &mut group.retried] {
                classes.retain(|class| {
                    let keep = !old(class.changed);
                    if !keep {
                        series.close(class.id);
                    }
                    keep
                });
            }
        }
    }

    /// The names that the profile refers to.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        let groups = self.groups.iter().flatten().flat_map(Group::names);
        let folded = self
            .folded
            .keys()
            .flat_map(|key| [key.name, key.queue, key.worker]);
        groups.chain(folded.flatten()).chain(self.workers.names())
    }

    /// What limits did so far.
    pub const fn limited(&self) -> Limited {
        self.limited
    }

    fn count(&mut self, counter: Counter, of: Of, context: &mut Context<'_>) {
        let mut at = self.group(of, context);
        let (family, label) = counter.shown();
        let id = loop {
            let (group, room) = self.group_at(at, context.now);
            if let Some(id) = group.counters[counter as usize] {
                break id;
            }
            let labels = self.group_labels(at, label, context);
            match context
                .series
                .open(self.families.counter(family), labels, room)
            {
                Some(id) => {
                    self.group_at(at, context.now).0.counters[counter as usize] = Some(id);
                    break id;
                }
                None => at = self.overflow_group(context),
            }
        };
        context.series.add(id, 1.0);
    }

    fn count_class(
        &mut self,
        family: CounterFamily,
        class: Name,
        of: Of,
        context: &mut Context<'_>,
    ) {
        let at = self.group(of, context);
        let id = self.class_series(at, family, class, context);
        context.series.add(id, 1.0);
    }

    /// The series of an exception class in a group: its own, else that of all others in the group.
    fn class_series(
        &mut self,
        at: u32,
        family: CounterFamily,
        class: Name,
        context: &mut Context<'_>,
    ) -> SeriesId {
        let now = context.now;
        let exceptions_max = self.config.exceptions_max;
        let (group, room) = self.group_at(at, now);
        let classes = classes_of(group, family);
        if let Some(known) = classes.iter_mut().find(|known| known.class == Some(class)) {
            known.changed = now;
            return known.id;
        }
        let named = classes.iter().filter(|known| known.class.is_some()).count();
        let id = self.families.counter(family);
        if named < exceptions_max {
            let text = context.names.text(class);
            let labels = self.exception_labels(at, text, context);
            if let Some(id) = context.series.open(id, labels, room) {
                let series = ClassSeries {
                    class: Some(class),
                    id,
                    changed: now,
                };
                classes_of(self.group_at(at, now).0, family).push(series);
                return id;
            }
            self.limited.series += 1;
        } else {
            self.limited.exceptions += 1;
        }
        let classes = classes_of(self.group_at(at, now).0, family);
        if let Some(other) = classes.iter_mut().find(|known| known.class.is_none()) {
            other.changed = now;
            return other.id;
        }
        let labels = self.exception_labels(at, OTHER.into(), context);
        let id = reserved(context.series, id, labels);
        let series = ClassSeries {
            class: None,
            id,
            changed: now,
        };
        classes_of(self.group_at(at, now).0, family).push(series);
        id
    }

    fn runtime_series(&mut self, outcome: Outcome, of: Of, context: &mut Context<'_>) -> SeriesId {
        let mut at = self.group(of, context);
        loop {
            let (group, room) = self.group_at(at, context.now);
            if let Some(id) = group.runtime[outcome_index(outcome)] {
                return id;
            }
            let label = Some(("outcome", outcome.name()));
            let labels = self.group_labels(at, label, context);
            if let Some(id) = context.series.open(self.families.runtime, labels, room) {
                self.group_at(at, context.now).0.runtime[outcome_index(outcome)] = Some(id);
                return id;
            }
            at = self.overflow_group(context);
        }
    }

    fn fly(&mut self, stage: Stage, of: Of, n: f64, context: &mut Context<'_>) {
        let key = self.key(of);
        let at = if n > 0.0 {
            let at = self.group(of, context);
            if self.overflow == Some(at) {
                *self.folded.entry(key).or_default() += 1;
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
        let id = if let Some(id) = group.in_flight[stage as usize] {
            id
        } else {
            let label = Some(("state", stage.name()));
            let labels = self.group_labels(at, label, context);
            let id = reserved(context.series, self.families.in_flight, labels);
            self.group_at(at, context.now).0.in_flight[stage as usize] = Some(id);
            id
        };
        context.series.add(id, n);
    }

    /// The group that a task in flight was counted in when it came.
    fn group_left(&mut self, of: Of, context: &mut Context<'_>) -> u32 {
        let key = self.key(of);
        match (self.folded.get_mut(&key), self.overflow) {
            (Some(count), Some(overflow)) => {
                *count -= 1;
                if *count == 0 {
                    self.folded.remove(&key);
                }
                overflow
            }
            _ => self.group(of, context),
        }
    }

    fn event_series(&mut self, kind: Kind, context: &mut Context<'_>) -> SeriesId {
        if let Some(id) = self.events[kind.index()] {
            return id;
        }
        let labels = self.labels([("type", kind.name().into())]);
        let id = reserved(context.series, self.families.events, labels);
        self.events[kind.index()] = Some(id);
        id
    }

    /// The group that a task is counted in; the overflow where there is no room for a new one.
    fn group(&mut self, of: Of, context: &mut Context<'_>) -> u32 {
        let key = self.key(of);
        if let Some((newest, at)) = self.newest
            && newest == key
        {
            return at;
        }
        if let Some(&at) = self.index.get(&key) {
            self.newest = Some((key, at));
            return at;
        }
        let samples = Counter::OF_WORKERS.len() + 1 + Stage::ALL.len();
        if !context.series.has_room(samples) {
            return self.overflow_group(context);
        }
        let at = self.add_group(key, context.now);
        self.index.insert(key, at);
        self.open_first(at, Room::Limited, context);
        at
    }

    fn key(&self, of: Of) -> Key {
        let labels = self.config.labels;
        Key {
            name: labels.name.then_some(of.name),
            queue: labels.queue.then_some(of.queue),
            worker: of.worker.filter(|_| labels.worker),
        }
    }

    fn overflow_group(&mut self, context: &mut Context<'_>) -> u32 {
        self.limited.series += 1;
        if let Some(at) = self.overflow {
            return at;
        }
        let at = self.add_group(
            Key {
                name: None,
                queue: None,
                worker: None,
            },
            context.now,
        );
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

    /// Opens the series that exist with 0 from the first event of their group on.
    fn open_first(&mut self, at: u32, room: Room, context: &mut Context<'_>) {
        let key = self.group_at(at, context.now).0.key;
        let by_worker = self.config.labels.worker && self.overflow != Some(at);
        // With a label `worker` a group is either of tasks that no worker has yet, or of one worker's.
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
        for stage in Stage::ALL {
            if if stage == Stage::Sent {
                of_clients
            } else {
                of_workers
            } {
                let labels = self.group_labels(at, Some(("state", stage.name())), context);
                let id = context.series.open(self.families.in_flight, labels, room);
                self.group_at(at, context.now).0.in_flight[stage as usize] = id;
            }
        }
    }

    /// A group, which counts as changed by this, and where its new series find room.
    fn group_at(&mut self, at: u32, now: Timestamp) -> (&mut Group, Room) {
        let overflow = self.overflow == Some(at);
        let group = self.groups[at as usize]
            .as_mut()
            .expect("an indexed group is there");
        group.changed = now;
        (
            group,
            if overflow {
                Room::Reserved
            } else {
                Room::Limited
            },
        )
    }

    fn exception_labels(&self, at: u32, class: Arc<str>, context: &Context<'_>) -> LabelSet {
        let labels = self.task_labels(at, context);
        self.labels(labels.into_iter().chain([("exception", class)]))
    }

    fn group_labels(
        &self,
        at: u32,
        own: Option<(&'static str, &'static str)>,
        context: &Context<'_>,
    ) -> LabelSet {
        let labels = self.task_labels(at, context);
        self.labels(
            labels
                .into_iter()
                .chain(own.map(|(name, value)| (name, value.into()))),
        )
    }

    /// The labels that a group's key stands for.
    fn task_labels(&self, at: u32, context: &Context<'_>) -> Vec<(&'static str, Arc<str>)> {
        let shown = self.config.labels;
        let shown = [
            ("name", shown.name),
            ("queue", shown.queue),
            ("worker", shown.worker),
        ];
        if self.overflow == Some(at) {
            let shown = shown.into_iter().filter(|(_, shown)| *shown);
            return shown.map(|(label, _)| (label, OTHER.into())).collect();
        }
        let key = self.groups[at as usize]
            .as_ref()
            .expect("an indexed group is there")
            .key;
        let names = [key.name, key.queue, key.worker];
        let labels = shown.into_iter().zip(names);
        labels
            .filter_map(|((label, _), name)| name.map(|name| (label, context.names.text(name))))
            .collect()
    }

    fn labels(&self, labels: impl IntoIterator<Item = (&'static str, Arc<str>)>) -> LabelSet {
        label_set(self.broker.as_ref(), labels)
    }
}

fn classes_of(group: &mut Group, family: CounterFamily) -> &mut Vec<ClassSeries> {
    if family == CounterFamily::Failed {
        &mut group.failed
    } else {
        &mut group.retried
    }
}

#[cfg(test)]
mod tests;
