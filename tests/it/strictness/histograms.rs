//! Native histograms that break a rule.

use super::requests::*;
use strict_receiver::rules::Rule;

type Change = fn(&mut Native);

fn changed(at: i64, change: Change) -> Native {
    let mut native = native(at);
    change(&mut native);
    native
}

/// A case with one changed histogram.
fn one(name: &'static str, rule: Rule, change: Change) -> Case {
    (name, vec![rule], vec![changed(0, change).send()])
}

/// A case with a valid histogram followed by a changed one.
fn then(name: &'static str, rule: Rule, change: Change) -> Case {
    let steps = vec![native(0).send(), changed(5, change).send()];
    (name, vec![rule], steps)
}

/// A changed histogram with custom buckets.
fn custom(change: Change) -> Native {
    let mut native = native(0);
    (native.schema, native.zero, native.count) = (-53, 0, 9);
    native.spans = vec![(0, 3)];
    native.custom = vec![1.0, 2.0];
    change(&mut native);
    native
}

pub(super) fn of_histograms() -> Vec<Case> {
    use Rule::*;
    let many = |native: &mut Native| {
        native.spans = vec![(0, 161)];
        native.deltas = vec![0; 161];
        (native.count, native.zero) = (1, 1);
    };
    vec![
        one("schema 9", HistogramSchema, |it| it.schema = 9),
        one("schema -5", HistogramSchema, |it| it.schema = -5),
        one("too few in spans", HistogramSpans, |it| it.spans[1].1 = 0),
        one("too many in spans", HistogramSpans, |it| it.spans[1].1 = 2),
        one("a span back", HistogramOffsets, |it| it.spans[1].0 = -1),
        one("less than nothing", HistogramPopulations, |it| {
            it.deltas = vec![2, -3, 9];
            it.count = 1 + 2 - 1 + 8;
        }),
        one("a high count", HistogramCount, |it| it.count = 11),
        one("two kinds", HistogramKinds, |it| it.counts = vec![1.0; 3]),
        one("161 buckets", HistogramBucketsMax, many),
        one("an unknown hint", HistogramReset, |it| it.hint = 4),
        one("no gauge", HistogramReset, |it| it.hint = 3),
        one("nothing before", HistogramReset, |it| it.hint = 2),
        then("fewer in a bucket", HistogramReset, |it| {
            (it.hint, it.deltas) = (2, vec![3, -1, 2]);
        }),
        then("a finer schema", HistogramReset, |it| {
            (it.hint, it.schema) = (2, 4);
        }),
        then("a reset that is none", HistogramReset, |it| it.hint = 1),
        one("bounds", HistogramCustom, |it| it.custom = vec![1.0]),
    ]
}

pub(super) fn of_custom_buckets() -> Vec<Case> {
    use Rule::*;
    let wrong: [(&'static str, Change); 3] = [
        ("bounds that fall", |it| it.custom = vec![2.0, 1.0]),
        ("an infinite bound", |it| it.custom[1] = f64::INFINITY),
        ("a bucket behind the last", |it| it.spans[0].0 = 1),
    ];
    let wrong = wrong.map(|(name, change)| {
        let steps = vec![custom(change).send()];
        (name, vec![HistogramCustom], steps)
    });
    let steps = vec![custom(|_| {}).send_first()];
    let first = ("custom buckets in 1.0", vec![HistogramSchema], steps);
    wrong.into_iter().chain([first]).collect()
}
