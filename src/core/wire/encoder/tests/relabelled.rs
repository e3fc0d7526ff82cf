//! Tests of relabeled series.

use super::*;

#[test]
fn of_series_that_rules_make_the_same_one_is_sent_and_goes_on_as_another() {
    for protocol in ALL {
        let mut table = table();
        let [a, b] = ["a", "b"].map(|name| table.open(table.sent, name));
        table.series.add(a, 1.0);
        table.series.add(b, 5.0);
        let pattern = Pattern::new("name").expect("a pattern");
        let how = Outgoing {
            relabel: Relabel::new(vec![Rule::LabelDrop(pattern)]),
            ..outgoing(2_000)
        };
        let mut encoder = Encoder::new(how, protocol);
        let encoded = encoder.snapshot(&table.snapshot(5_000));
        let labels = "A=upper,__name__=sent_total,job=celery";
        assert_eq!(shown(&encoded.bodies), [format!("{labels} 0@1001 1@5000")]);
        assert_eq!(encoded.unsent, [0, 0, 2]);

        table.series.close(a);
        let encoded = encoder.snapshot(&table.snapshot(6_000));
        assert_eq!(shown(&encoded.bodies), [format!("{labels} stale@6000")]);
        // No zero, because it would precede the other series' value.
        let encoded = encoder.snapshot(&table.snapshot(7_000));
        assert_eq!(shown(&encoded.bodies), [format!("{labels} 5@7000")]);
        assert_eq!(encoded.unsent, [0; 3]);
        table.series.close(b);
        let encoded = encoder.snapshot(&table.snapshot(8_000));
        assert_eq!(shown(&encoded.bodies), [format!("{labels} stale@8000")]);
    }
}

#[test]
fn what_rules_drop_is_counted_and_leaves_no_trace() {
    let mut table = table();
    table.open(table.runtime, "t");
    let source = Source {
        labels: vec!["__name__".to_owned()],
        separator: ";".to_owned(),
    };
    let pattern = Pattern::new(".*_bucket").expect("a pattern");
    let how = Outgoing {
        relabel: Relabel::new(vec![Rule::Drop { source, pattern }]),
        ..outgoing(2_000)
    };
    let encoded = Encoder::new(how, Protocol::V2).snapshot(&table.snapshot(5_000));
    // Three buckets, each with a zero and a value.
    assert_eq!(encoded.unsent, [6, 0, 0]);
    assert_eq!(shown(&encoded.bodies).len(), 2);
}
