//! Work that takes long or waits for the disk, in a task.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does such work, while other tasks go on elsewhere.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        tokio::task::block_in_place(work)
    } else {
        // There is no elsewhere.
        work()
    }
}
