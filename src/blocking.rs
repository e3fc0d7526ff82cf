//! Runs blocking or CPU-heavy work inside an async task.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` while other tasks continue on other threads.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        tokio::task::block_in_place(work)
    } else {
        // A single-threaded runtime has no other thread to move tasks to.
        work()
    }
}
