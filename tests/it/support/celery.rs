//! Celery in a chosen version: workers, clients, and an independent count of events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::Process;
use super::{made_by_setup, wait_for};

pub struct Celery {
    venv: PathBuf,
    environment: Vec<(&'static str, String)>,
    folder: TempDir,
}

/// The counts of Celery's own receiver: by type, and by type and task name separated by a space.
#[derive(Debug, Default)]
pub struct Counts {
    pub types: BTreeMap<String, u64>,
    pub names: BTreeMap<String, u64>,
}

impl Celery {
    /// The same with more environment.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Uses a version installed by `tests/setup.sh`: `5.6` or `5.7`. With `SWAP_CELERY` in the environment, the other one.
    pub fn new(version: &str, broker: &str, backend: &str) -> Self {
        let version = match version {
            "5.6" if std::env::var_os("SWAP_CELERY").is_some() => "5.7",
            "5.7" if std::env::var_os("SWAP_CELERY").is_some() => "5.6",
            version => version,
        };
        let environment = vec![
            ("BROKER", broker.to_owned()),
            ("BACKEND", backend.to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
        ];
        let venv = made_by_setup(&format!("venvs/celery-{version}"));
        Self {
            venv,
            environment,
            folder: TempDir::new().expect("a temporary folder"),
        }
    }

    /// Starts a worker and waits until it is ready.
    pub async fn worker(&self, name: &str, arguments: &[&str]) -> Process {
        self.worker_of("proj", name, &[&["-E"], arguments].concat())
            .await
    }

    /// Starts a worker of another app, without events unless the arguments enable them.
    pub async fn worker_of(&self, app: &str, name: &str, arguments: &[&str]) -> Process {
        let mut command = self.command("celery");
        command.args(["-A", app, "worker", "--without-mingle", "--loglevel=INFO"]);
        command.args(["-n", &format!("{name}@%h")]).args(arguments);
        let mut worker = Process::start(name, &mut command, self.folder.path());
        wait_for("a worker", 60, async || {
            worker.must_run();
            let output = worker.output();
            if output.contains(" ready.") {
                Ok(())
            } else {
                Err(output)
            }
        })
        .await;
        worker
    }

    /// Starts a scheduler of Celery 5.7 or later with a host name of its own, and waits until it listens for pings.
    pub async fn beat(&self, app: &str, host: &str) -> Process {
        let beat = self.beat_with(app, &["--hostname", host]).await;
        wait_for("a scheduler to listen", 60, async || {
            let output = beat.output();
            if output.contains("beat pidbox: Connected") {
                Ok(())
            } else {
                Err(output)
            }
        })
        .await;
        beat
    }

    /// Starts a scheduler.
    pub async fn beat_with(&self, app: &str, arguments: &[&str]) -> Process {
        let schedule = format!("schedule-{}", fastrand::u32(..));
        let schedule = self.folder.path().join(schedule);
        let mut command = self.command("celery");
        command.args(["-A", app, "beat", "--loglevel=INFO", "--pidfile="]);
        command.args(arguments).arg("--schedule").arg(schedule);
        let mut beat = Process::start("beat", &mut command, self.folder.path());
        wait_for("a scheduler", 60, async || {
            beat.must_run();
            let output = beat.output();
            if output.contains("beat: Starting...") {
                Ok(())
            } else {
                Err(output)
            }
        })
        .await;
        beat
    }

    /// Runs a script of `tests/it/python` to its end.
    pub async fn script(&self, script: &str, seconds: u64) -> String {
        self.script_with(script, seconds, &[]).await
    }

    /// The same with more environment.
    pub async fn script_with(
        &self,
        script: &str,
        seconds: u64,
        environment: &[(&str, &str)],
    ) -> String {
        let mut process = self.start_script(script, environment);
        let (status, output) = tokio::task::spawn_blocking(move || {
            let status = process.ended(seconds);
            (status, process.output())
        })
        .await
        .expect("waiting does not panic");
        assert!(status.success(), "{script}: {output}");
        output
    }

    /// Starts counting, and returns when it is subscribed.
    pub async fn count(&self) -> Counter {
        let process = self.start_script("count.py", &[]);
        wait_for("the independent count", 30, async || {
            let output = process.output();
            if output.contains("ready") {
                Ok(())
            } else {
                Err(output)
            }
        })
        .await;
        Counter(process)
    }

    fn start_script(&self, script: &str, environment: &[(&str, &str)]) -> Process {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/python")
            .join(script);
        let mut command = self.command("python");
        command.arg(path).envs(environment.iter().copied());
        Process::start(script, &mut command, self.folder.path())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.venv.join("bin").join(program));
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running count.
pub struct Counter(Process);

impl Counter {
    /// Stops counting.
    pub fn finish(mut self) -> Counts {
        self.0.signal(Signal::TERM);
        let status = self.0.ended(60);
        let output = self.0.output();
        assert!(status.success(), "{output}");
        let json = output.split_once("ready\n").expect("it was ready").1;
        let counts: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let table = |key: &str| {
            let table = counts[key].as_object().expect("a map").iter();
            table
                .map(|(key, n)| (key.clone(), n.as_u64().expect("a count")))
                .collect()
        };
        Counts {
            types: table("types"),
            names: table("names"),
        }
    }
}
