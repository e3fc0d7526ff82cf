//! What decides between two readings of an event: equal times, limits, and attempts in between.

use super::*;

#[test]
fn attempts_on_other_shards_are_caught_up_with() {
    let before = Task {
        attempt: 1,
        sent: at(5),
        ended: at(7),
        due: at(5),
        next_due: at(9),
        first_due: at(1),
        stage: Some(TaskStage::Sent),
        ..Task::default()
    };
    let sent = |retries, second| {
        let mut task = before.clone();
        task.catch_up(&event(TaskKind::Sent, retries), at(second));
        task
    };
    // The next attempt, this one, and an event that does not tell.
    for retries in [Some(2), Some(1), None] {
        assert_eq!(sent(retries, 20), before, "{retries:?}");
    }
    let two = sent(Some(3), 20);
    assert_eq!((two.attempt, two.due, two.next_due), (2, at(9), UNKNOWN));
    let three = sent(Some(4), 20);
    assert_eq!((three.attempt, three.due), (3, UNKNOWN));
    // A new task under the same id.
    assert_eq!(sent(Some(0), 7), before);
    assert_eq!(sent(Some(0), 8), Task::default());
    // Its own first message, of which the client said late that it sent it.
    let before = Task {
        first_due: UNKNOWN,
        ..before.clone()
    };
    let mut task = before.clone();
    task.catch_up(&event(TaskKind::Sent, Some(0)), at(8));
    assert_eq!(task, before);
}

#[test]
fn a_receipt_of_an_attempt_on_another_shard_moves_the_due_times() {
    let before = Task {
        attempt: 2,
        received: at(5),
        ended: at(7),
        due: at(6),
        next_due: at(9),
        stage: Some(TaskStage::Sent),
        ..Task::default()
    };
    let same = (2, at(6), at(9), None);
    for (retries, second, expected) in [
        (Some(2), 8, same),
        (Some(3), 8, same),
        (None, 8, same),
        (Some(1), 7, same),
        (Some(4), 7, same),
        (Some(4), 8, (2, at(6), UNKNOWN, None)),
        (Some(1), 8, (1, UNKNOWN, at(6), Some(TaskStage::Sent))),
        (Some(0), 8, (0, UNKNOWN, UNKNOWN, Some(TaskStage::Sent))),
    ] {
        let mut task = before.clone();
        task.catch_up(&event(TaskKind::Received, retries), at(second));
        let found = (task.attempt, task.due, task.next_due, task.ahead);
        assert_eq!(found, expected, "{retries:?} {second}");
    }
}

#[test]
fn a_start_no_later_than_the_end_or_the_known_start_changes_nothing() {
    assert_eq!(live("st@5 st@5").1, ".=");
    assert_eq!(live("ok@5 st@5").0, None);
    assert_eq!(live("ok@5 st@6").0, Some(TaskStage::Started));
}

#[test]
fn a_repetition_comes_soon() {
    assert_eq!(live("f@0 f@9").1, ".=");
    assert_eq!(live("f@0 f@10").1, "..");
    assert_eq!(live("ok@0 ok@9").1, "..");
}

#[test]
fn a_retry_or_a_requeue_of_a_task_that_is_over_is_late() {
    for end in ["ok@3", "f@3", "rv@3"] {
        for again in ["rt@4", "rq@4"] {
            let events = format!("r@1 st@2 {end} {again}");
            assert_eq!(live(&events).0, None, "{events}");
        }
    }
    assert_eq!(live("r@1 st@2 ca@3 rt@4").0, Some(TaskStage::Retry));
    assert_eq!(live("r@1 st@2 ca@3 rq@4").0, Some(TaskStage::Sent));
}

#[test]
fn a_task_stays_small() {
    assert_eq!(size_of::<Task>(), 88);
}

/// The intervals of a task that ends at second 5.
fn ended(kind: TaskKind, runtime: Option<f64>, started: Option<Timestamp>) -> Intervals {
    let end = TaskEvent {
        runtime,
        ..event(kind, None)
    };
    Intervals::of_end(&end, at(5), started)
}

#[test]
fn a_runtime_is_measured_or_else_counted_from_the_start_and_refused_if_it_cannot_be() {
    let long_ago = Timestamp::from_micros(1);
    let year = 366.0 * 86_400.0;
    for (runtime, started, ran, refused) in [
        (None, None, None, 0),
        (None, Some(UNKNOWN), None, 0),
        (None, Some(at(2)), Some(3.0), 0),
        (None, Some(at(5)), Some(0.0), 0),
        // By a clock that was set back, which says nothing about the runtime.
        (None, Some(at(6)), Some(0.0), 0),
        (Some(100.0), Some(at(6)), Some(100.0), 0),
        (Some(0.5), None, Some(0.5), 0),
        (Some(0.5), Some(at(2)), Some(0.5), 0),
        // Longer than there was time.
        (Some(61.0), Some(at(5)), Some(0.0), 1),
        (Some(64.0), Some(at(2)), Some(3.0), 1),
        (Some(year + 1.0), None, None, 1),
    ] {
        let intervals = ended(TaskKind::Succeeded, runtime, started);
        let expected = ran.map(|seconds| (Outcome::Succeeded, seconds));
        assert_eq!(
            (intervals.ran, intervals.refused),
            (expected, refused),
            "{runtime:?} {started:?}"
        );
    }
    let end = event(TaskKind::Failed, None);
    let years_later = Timestamp::from_millis(2 * 366 * 86_400_000);
    let intervals = Intervals::of_end(&end, years_later, Some(long_ago));
    assert_eq!((intervals.ran, intervals.refused), (None, 1));
    for kind in [TaskKind::Rejected, TaskKind::Revoked, TaskKind::Cancelled] {
        let intervals = ended(kind, Some(0.5), Some(at(2)));
        assert_eq!(intervals, Intervals::default(), "{kind:?}");
    }
}

#[test]
fn a_negative_interval_is_zero_and_an_implausible_one_is_left_out() {
    let mut intervals = Intervals::default();
    assert_eq!(intervals.between(at(2), at(5)), Some(3.0));
    assert_eq!(intervals.between(at(5), at(5)), Some(0.0));
    assert_eq!((intervals.clamped, intervals.refused), (0, 0));
    for n in 1..3 {
        assert_eq!(intervals.between(at(6), at(5)), Some(0.0));
        assert_eq!(intervals.between(at(0), at(366 * 86_400 + 1)), None);
        assert_eq!((intervals.clamped, intervals.refused), (n, n));
    }
}

#[test]
fn an_end_long_before_the_start_by_the_same_worker_is_of_a_clock_that_was_set_back() {
    let mut names = crate::state::Names::default();
    let (worker, other) = (names.intern("w@h"), names.intern("x@h"));
    for (sender, second, stage) in [
        (Some(worker), 40, Some(TaskStage::Started)),
        (Some(worker), 39, None),
        (Some(other), 39, Some(TaskStage::Started)),
        (None, 39, Some(TaskStage::Started)),
        (Some(other), 100, None),
    ] {
        let mut task = Task::default();
        task.apply(&event(TaskKind::Started, None), at(100), Some(worker));
        task.apply(&event(TaskKind::Succeeded, None), at(second), sender);
        assert_eq!(task.stage, stage, "{sender:?} {second}");
    }
}

#[test]
fn a_worker_loses_what_it_had_by_its_end() {
    let mut names = crate::state::Names::default();
    let worker = names.intern("w@h");
    for (until, stage, is_lost) in [
        (5, TaskStage::Started, true),
        (4, TaskStage::Started, false),
        (5, TaskStage::Received, false),
    ] {
        let mut task = Task {
            worker: Some(worker),
            stage: Some(stage),
            received: at(5),
            started: at(5),
            ..Task::default()
        };
        assert_eq!(
            task.worker_lost(worker, at(until)),
            is_lost,
            "{until} {stage:?}"
        );
        let is_back = stage == TaskStage::Received;
        assert_eq!(task.worker, Some(worker).filter(|_| !is_back));
        assert_eq!(task.stage == Some(TaskStage::Sent), is_back);
    }
}

#[test]
fn a_task_expires_on_its_way_and_after_the_second_in_which_it_may_still_run() {
    let expires = at(5).whole_seconds();
    let all = [
        TaskStage::Sent,
        TaskStage::Retry,
        TaskStage::Received,
        TaskStage::Started,
    ];
    for (stages, expires, until, expected) in [
        (&all[..2], expires, 6, true),
        (&all[..2], expires, 5, false),
        (&all[..2], 0, 6, false),
        (&all[2..], expires, 6, false),
    ] {
        for stage in stages {
            let stage = Some(*stage);
            let task = Task {
                stage,
                expires,
                ..Task::default()
            };
            assert_eq!(task.has_expired(at(until)), expected, "{stage:?} {until}");
            assert_eq!(task.may_expire(), expires > 0);
        }
    }
}

#[test]
fn a_task_waits_since_it_was_there_and_due() {
    let of = |stage, due, eta| Task {
        stage: Some(stage),
        sent: at(1),
        ended: at(2),
        received: at(3),
        started: at(4),
        due,
        eta,
        ..Task::default()
    };
    for (stage, due, eta, since, due_until) in [
        (TaskStage::Sent, at(0), false, Some(at(2)), at(0)),
        (TaskStage::Retry, at(9), true, Some(at(9)), at(9)),
        (TaskStage::Received, at(9), true, Some(at(9)), at(9)),
        (TaskStage::Received, UNKNOWN, false, Some(at(3)), UNKNOWN),
        (TaskStage::Received, UNKNOWN, true, None, UNKNOWN),
        (TaskStage::Started, at(9), true, Some(at(4)), UNKNOWN),
        (TaskStage::Started, UNKNOWN, true, Some(at(4)), UNKNOWN),
    ] {
        let task = of(stage, due, eta);
        assert_eq!(task.waits_since(), since, "{stage:?} {due:?} {eta}");
        assert_eq!(task.waits_for(), due_until, "{stage:?} {due:?} {eta}");
    }
    assert_eq!(Task::default().waits_since(), None);
}

#[test]
fn a_listed_task_is_where_its_worker_says() {
    let worker = crate::state::Names::default().intern("w@h");
    let answered = |started, eta, now| {
        let answer = TaskAnswer {
            uuid: UUID.to_owned(),
            name: None,
            queue: None,
            started,
            eta,
        };
        let mut task = Task::default();
        task.answered(worker, &answer, now);
        assert_eq!(task.worker, Some(worker));
        task
    };
    let waiting = answered(None, None, at(9));
    assert_eq!(
        (waiting.stage, waiting.received),
        (Some(TaskStage::Received), at(9))
    );
    assert_eq!((waiting.eta, waiting.due), (false, UNKNOWN));
    let later = answered(None, Some(at(90)), at(9));
    assert_eq!((later.eta, later.due), (true, at(90)));
    for (started, expected) in [(at(5), at(5)), (at(9 + 601), at(9))] {
        let running = answered(Some(started), Some(at(90)), at(9));
        assert_eq!(
            (running.stage, running.started),
            (Some(TaskStage::Started), expected)
        );
    }
    // How long it waited is not known, and neither was it sent.
    let mut task = answered(None, None, at(9));
    let taken = task.apply(&event(TaskKind::Started, None), at(10), Some(worker));
    assert_eq!(taken, Taken::Step(Intervals::default()));
    assert!(!task.was_sent());
}

#[test]
fn a_second_receipt_long_before_the_first_is_of_another_worker() {
    let mut names = crate::state::Names::default();
    let (first, second) = (names.intern("w@h"), names.intern("x@h"));
    for (millis, retries, is_earlier) in [(8_999, 0, true), (9_000, 0, false), (8_999, 1, false)] {
        let mut task = Task::default();
        task.apply(&event(TaskKind::Received, Some(0)), at(10), Some(first));
        let stamped = Timestamp::from_millis(1_000_000 + millis);
        task.apply(
            &event(TaskKind::Received, Some(retries)),
            stamped,
            Some(second),
        );
        let worker = if is_earlier { first } else { second };
        assert_eq!(task.worker, Some(worker), "{millis} {retries}");
    }
}
