//! A small disk that can be filled: a tmpfs in its own namespace, which outlives the processes that use it.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::wait_for;

pub struct SmallDisk {
    /// The mount point, for processes in the namespace.
    pub folder: TempDir,
    /// The process that keeps the namespace alive.
    holder: Process,
}

impl SmallDisk {
    /// Creates a disk of `mebibytes` MiB; `None` if this machine does not allow namespaces.
    pub async fn new(mebibytes: u32) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).expect("a writable folder");
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m tmpfs \"$0\" && mkdir \"$0/data\" && exec sleep infinity"
        );
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
        command.arg(folder.path());
        let mut holder = Process::start("holder", &mut command, &logs);
        let mut disk = None;
        wait_for("a small disk", 10, async || {
            let data = format!(
                "/proc/{}/root{}/data",
                holder.pid(),
                folder.path().display()
            );
            if holder.has_ended() {
                return Ok(());
            }
            disk = PathBuf::from(&data).exists().then_some(());
            disk.ok_or(data)
        })
        .await;
        disk.map(|()| Self { folder, holder })
    }

    /// Returns a folder on the disk.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns the command that runs a program in the namespace.
    pub fn through(&self) -> Vec<String> {
        let pid = self.holder.pid().to_string();
        let words = ["nsenter", "-t", &pid, "-U", "-m", "--preserve-credentials"];
        words.map(str::to_owned).to_vec()
    }

    fn filler(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.pid());
        PathBuf::from(format!("{root}{}/filler", self.folder.path().display()))
    }

    /// Fills the disk.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a name space");
        let block = [0; 4096];
        while file.write_all(&block).is_ok() {}
    }

    /// Frees the filled space.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("what filled it");
    }
}
