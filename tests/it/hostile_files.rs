//! A `data_dir` that someone else has written to: no link is followed out of it, nothing in it blocks startup, and no
//! value in a checkpoint stops the daemon.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use celeriac::checkpoint::CheckpointFolder;
use celeriac::saved::{Checkpoint, Deficit, Run, Worker};
use tempfile::TempDir;

use super::support::celeriac::Celeriac;
use super::support::events::envelope;
use super::support::process::Process;
use super::support::redis::Redis;
use super::support::wait_for;
use strict_receiver::Receiver;

struct Setting {
    redis: Redis,
    receiver: Receiver,
    folder: TempDir,
}

impl Setting {
    async fn new() -> Self {
        Self {
            redis: Redis::start().await,
            receiver: Receiver::start().await,
            folder: TempDir::new().expect("a temporary folder"),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("made/data")
    }

    fn config(&self) -> String {
        format!(
            "data_dir: {:?}\nbrokers: [{{url: {:?}}}]\nremote_write: [{{name: r, url: {:?}}}]\n",
            self.data(),
            self.redis.url(0),
            self.receiver.url()
        )
    }

    /// Starts a daemon that has counted and sent the events of some tasks.
    async fn start(&self, tasks: std::ops::Range<u64>) -> Celeriac {
        let celeriac = Celeriac::start(&self.config()).await;
        celeriac.subscribed("default").await;
        self.redis.publish_lives(tasks.clone(), "t").await;
        let sent = tasks.end as f64;
        wait_for("the receiver to have the tasks", 20, async || {
            let series = self.receiver.series("celery_task_sent_total", &[]);
            let has = series.last().is_some_and(|(_, value)| *value == sent);
            if has {
                Ok(())
            } else {
                Err(format!("{series:?}\n{}", celeriac.process.output()))
            }
        })
        .await;
        celeriac
    }

    /// Returns the error of a daemon that does not start.
    fn refused(&self) -> String {
        let file = self.folder.path().join("celeriac.yaml");
        let listen = "http: {listen: '127.0.0.1:0'}\n";
        fs::write(&file, format!("{listen}{}", self.config())).expect("a writable folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
        command.args(["run", "--config"]).arg(&file);
        let mut process = Process::start("refused", &mut command, self.folder.path());
        let status = process.ended(20);
        assert_eq!(status.code(), Some(1), "{}", process.output());
        process.output()
    }
}

fn mode(path: &Path) -> u32 {
    let found = fs::symlink_metadata(path).expect("it is there");
    found.permissions().mode() & 0o7777
}

/// Returns all files below a folder.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(all(&path));
        }
        found.push(path);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_for_the_daemons_user_alone_and_no_link_is_followed() {
    let setting = Setting::new().await;
    let mut celeriac = setting.start(0..10).await;
    assert!(celeriac.terminate().success());
    let data = setting.data();
    let written = all(&data);
    assert!(written.contains(&data.join("checkpoint")), "{written:?}");
    assert!(
        written.contains(&data.join("queue/r/cursor")),
        "{written:?}"
    );
    for path in written.iter().chain([&data]) {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(path), expected, "{}", path.display());
    }

    let foreign = setting.folder.path().join("foreign");
    fs::write(&foreign, "foreign").expect("a writable folder");
    for name in ["checkpoint.new", "queue/r/cursor.new"] {
        symlink(&foreign, data.join(name)).expect("a link");
    }
    let mut celeriac = setting.start(10..20).await;
    assert!(celeriac.terminate().success());
    assert_eq!(fs::read_to_string(&foreign).expect("a text"), "foreign");
    assert_eq!(mode(&data.join("checkpoint")), 0o600);
    assert!(!all(&data).iter().any(|path| path.is_symlink()));
    setting.receiver.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_regular_file_ends_the_start_with_its_name() {
    let setting = Setting::new().await;
    let mut celeriac = setting.start(0..10).await;
    assert!(celeriac.terminate().success());
    let aside = setting.folder.path().join("aside");
    let pipe = |path: &Path| {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo").success());
    };
    let link = |path: &Path| symlink(&aside, path).expect("a link");
    type Put<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Put<'_>); 6] = [
        ("checkpoint", &pipe),
        ("checkpoint", &link),
        ("lock", &pipe),
        ("lock", &link),
        ("queue/r/lock", &pipe),
        ("queue/r/cursor", &pipe),
    ];
    for (name, put) in cases {
        let path = setting.data().join(name);
        fs::rename(&path, &aside).expect("it is there");
        put(&path);
        let output = setting.refused();
        let reason = "not a regular file";
        assert!(
            output.contains(reason) && output.contains(name),
            "{name}: {output}"
        );
        fs::remove_file(&path).expect("it is there");
        fs::rename(&aside, &path).expect("it is there");
    }
    drop(setting.start(10..20).await);
}

/// Changes the checkpoint in a folder, with a valid checksum.
fn change(data: &Path, change: impl Fn(&mut Worker)) {
    let folder = CheckpointFolder::open(data)
        .expect("a folder")
        .expect("nobody has it");
    let restored = folder.newest().expect("readable").expect("a checkpoint");
    let mut parts: Vec<Checkpoint> = restored.parts().collect();
    let clusters = parts.iter_mut().flat_map(|part| &mut part.clusters);
    let workers: Vec<_> = clusters.flat_map(|cluster| &mut cluster.workers).collect();
    assert!(!workers.is_empty());
    workers.into_iter().for_each(change);
    folder.write(parts.into_iter()).expect("room");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_checkpoint_stops_the_daemon() {
    let heartbeat = |processed: u64| {
        envelope(&format!(
            r#"{{"type": "worker-heartbeat", "hostname": "w1@host", "pid": 4242, "timestamp": {}, "freq": 2.0, "active": 1, "processed": {processed}, "loadavg": [1, 2, 3]}}"#,
            1_795_344_000 + processed
        ))
    };
    let run = |number: u64| Run {
        base: number,
        processed: number,
        heard: number,
        heard_later: number,
        missing: number,
        deficits: vec![
            Deficit {
                missing: number,
                next: number,
                ..Deficit::default()
            };
            5
        ],
        ..Run::default()
    };
    type Strange<'a> = &'a dyn Fn(&mut Worker);
    let cases: [(&str, Strange<'_>); 4] = [
        ("a negative pace", &|worker| worker.freq = Some(-1.0)),
        ("a pace that is no number", &|worker| {
            worker.freq = Some(f64::NAN)
        }),
        ("counts at their end", &|worker| {
            worker.run = Some(run(u64::MAX));
            worker.processed_total = u64::MAX;
            worker.slots = Some(u64::MAX);
        }),
        ("times at their ends", &|worker| {
            worker.seen = i64::MAX;
            worker.offline_since = i64::MIN;
            worker.goodbye = Some(i64::MIN);
        }),
    ];
    let setting = Setting::new().await;
    let mut celeriac = setting.start(0..10).await;
    setting.redis.publish([heartbeat(10).as_bytes()]).await;
    celeriac
        .page_when("the heartbeat", 20, |page| page.events() == 41.0)
        .await;
    for (round, (case, strange)) in (1_u64..).zip(cases) {
        assert!(celeriac.terminate().success());
        change(&setting.data(), strange);
        celeriac = setting.start(round * 10..(round + 1) * 10).await;
        setting
            .redis
            .publish([heartbeat(10 + round).as_bytes()])
            .await;
        let events = 41.0 * (round + 1) as f64;
        let page = celeriac
            .page_when(case, 20, |page| page.events() == events)
            .await;
        let seen = page.sum("celery_worker_last_seen_timestamp_seconds", &["w1@host"]);
        let processed = page.sum("celery_worker_tasks_processed_total", &["w1@host"]);
        assert!((1e9..1e10).contains(&seen), "{case}: {seen}");
        assert!(processed < 1_000.0, "{case}: {processed}");
    }
    setting.receiver.assert_no_violation();
}
