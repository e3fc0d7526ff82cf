//! What is recorded beside a running daemon adds up to that daemon's page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::support::amqp::Publisher;
use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::events::{envelope, life};
use super::support::exposition::{Exposition, Series};
use super::support::process::Process;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;

/// Families that differ, because they include when celeriac received a message.
const OF_TIMES: [&str; 6] = [
    // The clocks' offset includes the time that a message took.
    "celery_worker_clock_skew_seconds",
    // The time of receipt of the newest event.
    "celery_worker_last_seen_timestamp_seconds",
    // Whether a workflow has ended is decided ten seconds after its last event.
    "celery_workflows_open",
    "celery_workflows_ended_total",
    "celery_workflows_oldest_timestamp_seconds",
    "celery_workflows_idle_timestamp_seconds",
];

struct Recording {
    process: Process,
    file: PathBuf,
    folder: TempDir,
}

impl Recording {
    async fn start(config: &str, more: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("celeriac.yaml");
        // It needs the brokers only, but the file is that of a daemon.
        let config = format!("http: {{listen: \"127.0.0.1:0\"}}\n{config}");
        fs::write(&path, config).expect("a writable folder");
        let file = folder.path().join("recording.jsonl");
        let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
        command
            .arg("record")
            .arg("--config")
            .arg(&path)
            .arg("--output")
            .arg(&file);
        let process = Process::start("record", command.args(more), folder.path());
        wait_for("the subscription", 20, async || {
            let output = process.output();
            let subscribed = output.contains("subscribed to events");
            if subscribed { Ok(()) } else { Err(output) }
        })
        .await;
        Self {
            process,
            file,
            folder,
        }
    }

    /// Waits for a number of messages, ends the recording, and returns its text.
    async fn end(mut self, messages: usize) -> (String, TempDir, PathBuf) {
        wait_for("the messages", 20, async || {
            let lines = fs::read_to_string(&self.file)
                .expect("UTF-8")
                .lines()
                .count();
            if lines > messages {
                Ok(())
            } else {
                Err(lines.to_string())
            }
        })
        .await;
        let ended = self.process.terminate(20);
        assert!(ended.success(), "{}", self.process.output());
        (
            fs::read_to_string(&self.file).expect("UTF-8"),
            self.folder,
            self.file,
        )
    }
}

fn replay(file: &Path) -> Exposition {
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    let output = command
        .arg("replay")
        .arg(file)
        .stdin(Stdio::null())
        .output();
    let output = output.expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Exposition::parse(&String::from_utf8(output.stdout).expect("UTF-8"))
}

fn check(live: &Exposition, replayed: &Exposition) {
    // The others are about the process.
    let is_compared = |series: &&Series| {
        series.name.starts_with("celery_") && !OF_TIMES.contains(&live.family(&series.name))
    };
    let keys = live.samples.keys().chain(replayed.samples.keys());
    let mut wrong = Vec::new();
    for series in keys.filter(is_compared) {
        let (ours, theirs) = (replayed.samples.get(series), live.samples.get(series));
        let same = ours.zip(theirs).is_some_and(|(a, b)| (a - b).abs() <= 1e-6);
        if !same {
            wrong.push(format!("{series}: live {theirs:?}, replayed {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn a_workload_is_replayed(broker: &str, backend: &str) {
    // Replies to polls are not recorded.
    let config =
        format!("brokers: [{{url: {broker:?}, queue_interval: 0, control_interval: 0}}]\n");
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let recording = Recording::start(&config, &[]).await;
    let scrubbing = Recording::start(&config, &["--scrub"]).await;
    let celery = Celery::new("5.6", broker, backend);
    let counter = celery.count().await;
    let mut workers = [
        celery.worker("w1", &["-c", "2", "-Q", "celery"]).await,
        celery.worker("w2", &["-c", "2", "-Q", "prefork"]).await,
        celery
            .worker("w3", &["-P", "gevent", "-c", "10", "-Q", "green"])
            .await,
    ];
    celery.script("workload.py", 150).await;
    for worker in &mut workers {
        worker.terminate(60);
    }
    let all: u64 = counter.finish().types.values().sum();
    celeriac
        .page_when("every event", 30, |page| page.events() >= all as f64)
        .await;
    let (text, _folder, file) = recording.end(1).await;
    let (scrubbed, _other, scrubbed_file) = scrubbing.end(1).await;
    assert!(text.lines().count() > 1000 && scrubbed.lines().count() > 1000);
    // The class of an exception stays, and its text does not.
    assert!(scrubbed.contains("ValueError(") && !scrubbed.contains("second line"));
    let live = Exposition::parse(&celeriac.get("/metrics").await.1);
    check(&live, &replay(&file));
    check(&live, &replay(&scrubbed_file));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_on_redis_is_replayed() {
    let redis = Redis::start().await;
    a_workload_is_replayed(&redis.url(0), &redis.url(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_on_rabbitmq_is_replayed() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    a_workload_is_replayed(&rabbitmq.url(""), &redis.url(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_queue_keeps_its_messages() {
    let rabbitmq = RabbitMq::start().await;
    let folder = TempDir::new().expect("a temporary folder");
    let config = format!(
        "data_dir: {:?}\nbrokers: [{{url: {:?}, delivery: durable}}]\n",
        folder.path(),
        rabbitmq.url("")
    );
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    // The queue stays, without a consumer.
    assert!(celeriac.terminate().success());
    let recording = Recording::start(&config, &[]).await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    for body in &life(1, "t", 1_795_344_000.0) {
        publisher.publish(body.as_bytes()).await;
    }
    let (text, ..) = recording.end(4).await;
    assert_eq!(text.matches("content_type").count(), 4, "{text}");
    let queues = || {
        rabbitmq.ctl(&[
            "--quiet",
            "list_queues",
            "name",
            "messages_ready",
            "messages_unacknowledged",
            "--no-table-headers",
        ])
    };
    wait_for("the recording's queue to go", 20, async || {
        let queues = queues();
        let only = queues.trim() == "celeriac.main\t4\t0";
        if only { Ok(()) } else { Err(queues) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_skipped_and_versions_checked() {
    let redis = Redis::start().await;
    let config = format!("brokers: [{{url: {:?}}}]\n", redis.url(0));
    let recording = Recording::start(&config, &[]).await;
    let lives = life(1, "t", 1_795_344_000.0).map(|body| envelope(&body));
    redis.publish(lives.iter().map(String::as_bytes)).await;
    let (text, folder, _) = recording.end(4).await;
    assert!(!text.contains(&redis.url(0)), "{text}");
    let run = |text: &str| {
        let file = folder.path().join("changed.jsonl");
        fs::write(&file, text).expect("a writable folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
        let output = command
            .arg("replay")
            .arg(&file)
            .output()
            .expect("it starts");
        (
            output.status.success(),
            String::from_utf8(output.stdout).expect("UTF-8"),
            String::from_utf8(output.stderr).expect("UTF-8"),
        )
    };
    let broken = text.replacen('\n', "\nno line\n", 1);
    let (success, page, errors) = run(&broken);
    assert!(success && errors.contains("changed.jsonl:2: "), "{errors}");
    assert!(errors.contains("lines skipped: 1"), "{errors}");
    assert!(page.contains("celery_task_succeeded_total"), "{page}");
    let newer = text.replacen("\"celeriac_recording\":1", "\"celeriac_recording\":2", 1);
    let (success, _, errors) = run(&newer);
    assert!(!success && errors.contains("version 2"), "{errors}");
}
