//! Stores and restores native histograms.

use super::{BUCKETS_MAX, Bucket, Exponential, SCHEMA_MAX, SCHEMA_MIN, Side};
use crate::saved;

impl Exponential {
    /// The stored form.
    pub(in crate::series) fn to_saved(&self) -> saved::Exponential {
        saved::Exponential {
            schema: self.schema,
            zero_count: self.zero_count,
            positive: self.positive.to_saved(),
            negative: self.negative.to_saved(),
        }
    }

    /// Restores a histogram. `None` if the stored form is invalid.
    pub(in crate::series) fn from_saved(saved: &saved::Exponential) -> Option<Self> {
        let known = (SCHEMA_MIN..=SCHEMA_MAX).contains(&saved.schema);
        let few = saved.positive.len() + saved.negative.len() <= BUCKETS_MAX;
        let all = saved.positive.iter().chain(&saved.negative);
        let counts = all.map(|bucket| bucket.count);
        let total = counts
            .chain([saved.zero_count])
            .try_fold(0_u64, u64::checked_add);
        let sound = known && few && total.and_then(saved::count).is_some();
        sound.then_some(Self {
            schema: saved.schema,
            zero_count: saved.zero_count,
            positive: Side::from_saved(&saved.positive)?,
            negative: Side::from_saved(&saved.negative)?,
        })
    }
}

impl Side {
    fn to_saved(&self) -> Vec<saved::Bucket> {
        let buckets = self.0.iter().map(|bucket| saved::Bucket {
            index: bucket.index,
            count: bucket.count,
        });
        buckets.collect()
    }

    fn from_saved(saved: &[saved::Bucket]) -> Option<Self> {
        // The limit is far above the index of the largest float, and far below the point at which
        // sums of indexes overflow.
        let near = saved
            .iter()
            .all(|bucket| bucket.index.unsigned_abs() < 1 << 20);
        let increasing = saved.windows(2).all(|pair| pair[0].index < pair[1].index);
        let buckets = saved.iter().map(|bucket| Bucket {
            index: bucket.index,
            count: bucket.count,
        });
        (near && increasing).then(|| Self(buckets.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(positive: &[(i32, u64)], zero_count: u64) -> Option<Exponential> {
        let buckets = positive
            .iter()
            .map(|&(index, count)| saved::Bucket { index, count });
        Exponential::from_saved(&saved::Exponential {
            schema: SCHEMA_MIN,
            zero_count,
            positive: buckets.collect(),
            negative: Vec::new(),
        })
    }

    #[test]
    fn a_histogram_is_restored_as_it_was_stored() {
        let mut histogram = Exponential::new();
        for value in [0.0, 1.0, 2.0, -3.0, 3.0, 3.0] {
            histogram.observe(value);
        }
        let saved = histogram.to_saved();
        assert_eq!(Exponential::from_saved(&saved), Some(histogram));
    }

    #[test]
    fn what_no_histogram_can_be_is_not_restored() {
        let many: Vec<_> = (0..161).map(|index| (index, 1)).collect();
        let most = 1_000_000_000_000_000;
        for (case, is_sound, is_not) in [
            ("number", restored(&many[..160], 0), restored(&many, 0)),
            (
                "index",
                restored(&[((1 << 20) - 1, 1)], 0),
                restored(&[(1 << 20, 1)], 0),
            ),
            (
                "order",
                restored(&[(-1, 1), (0, 1)], 0),
                restored(&[(0, 1), (0, 1)], 0),
            ),
            (
                "count",
                restored(&[(0, most - 1)], 1),
                restored(&[(0, most)], 1),
            ),
            (
                "sum",
                restored(&[(0, 1)], most - 1),
                restored(&[(0, u64::MAX)], 1),
            ),
        ] {
            assert_eq!((is_sound.is_some(), is_not), (true, None), "{case}");
        }
        for schema in [SCHEMA_MIN - 1, SCHEMA_MAX + 1] {
            let saved = saved::Exponential {
                schema,
                ..Exponential::new().to_saved()
            };
            assert_eq!(Exponential::from_saved(&saved), None, "{schema}");
        }
    }
}
