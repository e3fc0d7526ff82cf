//! Reads the standard `process_*` metrics of Prometheus clients from `/proc`.

use std::fs;

/// Statistics of this process, as reported by the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    pub cpu_seconds: f64,
    pub resident_bytes: f64,
    pub virtual_bytes: f64,
    pub open_fds: f64,
}

/// Clock ticks per second in `/proc/self/stat`: 100 on every Linux supported by Rust.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory page size of x86-64 and of most arm64 systems.
const PAGE_BYTES: f64 = 4096.0;

/// Reads the statistics; `None` without `/proc`.
pub fn read() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The command name in parentheses may contain anything. The first field after it is the third.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let open_fds = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(Process {
        cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * PAGE_BYTES,
        #[expect(clippy::cast_precision_loss, reason = "a count of files")]
        open_fds: open_fds as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_files() {
        let process = read().expect("a Linux system");

        assert!(process.resident_bytes > 1e5 && process.virtual_bytes >= process.resident_bytes);
        assert!(process.open_fds >= 3.0);
    }
}
