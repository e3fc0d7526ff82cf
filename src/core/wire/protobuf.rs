//! The protobuf exposition format: length-delimited `io.prometheus.client.MetricFamily` messages.
//!
//! Source: `prometheus/client_model`; "Exposition formats" in Prometheus' documentation. It is the
//! only exposition format with native histograms, and the one for pushes to a Pushgateway.

use prost::{EncodeError, Message};

use super::lines::{TASK_ID, by_family, fits};
use super::point::{LENGTH, tag};
use super::proto::client;
use crate::series::{
    Exemplar, Exponential, Family, Histogram, MetricKind, Row, Runs, Snapshot, Value,
};
use crate::timestamp::Timestamp;

/// Value of `Content-Type`.
pub const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// The tag of each metric in a family: field 4, length-delimited.
const METRIC: u8 = tag(4, LENGTH);

/// Renders a snapshot as protobuf. With `native`, histograms include their native form if they have
/// one. Either all histograms of a family must have one, or none: Prometheus 2 determines the kind
/// of a family from its first histogram.
pub fn render(snapshot: &Snapshot, native: bool) -> Vec<u8> {
    let mut page = Vec::with_capacity(snapshot.rows.len() * 128);
    let mut body = Vec::new();
    for rows in by_family(snapshot) {
        let family = snapshot.family(&rows[0]);
        body.clear();
        let head = client::MetricFamily {
            name: Some(family.name.to_string()),
            help: Some(family.help.to_owned()),
            r#type: Some(kind(family).into()),
            metric: Vec::new(),
            unit: Some(family.unit().to_owned()).filter(|unit| !unit.is_empty()),
        };
        write(head.encode(&mut body));
        // One metric at a time: the messages of a whole family would take several times its size,
        // and would be measured twice.
        for row in rows {
            body.push(METRIC);
            write(metric(family, row, native).encode_length_delimited(&mut body));
        }
        write(prost::encode_length_delimiter(body.len(), &mut page));
        page.extend_from_slice(&body);
    }
    page
}

fn write(written: Result<(), EncodeError>) {
    written.expect("a vector has room");
}

const fn kind(family: &Family) -> client::MetricType {
    match family.kind {
        MetricKind::Counter => client::MetricType::Counter,
        MetricKind::Gauge => client::MetricType::Gauge,
        MetricKind::Histogram(_) => client::MetricType::Histogram,
    }
}

fn metric(family: &Family, row: &Row, native: bool) -> client::Metric {
    let labels = row.info.labels.iter();
    let mut metric = client::Metric {
        label: labels.map(|(name, value)| label(name, value)).collect(),
        ..client::Metric::default()
    };
    let start_timestamp = Some(timestamp(row.info.after));
    match (&row.value, &family.kind) {
        (Value::Histogram(value), _) => {
            let histogram = histogram(value, start_timestamp, native);
            metric.histogram = Some(histogram);
        }
        (Value::Number(number), MetricKind::Counter) => {
            metric.counter = Some(client::Counter {
                value: Some(*number),
                exemplar: row.exemplar.as_deref().and_then(exemplar),
                start_timestamp,
            });
        }
        (Value::Number(number), MetricKind::Gauge | MetricKind::Histogram(_)) => {
            metric.gauge = Some(client::Gauge {
                value: Some(*number),
            });
        }
    }
    metric
}

fn histogram(
    histogram: &Histogram,
    start_timestamp: Option<client::Timestamp>,
    native: bool,
) -> client::Histogram {
    let mut exemplars = histogram.exemplars.iter().peekable();
    let bounds = histogram.buckets.bounds().iter().copied();
    let mut below = 0;
    let buckets = bounds.chain([f64::INFINITY]).zip(&histogram.counts);
    let bucket = buckets.enumerate().map(|(at, (bound, count))| {
        below += count;
        let of_bucket = exemplars.next_if(|(of, _)| *of == at);
        client::Bucket {
            cumulative_count: Some(below),
            cumulative_count_float: None,
            upper_bound: Some(bound),
            exemplar: of_bucket.and_then(|(_, found)| exemplar(found)),
        }
    });
    let mut message = client::Histogram {
        bucket: bucket.collect(),
        sample_count: Some(histogram.count()),
        sample_sum: Some(histogram.sum),
        start_timestamp,
        ..client::Histogram::default()
    };
    if let Some(exponential) = histogram.native.as_deref().filter(|_| native) {
        add_native(&mut message, exponential);
        // Exemplars of the native form, whose buckets cannot hold them.
        let found = histogram.exemplars.iter();
        message.exemplars = found.filter_map(|(_, found)| exemplar(found)).collect();
    }
    message
}

fn add_native(message: &mut client::Histogram, exponential: &Exponential) {
    message.schema = Some(exponential.schema());
    message.zero_threshold = Some(Exponential::ZERO_THRESHOLD);
    message.zero_count = Some(exponential.zero_count());
    (message.positive_span, message.positive_delta) = runs(exponential.positive());
    (message.negative_span, message.negative_delta) = runs(exponential.negative());
    if message.positive_span.is_empty() && message.negative_span.is_empty() {
        // Without a span, some readers treat it as a classic histogram.
        message.positive_span.push(client::BucketSpan {
            offset: Some(0),
            length: Some(0),
        });
    }
}

fn runs(runs: Runs) -> (Vec<client::BucketSpan>, Vec<i64>) {
    let spans = runs.spans.iter().map(|span| client::BucketSpan {
        offset: Some(span.offset),
        length: Some(span.length),
    });
    (spans.collect(), runs.deltas)
}

fn exemplar(exemplar: &Exemplar) -> Option<client::Exemplar> {
    fits(exemplar).then(|| client::Exemplar {
        label: vec![label(TASK_ID, &exemplar.task_id)],
        value: Some(exemplar.value),
        timestamp: Some(timestamp(exemplar.at)),
    })
}

fn label(name: &str, value: &str) -> client::LabelPair {
    client::LabelPair {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
    }
}

fn timestamp(at: Timestamp) -> client::Timestamp {
    let micros = at.micros();
    let nanos = micros.rem_euclid(1_000_000) * 1000;
    client::Timestamp {
        seconds: Some(micros.div_euclid(1_000_000)),
        nanos: Some(i32::try_from(nanos).expect("less than a second")),
    }
}

#[cfg(test)]
mod tests;
