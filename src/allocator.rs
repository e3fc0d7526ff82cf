//! Makes the allocator give memory back after a burst.
//!
//! Snapshots, pages and checkpoints are buffers of megabytes that live for a moment. glibc maps such a block by itself and
//! unmaps it when it is freed, but by default the first one that is freed raises the size from which it does so to that
//! block's, up to 32 MiB. From then on buffers come from the heaps of the threads, where small blocks that live longer
//! keep them from being given back: with 33,000 series of 200-byte names the process peaked at 274 MiB instead of 152.

/// The size from which a block is mapped by itself, in bytes. Setting it stops glibc from raising it.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: libc::c_int = 256 << 10;

/// How much free memory may stay at the top of a heap, in bytes.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: libc::c_int = 1 << 20;

/// Call it first in `main`, before there are threads. With another C library it does nothing.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD),
        (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD),
    ] {
        #[expect(unsafe_code, reason = "there is no safe way to say this to glibc")]
        // SAFETY: mallopt takes its arguments by value, and is allowed at any time. What it refuses stays as it was.
        unsafe {
            libc::mallopt(option, value);
        }
    }
}
