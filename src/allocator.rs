//! Makes the allocator return memory to the system after a burst.
//!
//! Snapshots, pages and checkpoints are short-lived buffers of several megabytes. glibc maps such a
//! block separately and unmaps it when it is freed. By default, however, freeing the first one
//! raises the mapping threshold to that block's size, up to 32 MiB. Later buffers then come from
//! the per-thread heaps, where longer-lived small blocks prevent memory from being returned: with
//! 33,000 series of 200-byte names, the process peaked at 274 MiB instead of 152.

/// Size in bytes from which a block is mapped separately. Setting it stops glibc from raising it.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: libc::c_int = 256 << 10;

/// Maximum free memory at the top of a heap, in bytes.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: libc::c_int = 1 << 20;

/// Returns all free memory to the system. The thresholds do not do that for small blocks that were
/// allocated between others, such as the messages of a burst.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no safe way to say this to glibc")]
    // SAFETY: malloc_trim takes its argument by value, and locks what it reads.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Fixes the thresholds of glibc's allocator. Call it first in `main`, before any thread is
/// started. Does nothing with another C library.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD),
        (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD),
    ] {
        #[expect(unsafe_code, reason = "there is no safe way to say this to glibc")]
        // SAFETY: mallopt takes its arguments by value and may be called at any time. If it rejects
        // a value, the setting is unchanged.
        unsafe {
            libc::mallopt(option, value);
        }
    }
}
