//! A VictoriaMetrics server, which receives remote write and supports Prometheus' query API.
//!
//! A new series is found about ten seconds after its first sample was written, so query it with [`Querier::has`].

use std::ops::Deref;
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::querier::Querier;
use super::{free_port, made_by_setup, wait_for};

pub struct Victoria {
    #[expect(dead_code, reason = "holds the data and the log")]
    folder: TempDir,
    process: Process,
    querier: Querier,
}

impl Victoria {
    /// Debian's 1.79.
    pub async fn start() -> Self {
        Self::start_program("victoria-metrics").await
    }

    /// A newer release, installed below `target/`.
    pub async fn start_newer() -> Self {
        let program = made_by_setup("victoria-metrics-newer/usr/bin/victoria-metrics");
        Self::start_program(&program.display().to_string()).await
    }

    async fn start_program(program: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let mut command = Command::new(program);
        command
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .arg(format!(
                "-storageDataPath={}",
                folder.path().join("data").display()
            ))
            .arg("-retentionPeriod=100y")
            // By default, the newest 30 seconds are not shown.
            .args(["-search.latencyOffset=0s", "-search.disableCache"])
            .args(["-memory.allowedBytes=256MB", "-loggerLevel=WARN"]);
        let process = Process::start("victoria", &mut command, folder.path());
        let mut server = Self {
            folder,
            process,
            querier: Querier::new(port),
        };
        let url = format!("http://127.0.0.1:{port}/health");
        wait_for("victoria", 30, async || {
            server.process.must_run();
            let answer = reqwest::get(&url).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status().is_success() {
                Ok(())
            } else {
                Err(answer.status().to_string())
            }
        })
        .await;
        server
    }
}

impl Deref for Victoria {
    type Target = Querier;

    fn deref(&self) -> &Querier {
        &self.querier
    }
}
