//! Tests of the gauge of stalled workers.

use super::*;
use crate::state::{Answers, QueueLevel, RegisteredTask, WorkerAnswer};

/// A round in which `workers`, who run nothing, answer beside a queue with messages.
fn round(bench: &mut Bench, workers: &[&str]) {
    bench.now = bench.now.after(Duration::from_secs(9));
    let now = bench.now;
    let level = QueueLevel {
        queue: "q".to_owned(),
        length: 3,
        unacked: None,
        consumers: None,
    };
    let mut changes = Vec::new();
    let levels = Answers::Queues(vec![level]);
    bench.state.report(&levels, now, now, &mut changes);
    for worker in workers {
        let heartbeat = WorkerEvent {
            freq: Some(60.0),
            active: Some(0),
            processed: Some(9),
            ..WorkerEvent::new(WorkerKind::Heartbeat)
        };
        bench.event(worker, Detail::Worker(heartbeat));
    }
    let answers = workers.iter().map(|worker| WorkerAnswer {
        worker: (*worker).to_owned(),
        slots: Some(1),
        queues: Some(vec!["q".to_owned()]),
        active: Some(Vec::new()),
        reserved: Some(Vec::new()),
        scheduled: Some(Vec::new()),
        complete: true,
        registered: Some(vec![RegisteredTask::default()]),
        ..WorkerAnswer::default()
    });
    let answers = Answers::Workers(answers.collect());
    let now = bench.now;
    bench.state.report(&answers, now, now, &mut changes);
}

fn since(bench: &mut Bench, worker: &str) -> Option<f64> {
    let labels = [("queue", "q"), ("worker", worker)];
    let snapshot = bench.snapshot();
    snapshot.number_of("celery_worker_stalled_timestamp_seconds", &labels)
}

#[test]
fn a_stalled_worker_has_a_gauge_until_it_accepts_a_task() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 100);
    round(&mut bench, &["w@h"]);
    assert_eq!(since(&mut bench, "w@h"), None);
    let names = bench.profile.names().len();
    round(&mut bench, &["w@h"]);
    assert_eq!(since(&mut bench, "w@h"), Some(1_010.0));
    assert_eq!(bench.profile.names().len(), names + 2);
    bench.task(TaskKind::Received, "a", "t", "");
    assert_eq!(since(&mut bench, "w@h"), None);
}

#[test]
fn of_the_workers_of_a_host_the_one_that_stalled_first_counts() {
    let config = NativeConfig {
        hostnames: true,
        ..config(NAME_AND_QUEUE, 100)
    };
    let mut bench = Bench::of(ProfileName::Native, &config, 10_000);
    // It is neither the first nor the last in the list of workers.
    let heartbeat = WorkerEvent::new(WorkerKind::Heartbeat);
    bench.event("b@h", Detail::Worker(heartbeat));
    let all = ["b@h", "a@h", "c@h"];
    for workers in [&all[1..2], &all, &all] {
        round(&mut bench, workers);
    }
    assert_eq!(bench.state.stalled(bench.now).len(), 3);
    assert_eq!(since(&mut bench, "h"), Some(1_011.0));
}

#[test]
fn a_stalled_worker_without_room_for_its_series_is_counted() {
    let limited = |is_stalled: bool| {
        let mut bench = Bench::new(NAME_AND_QUEUE, 0, 100);
        for _ in 0..1 + u8::from(is_stalled) {
            round(&mut bench, &["w@h"]);
        }
        assert_eq!(
            bench.state.stalled(bench.now).len(),
            usize::from(is_stalled)
        );
        let before = bench.profile.limited().series;
        bench.snapshot();
        bench.profile.limited().series - before
    };
    assert_eq!(limited(true), limited(false) + 1);
}
