//! Returns memory to the system: what a burst allocated, and the parts of the program file that only
//! the start needed.
//!
//! Snapshots, pages and checkpoints are short-lived buffers of several megabytes. glibc maps such a
//! block separately and unmaps it when it is freed. By default, however, freeing the first one
//! raises the mapping threshold to that block's size, up to 32 MiB. Later buffers then come from
//! the per-thread heaps, where longer-lived small blocks prevent memory from being returned: with
//! 33,000 series of 200-byte names, the process peaked at 274 MiB instead of 152.

use std::convert::Infallible;
use std::fs;
use std::ops::Range;
use std::time::Duration;

use crate::blocking::blocking;

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
pub fn give_back() {
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

/// After this time, what only the start needed is dropped. With the default interval, the first
/// push is over, which looks up and connects to each receiver.
const STARTED: Duration = Duration::from_secs(20);

/// How often the same is done later, for what is rarely used.
const DROPPED_EVERY: Duration = Duration::from_secs(600);

/// Keeps only those parts of the program file in memory that are in use, for as long as this future
/// is polled.
///
/// The kernel maps 64 KiB around each page that is touched, so a start maps nearly all of the file,
/// and much of it is not needed again. Of 11 MiB of a daemon on Redis, 8 came back after it dropped
/// them.
pub async fn drop_unused() -> Infallible {
    let mut after = STARTED;
    loop {
        tokio::time::sleep(after).await;
        blocking(drop_program);
        after = DROPPED_EVERY;
    }
}

/// Unmaps the pages of the program file. Those still in use come back when they are next touched,
/// from the page cache.
fn drop_program() {
    let Ok(program) = fs::read_link("/proc/self/exe") else {
        return;
    };
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for range in clean(&smaps, &program.display().to_string()) {
        #[expect(unsafe_code, reason = "there is no safe way to say this to the kernel")]
        // SAFETY: the range is part of the program file, which stays mapped until the process ends.
        // No page of it differs from the file, nor can be written to. A page that is touched again
        // is therefore the same as before.
        unsafe {
            libc::madvise(range.start as *mut _, range.len(), libc::MADV_DONTNEED);
        }
    }
}

/// Finds the address ranges of a file that cannot be written to, and of which no page was changed,
/// by relocation or by a debugger. Source: `proc_pid_smaps(5)`.
fn clean(smaps: &str, file: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some((start, end)) = first.split_once('-') {
            let address = |text| usize::from_str_radix(text, 16).ok();
            let is_the_file = rest
                .split_once('/')
                .is_some_and(|(_, path)| file.strip_prefix('/') == Some(path));
            let cannot_be_written = rest.get(1..2) == Some("-");
            current = (is_the_file && cannot_be_written)
                .then(|| Some(address(start)?..address(end)?))
                .flatten();
        } else if first == "Anonymous:" && rest.trim() == "0 kB" {
            ranges.extend(current.take());
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_parts_of_the_program_are_dropped() {
        let smaps = "\
55d0c0000000-55d0c0327000 r--p 00000000 fe:00 1234                       /usr/bin/a b
Size:               3228 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
55d0c0327000-55d0c0bd4000 r-xp 00327000 fe:00 1234                       /usr/bin/a b
Anonymous:             4 kB
55d0c0bd4000-55d0c0c3c000 rw-p 00bd3000 fe:00 1234                       /usr/bin/a b
Anonymous:             0 kB
55d0c1000000-55d0c1021000 r--p 00000000 00:00 0                          [heap]
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 99                         /usr/lib/libc.so.6
Anonymous:             0 kB
7f0000001000-7f0000002000 r--p 00000000 00:00 0
Anonymous:             0 kB
";
        assert_eq!(
            clean(smaps, "/usr/bin/a b"),
            [0x55d0_c000_0000..0x55d0_c032_7000]
        );
        assert_eq!(clean(smaps, ""), []);
        assert_eq!(clean("", "/usr/bin/a b"), []);
    }
}
