use std::sync::Arc;

use super::*;
use crate::series::{self as table, Family, LabelName, LabelSet, MetricKind, Relabel, Room};
use crate::wire::{Encoder, Outgoing, Protocol};

/// A record with new counters, each with a zero and a value.
pub(super) fn entry(sequence: u64, group: u64, series: usize, protocol: Protocol) -> Entry {
    let mut table = table::SeriesTable::new(10_000, Timestamp::from_millis(1_000));
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
        body,
        recovered: false,
    }
}

fn sent(flight: &InFlightRecord) -> u64 {
    flight.body().map_or(0, |body| body.counts.samples)
}

#[test]
fn what_is_too_large_is_divided_down_to_one_value() {
    for protocol in [Protocol::V1, Protocol::V2, Protocol::V1Zstd] {
        let mut flight = InFlightRecord::new(entry(1, 1, 10, protocol));
        let mut sizes = vec![sent(&flight)];
        while flight.divide().is_some() {
            sizes.push(sent(&flight));
        }
        assert_eq!(sizes, [20, 10, 4, 2, 1], "{protocol:?}");
        assert_eq!(flight.open().samples, 20);
        assert_eq!(flight.give_up_piece().samples, 1);
        assert_eq!((sent(&flight), flight.open().samples), (1, 19));
        assert_eq!(flight.give_up().samples, 19);
        assert!(flight.is_done());
    }
}

#[test]
fn what_is_too_much_for_another_protocol_is_divided() {
    for (from, to, sizes) in [
        (Protocol::V2, Protocol::V1, &[8, 8, 4][..]),
        (Protocol::V1Zstd, Protocol::V1, &[8, 8, 4]),
        (Protocol::V2, Protocol::V1Zstd, &[8, 8, 4]),
        // It can be read, and has been tried as it is.
        (Protocol::V1, Protocol::V1Zstd, &[20]),
    ] {
        let mut flight = InFlightRecord::new(entry(1, 1, 10, from));
        let keys = |series: Vec<Series>| series.into_iter().map(|one| one.labels.key);
        let all: Vec<_> = flight.series().map(keys).expect("it is readable").collect();
        let (mut parts, mut order) = (Vec::new(), Vec::new());
        while !flight.is_sent() {
            assert!(flight.downgrade(to, 9).is_zero());
            let body = flight.body().expect("something is left");
            assert!(to.reads(body.protocol), "{from:?} to {to:?}");
            order.extend(flight.series().map(keys).expect("it is readable"));
            parts.push(flight.give_up_piece().samples);
        }
        assert_eq!(
            (parts.as_slice(), order),
            (sizes, all),
            "{from:?} to {to:?}"
        );
    }
}

#[test]
fn a_part_of_a_suspect_is_one_once_it_fails_itself() {
    let start = crate::clock::monotonic();
    let then = start + ERRORS_MIN;
    let mut flight = InFlightRecord::new(entry(1, 1, 10, Protocol::V2));
    flight.failed(Failure::Error, start);
    flight.checked(then);
    assert!(!flight.divide_to(20), "it is small enough");
    assert!(flight.divide_to(12));
    for (samples, first, is_suspect) in [(12, Failure::Error, true), (8, Failure::Other, false)] {
        assert_eq!(
            (sent(&flight), flight.tried()),
            (samples, Tried::Unanswered)
        );
        assert!(!flight.is_suspect(then), "it has not been sent");
        flight.failed(first, then);
        flight.failed(Failure::Error, then);
        assert_eq!(flight.is_suspect(then), is_suspect, "{first:?}");
        flight.give_up_piece();
    }
    assert!(flight.is_done());
}

#[test]
fn only_429_in_a_row_is_a_limit() {
    let now = crate::clock::monotonic();
    let mut flight = InFlightRecord::new(entry(1, 1, 10, Protocol::V2));
    for (failure, is_limited) in [
        (Failure::Error, false),
        (Failure::Limited, false),
        (Failure::Limited, false),
        (Failure::Other, false),
        (Failure::Limited, false),
        (Failure::Limited, false),
        (Failure::Limited, true),
        (Failure::Unsent, false),
    ] {
        flight.failed(failure, now);
        assert_eq!(flight.is_limited(), is_limited, "{failure:?}");
    }
}

#[test]
fn what_waits_elsewhere_keeps_the_record() {
    let mut flight = InFlightRecord::new(entry(1, 1, 10, Protocol::V2));
    let series = flight.series().expect("it can be read");
    let held = series[7..].iter().map(Series::counts).sum();
    flight
        .replace(&series[..7], Tried::Never, held)
        .expect("it can be written");
    assert_eq!((sent(&flight), flight.open().samples), (14, 20));
    assert_eq!(flight.give_up_piece().samples, 14);
    assert!(flight.is_sent() && !flight.is_done());
    flight.release(held);
    assert!(flight.is_done());
}

#[test]
fn only_unbroken_errors_make_a_request_suspect() {
    let (start, later) = (crate::clock::monotonic(), Duration::from_secs(1));
    let mut flight = InFlightRecord::new(entry(1, 1, 1, Protocol::V1));
    flight.failed(Failure::Error, start);
    assert!(!flight.is_suspect(start + ERRORS_MIN - later));
    assert!(flight.is_suspect(start + ERRORS_MIN));
    flight.checked(start + ERRORS_MIN);
    assert!(!flight.is_suspect(start + ERRORS_MIN + CHECKED - later));
    assert!(flight.is_suspect(start + ERRORS_MIN + CHECKED));
    for failure in [Failure::Other, Failure::Unsent] {
        flight.failed(failure, start + ERRORS_MIN);
        assert!(!flight.is_suspect(start + ERRORS_MIN + CHECKED));
        flight.failed(Failure::Error, start);
    }
    assert_eq!(flight.attempt(), 5);
    assert_eq!(
        flight.tried(),
        Tried::Unanswered,
        "its answer may have been lost"
    );
}
