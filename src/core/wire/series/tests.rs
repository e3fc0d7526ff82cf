use proptest::prelude::*;

use super::*;

/// Returns a body with `series` series of `samples` samples, and an exemplar if there is only one
/// sample.
fn body_of(protocol: Protocol, series: u32, samples: u32) -> Body {
    let exemplars = |labels: Vec<u32>| {
        let exemplar = v2::Exemplar {
            labels_refs: labels,
            value: 0.5,
            timestamp: 1_500,
        };
        (samples == 1).then_some(exemplar).into_iter().collect()
    };
    let mut symbols: Vec<String> = ["", "__name__", "x", "n", "task_id", "help"]
        .map(str::to_owned)
        .to_vec();
    let timeseries = (0..series).map(|n| {
        symbols.extend([format!("n{n}"), format!("id{n}")]);
        let value = 6 + 2 * n;
        v2::TimeSeries {
            labels_refs: vec![1, 2, 3, value],
            samples: (0..samples)
                .map(|at| v2::Sample {
                    value: f64::from(n),
                    timestamp: 1_000 + i64::from(at),
                    start_timestamp: 7,
                })
                .collect(),
            exemplars: exemplars(vec![4, value + 1]),
            metadata: Some(v2::Metadata {
                r#type: 1,
                help_ref: 5,
                unit_ref: 0,
            }),
            ..v2::TimeSeries::default()
        }
    });
    let timeseries = timeseries.collect();
    let request = v2::Request {
        symbols,
        timeseries,
    };
    let exemplars = if samples == 1 { series } else { 0 };
    let body = Body {
        protocol: Protocol::V2,
        bytes: Protocol::V2.compress(&request.encode_to_vec()),
        counts: Counts {
            samples: (series * samples).into(),
            histograms: 0,
            exemplars: exemplars.into(),
        },
        oldest: Timestamp::from_millis(1_000),
        newest: Timestamp::from_millis(999 + i64::from(samples)),
    };
    match protocol {
        Protocol::V1 | Protocol::V1Zstd => downgrade(&body, protocol).expect("a request"),
        Protocol::V2 => body,
    }
}

/// Returns every (series, time) of a body, in order.
fn values(body: &Body) -> Vec<(String, i64)> {
    let series = apart(body).expect("a request");
    let series = series.iter().flat_map(|series| {
        let text = series.labels.to_string();
        series.times().map(move |at| (text.clone(), at))
    });
    series.collect()
}

/// Splits a body until every value is on its own.
fn leaves(body: Body) -> Vec<Body> {
    match halves(&body).expect("a request") {
        Some([first, second]) => [leaves(first), leaves(second)].concat(),
        None => vec![body],
    }
}

#[test]
fn a_series_has_the_same_key_in_both_versions_and_a_name_to_show() {
    let of = |protocol| apart(&body_of(protocol, 3, 1)).expect("a request");
    let (first, second) = (of(Protocol::V1), of(Protocol::V2));
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.labels, second.labels);
    }
    assert_ne!(first[0].labels.key, first[1].labels.key);
    assert_eq!(second[0].labels.to_string(), "x{n=\"n0\"}");
    // Stored by earlier processes.
    assert_eq!(
        first[0].labels.key,
        Labels::of(&[("n", "n0"), ("__name__", "x")]).key
    );
}

#[test]
fn exemplars_go_with_their_values_or_are_dropped() {
    let mut series = apart(&body_of(Protocol::V2, 1, 1))
        .expect("a request")
        .remove(0);
    let mut later = series.clone();
    later.samples[0].timestamp += 1_000;
    later.exemplars[0].timestamp += 1_000;
    series.append(later);
    let oldest = series.take_first(counts(1, 1));
    assert_eq!(
        (oldest.counts(), series.counts()),
        (counts(1, 1), counts(1, 1))
    );
    series.drop_exemplars();
    assert_eq!(series.counts(), counts(1, 0));
}

fn counts(samples: u64, exemplars: u64) -> Counts {
    Counts {
        samples,
        histograms: 0,
        exemplars,
    }
}

#[test]
fn the_older_values_of_a_series_come_first() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let [older, newer] = halves(&body_of(protocol, 1, 2))
            .expect("a request")
            .expect("two values");
        assert_eq!(
            (older.newest.millis(), newer.oldest.millis()),
            (1_000, 1_001)
        );
    }
}

#[test]
fn a_part_of_2_has_the_symbols_that_it_uses_and_no_others() {
    let [first, _] = halves(&body_of(Protocol::V2, 4, 1))
        .expect("a request")
        .expect("series");
    let request: v2::Request = read(&first.bytes, first.protocol).expect("a request");
    let mut symbols = request.symbols.clone();
    symbols.sort();
    assert_eq!(
        symbols,
        [
            "", "__name__", "help", "id0", "id1", "n", "n0", "n1", "task_id", "x"
        ]
    );
    assert_eq!(request.symbols[0], "");
}

#[test]
fn a_series_with_samples_and_histograms_has_two_entries_in_2() {
    let mut series = apart(&body_of(Protocol::V2, 1, 1))
        .expect("a request")
        .remove(0);
    series.histograms.push(v2::Histogram {
        timestamp: 2_000,
        start_timestamp: 7,
        ..v2::Histogram::default()
    });
    let second = together([&series], Protocol::V2).expect("a body");
    let request: v2::Request = read(&second.bytes, second.protocol).expect("a request");
    assert_eq!(request.timeseries.len(), 2);
    let first = downgrade(&second, Protocol::V1).expect("a body");
    assert_eq!((first.counts, first.newest), (second.counts, second.newest));
}

#[test]
fn what_is_no_request_is_not_taken_apart() {
    for protocol in [Protocol::V1, Protocol::V2, Protocol::V1Zstd] {
        let rubbish = Body {
            bytes: bytes::Bytes::from_static(b"rubbish"),
            ..body_of(protocol, 1, 1)
        };
        assert_eq!(halves(&rubbish), Err(Unreadable));
        let nothing = Body {
            bytes: protocol.compress(&[]),
            ..rubbish
        };
        assert_eq!(halves(&nothing), Err(Unreadable));
        assert_eq!(parts(&rubbish, protocol, 1), Err(Unreadable));
        assert_eq!(parts(&nothing, protocol, 1), Err(Unreadable));
    }
}

proptest! {
    /// The parts contain what the whole did, in order, with correct counts.
    #[test]
    fn taking_apart_loses_and_repeats_nothing(series in 1..40_u32, samples in 1..5_u32, second in any::<bool>()) {
        let protocol = if second { Protocol::V2 } else { Protocol::V1 };
        let whole = body_of(protocol, series, samples);
        let leaves = leaves(whole.clone());

        prop_assert_eq!(leaves.iter().map(|leaf| leaf.counts).sum::<Counts>(), whole.counts);
        let parts: Vec<_> = leaves.iter().flat_map(values).collect();
        prop_assert_eq!(parts, values(&whole));
        prop_assert!(leaves.iter().all(|leaf| leaf.counts.samples == 1 && leaf.oldest == leaf.newest));
    }
}

#[test]
fn the_oldest_time_is_that_of_any_value() {
    let series = Series::of_sample(Labels::of(&[("__name__", "x")]), 1.0, 50).with_exemplar(30);
    let times: Vec<_> = series.times().collect();
    assert_eq!(series.oldest(), times.iter().min().copied());
    assert_eq!(
        Series::of_sample(Labels::of(&[("__name__", "x")]), 1.0, 50).oldest(),
        Some(50)
    );
}

#[test]
fn a_series_shows_its_name_and_the_other_labels_in_order() {
    for (labels, expected) in [
        (&[("__name__", "x")][..], "x{}"),
        (
            &[("b", "2"), ("__name__", "x"), ("a", "\"1\"")],
            r#"x{a="\"1\"", b="2"}"#,
        ),
        (&[("a", "1")], r#"{a="1"}"#),
    ] {
        assert_eq!(Labels::of(labels).to_string(), expected);
    }
    let labels = Labels::of(&[("b", "2"), ("a", "1")]);
    assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    assert_eq!((labels.value("b"), labels.value("c")), ("2", ""));
    // Names and values are told apart.
    assert_ne!(labels.key, Labels::of(&[("b", "1"), ("a", "2")]).key);
    assert_ne!(
        Labels::of(&[("a", "bc")]).key,
        Labels::of(&[("ab", "c")]).key
    );
}

#[test]
fn values_are_taken_from_the_front() {
    let labels = Labels::of(&[("__name__", "x")]);
    let mut series = Series::of_sample(labels.clone(), 1.0, 1_000).with_exemplar(1_000);
    let histogram = |timestamp| v2::Histogram {
        timestamp,
        ..v2::Histogram::default()
    };
    let mut later = Series::of_sample(labels, 2.0, 2_000);
    later.histograms = vec![histogram(3_000), histogram(4_000)];
    later.metadata = Some(Metadata {
        kind: 1,
        help: "H.".into(),
        unit: "".into(),
    });
    series.append(later);
    series.append(Series::of_sample(series.labels.clone(), 3.0, 2_500));
    assert_eq!(
        series.times().collect::<Vec<_>>(),
        [1_000, 2_000, 2_500, 3_000, 4_000]
    );
    let first = series.take_first(Counts {
        samples: 2,
        histograms: 1,
        exemplars: 0,
    });
    assert_eq!(first.times().collect::<Vec<_>>(), [1_000, 2_000, 3_000]);
    assert_eq!(series.times().collect::<Vec<_>>(), [2_500, 4_000]);
    assert_eq!(
        (first.oldest(), series.oldest()),
        (Some(1_000), Some(2_500))
    );
    // Metadata of any request goes with every part.
    for part in [&first, &series] {
        assert_eq!(
            part.metadata.as_ref().map(|metadata| &*metadata.help),
            Some("H.")
        );
    }
    assert_eq!(
        (first.counts().exemplars, series.counts().exemplars),
        (0, 1)
    );
    let most = Counts {
        samples: 9,
        histograms: 9,
        exemplars: 9,
    };
    assert_eq!(series.take_first(most).counts().points(), 2);
    assert_eq!(series.counts(), Counts::default());
}

#[test]
fn the_older_half_of_a_series_has_the_exemplars_of_its_values() {
    let labels = Labels::of(&[("__name__", "x")]);
    let mut series = Series::of_sample(labels.clone(), 1.0, 1_000).with_exemplar(1_000);
    assert_eq!(series.older_half(), None);
    for at in [2_000, 3_000] {
        let next = Series::of_sample(labels.clone(), 1.0, at);
        series.append(next.with_exemplar(at - 1));
    }
    assert_eq!(series.older_half(), Some(counts(1, 1)));
    series.append(Series::of_sample(labels, 1.0, 4_000));
    assert_eq!(series.older_half(), Some(counts(2, 2)));
    series.histograms = vec![v2::Histogram::default(); 6];
    let half = Counts {
        samples: 4,
        histograms: 1,
        exemplars: 3,
    };
    assert_eq!(series.older_half(), Some(half));
}

#[test]
fn a_body_becomes_one_that_the_receiver_reads_and_keeps_its_values() {
    let all = [Protocol::V1, Protocol::V2, Protocol::V1Zstd];
    for (of, receiver, becomes) in all.iter().flat_map(|&of| {
        let becomes = match of {
            Protocol::V1 => [Protocol::V1; 3],
            Protocol::V2 => all,
            // A 2.0 receiver may not read zstd.
            Protocol::V1Zstd => [Protocol::V1, Protocol::V1, Protocol::V1Zstd],
        };
        all.into_iter()
            .zip(becomes)
            .map(move |(receiver, becomes)| (of, receiver, becomes))
    }) {
        let body = body_of(of, 3, 2);
        let read = downgrade(&body, receiver).expect("a request");
        assert_eq!(read.protocol, becomes, "{of:?} for {receiver:?}");
        assert_eq!(values(&read), values(&body));
        assert_eq!((read.counts, read.newest), (body.counts, body.newest));
        if becomes == of {
            assert_eq!(read.bytes, body.bytes);
        }
    }
}
