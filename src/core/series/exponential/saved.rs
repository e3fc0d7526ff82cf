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
