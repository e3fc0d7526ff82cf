//! Which workers are online.

use super::*;

/// Applies an event at its own time. Returns whether the worker is online, if it is known.
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
    // Tasks end while it shuts down, and an old heartbeat arrives late.
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
    // A worker without heartbeats is given three times the interval that Celery assumes.
    assert_eq!(online_at(&mut state, 181), Some(true));
    assert_eq!(online_at(&mut state, 182), Some(false));
}

#[test]
fn workers_that_take_turns_are_told_apart_and_clients_from_them() {
    let mut state = state();
    let mut seen = Vec::new();
    for round in 0..2 {
        for n in 0..200 {
            for hostname in [format!("w{n}@h"), format!("gen{n}@h"), String::new()] {
                let event = Event {
                    hostname: hostname.into(),
                    ..task(TaskKind::Started, "t", None, None, round)
                };
                let mut changes = Vec::new();
                state.apply(&event, at(round), &mut changes);
                let sender = changes.iter().find_map(|change| {
                    if let Change::Event(event) = change {
                        event.sender
                    } else {
                        None
                    }
                });
                seen.push(sender.map(|sender| state.names().text(sender).to_string()));
            }
        }
    }
    let expected = (0..400).flat_map(|n| [Some(format!("w{}@h", n % 200)), None, None]);
    assert!(seen.into_iter().eq(expected));
    assert_eq!(state.workers().count(), 200);
}
