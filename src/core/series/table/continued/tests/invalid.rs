//! Stored tables with impossible values.

use super::*;

#[test]
fn what_cannot_be_is_left_out_and_the_rest_is_there() {
    let mut before = table(SETUP, Relabel::default());
    before.open(before.counter, "a");
    let id = before.open(before.histogram, "a");
    before.series.observe(id, 1.5);
    type Spoil = fn(&mut saved::View);
    let cases: [(&str, Spoil, usize); 12] = [
        ("nothing", |_| {}, 0),
        (
            "a family of another name",
            |view| view.families[0].name = "z".into(),
            1,
        ),
        (
            "of another type",
            |view| view.families[0].kind = saved::Kind::Gauge.into(),
            1,
        ),
        ("of a type to come", |view| view.families[0].kind = 77, 1),
        (
            "a text that is not there",
            |view| view.families[0].series[0].labels[1] = 99,
            1,
        ),
        (
            "half a label",
            |view| {
                view.families[0].series[0].labels.pop();
            },
            1,
        ),
        (
            "a name that is none",
            |view| view.texts[0] = "a-b".into(),
            2,
        ),
        (
            "a counter with buckets",
            |view| {
                view.families[0].series[0].histogram = Some(saved::Histogram::default());
            },
            1,
        ),
        (
            "bounds that are not there",
            |view| {
                view.bounds.clear();
            },
            1,
        ),
        (
            "bounds out of order",
            |view| view.bounds[0].upper.reverse(),
            1,
        ),
        (
            "more counts than bounds",
            |view| {
                view.families[1].series[0]
                    .histogram
                    .as_mut()
                    .expect("it is one")
                    .counts
                    .push(1);
            },
            1,
        ),
        (
            "more than can be counted",
            |view| {
                view.families[1].series[0]
                    .histogram
                    .as_mut()
                    .expect("it is one")
                    .counts
                    .fill(u64::MAX);
            },
            1,
        ),
    ];
    for (name, spoil, unknown) in cases {
        let mut saved = before.saved();
        spoil(&mut saved);
        let mut next = table(SETUP, Relabel::default());
        let restored = next.series.restore(&saved, START);
        assert_eq!(
            (restored.series, restored.unknown),
            (2 - unknown, unknown),
            "{name}"
        );
        assert_eq!(next.snapshot(at(1)).rows.len(), 2 - unknown, "{name}");
    }
}

#[test]
fn a_native_form_that_cannot_be_is_refused() {
    let good = || {
        let mut native = Exponential::new();
        for value in [0.0, 1.0, 5.0, -3.0] {
            native.observe(value);
        }
        native
    };
    assert_eq!(Exponential::from_saved(&good().to_saved()), Some(good()));
    type Spoil = fn(&mut saved::Exponential);
    let spoilt: [Spoil; 6] = [
        |saved| saved.schema = 4,
        |saved| saved.schema = -5,
        |saved| saved.positive.reverse(),
        |saved| saved.positive[0].count = u64::MAX,
        |saved| saved.negative[0].index = i32::MAX,
        |saved| {
            let buckets = (0..200).map(|index| saved::Bucket { index, count: 1 });
            saved.positive = buckets.collect();
        },
    ];
    for (case, spoil) in spoilt.into_iter().enumerate() {
        let mut saved = good().to_saved();
        spoil(&mut saved);
        assert_eq!(Exponential::from_saved(&saved), None, "case {case}");
    }
}
