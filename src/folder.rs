//! Directories that are locked by one process and survive a power failure.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::escape::printable;
use crate::regular_file;

/// Name of the lock file in a directory.
const LOCK: &str = "lock";

/// Longer host names do not exist.
const HOST_BYTES_MAX: usize = 255;

/// The lock on a directory, held until this is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    /// Closing the file releases the lock.
    _file: File,
}

impl FolderLock {
    /// Creates the directory if it is missing, and locks it. Returns `None` if another process
    /// holds it.
    pub fn acquire(folder: &Path) -> io::Result<Option<Self>> {
        create(folder)?;
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        let path = folder.join(LOCK);
        let file =
            regular_file::open_own(&mut options, &path).map_err(|error| named(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {
                // For people only. On a full disk, the lock works without it.
                let _ = file
                    .set_len(0)
                    .and_then(|()| (&file).write_all(host_name().as_bytes()));
                Ok(Some(Self { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Returns the host of the process that locked a directory last.
pub fn holder(folder: &Path) -> Option<String> {
    let name = regular_file::read(&folder.join(LOCK), HOST_BYTES_MAX).ok()?;
    let name = String::from_utf8(name).ok()?;
    (!name.is_empty()).then(|| printable(&name).into_owned())
}

/// The name of this host, which is the pod's name in Kubernetes.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Syncs a directory, so that the names in it survive a power failure.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Adds the path of the file to an error.
pub fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Creates a directory and its missing parents, accessible only to the daemon's user.
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
        let first = FolderLock::acquire(&folder).unwrap();
        assert!(first.is_some());
        assert!(FolderLock::acquire(&folder).unwrap().is_none());
        assert_eq!(holder(&folder), Some(host_name()));

        drop(first);
        assert!(FolderLock::acquire(&folder).unwrap().is_some());
    }
}
