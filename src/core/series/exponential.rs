//! Native histograms: count observations in buckets that grow by a constant factor.
//!
//! Bucket `i` of schema `s` covers (2^((i-1)·2^-s), 2^(i·2^-s)], including its upper bound;
//! negative buckets cover the same range of magnitudes. Values within
//! [`Exponential::ZERO_THRESHOLD`] of zero have a bucket of their own. When there are too many
//! buckets, the schema is lowered by one, which merges neighbours in pairs. It never goes up again,
//! because a receiver would treat that as a counter reset.
//!
//! Source: "Native Histograms" in Prometheus' specifications; `prometheus/client_golang`,
//! `histogram.go`.

mod saved;

/// The initial schema. Its growth factor is 1.09, which client libraries call 1.1.
const SCHEMA_MAX: i32 = 3;

/// The coarsest schema. Its growth factor is 65,536.
const SCHEMA_MIN: i32 = -4;

/// Maximum number of buckets, positive and negative together, without the zero bucket. This is
/// OpenTelemetry's default, which receivers recommend.
const BUCKETS_MAX: usize = 160;

/// Up to this many consecutive empty buckets are listed explicitly, which takes less space than a
/// new span.
const GAP_MAX: i32 = 2;

/// The lower bounds of the buckets of schema 3 in [0.5, 1): 2^(k/8) / 2.
///
/// The exact values that client libraries and Prometheus use: three are one bit below the nearest
/// float, and a value on a bound must fall on the same side everywhere.
const BOUNDS: [f64; 8] = [
    0.5,
    0.545_253_866_332_628_8,
    0.594_603_557_501_360_5,
    0.648_419_777_325_504_8,
    0.707_106_781_186_547_5,
    0.771_105_412_703_970_4,
    0.840_896_415_253_714_4,
    0.917_004_043_204_671_1,
];

/// Observations in exponential buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Exponential {
    schema: i32,
    zero_count: u64,
    positive: Side,
    negative: Side,
}

/// The non-empty buckets of one sign, by index.
///
/// Stored as pairs and not as a run of counts from lowest to highest: an outlier a million times
/// longer than the rest costs one pair, where a run would need 160 mostly empty buckets. Each
/// observation searches about ten pairs, at most 160.
#[derive(Clone, Debug, Default, PartialEq)]
struct Side(Vec<Bucket>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    index: i32,
    count: u64,
}

/// The used buckets of one sign in wire format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    pub spans: Vec<Span>,
    /// The first bucket's count, then the difference of each count to the previous one, across
    /// spans.
    pub deltas: Vec<i64>,
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// In the first span, the index of its first bucket; in later spans, the number of buckets
    /// since the previous span.
    pub offset: i32,
    pub length: u32,
}

impl Exponential {
    /// 2^-128: values in `[-this, this]` belong to the zero bucket.
    pub const ZERO_THRESHOLD: f64 = f64::from_bits((1023 - 128) << 52);

    /// An empty histogram.
    pub const fn new() -> Self {
        Self {
            schema: SCHEMA_MAX,
            zero_count: 0,
            positive: Side(Vec::new()),
            negative: Side(Vec::new()),
        }
    }

    /// Counts a value. NaN belongs to no bucket and is not counted.
    pub fn observe(&mut self, value: f64) {
        let magnitude = value.abs();
        if magnitude.is_nan() {
            return;
        }
        if magnitude <= Self::ZERO_THRESHOLD {
            self.zero_count += 1;
            return;
        }
        let finest = finest_index(magnitude);
        loop {
            let index = coarser(finest, SCHEMA_MAX - self.schema);
            let full = self.positive.0.len() + self.negative.0.len() >= BUCKETS_MAX;
            let side = if value > 0.0 {
                &mut self.positive
            } else {
                &mut self.negative
            };
            match side.find(index) {
                Ok(at) => {
                    side.0[at].count += 1;
                    return;
                }
                // The coarsest schema has only about 150 buckets, so it is never full.
                Err(_) if full && self.schema > SCHEMA_MIN => self.reduce(),
                Err(at) => {
                    side.insert(at, index);
                    return;
                }
            }
        }
    }

    /// The schema: each bucket is 2^(2^-schema) times as wide as the one before.
    pub const fn schema(&self) -> i32 {
        self.schema
    }

    /// The number of observations within the zero threshold.
    pub const fn zero_count(&self) -> u64 {
        self.zero_count
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        let buckets = self.positive.0.iter().chain(&self.negative.0);
        self.zero_count + buckets.map(|bucket| bucket.count).sum::<u64>()
    }

    /// The buckets above zero.
    pub fn positive(&self) -> Runs {
        self.positive.runs()
    }

    /// The buckets below zero.
    pub fn negative(&self) -> Runs {
        self.negative.runs()
    }

    /// Merges buckets in pairs.
    fn reduce(&mut self) {
        self.schema -= 1;
        self.positive.reduce();
        self.negative.reduce();
    }
}

impl Default for Exponential {
    fn default() -> Self {
        Self::new()
    }
}

impl Side {
    fn find(&self, index: i32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&index, |bucket| bucket.index)
    }

    fn insert(&mut self, at: usize, index: i32) {
        if self.0.len() == self.0.capacity() {
            // Grow by a fixed amount rather than doubling: there are very many histograms, and few
            // ever use another bucket.
            self.0.reserve_exact(4);
        }
        self.0.insert(at, Bucket { index, count: 1 });
    }

    fn reduce(&mut self) {
        for bucket in &mut self.0 {
            bucket.index = coarser(bucket.index, 1);
        }
        self.0.dedup_by(|next, kept| {
            let same = next.index == kept.index;
            if same {
                kept.count += next.count;
            }
            same
        });
    }

    fn runs(&self) -> Runs {
        let mut runs = Runs::default();
        let (mut next, mut before) = (0, 0);
        let counts = self.0.iter().map(|bucket| bucket.count.cast_signed());
        for (Bucket { index, .. }, count) in self.0.iter().zip(counts) {
            let gap = index - next;
            match runs.spans.last_mut() {
                Some(span) if gap <= GAP_MAX => {
                    for _ in 0..gap {
                        span.length += 1;
                        runs.deltas.push(-before);
                        before = 0;
                    }
                    span.length += 1;
                }
                _ => runs.spans.push(Span {
                    offset: gap,
                    length: 1,
                }),
            }
            runs.deltas.push(count - before);
            (next, before) = (index + 1, count);
        }
        runs
    }
}

/// The bucket of schema 3 for a magnitude above the zero threshold.
///
/// Computed from the float's bits: a rounded logarithm would put powers of two into the next
/// bucket. Infinity belongs to the bucket after that of the largest float.
fn finest_index(magnitude: f64) -> i32 {
    const FRACTION: u64 = (1 << 52) - 1;
    const HALF: u64 = 1022 << 52;
    let bits = magnitude.to_bits();
    // magnitude = fraction · 2^exponent, with the fraction in [0.5, 1).
    let fraction = f64::from_bits(bits & FRACTION | HALF);
    let exponent = i32::try_from(bits >> 52).expect("eleven bits without a sign") - 1022;
    let position = BOUNDS.partition_point(|bound| *bound < fraction);
    let position = i32::try_from(position).expect("eight bounds");
    position + (exponent - 1) * 8 + i32::from(magnitude.is_infinite())
}

/// The bucket that contains `index` once the schema is lowered by `by`.
const fn coarser(index: i32, by: i32) -> i32 {
    ((index - 1) >> by) + 1
}

#[cfg(test)]
mod tests;
