//! The folder of one queue: its lock and the names in it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::recover::OpenError;

const SUFFIX: &str = ".segment";
const DIGITS: usize = 20;

/// A folder that nobody else writes to, as long as this lives.
#[derive(Debug)]
pub(super) struct Directory {
    folder: PathBuf,
    /// Closing it lets go of the lock.
    _lock: File,
}

impl Directory {
    /// Creates the folder if it is not there, and locks it.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder {
            folder: folder.to_owned(),
            source,
        };
        create(folder).map_err(failed)?;
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        let lock = options.open(folder.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::Locked {
                folder: folder.to_owned(),
            },
            TryLockError::Error(source) => failed(source),
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The segment whose first record has this sequence.
    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:0DIGITS$}{SUFFIX}"))
    }

    pub(super) fn cursor(&self) -> PathBuf {
        self.folder.join("cursor")
    }

    pub(super) fn cursor_new(&self) -> PathBuf {
        self.folder.join("cursor.new")
    }

    /// The segments that are there, as the sequences of their first records, oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            found.extend(entry?.file_name().to_str().and_then(first));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Creates a folder and those above it, so that they are there after a power failure too.
fn create(folder: &Path) -> io::Result<()> {
    let missing = folder.ancestors().take_while(|path| !path.exists()).count();
    fs::create_dir_all(folder)?;
    for above in folder.ancestors().skip(1).take(missing) {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// What the name of a segment says.
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
