//! Embeds the commit and its date in optimized builds. Debug builds don't have them, because each
//! commit would otherwise rebuild everything.
//!
//! `CELERIAC_REVISION` and `CELERIAC_DATE` take precedence over git, for builds from an archive or
//! in a container.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=CELERIAC_REVISION");
    println!("cargo::rerun-if-env-changed=CELERIAC_DATE");
    println!("cargo::rerun-if-changed=src/build.rs");
    if env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let revision = given("CELERIAC_REVISION", &["rev-parse", "--short=12", "HEAD"]);
    let date = given("CELERIAC_DATE", &["log", "-1", "--format=%cs"]);
    let (Some(revision), Some(date)) = (revision, date) else {
        return;
    };
    let version = env!("CARGO_PKG_VERSION");
    println!("cargo::rustc-env=CELERIAC_VERSION={version} ({revision}, {date})");
    println!("cargo::rustc-env=CELERIAC_REVISION={revision}");
    println!("cargo::rustc-env=CELERIAC_DATE={date}");
}

/// The value of a variable if set, else git's answer.
fn given(variable: &str, arguments: &[&str]) -> Option<String> {
    env::var(variable).ok().or_else(|| git(arguments))
}

/// What git prints in this repository; `None` if this is not one.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
