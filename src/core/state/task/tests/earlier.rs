//! Which events belong to the previous execution of a task.

use super::*;
use crate::state::Names;

const STAGES: [TaskStage; 2] = [TaskStage::Received, TaskStage::Started];

/// The second attempt of a task, in the worker that ran the first one: sent at 10, received at 20,
/// started at 30.
fn retried(stage: TaskStage, earlier: Earlier) -> Task {
    let is_started = stage == TaskStage::Started;
    Task {
        worker: earlier.worker,
        attempt: 1,
        sent: at(10),
        received: at(20),
        started: if is_started { at(30) } else { UNKNOWN },
        stage: Some(stage),
        earlier: Some(Box::new(earlier)),
        ..Task::default()
    }
}

/// The first attempt, in some worker.
fn first() -> Earlier {
    Earlier {
        worker: Some(Names::default().intern("w@h")),
        started: at(5),
        ..Earlier::default()
    }
}

fn check(task: &Task, kind: TaskKind, retries: Option<u32>, second: i64, expected: bool) {
    let of_earlier = task.is_of_earlier(&event(kind, retries), at(second), task.worker);
    assert_eq!(
        of_earlier, expected,
        "{kind:?} {retries:?} at {second} of {task:?}"
    );
}

#[test]
fn a_message_of_an_earlier_attempt_was_stamped_before_this_one_began() {
    for kind in [TaskKind::Sent, TaskKind::Received] {
        let waiting = retried(TaskStage::Received, first());
        check(&waiting, kind, Some(0), 19, true);
        check(&waiting, kind, Some(0), 20, false);
        check(&waiting, kind, Some(1), 19, false);
        check(&waiting, kind, None, 19, false);
        let running = retried(TaskStage::Started, first());
        check(&running, kind, Some(0), 29, true);
        check(&running, kind, Some(0), 30, false);
        let on_its_way = Task {
            received: UNKNOWN,
            stage: Some(TaskStage::Retry),
            ..waiting
        };
        check(&on_its_way, kind, Some(0), 9, true);
        check(&on_its_way, kind, Some(0), 10, false);
        let same_attempt = Task {
            attempt: 0,
            ..running
        };
        check(&same_attempt, kind, Some(0), 19, false);
        check(&Task::default(), kind, Some(0), 0, false);
    }
    // Another task under the same id counts its attempts anew.
    let replaced = Earlier {
        replaced: true,
        ..first()
    };
    let task = retried(TaskStage::Received, replaced);
    check(&task, TaskKind::Sent, Some(0), 9, false);
    check(&task, TaskKind::Received, Some(0), 9, true);
    check(&task, TaskKind::Received, Some(0), 10, false);
}

#[test]
fn a_start_before_the_receipt_is_of_the_earlier_attempt() {
    let task = retried(TaskStage::Received, first());
    check(&task, TaskKind::Started, None, 19, true);
    check(&task, TaskKind::Started, None, 20, false);
    let unseen = Task {
        received: UNKNOWN,
        ..task
    };
    check(&unseen, TaskKind::Started, None, 9, true);
    check(&unseen, TaskKind::Started, None, 10, false);
}

const ENDS: [TaskKind; 3] = [TaskKind::Succeeded, TaskKind::Failed, TaskKind::Cancelled];
const STOPS: [TaskKind; 2] = [TaskKind::Revoked, TaskKind::Rejected];

#[test]
fn an_end_is_of_the_attempt_that_runs() {
    let ended = || Earlier {
        ended: at(7),
        ..first()
    };
    let waited = || Earlier {
        started: UNKNOWN,
        ..first()
    };
    for kind in ENDS {
        check(&retried(TaskStage::Received, first()), kind, None, 40, true);
        check(
            &retried(TaskStage::Received, ended()),
            kind,
            None,
            40,
            false,
        );
        check(
            &retried(TaskStage::Received, waited()),
            kind,
            None,
            40,
            false,
        );
        check(&retried(TaskStage::Started, first()), kind, None, 29, true);
        check(&retried(TaskStage::Started, first()), kind, None, 30, false);
        let over = Task {
            stage: None,
            ..retried(TaskStage::Started, first())
        };
        check(&over, kind, None, 29, true);
        check(&over, kind, None, 30, false);
    }
    // What waits can be revoked as well.
    for kind in STOPS {
        check(
            &retried(TaskStage::Received, first()),
            kind,
            None,
            15,
            false,
        );
        check(&retried(TaskStage::Started, first()), kind, None, 29, true);
        check(&retried(TaskStage::Started, first()), kind, None, 30, false);
    }
}

#[test]
fn a_retry_is_of_the_earlier_attempt_unless_that_has_ended_or_is_the_same_one() {
    let ended = || Earlier {
        ended: at(7),
        ..first()
    };
    let waited = || Earlier {
        started: UNKNOWN,
        ..first()
    };
    let same = |earlier: Earlier| Earlier {
        attempt: 1,
        ..earlier
    };
    for stage in STAGES {
        check(&retried(stage, first()), TaskKind::Retried, None, 40, true);
        check(&retried(stage, ended()), TaskKind::Retried, None, 40, false);
    }
    let [received, started] = STAGES;
    let cases = [
        (received, waited(), 40, true),
        (started, waited(), 40, false),
        (started, waited(), 29, true),
        (received, same(first()), 40, true),
        (received, same(waited()), 40, false),
        (started, same(first()), 40, false),
        (started, same(first()), 29, true),
    ];
    for (stage, earlier, second, expected) in cases {
        check(
            &retried(stage, earlier),
            TaskKind::Retried,
            None,
            second,
            expected,
        );
    }
}

#[test]
fn the_worker_tells_two_executions_apart() {
    let mut names = Names::default();
    let [first_worker, second, third] = ["w@h", "x@h", "y@h"].map(|name| names.intern(name));
    let task = |earlier_worker| {
        let mut task = retried(TaskStage::Started, first());
        task.worker = Some(second);
        if let Some(earlier) = &mut task.earlier {
            earlier.worker = earlier_worker;
        }
        task
    };
    let cases = [
        (Some(first_worker), Some(first_worker), 40, true),
        (Some(first_worker), Some(second), 29, false),
        (Some(first_worker), Some(third), 29, false),
        // Without a worker, the time decides.
        (Some(first_worker), None, 29, true),
        (Some(first_worker), None, 40, false),
        (None, Some(third), 29, true),
        (None, Some(third), 40, false),
    ];
    for (earlier, worker, second, expected) in cases {
        let end = event(TaskKind::Succeeded, None);
        let of_earlier = task(earlier).is_of_earlier(&end, at(second), worker);
        assert_eq!(of_earlier, expected, "{earlier:?} {worker:?} {second}");
    }
}

#[test]
fn a_first_message_after_the_known_ones_replaces_the_task() {
    let task = |stage| Task {
        sent: at(10),
        first_due: at(10),
        received: at(20),
        stage,
        ..Task::default()
    };
    let on_its_way = task(Some(TaskStage::Sent));
    let received = task(Some(TaskStage::Received));
    let started = task(Some(TaskStage::Started));
    let ahead = Task {
        ahead: Some(TaskStage::Sent),
        ..started.clone()
    };
    let unsent = Task {
        first_due: UNKNOWN,
        ..started.clone()
    };
    let sent = TaskKind::Sent;
    for (task, kind, retries, second, expected) in [
        (&on_its_way, sent, Some(0), 10, false),
        (&on_its_way, sent, Some(0), 11, true),
        (&received, sent, Some(0), 20, false),
        (&received, sent, Some(0), 21, true),
        (&started, sent, Some(0), 21, true),
        (&started, sent, Some(1), 21, false),
        (&started, sent, None, 21, false),
        (&started, TaskKind::Received, Some(0), 21, false),
        (&ahead, sent, Some(0), 21, false),
        (&unsent, sent, Some(0), 21, false),
        (&task(None), sent, Some(0), 21, false),
    ] {
        let is_replaced = task.is_replaced_by(&event(kind, retries), at(second));
        assert_eq!(
            is_replaced, expected,
            "{kind:?} {retries:?} at {second} of {task:?}"
        );
    }
}

#[test]
fn a_late_message_of_the_earlier_attempt_completes_its_waits() {
    let mut task = retried(TaskStage::Received, first());
    let sent = TaskEvent {
        eta: Some(at(3)),
        ..event(TaskKind::Sent, Some(0))
    };
    let worker = task.worker;
    let Taken::Earlier { intervals, .. } = task.apply(&sent, at(1), None) else {
        panic!("the earlier attempt")
    };
    // From its ETA to its start, and for the task from there to its end.
    assert_eq!((intervals.queue_wait, task.first_due), (Some(2.0), at(3)));
    assert_eq!(task.apply(&sent, at(1), None), Taken::Again);
    let end = event(TaskKind::Succeeded, None);
    let Taken::Earlier { intervals, .. } = task.apply(&end, at(8), worker) else {
        panic!("the earlier attempt")
    };
    assert_eq!(intervals.ran, Some((Outcome::Succeeded, 3.0)));
    assert_eq!(intervals.turnaround, Some((Outcome::Succeeded, 5.0)));
    assert_eq!(intervals.attempts, Some((Outcome::Succeeded, 1)));
}

#[test]
fn a_retry_of_the_earlier_attempt_finishes_nothing() {
    let mut task = retried(TaskStage::Received, first());
    task.first_due = at(1);
    let worker = task.worker;
    let retry = event(TaskKind::Retried, None);
    let Taken::Earlier { intervals, .. } = task.apply(&retry, at(9), worker) else {
        panic!("the earlier attempt")
    };
    let expected = Intervals {
        ran: Some((Outcome::Retried, 4.0)),
        ..Intervals::default()
    };
    assert_eq!(intervals, expected);
}
