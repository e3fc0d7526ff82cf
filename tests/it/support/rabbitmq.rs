//! A RabbitMQ server of its own: node name, ports, database and cookie in a temporary folder.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::{free_port, wait_for};

/// The server's scripts, without the wrapper that changes the user.
const BIN: &str = "/usr/lib/rabbitmq/bin";

pub struct RabbitMq {
    pub port: u16,
    pub tls_port: u16,
    pub folder: TempDir,
    environment: Vec<(&'static str, String)>,
    process: Process,
    /// Erlang's port mapper. Started here, because the one that the server would start outlives it.
    _epmd: Process,
}

impl RabbitMq {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more lines of configuration; `{folder}` and `{tls_port}` in them are filled in.
    pub async fn start_with(more: &str) -> Self {
        Self::start_in(TempDir::new().expect("a temporary folder"), more).await
    }

    /// In a folder that may hold certificates already.
    pub async fn start_in(folder: TempDir, more: &str) -> Self {
        let (port, tls_port) = (free_port(), free_port());
        let epmd_port = free_port();
        let mut epmd = Command::new("epmd");
        epmd.args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"]);
        let epmd = Process::start("epmd", &mut epmd, folder.path());
        let path = folder.path().display().to_string();
        let more = more
            .replace("{folder}", &path)
            .replace("{tls_port}", &tls_port.to_string());
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlog.file = false\nlog.console = true\n\
             log.console.level = warning\nvm_memory_high_watermark.absolute = 2GB\n{more}\n"
        );
        std::fs::write(folder.path().join("rabbitmq.conf"), config).expect("a writable folder");
        let environment = vec![
            ("HOME", path.clone()),
            ("RABBITMQ_NODENAME", format!("test{port}@localhost")),
            ("RABBITMQ_DIST_PORT", free_port().to_string()),
            ("ERL_EPMD_PORT", epmd_port.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_CONFIG_FILE", format!("{path}/rabbitmq")),
            ("RABBITMQ_MNESIA_BASE", format!("{path}/mnesia")),
            ("RABBITMQ_LOG_BASE", format!("{path}/log")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", format!("{path}/plugins")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none".to_owned(),
            ),
        ];
        let process = Self::spawn(&environment, &folder);
        let mut server = Self {
            port,
            tls_port,
            folder,
            environment,
            process,
            _epmd: epmd,
        };
        server.up().await;
        server
    }

    fn spawn(environment: &[(&'static str, String)], folder: &TempDir) -> Process {
        let mut command = Command::new(format!("{BIN}/rabbitmq-server"));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Process::start("rabbitmq", &mut command, folder.path())
    }

    async fn up(&mut self) {
        let url = self.url("");
        wait_for("rabbitmq", 60, async || {
            self.process.must_run();
            let connecting =
                lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
            match tokio::time::timeout(Duration::from_secs(2), connecting).await {
                Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
                Err(_) => Err("silence".to_owned()),
            }
        })
        .await;
    }

    /// The URL of a virtual host, as written behind the host's slash; empty is "/".
    pub fn url(&self, vhost: &str) -> String {
        let vhost = if vhost.is_empty() { "%2f" } else { vhost };
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.port)
    }

    /// The same with another login.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}//", self.port)
    }

    /// Runs rabbitmqctl against it; what it prints.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(format!("{BIN}/rabbitmqctl"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command
            .args(arguments)
            .output()
            .expect("rabbitmqctl starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {text}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends it as a crash does.
    pub fn stop(&mut self) {
        // The script's child is the server: it goes with its parent's group only where there is one.
        let beam = children(self.process.pid());
        self.process.kill();
        for pid in beam {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }

    pub async fn start_again(&mut self) {
        self.process = Self::spawn(&self.environment, &self.folder);
        self.up().await;
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The processes below one, from /proc.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let direct: Vec<u32> = text
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    let below: Vec<u32> = direct.iter().flat_map(|&pid| children(pid)).collect();
    direct.into_iter().chain(below).collect()
}
