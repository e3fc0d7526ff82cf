//! The checkpoint files in one directory.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use tracing::{error, info, warn};

use super::file::{self, Parts, Unsound};
use crate::folder::{self, FolderLock};
use crate::regular_file;
use crate::saved::{self, Checkpoint};
use crate::timestamp::Timestamp;

const NEWEST: &str = "checkpoint";
const NEXT: &str = "checkpoint.new";
const BEFORE: &str = "checkpoint.before";

/// Buffer size for reading and writing.
const BUFFER: usize = 256 << 10;

/// A locked directory with checkpoints.
#[derive(Debug)]
pub struct CheckpointFolder {
    path: PathBuf,
    _lock: FolderLock,
}

/// A checkpoint to restore.
#[derive(Debug)]
pub struct Restored {
    /// The first part, which has the times and the version.
    first: Checkpoint,
    file: PathBuf,
}

impl CheckpointFolder {
    /// Creates the directory if it is missing, and locks it. Returns `None` if another daemon holds
    /// it.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let lock = FolderLock::acquire(path)?;
        Ok(lock.map(|lock| Self {
            path: path.to_owned(),
            _lock: lock,
        }))
    }

    /// Returns the newest valid checkpoint. An invalid one is set aside. Failing to read one is an
    /// error, because it may be valid once the disk recovers.
    pub fn newest(&self) -> io::Result<Option<Restored>> {
        for name in [NEWEST, BEFORE] {
            let path = self.path.join(name);
            match verify(&path) {
                Ok(first) => {
                    let file = path.display();
                    if name == BEFORE {
                        warn!(%file, "restored the previous checkpoint; totals revert to it, and only events that the broker still holds are counted again");
                    } else {
                        info!(%file, version = first.version, "checkpoint restored");
                    }
                    return Ok(Some(Restored { first, file: path }));
                }
                Err(Unsound::Read(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(Unsound::Read(error)) => return Err(folder::named(&path, &error)),
                Err(error) => self.set_aside(name, &error),
            }
        }
        Ok(None)
    }

    /// Replaces the checkpoint, and returns its size in bytes once it is on disk.
    pub fn write(&self, parts: impl Iterator<Item = Checkpoint>) -> io::Result<u64> {
        let next = self.path.join(NEXT);
        let written = regular_file::create_own(&next).and_then(|file| {
            let mut out = BufWriter::with_capacity(BUFFER, file);
            let bytes = file::write(parts, &mut out)?;
            out.into_inner()?.sync_all()?;
            Ok(bytes)
        });
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => {
                // On a full disk, a partial file only wastes space.
                let _ = fs::remove_file(&next);
                if error.kind() == io::ErrorKind::StorageFull {
                    // The newest checkpoint is valid, and the next one needs the space that the
                    // previous one takes up.
                    let _ = fs::remove_file(self.path.join(BEFORE));
                }
                return Err(error);
            }
        };
        self.advance()?;
        Ok(bytes)
    }

    /// Renames the newest checkpoint to the previous one, and the next to the newest. A newest one
    /// exists at all times.
    fn advance(&self) -> io::Result<()> {
        let newest = self.path.join(NEWEST);
        let before = self.path.join(BEFORE);
        match fs::remove_file(&before) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Without hard links a file has only one name, so there is no previous checkpoint.
        match fs::hard_link(&newest, &before) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::rename(self.path.join(NEXT), &newest)?;
        folder::sync(&self.path)
    }

    fn set_aside(&self, name: &str, error: &Unsound) {
        let path = self.path.join(name);
        let aside = self.path.join(format!("{name}.set-aside"));
        let (file, aside_file) = (path.display(), aside.display());
        match fs::rename(&path, &aside) {
            Ok(()) => {
                error!(%file, %error, aside = %aside_file, "checkpoint is unreadable; renamed it");
            }
            Err(failed) => error!(%file, %error, %failed, "checkpoint is unreadable"),
        }
    }
}

impl Restored {
    /// Returns the time of its newest snapshot.
    pub fn at(&self) -> Timestamp {
        saved::time_ms(self.first.at_ms)
    }

    /// Returns all parts, including the first.
    pub fn parts(&self) -> impl Iterator<Item = Checkpoint> {
        let opened = open(&self.file)
            .map_err(|error| self.log_error(&error))
            .into_iter();
        let parts = opened.flatten();
        parts.map_while(|part| part.map_err(|error| self.log_error(&error)).ok())
    }

    fn log_error(&self, error: &Unsound) {
        // The checkpoint was valid a moment ago.
        error!(file = %self.file.display(), %error, "reading the rest of the checkpoint failed");
    }
}

fn open(path: &Path) -> Result<Parts<BufReader<File>>, Unsound> {
    let file = regular_file::open_own(File::options().read(true), path)?;
    let length = file.metadata()?.len();
    Parts::new(BufReader::with_capacity(BUFFER, file), length)
}

/// Reads and verifies a whole checkpoint. Returns its first part.
fn verify(path: &Path) -> Result<Checkpoint, Unsound> {
    let mut first = None;
    for part in open(path)? {
        first.get_or_insert(part?);
    }
    first.ok_or(Unsound::Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(captured_ms: i64) -> Checkpoint {
        Checkpoint {
            captured_ms,
            ..Checkpoint::default()
        }
    }

    fn folder() -> (tempfile::TempDir, CheckpointFolder) {
        let above = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::open(above.path()).unwrap().unwrap();
        (above, folder)
    }

    fn newest(folder: &CheckpointFolder) -> Option<i64> {
        let restored = folder.newest().unwrap()?;
        let parts: Vec<_> = restored.parts().map(|part| part.captured_ms).collect();
        assert_eq!(parts, [restored.first.captured_ms]);
        parts.first().copied()
    }

    fn write(folder: &CheckpointFolder, captured_ms: i64) {
        folder.write(std::iter::once(part(captured_ms))).unwrap();
    }

    #[test]
    fn the_newest_is_read_and_the_one_before_is_kept() {
        let (_above, folder) = folder();
        assert_eq!(newest(&folder), None);
        for captured_ms in [1, 2, 3] {
            write(&folder, captured_ms);
            assert_eq!(newest(&folder), Some(captured_ms));
        }
        fs::remove_file(folder.path.join(NEWEST)).unwrap();
        assert_eq!(newest(&folder), Some(2));
    }

    #[test]
    fn what_is_damaged_or_foreign_is_set_aside_and_the_one_before_is_used() {
        for content in [
            "",
            "garbage of some length",
            "CELCHKPT\u{2}\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            let (_above, folder) = folder();
            write(&folder, 1);
            write(&folder, 2);
            fs::write(folder.path.join(NEWEST), content).unwrap();

            assert_eq!(newest(&folder), Some(1), "{content:?}");
            let aside = fs::read_to_string(folder.path.join("checkpoint.set-aside"));
            assert_eq!(aside.unwrap(), content);

            write(&folder, 3);
            assert_eq!(newest(&folder), Some(3), "{content:?}");
        }
    }

    #[test]
    fn nothing_that_is_there_stops_the_start() {
        let (_above, folder) = folder();
        fs::write(folder.path.join(NEWEST), "x").unwrap();
        fs::write(folder.path.join(BEFORE), "y").unwrap();
        assert_eq!(newest(&folder), None);
        assert!(folder.path.join("checkpoint.before.set-aside").exists());
    }

    #[test]
    fn there_is_a_newest_one_at_every_step() {
        let (_above, folder) = folder();
        write(&folder, 1);
        write(&folder, 2);
        let path = |name| folder.path.join(name);
        let steps: [&dyn Fn(); 3] = [
            &|| fs::remove_file(path(BEFORE)).unwrap(),
            &|| fs::hard_link(path(NEWEST), path(BEFORE)).unwrap(),
            // A crash interrupted writing the next checkpoint.
            &|| fs::write(path(NEXT), "CELCHKPT").unwrap(),
        ];
        for step in steps {
            step();
            assert_eq!(newest(&folder), Some(2));
        }
        write(&folder, 3);
        assert_eq!(newest(&folder), Some(3));
        fs::write(path(NEWEST), "damaged").unwrap();
        assert_eq!(newest(&folder), Some(2));
    }

    #[test]
    fn what_cannot_be_read_for_now_is_not_set_aside() {
        let (_above, folder) = folder();
        fs::create_dir(folder.path.join(NEWEST)).unwrap();
        assert!(folder.newest().is_err());
        assert!(folder.path.join(NEWEST).exists());
    }

    #[test]
    fn what_fails_leaves_the_newest_as_it_was() {
        let (_above, folder) = folder();
        write(&folder, 1);
        fs::create_dir(folder.path.join(NEXT)).unwrap();
        assert!(folder.write(std::iter::once(part(2))).is_err());
        assert_eq!(newest(&folder), Some(1));
    }
}
