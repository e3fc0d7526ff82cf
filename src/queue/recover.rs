//! Opens a queue directory: reads what is there, and repairs what a crash or a bad disk left.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use tracing::{error, info, warn};

use super::cursor::{self, ReadPosition};
use super::directory::Directory;
use super::disk::{Disk, Segment};
use super::error::OpenError;
use super::files::Files;
use super::frame::{Header, InGroup, RECORD_HEADER, SEGMENT_HEADER};
use super::index::{Index, Slot};
use super::limit::Lost;
use super::segment::{End, Scan, Start, scan};

/// A queue as found on disk.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) disk: Disk,
    pub(super) index: Index,
    /// Records up to this sequence were removed.
    pub(super) through: u64,
    /// The last sequence that was assigned.
    pub(super) sequence: u64,
    pub(super) newest_ms: Option<i64>,
    pub(super) lost: Lost,
}

/// The findings so far.
#[derive(Debug)]
struct Finding {
    through: u64,
    index: Index,
    sequence: u64,
    newest_ms: Option<i64>,
    lost: Lost,
    /// The current group, until its last record.
    open: Option<OpenGroup>,
}

/// A group whose last record was not found yet.
#[derive(Clone, Copy, Debug)]
struct OpenGroup {
    group: u64,
    /// Offset of its first record in the segment.
    offset: u64,
    newest_ms: i64,
    /// The last sequence that was assigned before it.
    before: u64,
}

/// Opens a directory, reads its content, and cuts off what a crash left.
pub(super) fn recover(
    folder: &Path,
    files: Files,
    segment_bytes: u64,
) -> Result<Recovered, OpenError> {
    let directory = Directory::open(folder)?;
    let (through, given) = cursor(&directory, &files)?;
    let mut finding = Finding::new(through, given);
    let failed = |source| OpenError::Folder {
        folder: folder.to_owned(),
        source,
    };
    let names = directory.segments().map_err(failed)?;
    let mut segments = VecDeque::new();
    let mut last = None;
    for first in names {
        let path = directory.segment(first);
        // Another segment follows, so the previous one was not the last, however it ends.
        finding.judge_sealed(last.take());
        let (file, scan, length) = finding.read(&files, first, &path)?;
        segments.push_back(Segment { first, length });
        last = Some((path, file, scan, length));
    }
    let mut active = None;
    if let Some((path, file, scan, length)) = last {
        let keep = finding.judge_last(&path, scan, length);
        let settle = || {
            if keep < length {
                files.cut(&file, keep)?;
            }
            // From here on, this data counts as durable, so sync what an earlier process may not
            // have.
            files.sync(&file)?;
            files.sync_folder(directory.folder())
        };
        settle().map_err(|source| OpenError::Read {
            path: path.clone(),
            offset: keep,
            source,
        })?;
        if let Some(segment) = segments.back_mut() {
            segment.length = keep;
        }
        let sound = scan.start == Start::Sound && !matches!(scan.end, End::Lost(_));
        active = (sound && keep > 0).then_some(file);
        // An unused segment without records could get in the way of the next segment's name.
        if active.is_none() && keep <= SEGMENT_HEADER as u64 {
            files.remove(&path).map_err(failed)?;
            segments.pop_back();
        }
    }
    Ok(Recovered {
        disk: Disk::new(directory, files, segments, active, segment_bytes),
        index: finding.index,
        through,
        sequence: finding.sequence,
        newest_ms: finding.newest_ms,
        lost: finding.lost,
    })
}

/// Returns up to which sequence records were removed, and the last sequence that was assigned.
fn cursor(directory: &Directory, files: &Files) -> Result<(u64, u64), OpenError> {
    match cursor::read(directory, files) {
        Ok(ReadPosition::Sound { through, given }) => Ok((through, given)),
        Ok(ReadPosition::Missing) => Ok((0, 0)),
        Ok(ReadPosition::Unsound) => {
            let path = directory.cursor();
            warn!(path = %path.display(), "queue cursor is damaged; sending the whole queue again");
            Ok((0, 0))
        }
        Err(source) => Err(OpenError::Read {
            path: directory.cursor(),
            offset: 0,
            source,
        }),
    }
}

impl Finding {
    fn new(through: u64, given: u64) -> Self {
        Self {
            through,
            index: Index::default(),
            sequence: given.max(through),
            newest_ms: None,
            lost: Lost::default(),
            open: None,
        }
    }

    /// Reads the headers in a segment.
    fn read(
        &mut self,
        files: &Files,
        first: u64,
        path: &Path,
    ) -> Result<(File, Scan, u64), OpenError> {
        let failed = |(offset, source)| OpenError::Read {
            path: path.to_owned(),
            offset,
            source,
        };
        let file = files.open(path).map_err(|source| failed((0, source)))?;
        let length = file.metadata().map_err(|source| failed((0, source)))?.len();
        // Its first record had this sequence, even if that record is damaged.
        self.sequence = self.sequence.max(first.saturating_sub(1));
        let found = |header: Header, offset| self.found(&header, first, offset, path);
        let scan = scan(files, &file, length, found).map_err(failed)?;
        match scan.start {
            Start::Sound => {}
            Start::Version(version) => {
                let path = path.to_owned();
                return Err(OpenError::Version { path, version });
            }
            Start::Unsound => {
                self.lost.damaged_bytes += SEGMENT_HEADER as u64;
                error!(
                    segment = %path.display(), offset = 0,
                    "segment header is damaged; reading its records anyway"
                );
            }
        }
        Ok((file, scan, length))
    }

    fn found(&mut self, header: &Header, segment: u64, offset: u64, path: &Path) {
        self.found_in_group(header, offset);
        self.sequence = self.sequence.max(header.sequence);
        if header.sequence <= self.through {
            return;
        }
        // A sequence that occurs again: the earlier write could not be undone, and this one was
        // synced.
        let again = self.index.behind(header.sequence.checked_sub(1));
        let _ = self.index.remove(again..self.index.len());
        if let Some(slot) = Slot::recovered(header, segment, offset) {
            self.index.push(slot);
        } else {
            self.lost.damaged += header.counts;
            self.lost.damaged_bytes += RECORD_HEADER as u64 + u64::from(header.length);
            error!(
                segment = %path.display(), offset, kind = header.kind,
                "dropped a record of unknown kind"
            );
        }
    }

    /// Keeps track of the group that is not complete yet.
    fn found_in_group(&mut self, header: &Header, offset: u64) {
        if self.open.is_some_and(|open| open.group != header.group) {
            self.close_group();
        }
        let open = self.open.get_or_insert(OpenGroup {
            group: header.group,
            offset: offset - RECORD_HEADER as u64,
            newest_ms: header.newest_ms,
            before: self.sequence,
        });
        open.newest_ms = open.newest_ms.max(header.newest_ms);
        if header.place != InGroup::Before {
            self.close_group();
        }
    }

    /// Accepts the current group.
    fn close_group(&mut self) {
        if let Some(open) = self.open.take() {
            self.newest_ms = self.newest_ms.max(Some(open.newest_ms));
        }
    }

    /// Drops the records of a group whose last one is missing. Returns where the group starts in
    /// its segment.
    ///
    /// They were never confirmed as durable, and their contents are sent again with a later group.
    /// If only some of them were sent, data that is sent only once, such as the zero before a new
    /// series, would be assumed to have been sent with the others.
    fn drop_open_group(&mut self) -> Option<u64> {
        let open = self.open.take()?;
        let first = self.index.behind(open.group.checked_sub(1));
        let _ = self.index.remove(first..self.index.len());
        self.sequence = open.before;
        Some(open.offset)
    }

    fn judge_sealed(&mut self, segment: Option<(PathBuf, File, Scan, u64)>) {
        let Some((path, _, scan, length)) = segment else {
            return;
        };
        // A segment follows, so the rest of this group is damaged or was appended again.
        self.close_group();
        match scan.end {
            End::Whole => {}
            End::Torn(at) | End::Lost(at) => self.damaged(&path, at, length),
        }
    }

    /// Returns how much of the last segment remains.
    fn judge_last(&mut self, path: &Path, scan: Scan, length: u64) -> u64 {
        match scan.end {
            End::Whole | End::Torn(_) => {
                let end = match scan.end {
                    End::Torn(at) => at,
                    End::Whole | End::Lost(_) => length,
                };
                let at = self.drop_open_group().unwrap_or(end);
                if at < length {
                    info!(
                        segment = %path.display(), offset = at, bytes = length - at,
                        "truncated an incomplete group of records after a crash"
                    );
                }
                at
            }
            End::Lost(at) => {
                self.close_group();
                self.damaged(path, at, length);
                // The damaged part may have contained this many records.
                self.sequence += (length - at).div_ceil(RECORD_HEADER as u64);
                length
            }
        }
    }

    fn damaged(&mut self, path: &Path, at: u64, length: u64) {
        let bytes = length - at;
        self.lost.damaged_bytes += bytes;
        error!(
            segment = %path.display(), offset = at, bytes,
            "queue segment is damaged; dropped the rest of it"
        );
    }
}
