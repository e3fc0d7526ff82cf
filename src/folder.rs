//! Folders that one process has to itself, and that are there after a power failure too.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::regular_file;

/// The file in a folder that is locked.
const LOCK: &str = "lock";

/// The lock on a folder, until this is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    /// Closing it lets go of the lock.
    _file: File,
}

impl FolderLock {
    /// Creates the folder if it is not there, and locks it; `None` where another process has.
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
        create(folder)?;
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        let path = folder.join(LOCK);
        let file =
            regular_file::open_own(&mut options, &path).map_err(|error| named(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Returns when the names in a folder are on the disk.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// An error with the file that it is about.
pub fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Creates a folder and those above it, for the daemon's user alone.
fn create(folder: &Path) -> io::Result<()> {
    let missing = folder.ancestors().take_while(|path| !path.exists()).count();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    for above in folder.ancestors().skip(1).take(missing) {
        let here = above.as_os_str().is_empty();
        sync(if here { Path::new(".") } else { above })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_on_the_way_and_has_one_owner() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("made/on/the/way");
        let first = FolderLock::take(&folder).unwrap();
        assert!(first.is_some());
        assert!(FolderLock::take(&folder).unwrap().is_none());

        drop(first);
        assert!(FolderLock::take(&folder).unwrap().is_some());
    }
}
