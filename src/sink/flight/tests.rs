use std::sync::Arc;

use super::*;
use crate::queue::Record;
use crate::series::{Family, LabelName, LabelSet, MetricKind, Relabel, Room, Series};
use crate::wire::{Encoder, Outgoing};

/// A record of so many counters, which are new: each has a zero and a value.
pub(super) fn entry(sequence: u64, group: u64, series: usize, protocol: Protocol) -> Entry {
    let mut table = Series::new(10_000, Timestamp::from_millis(1_000));
    let family = table.family(Family {
        name: "x_total".into(),
        kind: MetricKind::Counter,
        help: "X.",
        labels: Vec::new(),
    });
    for n in 0..series {
        let value: Arc<str> = n.to_string().into();
        let labels = LabelSet::new([(LabelName::from_static("n"), value)]);
        table.open(family, labels, Room::Limited).expect("room");
    }
    let how = Outgoing {
        external: Vec::new(),
        relabel: Relabel::default(),
        samples_max: usize::MAX,
        exemplars: true,
        native: false,
        classic: true,
        draft: false,
    };
    let snapshot = table.snapshot(Timestamp::from_millis(5_000), false);
    let body = Encoder::new(how, protocol)
        .snapshot(&snapshot)
        .bodies
        .remove(0);
    Entry {
        sequence,
        group,
        record: Record {
            kind: match protocol {
                Protocol::V1 => Kind::V1,
                Protocol::V2 => Kind::V2,
            },
            bytes: body.bytes,
            counts: body.counts,
            oldest_ms: body.oldest.millis(),
            newest_ms: body.newest.millis(),
        },
        recovered: false,
    }
}

/// A request as bytes, shown as text.
fn raw(body: &Body) -> String {
    let raw = snap::raw::Decoder::new().decompress_vec(&body.bytes);
    String::from_utf8_lossy(&raw.expect("compressed")).into_owned()
}

/// Sends a flight to a receiver that refuses requests which hold the given text.
fn deliver(flight: &mut Flight, bad: &str, is_there: bool) -> (Counts, Counts, Vec<String>) {
    let (mut delivered, mut failed, mut series) =
        (Counts::default(), Counts::default(), Vec::new());
    let mut requests = 0;
    while let Some(body) = flight.body() {
        requests += 1;
        assert!(requests < 3_000, "it comes to an end");
        let raw = raw(body);
        if raw.contains(bad) {
            let refusal = flight.refused(is_there);
            failed += refusal.failed;
            delivered += refusal.delivered;
            series.extend(refusal.series);
        } else {
            delivered += flight.delivered();
        }
    }
    (delivered, failed, series)
}

#[test]
fn only_what_is_refused_alone_is_lost() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut flight = Flight::new(entry(1, 1, 10, protocol));
        let (delivered, failed, series) = deliver(&mut flight, "7", false);
        assert_eq!((delivered.samples, failed.samples), (18, 2));
        assert_eq!(series, ["x_total{n=\"7\"}", "x_total{n=\"7\"}"]);
        assert!(flight.is_done());
        assert_eq!(flight.open(), Counts::default());
    }
}

#[test]
fn what_may_have_been_stored_and_is_there_counts_as_delivered() {
    let cases = [
        (Some(Failure::Other), (20, 0)),
        (Some(Failure::Unsent), (18, 2)),
        (None, (18, 2)),
    ];
    for (failure, expected) in cases {
        let mut flight = Flight::new(entry(1, 1, 10, Protocol::V2));
        if let Some(failure) = failure {
            flight.failed(failure);
        }
        let (delivered, failed, _) = deliver(&mut flight, "7", true);
        assert_eq!((delivered.samples, failed.samples), expected);
    }
    // A queue of an earlier process may have been cut off from its answer.
    let mut flight = Flight::new(Entry {
        recovered: true,
        ..entry(1, 1, 1, Protocol::V1)
    });
    let (delivered, failed, _) = deliver(&mut flight, "x_total", true);
    assert_eq!((delivered.samples, failed.samples), (2, 0));
}

#[test]
fn what_was_stored_in_part_is_not_sent_again() {
    let mut flight = Flight::new(entry(1, 1, 10, Protocol::V2));
    let stored = Counts {
        samples: 18,
        ..Counts::default()
    };
    let refusal = flight.stored_in_part(stored);
    assert_eq!((refusal.delivered.samples, refusal.failed.samples), (18, 2));
    assert!(flight.is_done());
}

#[test]
fn a_receiver_that_refuses_everything_is_not_asked_about_every_value() {
    let mut flight = Flight::new(entry(1, 1, 2_000, Protocol::V1));
    let mut requests = 0;
    let mut failed = Counts::default();
    while flight.body().is_some() {
        requests += 1;
        failed += flight.refused(false).failed;
    }
    assert_eq!(failed.samples, 4_000);
    assert!(requests < 1_100, "{requests}");
}

/// Sends a flight to a receiver that answers 500 to what holds the given text, and to everything for a while.
fn outlast(flight: &mut Flight, bad: &str, mut outage: u32) -> (Counts, Counts, Vec<String>, u32) {
    let (mut delivered, mut aside, mut series) = (Counts::default(), Counts::default(), Vec::new());
    let mut requests = 0;
    while let Some(body) = flight.body() {
        requests += 1;
        assert!(requests < 3_000, "it comes to an end");
        let raw = raw(body);
        if outage == 0 && !raw.contains(bad) {
            delivered += flight.delivered();
            continue;
        }
        outage = outage.saturating_sub(1);
        if let Next::SetAside(counts, of) = flight.failed(Failure::Error500) {
            aside += counts;
            series.push(of);
        }
    }
    (delivered, aside, series, requests)
}

#[test]
fn only_what_breaks_the_receiver_is_set_aside() {
    for protocol in [Protocol::V1, Protocol::V2] {
        for outage in [0, 5, 40] {
            let mut flight = Flight::new(entry(1, 1, 50, protocol));
            let (delivered, aside, series, requests) = outlast(&mut flight, "37", outage);
            assert_eq!((delivered.samples, aside.samples), (98, 2), "{outage}");
            assert!(
                series.iter().all(|series| series == "x_total{n=\"37\"}"),
                "{series:?}"
            );
            assert!(requests < 60 + outage, "{requests}");
        }
    }
}

#[test]
fn many_bad_ones_cost_no_good_one() {
    // Every series whose number has a 1 in it: 111 of 300 in a row and apart.
    let mut flight = Flight::new(entry(1, 1, 300, Protocol::V1));
    let (delivered, failed, _) = deliver(&mut flight, "\u{1}1", false);
    let bad = (0..300).filter(|n: &u32| n.to_string().starts_with('1') && n.to_string().len() == 1);
    assert_eq!(failed.samples, 2 * bad.count() as u64);
    assert_eq!(delivered.samples + failed.samples, 600);
}

#[test]
fn what_breaks_the_receiver_alone_waits_for_another_record_to_tell() {
    for series in [1, 2] {
        let mut flight = Flight::new(entry(1, 1, series, Protocol::V1));
        let mut tries = 0;
        while !flight.is_stuck() {
            tries += 1;
            assert!(tries < 100, "{series}");
            assert_eq!(flight.failed(Failure::Error500), Next::Wait);
        }
        assert_eq!(flight.give_up().samples, 2 * series as u64);
    }
}

#[test]
fn more_bad_ones_than_good_are_set_aside_until_nothing_tells_any_more() {
    let mut flight = Flight::new(entry(1, 1, 12, Protocol::V2));
    let mut aside = 0;
    let mut tries = 0;
    while flight.body().is_some() && !flight.is_stuck() {
        tries += 1;
        assert!(tries < 1_000);
        let body = flight.body().expect("a body");
        if body.counts.samples <= 2 && raw(body).contains("\u{1}3") {
            flight.delivered();
        } else if let Next::SetAside(counts, _) = flight.failed(Failure::Error500) {
            aside += counts.samples;
        }
    }
    assert!(aside > 0 || flight.is_stuck(), "{aside}");
}

#[test]
fn a_stray_500_after_a_long_outage_costs_nothing() {
    let mut flight = Flight::new(entry(1, 1, 2, Protocol::V1));
    for _ in 0..30 {
        flight.failed(Failure::Error500);
    }
    flight.delivered();
    assert!(!matches!(
        flight.failed(Failure::Error500),
        Next::SetAside(..)
    ));
    assert!(flight.body().is_some());
}

#[test]
fn a_receiver_that_answers_500_to_everything_for_long_loses_nothing() {
    let mut flight = Flight::new(entry(1, 1, 50, Protocol::V2));
    let (delivered, aside, _, requests) = outlast(&mut flight, "nothing has this", 500);
    assert_eq!((delivered.samples, aside.samples), (100, 0));
    assert!(requests < 650, "{requests}");
    // One value that breaks it, and no other to tell: another record has to.
    let mut flight = Flight::new(entry(1, 1, 1, Protocol::V1));
    for _ in 0..50 {
        assert!(flight.failed(Failure::Error500) == Next::Wait && flight.body().is_some());
    }
}

#[test]
fn what_was_queued_as_2_is_sent_as_1() {
    let mut flight = Flight::new(entry(1, 1, 3, Protocol::V2));
    assert_eq!(flight.downgrade(), Counts::default());
    let body = flight.body().expect("a body");
    assert_eq!((body.protocol, body.counts.samples), (Protocol::V1, 6));
    let mut broken = entry(1, 1, 3, Protocol::V2);
    broken.record.bytes = bytes::Bytes::from_static(b"rubbish");
    let mut flight = Flight::new(broken);
    assert_eq!(flight.downgrade().samples, 6);
    assert!(flight.is_done());
}
