//! Classic histograms: counts in buckets, and a sum.

use std::sync::Arc;

use super::{Exemplar, Exponential, Origin};

/// Upper bounds of buckets: at least one, finite, strictly increasing, none negative. `+Inf` is
/// implied.
///
/// Observations here are durations or counts, and OpenMetrics allows no sum alongside a negative
/// bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets(Box<[f64]>);

impl Buckets {
    /// Creates bounds. `None` if they are invalid.
    pub fn new(bounds: &[f64]) -> Option<Self> {
        let finite = bounds
            .iter()
            .all(|bound| bound.is_finite() && *bound >= 0.0);
        let increasing = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        (finite && increasing && !bounds.is_empty()).then(|| Self(bounds.into()))
    }

    /// The bounds, without `+Inf`.
    pub fn bounds(&self) -> &[f64] {
        &self.0
    }
}

/// Observations by bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    pub buckets: Arc<Buckets>,
    /// For each bound, and finally for `+Inf`, the number of values above the previous bound and
    /// not above this one.
    pub counts: Box<[u64]>,
    pub sum: f64,
    /// The same observations in exponential buckets, if native histograms are enabled.
    pub native: Option<Box<Exponential>>,
    /// At most one per bucket, with the index of its bucket.
    pub exemplars: Vec<(usize, Arc<Exemplar>)>,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(buckets: Arc<Buckets>) -> Self {
        Self {
            counts: vec![0; buckets.bounds().len() + 1].into(),
            sum: 0.0,
            native: None,
            exemplars: Vec::new(),
            buckets,
        }
    }

    /// Counts a value. Bounds are inclusive. NaN is not counted.
    pub fn observe(&mut self, value: f64) {
        self.count_in_bucket(value);
    }

    /// Counts a value of a task, which becomes the exemplar of its bucket if it is the first there
    /// since the last snapshot. `snapshot` is the number of the next snapshot.
    pub(super) fn observe_of(&mut self, value: f64, origin: Origin<'_>, snapshot: u64) {
        let Some(bucket) = self.count_in_bucket(value) else {
            return;
        };
        let place = self
            .exemplars
            .binary_search_by_key(&bucket, |(bucket, _)| *bucket);
        if place.is_ok_and(|at| self.exemplars[at].1.snapshot == snapshot) {
            return;
        }
        // Across all buckets, because the native form has a single list of exemplars.
        let newest = self.exemplars.iter().map(|(_, exemplar)| exemplar.at).max();
        let Some(exemplar) = origin.exemplar(value, newest, snapshot) else {
            return;
        };
        match place {
            Ok(at) => self.exemplars[at].1 = exemplar,
            Err(at) => self.exemplars.insert(at, (bucket, exemplar)),
        }
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Cumulative bucket counts, as they are exposed. The last one is the total.
    pub fn cumulative(&self) -> impl Iterator<Item = f64> {
        let mut below = 0;
        self.counts.iter().map(move |count| {
            below += count;
            #[expect(
                clippy::cast_precision_loss,
                reason = "Prometheus holds counts as floats"
            )]
            {
                below as f64
            }
        })
    }

    /// Counts a value in every form, so that their totals agree. Returns its classic bucket.
    fn count_in_bucket(&mut self, value: f64) -> Option<usize> {
        if value.is_nan() {
            return None;
        }
        let bounds = self.buckets.bounds();
        let bucket = bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
        if let Some(native) = &mut self.native {
            native.observe(value);
        }
        Some(bucket)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn bounds_must_increase_and_be_finite_and_not_negative() {
        for bounds in [
            &[][..],
            &[1.0, 1.0],
            &[2.0, 1.0],
            &[f64::NAN],
            &[-1.0, 1.0],
            &[1.0, f64::INFINITY],
        ] {
            assert_eq!(Buckets::new(bounds), None, "{bounds:?}");
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let buckets = Buckets::new(&[0.1, 1.0]).expect("in order");
        let mut histogram = Histogram::new(buckets.into());
        for value in [0.0, 0.1, 0.5, 1.0, 1.1] {
            histogram.observe(value);
        }

        assert_eq!(*histogram.counts, [2, 2, 1]);
        assert!((histogram.sum - 2.7).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_a_number_is_counted_in_no_form() {
        let buckets = Buckets::new(&[0.1, 1.0]).expect("in order");
        let mut histogram = Histogram::new(buckets.into());
        histogram.native = Some(Box::default());
        for value in [0.5, f64::NAN, -f64::NAN] {
            histogram.observe(value);
        }
        let origin = Origin::new("a", Timestamp::default()).expect("it is short");
        histogram.observe_of(f64::NAN, origin, 1);

        let native = histogram.native.as_ref().map(|native| native.count());
        assert_eq!((histogram.count(), native), (1, Some(1)));
        assert!((histogram.sum - 0.5).abs() < f64::EPSILON);
        assert_eq!(histogram.exemplars, []);
    }

    proptest! {
        #[test]
        fn every_value_is_in_the_first_bucket_that_holds_it(values in prop::collection::vec(-1.0..20.0_f64, 0..50)) {
            let buckets = Arc::new(Buckets::new(&[0.5, 1.0, 10.0]).expect("in order"));
            let mut histogram = Histogram::new(Arc::clone(&buckets));
            for value in &values {
                histogram.observe(*value);
            }

            let mut below = 0;
            for (bound, count) in buckets.bounds().iter().zip(&histogram.counts) {
                below += count;
                prop_assert_eq!(below, values.iter().filter(|value| *value <= bound).count() as u64);
            }
            prop_assert_eq!(histogram.count(), values.len() as u64);
        }
    }
}
