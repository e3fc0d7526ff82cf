use super::*;

const UUID: &str = "u";

fn event(kind: TaskKind, retries: Option<u32>) -> TaskEvent<'static> {
    TaskEvent {
        kind,
        uuid: UUID.into(),
        name: None,
        queue: None,
        retries,
        runtime: None,
        exception: None,
        requeue: false,
        terminated: false,
        expired: false,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + second * 1_000)
}

/// One letter an event, as in the tables of life cycles: its kind, and what follows.
fn parse(word: &str) -> (TaskEvent<'static>, i64) {
    let (kind, second) = word.split_once('@').expect("kind@second");
    let requeued = TaskEvent {
        requeue: true,
        ..event(TaskKind::Rejected, None)
    };
    let event = match kind {
        "s" => event(TaskKind::Sent, Some(0)),
        "s1" => event(TaskKind::Sent, Some(1)),
        "r" => event(TaskKind::Received, Some(0)),
        "r1" => event(TaskKind::Received, Some(1)),
        "st" => event(TaskKind::Started, None),
        "ok" => event(TaskKind::Succeeded, None),
        "f" => event(TaskKind::Failed, None),
        "rt" => event(TaskKind::Retried, None),
        "rj" => event(TaskKind::Rejected, None),
        "rq" => requeued,
        "rv" => event(TaskKind::Revoked, None),
        "ca" => event(TaskKind::Cancelled, None),
        other => panic!("{other}"),
    };
    (event, second.parse().expect("a second"))
}

/// The stage that a task is in after some events, and what each was taken for: `.` a step, `=` a repetition.
fn live(events: &str) -> (Option<Stage>, String) {
    let mut task = Task::default();
    let taken = events.split(' ').map(|word| {
        let (event, second) = parse(word);
        match task.take(&event, at(second), None) {
            Taken::Step { .. } => '.',
            Taken::Again | Taken::ToldTwice => '=',
        }
    });
    let taken = taken.collect();
    (task.stage, taken)
}

#[test]
fn lives_as_they_are_seen_on_the_wire_end_where_they_should() {
    let (sent, received, started) = (
        Some(Stage::Sent),
        Some(Stage::Received),
        Some(Stage::Started),
    );
    let cases = [
        ("success", "s@0 r@1 st@2 ok@3", None),
        ("failure", "s@0 r@1 st@2 f@3", None),
        ("on its way", "s@0", sent),
        ("waiting", "s@0 r@1", received),
        ("running", "s@0 r@1 st@2", started),
        ("retry", "s@0 r@1 st@2 s1@3 rt@4 r1@5 st@6 ok@7", None),
        ("retry, between", "s@0 r@1 st@2 s1@3 rt@4", sent),
        (
            "retry, received overtakes retried",
            "s@0 r@1 st@2 s1@3 r1@4 rt@5",
            received,
        ),
        (
            "retry, received overtakes retried, then runs",
            "s@0 r@1 st@2 s1@3 r1@4 rt@5 st@6",
            started,
        ),
        ("retry without task-sent", "r@1 st@2 rt@3", sent),
        (
            "retries exhausted",
            "s@0 r@1 st@2 s1@3 rt@4 r1@5 st@6 f@7",
            None,
        ),
        ("ignored", "s@0 r@1 st@2", started),
        ("replaced", "s@0 r@1 st@2 s@3 r@4 st@5 ok@6", None),
        ("revoked before it was read", "s@0 rv@1", None),
        ("revoked in the worker", "s@0 r@1 rv@2", None),
        ("rejected", "s@0 r@1 st@2 rj@3", None),
        ("rejected by 5.7", "s@0 r@1 st@2 f@3 rj@4", None),
        ("requeued", "s@0 r@1 st@2 rq@3 r@4 st@5 ok@6", None),
        ("requeued, between", "s@0 r@1 st@2 rq@3", sent),
        (
            "cancelled and run again",
            "s@0 r@1 st@2 ca@3 r@4 st@5 ok@6",
            None,
        ),
        (
            "redelivered after a kill",
            "s@0 r@1 st@2 r@9 st@10 ok@11",
            None,
        ),
        (
            "redelivered after its end",
            "s@0 r@1 st@2 ok@3 r@9 st@10",
            started,
        ),
        ("unknown name", "s@0 f@1", None),
        ("started unseen", "ok@3", None),
        // Out of order.
        ("received before sent", "r@1 s@0", received),
        ("started before received", "s@0 st@2 r@1", started),
        ("everything backwards", "ok@3 st@2 r@1 s@0", None),
        ("the end before the start", "r@1 ok@3 st@2", None),
        (
            "retried comes late, the next attempt runs",
            "r@1 st@2 r1@4 st@5 rt@3",
            started,
        ),
    ];
    for (name, events, stage) in cases {
        let (ended_in, taken) = live(events);
        assert_eq!(ended_in, stage, "{name}");
        assert!(!taken.contains('='), "{name}: {taken}");
    }
}

#[test]
fn what_comes_twice_counts_once() {
    let cases = [
        (
            "each event again",
            "s@0 s@0 r@1 r@1 st@2 st@2 ok@3 ok@3",
            ".=.=.=.=",
        ),
        ("a batch again", "r@1 st@2 ok@3 r@1 st@2 ok@3", "...==="),
        ("a hard time limit in 5.7", "s@0 r@1 st@2 f@3 f@4", "....="),
        (
            "a terminated task in 4.4",
            "s@0 r@1 st@2 rv@3 rv@4",
            "....=",
        ),
        ("two real failures", "r@1 st@2 f@3 r@4 st@5 f@6", "......"),
        ("two failures far apart", "r@1 st@2 f@3 f@60", "...."),
        ("a retry again", "r@1 st@2 rt@3 rt@3", "...="),
    ];
    for (name, events, expected) in cases {
        assert_eq!(live(events).1, expected, "{name}");
    }
}

#[test]
fn runtime_is_the_workers_else_from_start_to_end() {
    let ran = |kind, runtime, second| {
        let mut task = Task::default();
        task.take(&event(TaskKind::Started, None), at(2), None);
        let end = TaskEvent {
            runtime,
            ..event(kind, None)
        };
        match task.take(&end, at(second), None) {
            Taken::Step { ran } => ran,
            Taken::Again | Taken::ToldTwice => panic!("a step"),
        }
    };
    assert_eq!(
        ran(TaskKind::Succeeded, Some(0.25), 5),
        Some((Outcome::Succeeded, 0.25))
    );
    assert_eq!(
        ran(TaskKind::Succeeded, None, 5),
        Some((Outcome::Succeeded, 3.0))
    );
    assert_eq!(ran(TaskKind::Failed, None, 5), Some((Outcome::Failed, 3.0)));
    assert_eq!(
        ran(TaskKind::Retried, None, 4),
        Some((Outcome::Retried, 2.0))
    );
    assert_eq!(ran(TaskKind::Revoked, None, 4), None);
    // Nobody knows when it started.
    let mut task = Task::default();
    let taken = task.take(&event(TaskKind::Failed, None), at(5), None);
    assert_eq!(taken, Taken::Step { ran: None });
}
