//! A restart midway does not change what is reported, and invalid data affects nothing else.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::event::{Detail, Event, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::saved::task::Id;
use crate::state::{Limits, WorkerTimeout};

const KINDS: [TaskKind; 9] = [
    TaskKind::Sent,
    TaskKind::Received,
    TaskKind::Started,
    TaskKind::Succeeded,
    TaskKind::Failed,
    TaskKind::Retried,
    TaskKind::Rejected,
    TaskKind::Revoked,
    TaskKind::Cancelled,
];

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

fn state() -> State {
    State::new(Limits {
        tasks_max: 6,
        task_timeout: Duration::from_secs(1_000),
        worker_timeout: WorkerTimeout::Missed(3),
        worker_retention: Duration::from_secs(60),
        long_running_factor: 3.0,
        periodic: Vec::new(),
        awaits_periodic: false,
        queue_ttl: Duration::from_secs(86_400),
        broker_drops_expired: true,
        broker_holds_events: true,
        keep_foreign: false,
        asks_workers: false,
        shard: None,
    })
}

/// An event of one of several tasks and workers. A `what` above the task kinds means a heartbeat.
fn event(what: usize, task: u8, worker: u8, millis: i64) -> Event<'static> {
    let uuid = if task % 4 == 3 {
        format!("no-uuid-{task}")
    } else {
        format!("0b6f1a52-5a5e-4a55-9d7c-2f5a4c3b1d{task:02x}")
    };
    let detail = match KINDS.get(what) {
        Some(&kind) => {
            let named = matches!(kind, TaskKind::Sent | TaskKind::Received);
            Detail::Task(TaskEvent {
                name: named.then(|| Cow::Owned(format!("t{}", task % 3))),
                queue: (kind == TaskKind::Sent).then_some(Cow::Borrowed("q")),
                retries: named.then_some(u32::from(worker % 2)),
                expires: (task == 2).then(|| at(millis + 20_000)),
                ..TaskEvent::new(kind, uuid)
            })
        }
        None => Detail::Worker(WorkerEvent {
            freq: Some(2.0),
            active: Some(1),
            processed: Some(u64::from(task) + millis.unsigned_abs() / 1_000),
            loadavg: Some([0.5, 0.25, 0.125]),
            sw_ver: Some("5.7.0".into()),
            ..WorkerEvent::new(WorkerKind::Heartbeat)
        }),
    };
    let sent = what == 0;
    Event {
        timestamp: at(millis),
        hostname: if sent {
            "gen1@h".into()
        } else {
            Cow::Owned(format!("w{}@h", worker % 3))
        },
        pid: Some(i64::from(worker / 4)),
        detail,
    }
}

/// Formats changes with the names of tasks.
fn told(changes: &[Change], names: &Names) -> Vec<String> {
    let told = changes.iter().map(|change| {
        let debug = format!("{change:?}");
        let mut text = String::new();
        let mut rest = debug.as_str();
        while let Some((before, after)) = rest.split_once("Symbol(") {
            let (number, after) = after.split_once(')').expect("as derived");
            let name = names.numbered(number.parse().expect("a number"));
            write!(text, "{before}{name}").expect("a string");
            rest = after;
        }
        text + rest
    });
    told.collect()
}

/// Restores the state from its serialized form, as another process would.
fn restarted(state: &mut State, now: Timestamp) -> (State, Vec<String>) {
    let captured = state.capture();
    let mut next = self::state();
    let mut changes = Vec::new();
    for part in captured.into_saved("main".to_owned(), saved::Position::default()) {
        let bytes = part.encode_to_vec();
        let part = saved::Cluster::decode(bytes.as_slice()).expect("as encoded");
        next.restore(&part, now, &mut changes);
    }
    let moved = told(&changes, next.names());
    (next, moved)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_restart_changes_nothing_of_what_is_told(
        steps in prop::collection::vec((0..11_usize, 0..8_u8, 0..8_u8, 0..3_000_i64), 1..120),
        cut in 0..120_usize,
    ) {
        let mut whole = state();
        let mut cut_state = state();
        let mut now = 0;
        for (place, (what, task, worker, pause)) in steps.into_iter().enumerate() {
            now += pause;
            if place == cut {
                let (next, _) = restarted(&mut cut_state, at(now));
                prop_assert_eq!(next.tasks_alive(), cut_state.tasks_alive());
                prop_assert_eq!(next.oldest().len(), cut_state.oldest().len());
                cut_state = next;
                // From here on, both have listened for the same time.
                whole.resumed = at(now);
            }
            let event = event(what, task, worker, now);
            let [mut changes, mut expected] = [Vec::new(), Vec::new()];
            whole.apply(&event, at(now), &mut expected);
            whole.expire(at(now), &mut expected);
            cut_state.apply(&event, at(now), &mut changes);
            cut_state.expire(at(now), &mut changes);
            let mut changes = told(&changes, cut_state.names());
            let mut expected = told(&expected, whole.names());
            // Workers that are removed together are removed in any order.
            changes.sort();
            expected.sort();
            prop_assert_eq!(changes, expected, "step {}, cut {}", place, cut);
        }
        let worker = |state: &State| {
            let workers = state.workers();
            let mut told: Vec<_> = workers
                .map(|worker| {
                    let name = state.names().text(worker.name).to_string();
                    (name, worker.online, worker.seen, worker.active, worker.processed(), worker.loadavg, worker.clock_skew)
                })
                .collect();
            told.sort_by(|a, b| a.0.cmp(&b.0));
            told
        };
        prop_assert_eq!(worker(&cut_state), worker(&whole));
    }
}

#[test]
fn each_task_in_flight_is_moved_to_where_it_is() {
    let mut before = state();
    let mut changes = Vec::new();
    for (what, task) in [(0, 0), (0, 1), (1, 1), (1, 4), (2, 4), (2, 5), (3, 5)] {
        before.apply(&event(what, task, 0, 10), at(10), &mut changes);
    }
    // Held tasks are not in flight anywhere yet.
    before.expire(at(10), &mut changes);
    before.expire(at(10), &mut changes);
    let (_, moved) = restarted(&mut before, at(20));
    let stages: Vec<_> = moved
        .iter()
        .map(|text| {
            text.split("stage: ")
                .nth(1)
                .and_then(|rest| rest.split(',').next())
        })
        .collect();
    assert_eq!(
        stages,
        [Some("Sent"), Some("Received"), Some("Started")],
        "{moved:?}"
    );
}

#[test]
fn a_worker_is_not_silent_before_it_could_be_heard() {
    let mut before = state();
    let mut changes = Vec::new();
    before.apply(&event(9, 0, 0, 0), at(0), &mut changes);
    let (mut after, _) = restarted(&mut before, at(600_000));
    let online = |state: &State| state.workers().next().map(|worker| worker.online);
    after.expire(at(605_000), &mut changes);
    assert_eq!(online(&after), Some(true));
    after.expire(at(606_001), &mut changes);
    assert_eq!(online(&after), Some(false));
    assert_eq!(
        after.workers().next().map(|worker| worker.seen),
        Some(at(0))
    );
}

#[test]
fn a_task_that_expired_is_not_given_up_before_what_waits_was_read() {
    let mut before = state();
    let mut changes = Vec::new();
    // It expires 20 s after it was sent.
    before.apply(&event(0, 2, 0, 0), at(0), &mut changes);
    let (mut after, _) = restarted(&mut before, at(300_000));
    changes.clear();
    after.expire(at(301_000), &mut changes);
    assert_eq!(changes, [], "its task-received may wait in the queue");
    after.apply(&event(9, 0, 0, 36_000), at(302_000), &mut changes);
    after.expire(at(302_000), &mut changes);
    let lost = changes
        .iter()
        .any(|change| matches!(change, Change::Lost { .. }));
    assert!(
        lost,
        "what was sent 36 s later was read, and it was never received: {changes:?}"
    );
}

#[test]
fn what_waited_says_nothing_of_a_clock() {
    let mut state = state();
    let mut changes = Vec::new();
    state.apply(&event(9, 0, 0, 0), at(600_000), &mut changes);
    let skew = |state: &State| state.workers().next().and_then(|worker| worker.clock_skew);
    assert_eq!(skew(&state), None);
    state.apply(&event(9, 0, 0, 602_000), at(603_000), &mut changes);
    assert_eq!(skew(&state), Some(1.0));
}

#[test]
fn what_makes_no_sense_costs_only_itself() {
    let task = |id| saved::Task {
        id,
        stage: saved::Stage::Started.into(),
        name: 1,
        ..saved::Task::default()
    };
    let uuid = || Some(Id::Uuid(vec![7; 16]));
    let cases = [
        ("sound", task(uuid()), 1),
        ("no id", task(None), 0),
        ("an id of 15 bytes", task(Some(Id::Uuid(vec![7; 15]))), 0),
        ("an empty id", task(Some(Id::Text(String::new()))), 0),
        ("a text", task(Some(Id::Text("7".to_owned()))), 1),
        (
            "a name that is not there",
            saved::Task {
                name: 99,
                ..task(uuid())
            },
            1,
        ),
        (
            "a stage that is not known",
            saved::Task {
                stage: 99,
                ..task(uuid())
            },
            0,
        ),
        (
            "an attempt beyond all",
            saved::Task {
                attempt: u32::MAX,
                ..task(uuid())
            },
            1,
        ),
        ("the same twice", task(Some(Id::Uuid(vec![9; 16]))), 0),
    ];
    for (case, task_of_case, alive) in cases {
        let other = || task(Some(Id::Uuid(vec![9; 16])));
        let saved = saved::Cluster {
            texts: vec!["t".to_owned()],
            tasks: vec![other(), task_of_case],
            workers: vec![
                saved::Worker::default(),
                saved::Worker {
                    name: 5,
                    ..Default::default()
                },
            ],
            queues_of_names: vec![saved::QueueOfName {
                name: 1,
                queue: 0,
                ..saved::QueueOfName::default()
            }],
            ..saved::Cluster::default()
        };
        let mut state = state();
        let mut changes = Vec::new();
        state.restore(&saved, at(0), &mut changes);
        assert_eq!(state.tasks_alive(), 1 + alive, "{case}");
        assert_eq!(state.workers().count(), 0, "{case}");
    }
}

#[test]
fn more_tasks_than_there_may_be_are_given_up_from_the_oldest() {
    let tasks = (1..=9_u8).map(|n| saved::Task {
        id: Some(Id::Uuid(vec![n; 16])),
        stage: saved::Stage::Received.into(),
        heard: u32::from(n),
        ..saved::Task::default()
    });
    let saved = saved::Cluster {
        tasks: tasks.collect(),
        ..saved::Cluster::default()
    };
    let mut state = state();
    let mut changes = Vec::new();
    state.restore(&saved, at(0), &mut changes);
    let lost = changes
        .iter()
        .filter(|change| matches!(change, Change::Lost { .. }));
    assert_eq!((state.tasks_alive(), lost.count()), (6, 3));
}
