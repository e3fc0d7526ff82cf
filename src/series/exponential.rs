//! Native histograms: counts in buckets that grow by a constant factor.
//!
//! Source: "Native Histograms" in Prometheus' specifications; `prometheus/client_golang`, `histogram.go`.

/// Observations in exponential buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Exponential {
    schema: i32,
    zero_count: u64,
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
            schema: 3,
            zero_count: 0,
        }
    }

    /// Each bucket is 2^(2^-schema) times as wide as the one before.
    pub const fn schema(&self) -> i32 {
        self.schema
    }

    pub const fn zero_count(&self) -> u64 {
        self.zero_count
    }

    /// All observations.
    pub const fn count(&self) -> u64 {
        self.zero_count
    }

    pub fn positive(&self) -> Runs {
        Runs::default()
    }

    pub fn negative(&self) -> Runs {
        Runs::default()
    }
}

impl Default for Exponential {
    fn default() -> Self {
        Self::new()
    }
}
