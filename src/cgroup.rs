//! Reads the memory limit of the process's control group (the limit of a container, pod or unit),
//! and derives the default memory budget from it.

use std::fs;
use std::path::{Path, PathBuf};

/// Default budget without a limit: twice the memory of 100,000 samples and a million tasks in
/// flight.
const DEFAULT_BYTES: u64 = 1 << 30;

/// Returns the default memory budget: four fifths of the limit. Runtimes with a memory target of
/// their own use nine tenths, but our accounting is only an estimate, and the allocator retains
/// some freed memory.
pub fn memory_budget() -> u64 {
    memory_limit().map_or(DEFAULT_BYTES, |limit| limit / 5 * 4)
}

/// Returns the limit of cgroup v2 or v1 in bytes, or `None` if there is none.
pub fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_under(&groups, Path::new("/sys/fs/cgroup"))
}

/// Returns the lowest limit between the group and the root, because each limit applies to all
/// groups below it.
///
/// `groups` is the content of /proc/self/cgroup. In a container, it may hold the host's path while
/// `root` contains only the container's own group, so missing directories are skipped.
fn limit_under(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (_, group) = line.split_once(':')?;
        let (controllers, path) = group.split_once(':')?;
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            v1 if v1.split(',').any(|controller| controller == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        lowest(&root, path.trim_start_matches('/'), file)
    });
    limits.min()
}

fn lowest(root: &Path, path: &str, file: &str) -> Option<u64> {
    let group: PathBuf = root.join(path);
    let above = group
        .ancestors()
        .take_while(|above| above.starts_with(root));
    let limits = above.filter_map(|folder| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        // Without a limit, v2 writes `max` and v1 the highest number of pages.
        text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::TempDir::new().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        limit_under(groups, root.path())
    }

    #[test]
    fn the_lowest_limit_above_the_process_holds() {
        let v2 = "0::/kubepods/pod1/app\n";
        let v1 = "12:cpu,cpuacct:/\n4:memory:/docker/1f\n0::/\n";
        for (name, groups, files, expected) in [
            (
                "v2, a group",
                v2,
                &[("kubepods/pod1/app/memory.max", "1000\n")][..],
                Some(1000),
            ),
            (
                "v2, a lower one above",
                v2,
                &[
                    ("kubepods/pod1/app/memory.max", "max\n"),
                    ("kubepods/memory.max", "900\n"),
                    ("memory.max", "950\n"),
                ],
                Some(900),
            ),
            (
                "v2, the root that a container sees",
                "0::/\n",
                &[("memory.max", "536870912\n")],
                Some(536_870_912),
            ),
            (
                "v2, no limit",
                v2,
                &[("kubepods/memory.max", "max\n")],
                None,
            ),
            (
                "v1, the host's path",
                v1,
                &[("memory/memory.limit_in_bytes", "800\n")],
                Some(800),
            ),
            (
                "v1, no limit",
                v1,
                &[(
                    "memory/docker/1f/memory.limit_in_bytes",
                    "9223372036854771712\n",
                )],
                None,
            ),
            ("neither", "", &[], None),
        ] {
            assert_eq!(limit(groups, files), expected, "{name}");
        }
    }
}
