//! Request bodies that wait for one sink, first in, first out, on disk or in memory.
//!
//! In: groups of [`Record`]s, each with how much is in it and of which time. Out: [`Entry`]s in the order of
//! their arrival, until they are committed. The queue does not know what a sample is. Everything in here is
//! synchronous, and what touches the disk blocks.
//!
//! # On disk
//!
//! One folder holds one queue:
//!
//! ```text
//! lock                           empty; held with flock(2) by the daemon that has the queue open
//! cursor                         how far records were taken off
//! cursor.new                     the next cursor, until it is renamed
//! 00000000000000000001.segment   records; the name is the sequence of the first, in twenty digits
//! 00000000000000004711.segment   records that follow
//! ```
//!
//! Other names are left alone. All numbers are little-endian; every checksum is CRC-32C. A gap is zero when
//! written, and not looked at when read.
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
//!   16  group       u64    the sequence of the first record that was appended together with this one
//!   24  samples     u64    how many are in the body
//!   32  histograms  u64    likewise, native ones
//!   40  exemplars   u64    likewise
//!   48  oldest      i64    the time of the oldest sample, in milliseconds since the epoch
//!   56  newest      i64    likewise of the newest
//!   64  kind        u8     1 = remote write 1.0, 2 = remote write 2.0
//!   65  place       u8     1 = the last of its group, 2 = others of the group follow, 0 = not told
//!   66  gap         2 bytes
//!   68  checksum    u32    over bytes 0 to 67
//!   72  body        as it goes on the wire, compressed
//!
//! cursor: 32 bytes
//!    0  magic     8 bytes  "CELQCURS"
//!    8  version   u16      1
//!   10  gap       2 bytes
//!   12  checksum  u32      over bytes 0 to 11 and 16 to 31
//!   16  through   u64      records up to this sequence were delivered or given up
//!   24  given     u64      no record before had a sequence beyond this one
//! ```
//!
//! A segment of another version keeps these first 16 bytes. A daemon that meets one which it does not know
//! does not start, and changes nothing. A cursor of another version is one that is unsound.
//!
//! # Writing
//!
//! One process writes: the one that holds the lock. Records are added to the last segment, the *active* one,
//! a whole group with one write and one `fdatasync`. A segment that would grow beyond a sixteenth of
//! `bytes_max` (but no less than 64 KiB and no more than 16 MiB) is left as it is and the next is begun, so a
//! segment is larger than that by at most a group. A new file is followed by an `fsync` of the folder.
//!
//! Taking off writes `cursor.new` and renames it to `cursor`; neither is synced, because a cursor that is too
//! old makes records go out again, and that is all. A segment is deleted when nothing in it waits and it is not
//! the active one. Before the last segment is deleted, because of a limit or because it is not active, the
//! cursor is written: nothing else would say which sequences were given.
//!
//! A write or sync that fails is undone by cutting the file to what it was. Nothing is added to that file
//! again, since after a failed sync nobody knows what is on the disk: what could not be written stays in memory
//! and goes, with the next group and before it, to a new segment. So the disk being full needs nobody's hand.
//!
//! **When `append` has returned** and [`Queue::trouble`] is `None`, everything that was appended is on the disk
//! and survives the end of the process and of the machine, as far as the disk keeps what it has synced.
//! With trouble, what the disk did not take ends with the process. A group that was being appended when the
//! process ended is there in whole, in part (its first records), or not at all.
//!
//! # Reading, and what may be broken
//!
//! When a queue is opened, the headers of all records are read. Bodies are read, and their checksums compared,
//! when they are to be sent. Records that the cursor has passed are skipped.
//!
//! - **The last segment ends within a record or within its own header**, or is nothing but zeros from where a
//!   record should begin: what a crash leaves. The file is cut there, and goes on to be used. No record is
//!   lost that `append` had returned for.
//! - **The last segment ends within a group**, behind a record that others were to follow: the same. The file is
//!   cut where the group began, so that a group is sent as a whole or not at all, and [`Queue::newest_ms`] says of
//!   what is before it that it was queued whole.
//! - **Any other segment ends so**: damage. The records before it are read.
//! - **The header of a record is unsound**, by its checksum: damage. Where the next record would begin is
//!   unknown, so this record and the rest of the segment are lost, and nothing is added to it. Sequences that
//!   may have been in there are not given again.
//! - **A body is unsound, or of an unknown kind**: damage. The record is lost, the one behind it is read.
//! - **The header of a segment is unsound**: its records are read as those of version 1, each proves itself.
//!   Nothing is added to it.
//! - **A file cannot be read or is gone** once the queue is open: a record on a bad sector or in a missing file
//!   is damage; for any other error (no file handle left) it is tried again later.
//! - **A sequence comes twice**: what remains of a write whose undoing failed. The later one counts.
//! - **The cursor is missing or unsound**: everything that is there is sent, again where it had been.
//!
//! A power failure may leave holes in the group that was being appended, and these look like damage; what was
//! promised is in front of them. Damage is logged as an error with segment and offset, and counted in
//! [`Lost`]: in bytes, and where a header tells how much was in the body, in samples. Damage that is still
//! there is met again by the next process.
//!
//! # Limits
//!
//! `bytes_max` bounds the segments, with their headers and what is committed in them, and what waits in memory,
//! together. Where a group does not fit, whole segments go, the oldest first, then records in memory; but
//! nothing that is held, because it may be on its way. Of a group that is larger than all the room there is,
//! the first records go, but not the last one. So the bound can be passed by what is held, the segment
//! around it, and one record. `age_max` takes single records off the front, other than those held; behind a
//! held one the cursor cannot tell of it, and the next process drops them once more.
//!
//! An index in memory has some 150 bytes for each record that waits, and bodies of up to 8 MiB in all, so that
//! what is sent soon after it came is not read from the disk.

// What is in the files, without files.
mod frame;
mod record;

// The files, from one to all of them.
mod cursor;
mod directory;
mod disk;
mod files;
mod recover;
mod segment;

// What waits, and how much may.
mod index;
mod limit;

#[cfg(test)]
mod tests;

use std::path::Path;

use tracing::{error, warn};

use crate::counts::Counts;

pub use self::disk::Trouble;
pub use self::limit::{Limits, Lost};
pub use self::record::{Entry, Kind, Record};
pub use self::recover::OpenError;

use self::disk::Disk;
use self::files::Files;
use self::frame::{RECORD_HEADER, SEGMENT_HEADER};
use self::index::{Index, Slot};
use self::recover::{Recovered, recover};

/// Records in the order of their arrival, until they are delivered or given up.
#[derive(Debug)]
pub struct Queue {
    index: Index,
    /// `None`: everything is in memory only.
    disk: Option<Disk>,
    limits: Limits,
    /// Everything up to this sequence was delivered or given up.
    through: u64,
    /// The last that was given.
    sequence: u64,
    held: Option<u64>,
    newest_ms: Option<i64>,
    lost: Lost,
    trouble: Option<Trouble>,
    /// A record could not be read for now, and the log has it.
    unreadable: bool,
}

impl Queue {
    /// A queue that ends with the process.
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

    /// The queue in a folder, which is created if it is not there.
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
        // The limit may be a smaller one than the last time.
        queue.make_room(0);
        Ok(queue)
    }

    /// Adds a group of records whose series are disjoint; drops what is too old or has no room.
    ///
    /// When it returns, they are on the disk, unless there is [`trouble`](Self::trouble).
    pub fn append(&mut self, mut group: Vec<Record>, now_ms: i64) {
        self.expire(now_ms);
        self.lost.full += self.limits.trim(&mut group);
        let bytes: usize = group.iter().map(|record| record.bytes.len()).sum();
        let headers = match self.disk {
            Some(_) => SEGMENT_HEADER + RECORD_HEADER * group.len(),
            None => 0,
        };
        self.make_room((bytes + headers) as u64);
        let first = self.sequence + 1;
        for record in group {
            self.sequence += 1;
            self.newest_ms = self.newest_ms.max(Some(record.newest_ms));
            self.index.push(Slot::new(self.sequence, first, record));
        }
        self.flush();
    }

    /// The first record behind a sequence; from the front without one.
    ///
    /// What turns out to be damaged is lost. `None` with records behind that sequence means that the next
    /// cannot be read for now.
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
            error!(%segment, offset, samples, bytes, %error, "record is damaged; dropped it");
            self.lost.damaged_bytes += (RECORD_HEADER + bytes) as u64;
            self.lost.damaged += self.index.remove(at..at + 1);
            self.sweep();
        }
    }

    /// Says up to where records are on their way: neither limit nor age drops them. `None`: none are.
    pub const fn hold(&mut self, through: Option<u64>) {
        self.held = through;
    }

    /// Takes off all records up to a sequence: they were delivered, or given up.
    ///
    /// A record is taken off *after* it was delivered, so a crash in between sends it twice rather than never.
    pub fn commit(&mut self, through: u64) {
        let end = self.index.behind(Some(through));
        if end > 0 {
            let _ = self.index.remove(0..end);
            self.passed(through.min(self.sequence));
        }
    }

    /// Drops records from the front whose newest sample is older than the limit, except those that are held.
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

    /// What was lost since the last call.
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    /// How much waits.
    pub const fn pending(&self) -> Counts {
        self.index.counts()
    }

    /// The bytes of all bodies that wait.
    pub const fn pending_bytes(&self) -> u64 {
        self.index.bytes()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// The time of the newest sample that was ever appended, as far as it is known: in this process, or in a
    /// segment that is still there.
    pub const fn newest_ms(&self) -> Option<i64> {
        self.newest_ms
    }

    /// Why the disk does not take records now. They wait in memory meanwhile, and whoever has the queue tells of it.
    pub const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Whether what waits survives the process.
    pub const fn is_durable(&self) -> bool {
        self.disk.is_some()
    }

    /// What waits and is not on the disk: it ends with the process.
    pub fn unwritten(&self) -> Counts {
        let slots =
            (self.index.first_unwritten()..self.index.len()).filter_map(|at| self.index.get(at));
        slots.map(|slot| slot.counts).sum()
    }

    /// Whether more than one group waits behind a sequence.
    pub fn has_several_groups(&self, after: Option<u64>) -> bool {
        let group = |at: usize| self.index.get(at).map(|slot| slot.group);
        let first = self.index.behind(after);
        first + 1 < self.index.len() && group(first) != group(self.index.len() - 1)
    }

    /// Whether nothing waits behind a sequence.
    pub fn is_read(&self, through: Option<u64>) -> bool {
        self.index.behind(through) >= self.index.len()
    }

    /// How many bytes may wait.
    pub const fn bytes_max(&self) -> u64 {
        self.limits.bytes_max
    }

    /// Writes what has no place on the disk yet, in order.
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

    /// Drops the oldest that are not held until so many bytes more have room.
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

    /// Everything up to a sequence is done with.
    fn passed(&mut self, through: u64) {
        self.through = self.through.max(through);
        if let Some(disk) = &mut self.disk {
            disk.commit(self.through, self.sequence);
        }
        self.sweep();
    }

    /// Has the cursor say which sequences were given, where no segment can: a last one that is damaged goes
    /// when nothing in it waits, and one that was torn at its beginning is gone.
    fn remember(&mut self) {
        if let Some(disk) = &mut self.disk
            && self.sequence > 0
            && !disk.has_active()
        {
            disk.commit(self.through, self.sequence);
        }
    }

    /// Deletes from the front the segments in which nothing waits.
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

    /// What counts against the limit.
    fn used_bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::bytes) + self.index.unwritten_bytes()
    }
}
