//! The Debian package: built from the binary under test, inspected, installed into a separate root, and run there.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{build_package, read, run};
use crate::support::process::Process;
use crate::support::{free_port, wait_for};

struct Package {
    deb: PathBuf,
    folder: TempDir,
}

impl Package {
    fn build() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let deb = build_package(folder.path());
        Self { deb, folder }
    }

    /// Returns the output of `dpkg-deb` for it.
    fn ask(&self, arguments: &[&str]) -> String {
        let (question, fields) = arguments.split_first().expect("a question");
        run(Command::new("dpkg-deb")
            .arg(question)
            .arg(&self.deb)
            .args(fields))
    }

    /// Installs it into a folder instead of the system, or performs another action there.
    fn dpkg(&self, action: &[&str]) -> PathBuf {
        let root = self.folder.path().join("system");
        dpkg(&root, action);
        root
    }
}

/// Installs a package into a folder instead of the system, or performs another action there.
pub(super) fn dpkg(root: &Path, action: &[&str]) {
    let admin = root.join("var/lib/dpkg");
    for folder in ["updates", "info"] {
        std::fs::create_dir_all(admin.join(folder)).expect("a writable folder");
    }
    if !admin.join("status").exists() {
        std::fs::write(admin.join("status"), "").expect("a writable folder");
    }
    let mut dpkg = Command::new("dpkg");
    // Libraries and the shell for the package's scripts come from this machine.
    dpkg.args([
        "--force-depends",
        "--force-script-chrootless",
        "--force-not-root",
    ]);
    dpkg.arg(format!("--root={}", root.display()))
        .arg("--log=/dev/null");
    run(dpkg
        .args(action)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
}

/// Returns the modes and owners of all files in it, by path.
fn contents(package: &Package) -> BTreeMap<String, String> {
    let listing = package.ask(&["--contents"]);
    let entries = listing.lines().map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let path = fields[5].trim_start_matches('.').to_owned();
        (path, format!("{} {}", fields[0], fields[1]))
    });
    entries.collect()
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::metadata(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    metadata.permissions().mode() & 0o7777
}

#[test]
fn the_package_holds_what_a_system_needs() {
    let package = Package::build();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        package.ask(&["--field", "Version"]).trim(),
        format!("{version}-1")
    );
    let depends = package.ask(&["--field", "Depends"]);
    assert!(depends.contains("libc6 (>= "), "{depends}");
    assert_eq!(
        package.ask(&["--info", "conffiles"]),
        "/etc/celeriac/celeriac.yaml\n"
    );
    let contents = contents(&package);
    let expected = [
        ("/usr/bin/celeriac", "-rwxr-xr-x root/root"),
        (
            "/usr/lib/systemd/system/celeriac.service",
            "-rw-r--r-- root/root",
        ),
        ("/etc/celeriac/celeriac.yaml", "-rw-r--r-- root/root"),
        ("/etc/celeriac/credentials/", "drwx------ root/root"),
        ("/usr/share/man/man1/celeriac.1.gz", "-rw-r--r-- root/root"),
        (
            "/usr/share/man/man1/celeriac-run.1.gz",
            "-rw-r--r-- root/root",
        ),
        (
            "/usr/share/bash-completion/completions/celeriac",
            "-rw-r--r-- root/root",
        ),
        (
            "/usr/share/zsh/vendor-completions/_celeriac",
            "-rw-r--r-- root/root",
        ),
        (
            "/usr/share/fish/vendor_completions.d/celeriac.fish",
            "-rw-r--r-- root/root",
        ),
        ("/usr/share/doc/celeriac/copyright", "-rw-r--r-- root/root"),
        (
            "/usr/share/doc/celeriac/changelog.gz",
            "-rw-r--r-- root/root",
        ),
        (
            "/usr/share/doc/celeriac/example.yaml",
            "-rw-r--r-- root/root",
        ),
    ];
    for (path, entry) in expected {
        assert_eq!(
            contents.get(path).map(String::as_str),
            Some(entry),
            "{path}"
        );
    }
    let strangers = contents
        .values()
        .filter(|entry| !entry.ends_with("root/root"));
    assert_eq!(strangers.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_installs_into_a_root_and_runs_from_there() {
    let package = Package::build();
    let root = package.dpkg(&["--install", &package.deb.display().to_string()]);
    let status = package
        .dpkg(&["--verify", "celeriac"])
        .join("var/lib/dpkg/status");
    let status = std::fs::read_to_string(status).expect("dpkg's own list");
    assert!(status.contains("Status: install ok installed"), "{status}");
    assert_eq!(mode(&root.join("etc/celeriac/credentials")), 0o700);
    let wanted = root.join("etc/systemd/system/multi-user.target.wants/celeriac.service");
    assert!(wanted.is_symlink(), "the service is enabled");

    let program = root.join("usr/bin/celeriac");
    let config = root.join("etc/celeriac/celeriac.yaml");
    let fine = run(Command::new(&program).arg("check-config").arg(&config));
    assert!(fine.contains("valid. brokers: 1"), "{fine}");
    let (port, data) = (free_port(), TempDir::new().expect("a temporary folder"));
    let mut command = Command::new(&program);
    command.args(["run", "--config"]).arg(&config);
    command.env("CELERIAC__HTTP__LISTEN", format!("127.0.0.1:{port}"));
    command.env("CELERIAC__DATA_DIR", data.path());
    let mut daemon = Process::start("installed", &mut command, data.path());
    wait_for("the installed daemon", 20, async || {
        daemon.must_run();
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/-/healthy")).await;
        answer
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| error.to_string())
    })
    .await;
    assert!(daemon.terminate(30).success());

    // The administrator's files remain until the package is purged.
    std::fs::write(&config, read("config/minimal.yaml")).expect("a writable file");
    package.dpkg(&["--remove", "celeriac"]);
    assert!(!program.exists() && config.exists());
    package.dpkg(&["--purge", "celeriac"]);
    assert!(!root.join("etc/celeriac").exists());
}
