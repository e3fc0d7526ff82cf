//! The directory of one queue: its lock, and the names of its files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use crate::folder::FolderLock;

const SUFFIX: &str = ".segment";
const DIGITS: usize = 20;

/// A directory that is locked for as long as this exists.
#[derive(Debug)]
pub(super) struct Directory {
    folder: PathBuf,
    _lock: FolderLock,
}

impl Directory {
    /// Creates the directory if it is missing, and locks it.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder {
            folder: folder.to_owned(),
            source,
        };
        let lock = FolderLock::acquire(folder).map_err(failed)?;
        let lock = lock.ok_or_else(|| OpenError::Locked {
            folder: folder.to_owned(),
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of the segment whose first record has this sequence.
    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:0DIGITS$}{SUFFIX}"))
    }

    pub(super) fn cursor(&self) -> PathBuf {
        self.folder.join("cursor")
    }

    pub(super) fn cursor_new(&self) -> PathBuf {
        self.folder.join("cursor.new")
    }

    /// Returns the existing segments by the sequence of their first record, oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            found.extend(entry?.file_name().to_str().and_then(first));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Returns the sequence in the name of a segment.
fn first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let valid = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_are_taken_for_segments() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(&folder.path().join("made/on/the/way")).unwrap();
        for first in [4711, 1, u64::MAX] {
            fs::write(directory.segment(first), "").unwrap();
        }
        for other in [
            "1.segment",
            "0000000000000000000a.segment",
            "+0000000000000000001.segment",
            "99999999999999999999.segment",
            "00000000000000000002.segment.bak",
            "cursor.new",
        ] {
            fs::write(directory.folder().join(other), "").unwrap();
        }

        assert_eq!(directory.segments().unwrap(), [1, 4711, u64::MAX]);
        assert_eq!(
            directory.segment(1).file_name().unwrap(),
            "00000000000000000001.segment"
        );
    }
}
