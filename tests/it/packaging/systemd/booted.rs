//! Runs systemd itself as the first process in its own namespaces, with the files of the Debian package over those of
//! this machine and no units except ours. It shares the machine's kernel and network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Pid;
use tempfile::TempDir;

use super::super::{build_package, run};
use crate::support::process::Process;
use crate::support::wait_for;

/// Units that others need by default, replaced by empty ones.
const EMPTY: [&str; 4] = ["nothing", "sysinit", "basic", "shutdown"];

/// Mounts the file systems for systemd, and executes it. Those of the machine's kernel are read-only.
const SCRIPT: &str = r#"set -e; folder=$1
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
for name in etc usr; do
    mount -t overlay overlay -o "lowerdir=$folder/root/$name:/$name" "/$name"
done
mount -t tmpfs tmpfs /var/lib
mount --bind "$folder/units" /mnt
mount -t tmpfs tmpfs /run
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# Credentials are mounted for a service and shown to all.
mount --make-rshared /
export SYSTEMD_UNIT_PATH=/mnt container=test
exec /lib/systemd/systemd --system --unit=nothing.target --log-target=console
"#;

pub(super) struct Booted {
    manager: Process,
    /// The pid of systemd as seen by this machine.
    pid: u32,
    cgroup: PathBuf,
    /// Its `root/etc/celeriac` is the service's /etc/celeriac.
    pub(super) folder: TempDir,
}

impl Booted {
    /// Boots it with additional lines in the unit, after calling `configure` with the service's folder; `None` if
    /// this machine does not allow it.
    pub(super) async fn start(more: &str, configure: impl FnOnce(&Path)) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let cgroup = cgroup()?;
        install(folder.path(), more);
        configure(&folder.path().join("root/etc/celeriac"));
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", cgroup.display());
        let mut command = Command::new("sh");
        command.args([
            "-c", &script, "sh", "unshare", "--mount", "--pid", "--cgroup",
        ]);
        command.args([
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            SCRIPT,
            "sh",
        ]);
        command.arg(folder.path());
        let manager = Process::start("systemd", &mut command, folder.path());
        let mut booted = Self {
            manager,
            pid: 0,
            cgroup,
            folder,
        };
        let mut is_up = false;
        wait_for("systemd", 20, async || {
            if booted.manager.has_ended() {
                return Ok(());
            }
            let Some(pid) = booted.child() else {
                return Err("no process yet".to_owned());
            };
            booted.pid = pid;
            let (_, said) = booted.systemctl(&["is-active", "nothing.target"]);
            is_up = said.trim() == "active";
            if is_up { Ok(()) } else { Err(said) }
        })
        .await;
        if !is_up {
            println!("systemd does not start here: {}", booted.manager.output());
        }
        is_up.then_some(booted)
    }

    fn child(&self) -> Option<u32> {
        let unshare = self.manager.pid();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
        children.ok()?.split_whitespace().next()?.parse().ok()
    }

    /// Runs systemctl against it, and returns whether it succeeded and its output.
    pub(super) fn systemctl(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-m", "-p", "-C", "systemctl"]);
        let output = command.args(arguments).output().expect("nsenter starts");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.success(), text)
    }

    /// Returns a property of the service.
    pub(super) fn property(&self, name: &str) -> String {
        let (_, said) = self.systemctl(&["show", "celeriac.service", "--value", "-p", name]);
        said.trim().to_owned()
    }

    /// Returns the pid of the daemon as seen by this machine.
    pub(super) fn main_process(&self) -> Pid {
        let listed = fs::read_to_string(
            self.cgroup
                .join("system.slice/celeriac.service/cgroup.procs"),
        );
        let listed = listed.expect("a control group");
        let pid = listed.trim().parse().ok().and_then(Pid::from_raw);
        pid.expect("one process")
    }

    /// Waits until a property has a value.
    pub(super) async fn until(&self, name: &str, value: &str) {
        wait_for(name, 30, async || {
            let found = self.property(name);
            if found == value {
                Ok(())
            } else {
                Err(format!("{found}\n{}", self.manager.output()))
            }
        })
        .await;
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // This ends the first process, and with it all others in its namespace.
        self.manager.kill();
        let folders = ["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"];
        for _ in 0..50 {
            let mut remove = Command::new("find");
            let _ = remove.arg(&self.cgroup).args(folders).output();
            if !self.cgroup.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// Creates a separate control group, if this process may.
fn cgroup() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut mounts = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = mounts.find(|fields| fields[2] == "cgroup2")?;
    let cgroup = Path::new(mount[1]).join(format!("celeriac-test-{}", std::process::id()));
    fs::create_dir(&cgroup).ok()?;
    Some(cgroup)
}

/// Installs the package's files, and the unit along with empty ones.
fn install(folder: &Path, more: &str) {
    let package = build_package(folder);
    let root = folder.join("root");
    run(Command::new("dpkg-deb").arg("-x").args([&package, &root]));
    let units = folder.join("units");
    let settings = units.join("celeriac.service.d");
    fs::create_dir_all(&settings).expect("a writable folder");
    fs::write(settings.join("test.conf"), more).expect("a writable folder");
    for name in EMPTY {
        let unit = "[Unit]\nDescription=nothing\nDefaultDependencies=no\n";
        fs::write(units.join(format!("{name}.target")), unit).expect("a writable folder");
    }
    let unit = root.join("usr/lib/systemd/system/celeriac.service");
    fs::copy(unit, units.join("celeriac.service")).expect("the package has it");
}
