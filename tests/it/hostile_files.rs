//! A `data_dir` that somebody else has written to: nothing is followed out of it, and nothing in it blocks the start.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::support::celeriac::Celeriac;
use super::support::process::Process;
use super::support::receiver::Receiver;
use super::support::redis::Redis;
use super::support::wait_for;

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

    /// A daemon that has counted the events of some tasks and put them out.
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

    /// What a daemon says that does not start.
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

/// Everything in a folder and below.
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
        let reason = "it is not a regular file";
        assert!(
            output.contains(reason) && output.contains(name),
            "{name}: {output}"
        );
        fs::remove_file(&path).expect("it is there");
        fs::rename(&aside, &path).expect("it is there");
    }
    drop(setting.start(10..20).await);
}
