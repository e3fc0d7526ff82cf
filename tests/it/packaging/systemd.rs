//! The unit, checked with systemd's own tools and run under systemd itself.

mod booted;

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use self::booted::Booted;
use super::{file, read, run};
use crate::support::free_port;
use crate::support::redis::Redis;

const UNIT: &str = "deploy/systemd/celeriac.service";

/// The maximum exposure, times ten. `systemd-analyze` calls anything below 5.0 `OK`; ours stays far below.
const EXPOSURE_MAX: &str = "15";

#[test]
fn the_unit_is_hardened_and_scores_green() {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager"]);
    analyze
        .arg(format!("--threshold={EXPOSURE_MAX}"))
        .arg(file(UNIT));
    // It fails above the threshold.
    let table = run(analyze.env("LC_ALL", "C.UTF-8"));
    let verdict = table.lines().last().unwrap_or_default();
    println!("{verdict}");
    assert!(verdict.contains(" OK"), "{table}");
}

#[test]
fn systemd_reads_the_unit_without_a_word() {
    // The program and its man page are not installed on this machine, so the paths are replaced.
    let folder = TempDir::new().expect("a temporary folder");
    let unit = folder.path().join("celeriac.service");
    let text = read(UNIT);
    assert!(text.contains("ExecStart=/usr/bin/celeriac run"), "{text}");
    let here = text
        .replace("/usr/bin/celeriac", env!("CARGO_BIN_EXE_celeriac"))
        .replace(
            "man:celeriac(1)",
            &format!("file:{}", file("deploy/man").display()),
        );
    fs::write(&unit, here).expect("a writable folder");
    let said = run(Command::new("systemd-analyze")
        .arg("verify")
        .arg("--man=no")
        .arg(&unit));
    assert_eq!(said, "");
}

/// The installed package under all of the unit's restrictions: start, a secret, reload, a hang, stop, and an invalid
/// configuration.
#[tokio::test(flavor = "multi_thread")]
async fn systemd_starts_it_watches_it_and_brings_it_secrets() {
    let redis = Redis::start_with(&["--requirepass", "hunter2"]).await;
    let listen = format!("127.0.0.1:{}", free_port());
    let more = format!("[Service]\nWatchdogSec=2s\nEnvironment=CELERIAC__HTTP__LISTEN={listen}\n");
    let url = format!("redis://localhost:{}/0", redis.port);
    let configure = |settings: &Path| {
        let config = settings.join("celeriac.yaml");
        let text = fs::read_to_string(&config).expect("the package has it");
        let text = text.replace("amqp://guest:guest@localhost:5672//", &url);
        let text = text.replace("# password_file:", "password_file:");
        fs::write(&config, text).expect("a writable file");
        fs::write(settings.join("credentials/broker"), "hunter2").expect("a writable folder");
    };
    let Some(systemd) = Booted::start(&more, configure).await else {
        return;
    };

    let started = systemd.systemctl(&["start", "celeriac.service"]);
    assert_eq!(started, (true, String::new()));
    let works = "1 of 1 brokers and receivers work";
    systemd.until("StatusText", works).await;
    let reloaded = systemd.systemctl(&["reload", "celeriac.service"]);
    assert_eq!(reloaded, (true, String::new()));
    systemd.until("SubState", "running").await;

    // The state directory exists, and the daemon could write to it.
    let page = reqwest::get(format!("http://{listen}/metrics")).await;
    let page = page.expect("an answer").text().await.expect("a page");
    assert!(
        page.contains("celeriac_checkpoint_failures_total 0"),
        "{page}"
    );
    assert!(
        page.contains("process_open_fds"),
        "it does not see itself: {page}"
    );

    let main = systemd.main_process();
    kill_process(main, Signal::STOP).expect("it runs");
    systemd.until("NRestarts", "1").await;
    systemd.until("StatusText", works).await;
    assert_ne!(systemd.main_process(), main);

    let stopped = systemd.systemctl(&["stop", "celeriac.service"]);
    assert_eq!(stopped, (true, String::new()));
    assert_eq!(systemd.property("Result"), "success");

    let config = systemd
        .folder
        .path()
        .join("root/etc/celeriac/celeriac.yaml");
    fs::write(&config, "brokers: []\n").expect("a writable file");
    let (fine, _) = systemd.systemctl(&["start", "celeriac.service"]);
    assert!(!fine);
    systemd.until("ActiveState", "failed").await;
    assert_eq!(systemd.property("ExecMainStatus"), "78");
    assert_eq!(systemd.property("NRestarts"), "0", "since it was started");
}
