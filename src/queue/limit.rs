//! Limits of a queue, and what is dropped first when they are exceeded.

use std::time::Duration;

use super::disk::{Disk, Segment};
use super::index::Index;
use crate::counts::Counts;
use crate::wire::Body;

/// Limits of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size in bytes. Beyond it, the oldest records are dropped.
    pub bytes_max: u64,
    /// Maximum age; `None`: unlimited.
    pub age_max: Option<Duration>,
}

/// Contents of records that will never be sent.
#[must_use = "lost records must be counted"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Dropped to make room.
    pub full: Counts,
    /// Dropped because of their age.
    pub age: Counts,
    /// Damaged, as far as their content is known.
    pub damaged: Counts,
    /// Bytes on disk that could not be read.
    pub damaged_bytes: u64,
}

impl Lost {
    /// Returns whether nothing was lost.
    pub const fn is_zero(&self) -> bool {
        self.full.is_zero()
            && self.age.is_zero()
            && self.damaged.is_zero()
            && self.damaged_bytes == 0
    }
}

impl Limits {
    /// Returns the maximum size of a segment. Whole segments are dropped, and committed records
    /// take space until their segment is full, so a segment should be small compared to the limit.
    /// But each segment costs a file and an additional sync.
    pub(super) fn segment_bytes(&self) -> u64 {
        (self.bytes_max / 16).clamp(64 << 10, 16 << 20)
    }

    /// Removes records from the front of a group that do not fit even into an empty queue, except
    /// the last.
    pub(super) fn trim(&self, group: &mut Vec<Body>) -> Counts {
        // The format stores the length of a body in 32 bits.
        let too_long = |body: &Body| u32::try_from(body.bytes.len()).is_err();
        let mut lost: Counts = group
            .extract_if(.., |body| too_long(body))
            .map(|body| body.counts)
            .sum();
        let mut bytes: u64 = group.iter().map(|body| body.bytes.len() as u64).sum();
        let mut first = 0;
        while bytes > self.bytes_max && first + 1 < group.len() {
            bytes -= group[first].bytes.len() as u64;
            first += 1;
        }
        lost += group.drain(..first).map(|body| body.counts).sum();
        lost
    }

    /// Returns the newest time that is too old.
    pub(super) fn horizon_ms(&self, now_ms: i64) -> Option<i64> {
        let age_ms = i64::try_from(self.age_max?.as_millis()).unwrap_or(i64::MAX);
        Some(now_ms.saturating_sub(age_ms))
    }
}

/// Returns the index of the oldest segment without held records.
pub(super) fn droppable(disk: &Disk, index: &Index, held: Option<u64>) -> Option<usize> {
    let free = index.behind(held);
    let is_free = |segment: &Segment| {
        let records = index.of_segment(segment.first);
        records.is_empty() || records.start >= free
    };
    disk.segments().iter().position(is_free)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::timestamp::Timestamp;
    use crate::wire::Protocol;

    const fn limits(bytes_max: u64) -> Limits {
        Limits {
            bytes_max,
            age_max: None,
        }
    }

    #[test]
    fn a_loss_of_any_sort_is_a_loss() {
        let counts = Counts {
            exemplars: 1,
            ..Counts::default()
        };
        let none = Lost::default();
        assert!(none.is_zero());
        for lost in [
            Lost {
                full: counts,
                ..none
            },
            Lost {
                age: counts,
                ..none
            },
            Lost {
                damaged: counts,
                ..none
            },
            Lost {
                damaged_bytes: 1,
                ..none
            },
        ] {
            assert!(!lost.is_zero(), "{lost:?}");
        }
    }

    #[test]
    fn a_segment_is_a_sixteenth_of_the_limit_within_bounds() {
        for (bytes_max, expected) in [
            (0, 65_536),
            (1_048_591, 65_536),
            (1_048_592, 65_537),
            (268_435_440, 16_777_215),
            (268_435_472, 16_777_216),
            (u64::MAX, 16_777_216),
        ] {
            assert_eq!(limits(bytes_max).segment_bytes(), expected, "{bytes_max}");
        }
    }

    #[test]
    fn a_group_is_cut_at_the_front_until_it_fits() {
        let body = |bytes: u64| Body {
            protocol: Protocol::V1,
            bytes: Bytes::from(vec![0; usize::try_from(bytes).unwrap()]),
            counts: Counts {
                samples: bytes,
                ..Counts::default()
            },
            oldest: Timestamp::default(),
            newest: Timestamp::default(),
        };
        for (bytes_max, expected) in [
            (91, &[40, 30, 20, 1][..]),
            (90, &[30, 20, 1]),
            (51, &[30, 20, 1]),
            (50, &[20, 1]),
            (1, &[1]),
            (0, &[1]),
        ] {
            let mut group: Vec<Body> = [40, 30, 20, 1].map(body).into();
            let lost = limits(bytes_max).trim(&mut group);
            let left: Vec<u64> = group.iter().map(|body| body.counts.samples).collect();
            assert_eq!(left, expected, "{bytes_max}");
            assert_eq!(lost.samples, 91 - left.iter().sum::<u64>(), "{bytes_max}");
        }
    }
}
