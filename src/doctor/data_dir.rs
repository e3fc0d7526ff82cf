//! Checks the `data_dir`: whether it is writable, and how much space is free.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::config::{BrokerConfig, Config};

const CHECK: &str = "writable";

/// Size of the file that is written as a test and removed again.
const TRIAL_BYTES: usize = 64 << 10;

/// Space for two checkpoints of a large cluster.
const CHECKPOINTS_BYTES: u64 = 128 << 20;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let Some(folder) = &config.data_dir else {
        let advice = "set `data_dir` to a folder that outlives the process: without one, counters \
                      restart at zero and a crash loses samples that are pending for a receiver";
        return vec![Finding::open(CHECK, "not set", advice)];
    };
    match try_out(folder) {
        Ok(Some(free)) => vec![Finding::fine(CHECK, "yes"), room(config, free)],
        Ok(None) => {
            let parent = existing(folder);
            vec![Finding::fine(
                CHECK,
                format!(
                    "does not exist yet; {} is writable, so the daemon will create it",
                    parent.display()
                ),
            )]
        }
        Err((path, error)) => vec![Finding::wrong(
            CHECK,
            format!("{}: {error}", path.display()),
            advice(&path, &error),
        )],
    }
}

fn advice(path: &Path, error: &io::Error) -> String {
    let (user, group) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let is = |kind: io::ErrorKind| error.kind() == kind;
    if is(io::ErrorKind::PermissionDenied) {
        format!(
            "celeriac runs as user {user} and group {group} here: `chown -R {user}:{group} {}`, or in Kubernetes \
             `securityContext.fsGroup`. Run the doctor as the same user as the daemon",
            path.display()
        )
    } else if is(io::ErrorKind::ReadOnlyFilesystem) {
        "mount a writable volume there: the file system is read-only".to_owned()
    } else if is(io::ErrorKind::StorageFull) || is(io::ErrorKind::QuotaExceeded) {
        "free some space: the disk or quota is full".to_owned()
    } else {
        "`data_dir` must be a folder on a local disk".to_owned()
    }
}

/// The folder itself, or its closest ancestor that exists.
fn existing(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find(|path| path.exists());
    match there {
        Some(path) if !path.as_os_str().is_empty() => path.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Writes and removes a test file. Returns the free bytes, or `None` if the folder does not exist
/// yet.
fn try_out(folder: &Path) -> Result<Option<u64>, (PathBuf, io::Error)> {
    let there = existing(folder);
    let failed = |error: io::Error| (there.clone(), error);
    // `create_new`: never overwrite an existing file of that name.
    let path = there.join(format!("doctor.{}.trial", std::process::id()));
    let mut file = fs::File::create_new(&path).map_err(failed)?;
    let written = file
        .write_all(&[0; TRIAL_BYTES])
        .and_then(|()| file.sync_all());
    // An error here changes nothing about the finding.
    let _ = fs::remove_file(&path);
    written.map_err(failed)?;
    if there == folder {
        // A daemon that ran as another user may have left files that this user cannot open.
        for path in files(folder).map_err(failed)? {
            let opened = fs::File::options().write(true).open(&path);
            // A running daemon may have removed the file meanwhile.
            if let Err(error) = opened
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err((path, error));
            }
        }
    }
    let disk = rustix::fs::statvfs(&there).map_err(|error| failed(error.into()))?;
    Ok((there == folder).then(|| disk.f_bavail.saturating_mul(disk.f_frsize)))
}

/// The files in a folder and in its immediate subfolders.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_file() {
                files.push(entry.path());
            } else if kind.is_dir() && at == folder {
                folders.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Checks that there is space for full queues and two checkpoints.
fn room(config: &Config, free: u64) -> Finding {
    const CHECK: &str = "free space";
    let queues = config.remote_write.iter().map(|sink| sink.queue.bytes_max);
    let needed = queues.sum::<u64>() + CHECKPOINTS_BYTES;
    let mebibytes = |bytes: u64| bytes >> 20;
    let found = format!(
        "{} MiB free, {} MiB may be needed",
        mebibytes(free),
        mebibytes(needed)
    );
    if free >= needed {
        return Finding::fine(CHECK, found);
    }
    let waits = config
        .brokers
        .iter()
        .any(BrokerConfig::waits_for_checkpoints);
    let advice = if waits {
        "while a receiver is unavailable, its queue may fill the disk; then no checkpoint can be \
         written, and events stay in the broker: provide more space, or lower \
         `queue_config.max_bytes`"
    } else {
        "while a receiver is unavailable, its queue may fill the disk: provide more space, or \
         lower `queue_config.max_bytes`"
    };
    Finding::open(CHECK, found, advice)
}
