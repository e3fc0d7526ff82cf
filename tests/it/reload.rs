//! Reloading the configuration: changeable keys change, others are refused by name, and no counter is affected.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::process::resident_max;
use super::support::redis::Redis;
use super::support::wait_for;
use strict_receiver::{Receiver, STALE};

/// A broker, a receiver, and a daemon whose configuration file the test changes.
struct Setting {
    redis: Redis,
    receiver: Receiver,
    data: TempDir,
    celeriac: Celeriac,
}

impl Setting {
    /// Starts it with additional keys of `remote_write`.
    async fn new(sink: &str) -> Self {
        let (redis, receiver) = (Redis::start().await, Receiver::start().await);
        let data = TempDir::new().expect("a temporary folder");
        let config = format!(
            "data_dir: {:?}\nhttp: {{listen: \"{{listen}}\", reload: true}}\nbrokers: [{{url: {:?}}}]\n\
             metrics: {{worker_retention: 1h}}\nremote_write: [{{name: r, url: {:?}{sink}}}]\n",
            data.path(),
            redis.url(0),
            receiver.url(),
        );
        let celeriac = Celeriac::start(&config).await;
        celeriac.ready().await;
        redis.publish_lives(0..20, "t").await;
        let setting = Self {
            redis,
            receiver,
            data,
            celeriac,
        };
        setting
            .celeriac
            .page_when("the events", 20, |page| page.events() == 80.0)
            .await;
        setting
    }

    fn file(&self) -> PathBuf {
        self.celeriac.file()
    }

    /// Changes the file. Does not trigger a reload.
    fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.file()).expect("it was written");
        assert!(text.contains(from), "{text}");
        fs::write(self.file(), text.replace(from, to)).expect("a writable file");
    }

    async fn post(&self) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}/-/reload", self.celeriac.port);
        let answer = reqwest::Client::new().post(url).send().await;
        let answer = answer.expect("the listener answers");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a text"),
        )
    }
}

fn successful(page: &Page) -> f64 {
    page.sum("celeriac_config_last_reload_successful", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_change_changes_and_no_counter_moves() {
    let setting = Setting::new("").await;
    let before = setting.celeriac.page().await;
    setting.change("name: r,", "name: r, headers: {X-Scope-OrgID: team-a},");
    setting.change(
        "worker_retention: 1h",
        "worker_retention: 1m, max_tasks: 50",
    );
    assert_eq!(setting.post().await, (200, String::new()));

    wait_for("a request with the new header", 20, async || {
        let headers = setting.receiver.with(|received| received.headers.clone());
        let is_new = headers.contains_key("x-scope-orgid");
        if is_new {
            Ok(())
        } else {
            Err(format!("{headers:?}"))
        }
    })
    .await;
    let after = setting.celeriac.page().await;
    assert_eq!(successful(&after), 1.0);
    for (line, value) in &before.0 {
        let family = line.split('{').next().unwrap_or_default();
        let counts = family.ends_with("_total") || family.ends_with("_bucket");
        // Its own counters of time and of sent data keep increasing.
        if counts && family.starts_with("celery_") {
            assert_eq!(after.0.get(line), Some(value), "{line}");
        }
    }
    setting.redis.publish_lives(20..30, "t").await;
    setting
        .celeriac
        .page_when("more events", 20, |page| page.events() == 120.0)
        .await;
    setting.receiver.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_change_is_refused_by_its_key_and_nothing_changes() {
    let setting = Setting::new("").await;
    let good = fs::read_to_string(setting.file()).expect("it was written");
    let cases = [
        (
            "worker_retention: 1h",
            "worker_retention: 1m, prefix: x_",
            500,
            "these keys need a restart: metrics.prefix",
        ),
        (
            "name: r,",
            "name: s,",
            500,
            "these keys need a restart: remote_write[0].name",
        ),
        (
            "name: r,",
            "name: r, profile: flower,",
            500,
            "these keys need a restart: remote_write[0].profile",
        ),
        (
            "worker_retention: 1h",
            "worker_retenton: 1h",
            500,
            "did you mean `worker_retention`?",
        ),
        ("remote_write:", "remote_write: [", 500, "celeriac.yaml"),
    ];
    for (from, to, status, reason) in cases {
        setting.change(from, to);
        let (answered, text) = setting.post().await;
        assert_eq!(answered, status, "{to}: {text}");
        assert!(text.contains(reason), "{to}: {text}");
        setting
            .celeriac
            .page_when("the metric", 10, |page| successful(page) == 0.0)
            .await;
        fs::write(setting.file(), &good).expect("a writable file");
    }
    let page = setting.celeriac.page().await;
    assert_eq!(page.events(), 80.0);
    assert_eq!(setting.post().await.0, 200);
    setting
        .celeriac
        .page_when("the metric", 10, |page| successful(page) == 1.0)
        .await;
}

/// Files that would exhaust their reader, and the error for each.
fn hostile() -> Vec<(String, &'static str)> {
    let nested = |levels: usize, open: &str, close: &str| {
        format!(
            "brokers: {}x{}\n",
            open.repeat(levels),
            close.repeat(levels)
        )
    };
    let level = |level: usize| {
        let aliases = vec![format!("*a{level}"); 10].join(", ");
        format!("a{0}: &a{0} [{aliases}]\n", level + 1)
    };
    let first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let bomb = std::iter::once(first).chain((0..8).map(level)).collect();
    vec![
        (nested(50_000, "[", "]"), "recursion limit exceeded"),
        (
            nested(200, "{a: ", "}"),
            "line 1: more than 32 levels of lists and maps",
        ),
        (
            format!("brokers:\n{}x\n", "- ".repeat(50_000)),
            "line 2: more than 32 levels",
        ),
        (bomb, "line 5: more than 100000 values"),
        ("brokers[4000000000]: x\n".to_owned(), "unknown key"),
        (format!("? {}x\n: y\n", "x.".repeat(200_000)), "unknown key"),
        (
            format!("x: {}\n", "y".repeat(2 << 20)),
            "larger than 1024 KiB",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_asks_too_much_is_refused_at_once_and_the_daemon_goes_on() {
    let setting = Setting::new("").await;
    let good = fs::read_to_string(setting.file()).expect("it was written");
    let process = &setting.celeriac.process;
    let refused = || {
        let output = process.output();
        let told = output.split("reloading the configuration failed").skip(1);
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    let reload = async |reason: &str| {
        let (before, began) = (refused().len(), Instant::now());
        process.signal(Signal::HUP);
        let told = wait_for(reason, 30, async || {
            let told = refused();
            told.get(before).cloned().ok_or_else(|| process.output())
        })
        .await;
        assert!(told.contains(reason), "{reason}: {told:.500}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{reason}: {:?}",
            began.elapsed()
        );
    };
    let before = resident_max(process.pid());
    for (text, reason) in hostile() {
        fs::write(setting.file(), text).expect("a writable file");
        reload(reason).await;
    }
    fs::remove_file(setting.file()).expect("it is there");
    let made = Command::new("mkfifo").arg(setting.file()).status();
    assert!(made.expect("mkfifo").success());
    reload("is not a regular file").await;
    let grown = (resident_max(process.pid()) - before) >> 20;
    println!("{grown} MiB more at most");
    assert!(grown < 150, "{grown} MiB");

    fs::remove_file(setting.file()).expect("it is there");
    fs::write(setting.file(), good).expect("a writable folder");
    process.signal(Signal::HUP);
    let celeriac = &setting.celeriac;
    celeriac
        .page_when("the metric", 10, |page| successful(page) == 1.0)
        .await;
    setting.redis.publish_lives(20..30, "t").await;
    celeriac
        .page_when("more events", 20, |page| page.events() == 120.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_does_the_same_and_other_series_begin_without_a_zero() {
    let setting = Setting::new("").await;
    wait_for("the receiver to have the tasks", 20, async || {
        let sent = setting.receiver.series("celery_task_sent_total", &[]);
        let all = sent.last().is_some_and(|(_, value)| *value == 20.0);
        if all {
            Ok(())
        } else {
            Err(format!("{sent:?}"))
        }
    })
    .await;
    setting.change(
        "name: r,",
        "name: r, write_relabel_configs: [{target_label: team, replacement: a}],",
    );
    setting.celeriac.process.signal(Signal::HUP);
    let all = || {
        setting.receiver.with(|received| {
            let sent = received.series.iter();
            let sent =
                sent.filter(|(series, _)| format!("{series:?}").contains("celery_task_sent_total"));
            sent.map(|(series, samples)| (format!("{series:?}"), samples.clone()))
                .collect::<Vec<_>>()
        })
    };
    let begun = wait_for("series with the new label", 20, async || {
        let all = all();
        let begun = all
            .iter()
            .find(|(series, samples)| series.contains("team") && samples.len() > 1);
        begun
            .map(|(_, samples)| samples.clone())
            .ok_or(format!("{all:?}"))
    })
    .await;
    assert_eq!(begun[0].1, 20.0, "{begun:?}");
    let all = all();
    let before = all.iter().find(|(series, _)| !series.contains("team"));
    let (_, before) = before.expect("it was sent before");
    let last = before.last().expect("some samples").1;
    assert_eq!(last.to_bits(), STALE, "{before:?}");
    setting.receiver.assert_no_violation();
    assert!(
        setting
            .celeriac
            .process
            .output()
            .contains("configuration reloaded")
    );
    assert!(setting.data.path().join("checkpoint").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reloads_over_http_who_was_not_let() {
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    let url = format!("http://127.0.0.1:{}/-/reload", celeriac.port);
    let answer = reqwest::Client::new()
        .post(&url)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 403);
    assert_eq!(celeriac.get("/-/reload").await.0, 405);
}
