//! What people and pollers are shown.

use super::*;

#[test]
fn an_overview_shows_workers_queues_and_waits_in_texts() {
    let mut state = state();
    assert_eq!(state.overview(at(9)).first_event, None);
    let mut heartbeat = beat(7, 0, 1);
    if let Detail::Worker(worker) = &mut heartbeat.detail {
        worker.sw_ident = Some("py-celery".into());
        worker.sw_ver = Some("5.6.3".into());
    }
    let events = [
        heartbeat,
        task(TaskKind::Received, "a", Some("t"), Some("q"), 2),
        task(TaskKind::Received, "b", Some("t"), Some("q"), 3),
        task(TaskKind::Started, "c", Some("t"), Some("q"), 4),
    ];
    steps(&mut state, &events);
    let mut changes = Vec::new();
    state.report(&answer(&["q"], &[]), at(5), at(5), &mut changes);
    let overview = state.overview(at(9));
    assert_eq!(overview.first_event, Some(at(1)));
    let [shown] = &overview.workers[..] else {
        panic!("{overview:?}")
    };
    assert_eq!(&*shown.name, "w@h");
    assert_eq!(shown.software.as_deref(), Some("py-celery 5.6.3"));
    assert_eq!(shown.queues.as_deref(), Some(&["q".into()][..]));
    assert_eq!(shown.prefetched, 2);
    let [(queue, level)] = &overview.queues[..] else {
        panic!("{overview:?}")
    };
    assert_eq!((&**queue, level.workers), ("q", Some(1)));
    let waits: Vec<_> = overview
        .oldest
        .iter()
        .map(|(queue, stage, since)| (queue.as_deref(), *stage, *since))
        .collect();
    assert!(
        waits.contains(&(Some("q"), TaskStage::Received, at(2))),
        "{waits:?}"
    );
    assert!(overview.workers[0].worker.has_heartbeats());
}

#[test]
fn a_worker_without_software_queues_or_tasks_shows_none() {
    let mut state = state();
    steps(
        &mut state,
        &[task(TaskKind::Started, "a", None, Some("q"), 1)],
    );
    let overview = state.overview(at(9));
    let [shown] = &overview.workers[..] else {
        panic!("{overview:?}")
    };
    assert_eq!(
        (&shown.software, &shown.queues, shown.prefetched),
        (&None, &None, 0)
    );
    assert!(!shown.worker.has_heartbeats());
}

#[test]
fn the_state_of_a_worker_has_a_beginning() {
    let mut state = state();
    let since = |state: &State| state.workers().next().map(Worker::state_since);
    steps(&mut state, &[beat(7, 0, 1), beat(7, 0, 3)]);
    assert_eq!((since(&state), state.begun()), (Some(at(1)), 1));
    steps(&mut state, &[beat(8, 0, 4)]);
    assert_eq!((since(&state), state.begun()), (Some(at(4)), 2));
    let offline = worker(WorkerKind::Offline, None, None, 6);
    steps(&mut state, &[offline]);
    assert_eq!(since(&state), Some(at(6)));
}

#[test]
fn pollers_are_told_of_queues_and_of_workers_that_are_online() {
    let mut state = state();
    let mut changes = Vec::new();
    assert!(!state.known().events_arrive);
    let other = Event {
        hostname: "x@h".into(),
        ..beat(7, 0, 1)
    };
    let offline = Event {
        hostname: "x@h".into(),
        ..worker(WorkerKind::Offline, None, None, 3)
    };
    let generated = "00000000-0000-4000-8000-000000000000";
    let events = [
        beat(7, 0, 1),
        other,
        task(TaskKind::Received, "a", Some("t"), Some("q"), 2),
        task(TaskKind::Received, "b", Some("t"), Some(generated), 2),
        offline,
    ];
    steps(&mut state, &events);
    state.report(&answer(&["consumed"], &[]), at(4), at(4), &mut changes);
    let known = state.known();
    let texts = |names: &[Arc<str>]| {
        let mut texts: Vec<_> = names.iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    };
    assert_eq!(texts(&known.queues), ["consumed", "q"]);
    assert_eq!(texts(&known.workers), ["w@h"]);
    assert_eq!(texts(&known.silent), [""; 0]);
    assert_eq!(
        (known.begun, known.events_arrive, known.task_settings_wanted),
        (2, true, true)
    );
}

/// How many processes are found to send a task at the same rhythm. Two of them send it every ten
/// minutes, each time in the same second.
fn senders(name: &str, change: impl Fn(&mut Event<'_>), deliveries: usize) -> Option<u64> {
    let mut state = state();
    for n in 0..20 {
        for process in 1..=2 {
            let uuid = format!("{n} {process}");
            let second = 600 * n;
            let mut sent = task(TaskKind::Sent, &uuid, Some(name), Some("q"), second);
            sent.hostname = format!("gen{process}@h").into();
            change(&mut sent);
            for _ in 0..deliveries {
                steps(&mut state, std::slice::from_ref(&sent));
            }
            // The worker may be faster.
            let received = task(TaskKind::Received, &uuid, Some(name), Some("q"), second);
            steps(&mut state, &[received]);
        }
    }
    let overview = state.overview(at(600 * 19));
    let found = overview.periodic.iter().find(|(of, _)| **of == *name);
    found.and_then(|(_, task)| task.senders)
}

fn of_task(event: &mut Event<'_>, change: impl Fn(&mut TaskEvent<'_>)) {
    if let Detail::Task(task) = &mut event.detail {
        change(task);
    }
}

#[test]
fn two_beats_are_two_clients_that_send_a_task_of_their_own() {
    assert_eq!(senders("shop.sync", |_| (), 1), Some(2));
    // Delivered again after a reconnect.
    assert_eq!(senders("shop.sync", |_| (), 2), Some(2));
    let one = |event: &mut Event<'_>| event.hostname = "gen1@h".into();
    assert_eq!(senders("shop.sync", one, 2), None);
    // Each beat sends this one.
    assert_eq!(senders("celery.backend_cleanup", |_| (), 1), None);
    // The tasks whose names there was no room for.
    assert_eq!(senders(OTHER, |_| (), 1), None);
    // Workers, tasks that send tasks, and retries.
    let worker = |event: &mut Event<'_>| event.hostname = event.hostname.replace("gen", "w").into();
    assert_eq!(senders("shop.sync", worker, 1), None);
    let child = |event: &mut Event<'_>| of_task(event, |task| task.has_parent = true);
    assert_eq!(senders("shop.sync", child, 1), None);
    let retry = |event: &mut Event<'_>| of_task(event, |task| task.retries = Some(1));
    assert_eq!(senders("shop.sync", retry, 1), None);
    let first = |event: &mut Event<'_>| of_task(event, |task| task.retries = Some(0));
    assert_eq!(senders("shop.sync", first, 1), Some(2));
}
