//! What decides between two readings of an event: equal times, and attempts in between.

use super::*;

#[test]
fn attempts_on_other_shards_are_caught_up_with() {
    let before = Task {
        attempt: 1,
        sent: at(5),
        ended: at(7),
        due: at(5),
        next_due: at(9),
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
