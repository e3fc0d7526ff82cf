//! A Prometheus server that receives remote write, or scrapes.

use std::ops::{Deref, DerefMut};
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::querier::Querier;
use super::{free_port, made_by_setup, wait_for};

pub struct Prometheus {
    folder: TempDir,
    program: String,
    arguments: Vec<String>,
    process: Process,
    querier: Querier,
}

/// Which of the two installed releases to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// Debian's 2.42.
    #[default]
    Two,
    /// 3.5, installed below `target/`.
    Three,
}

/// Options for starting a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub release: Release,
    /// Value of `--enable-feature`, separated by commas.
    pub features: String,
    /// Contents of `prometheus.yml`.
    pub config: String,
    /// Path for `--web.config.file`.
    pub web_config: Option<String>,
    /// Additional arguments.
    pub arguments: Vec<String>,
    /// Whether to leave the remote-write receiver disabled, as by default.
    pub is_no_receiver: bool,
}

impl Options {
    /// 3.5 with all features that a 2.0 sender can use.
    pub fn newer() -> Self {
        Self {
            release: Release::Three,
            features: "native-histograms,exemplar-storage,created-timestamp-zero-ingestion"
                .to_owned(),
            ..Self::default()
        }
    }

    /// 2.42 with the given configuration.
    pub fn of(config: &str) -> Self {
        Self {
            config: config.to_owned(),
            ..Self::default()
        }
    }

    /// 3.5 with the given configuration.
    pub fn newest(config: &str) -> Self {
        Self {
            release: Release::Three,
            ..Self::of(config)
        }
    }

    /// A server that scrapes as configured, with additional features, separated by commas.
    pub fn scraping(release: Release, config: &str, features: &str) -> Self {
        Self {
            release,
            features: features.to_owned(),
            ..Self::of(config)
        }
    }

    /// Accepts samples that are late by up to `window`.
    pub fn out_of_order(mut self, window: &str) -> Self {
        self.config = format!("storage: {{tsdb: {{out_of_order_time_window: {window}}}}}\n");
        self
    }
}

/// Returns the promtool of 3.5, installed below `target/`.
pub fn promtool_3() -> Command {
    Command::new(made_by_setup("prometheus-3/usr/bin/promtool"))
}

impl Prometheus {
    /// Debian's 2.42.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// 3.5, installed below `target/`.
    pub async fn start_3() -> Self {
        let options = Options {
            release: Release::Three,
            ..Options::default()
        };
        Self::start_with(options).await
    }

    pub async fn start_with(options: Options) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let program = if options.release == Release::Three {
            let program = made_by_setup("prometheus-3/usr/bin/prometheus");
            program.display().to_string()
        } else {
            "prometheus".to_owned()
        };
        let path = |file: &str| folder.path().join(file).display().to_string();
        let config = if options.config.is_empty() {
            "global: {}\n"
        } else {
            &options.config
        };
        std::fs::write(path("prometheus.yml"), config).expect("writable");
        let port = free_port();
        let mut arguments = vec![
            format!("--config.file={}", path("prometheus.yml")),
            format!("--storage.tsdb.path={}", path("data")),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        if !options.is_no_receiver {
            arguments.push("--web.enable-remote-write-receiver".to_owned());
        }
        if !options.features.is_empty() {
            arguments.push(format!("--enable-feature={}", options.features));
        }
        if let Some(web_config) = &options.web_config {
            std::fs::write(path("web.yml"), web_config).expect("writable");
            arguments.push(format!("--web.config.file={}", path("web.yml")));
        }
        arguments.extend(options.arguments);
        let process = Self::spawn(&program, &arguments, &folder);
        let mut server = Self {
            folder,
            program,
            arguments,
            process,
            querier: Querier::new(port),
        };
        server.up().await;
        server
    }

    fn spawn(program: &str, arguments: &[String], folder: &TempDir) -> Process {
        let mut command = Command::new(program);
        command.args(arguments);
        Process::start("prometheus", &mut command, folder.path())
    }

    /// Waits until the log reports that it is ready, because a web configuration may require a login.
    async fn up(&mut self) {
        wait_for("prometheus", 30, async || {
            self.process.must_run();
            let log = self.process.output();
            if log.contains("Server is ready to receive web requests") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }

    pub fn stop(&mut self) {
        self.process.terminate(30);
    }

    /// Kills it, as in a crash.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub async fn start_again(&mut self) {
        self.process = Self::spawn(&self.program, &self.arguments, &self.folder);
        self.up().await;
    }
}

impl Deref for Prometheus {
    type Target = Querier;

    fn deref(&self) -> &Querier {
        &self.querier
    }
}

impl DerefMut for Prometheus {
    fn deref_mut(&mut self) -> &mut Querier {
        &mut self.querier
    }
}
