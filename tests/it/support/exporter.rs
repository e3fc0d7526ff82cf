//! The Python exporters that the profiles replace, installed from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::{free_port, target, wait_for};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Danihodovic,
    Zerok,
    OvalMoney,
    Flower,
    Zeit,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Danihodovic,
        Self::Zerok,
        Self::OvalMoney,
        Self::Flower,
        Self::Zeit,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Danihodovic => "danihodovic",
            Self::Zerok => "zerok",
            Self::OvalMoney => "ovalmoney",
            Self::Flower => "flower",
            Self::Zeit => "zeit",
        }
    }

    /// Our profile that replaces it.
    pub fn profile(self) -> &'static str {
        match self {
            Self::Danihodovic => "celery-exporter",
            Self::Zerok => "celery-prometheus-exporter",
            Self::OvalMoney => "ovalmoney",
            Self::Flower => "flower",
            Self::Zeit => "zeit",
        }
    }

    /// Returns where `tests/setup.sh` installed it. One exporter needs a Python version that not every machine has.
    pub fn installed(self) -> Option<PathBuf> {
        let folder = target().join(format!("venvs/exporter-{}", self.name()));
        folder.join(".complete").exists().then_some(folder)
    }

    /// Returns its help text.
    pub fn help(self, installed: &Path) -> String {
        let mut command = match self {
            Self::Danihodovic => {
                let mut command = Command::new(installed.join("bin/python"));
                command.args(["-I", "-c", "from src.cli import cli; cli()"]);
                command
            }
            Self::Zerok => Command::new(installed.join("bin/celery-prometheus-exporter")),
            Self::OvalMoney => Command::new(installed.join("bin/celery-exporter")),
            Self::Flower => {
                let mut command = Command::new(installed.join("bin/python"));
                // With --help, the `celery` command responds itself, without the exporter's options.
                let code =
                    "from flower.options import options\nfor name in options: print(f'--{name}')";
                command.args(["-I", "-c", code]);
                command
            }
            Self::Zeit => {
                let mut command = Command::new(installed.join("bin/celery"));
                command.arg("prometheus");
                command
            }
        };
        let output = command.arg("--help").output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn command(self, folder: &Path, broker: &str, port: u16) -> Command {
        let run = |program: &str| Command::new(folder.join("bin").join(program));
        let address = format!("127.0.0.1:{port}");
        let port = port.to_string();
        let mut command;
        match self {
            Self::Danihodovic => {
                command = run("python");
                // Its package has no script; `-I`, because the module is named `src`.
                command.args(["-I", "-c", "from src.cli import cli; cli()"]);
                command.args(["--broker-url", broker, "--host", "127.0.0.1"]);
                command.args(["--port", &port, "--queues", "celery,high"]);
            }
            Self::Zerok => {
                command = run("celery-prometheus-exporter");
                command.args(["--broker", broker, "--addr", &address]);
                command.args(["--queue-list", "celery", "high"]);
            }
            Self::OvalMoney => {
                command = run("celery-exporter");
                command.args(["--broker-url", broker, "--listen-address", &address]);
            }
            Self::Flower => {
                command = run("celery");
                command.args(["--broker", broker, "flower", "--address=127.0.0.1"]);
                command.arg(format!("--port={port}"));
            }
            Self::Zeit => {
                command = run("celery");
                command.args(["-A", "watched", "prometheus", "--host", "127.0.0.1"]);
                command.args(["--port", &port, "--queue-length"]);
                // For the app; results are not used here.
                command.env("BROKER", broker).env("BACKEND", broker);
            }
        }
        command
    }
}

pub struct Exporter {
    pub kind: Kind,
    port: u16,
    pub process: Process,
    _folder: TempDir,
}

impl Exporter {
    /// Starts an installed exporter. It may subscribe after this returns.
    pub fn start(kind: Kind, installed: &Path, broker: &str) -> Self {
        Self::start_with(kind, installed, broker, &[])
    }

    /// Starts it with additional options.
    pub fn start_with(kind: Kind, installed: &Path, broker: &str, options: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let mut command = kind.command(installed, broker, port);
        command.args(options);
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python"));
        let process = Process::start(kind.name(), &mut command, folder.path());
        Self {
            kind,
            port,
            process,
            _folder: folder,
        }
    }

    /// Returns its page, once it responds.
    pub async fn page(&mut self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        wait_for("an exporter's page", 30, async || {
            self.process.must_run();
            let failed = |error: reqwest::Error| format!("{error}: {}", self.process.output());
            let answer = reqwest::get(&url).await.map_err(failed)?;
            let status = answer.status();
            let text = answer.text().await.map_err(failed)?;
            if status.is_success() {
                Ok(text)
            } else {
                Err(format!("{status} {text}: {}", self.process.output()))
            }
        })
        .await
    }
}
