//! What is put into a queue and what comes out of it.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use bytes::Bytes;

/// How the body of a record is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Remote write 1.0.
    V1,
    /// Remote write 2.0.
    V2,
}

/// How much is in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub samples: u64,
    /// Native ones.
    pub histograms: u64,
    pub exemplars: u64,
}

/// One request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    /// As it goes on the wire, compressed.
    pub bytes: Bytes,
    pub counts: Counts,
    /// The time of the oldest sample, in milliseconds since the epoch.
    pub oldest_ms: i64,
    /// The time of the newest sample, likewise.
    pub newest_ms: i64,
}

/// A record that waits, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// More than that of the record before, and never used again, not even after a restart. Where nothing was
    /// lost in between it is more by one.
    pub sequence: u64,
    /// The sequence of the first record that was appended together with this one.
    pub group: u64,
    pub record: Record,
    /// Whether it was there before this process.
    pub recovered: bool,
}

impl Kind {
    /// The number that stands for it on disk.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    pub(super) const fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }
}

impl Counts {
    /// Whether there is nothing.
    pub const fn is_zero(&self) -> bool {
        self.samples == 0 && self.histograms == 0 && self.exemplars == 0
    }

    /// Everything together.
    pub const fn total(&self) -> u64 {
        self.samples
            .saturating_add(self.histograms)
            .saturating_add(self.exemplars)
    }
}

// Both saturate: counts may come from a disk.

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_add(other.samples),
            histograms: self.histograms.saturating_add(other.histograms),
            exemplars: self.exemplars.saturating_add(other.exemplars),
        }
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_sub(other.samples),
            histograms: self.histograms.saturating_sub(other.histograms),
            exemplars: self.exemplars.saturating_sub(other.exemplars),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}
