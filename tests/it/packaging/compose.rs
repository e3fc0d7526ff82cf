//! The compose file: it matches the specification, its programs accept the mounted files, and those installed on this
//! machine work together as the containers would.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{file, read, run};
use crate::support::process::Process;
use crate::support::prometheus::{Options, Prometheus, Release};
use crate::support::rabbitmq::RabbitMq;
use crate::support::{free_port, made_by_setup, wait_for};

const FOLDER: &str = "deploy/compose";

/// Returns the parsed compose file.
fn compose() -> Value {
    let python = made_by_setup("venvs/compose-spec/bin/python");
    let said = run(Command::new(python)
        .arg(file("tests/it/python/compose.py"))
        .arg(file("deploy/compose/compose.yaml")));
    serde_json::from_str(&said).expect("it prints JSON")
}

/// Returns a list of strings, such as a command.
fn texts(value: &Value) -> Vec<&str> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).collect()
}

/// Returns the files that a service mounts from this folder, with their mount points.
fn mounts(service: &Value) -> Vec<(&str, &str)> {
    let volumes = texts(&service["volumes"]).into_iter();
    let parts = volumes.filter_map(|volume| volume.trim_end_matches(":ro").split_once(':'));
    parts.filter(|(from, _)| from.starts_with('.')).collect()
}

#[test]
fn the_specification_takes_the_file_and_what_it_mounts_is_there() {
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    let mut files = 0;
    for (name, service) in services {
        let image = service["image"].as_str().unwrap_or("x:built");
        // The latest image in a registry changes from day to day.
        assert!(
            image
                .rsplit('/')
                .next()
                .is_some_and(|image| image.contains(':')),
            "{image}"
        );
        for (from, to) in mounts(service) {
            // A container runtime creates missing sources as folders, which is wrong for files.
            if to.rsplit('/').next().is_some_and(|last| last.contains('.')) {
                assert!(file(FOLDER).join(from).is_file(), "{name}: {from}");
                files += 1;
            }
        }
        if let Some(context) = service["build"]["context"].as_str() {
            let dockerfile = service["build"]["dockerfile"].as_str().expect("a file");
            assert!(
                file(FOLDER).join(context).join(dockerfile).is_file(),
                "{name}"
            );
        }
        for port in texts(&service["ports"]) {
            assert!(
                port.starts_with("127.0.0.1:"),
                "{name}: {port} is open to all"
            );
        }
    }
    assert_eq!(files, 4, "celeriac's, Prometheus' and two of Grafana");

    let grafana = &services["grafana"];
    let dashboards = mounts(grafana)
        .into_iter()
        .find(|(from, _)| *from == "../grafana");
    let (_, place) = dashboards.expect("dashboards");
    let provider = read("deploy/compose/grafana/dashboards.yaml");
    assert!(provider.contains(&format!("path: {place}\n")), "{provider}");
    let datasource = read("deploy/compose/grafana/datasources.yaml");
    assert!(
        datasource.contains("url: http://prometheus:9090\n"),
        "{datasource}"
    );
}

#[test]
fn prometheus_takes_its_file_and_the_rules() {
    let folder = TempDir::new().expect("a temporary folder");
    let config = folder.path().join("prometheus.yml");
    std::fs::write(&config, read("deploy/compose/prometheus.yml")).expect("a writable folder");
    std::os::unix::fs::symlink(file("deploy/prometheus"), folder.path().join("rules"))
        .expect("a link");
    let said = run(Command::new("promtool")
        .args(["check", "config"])
        .arg(&config));
    assert!(said.contains("SUCCESS"), "{said}");
}

/// Starts a service of the app like the compose file does.
fn start(compose: &Value, service: &str, broker: &str, folder: &TempDir) -> Process {
    let program = made_by_setup("venvs/celery-5.6/bin/celery");
    let words = texts(&compose["services"][service]["command"]);
    assert_eq!(words[0], "celery");
    let mut command = Command::new(program);
    let schedule = folder.path().join("schedule").display().to_string();
    let own = |word: &str| word.replace("/tmp/schedule", &schedule);
    command.args(words[1..].iter().map(|word| own(word)));
    command.current_dir(file("deploy/compose/app"));
    command
        .env("BROKER_URL", broker)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Process::start(service, &mut command, folder.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_parts_bring_tasks_to_prometheus() {
    let compose = compose();
    let flags = texts(&compose["services"]["prometheus"]["command"]);
    let features = flags
        .iter()
        .find_map(|flag| flag.strip_prefix("--enable-feature="));
    assert!(flags.contains(&"--web.enable-remote-write-receiver"));
    let options = Options {
        release: Release::Three,
        features: features.expect("features").to_owned(),
        config: read("deploy/compose/prometheus.yml"),
        ..Options::default()
    };
    let (prometheus, rabbitmq) = (
        Prometheus::start_with(options).await,
        RabbitMq::start().await,
    );
    let (folder, port) = (TempDir::new().expect("a temporary folder"), free_port());
    let broker = rabbitmq.url("");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    daemon
        .args(["run", "--config"])
        .arg(file("deploy/compose/celeriac.yaml"));
    daemon
        .env("BROKER_URL", &broker)
        .env("REMOTE_WRITE_URL", prometheus.write_url())
        .env("HOSTNAME", "celeriac")
        .env("CELERIAC__GLOBAL__INTERVAL", "1s")
        .env("CELERIAC__HTTP__LISTEN", format!("127.0.0.1:{port}"))
        .env("CELERIAC__DATA_DIR", folder.path().join("data"));
    let daemon = Process::start("celeriac", &mut daemon, folder.path());
    let worker = start(&compose, "worker", &broker, &folder);
    let beat = start(&compose, "beat", &broker, &folder);
    let output = || {
        format!(
            "{}\n{}\n{}",
            daemon.output(),
            worker.output(),
            beat.output()
        )
    };

    let expressions = [
        r#"celery_task_succeeded_total{name="shop.customers",queue="orders",instance="celeriac"} > 2"#,
        r#"celery_task_succeeded_total{name="shop.place_order",queue="orders"} > 5"#,
        r#"celery_task_succeeded_total{name="shop.send_mail",queue="mails"} > 2"#,
        // The classic and the native histogram.
        r#"celery_task_runtime_seconds_count{name="shop.place_order"} > 5"#,
        r#"histogram_count(celery_task_runtime_seconds{name="shop.place_order"}) > 5"#,
        r#"celery_task_queue_wait_seconds_count{name="shop.send_mail"} > 2"#,
        r#"celery_queue_consumers{queue="mails"} >= 1"#,
    ];
    for expression in expressions {
        wait_for(expression, 120, async || {
            match prometheus.query(expression, None).await.len() {
                0 => Err(output()),
                _ => Ok(()),
            }
        })
        .await;
    }
}
