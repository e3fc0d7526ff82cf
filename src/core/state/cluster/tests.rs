mod expiry;
mod hints;
mod limits;
mod overview;
mod workers;

use std::borrow::Cow;

use super::*;
use crate::event::{Detail, Event, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::state::{QueueLevel, TaskAnswer, TaskStage, WorkerAnswer};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + second * 1_000)
}

fn state() -> State {
    State::new(Limits {
        tasks_max: 3,
        task_timeout: Duration::from_secs(100),
        worker_timeout: WorkerTimeout::Missed(3),
        worker_retention: Duration::from_secs(60),
        long_running_factor: 3.0,
        periodic: Vec::new(),
        awaits_periodic: true,
        queue_ttl: Duration::from_secs(86_400),
        broker_drops_expired: true,
        broker_holds_events: false,
        keep_foreign: false,
        asks_workers: false,
        shard: None,
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
        name: name.map(Cow::Borrowed),
        queue: queue.map(Cow::Borrowed),
        ..TaskEvent::new(kind, uuid)
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
        freq,
        active,
        processed: active,
        ..WorkerEvent::new(kind)
    });
    Event {
        timestamp: at(second),
        hostname: "w@h".into(),
        pid: None,
        detail,
    }
}

/// Returns the changes by events as text, `step name/queue`, and the final places of tasks in
/// flight.
fn steps(state: &mut State, events: &[Event<'_>]) -> Vec<String> {
    let mut changes = Vec::new();
    for event in events {
        state.apply(event, event.timestamp, &mut changes);
    }
    shown(state, &changes)
}

fn shown(state: &State, changes: &[Change]) -> Vec<String> {
    let text = |of: TaskKey| {
        format!(
            "{}/{}",
            of.name
                .map_or("unknown".into(), |name| state.names().text(name)),
            of.queue
                .map_or("unknown".into(), |queue| state.names().text(queue)),
        )
    };
    let shown = changes.iter().filter_map(|change| {
        if let Change::Task { step, of, .. } = change {
            Some(format!("{step:?} {}", text(*of)))
        } else if let Change::Lost { reason, of } = change {
            Some(format!("{reason:?} {}", text(*of)))
        } else {
            (*change == Change::Duplicate).then(|| "Duplicate".to_owned())
        }
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
            "Evicted shadow/q",
        ]
    );
    // The others wait for their task-sent, for a whole snapshot interval.
    assert_eq!(state.events_held(), 3);
    let mut changes = Vec::new();
    state.expire(at(4), &mut changes);
    assert_eq!((&changes[..], state.events_held()), (&[][..], 3));
    // Then the queue is the only one in which a task of this name was seen.
    state.expire(at(5), &mut changes);
    let mut counted: Vec<_> = shown(&state, &changes);
    counted.sort();
    assert_eq!(
        counted,
        [
            "Received other/unknown",
            "Received t/q",
            "Started unknown/unknown"
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

#[test]
fn texts_that_nothing_refers_to_are_forgotten() {
    let mut state = state();
    for n in 0..100 {
        let (uuid, name) = (n.to_string(), format!("task{n}"));
        let mut event = task(TaskKind::Received, &uuid, Some(&name), Some("q"), n);
        // A first attempt could be periodic, so its name would be remembered.
        if let Detail::Task(task) = &mut event.detail {
            task.retries = Some(1);
        }
        steps(&mut state, &[event]);
    }
    state.sweep([]);

    // Three tasks are in flight; then the queue, the worker and its host.
    let known = |name: &str| state.names().find(name).is_some();
    assert!(known("task99") && known("q") && known("w@h") && known("h"));
    assert!(!known("task1"));
    assert_eq!(state.names().len(), 3 + 3);
}

/// A heartbeat of a process that has started `processed` tasks.
fn beat(pid: i64, processed: u64, second: i64) -> Event<'static> {
    Event {
        pid: Some(pid),
        ..worker(WorkerKind::Heartbeat, Some(2.0), Some(processed), second)
    }
}

#[test]
fn a_restart_loses_what_ran_and_not_what_waited() {
    for (case, restart) in [
        ("another pid", beat(8, 0, 10)),
        ("the same pid, in a container", beat(7, 0, 10)),
        (
            "no pid",
            Event {
                pid: None,
                ..beat(7, 0, 10)
            },
        ),
    ] {
        let mut state = state();
        let before = [
            beat(7, 3, 0),
            task(TaskKind::Received, "runs", Some("t"), Some("q"), 1),
            task(TaskKind::Started, "runs", None, None, 2),
            task(TaskKind::Received, "waits", Some("t"), Some("q"), 3),
            beat(7, 4, 4),
        ];
        steps(&mut state, &before);
        let lost = steps(&mut state, &[restart]);

        assert_eq!(lost, ["Worker t/q"], "{case}");
        assert_eq!(state.tasks_alive(), 1, "{case}");
        // Redelivered, it is in flight again.
        let again = task(TaskKind::Received, "runs", Some("t"), None, 11);
        steps(&mut state, &[again]);
        assert_eq!(state.tasks_alive(), 2, "{case}");
    }
}

#[test]
fn two_workers_of_one_name_are_no_restarts_and_are_hinted_at() {
    let mut state = state();
    let events = [
        beat(7, 3, 0),
        task(TaskKind::Received, "a", Some("t"), Some("q"), 1),
        task(TaskKind::Started, "a", None, None, 1),
        beat(7, 4, 2),
        beat(9, 50, 3),
        beat(7, 4, 4),
        task(TaskKind::Received, "b", Some("t"), Some("q"), 5),
        task(TaskKind::Started, "b", None, None, 5),
        beat(9, 51, 5),
        beat(7, 5, 6),
    ];
    let lost = |step: &String| step.starts_with("Worker");
    let steps = steps(&mut state, &events);

    // The first change of the pid looks like a restart.
    assert_eq!(
        steps.iter().filter(|step| lost(step)).count(),
        1,
        "{steps:?}"
    );
    let hints: Vec<_> = state
        .hints(at(6))
        .into_iter()
        .map(|hint| hint.reason)
        .collect();
    assert!(
        hints.contains(&crate::state::HintReason::DuplicateNodename),
        "{hints:?}"
    );
}

#[test]
fn a_worker_that_is_gone_loses_what_it_ran() {
    let mut state = state();
    let events = [
        beat(7, 0, 0),
        task(TaskKind::Received, "a", Some("t"), Some("q"), 1),
        task(TaskKind::Started, "a", None, None, 1),
    ];
    steps(&mut state, &events);
    let mut changes = Vec::new();
    state.expire(at(10), &mut changes);
    assert_eq!(changes, [], "offline, and may come back");

    state.expire(at(71), &mut changes);
    let reasons: Vec<_> = changes
        .iter()
        .filter_map(|change| {
            if let Change::Lost { reason, .. } = change {
                Some(*reason)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(reasons, [Loss::Worker]);
    assert_eq!((state.tasks_alive(), state.workers().count()), (0, 0));
}

fn answer(queues: &[&str], active: &[(&str, &str)]) -> Answers {
    let active = active.iter().map(|(uuid, queue)| TaskAnswer {
        uuid: (*uuid).to_owned(),
        name: Some("t".to_owned()),
        queue: Some((*queue).to_owned()),
        started: Some(at(1)),
        eta: None,
    });
    Answers::Workers(vec![WorkerAnswer {
        worker: "w@h".to_owned(),
        pool_size: Some(4),
        slots: Some(4),
        queues: Some(queues.iter().map(|&queue| queue.to_owned()).collect()),
        active: Some(active.collect()),
        ..WorkerAnswer::default()
    }])
}

#[test]
fn the_queue_of_a_task_is_what_is_told_before_what_is_concluded() {
    let mut state = state();
    let mut changes = Vec::new();
    // By name alone the queue would be another one, but the worker's answer takes precedence.
    steps(
        &mut state,
        &[task(TaskKind::Sent, "x", Some("t"), Some("guess"), 0)],
    );
    let held = steps(
        &mut state,
        &[task(TaskKind::Received, "a", Some("t"), None, 1)],
    );
    assert_eq!(held, [""; 0]);
    state.report(
        &answer(&["one", "two"], &[("a", "two")]),
        at(2),
        at(2),
        &mut changes,
    );
    assert_eq!(shown(&state, &changes), ["Received t/two"]);
    let told = steps(&mut state, &[task(TaskKind::Started, "a", None, None, 3)]);
    assert_eq!(told, ["Started t/two"]);

    // A worker that consumes one queue gets its tasks from there, unless task-sent reported
    // another.
    state.report(&answer(&["only"], &[]), at(4), at(4), &mut changes);
    let events = [
        task(TaskKind::Sent, "b", Some("t"), Some("sent"), 5),
        task(TaskKind::Received, "b", Some("t"), None, 6),
        task(TaskKind::Received, "c", Some("new"), None, 6),
    ];
    let concluded = steps(&mut state, &events);
    assert_eq!(
        concluded[..3],
        ["Sent t/sent", "Received t/sent", "Received new/only"]
    );
}

#[test]
fn a_task_that_its_worker_tells_of_ends_under_its_name() {
    let mut state = state();
    let mut changes = Vec::new();
    state.report(
        &answer(&["q"], &[("early", "q")]),
        at(2),
        at(2),
        &mut changes,
    );
    assert_eq!(state.tasks_alive(), 1);
    let ended = steps(
        &mut state,
        &[task(TaskKind::Succeeded, "early", None, None, 5)],
    );

    assert_eq!(ended, ["Succeeded t/q"]);
    assert_eq!(state.tasks_alive(), 0);
}

#[test]
fn tasks_that_a_worker_without_task_events_lists_are_not_in_flight() {
    let mut state = state();
    let mut changes = Vec::new();
    steps(&mut state, &[beat(7, 0, 0)]);
    steps(&mut state, &[beat(7, 1, 2), beat(7, 2, 4)]);

    state.report(&answer(&["q"], &[("b", "q")]), at(5), at(5), &mut changes);
    assert_eq!(state.tasks_alive(), 0);
    let known = state.known();
    assert_eq!((known.silent.len(), known.workers.len()), (1, 1));
    let hints: Vec<_> = state.hints(at(5)).iter().map(ToString::to_string).collect();
    assert!(
        hints[0].starts_with("w@h: heartbeats but no task events"),
        "{hints:?}"
    );
}

#[test]
fn queues_show_their_levels_and_the_workers_that_consume_them() {
    let mut state = state();
    let mut changes = Vec::new();
    let levels = [("q", 5), ("idle", 7)].map(|(queue, length)| QueueLevel {
        queue: queue.to_owned(),
        length,
        unacked: Some(1),
        consumers: None,
    });
    state.report(&Answers::Queues(levels.into()), at(0), at(0), &mut changes);
    state.report(&answer(&["q"], &[]), at(1), at(1), &mut changes);
    let shown = |state: &State, name: &str| {
        let queues = state.queues();
        let name = state.names().find(name)?;
        let queue = queues.get(&name)?;
        Some((queue.length, queue.workers, queue.slots))
    };
    assert_eq!(shown(&state, "q"), Some((Some(5), Some(1), Some(4))));
    assert_eq!(shown(&state, "idle"), Some((Some(7), Some(0), Some(0))));

    // An outdated level is not shown, but the consumers are still known.
    state.expire(at(121), &mut changes);
    assert_eq!(shown(&state, "q"), Some((None, Some(1), Some(4))));
    assert_eq!(shown(&state, "idle"), None);
}

#[test]
fn the_oldest_of_each_queue_and_stage_is_known() {
    let mut state = state();
    let events = [
        task(TaskKind::Sent, "a", Some("t"), Some("q"), 5),
        task(TaskKind::Sent, "b", Some("t"), Some("q"), 3),
        task(TaskKind::Received, "c", Some("t"), Some("q"), 4),
    ];
    steps(&mut state, &events);
    let queue = state.names().find("q");
    let oldest = state.oldest();

    assert_eq!(oldest.get(&(queue, TaskStage::Sent)), Some(&at(3)));
    assert_eq!(oldest.get(&(queue, TaskStage::Received)), Some(&at(4)));
    assert_eq!(oldest.len(), 2);
}

#[test]
fn a_task_for_later_waits_from_then_on() {
    let mut state = state();
    let later = |kind, uuid, second| {
        let mut event = task(kind, uuid, Some("t"), Some("q"), second);
        if let Detail::Task(task) = &mut event.detail {
            task.eta = Some(at(3_600));
        }
        event
    };
    // Without a task-sent, it is unknown when it is due.
    let events = [
        later(TaskKind::Sent, "a", 5),
        later(TaskKind::Received, "a", 6),
        later(TaskKind::Received, "b", 7),
    ];
    steps(&mut state, &events);
    let queue = state.names().find("q");
    let expected = HashMap::from_iter([((queue, TaskStage::Received), at(3_600))]);
    assert_eq!(state.oldest(), expected);
}
