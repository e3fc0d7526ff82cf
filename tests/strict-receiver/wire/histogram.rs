//! Native histograms, which are the same in both versions except for the start timestamp.

use std::collections::BTreeMap;

use super::WireError;
use super::fields::{fields, unzigzag};

/// An integer or float count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    Int(u64),
    Float(f64),
}

/// A run of buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub offset: i64,
    pub length: u64,
}

/// The buckets of one sign, as encoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    pub spans: Vec<Span>,
    pub deltas: Vec<i64>,
    pub counts: Vec<f64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub count: Option<Count>,
    pub sum: f64,
    pub schema: i64,
    pub zero_threshold: f64,
    pub zero_count: Option<Count>,
    pub negative: Side,
    pub positive: Side,
    pub reset_hint: u64,
    pub timestamp: i64,
    pub custom_values: Vec<f64>,
    pub start: i64,
}

impl Histogram {
    /// Parses a histogram; `start_field` is 17 in 2.0 and `None` in 1.0.
    pub fn read(bytes: &[u8], start_field: Option<u64>) -> Result<Self, WireError> {
        let mut read = Self::default();
        let deltas = |field: &super::fields::Field<'_>, to: &mut Vec<i64>| {
            let mut numbers = Vec::new();
            field.varints(&mut numbers)?;
            to.extend(numbers.into_iter().map(unzigzag));
            Ok::<_, WireError>(())
        };
        for field in fields("Histogram", bytes)? {
            match field.number {
                1 => read.count = Some(Count::Int(field.unsigned()?)),
                2 => read.count = Some(Count::Float(field.double()?)),
                3 => read.sum = field.double()?,
                4 => read.schema = field.zigzag()?,
                5 => read.zero_threshold = field.double()?,
                6 => read.zero_count = Some(Count::Int(field.unsigned()?)),
                7 => read.zero_count = Some(Count::Float(field.double()?)),
                8 => read.negative.spans.push(Span::read(field.bytes()?)?),
                9 => deltas(&field, &mut read.negative.deltas)?,
                10 => field.doubles(&mut read.negative.counts)?,
                11 => read.positive.spans.push(Span::read(field.bytes()?)?),
                12 => deltas(&field, &mut read.positive.deltas)?,
                13 => field.doubles(&mut read.positive.counts)?,
                14 => read.reset_hint = field.unsigned()?,
                15 => read.timestamp = field.signed()?,
                16 => field.doubles(&mut read.custom_values)?,
                number if Some(number) == start_field => read.start = field.signed()?,
                _ => return Err(field.foreign()),
            }
        }
        Ok(read)
    }
}

impl Span {
    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut span = Self::default();
        for field in fields("BucketSpan", bytes)? {
            match field.number {
                1 => span.offset = field.zigzag()?,
                2 => span.length = field.unsigned()?,
                _ => return Err(field.foreign()),
            }
        }
        Ok(span)
    }
}

impl Count {
    #[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
    pub fn value(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

impl Side {
    /// Returns the counts of the listed buckets.
    #[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
    pub fn listed(&self) -> Vec<f64> {
        let mut count = 0_i64;
        let whole = self.deltas.iter().map(|delta| {
            count = count.saturating_add(*delta);
            count as f64
        });
        let whole: Vec<_> = whole.collect();
        if whole.is_empty() {
            self.counts.clone()
        } else {
            whole
        }
    }

    /// Returns the number of buckets covered by the spans.
    pub fn covered(&self) -> u64 {
        self.spans.iter().map(|span| span.length).sum()
    }

    /// Returns counts by bucket index, without empty buckets.
    pub fn buckets(&self) -> BTreeMap<i64, f64> {
        let mut index = 0;
        let mut indices = Vec::new();
        for span in &self.spans {
            index += span.offset;
            for _ in 0..span.length.min(100_000) {
                indices.push(index);
                index += 1;
            }
        }
        let pairs = indices.into_iter().zip(self.listed());
        pairs.filter(|(_, count)| *count != 0.0).collect()
    }
}
