//! Opens and reads regular files, and rejects anything else.
//!
//! Opening a pipe waits for a writer that may never come, a device has no end, and a file can be
//! larger than memory. Files named in the configuration are therefore opened without blocking, and
//! read up to a limit.
//!
//! Files in `data_dir` belong to the daemon. Only its user can read them, and symbolic links are
//! rejected because they could point to someone else's file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Mode of the daemon's own files, regardless of the umask.
const OWN_MODE: u32 = 0o600;

/// Reads a file. Symbolic links are followed, because mounted secrets are links.
pub fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = open(OpenOptions::new().read(true), OFlags::empty(), path)?;
    read_to_end(file, bytes_max)
}

/// Reads the rest of a file or pipe.
pub fn read_to_end(file: File, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let what = format!("larger than {} KiB", bytes_max >> 10);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// Opens one of the daemon's own files.
pub fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    open(options.mode(OWN_MODE), OFlags::NOFOLLOW, path).map_err(|error| {
        // The error code depends on the kind of file, so check the kind instead.
        let found = fs::symlink_metadata(path);
        let is_other = found.is_ok_and(|found| !found.is_file());
        if is_other { not_regular() } else { error }
    })
}

/// Creates one of the daemon's own files, empty, replacing any file of that name.
pub fn create_own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(OWN_MODE);
    // Truncating is not enough: the existing file may be linked elsewhere under another name.
    match options.create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        created => created,
    }
}

/// Opens a file without blocking, and rejects anything that is not a regular file.
fn open(options: &mut OpenOptions, flags: OFlags, path: &Path) -> io::Result<File> {
    let flags = flags | OFlags::NONBLOCK;
    let file = options
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(not_regular())
    }
}

fn not_regular() -> io::Error {
    io::Error::other("not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "12345").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();

        assert_eq!(read(&link, 5).unwrap(), b"12345");
        let error = read(&link, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_pipe_a_device_and_a_folder_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());

        for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
            let error = read(path, 1 << 10).unwrap_err().to_string();
            assert_eq!(error, "not a regular file", "{}", path.display());
        }
    }
    #[test]
    fn a_file_of_our_own_is_for_us_alone_and_replaces_what_is_there() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::write(path("foreign"), "foreign").unwrap();
        symlink(path("foreign"), path("link")).unwrap();
        fs::hard_link(path("foreign"), path("name")).unwrap();
        for name in ["new", "link", "name"] {
            create_own(&path(name)).unwrap();
            let found = fs::symlink_metadata(path(name)).unwrap();
            assert!(found.is_file() && found.len() == 0, "{name}");
            assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::read_to_string(path("foreign")).unwrap(), "foreign");

        fs::create_dir(path("folder")).unwrap();
        assert!(create_own(&path("folder")).is_err());
    }

    #[test]
    fn only_a_regular_file_is_opened_as_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status();
        assert!(made.unwrap().success());

        for name in ["link", "socket", "pipe"] {
            let mut either = OpenOptions::new();
            for options in [
                either.read(true),
                &mut OpenOptions::new().write(true).clone(),
            ] {
                let error = open_own(options, &path(name)).unwrap_err().to_string();
                assert_eq!(error, "not a regular file", "{name}");
            }
        }
        assert!(open_own(OpenOptions::new().read(true), &path("file")).is_ok());
        let missing = open_own(OpenOptions::new().read(true), &path("missing"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
