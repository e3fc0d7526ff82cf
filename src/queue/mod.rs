//! A queue of request bodies for one sink, first in, first out, on disk or in memory.
//!
//! In: groups of bodies ([`Body`]), each with its counts and times. Out: [`Entry`]s in order of
//! arrival, until they are committed. The queue does not know what a sample is. All functions are
//! synchronous, and those that access the disk block.
//!
//! # On disk
//!
//! Each queue has its own directory:
//!
//! ```text
//! lock                           empty; locked with flock(2) by the daemon that has the queue open
//! cursor                         how far records were removed
//! cursor.new                     the next cursor, until it is renamed
//! 00000000000000000001.segment   records; the name is the sequence of the first, in twenty digits
//! 00000000000000004711.segment   records that follow
//! ```
//!
//! Other files are ignored. All numbers are little-endian; every checksum is CRC-32C. A gap is
//! written as zeros and ignored when read.
//!
//! ```text
//! segment: this header, then records until the end of the file
//!    0  magic     8 bytes  "CELQSEGM"
//!    8  version   u16      1
//!   10  gap       2 bytes
//!   12  checksum  u32      over bytes 0 to 11
//!
//! record: this header, then the body
//!    0  length      u32    bytes of the body
//!    4  body        u32    checksum over the body
//!    8  sequence    u64    more than in the record before; never used again
//!   16  group       u64    the sequence of the first record appended together with this one
//!   24  samples     u64    how many samples are in the body
//!   32  histograms  u64    how many native histograms
//!   40  exemplars   u64    how many exemplars
//!   48  oldest      i64    the time of the oldest sample, in milliseconds since the epoch
//!   56  newest      i64    the time of the newest sample, likewise
//!   64  kind        u8     1 = remote write 1.0, 2 = remote write 2.0, 3 = 1.0 with zstd
//!   65  place       u8     1 = the last of its group, 2 = others of the group follow, 0 = unknown
//!   66  gap         2 bytes
//!   68  checksum    u32    over bytes 0 to 67
//!   72  body        as sent, compressed
//!
//! cursor: 32 bytes
//!    0  magic     8 bytes  "CELQCURS"
//!    8  version   u16      1
//!   10  gap       2 bytes
//!   12  checksum  u32      over bytes 0 to 11 and 16 to 31
//!   16  through   u64      records up to this sequence were delivered or given up
//!   24  given     u64      the highest sequence that was ever assigned
//! ```
//!
//! A segment of any other version starts with the same 16 bytes. A daemon that finds an unknown
//! version does not start, and changes nothing. A cursor of another version counts as invalid.
//!
//! # Writing
//!
//! Only the process that holds the lock writes. Records are added to the last segment, the *active*
//! one, a whole group with one write and one `fdatasync`. A segment that would grow beyond a
//! sixteenth of `bytes_max` (at least 64 KiB, at most 16 MiB) is closed and the next one is
//! started, so a segment exceeds that size by at most one group. After a new file is created, the
//! directory is synced with `fsync`.
//!
//! Removing records writes `cursor.new` and renames it to `cursor`. Neither is synced, because an
//! outdated cursor only causes records to be sent again. A segment is deleted when it is not active
//! and nothing in it is pending. Before the last segment is deleted, because of a limit or because
//! it is not active, the cursor is written: nothing else would record which sequences were
//! assigned.
//!
//! A failed write or sync is undone by truncating the file to its previous length. Nothing is added
//! to that file again, because after a failed sync the state on disk is unknown. Unwritten records
//! stay in memory and are written to a new segment ahead of the next group. A full disk therefore
//! needs no manual intervention.
//!
//! **When `append` has returned** and [`Queue::trouble`] is `None`, all appended records are on
//! disk and survive the end of the process and of the machine, provided that the disk keeps what it
//! has synced. With trouble, records that could not be written are lost with the process. If the
//! process ends during an append, the group is on disk in whole, in part (its first records), or
//! not at all.
//!
//! # Reading and recovery
//!
//! Opening a queue reads the headers of all records. Bodies are read, and their checksums verified,
//! when they are sent. Records before the cursor are skipped.
//!
//! - **The last segment ends within a record or within its own header**, or contains only zeros
//!   from where a record should start: the result of a crash. The file is truncated there and
//!   remains in use. No record for which `append` had returned is lost.
//! - **The last segment ends within a group**, after a record that others were to follow: likewise.
//!   The file is truncated at the start of the group, so that a group is sent as a whole or not at
//!   all, and everything up to [`Queue::newest_ms`] was queued completely.
//! - **Any other segment ends that way**: damage. The records before it are read.
//! - **The header of a record is invalid**, according to its checksum: damage. The start of the
//!   next record is unknown, so this record and the rest of the segment are lost, and nothing is
//!   added to the segment. Sequences that may have been in there are not assigned again.
//! - **A body is invalid, or of an unknown kind**: damage. The record is lost, and the next one is
//!   read.
//! - **The header of a segment is invalid**: its records are read as version 1, each with its own
//!   checksum. Nothing is added to the segment.
//! - **A file cannot be read or is missing** once the queue is open: a record on a bad sector or in
//!   a missing file is damage; after any other error (no file descriptors left) the read is retried
//!   later.
//! - **A sequence occurs twice**: the remains of a write that could not be undone. The later one
//!   counts.
//! - **The cursor is missing or invalid**: all existing records are sent, even those sent before.
//!
//! A power failure may leave holes in the group that was being appended. They look like damage, but
//! all confirmed records come before them. Damage is logged as an error with segment and offset,
//! and counted in [`Lost`]: in bytes, and in samples if a header gives the content of the body.
//! Damage that is not removed is found again by the next process.
//!
//! # Limits
//!
//! `bytes_max` limits the total of the segments (including headers and committed records) and of
//! the unwritten records in memory. If a group does not fit, whole segments are dropped, oldest
//! first, then records in memory, but never held ones, because they may be in flight. If a group
//! alone exceeds the limit, its first records are dropped, but not the last one. The limit can thus
//! be exceeded by the held records, the segment that contains them, and one record. `age_max` drops
//! single records from the front, except held ones. Behind a held record, the cursor cannot record
//! this, and the next process drops them again.
//!
//! The in-memory index takes some 150 bytes per pending record, plus up to 8 MiB of bodies, so that
//! what is sent soon after it arrives need not be read from disk.

// The file contents, independent of files.
mod frame;

// The files, from a single one to all of them.
mod cursor;
mod directory;
mod disk;
mod error;
mod files;
mod recover;
mod segment;

// The pending records and their limits.
mod index;
mod limit;

#[cfg(test)]
mod tests;

use std::path::Path;

use tracing::{error, warn};

use crate::counts::Counts;
use crate::wire::Body;

pub use self::error::{DiskError, OpenError};
pub use self::index::Entry;
pub use self::limit::{Limits, Lost};

use self::disk::Disk;
use self::files::Files;
use self::frame::{RECORD_HEADER, SEGMENT_HEADER};
use self::index::{Index, Slot};
use self::recover::{Recovered, recover};

/// Records in order of arrival, until they are delivered or given up.
#[derive(Debug)]
pub struct Queue {
    index: Index,
    /// `None`: everything is in memory only.
    disk: Option<Disk>,
    limits: Limits,
    /// Everything up to this sequence was delivered or given up.
    through: u64,
    /// The last sequence that was assigned.
    sequence: u64,
    held: Option<u64>,
    newest_ms: Option<i64>,
    lost: Lost,
    trouble: Option<DiskError>,
    /// Whether a record cannot be read at the moment, which was logged.
    unreadable: bool,
}

impl Queue {
    /// Creates a queue that is lost when the process ends.
    pub fn in_memory(limits: Limits) -> Self {
        Self {
            index: Index::default(),
            disk: None,
            limits,
            through: 0,
            sequence: 0,
            held: None,
            newest_ms: None,
            lost: Lost::default(),
            trouble: None,
            unreadable: false,
        }
    }

    /// Opens the queue in a directory, which is created if it is missing.
    pub fn open(folder: &Path, limits: Limits) -> Result<Self, OpenError> {
        Self::open_with(folder, limits, limits.segment_bytes(), Files::default())
    }

    fn open_with(
        folder: &Path,
        limits: Limits,
        segment_bytes: u64,
        files: Files,
    ) -> Result<Self, OpenError> {
        let Recovered {
            disk,
            index,
            through,
            sequence,
            newest_ms,
            lost,
        } = recover(folder, files, segment_bytes)?;
        let mut queue = Self {
            index,
            disk: Some(disk),
            through,
            sequence,
            newest_ms,
            lost,
            ..Self::in_memory(limits)
        };
        queue.sweep();
        queue.remember();
        // The limit may be lower than before.
        queue.make_room(0);
        Ok(queue)
    }

    /// Appends a group of bodies with disjoint series. Drops what is too old or does not fit.
    ///
    /// When it returns, the records are on disk, unless there is [`trouble`](Self::trouble).
    pub fn append(&mut self, mut group: Vec<Body>, now_ms: i64) {
        self.expire(now_ms);
        self.lost.full += self.limits.trim(&mut group);
        let bytes: usize = group.iter().map(|body| body.bytes.len()).sum();
        let headers = match self.disk {
            Some(_) => SEGMENT_HEADER + RECORD_HEADER * group.len(),
            None => 0,
        };
        self.make_room((bytes + headers) as u64);
        let first = self.sequence + 1;
        for body in group {
            self.sequence += 1;
            self.newest_ms = self.newest_ms.max(Some(body.newest.millis()));
            self.index.push(Slot::new(self.sequence, first, body));
        }
        self.flush();
    }

    /// Returns the first record after a sequence, or the first of all without one.
    ///
    /// Damaged records are skipped and counted as lost. `None`, although there are records after
    /// that sequence, means that the next one cannot be read at the moment.
    pub fn next(&mut self, after: Option<u64>) -> Option<Entry> {
        let at = self.index.behind(after);
        loop {
            let slot = self.index.get(at)?;
            if let Some(bytes) = &slot.bytes {
                return Some(slot.entry(bytes.clone()));
            }
            let (disk, place) = (self.disk.as_mut()?, slot.place?);
            let error = match disk.read(place, slot.length) {
                Ok(bytes) => {
                    self.unreadable = false;
                    return Some(slot.entry(bytes));
                }
                Err(error) => error,
            };
            let (path, offset) = (disk.path(place.segment), place.offset);
            let segment = path.display();
            if !error.is_damage() {
                if !self.unreadable {
                    warn!(%segment, offset, %error, "reading a record failed; retrying");
                }
                self.unreadable = true;
                return None;
            }
            let (samples, bytes) = (slot.counts.samples, slot.length);
            error!(%segment, offset, samples, bytes, %error, "dropped a damaged record");
            self.lost.damaged_bytes += (RECORD_HEADER + bytes) as u64;
            self.lost.damaged += self.index.remove(at..at + 1);
            self.sweep();
        }
    }

    /// Protects records up to a sequence from being dropped, because they are in flight. `None`: no
    /// records.
    pub const fn hold(&mut self, through: Option<u64>) {
        self.held = through;
    }

    /// Removes all records up to a sequence, because they were delivered or given up.
    ///
    /// Called *after* delivery, so a crash in between sends a record twice rather than never.
    pub fn commit(&mut self, through: u64) {
        let end = self.index.behind(Some(through));
        if end > 0 {
            let _ = self.index.remove(0..end);
            self.passed(through.min(self.sequence));
        }
    }

    /// Drops records from the front whose newest sample exceeds the maximum age, except held ones.
    pub fn expire(&mut self, now_ms: i64) {
        let Some(horizon_ms) = self.limits.horizon_ms(now_ms) else {
            return;
        };
        let start = self.index.behind(self.held);
        let mut end = start;
        let mut through = 0;
        while let Some(slot) = self.index.get(end)
            && slot.newest_ms < horizon_ms
        {
            through = slot.sequence;
            end += 1;
        }
        if end == start {
            return;
        }
        self.lost.age += self.index.remove(start..end);
        if start == 0 {
            self.passed(through);
        }
    }

    /// Returns what was lost since the last call.
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    /// Returns how much is pending.
    pub const fn pending(&self) -> Counts {
        self.index.counts()
    }

    /// Returns the size of all pending bodies in bytes.
    pub const fn pending_bytes(&self) -> u64 {
        self.index.bytes()
    }

    /// Returns whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// Returns the time of the newest sample that was ever appended, as far as it is known: by this
    /// process, or in an existing segment.
    pub const fn newest_ms(&self) -> Option<i64> {
        self.newest_ms
    }

    /// Returns why records currently cannot be written to disk, for the owner to report. They are
    /// kept in memory meanwhile.
    pub const fn trouble(&self) -> Option<&DiskError> {
        self.trouble.as_ref()
    }

    /// Returns whether pending records survive the process.
    pub const fn is_durable(&self) -> bool {
        self.disk.is_some()
    }

    /// Returns what is pending but not on disk, and would be lost with the process.
    pub fn unwritten(&self) -> Counts {
        let slots =
            (self.index.first_unwritten()..self.index.len()).filter_map(|at| self.index.get(at));
        slots.map(|slot| slot.counts).sum()
    }

    /// Returns whether more than one group is pending after a sequence.
    pub fn has_several_groups(&self, after: Option<u64>) -> bool {
        let group = |at: usize| self.index.get(at).map(|slot| slot.group);
        let first = self.index.behind(after);
        first + 1 < self.index.len() && group(first) != group(self.index.len() - 1)
    }

    /// Returns whether nothing is pending after a sequence.
    pub fn is_read(&self, through: Option<u64>) -> bool {
        self.index.behind(through) >= self.index.len()
    }

    /// Returns the maximum size in bytes.
    pub const fn bytes_max(&self) -> u64 {
        self.limits.bytes_max
    }

    /// Writes unwritten records to disk, in order.
    fn flush(&mut self) {
        let Some(disk) = &mut self.disk else {
            return;
        };
        while self.index.first_unwritten() < self.index.len() {
            match disk.append(self.index.unwritten()) {
                Ok(places) => self.index.written(&places),
                Err(trouble) => {
                    self.trouble = Some(trouble);
                    return self.sweep();
                }
            }
        }
        self.trouble = None;
        self.sweep();
    }

    /// Drops the oldest records that are not held until `bytes` more fit.
    fn make_room(&mut self, bytes: u64) {
        while self.used_bytes() + bytes > self.limits.bytes_max {
            if let Some(disk) = &mut self.disk
                && let Some(at) = limit::droppable(disk, &self.index, self.held)
            {
                let records = self.index.of_segment(disk.segments()[at].first);
                self.lost.full += self.index.remove(records);
                if at + 1 == disk.segments().len() {
                    disk.commit(self.through, self.sequence);
                }
                disk.delete(at);
                continue;
            }
            let first = self.index.first_unwritten();
            let at = first.max(self.index.behind(self.held));
            if at == self.index.len() {
                break;
            }
            self.lost.full += self.index.remove(at..at + 1);
        }
    }

    /// Notes that everything up to a sequence was delivered or given up.
    fn passed(&mut self, through: u64) {
        self.through = self.through.max(through);
        if let Some(disk) = &mut self.disk {
            disk.commit(self.through, self.sequence);
        }
        self.sweep();
    }

    /// Writes the assigned sequences to the cursor if no segment shows them: a damaged last segment
    /// is deleted once nothing in it is pending, and one that was torn at its start is gone.
    fn remember(&mut self) {
        if let Some(disk) = &mut self.disk
            && self.sequence > 0
            && !disk.has_active()
        {
            disk.commit(self.through, self.sequence);
        }
    }

    /// Deletes segments from the front in which nothing is pending.
    fn sweep(&mut self) {
        let Some(disk) = &mut self.disk else {
            return;
        };
        while let Some(segment) = disk.segments().front()
            && !disk.is_active(0)
            && self.index.of_segment(segment.first).is_empty()
        {
            if disk.segments().len() == 1 {
                disk.commit(self.through, self.sequence);
            }
            disk.delete(0);
        }
    }

    /// Returns the size that counts against the limit.
    fn used_bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::bytes) + self.index.unwritten_bytes()
    }
}
