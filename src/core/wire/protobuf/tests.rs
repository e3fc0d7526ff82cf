use prost::bytes::Buf;

use super::*;
use crate::series::Span;
use crate::wire::example;

fn families(mut page: &[u8]) -> Vec<client::MetricFamily> {
    let mut families = Vec::new();
    while page.has_remaining() {
        families.push(client::MetricFamily::decode_length_delimited(&mut page).expect("a family"));
    }
    families
}

#[test]
fn a_page_reads_back_as_the_families_with_their_own_names() {
    let families = families(&render(&example::snapshot(), false));
    let heads: Vec<_> = families
        .iter()
        .map(|family| (family.name(), family.r#type(), family.unit()))
        .collect();
    assert_eq!(
        heads,
        [
            ("run_seconds", client::MetricType::Histogram, "seconds"),
            ("sent_total", client::MetricType::Counter, ""),
            ("old_tasks", client::MetricType::Counter, ""),
            ("level_bytes", client::MetricType::Gauge, "bytes"),
        ]
    );
    assert_eq!(families[3].help(), "A \\ and \"a\"\nline.");
    assert_eq!(families[3].metric[0].label[0].value(), "b\"\\%0A");
}

#[test]
fn what_counts_has_its_start_and_its_exemplars_with_their_time() {
    let families = families(&render(&example::snapshot(), false));
    let start = client::Timestamp {
        seconds: Some(1000),
        nanos: Some(250_000_000),
    };
    let counter = families[1].metric[0].counter.as_ref().expect("a counter");
    let exemplar = counter.exemplar.as_ref().expect("an exemplar");
    let at = exemplar.timestamp.as_ref().expect("a time");
    assert_eq!(counter.value(), 3.0);
    assert_eq!(counter.start_timestamp.as_ref(), Some(&start));
    assert_eq!(exemplar.label[0], label("task_id", "u-1"));
    assert_eq!((at.seconds(), at.nanos()), (4999, 987_000_000));

    let histogram = families[0].metric[1].histogram.as_ref().expect("one");
    let buckets: Vec<_> = histogram
        .bucket
        .iter()
        .map(|bucket| {
            let exemplar = bucket.exemplar.as_ref().map(client::Exemplar::value);
            (bucket.upper_bound(), bucket.cumulative_count(), exemplar)
        })
        .collect();
    assert_eq!(
        buckets,
        [
            (0.5, 0, None),
            (1.0, 1, Some(0.75)),
            // Its exemplar is too long.
            (f64::INFINITY, 2, None)
        ]
    );
    assert_eq!(histogram.start_timestamp.as_ref(), Some(&start));
    assert_eq!(
        (histogram.sample_count(), histogram.sample_sum()),
        (2, 7.75)
    );
    let gauge = &families[3].metric[0];
    assert_eq!(gauge.gauge.as_ref().map(client::Gauge::value), Some(1.5));
    assert_eq!(gauge.counter, None);
}

#[test]
fn a_native_form_goes_out_only_where_it_is_wanted_and_is_never_taken_for_none() {
    let snapshot = example::snapshot();
    for (native, schemas) in [(false, [None, None]), (true, [None, Some(3)])] {
        let families = families(&render(&snapshot, native));
        let histograms: Vec<_> = families[0]
            .metric
            .iter()
            .map(|metric| metric.histogram.as_ref().expect("a histogram"))
            .collect();
        assert_eq!([histograms[0].schema, histograms[1].schema], schemas);
        assert_eq!(histograms[1].exemplars.len(), usize::from(native));
        assert_eq!(histograms[1].positive_span.len(), usize::from(native));
        assert_eq!(histograms[1].bucket.len(), 3);
    }
}

#[test]
fn an_empty_span_stands_in_only_for_a_form_without_any() {
    for (values, spans) in [(&[][..], (1, 0)), (&[3.0], (1, 0)), (&[-3.0], (0, 1))] {
        let mut native = Exponential::new();
        for value in values {
            native.observe(*value);
        }
        let mut message = client::Histogram::default();
        add_native(&mut message, &native);
        let found = (message.positive_span.len(), message.negative_span.len());
        assert_eq!(found, spans, "{values:?}");
        assert_eq!(message.zero_threshold, Some(Exponential::ZERO_THRESHOLD));
    }
}

#[test]
fn runs_keep_their_spans_and_deltas() {
    let spans = [(-2, 3), (4, 1)].map(|(offset, length)| Span { offset, length });
    let (spans, deltas) = runs(Runs {
        spans: spans.into(),
        deltas: vec![5, -1, 0, 7],
    });
    let spans: Vec<_> = spans
        .iter()
        .map(|span| (span.offset, span.length))
        .collect();
    assert_eq!(spans, [(Some(-2), Some(3)), (Some(4), Some(1))]);
    assert_eq!(deltas, [5, -1, 0, 7]);
}
