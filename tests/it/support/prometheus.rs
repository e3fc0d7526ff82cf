//! A Prometheus server that takes remote write, or scrapes.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{free_port, made_by_setup, wait_for};

pub struct Prometheus {
    pub port: u16,
    folder: TempDir,
    program: String,
    features: &'static str,
    process: Process,
}

/// Which of the two that are on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian's 2.42.
    Two,
    /// 3.5, from below `target/`.
    Three,
}

impl Prometheus {
    /// Debian's 2.42.
    pub async fn start() -> Self {
        Self::start_with(Release::Two, "global: {}\n", "").await
    }

    /// 3.5, from below `target/`.
    pub async fn start_3() -> Self {
        Self::start_with(Release::Three, "global: {}\n", "").await
    }

    /// With a configuration, and features that are off by themselves, separated by commas.
    pub async fn start_with(release: Release, config: &str, features: &'static str) -> Self {
        let program = match release {
            Release::Two => "prometheus".to_owned(),
            Release::Three => made_by_setup("prometheus-3/usr/bin/prometheus")
                .display()
                .to_string(),
        };
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("writable");
        let port = free_port();
        let process = Self::spawn(&program, port, &folder, features);
        let mut server = Self {
            port,
            folder,
            program,
            features,
            process,
        };
        server.up().await;
        server
    }

    fn spawn(program: &str, port: u16, folder: &TempDir, features: &str) -> Process {
        let mut command = Command::new(program);
        command
            .arg(format!(
                "--config.file={}/prometheus.yml",
                folder.path().display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}/data",
                folder.path().display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--enable-feature={features}"))
            .arg("--web.enable-remote-write-receiver");
        Process::start("prometheus", &mut command, folder.path())
    }

    async fn up(&mut self) {
        let url = format!("http://127.0.0.1:{}/-/ready", self.port);
        wait_for("prometheus", 30, async || {
            self.process.must_run();
            let answer = reqwest::get(&url)
                .await
                .map_err(|error| error.to_string())?;
            if answer.status().is_success() {
                Ok(())
            } else {
                Err(answer.status().to_string())
            }
        })
        .await;
    }

    pub fn write_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1/write", self.port)
    }

    pub fn stop(&mut self) {
        self.process.terminate(30);
    }

    pub async fn start_again(&mut self) {
        self.process = Self::spawn(&self.program, self.port, &self.folder, self.features);
        self.up().await;
    }

    /// The series that an expression gives, each with its labels and value, now or at a time.
    pub async fn query(&self, expression: &str, time: Option<f64>) -> Vec<(Value, f64)> {
        let time = time.map(|time| time.to_string());
        let time = time.as_deref().map(|time| ("time", time));
        let parameters = [("query", expression)].into_iter().chain(time);
        let data = self.api("query", parameters).await;
        let series = data["result"].as_array().expect("a vector").iter();
        series
            .map(|series| {
                let value = series["value"][1].as_str().expect("a value");
                (series["metric"].clone(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// What the API says: the `data` of its answer.
    pub async fn api<'a>(
        &self,
        path: &str,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let mut url = url::Url::parse(&url).expect("a URL");
        url.query_pairs_mut().extend_pairs(parameters);
        let answer = reqwest::get(url.clone()).await.expect("an answer");
        let text = answer.text().await.expect("a body");
        let mut answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["status"], "success", "{url}: {text}");
        answer["data"].take()
    }

    /// Waits until what an expression gives adds up to that.
    pub async fn has(&self, expression: &str, expected: f64) {
        wait_for("Prometheus to have it all", 60, async || {
            let stored = self.sum(expression).await;
            if stored == expected {
                Ok(())
            } else {
                Err(format!("{expression}: {stored} of {expected}"))
            }
        })
        .await;
    }

    /// The sum of what an expression gives; 0 where that is nothing.
    pub async fn sum(&self, expression: &str) -> f64 {
        self.query(expression, None)
            .await
            .iter()
            .map(|(_, value)| value)
            .sum()
    }
}
