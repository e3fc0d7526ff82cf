//! Percentiles of what was observed between two times, from the buckets of histograms.

use std::sync::Arc;

use crate::series::{Buckets, Histogram};

/// The counts of a histogram's buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Observed {
    /// `None` until something is added.
    buckets: Option<Arc<Buckets>>,
    /// By bucket, from the first one that is not 0.
    counts: Box<[u64]>,
    /// The number of buckets before `counts`.
    skipped: usize,
}

/// Observations in one interval of values.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    lower: f64,
    /// Infinite for the last bucket.
    upper: f64,
    count: u64,
}

impl Observed {
    /// Adds a histogram. Those of one row have the same buckets; others are ignored.
    pub(super) fn add(&mut self, histogram: &Histogram) {
        let same = |own: &Arc<Buckets>| **own == *histogram.buckets;
        if !self.buckets.as_ref().is_none_or(same) {
            return;
        }
        self.buckets
            .get_or_insert_with(|| Arc::clone(&histogram.buckets));
        let count = |at: usize| self.count(at) + histogram.counts[at];
        let sums: Vec<u64> = (0..histogram.counts.len()).map(count).collect();
        let first = sums.iter().position(|count| *count > 0);
        let last = sums.iter().rposition(|count| *count > 0);
        let (Some(first), Some(last)) = (first, last) else {
            return;
        };
        self.counts = sums[first..=last].into();
        self.skipped = first;
    }

    fn count(&self, bucket: usize) -> u64 {
        let own = bucket.checked_sub(self.skipped);
        own.and_then(|own| self.counts.get(own))
            .copied()
            .unwrap_or_default()
    }

    /// The observations since `before`.
    fn since(&self, before: Option<&Self>) -> impl Iterator<Item = Bar> {
        let bounds = self.buckets.as_deref().map_or(&[][..], Buckets::bounds);
        let buckets = self.skipped..self.skipped + self.counts.len();
        buckets.filter_map(move |at| {
            let before = before.map_or(0, |before| before.count(at));
            let count = self.count(at).saturating_sub(before);
            (count > 0).then(|| Bar {
                lower: at.checked_sub(1).map_or(0.0, |below| bounds[below]),
                upper: bounds.get(at).copied().unwrap_or(f64::INFINITY),
                count,
            })
        })
    }
}

/// The median and the 95th percentile of all observations since the earlier state of each. `None` if there are none.
pub(super) fn percentiles<'a>(
    observed: impl Iterator<Item = (&'a Observed, Option<&'a Observed>)>,
) -> (Option<f64>, Option<f64>) {
    let mut bars: Vec<Bar> = observed
        .flat_map(|(now, before)| now.since(before))
        .collect();
    bars.sort_by(|one, other| one.upper.total_cmp(&other.upper));
    (quantile(&bars, 0.5), quantile(&bars, 0.95))
}

/// As `histogram_quantile` of Prometheus: linear within a bucket, and the highest finite bound for the last one.
#[expect(
    clippy::cast_precision_loss,
    reason = "a percentile of a histogram is approximate"
)]
fn quantile(bars: &[Bar], share: f64) -> Option<f64> {
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    let rank = share * total as f64;
    let mut below = 0;
    let mut at = 0;
    while at < bars.len() {
        // Histograms with the same buckets share their intervals.
        let Bar { lower, upper, .. } = bars[at];
        let mut count = 0;
        while at < bars.len() && bars[at].upper == upper {
            count += bars[at].count;
            at += 1;
        }
        if (below + count) as f64 >= rank {
            return Some(if upper.is_finite() {
                lower + (upper - lower) * (rank - below as f64) / count as f64
            } else {
                lower
            });
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(bounds: &[f64], values: &[f64]) -> Histogram {
        let buckets = Buckets::new(bounds).expect("bounds that increase");
        let mut histogram = Histogram::new(Arc::new(buckets));
        values.iter().for_each(|value| histogram.observe(*value));
        histogram
    }

    fn observed(bounds: &[f64], values: &[f64]) -> Observed {
        let mut observed = Observed::default();
        observed.add(&histogram(bounds, values));
        observed
    }

    #[test]
    fn percentiles_are_those_of_prometheus() {
        let bounds = [1.0, 2.0, 4.0];
        // 10 values in (1, 2] and 10 in (2, 4].
        let values = [[1.5; 10], [3.0; 10]].concat();
        let all = observed(&bounds, &values);
        let found = percentiles([(&all, None)].into_iter());
        assert_eq!(found, (Some(2.0), Some(3.8)));

        // Since the first ten: only (2, 4].
        let before = observed(&bounds, &[1.5; 10]);
        let found = percentiles([(&all, Some(&before))].into_iter());
        assert_eq!(found, (Some(3.0), Some(3.9)));

        assert_eq!(percentiles([(&all, Some(&all))].into_iter()), (None, None));
        let beyond = observed(&bounds, &[100.0]);
        let found = percentiles([(&beyond, None)].into_iter());
        assert_eq!(found, (Some(4.0), Some(4.0)));
    }

    #[test]
    fn rows_with_the_same_buckets_add_up() {
        let bounds = [1.0, 2.0, 4.0];
        let (one, other) = (observed(&bounds, &[1.5; 10]), observed(&bounds, &[3.0; 10]));
        let both = [(&one, None), (&other, None)];
        assert_eq!(percentiles(both.into_iter()), (Some(2.0), Some(3.8)));

        let mut sum = one;
        sum.add(&histogram(&bounds, &[3.0; 10]));
        let found = percentiles([(&sum, None)].into_iter());
        assert_eq!(found, (Some(2.0), Some(3.8)));
    }
}
