//! The daemon under test, as users run it.

use std::collections::BTreeMap;
use std::process::{Command, ExitStatus};

use tempfile::TempDir;

use super::process::Process;
use super::{free_port, wait_for};

pub struct Celeriac {
    pub port: u16,
    pub process: Process,
    folder: TempDir,
}

/// A page of metrics: the value of each series, by name with labels.
pub struct Page(pub BTreeMap<String, f64>);

impl Celeriac {
    /// Starts it with a configuration, to which an interval of one second is added, and `http` unless the
    /// configuration has it, with `{listen}` as the address.
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// Starts it with additional environment variables.
    pub async fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_through(config, environment, &[]).await
    }

    /// Starts it through a program that sets things up and then executes its last arguments in the same process.
    pub async fn start_through(
        config: &str,
        environment: &[(&str, &str)],
        through: &[&str],
    ) -> Self {
        Self::start_on(free_port(), config, environment, through).await
    }

    /// Starts it on a given port.
    pub async fn start_on(
        port: u16,
        config: &str,
        environment: &[(&str, &str)],
        through: &[&str],
    ) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("celeriac.yaml");
        let global = if config.contains("global:") {
            ""
        } else {
            "global: {interval: 1s}\n"
        };
        let address = format!("127.0.0.1:{port}");
        let text = if config.contains("{listen}") {
            format!("{global}{}", config.replace("{listen}", &address))
        } else {
            format!("{global}http: {{listen: \"{address}\"}}\n{config}")
        };
        std::fs::write(&file, text).expect("a writable folder");
        let words = [through, &[env!("CARGO_BIN_EXE_celeriac")]].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg("run")
            .arg("--config")
            .arg(&file);
        command.envs(environment.iter().copied());
        let process = Process::start("celeriac", &mut command, folder.path());
        let mut daemon = Self {
            port,
            process,
            folder,
        };
        wait_for("celeriac to listen", 20, async || {
            daemon.process.must_run();
            // No request, because TLS or a login may be required.
            let connected = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await;
        daemon
    }

    /// Returns the output of `doctor` for a configuration, with white space collapsed.
    pub async fn doctor(config: &str) -> String {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("celeriac.yaml");
        std::fs::write(&file, config).expect("a writable folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
        command
            .args(["doctor", "--wait", "3", "--config"])
            .arg(&file);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.expect("no panic").expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Returns the path of its configuration file.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("celeriac.yaml")
    }

    /// Waits until every broker is subscribed and every sink has delivered.
    pub async fn ready(&self) {
        let port = self.port;
        wait_for("celeriac to be ready", 30, async || {
            match get(port, "/-/ready").await? {
                (200, _) => Ok(()),
                (_, reasons) => Err(format!("{reasons}\n{}", self.process.output())),
            }
        })
        .await;
    }

    /// Waits until a broker is subscribed, regardless of other brokers and sinks. A broker without a name is
    /// `default`.
    pub async fn subscribed(&self, broker: &str) {
        wait_for("the subscription", 30, async || {
            let (_, reasons) = get(self.port, "/-/ready").await?;
            let waits = reasons.contains(&format!("broker {broker}: "));
            if waits { Err(reasons) } else { Ok(()) }
        })
        .await;
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        get(self.port, path).await.expect("the listener answers")
    }

    pub async fn page(&self) -> Page {
        self.page_of("/metrics").await
    }

    /// Returns the page at a path.
    pub async fn page_of(&self, path: &str) -> Page {
        let (status, text) = self.get(path).await;
        assert_eq!(status, 200, "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Page(
            lines
                .map(|line| {
                    let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                    (name.to_owned(), value.parse().expect("a number"))
                })
                .collect(),
        )
    }

    /// Waits until the page satisfies a condition.
    pub async fn page_when(&self, what: &str, seconds: u64, holds: impl Fn(&Page) -> bool) -> Page {
        wait_for(what, seconds, async || {
            let page = self.page().await;
            if holds(&page) {
                Ok(page)
            } else {
                Err(format!("{:#?}\n{}", page.0, self.process.output()))
            }
        })
        .await
    }

    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate(40)
    }

    /// Returns its current resident memory in bytes.
    pub fn resident(&self) -> u64 {
        super::process::resident(self.process.pid())
    }
}

async fn get(port: u16, path: &str) -> Result<(u16, String), String> {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    Ok((
        status,
        answer.text().await.map_err(|error| error.to_string())?,
    ))
}

impl Page {
    /// Sums all series of a name whose labels contain all the given strings, such as `name="x"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.sum_known(name, labels).unwrap_or_default()
    }

    /// Returns the same, or nothing if there is no such series.
    pub fn sum_known(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let matches = |line: &str| {
            let (family, rest) = line.split_once('{').unwrap_or((line, ""));
            family == name && labels.iter().all(|label| rest.contains(label))
        };
        let series = self.0.iter().filter(|(line, _)| matches(line));
        series
            .map(|(_, value)| *value)
            .reduce(|sum, value| sum + value)
    }

    /// Returns the number of decoded events across all clusters.
    pub fn events(&self) -> f64 {
        self.sum("celery_events_total", &[])
    }
}
