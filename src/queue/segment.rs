//! Reads a single segment from start to end.

use std::fs::File;
use std::io;

use bytes::Bytes;

use super::files::Files;
use super::frame::{self, Header, RECORD_HEADER, SEGMENT_HEADER};

/// How a segment starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Sound,
    /// Its checksum is invalid. The records are read as those of this version.
    Unsound,
    /// Of an unknown version. No record was read.
    Version(u16),
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a complete record.
    Whole,
    /// The last record, or the segment's header, starts here and is incomplete.
    Torn(u64),
    /// The header of the record here is invalid, so the start of the next one is unknown.
    Lost(u64),
}

/// The result of reading a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) start: Start,
    pub(super) end: End,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("its checksum does not match")]
    Checksum,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ReadError {
    /// Returns whether another attempt would fail too.
    pub(super) fn is_damage(&self) -> bool {
        /// Linux error number for an I/O error.
        const EIO: i32 = 5;
        match self {
            Self::Checksum => true,
            Self::Io(error) => {
                let gone = [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof];
                gone.contains(&error.kind()) || error.raw_os_error() == Some(EIO)
            }
        }
    }
}

/// Reads the headers in a segment of `length` bytes, and passes on each with the offset of its
/// body.
///
/// An error comes with the offset that could not be read.
pub(super) fn scan(
    files: &Files,
    file: &File,
    length: u64,
    mut found: impl FnMut(Header, u64),
) -> Result<Scan, (u64, io::Error)> {
    let mut offset = SEGMENT_HEADER as u64;
    if length < offset {
        let (start, end) = (Start::Sound, End::Torn(0));
        return Ok(Scan { start, end });
    }
    let mut header = [0; SEGMENT_HEADER];
    let at = |offset| move |error| (offset, error);
    files.read(file, &mut header, 0).map_err(at(0))?;
    let start = match frame::segment_version(&header) {
        Some(frame::VERSION) => Start::Sound,
        Some(version) => Start::Version(version),
        None => Start::Unsound,
    };
    let end = loop {
        if offset == length || matches!(start, Start::Version(_)) {
            break End::Whole;
        }
        let body = offset + RECORD_HEADER as u64;
        if body > length {
            break End::Torn(offset);
        }
        let mut header = [0; RECORD_HEADER];
        files.read(file, &mut header, offset).map_err(at(offset))?;
        let Some(header) = Header::read(&header) else {
            // A file system that wrote the length before the content leaves zeros.
            let zeros = is_zero(files, file, offset, length).map_err(at(offset))?;
            break if zeros {
                End::Torn(offset)
            } else {
                End::Lost(offset)
            };
        };
        let next = body + u64::from(header.length);
        if next > length {
            break End::Torn(offset);
        }
        found(header, body);
        offset = next;
    };
    Ok(Scan { start, end })
}

fn is_zero(files: &Files, file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    let mut offset = from;
    while offset < to {
        let length = usize::try_from(to - offset).map_or(chunk.len(), |left| left.min(chunk.len()));
        files.read(file, &mut chunk[..length], offset)?;
        if chunk[..length].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += length as u64;
    }
    Ok(true)
}

/// Reads a body and verifies its checksum.
pub(super) fn read(
    files: &Files,
    file: &File,
    offset: u64,
    length: usize,
    checksum: u32,
) -> Result<Bytes, ReadError> {
    let mut bytes = vec![0; length];
    files.read(file, &mut bytes, offset)?;
    if frame::body_checksum(&bytes) != checksum {
        return Err(ReadError::Checksum);
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Counts;

    /// Returns what is found in a segment with this content, and the number of its records.
    fn scanned(bytes: &[u8]) -> (Scan, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segment");
        std::fs::write(&path, bytes).unwrap();
        let files = Files::default();
        let file = files.open(&path).unwrap();
        let mut records = 0;
        let scan = scan(&files, &file, bytes.len() as u64, |_, _| records += 1);
        (scan.unwrap(), records)
    }

    #[test]
    fn a_segment_is_whole_if_it_ends_with_a_record() {
        let record = Header {
            length: 0,
            body: frame::body_checksum(&[]),
            sequence: 1,
            group: 1,
            counts: Counts::default(),
            oldest_ms: 0,
            newest_ms: 0,
            kind: 1,
            place: frame::InGroup::Last,
        };
        let whole = |start| Scan {
            start,
            end: End::Whole,
        };
        let mut bytes = frame::segment_header().to_vec();
        for records in 0..3 {
            assert_eq!(scanned(&bytes), (whole(Start::Sound), records));
            record.write(&mut bytes);
        }
        // The records of another version are not read.
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..12]);
        bytes[12..SEGMENT_HEADER].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(scanned(&bytes), (whole(Start::Version(2)), 0));
    }
}
