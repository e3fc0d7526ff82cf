//! The files of one queue, all segments and the cursor: writes, reads and deletes them.
//!
//! This module does not know which records are pending or which may be dropped.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use tracing::{info, warn};

use super::cursor;
use super::directory::Directory;
use super::error::DiskError;
use super::files::Files;
use super::frame::{self, Header, InGroup, RECORD_HEADER, SEGMENT_HEADER};
use super::index::{Place, Slot};
use super::segment::{self, ReadError};

/// A file of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Sequence of the first record, which is also the file name.
    pub(super) first: u64,
    /// Size in bytes, up to the end of its valid content.
    pub(super) length: u64,
}

/// All segments of one queue, and its cursor.
#[derive(Debug)]
pub(super) struct Disk {
    directory: Directory,
    files: Files,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The last segment, as long as records can be added to it.
    active: Option<File>,
    /// The most recently read segment, by its first record.
    reader: Option<(u64, File)>,
    segment_bytes: u64,
    /// Whether the last cursor could not be written, which was logged.
    cursor_failed: bool,
}

impl Disk {
    pub(super) const fn new(
        directory: Directory,
        files: Files,
        segments: VecDeque<Segment>,
        active: Option<File>,
        segment_bytes: u64,
    ) -> Self {
        Self {
            directory,
            files,
            segments,
            active,
            reader: None,
            segment_bytes,
            cursor_failed: false,
        }
    }

    /// Appends whole groups, as many as fit into one segment but at least one, with a single write
    /// and a single sync. Returns the places of all records; an error means that none was written.
    pub(super) fn append<'a>(
        &mut self,
        slots: impl Iterator<Item = &'a Slot>,
    ) -> Result<Vec<Place>, DiskError> {
        let (mut buffer, mut places) = (frame::segment_header().to_vec(), Vec::new());
        let mut first = None;
        let slots = slots.filter_map(|slot| Some((slot, slot.bytes.as_ref()?)));
        let mut slots = slots.peekable();
        while let Some((slot, bytes)) = slots.next() {
            // A new group starts: stop if the current segment would become too large.
            let length = buffer.len() + RECORD_HEADER + bytes.len();
            if slot.sequence == slot.group && first.is_some() && length as u64 > self.segment_bytes
            {
                break;
            }
            first.get_or_insert(slot.sequence);
            let checksum = frame::body_checksum(bytes);
            let follows = |(next, _): &(&Slot, _)| next.group == slot.group;
            let place = if slots.peek().is_some_and(follows) {
                InGroup::Before
            } else {
                InGroup::Last
            };
            header(slot, checksum, place).write(&mut buffer);
            places.push(Place {
                segment: 0,
                offset: (buffer.len() - SEGMENT_HEADER) as u64,
                checksum,
            });
            buffer.extend_from_slice(bytes);
        }
        let Some(first) = first else {
            return Ok(places);
        };
        let (segment, offset) = self.write(first, &buffer)?;
        for place in &mut places {
            place.segment = segment;
            place.offset += offset;
        }
        Ok(places)
    }

    /// Writes a buffer that starts with a segment header. Returns its segment and the offset of the
    /// records.
    fn write(&mut self, first: u64, buffer: &[u8]) -> Result<(u64, u64), DiskError> {
        let records = &buffer[SEGMENT_HEADER..];
        if let Some(last) = self.segments.back_mut()
            && last.length + records.len() as u64 <= self.segment_bytes
            // Not put back after an error, because the state on disk is then unknown.
            && let Some(file) = self.active.take()
        {
            let offset = last.length;
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let written = self.files.write(&file, records, at);
            if let Err(source) = written.and_then(|()| self.files.sync(&file)) {
                // If this fails too, recovery cuts or recognizes what is left.
                let _ = self.files.cut(&file, offset);
                let path = self.directory.segment(last.first);
                return Err(DiskError {
                    path,
                    offset,
                    source,
                });
            }
            last.length += records.len() as u64;
            self.active = Some(file);
            return Ok((last.first, offset));
        }
        self.active = None;
        let path = self.directory.segment(first);
        match self.begin(&path, buffer) {
            Ok(file) => {
                let length = buffer.len() as u64;
                self.segments.push_back(Segment { first, length });
                self.active = Some(file);
                Ok((first, SEGMENT_HEADER as u64))
            }
            Err(source) => {
                let _ = self.files.remove(&path);
                let offset = 0;
                Err(DiskError {
                    path,
                    offset,
                    source,
                })
            }
        }
    }

    fn begin(&self, path: &std::path::Path, buffer: &[u8]) -> io::Result<File> {
        let file = self.files.create(path)?;
        self.files.write(&file, buffer, 0)?;
        self.files.sync(&file)?;
        self.files.sync_folder(self.directory.folder())?;
        Ok(file)
    }

    /// Reads the body stored at `place`.
    pub(super) fn read(&mut self, place: Place, length: usize) -> Result<Bytes, ReadError> {
        let active = self.segments.back().map(|last| last.first) == Some(place.segment);
        let file = match (&self.active, &self.reader) {
            (Some(file), _) if active => file,
            (_, Some((segment, _))) if *segment == place.segment => {
                &self.reader.as_ref().expect("matched in this arm").1
            }
            _ => {
                let file = self.files.open(&self.directory.segment(place.segment))?;
                &self.reader.insert((place.segment, file)).1
            }
        };
        segment::read(&self.files, file, place.offset, length, place.checksum)
    }

    /// Deletes a segment. If that fails, the next start deletes it.
    pub(super) fn delete(&mut self, at: usize) {
        if at + 1 == self.segments.len() {
            self.active = None;
        }
        let Some(segment) = self.segments.remove(at) else {
            return;
        };
        if self.reader.as_ref().map(|reader| reader.0) == Some(segment.first) {
            self.reader = None;
        }
        let path = self.directory.segment(segment.first);
        if let Err(error) = self.files.remove(&path) {
            warn!(segment = %path.display(), %error, "deleting a queue segment failed");
        }
    }

    /// Stores up to which sequence records were removed, and the last sequence that was assigned.
    pub(super) fn commit(&mut self, through: u64, given: u64) {
        let result = cursor::write(&self.directory, &self.files, through, given);
        match &result {
            Err(error) if !self.cursor_failed => {
                let path = self.directory.cursor();
                warn!(path = %path.display(), %error, "writing the queue cursor failed");
            }
            Ok(()) if self.cursor_failed => info!("writing the queue cursor succeeds again"),
            Ok(()) | Err(_) => {}
        }
        self.cursor_failed = result.is_err();
    }

    /// Returns the segments, oldest first.
    pub(super) const fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Returns whether records can be added to the segment at this index.
    pub(super) fn is_active(&self, at: usize) -> bool {
        at + 1 == self.segments.len() && self.active.is_some()
    }

    /// Returns whether there is a segment to which records can be added.
    pub(super) const fn has_active(&self) -> bool {
        self.active.is_some()
    }

    /// Returns the size of all segments in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// Returns the path of a segment, for the log.
    pub(super) fn path(&self, segment: u64) -> PathBuf {
        self.directory.segment(segment)
    }
}

fn header(slot: &Slot, checksum: u32, place: InGroup) -> Header {
    Header {
        length: u32::try_from(slot.length).expect("append takes no body beyond 4 GiB"),
        body: checksum,
        sequence: slot.sequence,
        group: slot.group,
        counts: slot.counts,
        oldest_ms: slot.oldest_ms,
        newest_ms: slot.newest_ms,
        kind: frame::kind(slot.protocol),
        place,
    }
}
