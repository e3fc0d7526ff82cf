//! Tests of the native profile's gauges of periodic tasks.

use super::*;

const SENDERS: &str = "celery_periodic_task_senders";

/// Sends a task of each name from each process, every ten minutes.
fn send(bench: &mut Bench, names: &[&str], processes: u32, times: u32) {
    for _ in 0..times {
        for (name, process) in names
            .iter()
            .flat_map(|name| (0..processes).map(move |n| (name, n)))
        {
            let uuid = format!("{name} {process} {}", bench.now.micros());
            let detail = Detail::Task(TaskEvent {
                name: Some((*name).into()),
                ..TaskEvent::new(TaskKind::Sent, &uuid)
            });
            bench.apply(&Event {
                timestamp: bench.now,
                hostname: format!("gen{process}@h").into(),
                pid: None,
                detail,
            });
        }
        bench.now = bench.now.after(Duration::from_secs(600));
    }
}

#[test]
fn the_senders_of_a_task_are_shown_while_there_are_several() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 100);
    send(&mut bench, &["t", "u"], 1, 20);
    assert_eq!(bench.snapshot().number_of(SENDERS, &[("name", "t")]), None);
    send(&mut bench, &["t"], 3, 20);
    let snapshot = bench.snapshot();
    let of = |name| snapshot.number_of(SENDERS, &[("name", name)]);
    assert_eq!((of("t"), of("u")), (Some(3.0), None));
    send(&mut bench, &["t"], 1, 3);
    assert_eq!(total(&bench.snapshot(), SENDERS), 0.0);
}

#[test]
fn the_senders_of_a_task_that_is_filtered_out_are_not_shown() {
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 100);
    send(&mut bench, &["t", "u"], 2, 20);
    let state = &bench.state;
    let mut shows = |name| *state.names().text(name) == *"u";
    bench
        .profile
        .level(state, &mut bench.series, bench.now, &mut shows);
    let snapshot = bench.series.snapshot(bench.now, false);
    let of = |name| snapshot.number_of(SENDERS, &[("name", name)]);
    assert_eq!((of("t"), of("u")), (None, Some(2.0)));
}
