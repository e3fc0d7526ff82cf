//! Stores the daemon's state on disk, so that counters survive a restart or a crash.
//!
//! In: all state at one instant, as a [`Captured`](crate::pipeline::Captured). Out: the file
//! `checkpoint` in `data_dir`, and the same state at the next start. Publishing and acknowledging
//! wait for the checkpoint: a [`Writer`] publishes snapshots, and reports which messages of a
//! durable queue may be acknowledged, once the checkpoint that covers them is on disk. After a
//! crash, the daemon therefore knows everything that a receiver was sent and everything that a
//! broker has discarded.
//!
//! # Files
//!
//! ```text
//! lock                         locked with flock(2) by the daemon that uses the directory
//! checkpoint                   the newest
//! checkpoint.before            the one before, used if the newest is invalid
//! checkpoint.new               the next, until it is renamed
//! checkpoint.set-aside         one that was invalid, kept for inspection
//! checkpoint.before.set-aside  likewise
//! ```
//!
//! A checkpoint is written to `checkpoint.new` and synced; then `checkpoint.before` becomes another
//! name of `checkpoint`, `checkpoint.new` is renamed to `checkpoint`, and the directory is synced.
//! A complete `checkpoint` therefore exists at all times. All numbers are little-endian:
//!
//! ```text
//!    0  magic     8 bytes  "CELCHKPT"
//!    8  version   u16      1
//!   10  gap       2 bytes  zero
//!   12  parts, one after the other:
//!         length  u32      not 0
//!         part    a message `celeriac.checkpoint.v1.Checkpoint` of `proto/checkpoint.proto`
//!    …  end       u32      0
//!       checksum  u32      CRC-32C over everything before it
//! ```
//!
//! All parts together are the checkpoint: a first one with the daemon's own counters, one for the
//! series of each profile, one for the workers of each cluster, and one for every few thousand of
//! its tasks, with the strings they use. This way, neither writing nor reading holds a second copy
//! of all tasks in memory. Each part has the times and the version.
//!
//! A file that is damaged, not a checkpoint or of another version is set aside with a log message,
//! and never prevents startup. A file that cannot be read because of the disk or its permissions
//! does prevent startup, because it may be a valid checkpoint.

mod file;
mod folder;
mod writer;

pub use self::file::Unsound;
pub use self::folder::{CheckpointFolder, Restored};
pub use self::writer::{Job, Publisher, Writer};
