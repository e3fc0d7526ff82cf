mod owners;
mod random;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{
    Answers, Change, Limits, Loss, State, Symbol, TaskAnswer, TaskKey, WorkerAnswer, WorkerTimeout,
};
use super::*;
use crate::event::{Detail, Event, OtherEvent, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::timestamp::Timestamp;

const WORKERS: usize = 6;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn state(shard: Option<Shard>, tasks_max: usize) -> State {
    State::new(Limits {
        tasks_max,
        task_timeout: Duration::from_secs(100),
        worker_timeout: WorkerTimeout::After(Duration::from_secs(10_000)),
        worker_retention: Duration::from_secs(60),
        long_running_factor: 3.0,
        periodic: Vec::new(),
        awaits_periodic: false,
        queue_ttl: Duration::from_secs(86_400),
        broker_drops_expired: true,
        broker_holds_events: false,
        keep_foreign: true,
        asks_workers: false,
        shard,
    })
}

fn event(hostname: &str, millis: i64, detail: Detail<'static>) -> Event<'static> {
    Event {
        timestamp: at(millis),
        hostname: hostname.to_owned().into(),
        pid: None,
        detail,
    }
}

fn sent(uuid: &str, retries: u32, eta: Option<i64>, millis: i64) -> Event<'static> {
    let (name, queue) = names_of(uuid);
    let task = TaskEvent {
        name: Some(name),
        queue: Some(queue),
        retries: Some(retries),
        eta: eta.map(at),
        ..TaskEvent::new(TaskKind::Sent, uuid.to_owned())
    };
    event("gen7@client", millis, Detail::Task(task))
}

fn received(uuid: &str, worker: usize, retries: u32, millis: i64) -> Event<'static> {
    let task = TaskEvent {
        name: Some(names_of(uuid).0),
        retries: Some(retries),
        ..TaskEvent::new(TaskKind::Received, uuid.to_owned())
    };
    event(&hostname(worker), millis, Detail::Task(task))
}

fn of_worker(kind: TaskKind, uuid: &str, worker: usize, millis: i64) -> Event<'static> {
    let exception = matches!(kind, TaskKind::Failed | TaskKind::Retried);
    let task = TaskEvent {
        exception: exception.then_some("ValueError".into()),
        ..TaskEvent::new(kind, uuid.to_owned())
    };
    event(&hostname(worker), millis, Detail::Task(task))
}

/// Tasks with the same id have the same name, and tasks with the same name are in the same queue:
/// before the task-sent arrives, a daemon infers the queue from what it has seen.
fn names_of(uuid: &str) -> (Cow<'static, str>, Cow<'static, str>) {
    let sum: usize = uuid.bytes().map(usize::from).sum();
    (
        format!("tasks.t{}", sum % 3).into(),
        format!("q{}", sum % 3 % 2).into(),
    )
}

fn hostname(worker: usize) -> String {
    format!("celery@w{worker}")
}

/// The combined results of one or several daemons.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    /// How often each event, step, interval and loss was reported, as text with the names of its
    /// task.
    told: BTreeMap<String, u32>,
    /// Number of tasks that workers have, by stage and labels.
    held: BTreeMap<String, i64>,
    /// How often a task was reported as on its way.
    on_the_way: u32,
}

impl Sums {
    fn add(&mut self, state: &State, changes: &mut Vec<Change>) {
        let text = |name: Option<Symbol>| name.map_or("-".into(), |name| state.names().text(name));
        let of = |of: TaskKey| format!("{} {} {}", text(of.name), text(of.queue), text(of.worker));
        for change in changes.drain(..) {
            let told = match change {
                Change::Event(seen) => format!(
                    "event {:?} {} {} {}",
                    seen.kind,
                    text(seen.other),
                    text(seen.sender),
                    text(seen.task)
                ),
                Change::Duplicate => "duplicate".into(),
                Change::Clamped => "clamped".into(),
                Change::Refused(refusal) => refusal.name().into(),
                Change::Unreported { reason, of: task } => {
                    format!("unreported {reason:?} {}", of(task))
                }
                Change::Missing(missing) => format!("missing {missing}"),
                Change::Workflow { outcome, root, .. } => {
                    format!("workflow {outcome:?} {}", text(root))
                }
                Change::Task {
                    step,
                    of: task,
                    at,
                    sender,
                } => {
                    // Names have different numbers in each state.
                    let step = format!("{step:?}");
                    let step = step.split('(').next().expect("a first part");
                    format!("{step} {} {at:?} {}", of(task), text(sender))
                }
                Change::Ran {
                    outcome,
                    seconds,
                    of: task,
                } => format!("ran {outcome:?} {seconds} {}", of(task)),
                Change::QueueWaited { seconds, of: task } => {
                    format!("queue {seconds} {}", of(task))
                }
                Change::PrefetchWaited {
                    seconds,
                    of: task,
                    eta,
                } => format!("prefetch {seconds} {} {eta}", of(task)),
                Change::TurnedAround {
                    outcome,
                    seconds,
                    of: task,
                } => format!("turnaround {outcome:?} {seconds} {}", of(task)),
                Change::Finished {
                    outcome,
                    attempts,
                    exhausted: _,
                    of: task,
                } => format!("attempts {outcome:?} {attempts} {}", of(task)),
                Change::Lost { reason, of: task } => format!("lost {reason:?} {}", of(task)),
                Change::Moved { from, to } => {
                    for (place, more) in [(from, -1), (to, 1)] {
                        if let Some(place) = place.filter(|place| place.stage.is_on_the_way()) {
                            self.on_the_way += u32::from(place.of.worker.is_none());
                        } else if let Some(place) = place {
                            let key = format!("{:?} {} {}", place.stage, of(place.of), place.eta);
                            *self.held.entry(key).or_default() += more;
                        }
                    }
                    continue;
                }
            };
            *self.told.entry(told).or_default() += 1;
        }
        self.held.retain(|_, count| *count != 0);
    }
}

/// Daemons, and which of them receives the events of each worker.
#[derive(Debug)]
struct Daemons {
    states: Vec<State>,
    shard_of: Vec<usize>,
    sums: Sums,
}

impl Daemons {
    fn one() -> Self {
        Self {
            states: vec![state(None, 1_000)],
            shard_of: vec![0; WORKERS],
            sums: Sums::default(),
        }
    }

    fn sharded(count: u32, shard_of: &[usize]) -> Self {
        let shards = (0..count).map(|index| state(Some(Shard { index, count }), 1_000));
        Self {
            states: shards.collect(),
            shard_of: shard_of.iter().map(|n| n % count as usize).collect(),
            sums: Sums::default(),
        }
    }

    /// Passes an event to the daemons that the broker would deliver it to.
    fn publish(&mut self, event: &Event<'_>, now: Timestamp) {
        let to_all = matches!(&event.detail, Detail::Task(task) if task.kind == TaskKind::Sent);
        let worker = (0..WORKERS).find(|worker| hostname(*worker) == event.hostname);
        let shard = worker.map_or(0, |worker| self.shard_of[worker]);
        let mut changes = Vec::new();
        for (at, state) in self.states.iter_mut().enumerate() {
            if to_all || at == shard {
                state.apply(event, now, &mut changes);
                self.sums.add(state, &mut changes);
            }
        }
    }

    /// When the longest-waiting task entered its stage, by queue and stage.
    fn oldest(&self) -> BTreeMap<String, Timestamp> {
        let mut oldest: BTreeMap<String, Timestamp> = BTreeMap::new();
        for state in &self.states {
            for ((queue, stage), entered) in state.oldest() {
                let queue = queue.map(|queue| state.names().text(queue));
                let known = oldest
                    .entry(format!("{stage:?} {queue:?}"))
                    .or_insert(entered);
                *known = entered.min(*known);
            }
        }
        oldest
    }

    /// Lets a long time pass.
    fn expire(&mut self) {
        let mut changes = Vec::new();
        for state in &mut self.states {
            state.expire(at(1_000_000), &mut changes);
            self.sums.add(state, &mut changes);
        }
    }

    fn lost(&self) -> u32 {
        let told = self.sums.told.iter();
        told.filter(|(told, _)| told.starts_with("lost"))
            .map(|(_, times)| times)
            .sum()
    }
}

/// The results of one shard of two that receives only these events.
fn told_by(index: u32, tasks_max: usize, events: &[Event<'_>]) -> (State, Sums) {
    let mut state = state(Some(Shard { index, count: 2 }), tasks_max);
    let (mut sums, mut changes) = (Sums::default(), Vec::new());
    for event in events {
        state.apply(event, event.timestamp, &mut changes);
        sums.add(&state, &mut changes);
    }
    (state, sums)
}

/// An id owned by shard 0 of two, and one that it does not own.
fn ids() -> [&'static str; 2] {
    let shard = Shard { index: 0, count: 2 };
    let ids = ["a", "b", "c", "d", "e", "f"];
    let find = |owned: bool| ids.into_iter().find(|id| shard.owns(id) == owned);
    [find(true).expect("one"), find(false).expect("one")]
}

#[test]
fn a_task_sent_counts_with_the_owner_alone_and_is_remembered_by_all() {
    let [owned, foreign] = ids();
    let cases = [(owned, 2), (foreign, 0)];
    for (uuid, expected) in cases {
        let events = [
            sent(uuid, 0, None, 0),
            sent(uuid, 0, None, 0),
            received(uuid, 1, 0, 3_000),
            of_worker(TaskKind::Started, uuid, 1, 4_000),
        ];
        let (_, sums) = told_by(0, 9, &events);
        let of_sent = |told: &&String| told.contains("Sent") || *told == "duplicate";
        let times = sums.told.iter().filter(|(told, _)| of_sent(told));
        let times: Vec<_> = times.map(|(told, times)| (told.as_str(), *times)).collect();
        assert_eq!(times.len(), if expected == 0 { 0 } else { 3 }, "{times:?}");
        let (_, queue) = names_of(uuid);
        let wait = sums.told.keys().find(|told| told.starts_with("queue 4 "));
        assert!(wait.is_some_and(|told| told.contains(&*queue)), "{sums:?}");
    }
}

#[test]
fn what_is_on_its_way_is_neither_shown_nor_lost() {
    let cases: [(&str, &[Event<'_>]); 5] = [
        ("sent", &[sent("a", 0, None, 0)]),
        (
            "sent again for the next attempt",
            &[sent("a", 0, None, 0), sent("a", 1, None, 10)],
        ),
        (
            "retried",
            &[
                sent("a", 0, None, 0),
                received("a", 1, 0, 1),
                of_worker(TaskKind::Started, "a", 1, 2),
                of_worker(TaskKind::Retried, "a", 1, 3),
            ],
        ),
        (
            "given back",
            &[sent("a", 0, None, 0), received("a", 1, 0, 1), {
                let mut event = of_worker(TaskKind::Rejected, "a", 1, 2);
                if let Detail::Task(task) = &mut event.detail {
                    task.requeue = true;
                }
                event
            }],
        ),
        (
            "received by a worker that is no more",
            &[
                sent("a", 0, None, 0),
                Event {
                    pid: Some(1),
                    ..event(&hostname(1), 0, online(1))
                },
                received("a", 1, 0, 1),
                Event {
                    pid: Some(2),
                    ..event(&hostname(1), 5, online(2))
                },
            ],
        ),
    ];
    for (case, events) in cases {
        let (mut state, sums) = told_by(0, 9, events);
        assert_eq!(
            (sums.on_the_way, sums.held.len()),
            (0, 0),
            "{case}: {sums:?}"
        );
        assert_eq!(state.tasks_alive(), 0, "{case}");
        assert!(state.oldest().is_empty(), "{case}");
        let mut changes = Vec::new();
        state.expire(at(1_000_000), &mut changes);
        let told = |change: &Change| matches!(change, Change::Lost { .. } | Change::Moved { .. });
        assert!(!changes.iter().any(told), "{case}: {changes:?}");
        // The task was forgotten, so its next event has no known queue.
        let mut sums = Sums::default();
        changes.clear();
        let late = of_worker(TaskKind::Started, "a", 1, 2_000_000);
        state.apply(&late, late.timestamp, &mut changes);
        sums.add(&state, &mut changes);
        assert!(
            sums.held
                .keys()
                .all(|place| place.starts_with("Started - -")),
            "{case}: {sums:?}"
        );
    }
}

#[test]
fn what_is_on_its_way_goes_before_what_a_worker_has() {
    let mut events = vec![received("held", 1, 0, 0)];
    events.extend((0..9).map(|n| sent(&format!("s{n}"), 0, None, n + 1)));
    let newest = of_worker(TaskKind::Started, "s8", 1, 20);
    let oldest = of_worker(TaskKind::Started, "s0", 1, 21);
    events.extend([newest, oldest, received("one too many", 1, 0, 22)]);
    let (state, sums) = told_by(0, 3, &events);

    assert_eq!(state.tasks_alive(), 3);
    let waits = sums.told.keys().filter(|told| told.starts_with("queue"));
    assert_eq!(waits.count(), 1, "of the newest: {sums:?}");
    let lost = sums
        .told
        .iter()
        .filter(|(told, _)| told.starts_with("lost"));
    let lost: Vec<_> = lost.collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].0.starts_with(&format!("lost {:?}", Loss::Evicted)));
}

#[test]
fn an_id_that_is_used_again_is_another_task() {
    let events = [
        sent("a", 0, None, 0),
        sent("a", 0, None, 60_000),
        received("a", 1, 0, 61_000),
        of_worker(TaskKind::Started, "a", 1, 62_000),
        of_worker(TaskKind::Succeeded, "a", 1, 65_000),
    ];
    let (_, sums) = told_by(0, 9, &events);
    let turned = sums.told.keys().find(|told| told.starts_with("turnaround"));
    assert!(
        turned.is_some_and(|told| told.contains("Succeeded 5 ")),
        "{sums:?}"
    );
}

#[test]
fn answers_count_for_workers_whose_events_come_here() {
    let answer = |worker| WorkerAnswer {
        worker: hostname(worker),
        pool_size: Some(8),
        slots: Some(8),
        queues: Some(vec!["q".into()]),
        active: Some(vec![TaskAnswer {
            uuid: format!("of {worker}"),
            ..TaskAnswer::default()
        }]),
        ..WorkerAnswer::default()
    };
    let (mut state, _) = told_by(0, 9, &[event(&hostname(1), 0, online(1))]);
    let mut changes = Vec::new();
    let answers = Answers::Workers(vec![answer(1), answer(2)]);
    state.report(&answers, at(1), at(1), &mut changes);

    let workers = state
        .workers()
        .map(|worker| state.names().text(worker.name));
    let workers: Vec<String> = workers.map(|worker| worker.to_string()).collect();
    assert_eq!(workers, [hostname(1)]);
    let queues: Vec<_> = state.queues().into_values().collect();
    assert_eq!(queues.len(), 1);
    assert_eq!((queues[0].workers, queues[0].slots), (Some(1), Some(8)));
    assert_eq!(state.tasks_alive(), 1);
}

fn online(processed: u64) -> Detail<'static> {
    Detail::Worker(WorkerEvent {
        freq: Some(2.0),
        processed: Some(processed),
        ..WorkerEvent::new(WorkerKind::Online)
    })
}
