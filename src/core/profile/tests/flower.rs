//! Tests of Flower's families.

use super::*;

#[test]
fn each_use_of_an_overflow_series_is_counted_once() {
    // There is no room for any series.
    let config = config(NAME_AND_QUEUE, 100);
    let mut bench = Bench::of(ProfileName::Flower, &config, 0);
    let limited = |bench: &Bench| bench.profile.limited();
    for (kind, uses) in [
        // The event, and the set of prefetched tasks.
        (TaskKind::Received, 2),
        // The same, and the prefetch time.
        (TaskKind::Started, 2 + 3),
        // The event, and the runtime.
        (TaskKind::Succeeded, 5 + 2),
    ] {
        bench.task(kind, "a", "t", "");
        assert_eq!(limited(&bench).series, uses, "{kind:?}");
    }
    let heartbeat = WorkerEvent {
        freq: Some(2.0),
        active: Some(3),
        processed: Some(9),
        ..WorkerEvent::new(WorkerKind::Heartbeat)
    };
    bench.event("w@h", Detail::Worker(heartbeat));
    bench.snapshot();
    // Whether the worker is online, and how many tasks it executes.
    let expected = Limited {
        series: 7 + 2,
        exceptions: 0,
        queues: 0,
    };
    assert_eq!(limited(&bench), expected);
}
