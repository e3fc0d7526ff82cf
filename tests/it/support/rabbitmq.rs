//! A RabbitMQ server with its own node name, ports, database and cookie in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::{free_port, made_by_setup, wait_for};

/// Which of the two installed releases to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// Debian's 3.10.
    #[default]
    Debian,
    /// 4.3 with its own Erlang, installed below `target/`.
    Four,
}

impl Release {
    pub const BOTH: [Self; 2] = [Self::Debian, Self::Four];

    /// Returns the path of a program of the server, without the wrapper that changes the user, or of Erlang.
    fn program(self, name: &str) -> PathBuf {
        let folder = if name == "epmd" { "erlang" } else { "rabbitmq" };
        let path = format!("usr/lib/{folder}/bin/{name}");
        match self {
            Self::Debian => PathBuf::from("/").join(path),
            Self::Four => made_by_setup("rabbitmq-4").join(path),
        }
    }

    /// Returns the PATH with which its scripts find their Erlang first.
    fn path(self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        let erlang = self.program("epmd");
        format!("{}:{path}", erlang.with_file_name("").display())
    }
}

/// Options for starting a server.
#[derive(Debug, Default)]
pub struct Options {
    pub release: Release,
    pub plugins: &'static [&'static str],
    /// Additional lines of configuration, in which `{folder}` and `{tls_port}` are replaced.
    pub config: String,
    /// The folder to use, which may already contain certificates.
    pub folder: Option<TempDir>,
}

impl Options {
    /// Options for a release with the plugin that shards need.
    pub fn of(release: Release) -> Self {
        Self {
            release,
            plugins: &["rabbitmq_consistent_hash_exchange"],
            ..Self::default()
        }
    }
}

pub struct RabbitMq {
    pub port: u16,
    pub tls_port: u16,
    pub folder: TempDir,
    release: Release,
    environment: Vec<(&'static str, String)>,
    process: Process,
    /// Erlang's port mapper. Started here, because one started by the server would outlive it.
    _epmd: Process,
}

impl RabbitMq {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts it with additional lines of configuration, in which `{folder}` and `{tls_port}` are replaced.
    pub async fn start_with(more: &str) -> Self {
        Self::start_as(Options {
            config: more.to_owned(),
            ..Options::default()
        })
        .await
    }

    /// Starts it in a folder that may already contain certificates.
    pub async fn start_in(folder: TempDir, more: &str) -> Self {
        Self::start_as(Options {
            config: more.to_owned(),
            folder: Some(folder),
            ..Options::default()
        })
        .await
    }

    pub async fn start_as(options: Options) -> Self {
        let release = options.release;
        let folder = options.folder;
        let folder = folder.unwrap_or_else(|| TempDir::new().expect("a temporary folder"));
        let more = options.config;
        let (port, tls_port) = (free_port(), free_port());
        let epmd_port = free_port();
        let mut epmd = Command::new(release.program("epmd"));
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
        link_plugins(release, options.plugins, &folder.path().join("available"));
        let plugins = format!("[{}].\n", options.plugins.join(","));
        std::fs::write(folder.path().join("plugins"), plugins).expect("a writable folder");
        let environment = vec![
            ("HOME", path.clone()),
            ("PATH", release.path()),
            ("RABBITMQ_NODENAME", format!("test{port}@localhost")),
            ("RABBITMQ_DIST_PORT", free_port().to_string()),
            ("ERL_EPMD_PORT", epmd_port.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_CONFIG_FILE", format!("{path}/rabbitmq")),
            ("RABBITMQ_MNESIA_BASE", format!("{path}/mnesia")),
            ("RABBITMQ_LOG_BASE", format!("{path}/log")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", format!("{path}/plugins")),
            ("RABBITMQ_PLUGINS_DIR", format!("{path}/available")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none".to_owned(),
            ),
        ];
        let process = Self::spawn(release, &environment, &folder);
        let mut server = Self {
            port,
            tls_port,
            folder,
            release,
            environment,
            process,
            _epmd: epmd,
        };
        server.up().await;
        server
    }

    fn spawn(
        release: Release,
        environment: &[(&'static str, String)],
        folder: &TempDir,
    ) -> Process {
        let mut command = Command::new(release.program("rabbitmq-server"));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Process::start("rabbitmq", &mut command, folder.path())
    }

    async fn up(&mut self) {
        let url = self.url("");
        wait_for("rabbitmq", 120, async || {
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

    /// Returns the URL of a virtual host, given as after the slash; empty means "/".
    pub fn url(&self, vhost: &str) -> String {
        let vhost = if vhost.is_empty() { "%2f" } else { vhost };
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.port)
    }

    /// Returns the URL for another login.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}//", self.port)
    }

    /// Returns the number of queues bound to the event exchange.
    pub fn receivers(&self) -> usize {
        let bindings = self.ctl(&["--quiet", "list_bindings", "source_name"]);
        bindings.lines().filter(|line| *line == "celeryev").count()
    }

    /// Runs rabbitmqctl against it, and returns its output.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.release.program("rabbitmqctl"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command
            .args(arguments)
            .output()
            .expect("rabbitmqctl starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {text}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Kills it, as in a crash.
    pub fn stop(&mut self) {
        // The server is a child of the script, and is only killed along with it if they share a process group.
        let beam = children(self.process.pid());
        self.process.kill();
        for pid in beam {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }

    /// Sends SIGTERM, and waits until it exits.
    pub fn terminate(&mut self) {
        self.process.terminate(60);
    }

    pub async fn start_again(&mut self) {
        self.process = Self::spawn(self.release, &self.environment, &self.folder);
        self.up().await;
        // It listens before all queues are available. Until then, 3.10 may lose messages published to a stream, even
        // confirmed ones.
        self.ctl(&["--quiet", "await_startup"]);
        wait_for("the queues", 60, async || {
            let states = self.ctl(&["--quiet", "list_queues", "name", "state"]);
            let lines = states.lines().skip(1).filter(|line| !line.is_empty());
            if lines.into_iter().all(|line| line.ends_with("running")) {
                Ok(())
            } else {
                Err(states)
            }
        })
        .await;
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Links the server's own libraries and some plugins, without other plugins that these need, into a folder. Erlang looks for each module in the folders of all
/// plugins, which takes a sixth of the start.
fn link_plugins(release: Release, plugins: &[&str], folder: &Path) {
    std::fs::create_dir_all(folder).expect("a writable folder");
    let versions = release.program("").with_file_name("lib");
    let versions = std::fs::read_dir(versions).expect("an installed server");
    let available = versions.map(|version| version.expect("a folder").path().join("plugins"));
    for entry in available.flat_map(|plugins| std::fs::read_dir(plugins).expect("plugins")) {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_needed = !name.starts_with("rabbitmq_")
            || plugins
                .iter()
                .chain(&["rabbitmq_prelaunch"])
                .any(|plugin| name.starts_with(&format!("{plugin}-")));
        if is_needed {
            let link = folder.join(name);
            if !link.exists() {
                std::os::unix::fs::symlink(entry.path(), link).expect("a writable folder");
            }
        }
    }
}

/// Returns the child processes of a process, from /proc.
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
