//! Manages the limit on open files (`RLIMIT_NOFILE`): raises it at startup, and divides it between
//! the listener and everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the soft limit to the hard limit. Many systems still default to a soft limit of 1,024,
/// for programs that use `select`.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let (from, to) = (limit.current, limit.maximum);
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(from, to, "raised the limit on open files"),
        Err(error) => warn!(from, to, %error, "raising the limit on open files failed"),
    }
}

/// Returns the maximum number of listener connections: `wanted`, but at most half of the open-file
/// limit. The other half is for brokers, receivers, the queue and the checkpoint.
pub fn share_of_listener(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let half = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit / 2).unwrap_or(usize::MAX)
    });
    wanted.min(half.max(1))
}
