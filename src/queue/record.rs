//! The records that go into a queue, and the entries that come out.

use bytes::Bytes;

use crate::counts::Counts;

/// The encoding of a record's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Remote write 1.0.
    V1,
    /// Remote write 2.0.
    V2,
}

/// The body of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: RecordKind,
    /// As sent, compressed.
    pub bytes: Bytes,
    pub counts: Counts,
    /// Time of the oldest sample, in milliseconds since the epoch.
    pub oldest_ms: i64,
    /// Time of the newest sample, in milliseconds since the epoch.
    pub newest_ms: i64,
}

/// A pending record and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Increases from record to record, and is never reused, even after a restart. Consecutive
    /// unless records were lost.
    pub sequence: u64,
    /// Sequence of the first record that was appended together with this one.
    pub group: u64,
    pub record: Record,
    /// Whether it was queued by an earlier process.
    pub recovered: bool,
}

impl RecordKind {
    /// Returns the number of the kind on disk.
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
