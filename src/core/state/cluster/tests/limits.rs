//! Tasks beyond their own limits: those that run too long, and those that may not be retried again.

use super::*;
use crate::state::RegisteredTask;

/// Applies a worker's report of the settings of the task `t`.
fn report(state: &mut State, task: RegisteredTask) {
    let answer = WorkerAnswer {
        worker: "w@h".to_owned(),
        registered: Some(vec![RegisteredTask {
            name: "t".to_owned(),
            ..task
        }]),
        ..WorkerAnswer::default()
    };
    let answers = Answers::Workers(vec![answer]);
    state.report(&answers, at(0), at(0), &mut Vec::new());
}

fn run(state: &mut State, uuid: &str, from: i64, to: i64) {
    let events = [
        task(TaskKind::Received, uuid, Some("t"), Some("q"), from),
        task(TaskKind::Started, uuid, None, None, from),
        task(TaskKind::Succeeded, uuid, None, None, to),
    ];
    steps(state, &events);
}

fn start(state: &mut State, uuid: &str, second: i64) {
    let events = [
        task(TaskKind::Received, uuid, Some("t"), Some("q"), second),
        task(TaskKind::Started, uuid, None, None, second),
    ];
    steps(state, &events);
}

/// The number of tasks `t` that run too long, and how long they may run.
fn long(state: &State, second: i64) -> Option<(u64, Allowed)> {
    let found = state.long_running(at(second));
    let [one] = found[..] else {
        assert_eq!(found, []);
        return None;
    };
    assert_eq!(&*state.names().text(one.name), "t");
    assert_eq!(
        one.worker.map(|it| state.names().text(it)),
        Some("w@h".into())
    );
    Some((one.count, one.allowed))
}

#[test]
fn a_task_runs_too_long_after_a_multiple_of_what_is_usual() {
    let mut state = state();
    for n in 0..20 {
        start(&mut state, "slow", 100 * n);
        assert_eq!(long(&state, 100 * n + 90), None, "after {n} runs");
        steps(
            &mut state,
            &[task(TaskKind::Succeeded, "slow", None, None, 100 * n + 30)],
        );
    }
    start(&mut state, "a", 3_000);
    start(&mut state, "b", 3_010);
    let (_, allowed) = long(&state, 3_150).expect("it runs too long");
    let Allowed::Usual(seconds) = allowed else {
        panic!("{allowed:?}")
    };
    assert!((90.0..90.0 * 1.2).contains(&seconds), "{seconds}");
    assert_eq!(long(&state, 3_090), None);
    assert_eq!(long(&state, 3_150).map(|(count, _)| count), Some(2));
    let found = state.long_running(at(3_150));
    assert_eq!(found[0].since, at(3_000));
    let ends = ["a", "b"].map(|uuid| task(TaskKind::Succeeded, uuid, None, None, 3_160));
    steps(&mut state, &ends);
    assert_eq!(long(&state, 3_170), None);
}

#[test]
fn a_quick_task_may_take_a_minute() {
    let mut state = state();
    for n in 0..20 {
        run(&mut state, &n.to_string(), 10 * n, 10 * n + 1);
    }
    start(&mut state, "a", 1_000);
    assert_eq!(long(&state, 1_060), None);
    assert_eq!(long(&state, 1_061).map(|(count, _)| count), Some(1));
}

#[test]
fn its_own_time_limit_counts_more_than_what_is_usual() {
    let mut state = state();
    report(
        &mut state,
        RegisteredTask {
            time_limit: Some(600.0),
            ..RegisteredTask::default()
        },
    );
    for n in 0..20 {
        run(&mut state, &n.to_string(), 10 * n, 10 * n + 1);
    }
    start(&mut state, "a", 1_000);
    assert_eq!(long(&state, 1_610), None);
    let limit = Allowed::TimeLimit(600.0);
    assert_eq!(long(&state, 1_611), Some((1, limit)));
}

#[test]
fn without_a_factor_only_time_limits_count() {
    let mut state = state();
    let limits = Limits {
        long_running_factor: 0.0,
        ..state.limits.clone()
    };
    state.limit(&limits);
    for n in 0..20 {
        run(&mut state, &n.to_string(), 10 * n, 10 * n + 1);
    }
    start(&mut state, "a", 1_000);
    assert_eq!(long(&state, 9_000), None);
}

/// Whether the failure after this many retries is the last.
fn exhausted(state: &mut State, uuid: &str, retries: usize, exception: &str) -> bool {
    let mut events = Vec::new();
    let mut second = 0;
    for attempt in 0..=retries {
        second += 10;
        events.push(task(TaskKind::Received, uuid, Some("t"), Some("q"), second));
        events.push(task(TaskKind::Started, uuid, None, None, second + 1));
        let end = if attempt < retries {
            TaskKind::Retried
        } else {
            TaskKind::Failed
        };
        let mut end = task(end, uuid, None, None, second + 2);
        if let Detail::Task(task) = &mut end.detail {
            task.exception = Some(Cow::Owned(exception.to_owned()));
        }
        events.push(end);
    }
    let mut changes = Vec::new();
    for event in &events {
        state.apply(event, event.timestamp, &mut changes);
    }
    let ends = changes.iter().filter_map(|change| {
        let Change::Finished {
            exhausted,
            attempts,
            ..
        } = change
        else {
            return None;
        };
        Some((*exhausted, *attempts))
    });
    let ends: Vec<_> = ends.collect();
    let [(exhausted, attempts)] = ends[..] else {
        panic!("{ends:?}")
    };
    assert_eq!(usize::from(attempts), retries + 1);
    exhausted
}

#[test]
fn a_failure_after_the_last_retry_is_told_from_any_other() {
    let mut state = state();
    // Nothing is known of the task, so only Celery's own exception is certain.
    assert!(!exhausted(&mut state, "a", 3, "OSError"));
    assert!(exhausted(&mut state, "b", 3, "MaxRetriesExceededError"));
    report(
        &mut state,
        RegisteredTask {
            max_retries: Some(2),
            ..RegisteredTask::default()
        },
    );
    assert!(!exhausted(&mut state, "c", 0, "OSError"));
    assert!(!exhausted(&mut state, "d", 1, "OSError"));
    assert!(exhausted(&mut state, "e", 2, "OSError"));
    assert!(exhausted(&mut state, "f", 3, "OSError"));
    // A task that may not be retried does not exhaust retries, unless it asks for one.
    report(
        &mut state,
        RegisteredTask {
            max_retries: Some(0),
            ..RegisteredTask::default()
        },
    );
    assert!(!exhausted(&mut state, "g", 0, "OSError"));
    assert!(exhausted(&mut state, "h", 0, "MaxRetriesExceededError"));
}

#[test]
fn a_task_whose_end_may_have_been_missed_is_believed_after_two_rounds() {
    let mut state = state();
    report(
        &mut state,
        RegisteredTask {
            time_limit: Some(10.0),
            ..RegisteredTask::default()
        },
    );
    start(&mut state, "a", 100);
    assert_eq!(long(&state, 130).map(|(count, _)| count), Some(1));
    state.not_subscribed(at(140));
    assert_eq!(long(&state, 150), None);
    // One that starts afterwards is seen to run.
    start(&mut state, "b", 160);
    assert_eq!(long(&state, 190).map(|(count, _)| count), Some(1));
    for round in [200, 260] {
        let answers = Answers::Workers(Vec::new());
        state.report(&answers, at(round), at(round), &mut Vec::new());
    }
    assert_eq!(long(&state, 270).map(|(count, _)| count), Some(2));
}

#[test]
fn settings_are_wanted_until_each_worker_has_reported_or_been_asked_often() {
    let mut state = state();
    let heartbeat = |name: &str, second| Event {
        hostname: name.to_owned().into(),
        ..worker(WorkerKind::Heartbeat, Some(2.0), Some(0), second)
    };
    steps(&mut state, &[heartbeat("w@h", 0), heartbeat("other@h", 0)]);
    let wanted = |state: &State| state.known().task_settings_wanted;
    assert!(wanted(&state));
    // Only one of them answers.
    for round in 1..=5 {
        assert!(wanted(&state), "{round}");
        report(&mut state, RegisteredTask::default());
    }
    assert!(!wanted(&state));
    steps(&mut state, &[heartbeat("new@h", 1)]);
    assert!(wanted(&state));
}

#[test]
fn a_task_without_a_task_sent_was_sent_although_others_have_one() {
    let limits = Limits {
        periodic: vec![("t".into(), Schedule::Every(Duration::from_secs(60)))],
        ..state().limits
    };
    let mut state = State::new(limits);
    let last = |state: &State| {
        let sent = state
            .periodic_tasks(at(500))
            .find(|task| task.overdue.is_some());
        sent.and_then(|task| task.last_sent)
    };
    let received = |uuid, second| task(TaskKind::Received, uuid, Some("t"), Some("q"), second);
    steps(&mut state, &[received("a", 10)]);
    assert_eq!(last(&state), Some(at(10)));
    steps(
        &mut state,
        &[task(TaskKind::Sent, "b", Some("other"), Some("q"), 20)],
    );
    steps(&mut state, &[received("c", 70)]);
    assert_eq!(last(&state), Some(at(70)));
    // The receipt of a task that was seen to be sent is no second send.
    steps(
        &mut state,
        &[task(TaskKind::Sent, "d", Some("t"), Some("q"), 130)],
    );
    steps(&mut state, &[received("d", 190)]);
    assert_eq!(last(&state), Some(at(130)));
}
