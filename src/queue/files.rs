//! The queue's access to the file system.
//!
//! Each call is made in one place so that tests can make it fail: in tests, [`Files`] limits the
//! free space, injects errors and skips syncs.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::regular_file;

/// The file system.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<faults::Faults>,
}

impl Files {
    /// Creates an empty file, replacing any existing one.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        #[cfg(test)]
        self.faults.meet(faults::CREATE)?;
        regular_file::create_own(path)
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        #[cfg(test)]
        self.faults.meet(faults::OPEN)?;
        regular_file::open_own(OpenOptions::new().read(true).write(true), path)
    }

    pub(super) fn write(&self, file: &File, bytes: &[u8], offset: usize) -> io::Result<()> {
        #[cfg(test)]
        let bytes = self.faults.write(file, bytes, offset)?;
        file.write_all_at(bytes, offset as u64)
    }

    pub(super) fn read(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.meet(faults::READ)?;
        file.read_exact_at(bytes, offset)
    }

    /// Syncs the content and the length of a file to disk.
    #[cfg_attr(test, expect(unused_variables, reason = "nothing is synced"))]
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        return self.faults.meet(faults::SYNC);
        #[cfg(not(test))]
        file.sync_data()
    }

    /// Syncs the names in a directory to disk.
    #[cfg_attr(test, expect(unused_variables, reason = "nothing is synced"))]
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        #[cfg(test)]
        return self.faults.meet(faults::SYNC_FOLDER);
        #[cfg(not(test))]
        File::open(folder)?.sync_all()
    }

    pub(super) fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.meet(faults::CUT)?;
        file.set_len(length)
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults.meet(faults::RENAME)?;
        fs::rename(from, to)
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults.meet(faults::REMOVE)?;
        fs::remove_file(path)
    }
}

#[cfg(test)]
pub(super) mod faults {
    //! Fault injection for tests: which steps fail, and how.

    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};

    pub(crate) const CREATE: u32 = 1;
    pub(crate) const OPEN: u32 = 1 << 1;
    pub(crate) const READ: u32 = 1 << 2;
    pub(crate) const SYNC: u32 = 1 << 3;
    pub(crate) const SYNC_FOLDER: u32 = 1 << 4;
    pub(crate) const CUT: u32 = 1 << 5;
    pub(crate) const RENAME: u32 = 1 << 6;
    pub(crate) const REMOVE: u32 = 1 << 7;

    /// Linux error number for an I/O error.
    pub(crate) const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    #[derive(Debug)]
    pub(crate) struct Faults {
        /// The steps that fail.
        steps: AtomicU32,
        /// The error number that they fail with.
        error: AtomicI32,
        /// Bytes that can be written until the disk is full.
        room: AtomicUsize,
        /// Number of writes.
        writes: AtomicUsize,
        syncs: AtomicUsize,
    }

    impl Default for Faults {
        fn default() -> Self {
            Self {
                steps: AtomicU32::new(0),
                error: AtomicI32::new(EIO),
                room: AtomicUsize::new(usize::MAX),
                writes: AtomicUsize::new(0),
                syncs: AtomicUsize::new(0),
            }
        }
    }

    impl Faults {
        pub(crate) fn fail(&self, steps: u32, error: i32) {
            self.error.store(error, Ordering::Relaxed);
            self.steps.store(steps, Ordering::Relaxed);
        }

        pub(crate) fn room(&self, bytes: usize) {
            self.room.store(bytes, Ordering::Relaxed);
        }

        /// Returns the writes and syncs since the last call.
        pub(crate) fn took(&self) -> (usize, usize) {
            (
                self.writes.swap(0, Ordering::Relaxed),
                self.syncs.swap(0, Ordering::Relaxed),
            )
        }

        pub(super) fn meet(&self, step: u32) -> io::Result<()> {
            if step == SYNC {
                self.syncs.fetch_add(1, Ordering::Relaxed);
            }
            if self.steps.load(Ordering::Relaxed) & step == 0 {
                return Ok(());
            }
            let error = self.error.load(Ordering::Relaxed);
            Err(io::Error::from_raw_os_error(error))
        }

        /// Returns the part that can be written: a disk that fills up accepts what still fits.
        pub(super) fn write<'a>(
            &self,
            file: &File,
            bytes: &'a [u8],
            offset: usize,
        ) -> io::Result<&'a [u8]> {
            self.writes.fetch_add(1, Ordering::Relaxed);
            let room = self.room.load(Ordering::Relaxed);
            if bytes.len() > room {
                file.write_all_at(&bytes[..room], offset as u64)?;
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            if room != usize::MAX {
                self.room(room - bytes.len());
            }
            Ok(bytes)
        }
    }
}
