//! Exemplars, and the buckets of native histograms, as they arrive at the receiver.

use super::*;
use crate::series::{Exponential, Origin, Span};

const COUNTER: &str = "A=upper,__name__=sent_total,job=celery";

/// The task of an exemplar, and when its event was received.
fn origin(task_id: &str, millis: i64) -> Option<Origin<'_>> {
    Origin::new(task_id, Timestamp::from_millis(millis))
}

fn exemplars(bodies: &[Body]) -> u64 {
    bodies.iter().map(|body| body.counts.exemplars).sum()
}

#[test]
fn an_exemplar_is_sent_once_even_if_its_first_snapshot_was_missed() {
    for protocol in ALL {
        let mut table = table();
        let mut encoder = encoder(protocol, 2_000);
        let sent = table.open(table.sent, "t");
        table.series.add_of(sent, 2.0, origin("u-1", 4_000));
        let mut next = |table: &mut Table, millis| {
            let bodies = bodies(encoder.snapshot(&table.snapshot(millis)));
            (exemplars(&bodies), shown(&bodies).remove(0))
        };
        let first = format!("{COUNTER},name=t 0@1001 2@5000 #task_id=u-1:2@4000");
        assert_eq!(next(&mut table, 5_000), (1, first));
        let again = format!("{COUNTER},name=t 2@6000");
        assert_eq!(next(&mut table, 6_000), (0, again));

        table.series.add_of(sent, 1.0, origin("u-2", 6_500));
        table.snapshot(7_000);
        let late = format!("{COUNTER},name=t 3@8000 #task_id=u-2:1@6500");
        assert_eq!(next(&mut table, 8_000), (1, late));
    }
}

#[test]
fn no_exemplar_is_sent_where_none_is_wanted() {
    for protocol in ALL {
        let mut table = table();
        let (sent, ran) = (table.open(table.sent, "t"), table.open(table.runtime, "t"));
        table.series.add_of(sent, 2.0, origin("u-1", 4_000));
        table.series.observe_of(ran, 0.75, origin("u-2", 4_000));
        let how = Outgoing {
            exemplars: false,
            ..outgoing(2_000)
        };
        let bodies = bodies(Encoder::new(how, protocol).snapshot(&table.snapshot(5_000)));
        assert_eq!(exemplars(&bodies), 0);
        assert!(shown(&bodies).iter().all(|series| !series.contains('#')));
    }
}

#[test]
fn a_bucket_has_its_own_exemplar_and_a_native_histogram_all_in_order_of_time() {
    for protocol in ALL {
        let mut table = table();
        table.series = table.series.with_native_histograms(true);
        let ran = table.open(table.runtime, "t");
        // The larger value comes first.
        table.series.observe_of(ran, 3.0, origin("slow", 4_000));
        table.series.observe_of(ran, 0.75, origin("quick", 4_500));
        let how = Outgoing {
            native: true,
            ..outgoing(2_000)
        };
        let mut encoder = Encoder::new(how, protocol);
        let first = bodies(encoder.snapshot(&table.snapshot(5_000)));
        let found: Vec<_> = shown(&first)
            .iter()
            .map(|series| {
                series
                    .split_once(" #")
                    .map_or("", |(_, all)| all)
                    .to_owned()
            })
            .collect();
        let (slow, quick) = ("task_id=slow:3@4000", "task_id=quick:0.75@4500");
        let both = format!("{slow} #{quick}");
        assert_eq!(found, ["", quick, slow, "", "", &both]);
        assert_eq!(exemplars(&first), 4);
        let again = bodies(encoder.snapshot(&table.snapshot(6_000)));
        assert_eq!(exemplars(&again), 0);
    }
}

/// In 2.0, the id of a task may be a label's value too, and each request has its own symbols.
#[test]
fn an_exemplar_keeps_its_task_whatever_else_has_the_same_text() {
    for protocol in ALL {
        for samples_max in [2, 2_000] {
            let mut table = table();
            let mut encoder = encoder(protocol, samples_max);
            let names = ["a", "b", "c", "d"];
            let ids = names.map(|name| table.open(table.sent, name));
            for (second, start) in [5_000, 6_000].into_iter().enumerate() {
                // A value yet to come, an earlier one, and an id that occurs twice.
                for (id, task_id) in ids.into_iter().zip(["b", "a", "u", "u"]) {
                    table.series.add_of(id, 1.0, origin(task_id, start - 1));
                }
                let bodies = bodies(encoder.snapshot(&table.snapshot(start)));
                let expected = names
                    .iter()
                    .zip(["b", "a", "u", "u"])
                    .map(|(name, task_id)| {
                        let zero = if second == 0 { " 0@1001" } else { "" };
                        let value = second + 1;
                        format!(
                            "{COUNTER},name={name}{zero} {value}@{start} #task_id={task_id}:1@{}",
                            start - 1
                        )
                    });
                assert_eq!(shown(&bodies), expected.collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_native_histogram_arrives_with_its_buckets() {
    for protocol in ALL {
        let mut table = table();
        table.series = table.series.with_native_histograms(true);
        let ran = table.open(table.runtime, "t");
        for value in [0.0, 0.0, 0.75, 0.75, 0.75, 3.0, -2.0] {
            table.series.observe(ran, value);
        }
        let snapshot = table.snapshot(5_000);
        let Value::Histogram(histogram) = &snapshot.rows[0].value else {
            panic!("a histogram");
        };
        let native = histogram.native.as_deref().expect("a native form");
        let how = Outgoing {
            native: true,
            ..outgoing(2_000)
        };
        let mut encoder = Encoder::new(how, protocol);
        let series = decode(&bodies(encoder.snapshot(&snapshot))[0]);
        let [empty, full] = &series[5].histograms[..] else {
            panic!("a zero and a value");
        };
        assert_eq!(
            (full.schema, empty.schema),
            (native.schema(), Exponential::new().schema())
        );
        assert_eq!(full.zero_threshold, Exponential::ZERO_THRESHOLD);
        assert_eq!(
            full.zero_count,
            Some(proto::histogram::ZeroCount::ZeroCountInt(2))
        );
        let spans = |spans: &[proto::BucketSpan]| -> Vec<_> {
            let spans = spans.iter();
            spans.map(|span| (span.offset, span.length)).collect()
        };
        let expected = |spans: &[Span]| -> Vec<_> {
            let spans = spans.iter();
            spans.map(|span| (span.offset, span.length)).collect()
        };
        let (positive, negative) = (native.positive(), native.negative());
        assert_eq!(spans(&full.positive_spans), expected(&positive.spans));
        assert_eq!(spans(&full.negative_spans), expected(&negative.spans));
        assert_eq!(full.positive_deltas, [3, -2]);
        assert_eq!(full.negative_deltas, [1]);
        assert_eq!(spans(&empty.positive_spans), []);

        // Only the last part ends as a histogram.
        table.series.close(ran);
        let ended = bodies(encoder.snapshot(&table.snapshot(6_000)));
        let counts = ended[0].counts;
        assert_eq!((counts.samples, counts.histograms), (5, 1));
    }
}
