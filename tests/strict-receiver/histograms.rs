//! The rules of native histograms.
//!
//! Source: "Native Histograms" in Prometheus' specifications, and the checks in its storage.

use std::collections::BTreeMap;

use super::rules::{Broken, Rule};
use super::{STALE, Version};
use crate::wire::Histogram;
use crate::wire::histogram::{Count, Side};

/// The schema of custom buckets.
const CUSTOM: i64 = -53;

/// Receivers reduce or refuse histograms with more.
const BUCKETS_MAX: usize = 160;

/// A histogram as a receiver keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    pub stale: bool,
    pub count: f64,
    pub sum: f64,
    pub schema: i64,
    pub zero_count: f64,
    pub negative: BTreeMap<i64, f64>,
    pub positive: BTreeMap<i64, f64>,
    pub start: i64,
}

impl Native {
    pub fn new(histogram: &Histogram) -> Self {
        let value = |count: Option<Count>| count.map_or(0.0, Count::value);
        Self {
            stale: histogram.sum.to_bits() == STALE,
            count: value(histogram.count),
            sum: histogram.sum,
            schema: histogram.schema,
            zero_count: value(histogram.zero_count),
            negative: histogram.negative.buckets(),
            positive: histogram.positive.buckets(),
            start: histogram.start,
        }
    }

    /// Whether this can follow another one without a reset, because no count decreases.
    pub fn continues(&self, before: &Self) -> bool {
        let all_there = |after: &BTreeMap<i64, f64>, before: &BTreeMap<i64, f64>, halvings: i64| {
            let mut reduced = BTreeMap::new();
            for (index, count) in before {
                // Bucket i of a schema is in bucket ceil(i / 2) of the next lower schema.
                let index = (0..halvings).fold(*index, |index, _| (index + 1).div_euclid(2));
                *reduced.entry(index).or_insert(0.0) += count;
            }
            reduced
                .iter()
                .all(|(index, count)| after.get(index).is_some_and(|after| after >= count))
        };
        let halvings = before.schema - self.schema;
        halvings >= 0
            && !before.stale
            && self.count >= before.count
            && self.zero_count >= before.zero_count
            && all_there(&self.negative, &before.negative, halvings)
            && all_there(&self.positive, &before.positive, halvings)
    }
}

/// Checks one histogram; `before` is the previous one of its series.
pub fn check(
    histogram: &Histogram,
    version: Version,
    before: Option<&Native>,
    is_gauge: bool,
    broken: &mut Broken,
) {
    // A stale marker: nothing else is checked.
    if histogram.sum.to_bits() == STALE {
        return;
    }
    let case = || format!("{histogram:?}");
    let custom = histogram.schema == CUSTOM;
    let known = (-4..=8).contains(&histogram.schema) || custom && version == Version::V2;
    broken.rule(known, Rule::HistogramSchema, case);
    let float = matches!(histogram.count, Some(Count::Float(_)));
    let mut buckets = 0;
    for side in [&histogram.negative, &histogram.positive] {
        check_side(side, float, broken, case);
        buckets += side.listed().len();
    }
    broken.rule(buckets <= BUCKETS_MAX, Rule::HistogramBucketsMax, case);
    let kinds = match histogram.zero_count {
        None => !custom || histogram.count.is_some(),
        Some(zero) => matches!(zero, Count::Float(_)) == float,
    };
    broken.rule(
        kinds && histogram.count.is_some(),
        Rule::HistogramKinds,
        case,
    );
    check_count(histogram, float, broken, case);
    let hint = match histogram.reset_hint {
        0 => true,
        // The first of a series, or one after a reset.
        1 => before.is_none_or(|before| {
            let moved = histogram.start != 0 && histogram.start > before.start;
            moved || !Native::new(histogram).continues(before)
        }),
        2 => before.is_some_and(|before| {
            histogram.start == before.start && Native::new(histogram).continues(before)
        }),
        3 => is_gauge,
        _ => false,
    };
    broken.rule(hint, Rule::HistogramReset, case);
    if custom {
        check_custom(histogram, broken, case);
    } else {
        let none = histogram.custom_values.is_empty();
        broken.rule(none, Rule::HistogramCustom, case);
    }
}

fn check_side(side: &Side, float: bool, broken: &mut Broken, case: impl Fn() -> String) {
    let kinds = if float {
        side.deltas.is_empty()
    } else {
        side.counts.is_empty()
    };
    broken.rule(kinds, Rule::HistogramKinds, &case);
    let listed = side.listed();
    let covered = usize::try_from(side.covered()) == Ok(listed.len());
    broken.rule(covered, Rule::HistogramSpans, &case);
    let later = side.spans.get(1..).unwrap_or_default();
    let forward = later.iter().all(|span| span.offset >= 0);
    broken.rule(forward, Rule::HistogramOffsets, &case);
    let populated = listed.iter().all(|count| *count >= 0.0);
    broken.rule(populated, Rule::HistogramPopulations, &case);
}

fn check_count(histogram: &Histogram, float: bool, broken: &mut Broken, case: impl Fn() -> String) {
    let sides = [&histogram.negative, &histogram.positive];
    let listed: f64 = sides.iter().flat_map(|side| side.listed()).sum();
    let inside = listed + histogram.zero_count.map_or(0.0, Count::value);
    let count = histogram.count.map_or(0.0, Count::value);
    // NaN observations are counted, but belong to no bucket.
    let agrees = if histogram.sum.is_nan() {
        inside <= count
    } else if float {
        (inside - count).abs() <= 1e-6 * count.max(1.0)
    } else {
        inside == count
    };
    broken.rule(agrees, Rule::HistogramCount, case);
}

fn check_custom(histogram: &Histogram, broken: &mut Broken, case: impl Fn() -> String) {
    let bounds = &histogram.custom_values;
    let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    let finite = bounds.iter().all(|bound| bound.is_finite());
    let no_zero = histogram.zero_threshold == 0.0
        && histogram
            .zero_count
            .is_none_or(|count| count.value() == 0.0);
    let one_side = histogram.negative == Side::default();
    let spans = &histogram.positive.spans;
    let end: i64 = spans
        .iter()
        .map(|span| span.offset + i64::try_from(span.length).unwrap_or(i64::MAX / 2))
        .sum();
    let inside = spans.iter().all(|span| span.offset >= 0)
        && usize::try_from(end).is_ok_and(|end| end <= bounds.len() + 1);
    broken.rule(
        ascending && finite && no_zero && one_side && inside,
        Rule::HistogramCustom,
        case,
    );
}
