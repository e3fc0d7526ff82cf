//! `celeriac migrate` knows all options of the exporters, and its configuration exposes what they expose.

use std::process::{Command, Output};

use tempfile::TempDir;

use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::comparison::{Durations, compare};
use super::support::exporter::{Exporter, Kind};
use super::support::exposition::Exposition;
use super::support::redis::Redis;
use super::support::wait_for;

fn migrate(kind: Kind, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    command.env_clear().args(["migrate", kind.profile(), "--"]);
    command.args(options).output().expect("it starts")
}

/// Returns the generated file.
fn migrated(kind: Kind, options: &[&str]) -> String {
    let output = migrate(kind, options);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The long options in a help text.
fn options(help: &str) -> Vec<String> {
    let words = help.split(|c: char| c.is_whitespace() || ",=[]".contains(c));
    let is_option = |word: &&str| {
        word.strip_prefix("--").is_some_and(|name| {
            name.len() > 1
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphabetic() || "-_".contains(c))
        })
    };
    words.filter(is_option).map(str::to_owned).collect()
}

#[test]
fn every_option_that_an_exporter_has_is_known() {
    for kind in [
        Kind::Danihodovic,
        Kind::Zerok,
        Kind::OvalMoney,
        Kind::Flower,
    ] {
        let Some(installed) = kind.installed() else {
            println!("{} is not installed here", kind.name());
            continue;
        };
        let options = options(&kind.help(&installed));
        assert!(options.len() > 5, "{options:?}");
        for option in options {
            // These print something and exit.
            if ["--help", "--version"].contains(&option.as_str()) {
                continue;
            }
            let output = migrate(kind, &[&option]);
            let said = String::from_utf8_lossy(&output.stderr);
            let made = String::from_utf8_lossy(&output.stdout);
            let known = !said.contains("unknown option") && !made.contains("unknown option");
            assert!(known, "{}: {said}{made}", kind.name());
        }
    }
}

#[test]
fn what_comes_out_is_a_file_that_can_be_used() {
    let folder = TempDir::new().expect("a temporary folder");
    for (kind, options) in [
        (
            Kind::Danihodovic,
            "--broker-url=redis://h --static-label a=b",
        ),
        (Kind::Zerok, "--queue-list celery high --tz UTC"),
        (Kind::OvalMoney, "-n shop"),
        (Kind::Flower, "--broker=amqp://h// flower --port=1"),
    ] {
        let options: Vec<_> = options.split(' ').collect();
        let file = folder.path().join("celeriac.yaml");
        std::fs::write(&file, migrated(kind, &options)).expect("a writable folder");
        let mut check = Command::new(env!("CARGO_BIN_EXE_celeriac"));
        let checked = check
            .arg("check-config")
            .arg(&file)
            .output()
            .expect("it starts");
        assert!(checked.status.success(), "{checked:?}");
    }
}

#[test]
fn what_is_wrong_is_told_and_nothing_comes_out() {
    let output = migrate(Kind::Danihodovic, &["--borker-url", "redis://h"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("did you mean --broker-url?"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrated_daemon_shows_what_the_exporter_shows() {
    let kind = Kind::Danihodovic;
    let installed = kind.installed().expect("tests/setup.sh installs it");
    let redis = Redis::start().await;
    let broker = redis.url(0);
    let options = [
        "--static-label",
        "team=shop",
        "--metric-prefix",
        "app_",
        "--generic-hostname-task-sent-metric",
        "--queues",
        "celery,high",
        "--buckets",
        "0.01,0.1,1,10",
    ];
    let file = migrated(kind, &[&["--broker-url", &broker], &options[..]].concat());
    let config = file.replace("\"0.0.0.0:9808\"", "\"{listen}\"");
    let config = config.replace(
        "    queues:",
        "    control_interval: 2s\n    queue_interval: 1s\n    queues:",
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let mut exporter = Exporter::start_with(kind, &installed, &broker, &options);
    exporter.page().await;
    wait_for("the exporter to subscribe", 30, async || {
        match redis.subscribers().await {
            2.. => Ok(()),
            fewer => Err(fewer.to_string()),
        }
    })
    .await;

    let celery = Celery::new("5.6", &broker, &redis.url(1));
    celery.script("gentle.py", 30).await;
    let _worker = celery.worker("w1", &["-c", "2", "-Q", "celery,high"]).await;
    celery.script("settle.py", 40).await;
    wait_for("pages that agree", 40, async || {
        let theirs = Exposition::parse(&exporter.page().await);
        let (_, ours) = celeriac.get("/metrics").await;
        let mut wrong = compare(&theirs, &Exposition::parse(&ours), &[], Durations::Same);
        // The first is new in 0.12. The others stay 0 for the hosts of workers if the label is generic.
        wrong.retain(|line| {
            let zero =
                line.starts_with("missing on ours: app_task_sent_total{") && line.ends_with(" 0");
            !zero && !line.contains("app_task_queue_wait_time")
        });
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n"))
        }
    })
    .await;
    let (_, page) = celeriac.get("/metrics").await;
    let sent = "app_task_sent_total{hostname=\"generic\",name=\"proj.add\",queue_name=\"celery\",team=\"shop\"}";
    assert!(page.contains(sent), "{page}");
}

/// As the exporter's chart renders it, with the password in a secret and the probe that it has.
const DEPLOYMENT: &str = r#"
kind: Deployment
metadata: {name: celery-exporter}
spec:
  template:
    spec:
      containers:
        - name: celery-exporter
          image: danihodovic/celery-exporter:0.12.0
          command: [python, /app/cli.py]
          args: ["--broker-url=$(BROKER)"]
          env:
            - name: BROKER
              valueFrom: {secretKeyRef: {name: redis, key: url}}
          readinessProbe: {httpGet: {path: /health, port: 9808}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_migrated_manifest_passes_the_probes_that_it_has() {
    let folder = TempDir::new().expect("a temporary folder");
    let manifest = folder.path().join("deployment.yaml");
    std::fs::write(&manifest, DEPLOYMENT).expect("a writable folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    command.args(["migrate", "celery-exporter", "--from-file"]);
    let output = command.arg(&manifest).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let file = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(file.contains("url: \"${BROKER}\""), "{file}");

    let redis = Redis::start().await;
    let config = file.replace("\"0.0.0.0:9808\"", "\"{listen}\"");
    let url = redis.url(0);
    let celeriac = Celeriac::start_with(&config, &[("BROKER", url.as_str())]).await;
    celeriac.ready().await;
    for path in ["/health", "/", "/metrics"] {
        let (status, text) = celeriac.get(path).await;
        assert_eq!(status, 200, "{path}: {text}");
    }
    drop(redis);
    wait_for("the probe to fail", 30, async || {
        match celeriac.get("/health").await {
            (503, _) => Ok(()),
            (status, text) => Err(format!("{status} {text}")),
        }
    })
    .await;
    assert_eq!(celeriac.get("/").await.0, 200);
}
