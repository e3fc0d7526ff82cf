use std::borrow::Cow;

use super::*;
use crate::event::{WorkerEvent, WorkerKind};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + second * 1_000)
}

fn state() -> State {
    State::new(Limits {
        tasks_max: 3,
        task_timeout: Duration::from_secs(100),
        worker_timeout: WorkerTimeout::Missed(3),
        worker_retention: Duration::from_secs(60),
        default_queue: "unknown".into(),
    })
}

fn task<'a>(
    kind: TaskKind,
    uuid: &'a str,
    name: Option<&'a str>,
    queue: Option<&'a str>,
    second: i64,
) -> Event<'a> {
    let detail = Detail::Task(TaskEvent {
        kind,
        uuid: uuid.into(),
        name: name.map(Cow::Borrowed),
        queue: queue.map(Cow::Borrowed),
        retries: None,
        runtime: None,
        exception: None,
        requeue: false,
        terminated: false,
        expired: false,
    });
    let hostname = if kind == TaskKind::Sent {
        "gen1@h"
    } else {
        "w@h"
    };
    Event {
        timestamp: at(second),
        hostname: hostname.into(),
        pid: None,
        detail,
    }
}

fn worker(kind: WorkerKind, freq: Option<f64>, active: Option<u64>, second: i64) -> Event<'static> {
    let detail = Detail::Worker(WorkerEvent {
        kind,
        freq,
        active,
        processed: active,
    });
    Event {
        timestamp: at(second),
        hostname: "w@h".into(),
        pid: None,
        detail,
    }
}

/// What events changed, as text: `step name/queue`, and where the tasks in flight are in the end.
fn steps(state: &mut State, events: &[Event<'_>]) -> Vec<String> {
    let mut changes = Vec::new();
    for event in events {
        state.apply(event, event.timestamp, &mut changes);
    }
    let text = |of: Of| {
        format!(
            "{}/{}",
            state.names().text(of.name),
            state.names().text(of.queue)
        )
    };
    let shown = changes.iter().filter_map(|change| match change {
        Change::Task { step, of } => Some(format!("{step:?} {}", text(*of))),
        Change::Lost { reason, of } => Some(format!("{reason:?} {}", text(*of))),
        Change::Duplicate => Some("Duplicate".to_owned()),
        Change::Event(_) | Change::Ran { .. } | Change::Moved { .. } => None,
    });
    shown.collect()
}

#[test]
fn name_and_queue_are_remembered_by_uuid() {
    let mut state = state();
    let events = [
        task(TaskKind::Sent, "a", Some("t"), Some("q"), 0),
        task(TaskKind::Received, "a", Some("shadow"), None, 1),
        task(TaskKind::Started, "a", None, None, 2),
        task(TaskKind::Started, "b", None, None, 2),
        task(TaskKind::Received, "c", Some("t"), None, 3),
        task(TaskKind::Received, "d", Some("other"), None, 3),
    ];
    assert_eq!(
        steps(&mut state, &events),
        [
            "Sent t/q",
            "Received shadow/q",
            "Started shadow/q",
            "Started unknown/unknown",
            // The newest queue that a task of this name was seen in.
            "Received t/q",
            "Received other/unknown",
            "Evicted shadow/q",
        ]
    );
    assert_eq!(state.tasks_alive(), 3);
}

#[test]
fn a_silent_task_is_given_up_after_its_timeout() {
    let mut state = state();
    steps(
        &mut state,
        &[task(TaskKind::Received, "a", Some("t"), Some("q"), 0)],
    );
    let mut changes = Vec::new();
    state.expire(at(100), &mut changes);
    assert_eq!(changes, []);

    state.expire(at(101), &mut changes);
    assert!(matches!(
        changes[..],
        [
            Change::Lost {
                reason: Loss::Timeout,
                ..
            },
            Change::Moved { to: None, .. }
        ]
    ));
    assert_eq!(state.tasks_alive(), 0);
}

/// Applies an event at its own time; whether the worker is online then, if it is known.
fn online(state: &mut State, event: &Event<'_>) -> Option<bool> {
    state.apply(event, event.timestamp, &mut Vec::new());
    state.workers().next().map(|worker| worker.online)
}

fn online_at(state: &mut State, second: i64) -> Option<bool> {
    state.expire(at(second), &mut Vec::new());
    state.workers().next().map(|worker| worker.online)
}

#[test]
fn a_worker_without_heartbeats_goes_offline_and_is_forgotten() {
    let mut state = state();
    let heartbeat = worker(WorkerKind::Heartbeat, Some(2.0), Some(1), 0);
    assert_eq!(online(&mut state, &heartbeat), Some(true));
    assert_eq!(online_at(&mut state, 6), Some(true));
    assert_eq!(online_at(&mut state, 7), Some(false));
    assert_eq!(online_at(&mut state, 67), Some(false));
    assert_eq!(online_at(&mut state, 68), None);
}

#[test]
fn a_heartbeat_on_demand_changes_neither_pace_nor_counts() {
    let mut state = state();
    online(
        &mut state,
        &worker(WorkerKind::Heartbeat, Some(2.0), Some(4), 0),
    );
    online(
        &mut state,
        &worker(WorkerKind::Heartbeat, Some(5.0), None, 1),
    );

    assert_eq!(
        state.workers().next().and_then(|worker| worker.active),
        Some(4)
    );
    assert_eq!(online_at(&mut state, 8), Some(false));
}

#[test]
fn goodbye_is_believed_until_a_later_heartbeat() {
    let mut state = state();
    let offline = worker(WorkerKind::Offline, Some(2.0), Some(1), 5);
    assert_eq!(
        online(&mut state, &offline),
        None,
        "a goodbye creates no worker"
    );

    online(
        &mut state,
        &worker(WorkerKind::Online, Some(2.0), Some(1), 4),
    );
    assert_eq!(online(&mut state, &offline), Some(false));
    assert_eq!(
        state.workers().next().and_then(|worker| worker.active),
        Some(0)
    );
    // Tasks end while it shuts down, and an old heartbeat comes late.
    assert_eq!(
        online(&mut state, &task(TaskKind::Succeeded, "a", None, None, 6)),
        Some(false)
    );
    let late = worker(WorkerKind::Heartbeat, Some(2.0), Some(1), 3);
    assert_eq!(online(&mut state, &late), Some(false));
    assert_eq!(
        online(
            &mut state,
            &worker(WorkerKind::Online, Some(2.0), Some(0), 9)
        ),
        Some(true)
    );
}

#[test]
fn a_task_event_shows_that_its_worker_lives_and_clients_are_no_workers() {
    let mut state = state();
    assert_eq!(
        online(&mut state, &task(TaskKind::Sent, "a", Some("t"), None, 0)),
        None
    );
    assert_eq!(
        online(&mut state, &task(TaskKind::Started, "a", None, None, 1)),
        Some(true)
    );
    // One that sends no heartbeats has three times as long as Celery assumes.
    assert_eq!(online_at(&mut state, 181), Some(true));
    assert_eq!(online_at(&mut state, 182), Some(false));
}

#[test]
fn texts_that_nothing_refers_to_are_forgotten() {
    let mut state = state();
    for n in 0..100 {
        let (uuid, name) = (n.to_string(), format!("task{n}"));
        steps(
            &mut state,
            &[task(TaskKind::Received, &uuid, Some(&name), Some("q"), n)],
        );
    }
    state.sweep([]);

    // Three tasks are in flight; then the queue, the worker, the client's two unknowns and the default queue.
    let known = |name: &str| state.names().find(name).is_some();
    assert!(known("task99") && known("q") && known("w@h") && known("unknown"));
    assert!(!known("task1"));
    assert_eq!(state.names().len(), 3 + 3);
}
