use std::time::Duration;

use super::*;
use crate::event::{Detail, Event, TaskEvent, WorkerEvent, WorkerKind};
use crate::state::held::HELD_MAX;
use crate::state::{
    Answers, Binding, ExchangeKind, Limits, TaskKey, TaskStage, WorkerAnswer, WorkerTimeout,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + second * 1_000)
}

fn state(asks_workers: bool) -> State {
    State::new(Limits {
        tasks_max: 1_000,
        task_timeout: Duration::from_secs(1_000),
        worker_timeout: WorkerTimeout::Missed(100),
        worker_retention: Duration::from_secs(1_000),
        long_running_factor: 3.0,
        periodic: Vec::new(),
        awaits_periodic: false,
        queue_ttl: Duration::from_secs(86_400),
        broker_drops_expired: false,
        broker_holds_events: false,
        keep_foreign: false,
        asks_workers,
        shard: None,
    })
}

/// A task event at this time in seconds.
fn event<'a>(kind: TaskKind, uuid: &'a str, queue: Option<&'a str>, second: i64) -> Event<'a> {
    let named = matches!(kind, TaskKind::Sent | TaskKind::Received);
    let sent = kind == TaskKind::Sent;
    Event {
        timestamp: at(second),
        hostname: if sent { "gen1@h" } else { "w@h" }.into(),
        pid: None,
        detail: Detail::Task(TaskEvent {
            name: named.then(|| "t".into()),
            queue: queue.map(Into::into),
            ..TaskEvent::new(kind, uuid)
        }),
    }
}

/// Returns what an event counts, with the name of each queue.
fn take(state: &mut State, event: &Event<'_>) -> Vec<String> {
    let mut changes = Vec::new();
    state.apply(event, event.timestamp, &mut changes);
    counted(state, &changes)
}

fn counted(state: &State, changes: &[Change]) -> Vec<String> {
    let queue = |of: &TaskKey| {
        of.queue
            .map_or("-".into(), |queue| state.names().text(queue))
    };
    let shown = changes.iter().filter_map(|change| match change {
        Change::Task { step, of, .. } => Some(format!("{step:?} {}", queue(of))),
        Change::QueueWaited { of, .. } => Some(format!("waited {}", queue(of))),
        Change::PrefetchWaited { of, .. } => Some(format!("prefetched {}", queue(of))),
        Change::Moved { from, to } => {
            let place =
                |place: &crate::state::Place| format!("{:?} {}", place.stage, queue(&place.of));
            let [from, to] = [from, to].map(|it| it.as_ref().map_or("nowhere".into(), place));
            Some(format!("{from} -> {to}"))
        }
        Change::Event(_)
        | Change::Duplicate
        | Change::Clamped
        | Change::Refused(_)
        | Change::Missing(_)
        | Change::Ran { .. }
        | Change::TurnedAround { .. }
        | Change::Finished { .. }
        | Change::Unreported { .. }
        | Change::Workflow { .. }
        | Change::Lost { .. } => None,
    });
    shown.collect()
}

/// Returns what a snapshot counts.
fn snapshot(state: &mut State, second: i64) -> Vec<String> {
    let mut changes = Vec::new();
    state.expire(at(second), &mut changes);
    counted(state, &changes)
}

fn answer(queues: &[&str], bindings: &[Binding]) -> Answers {
    Answers::Workers(vec![WorkerAnswer {
        worker: "w@h".into(),
        queues: Some(queues.iter().map(|queue| (*queue).to_owned()).collect()),
        bindings: bindings.to_vec(),
        ..WorkerAnswer::default()
    }])
}

#[test]
fn events_that_overtake_their_task_sent_count_in_its_queue() {
    let mut state = state(false);
    take(&mut state, &event(TaskKind::Sent, "first", Some("a"), 0));
    for kind in [TaskKind::Received, TaskKind::Started] {
        let nothing = take(&mut state, &event(kind, "x", None, 2));
        assert_eq!(nothing, [""; 0], "{kind:?}");
    }
    assert_eq!(snapshot(&mut state, 3), [""; 0]);
    let late = Event {
        timestamp: at(1),
        ..event(TaskKind::Sent, "x", Some("b"), 1)
    };
    let expected = [
        "Received b",
        "Started b",
        "prefetched b",
        "Sent b",
        "waited b",
        "nowhere -> Started b",
    ];
    assert_eq!(take(&mut state, &late), expected);
    assert_eq!(state.events_held(), 0);
}

#[test]
fn what_is_held_at_one_snapshot_counts_in_the_next_and_never_under_one_of_several_queues() {
    let mut state = state(false);
    take(&mut state, &event(TaskKind::Sent, "1", Some("a"), 0));
    take(&mut state, &event(TaskKind::Received, "x", None, 1));
    assert_eq!(snapshot(&mut state, 2), [""; 0]);
    let only = ["Received a", "nowhere -> Received a"];
    assert_eq!(snapshot(&mut state, 3), only);

    take(&mut state, &event(TaskKind::Sent, "2", Some("b"), 4));
    take(&mut state, &event(TaskKind::Received, "y", None, 5));
    snapshot(&mut state, 6);
    let unknown = ["Received -", "nowhere -> Received -"];
    assert_eq!(snapshot(&mut state, 7), unknown);
    // Its label is decided: what becomes known later affects tasks in flight, but no counts.
    let late = take(&mut state, &event(TaskKind::Sent, "y", Some("b"), 4));
    assert_eq!(late, ["Sent b", "Received - -> Received b"]);
}

#[test]
fn nothing_is_held_where_no_task_sent_comes() {
    let mut state = state(false);
    let at_once = take(&mut state, &event(TaskKind::Received, "x", None, 0));
    assert_eq!(at_once, ["Received -", "nowhere -> Received -"]);

    // Other tasks have a task-sent, but three tasks of this name had none.
    let mut other = event(TaskKind::Sent, "other", Some("a"), 0);
    if let Detail::Task(task) = &mut other.detail {
        task.name = Some("other".into());
    }
    take(&mut state, &other);
    for uuid in ["1", "2", "3"] {
        assert_eq!(
            take(&mut state, &event(TaskKind::Received, uuid, None, 1)),
            [""; 0]
        );
    }
    snapshot(&mut state, 2);
    snapshot(&mut state, 3);
    assert_eq!(
        take(&mut state, &event(TaskKind::Received, "4", None, 4)).len(),
        2
    );
}

#[test]
fn the_events_of_a_new_worker_wait_for_its_answer() {
    let online = Event {
        timestamp: at(0),
        hostname: "w@h".into(),
        pid: Some(7),
        detail: Detail::Worker(WorkerEvent::new(WorkerKind::Online)),
    };
    for (queues, expected) in [(&["a"][..], "a"), (&["a", "b"], "-")] {
        let mut state = state(true);
        // No client sends task-sent.
        for _ in 0..3 {
            state.routes.unsent(None);
        }
        take(&mut state, &online);
        assert_eq!(
            take(&mut state, &event(TaskKind::Received, "x", None, 1)),
            [""; 0]
        );
        let mut changes = Vec::new();
        state.report(&answer(queues, &[]), at(1), at(1), &mut changes);
        let told = [
            format!("Received {expected}"),
            format!("nowhere -> Received {expected}"),
        ];
        assert_eq!(counted(&state, &changes), told);
        // From then on its queues are known, until its next process starts.
        let known = take(&mut state, &event(TaskKind::Received, "y", None, 2));
        assert_eq!(known[0], format!("Received {expected}"));
        let restarted = Event {
            pid: Some(8),
            timestamp: at(3),
            ..online.clone()
        };
        take(&mut state, &restarted);
        assert_eq!(
            take(&mut state, &event(TaskKind::Received, "z", None, 4)),
            [""; 0]
        );
        // It never answers, and the wait for it is limited.
        snapshot(&mut state, 5);
        assert_eq!(snapshot(&mut state, 6).len(), 2);
        assert_eq!(
            take(&mut state, &event(TaskKind::Received, "late", None, 100)).len(),
            2
        );
    }
}

#[test]
fn a_task_sent_through_an_exchange_waits_for_the_first_bindings() {
    let mut state = state(true);
    let mut sent = event(TaskKind::Sent, "x", Some("default"), 0);
    if let Detail::Task(task) = &mut sent.detail {
        task.exchange = Some("topix".into());
        task.routing_key = Some("t.x".into());
    }
    assert_eq!(take(&mut state, &sent), [""; 0]);
    let binding = Binding {
        exchange: "topix".into(),
        routing_key: "t.#".into(),
        kind: ExchangeKind::Topic,
        queue: "topics".into(),
    };
    let mut changes = Vec::new();
    state.report(
        &answer(&["default", "topics"], &[binding]),
        at(2),
        at(2),
        &mut changes,
    );
    let told = ["Sent topics", "nowhere -> Sent topics"];
    assert_eq!(counted(&state, &changes), told);
}

#[test]
fn steps_of_tasks_that_were_forgotten_are_counted_all_the_same() {
    let mut state = state(false);
    state.limits.tasks_max = 1;
    take(&mut state, &event(TaskKind::Sent, "1", Some("a"), 0));
    take(&mut state, &event(TaskKind::Received, "x", None, 1));
    take(&mut state, &event(TaskKind::Received, "y", None, 2));
    assert_eq!(state.tasks_alive(), 1);
    snapshot(&mut state, 3);
    let mut all = snapshot(&mut state, 4);
    all.retain(|text| text.starts_with("Received a"));
    assert_eq!(all, ["Received a", "Received a"]);
    assert_eq!((state.events_held(), state.oldest().len()), (0, 1));
    assert!(
        state
            .oldest()
            .keys()
            .all(|(_, stage)| *stage == TaskStage::Received)
    );
}

#[test]
fn what_is_held_has_a_bound() {
    let mut state = state(false);
    state.limits.tasks_max = usize::MAX;
    take(&mut state, &event(TaskKind::Sent, "first", Some("a"), 0));
    let mut counted = 0;
    for n in 0..HELD_MAX + 10 {
        let uuid = n.to_string();
        counted +=
            usize::from(!take(&mut state, &event(TaskKind::Received, &uuid, None, 1)).is_empty());
    }
    assert_eq!((state.events_held(), counted), (HELD_MAX, 10));
}

#[test]
fn the_events_before_the_very_first_task_sent_wait_for_it() {
    let mut state = state(true);
    let mut changes = Vec::new();
    let online = WorkerEvent::new(WorkerKind::Online);
    let online = Event {
        timestamp: at(0),
        hostname: "w@h".into(),
        pid: None,
        detail: Detail::Worker(online),
    };
    take(&mut state, &online);
    state.report(&answer(&["a", "b"], &[]), at(1), at(1), &mut changes);
    let received = event(TaskKind::Received, "x", None, 3);
    assert_eq!(take(&mut state, &received), [""; 0]);
    let sent = event(TaskKind::Sent, "x", Some("b"), 2);
    let expected = ["Received b", "Sent b", "nowhere -> Received b"];
    assert_eq!(take(&mut state, &sent), expected);
}

#[test]
fn an_attempt_that_another_has_overtaken_is_held_with_it() {
    let mut state = state(false);
    take(&mut state, &event(TaskKind::Sent, "first", Some("a"), 0));
    let at_worker = |kind, worker: &'static str, retries, second| {
        let mut event = event(kind, "x", None, second);
        event.hostname = worker.into();
        if let Detail::Task(task) = &mut event.detail {
            task.retries = retries;
        }
        event
    };
    // The retry on another worker, then the earlier events of the first one.
    for event in [
        at_worker(TaskKind::Received, "w2@h", Some(1), 5),
        at_worker(TaskKind::Received, "w1@h", Some(0), 2),
        at_worker(TaskKind::Started, "w1@h", None, 3),
        at_worker(TaskKind::Retried, "w1@h", None, 4),
    ] {
        assert_eq!(take(&mut state, &event), [""; 0]);
    }
    assert_eq!(state.events_held(), 4);
    let mut sent = at_worker(TaskKind::Sent, "gen1@h", Some(0), 1);
    if let Detail::Task(task) = &mut sent.detail {
        task.queue = Some("b".into());
    }
    let counted = take(&mut state, &sent);
    let expected = [
        "Received b",
        "Received b",
        "Started b",
        "prefetched b",
        "Retried(None) b",
        "Sent b",
        "waited b",
        "nowhere -> Received b",
    ];
    assert_eq!(counted, expected);
    assert_eq!(state.events_held(), 0);
}

#[test]
fn a_task_that_takes_the_id_of_another_is_held_apart_from_it() {
    let mut state = state(true);
    let through = |second, name: &'static str| {
        let mut sent = event(TaskKind::Sent, "x", None, second);
        if let Detail::Task(task) = &mut sent.detail {
            task.name = Some(name.into());
            task.exchange = Some("topix".into());
            task.routing_key = Some("t.x".into());
            task.retries = Some(0);
        }
        sent
    };
    assert_eq!(take(&mut state, &through(0, "t")), [""; 0]);
    assert_eq!(state.events_held(), 1);
    // The held steps of the first one are counted without a queue.
    assert_eq!(take(&mut state, &through(2, "u")), ["Sent -"]);
    assert_eq!(state.events_held(), 1);
    let binding = Binding {
        exchange: "topix".into(),
        routing_key: "t.#".into(),
        kind: ExchangeKind::Topic,
        queue: "topics".into(),
    };
    let mut changes = Vec::new();
    let answers = Answers::Bindings(vec![binding]);
    state.report(&answers, at(3), at(3), &mut changes);
    let told = ["Sent topics", "nowhere -> Sent topics"];
    assert_eq!(counted(&state, &changes), told);
}
