//! CPU time of other processes, from /proc.

use std::collections::BTreeMap;

use crate::support::process::resident;

/// The CPU time that a process had used at some point.
pub struct Cpu {
    pid: u32,
    /// Nanoseconds by thread.
    threads: BTreeMap<String, u64>,
    /// Hundredths of a second, including threads that have ended.
    ticks: f64,
}

impl Cpu {
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            threads: threads(pid),
            ticks: ticks(pid),
        }
    }

    /// Returns the seconds of CPU time that a process has used so far.
    pub fn since_start(pid: u32) -> f64 {
        ticks(pid) / 100.0
    }

    /// Returns the seconds of CPU time used since then.
    pub fn seconds(&self) -> f64 {
        let now = Self::of(self.pid);
        // Precise, but only as long as all threads are still there.
        if self.threads.keys().all(|id| now.threads.contains_key(id)) {
            let before: u64 = self.threads.values().sum();
            let after: u64 = now.threads.values().sum();
            (after - before) as f64 / 1e9
        } else {
            (now.ticks - self.ticks) / 100.0
        }
    }
}

fn threads(pid: u32) -> BTreeMap<String, u64> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let of = |entry: std::fs::DirEntry| {
        // The thread may have ended since the folder was listed.
        let text = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let nanoseconds = text.split(' ').next()?.parse().ok()?;
        Some((entry.file_name().into_string().ok()?, nanoseconds))
    };
    entries.flatten().filter_map(of).collect()
}

fn ticks(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("a number");
    ticks(14) + ticks(15)
}

/// Returns the resident memory of a process in MiB.
pub fn mebibytes(pid: u32) -> f64 {
    resident(pid) as f64 / f64::from(1 << 20)
}
