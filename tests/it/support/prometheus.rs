//! A Prometheus server that takes remote write.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{free_port, made_by_setup, wait_for};

pub struct Prometheus {
    pub port: u16,
    folder: TempDir,
    program: String,
    process: Process,
}

impl Prometheus {
    /// Debian's 2.42.
    pub async fn start() -> Self {
        Self::start_with("global: {}\n").await
    }

    /// The same, with the text of its `prometheus.yml`.
    pub async fn start_with(config: &str) -> Self {
        Self::start_program("prometheus".to_owned(), config).await
    }

    /// 3.5, from below `target/`.
    pub async fn start_3() -> Self {
        Self::start_3_with("global: {}\n").await
    }

    /// The same, with the text of its `prometheus.yml`.
    pub async fn start_3_with(config: &str) -> Self {
        let program = made_by_setup("prometheus-3/usr/bin/prometheus");
        Self::start_program(program.display().to_string(), config).await
    }

    async fn start_program(program: String, config: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("writable");
        let port = free_port();
        let process = Self::spawn(&program, port, &folder);
        let mut server = Self {
            port,
            folder,
            program,
            process,
        };
        server.up().await;
        server
    }

    fn spawn(program: &str, port: u16, folder: &TempDir) -> Process {
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
        self.process = Self::spawn(&self.program, self.port, &self.folder);
        self.up().await;
    }

    /// The series that an expression gives, each with its labels and value, now or at a time.
    pub async fn query(&self, expression: &str, time: Option<f64>) -> Vec<(Value, f64)> {
        let mut url = url::Url::parse(&format!("http://127.0.0.1:{}/api/v1/query", self.port))
            .expect("a URL");
        url.query_pairs_mut().append_pair("query", expression);
        if let Some(time) = time {
            url.query_pairs_mut().append_pair("time", &time.to_string());
        }
        let text = reqwest::get(url)
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a body");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["status"], "success", "{expression}: {text}");
        let series = answer["data"]["result"]
            .as_array()
            .expect("a vector")
            .iter();
        series
            .map(|series| {
                let value = series["value"][1].as_str().expect("a value");
                (series["metric"].clone(), value.parse().expect("a number"))
            })
            .collect()
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
