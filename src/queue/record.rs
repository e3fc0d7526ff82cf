//! What is put into a queue and what comes out of it.

use bytes::Bytes;

use crate::counts::Counts;

/// How the body of a record is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Remote write 1.0.
    V1,
    /// Remote write 2.0.
    V2,
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
