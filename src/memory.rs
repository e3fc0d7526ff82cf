//! Returns unused memory to the system every minute: free heap, and pages of the program file that
//! only startup needed.
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

/// Fixes the thresholds of glibc's allocator. Call it first in `main`, before any thread is
/// started. Does nothing with another C library.
pub fn set_thresholds() {
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

/// Delay before the first release. By then, the first pushes have resolved and connected to every
/// receiver.
const STARTED: Duration = Duration::from_secs(20);

/// Interval of later releases.
const RELEASED_EVERY: Duration = Duration::from_secs(60);

/// Releases unused memory from time to time, for as long as this future is polled.
pub async fn release() -> Infallible {
    let mut after = STARTED;
    loop {
        tokio::time::sleep(after).await;
        blocking(|| {
            release_freed();
            release_program();
        });
        after = RELEASED_EVERY;
    }
}

/// Returns all free memory to the system. The thresholds do not do that for small blocks that were
/// allocated between others, such as the messages of a burst.
fn release_freed() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no safe way to say this to glibc")]
    // SAFETY: malloc_trim takes its argument by value, and locks what it reads.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Releases the pages of the program file.
///
/// Pages in use are mapped again when they are next touched. Each page fault maps 64 KiB, so
/// startup maps nearly the whole file. With Redis, 8 of 11 MiB came back after a release.
fn release_program() {
    let Ok(program) = fs::read_link("/proc/self/exe") else {
        return;
    };
    let Ok(smaps) = fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for range in unchanged(&smaps, &program.display().to_string()) {
        #[expect(unsafe_code, reason = "there is no safe way to say this to the kernel")]
        // SAFETY: the range is part of the program file and mapped until the process ends. It is
        // never writable and contains no relocations, so every page equals the file and is read
        // from there when it is next touched.
        unsafe {
            libc::madvise(range.start as *mut _, range.len(), libc::MADV_DONTNEED);
        }
    }
}

/// Finds the address ranges of a program file up to its code, unless a debugger changed them.
///
/// What the linker relocates, and only then protects, comes after the code. The count of anonymous
/// pages alone would not tell: emulators report none. Source: `proc_pid_smaps(5)`.
fn unchanged(smaps: &str, file: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut current = None;
    let mut is_behind_code = false;
    for line in smaps.lines() {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some((start, end)) = first.split_once('-') {
            let path = rest.find('/').map(|at| &rest[at..]);
            let is_candidate = path == Some(file) && !is_behind_code;
            let address = |text| usize::from_str_radix(text, 16).ok();
            let range = is_candidate.then(|| Some(address(start)?..address(end)?));
            current = range.flatten();
            is_behind_code |= is_candidate && rest.starts_with("r-x");
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
    fn a_program_is_released_up_to_its_code_unless_it_was_changed() {
        let smaps = |changed: &str| {
            format!(
                "\
55d0c0000000-55d0c0327000 r--p 00000000 fe:00 1234                       /usr/bin/a b
Size:               3228 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
55d0c0327000-55d0c0bd4000 r-xp 00327000 fe:00 1234                       /usr/bin/a b
Anonymous:             {changed} kB
55d0c0bd4000-55d0c0c3c000 r--p 00bd3000 fe:00 1234                       /usr/bin/a b
Anonymous:             0 kB
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 99                         /usr/lib/libc.so.6
Anonymous:             0 kB
7f0000001000-7f0000002000 r--p 00000000 00:00 0
Anonymous:             0 kB
"
            )
        };
        let (constants, code) = (
            0x55d0_c000_0000..0x55d0_c032_7000,
            0x55d0_c032_7000..0x55d0_c0bd_4000,
        );
        assert_eq!(
            unchanged(&smaps("0"), "/usr/bin/a b"),
            [constants.clone(), code]
        );
        assert_eq!(unchanged(&smaps("4"), "/usr/bin/a b"), [constants]);
        assert!(unchanged(&smaps("0"), "").is_empty());
    }
}
