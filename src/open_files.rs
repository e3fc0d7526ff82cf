//! The limit on open files (`RLIMIT_NOFILE`): raised at startup, and divided between the listener and the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the soft limit to the hard limit. Many systems still start processes with 1,024, for programs that use
/// `select`.
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

/// How many connections the listener may hold, where `wanted` is the most it has a use for: at most half of the files
/// that may be open. The other half is left to brokers, receivers, the queue and the checkpoint.
pub fn share_of_listener(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let half = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit / 2).unwrap_or(usize::MAX)
    });
    wanted.min(half.max(1))
}
