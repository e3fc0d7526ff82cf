//! The in-memory index of pending records and their places on disk.
//!
//! Records with a place on disk come first, followed by those not written yet. The totals are
//! updated with every change, so reading them is cheap.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::frame::{self, Header};
use crate::counts::Counts;
use crate::timestamp::Timestamp;
use crate::wire::{Body, Protocol};

/// Maximum size in bytes of written bodies that are also kept in memory: all of them while the
/// receiver keeps up, otherwise the oldest, which are sent next.
const CACHED_MAX: u64 = 8 << 20;

/// A pending record and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Increases from record to record, and is never reused, even after a restart. Consecutive
    /// unless records were lost.
    pub sequence: u64,
    /// Sequence of the first record that was appended together with this one.
    pub group: u64,
    pub body: Body,
    /// Whether it was queued by an earlier process.
    pub recovered: bool,
}

/// A pending record.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) sequence: u64,
    pub(super) group: u64,
    pub(super) counts: Counts,
    pub(super) oldest_ms: i64,
    pub(super) newest_ms: i64,
    pub(super) protocol: Protocol,
    pub(super) recovered: bool,
    /// Length of the body in bytes.
    pub(super) length: usize,
    /// The body; `None` only if the record has a place on disk.
    pub(super) bytes: Option<Bytes>,
    pub(super) place: Option<Place>,
}

/// The location of a body on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment, by the sequence of its first record.
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) checksum: u32,
}

impl Slot {
    /// Creates a slot for a newly appended record.
    pub(super) fn new(sequence: u64, group: u64, body: Body) -> Self {
        Self {
            sequence,
            group,
            counts: body.counts,
            oldest_ms: body.oldest.millis(),
            newest_ms: body.newest.millis(),
            protocol: body.protocol,
            recovered: false,
            length: body.bytes.len(),
            bytes: Some(body.bytes),
            place: None,
        }
    }

    /// Creates a slot for a record found in a segment; `None` if its kind is unknown.
    pub(super) fn recovered(header: &Header, segment: u64, offset: u64) -> Option<Self> {
        Some(Self {
            sequence: header.sequence,
            group: header.group,
            counts: header.counts,
            oldest_ms: header.oldest_ms,
            newest_ms: header.newest_ms,
            protocol: frame::protocol(header.kind)?,
            recovered: true,
            length: usize::try_from(header.length).ok()?,
            bytes: None,
            place: Some(Place {
                segment,
                offset,
                checksum: header.body,
            }),
        })
    }

    pub(super) fn entry(&self, bytes: Bytes) -> Entry {
        Entry {
            sequence: self.sequence,
            group: self.group,
            body: Body {
                protocol: self.protocol,
                bytes,
                counts: self.counts,
                oldest: Timestamp::from_millis(self.oldest_ms),
                newest: Timestamp::from_millis(self.newest_ms),
            },
            recovered: self.recovered,
        }
    }
}

/// All pending records, oldest first.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: VecDeque<Slot>,
    counts: Counts,
    /// Total size of all bodies.
    bytes: u64,
    /// Number of records, at the end, that have no place on disk.
    unwritten: usize,
    unwritten_bytes: u64,
    cached_bytes: u64,
}

impl Index {
    pub(super) fn push(&mut self, slot: Slot) {
        self.counts += slot.counts;
        self.bytes += slot.length as u64;
        if slot.place.is_none() {
            self.unwritten += 1;
            self.unwritten_bytes += slot.length as u64;
        }
        self.slots.push_back(slot);
    }

    /// Removes records, and returns what they contained.
    pub(super) fn remove(&mut self, range: Range<usize>) -> Counts {
        let mut removed = Counts::default();
        for slot in self.slots.drain(range) {
            removed += slot.counts;
            self.bytes -= slot.length as u64;
            if slot.place.is_none() {
                self.unwritten -= 1;
                self.unwritten_bytes -= slot.length as u64;
            } else if slot.bytes.is_some() {
                self.cached_bytes -= slot.length as u64;
            }
        }
        self.counts -= removed;
        removed
    }

    /// Sets the places of the oldest unwritten records.
    pub(super) fn written(&mut self, places: &[Place]) {
        let first = self.slots.len() - self.unwritten;
        for (slot, place) in self.slots.range_mut(first..).zip(places) {
            let length = slot.length as u64;
            slot.place = Some(*place);
            self.unwritten -= 1;
            self.unwritten_bytes -= length;
            if self.cached_bytes + length <= CACHED_MAX {
                self.cached_bytes += length;
            } else {
                slot.bytes = None;
            }
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&Slot> {
        self.slots.get(at)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns the index of the first record after a sequence.
    pub(super) fn behind(&self, sequence: Option<u64>) -> usize {
        sequence.map_or(0, |sequence| {
            self.slots.partition_point(|slot| slot.sequence <= sequence)
        })
    }

    /// Returns the records in a segment.
    pub(super) fn of_segment(&self, segment: u64) -> Range<usize> {
        let before = |reach: &dyn Fn(u64) -> bool| {
            self.slots
                .partition_point(|slot| slot.place.is_some_and(|place| reach(place.segment)))
        };
        before(&|found| found < segment)..before(&|found| found <= segment)
    }

    /// Returns the unwritten records, oldest first.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = &Slot> {
        self.slots.range(self.slots.len() - self.unwritten..)
    }

    /// Returns the index of the first unwritten record.
    pub(super) fn first_unwritten(&self) -> usize {
        self.slots.len() - self.unwritten
    }

    /// Returns the size of the unwritten records in bytes.
    pub(super) const fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}
