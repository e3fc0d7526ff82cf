use super::*;
use crate::state::Names;
use crate::state::texts::{Restored, Texts};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + second * 1_000)
}

fn new_worker() -> Worker {
    Worker::new(Names::default().intern("w@h"), at(0))
}

fn event(kind: WorkerKind, processed: u64) -> WorkerEvent<'static> {
    WorkerEvent {
        freq: Some(2.0),
        active: Some(1),
        processed: Some(processed),
        loadavg: Some([0.5, 0.25, 0.125]),
        ..WorkerEvent::new(kind)
    }
}

fn beat(worker: &mut Worker, pid: i64, processed: u64, second: i64) -> Found {
    let event = event(WorkerKind::Heartbeat, processed);
    worker.beat(&event, Some(pid), at(second), at(second))
}

fn goodbye(worker: &mut Worker, pid: Option<i64>, processed: u64, second: i64) -> Found {
    let event = event(WorkerKind::Offline, processed);
    worker.say_goodbye(&event, pid, at(second), at(second))
}

#[test]
fn only_the_known_process_adds_its_count_when_it_shuts_down() {
    for (pid, processed) in [(Some(1), 2), (None, 2), (Some(9), 0)] {
        let mut worker = new_worker();
        beat(&mut worker, 1, 7, 0);
        goodbye(&mut worker, pid, 9, 2);
        assert_eq!(worker.processed(), Some(processed), "{pid:?}");
        assert!(!worker.online && worker.said_goodbye());
        assert_eq!(worker.active, Some(0));
    }
}

#[test]
fn a_late_heartbeat_does_not_bring_back_a_worker_that_shut_down() {
    // The process, its stamp and its receipt, after a shutdown at 10.
    for (pid, stamped, now, online) in [
        (1, 9, 10, false),
        (1, 10, 15, false),
        (1, 11, 11, true),
        (1, 9, 16, true),
        (2, 9, 10, true),
    ] {
        let mut worker = new_worker();
        beat(&mut worker, 1, 7, 0);
        goodbye(&mut worker, Some(1), 7, 10);
        let event = event(WorkerKind::Heartbeat, 7);
        worker.beat(&event, Some(pid), at(stamped), at(now));
        assert_eq!(worker.online, online, "{pid} {stamped} {now}");
        assert_eq!(worker.said_goodbye(), !online);
    }
}

#[test]
fn another_process_is_a_restart_or_soon_after_the_first_a_second_worker() {
    for (back, twofold) in [(31, true), (32, false)] {
        let mut worker = new_worker();
        beat(&mut worker, 1, 7, 0);
        let restart = beat(&mut worker, 2, 1, 2);
        assert_eq!((restart.restarted, worker.since), (Some(at(0)), at(2)));
        assert!(!worker.twofold && worker.is_process(Some(2)));
        assert!(!worker.is_process(Some(1)) && worker.is_process(None));
        let found = beat(&mut worker, 1, 8, back);
        assert_eq!(worker.twofold, twofold, "{back}");
        assert_eq!(found.restarted.is_none(), twofold, "{back}");
    }
    // Once one of the two is gone, the other is a worker of its own again.
    for (last, twofold) in [(33, true), (34, false)] {
        let mut worker = new_worker();
        for (pid, second) in [(1, 0), (2, 2), (1, 4)] {
            beat(&mut worker, pid, 7, second);
        }
        beat(&mut worker, 1, 7, last);
        assert_eq!(worker.twofold, twofold, "{last}");
    }
}

#[test]
fn a_stored_worker_is_restored_in_full() {
    let mut names = Names::default();
    let name = names.intern("w@h");
    let mut before = Worker::new(name, at(0));
    before.software.ident = Some(names.intern("py-celery"));
    before.software.version = Some(names.intern("5.7.0"));
    before.software.system = Some(names.intern("Linux"));
    for (pid, second) in [(1, 0), (2, 2), (1, 4)] {
        beat(&mut before, pid, 7, second);
    }
    before.clock_skew = Some(0.5);
    (before.pool_size, before.slots) = (Some(2), Some(3));
    (before.processes, before.prefetch_count) = (Some(4), Some(5));
    before.queues = Some(vec![names.intern("q")]);
    goodbye(&mut before, Some(1), 7, 6);

    let mut texts = Texts::default();
    let saved = before.stored(&mut texts);
    let texts = texts.stored(&names);
    let mut after = Worker::new(name, at(9));
    let mut restored = Restored::new(&texts, &mut names);
    after.restore(&saved, &mut restored, at(9));
    assert_eq!(after.since, at(9));
    after.since = before.since;
    after.stalls.clone_from(&before.stalls);
    assert_eq!(after, before);
}

#[test]
fn the_start_of_a_process_does_not_change_with_each_report() {
    let mut worker = Worker::new(Names::default().intern("w@h"), at(0));
    let starts = [(1_000, 100), (1_060, 161), (1_120, 215), (1_180, 10)].map(|(now, uptime)| {
        worker.runs_for(Duration::from_secs(uptime), at(now));
        worker.started
    });
    let (first, second) = (Some(at(900)), Some(at(1_170)));
    assert_eq!(starts, [first, first, first, second]);
}
