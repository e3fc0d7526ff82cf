//! What can change while an encoder is in use, and what it takes over from another one.

use super::*;

/// A table with this many counters.
fn counters(count: usize) -> Table {
    let mut table = table();
    for n in 0..count {
        let id = table.open(table.sent, &format!("t{n}"));
        table.series.add(id, 1.0);
    }
    table
}

fn sizes(bodies: &[Body]) -> Vec<u64> {
    bodies.iter().map(|body| body.counts.samples).collect()
}

#[test]
fn a_request_is_as_large_as_it_may_be() {
    for protocol in ALL {
        let mut encoder = encoder(protocol, 4);
        let mut table = counters(5);
        // Each new counter comes with its zero.
        let first = bodies(encoder.snapshot(&table.snapshot(5_000)));
        assert_eq!(sizes(&first), [4, 4, 2]);
        let second = bodies(encoder.snapshot(&table.snapshot(6_000)));
        assert_eq!(sizes(&second), [4, 1]);
        encoder.limit(5);
        let third = bodies(encoder.snapshot(&table.snapshot(7_000)));
        assert_eq!(sizes(&third), [5]);
        // A pair of values that is larger than a request is sent alone.
        encoder.limit(1);
        let id = table.open(table.sent, "new");
        table.series.add(id, 1.0);
        let fourth = bodies(encoder.snapshot(&table.snapshot(8_000)));
        assert_eq!(sizes(&fourth), [2, 1, 1, 1, 1, 1]);
        let times: Vec<_> = fourth
            .iter()
            .map(|body| (body.oldest, body.newest))
            .collect();
        let at = Timestamp::from_millis;
        assert_eq!(times[0], (at(7_001), at(8_000)));
        assert_eq!(times[1], (at(8_000), at(8_000)));
    }
}

#[test]
fn an_encoder_may_switch_to_the_other_version() {
    let mut encoder = encoder(Protocol::V2, 100);
    let mut table = counters(2);
    for (protocol, millis) in [
        (Protocol::V2, 5_000),
        (Protocol::V1, 6_000),
        (Protocol::V2, 7_000),
    ] {
        encoder.set_protocol(protocol);
        assert_eq!(encoder.protocol(), protocol);
        let bodies = bodies(encoder.snapshot(&table.snapshot(millis)));
        assert_eq!(bodies.len(), 1);
        assert_eq!(
            (bodies[0].protocol, decode(&bodies[0]).len()),
            (protocol, 2)
        );
    }
}

#[test]
fn a_successor_sends_a_zero_only_for_what_began_since() {
    let at = Timestamp::from_millis;
    let mut table = table();
    table.snapshot(4_000);
    let old = table.open(table.sent, "old");
    table.series.add(old, 1.0);
    table.snapshot(5_000);
    let new = table.open(table.sent, "new");
    table.series.add(new, 1.0);
    let mut encoder = encoder(Protocol::V1, 100).continuing_from(at(5_000));
    let series = shown(&bodies(encoder.snapshot(&table.snapshot(6_000))));
    assert_eq!(
        series,
        [
            "A=upper,__name__=sent_total,job=celery,name=new 0@5001 1@6000",
            "A=upper,__name__=sent_total,job=celery,name=old 1@6000",
        ]
    );
}

#[test]
fn an_encoder_that_ends_marks_every_series_stale_just_after_its_newest_value() {
    for protocol in ALL {
        let mut encoder = encoder(protocol, 2);
        let mut table = counters(3);
        let newest = table.snapshot(5_000);
        let _ = bodies(encoder.snapshot(&newest));
        let ended = encoder.end(newest.at);
        assert_eq!(sizes(&ended), [2, 1]);
        assert!(
            shown(&ended)
                .iter()
                .all(|series| series.ends_with("stale@5001"))
        );
        assert_eq!(encoder.end(newest.at), []);
    }
}
