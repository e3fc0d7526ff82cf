mod boundaries;
mod earlier;
mod orders;

use super::*;

const UUID: &str = "u";

fn event(kind: TaskKind, retries: Option<u32>) -> TaskEvent<'static> {
    TaskEvent {
        retries,
        ..TaskEvent::new(kind, UUID)
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + second * 1_000)
}

/// Parses one event of the life-cycle tables: a letter for its kind, and its parameters.
fn parse(word: &str) -> (TaskEvent<'static>, i64) {
    let (kind, second) = word.split_once('@').expect("kind@second");
    let requeued = TaskEvent {
        requeue: true,
        ..event(TaskKind::Rejected, None)
    };
    let event = match kind {
        "s" => event(TaskKind::Sent, Some(0)),
        "s1" => event(TaskKind::Sent, Some(1)),
        "s2" => event(TaskKind::Sent, Some(2)),
        "r" => event(TaskKind::Received, Some(0)),
        "r1" => event(TaskKind::Received, Some(1)),
        "r2" => event(TaskKind::Received, Some(2)),
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

/// Returns the final stage, and `.` for each step or `=` for each repetition.
fn live(events: &str) -> (Option<TaskStage>, String) {
    let mut task = Task::default();
    let taken = events.split(' ').map(|word| {
        let (event, second) = parse(word);
        match task.apply(&event, at(second), None) {
            Taken::Step(_) | Taken::Earlier { .. } => '.',
            Taken::Again | Taken::ToldTwice => '=',
        }
    });
    let taken = taken.collect();
    (task.stage, taken)
}

#[test]
fn lives_as_they_are_seen_on_the_wire_end_where_they_should() {
    let (sent, received, started) = (
        Some(TaskStage::Sent),
        Some(TaskStage::Received),
        Some(TaskStage::Started),
    );
    let cases = [
        ("success", "s@0 r@1 st@2 ok@3", None),
        ("failure", "s@0 r@1 st@2 f@3", None),
        ("on its way", "s@0", sent),
        ("waiting", "s@0 r@1", received),
        ("running", "s@0 r@1 st@2", started),
        ("retry", "s@0 r@1 st@2 s1@3 rt@4 r1@5 st@6 ok@7", None),
        (
            "retry, between",
            "s@0 r@1 st@2 s1@3 rt@4",
            Some(TaskStage::Retry),
        ),
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
        (
            "retry without task-sent",
            "r@1 st@2 rt@3",
            Some(TaskStage::Retry),
        ),
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
        task.apply(&event(TaskKind::Started, None), at(2), None);
        let end = TaskEvent {
            runtime,
            ..event(kind, None)
        };
        match task.apply(&end, at(second), None) {
            Taken::Step(intervals) | Taken::Earlier { intervals, .. } => intervals.ran,
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
    // Its start time is unknown.
    let mut task = Task::default();
    let taken = task.apply(&event(TaskKind::Failed, None), at(5), None);
    assert!(matches!(taken, Taken::Step(Intervals { ran: None, .. })));
}

/// Returns the intervals that events completed, in seconds: `q` queue wait, `p` prefetch wait, `t`
/// turnaround, `n` attempts. `e<second>` after a kind is its ETA.
fn told(events: &str) -> String {
    let mut task = Task::default();
    let mut told = Vec::new();
    for word in events.split(' ') {
        let (word, eta) = match word.split_once('e') {
            Some((word, eta)) => (word, Some(at(eta.parse().expect("a second")))),
            None => (word, None),
        };
        let (event, second) = parse(word);
        let event = TaskEvent { eta, ..event };
        if let Taken::Step(intervals) | Taken::Earlier { intervals, .. } =
            task.apply(&event, at(second), None)
        {
            let waits = [("q", intervals.queue_wait), ("p", intervals.prefetch_wait)];
            let waits = waits
                .into_iter()
                .filter_map(|(name, wait)| Some(format!("{name}{}", wait?)));
            told.extend(waits);
            told.extend(
                intervals
                    .turnaround
                    .map(|(_, seconds)| format!("t{seconds}")),
            );
            told.extend(
                intervals
                    .attempts
                    .map(|(_, attempts)| format!("n{attempts}")),
            );
            told.extend((intervals.clamped > 0).then(|| format!("c{}", intervals.clamped)));
        }
    }
    told.join(" ")
}

#[test]
fn intervals_are_told_once_whatever_the_order() {
    let cases = [
        ("success", "s@0 r@1 st@3 ok@7", "q3 p2 t7 n1"),
        (
            "countdown on an idle queue",
            "s@0e5 r@1e5 st@5 ok@6",
            "q0 p4 t1 n1",
        ),
        (
            "an ETA that has passed",
            "s@2e1 r@3 st@4 ok@5",
            "q2 p1 t3 n1",
        ),
        ("sent comes last of all", "r@1 st@3 ok@7 s@0", "p2 n1 q3 t7"),
        (
            "sent comes behind the start",
            "r@1 st@3 s@0 ok@7",
            "p2 q3 t7 n1",
        ),
        (
            "received comes behind the start",
            "s@0 st@3 r@1 ok@7",
            "q3 p2 t7 n1",
        ),
        ("without task-sent", "r@1 st@3 ok@7", "p2 n1"),
        (
            "sent by a clock that is ahead",
            "s@4 r@1 st@3 ok@7",
            "q0 p2 c1 t3 n1",
        ),
        (
            "each attempt has its own",
            "s@0 r@1 st@2 s1@3e8 rt@4 r1@5e8 st@9 ok@10",
            "q2 p1 q1 p4 t10 n2",
        ),
        (
            "received overtakes retried",
            "s@0 r@1 st@2 s1@3 r1@4 rt@5 st@6 f@7",
            "q2 p1 q3 p2 t7 n2",
        ),
        (
            "started overtakes retried",
            "s@0 r@1 st@2 s1@3 r1@4 st@6 rt@5 ok@7",
            "q2 p1 q3 p2 t7 n2",
        ),
        (
            "a retry whose task-sent is lost",
            "s@0 r@1 st@2 rt@4 r1@5 st@6 ok@7",
            "q2 p1 p1 t7 n2",
        ),
        (
            "rejected and back in its queue",
            "s@0 r@1 st@2 rq@3 r@5 st@6 ok@7",
            "q2 p1 q3 p1 t7 n1",
        ),
        (
            "delivered once more",
            "s@0 r@1 st@2 ok@3 r@10 st@12 ok@13",
            "q2 p1 t3 n1 p2 t13 n1",
        ),
        (
            "the next task-sent overtakes the start",
            "s@0 r@1 s1@3 st@2 r1@4 rt@5 st@6 f@7",
            "q2 p1 q3 p2 t7 n2",
        ),
        (
            "the next attempt ends before the retry is heard of",
            "s@0 r@1 st@2 s1@3 r1@4 st@5 ok@6 rt@4",
            "q2 p1 q2 p1 t6 n2",
        ),
        (
            "a retry by a clock that is ahead",
            "s@0 r@1 st@2 s1@3 r1@4 st@5 rt@6 ok@7",
            "q2 p1 q2 p1 t7 n2",
        ),
        (
            "delivered once more while it runs",
            "s@0 r@1 st@2 r@100 st@101 ok@102",
            "q2 p1 p1 t102 n1",
        ),
        (
            "an id that is used again",
            "s@0 r@1 st@2 ok@3 s@30 r@31 st@32 ok@33",
            "q2 p1 t3 n1 q2 p1 t3 n1",
        ),
        ("revoked", "s@0 r@1 rv@2", ""),
    ];
    for (case, events, expected) in cases {
        assert_eq!(told(events), expected, "{case}");
    }
}

#[test]
fn what_ran_in_a_lost_worker_is_lost_and_what_waited_there_goes_back() {
    let mut names = crate::state::Names::default();
    let (worker, other) = (names.intern("w@h"), names.intern("x@h"));
    let cases = [
        (
            "running",
            "s@0 r@1 st@2",
            worker,
            5,
            (true, Some(TaskStage::Started)),
        ),
        (
            "waiting",
            "s@0 r@1",
            worker,
            5,
            (false, Some(TaskStage::Sent)),
        ),
        (
            "started by the next process",
            "s@0 r@1 st@6",
            worker,
            5,
            (false, Some(TaskStage::Started)),
        ),
        (
            "in another worker",
            "s@0 r@1 st@2",
            other,
            5,
            (false, Some(TaskStage::Started)),
        ),
        (
            "waits for its retry",
            "s@0 r@1 st@2 rt@3",
            worker,
            5,
            (false, Some(TaskStage::Retry)),
        ),
    ];
    for (case, events, lost, until, expected) in cases {
        let mut task = Task::default();
        for word in events.split(' ') {
            let (event, second) = parse(word);
            task.apply(&event, at(second), Some(worker));
        }
        let is_lost = task.worker_lost(lost, at(until));
        assert_eq!((is_lost, task.stage), expected, "{case}");
    }
}
