//! The files of a release page, packed from the binary under test: equal in two folders, and each installed or unpacked and
//! run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{debian, file, run};
use crate::support::{free_port, made_by_setup, target};

/// Packs with the scripts of a repository, in a shell with its own settings.
fn pack(repository: &Path, settings: &str, folder: &Path) {
    let script = repository.join("deploy/dist/pack.sh");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{settings}; exec \"$@\""), "sh"]);
    shell
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_celeriac"))
        .arg(folder);
    shell
        .env("CARGO_TARGET_DIR", target())
        .env("SOURCE_DATE_EPOCH", "1767225600");
    // What takes longest is to compress them well.
    shell
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
        .env("RPM_PAYLOAD", "w.ufdio");
    run(&mut shell);
}

/// A copy of the repository, as far as it is needed to pack.
fn copy(folder: &Path) {
    fs::create_dir(folder).expect("a writable folder");
    for entry in fs::read_dir(file("")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("it has one")
            .to_string_lossy()
            .into_owned();
        if !name.starts_with('.') && name != "target" {
            run(Command::new("cp").arg("-r").arg(&path).arg(folder));
        }
    }
}

/// The one file whose name ends like this.
fn find(folder: &Path, end: &str) -> PathBuf {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found = paths.filter(|path| path.to_string_lossy().ends_with(end));
    let path = found
        .next()
        .unwrap_or_else(|| panic!("no {end} in {folder:?}"));
    assert_eq!(found.next(), None, "another {end}");
    path
}

fn runs(program: &Path) {
    let said = run(Command::new(program).arg("version"));
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}

/// All of it in one, since it takes long to pack.
#[test]
fn what_a_release_page_holds_is_reproducible_and_runs() {
    let [page, other, copied] = [(); 3].map(|()| TempDir::new().expect("a temporary folder"));
    pack(&file(""), "umask 022", page.path());
    // cargo calls a package in a folder of its own name differently.
    let copied = copied.path().join("celeriac");
    copy(&copied);
    pack(&copied, "umask 077; export TZ=Asia/Tokyo", other.path());
    let sums = |folder: &TempDir| fs::read_to_string(folder.path().join("SHA256SUMS"));
    let sums = [&page, &other].map(|folder| sums(folder).expect("checksums"));
    assert_eq!(sums[0], sums[1]);
    // The archive, the two packages, the wheel, the chart, the symbols and the list of crates.
    assert_eq!(sums[0].lines().count(), 7, "{}", sums[0]);
    run(Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(page.path()));

    let page = page.path();
    the_archive_holds_a_stripped_program(page);
    the_packages_install(page);
    the_wheel_puts_it_on_the_path(page);
    the_list_of_crates_is_that_of_the_program(page);
    let mut lint = Command::new(made_by_setup("kubernetes-tools/helm"));
    let chart = format!("celeriac-{}.tgz", env!("CARGO_PKG_VERSION"));
    run(lint.args(["lint", "--strict"]).arg(page.join(chart)));
}

fn the_archive_holds_a_stripped_program(page: &Path) {
    let folder = TempDir::new().expect("a temporary folder");
    let archive = find(page, ".tar.gz");
    let mut unpack = Command::new("tar");
    run(unpack
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path()));
    let name = archive.file_name().expect("it has one").to_string_lossy();
    let name = name.trim_end_matches(".tar.gz");
    let program = folder.path().join(name).join("celeriac");
    runs(&program);
    let sections = run(Command::new("readelf").arg("-SW").arg(&program));
    assert!(!sections.contains(".symtab"), "{sections}");
    // Debuggers look for the symbols under the name in the program.
    let symbols = find(page, ".debug");
    let mut link = Command::new("readelf");
    let link = run(link.args(["-p", ".gnu_debuglink"]).arg(&program));
    assert!(link.contains(&format!("{name}.debug")), "{link}");
    let sections = run(Command::new("readelf").arg("-SW").arg(symbols));
    assert!(sections.contains(".symtab"), "{sections}");
}

fn the_packages_install(page: &Path) {
    let folder = TempDir::new().expect("a temporary folder");
    let deb = find(page, ".deb");
    let root = folder.path().join("debian");
    debian::dpkg(&root, &["--install", &deb.display().to_string()]);
    runs(&root.join("usr/bin/celeriac"));

    let rpm = find(page, ".rpm");
    let mut query = Command::new("rpm");
    query.args(["-qp", "--qf", "[%{FILEFLAGS:fflags} %{FILENAMES}\\n]"]);
    let files = run(query.arg(&rpm));
    assert!(
        files.contains("cn /etc/celeriac/celeriac.yaml\n"),
        "{files}"
    );
    let root = folder.path().join("rpm");
    fs::create_dir(&root).expect("a writable folder");
    let unpack = "rpm2archive - < \"$1\" | tar -xz -C \"$2\"";
    run(Command::new("sh")
        .args(["-c", unpack, "sh"])
        .args([&rpm, &root]));
    runs(&root.join("usr/bin/celeriac"));
    let mut check = Command::new(root.join("usr/bin/celeriac"));
    run(check
        .arg("check-config")
        .arg(root.join("etc/celeriac/celeriac.yaml")));
}

fn the_wheel_puts_it_on_the_path(page: &Path) {
    let folder = TempDir::new().expect("a temporary folder");
    let venv = folder.path().join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let mut install = Command::new(venv.join("bin/pip"));
    install.args(["install", "--no-index", "--find-links"]);
    run(install.arg(page).arg("celeriac"));
    let mut demo = Command::new("celeriac");
    demo.env("PATH", venv.join("bin"));
    let listen = format!("127.0.0.1:{}", free_port());
    let shown = run(demo.args(["demo", "--listen", &listen, "--for", "3s"]));
    assert!(shown.contains("workers 4 online"), "{shown}");
}

fn the_list_of_crates_is_that_of_the_program(page: &Path) {
    let text = fs::read_to_string(find(page, ".cdx.json")).expect("a list of crates");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list["bomFormat"], "CycloneDX");
    let crates = list["components"].as_array().expect("crates");
    let is_in = |name: &str| crates.iter().any(|one| one["name"] == name);
    assert!(is_in("tokio") && is_in("celeriac-core"), "{text}");
    assert!(!is_in("proptest"), "a test's crate is no part of it");
}
