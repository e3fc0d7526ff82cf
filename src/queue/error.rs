//! Errors that the owner of a queue handles.

use std::io;
use std::path::PathBuf;

/// Why a queue cannot be opened. The operator must act; no file was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use the folder {}: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error(
        "the folder {} is in use by another process; stop that process, or give each its own `data_dir`",
        folder.display()
    )]
    Locked { folder: PathBuf },
    #[error(
        "{} has format version {version}, which this release does not support",
        path.display()
    )]
    Version { path: PathBuf, version: u16 },
    #[error("cannot read {} at byte {offset}: {source}", path.display())]
    Read {
        path: PathBuf,
        offset: u64,
        source: io::Error,
    },
}

/// Why records cannot be written to disk.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {} at byte {offset}: {source}", path.display())]
pub struct DiskError {
    /// The segment.
    pub path: PathBuf,
    /// Offset at which its next record would start.
    pub offset: u64,
    pub source: io::Error,
}
