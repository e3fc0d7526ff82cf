//! Everything for installation: a container, a compose file, a systemd unit, packages, man pages and
//! completions; and what builds these for a release.

mod compose;
mod container;
mod debian;
mod dist;
mod generated;
mod notify;
mod schemas;
mod systemd;
mod workflows;

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_page_on_installing_names_files_that_are_there() {
    let page = read("docs/install.md");
    let words = page.split(|letter: char| letter.is_whitespace() || "`()".contains(letter));
    let words = words.map(|word| {
        word.trim_start_matches("./")
            .trim_end_matches([',', '.', ':', ';'])
    });
    let ours = words.filter(|word| word.starts_with("deploy/") || word.starts_with("config/"));
    let paths: Vec<_> = ours.map(|path| path.trim_end_matches("/*.1")).collect();
    assert!(paths.len() > 8, "{paths:?}");
    for path in paths {
        assert!(file(path).exists(), "{path}");
    }
}

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Debian package of the binary under test.
fn build_package(folder: &Path) -> PathBuf {
    let mut build = Command::new(file("deploy/debian/build.sh"));
    build.arg(env!("CARGO_BIN_EXE_celeriac")).arg(folder);
    // Good compression would take the most time.
    let said = run(build.env("DPKG_DEB_COMPRESSOR_TYPE", "none"));
    PathBuf::from(said.trim())
}

/// Runs a command, which must succeed, and returns its output.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run `make setup`"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}
