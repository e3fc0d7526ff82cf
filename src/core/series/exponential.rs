//! Native histograms: observations to counts in buckets that grow by a constant factor.
//!
//! Bucket `i` of schema `s` covers (2^((i-1)·2^-s), 2^(i·2^-s)], its upper bound included, and on the negative side the
//! same of the magnitude. What is nearer to nothing than [`Exponential::ZERO_THRESHOLD`] has a bucket of its own. When
//! there are too many buckets, the schema goes down by one, and each two neighbours become one; it never goes up again,
//! since a receiver takes that for a restart of the counter.
//!
//! Source: "Native Histograms" in Prometheus' specifications; `prometheus/client_golang`, `histogram.go`.

mod saved;

/// Where each histogram begins: the factor is 1.09, which is what client libraries call 1.1.
const SCHEMA_MAX: i32 = 3;

/// The coarsest that there is: the factor is 65,536.
const SCHEMA_MIN: i32 = -4;

/// Of both signs together, without that of zero. What OpenTelemetry has by default, and receivers recommend.
const BUCKETS_MAX: usize = 160;

/// So many empty buckets in a row are listed as such: they take less room than the beginning of another span.
const GAP_MAX: i32 = 2;

/// The lower bounds of the buckets of schema 3 in [0.5, 1): 2^(k/8) / 2.
///
/// As client libraries and Prometheus itself have them: three are one bit below the nearest float, and a value that
/// lies on a bound is to be on the same side everywhere.
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

/// The buckets of one sign that hold something, by index.
///
/// Pairs, and not a run of counts from the lowest to the highest: one outlier a million times longer than the rest
/// costs a pair, where a run would have 160 buckets of nothing between. What is searched for with each observation are
/// some ten pairs, and at most 160.
#[derive(Clone, Debug, Default, PartialEq)]
struct Side(Vec<Bucket>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    index: i32,
    count: u64,
}

/// The used buckets of one sign as they go on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    pub spans: Vec<Span>,
    /// The first bucket's count, then the difference of each to the one before, across spans.
    pub deltas: Vec<i64>,
}

/// A run of buckets that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of the first span: the index of its first bucket; of others: how many buckets lie between it and the one before.
    pub offset: i32,
    pub length: u32,
}

impl Exponential {
    /// 2^-128: what lies in `[-this, this]` belongs to the zero bucket.
    pub const ZERO_THRESHOLD: f64 = f64::from_bits((1023 - 128) << 52);

    /// One without observations.
    pub const fn new() -> Self {
        Self {
            schema: SCHEMA_MAX,
            zero_count: 0,
            positive: Side(Vec::new()),
            negative: Side(Vec::new()),
        }
    }

    /// Counts one value. What is not a number belongs to no bucket, and is not counted.
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
                // The coarsest schema has some 150 buckets in all, so it is never full.
                Err(_) if full && self.schema > SCHEMA_MIN => self.reduce(),
                Err(at) => {
                    side.insert(at, index);
                    return;
                }
            }
        }
    }

    /// Each bucket is 2^(2^-schema) times as wide as the one before.
    pub const fn schema(&self) -> i32 {
        self.schema
    }

    /// The observations within the zero threshold.
    pub const fn zero_count(&self) -> u64 {
        self.zero_count
    }

    /// All observations.
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

    /// Makes one bucket of each two.
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
            // Not twice as many: there are a great many histograms, and few ever see another bucket.
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

/// The bucket of schema 3 that a magnitude above the zero threshold belongs to.
///
/// From the float's own bits: a logarithm is rounded, and puts powers of two into the next bucket. The infinite has the
/// bucket behind that of the largest float.
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

/// The bucket that a bucket becomes part of when the schema is lower by so much.
const fn coarser(index: i32, by: i32) -> i32 {
    ((index - 1) >> by) + 1
}

#[cfg(test)]
mod tests;
