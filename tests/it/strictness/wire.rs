//! Tests the readers on messages that `prost` encoded from the schemas: each field is in its place.

use celeriac::wire::proto::{v1 as prost1, v2 as prost2};
use prost::Message;

use strict_receiver::wire::histogram::{Count, Histogram, Side, Span};
use strict_receiver::wire::v1::WriteRequest;
use strict_receiver::wire::{Exemplar, Metadata, Sample, Series, v2};

fn text(text: &str) -> String {
    text.to_owned()
}

/// A side with different values in each field.
fn side(n: u8) -> Side {
    let offset = i64::from(n) - 5;
    Side {
        spans: vec![
            Span { offset, length: 2 },
            Span {
                offset: 3,
                length: 1,
            },
        ],
        deltas: vec![i64::from(n), -1, 300],
        counts: vec![f64::from(n), 0.5],
    }
}

fn histogram(float: bool, start: i64) -> Histogram {
    let count = |n: u8| {
        if float {
            Count::Float(f64::from(n) + 0.5)
        } else {
            Count::Int(u64::from(n))
        }
    };
    Histogram {
        count: Some(count(200)),
        sum: 1.25,
        schema: -4,
        zero_threshold: 0.125,
        zero_count: Some(count(3)),
        negative: side(1),
        positive: side(9),
        reset_hint: 3,
        timestamp: -7,
        custom_values: vec![1.0, 2.5],
        start,
    }
}

/// The same value as either of the two generated types.
macro_rules! of_prost {
    ($module:ident, $histogram:expr, $($start:tt)*) => {{
        let own: &Histogram = $histogram;
        let spans = |side: &Side| {
            let spans = side.spans.iter().map(|span| $module::BucketSpan {
                offset: i32::try_from(span.offset).unwrap(),
                length: u32::try_from(span.length).unwrap(),
            });
            spans.collect::<Vec<_>>()
        };
        $module::Histogram {
            count: own.count.map(|count| match count {
                Count::Int(n) => $module::histogram::Count::CountInt(n),
                Count::Float(n) => $module::histogram::Count::CountFloat(n),
            }),
            sum: own.sum,
            schema: i32::try_from(own.schema).unwrap(),
            zero_threshold: own.zero_threshold,
            zero_count: own.zero_count.map(|count| match count {
                Count::Int(n) => $module::histogram::ZeroCount::ZeroCountInt(n),
                Count::Float(n) => $module::histogram::ZeroCount::ZeroCountFloat(n),
            }),
            negative_spans: spans(&own.negative),
            negative_deltas: own.negative.deltas.clone(),
            negative_counts: own.negative.counts.clone(),
            positive_spans: spans(&own.positive),
            positive_deltas: own.positive.deltas.clone(),
            positive_counts: own.positive.counts.clone(),
            reset_hint: i32::try_from(own.reset_hint).unwrap(),
            timestamp: own.timestamp,
            custom_values: own.custom_values.clone(),
            $($start)*
        }
    }};
}

#[test]
fn each_field_of_1_is_read() {
    let histograms = [histogram(false, 0), histogram(true, 0)];
    let label = |name: &str, value: &str| prost1::Label {
        name: text(name),
        value: text(value),
    };
    let series = prost1::TimeSeries {
        labels: vec![label("__name__", "x"), label("é", "ü")],
        samples: vec![prost1::Sample {
            value: -1.5,
            timestamp: i64::MAX,
        }],
        exemplars: vec![prost1::Exemplar {
            labels: vec![label("id", "1")],
            value: 2.5,
            timestamp: -1,
        }],
        histograms: histograms
            .iter()
            .map(|own| of_prost!(prost1, own,))
            .collect(),
    };
    let metadata = prost1::MetricMetadata {
        r#type: 7,
        metric_family_name: text("x"),
        help: text("Help."),
        unit: text("seconds"),
    };
    let request = prost1::WriteRequest {
        timeseries: vec![series],
        metadata: vec![metadata],
    };
    let expected = WriteRequest {
        series: vec![Series {
            labels: vec![(text("__name__"), text("x")), (text("é"), text("ü"))],
            samples: vec![Sample {
                value: -1.5,
                timestamp: i64::MAX,
                start: 0,
            }],
            histograms: histograms.to_vec(),
            exemplars: vec![Exemplar {
                labels: vec![(text("id"), text("1"))],
                value: 2.5,
                timestamp: -1,
            }],
            ..Series::default()
        }],
        metadata: vec![(
            text("x"),
            Metadata {
                kind: 7,
                help: text("Help."),
                unit: text("seconds"),
            },
        )],
    };
    assert_eq!(WriteRequest::read(&request.encode_to_vec()), Ok(expected));
}

#[test]
fn each_field_of_2_is_read_and_its_symbols_are_put_in() {
    let histograms = [histogram(false, -9), histogram(true, 1 << 40)];
    let symbols = ["", "__name__", "x", "id", "1", "Help.", "seconds"].map(text);
    let series = prost2::TimeSeries {
        labels_refs: vec![1, 2],
        samples: vec![prost2::Sample {
            value: -1.5,
            timestamp: i64::MIN,
            start_timestamp: 3,
        }],
        histograms: histograms
            .iter()
            .map(|own| of_prost!(prost2, own, start_timestamp: own.start,))
            .collect(),
        exemplars: vec![prost2::Exemplar {
            labels_refs: vec![3, 4],
            value: 2.5,
            timestamp: 9,
        }],
        metadata: Some(prost2::Metadata {
            r#type: 6,
            help_ref: 5,
            unit_ref: 6,
        }),
    };
    let request = prost2::Request {
        symbols: symbols.to_vec(),
        timeseries: vec![series],
    };
    let read = v2::Request::read(&request.encode_to_vec()).unwrap();
    assert_eq!(read.symbols, symbols);
    assert_eq!(read.references(), [1, 2, 3, 4, 5, 6]);
    let expected = Series {
        labels: vec![(text("__name__"), text("x"))],
        samples: vec![Sample {
            value: -1.5,
            timestamp: i64::MIN,
            start: 3,
        }],
        histograms: histograms.to_vec(),
        exemplars: vec![Exemplar {
            labels: vec![(text("id"), text("1"))],
            value: 2.5,
            timestamp: 9,
        }],
        metadata: Some(Metadata {
            kind: 6,
            help: text("Help."),
            unit: text("seconds"),
        }),
        created: 0,
    };
    assert_eq!(read.resolve(&read.series[0]), expected);
}
