//! How much may wait, and what of it goes first.

use std::time::Duration;

use super::disk::{Disk, Segment};
use super::index::Index;
use super::record::Record;
use crate::counts::Counts;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Beyond it the oldest go.
    pub bytes_max: u64,
    /// What is older goes; `None`: whatever its age, it waits.
    pub age_max: Option<Duration>,
}

/// What will never be sent.
#[must_use = "what was lost has to be counted"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Went to make room.
    pub full: Counts,
    /// Grew too old.
    pub age: Counts,
    /// Could not be read any more, where it is known what it was.
    pub damaged: Counts,
    /// The bytes on the disk that could not be read.
    pub damaged_bytes: u64,
}

impl Lost {
    /// Whether nothing was lost.
    pub const fn is_zero(&self) -> bool {
        self.full.is_zero()
            && self.age.is_zero()
            && self.damaged.is_zero()
            && self.damaged_bytes == 0
    }
}

impl Limits {
    /// How large a segment may grow. What goes goes in whole segments, and what is committed lies around until
    /// its segment is full, so it should be small against the limit; but each costs a file and a sync more.
    pub(super) fn segment_bytes(&self) -> u64 {
        (self.bytes_max / 16).clamp(64 << 10, 16 << 20)
    }

    /// Takes from a group, from the front, what has no room even in an empty queue, but not the last record.
    pub(super) fn trim(&self, group: &mut Vec<Record>) -> Counts {
        // The format has 32 bits for the length of a body.
        let too_long = |record: &Record| u32::try_from(record.bytes.len()).is_err();
        let mut lost: Counts = group
            .extract_if(.., |record| too_long(record))
            .map(|r| r.counts)
            .sum();
        let mut bytes: u64 = group.iter().map(|record| record.bytes.len() as u64).sum();
        let mut first = 0;
        while bytes > self.bytes_max && first + 1 < group.len() {
            bytes -= group[first].bytes.len() as u64;
            first += 1;
        }
        lost += group.drain(..first).map(|record| record.counts).sum();
        lost
    }

    /// The newest time that is too old.
    pub(super) fn horizon_ms(&self, now_ms: i64) -> Option<i64> {
        let age_ms = i64::try_from(self.age_max?.as_millis()).unwrap_or(i64::MAX);
        Some(now_ms.saturating_sub(age_ms))
    }
}

/// The oldest segment that holds nothing held, by its index.
pub(super) fn droppable(disk: &Disk, index: &Index, held: Option<u64>) -> Option<usize> {
    let free = index.behind(held);
    let is_free = |segment: &Segment| {
        let records = index.of_segment(segment.first);
        records.is_empty() || records.start >= free
    };
    disk.segments().iter().position(is_free)
}
