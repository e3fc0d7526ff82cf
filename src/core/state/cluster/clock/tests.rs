use super::*;
use crate::event::{Detail, Event, TaskEvent, TaskKind, WorkerEvent, WorkerKind};
use crate::state::{Limits, WorkerTimeout};

const HOUR: Duration = Duration::from_secs(3_600);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
}

/// The year 9999.
const LAST_YEAR: Timestamp = Timestamp::from_millis(253_370_764_800_000);

fn state(broker_holds_events: bool) -> State {
    State::new(Limits {
        tasks_max: 10,
        task_timeout: HOUR,
        worker_timeout: WorkerTimeout::After(Duration::from_secs(60)),
        worker_retention: HOUR,
        long_running_factor: 3.0,
        periodic: Vec::new(),
        awaits_periodic: false,
        queue_ttl: HOUR,
        broker_drops_expired: false,
        broker_holds_events,
        keep_foreign: false,
        asks_workers: false,
        shard: None,
    })
}

fn task(kind: TaskKind, uuid: &str, timestamp: Timestamp) -> Event<'_> {
    let mut task = TaskEvent::new(kind, uuid);
    task.name = Some("t".into());
    task.queue = Some("q".into());
    Event {
        timestamp,
        hostname: "w@h".into(),
        pid: Some(1),
        detail: Detail::Task(task),
    }
}

fn worker(kind: WorkerKind, timestamp: Timestamp, processed: u64) -> Event<'static> {
    let mut worker = WorkerEvent::new(kind);
    (worker.freq, worker.active) = (Some(2.0), Some(0));
    worker.processed = Some(processed);
    Event {
        timestamp,
        hostname: "w@h".into(),
        pid: Some(1),
        detail: Detail::Worker(worker),
    }
}

#[test]
fn times_of_the_future_mean_the_same_when_they_are_read_again() {
    let events = [
        worker(WorkerKind::Heartbeat, at(0), 1),
        task(TaskKind::Sent, "a", at(1)),
        task(TaskKind::Received, "a", at(2)),
        task(TaskKind::Started, "a", LAST_YEAR),
        task(TaskKind::Succeeded, "a", at(9)),
        worker(WorkerKind::Offline, LAST_YEAR, 1),
        worker(WorkerKind::Heartbeat, at(10), 2),
        worker(WorkerKind::Heartbeat, at(12), 2),
    ];
    let read = |late: Duration| {
        let (mut state, mut changes) = (state(true), Vec::new());
        for (event, received) in events.iter().zip([0, 1, 2, 5, 9, 9, 10, 12]) {
            state.apply(event, at(received).after(late), &mut changes);
        }
        let worker = state.workers().next().expect("a worker");
        assert!(worker.online, "{late:?}");
        assert_eq!(worker.processed(), Some(1), "{late:?}");
        assert_eq!(state.tasks_alive(), 0, "{late:?}");
        changes
    };
    let changes = read(Duration::ZERO);
    let refused = changes
        .iter()
        .filter(|change| matches!(change, Change::Refused(_)));
    assert_eq!(refused.count(), 2);
    assert_eq!(read(HOUR), changes);
    assert_eq!(read(100 * HOUR), changes);
}

#[test]
fn silence_lasts_as_long_as_it_did_whatever_our_clock_shows() {
    for (step, up_until) in [(86_400, 60), (-86_400, 75), (0, 60)] {
        let (mut state, mut changes) = (state(false), Vec::new());
        state.apply(
            &worker(WorkerKind::Heartbeat, at(0), 1),
            at(0),
            &mut changes,
        );
        state.apply(&task(TaskKind::Started, "a", at(0)), at(0), &mut changes);
        // Found 15 s later.
        let found = ClockStep::between(at(0), at(15 + step), Duration::from_secs(15));
        if let Some(step) = found {
            state.clock_set(step);
        }
        for (seconds, is_up) in [(15, true), (up_until, true), (up_until + 1, false)] {
            state.expire(at(seconds + step), &mut changes);
            let worker = state.workers().next().expect("a worker");
            assert_eq!(worker.online, is_up, "{step} after {seconds} s");
        }
        let lost = changes
            .iter()
            .filter(|change| matches!(change, Change::Lost { .. }));
        assert_eq!(lost.count(), 0, "{step}");
    }
}

#[test]
fn a_worker_is_back_whatever_its_clock_showed_when_it_went() {
    for (kind, received, is_up) in [
        (WorkerKind::Heartbeat, 1, false),
        (WorkerKind::Heartbeat, 7, true),
        (WorkerKind::Online, 1, true),
    ] {
        let (mut state, mut changes) = (state(false), Vec::new());
        for kind in [WorkerKind::Heartbeat, WorkerKind::Offline] {
            state.apply(&worker(kind, at(500), 1), at(0), &mut changes);
        }
        state.apply(&worker(kind, at(received), 0), at(received), &mut changes);
        let worker = state.workers().next().expect("a worker");
        assert_eq!(worker.online, is_up, "{kind:?} after {received} s");
    }
}

#[test]
fn a_count_that_jumps_is_left_out_until_it_stays() {
    let (mut state, mut changes) = (state(false), Vec::new());
    let huge = 1 << 40;
    let cases = [
        (0, 10, 0),
        (2, huge, 0),
        (4, 12, 2),
        (6, huge, 2),
        // The count is confirmed, and tasks before that are not counted.
        (8, huge + 1, 2),
        (10, huge + 4, 5),
    ];
    for (second, processed, total) in cases {
        let event = worker(WorkerKind::Heartbeat, at(second), processed);
        state.apply(&event, at(second), &mut changes);
        let worker = state.workers().next().expect("a worker");
        assert_eq!(worker.processed(), Some(total), "at {second}");
    }
    let refused = Change::Refused(Refusal::Processed);
    assert_eq!(
        changes.iter().filter(|change| **change == refused).count(),
        2
    );
}
