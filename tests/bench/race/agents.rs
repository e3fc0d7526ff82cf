//! Programs that scrape a page and push it: vmagent, and Prometheus with and without agent mode.

use std::process::Command;

use tempfile::TempDir;

use crate::support::process::Process;
use crate::support::{free_port, target};

/// What an agent speaks to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// Remote write 1.0.
    VmagentSnappy,
    /// VictoriaMetrics' own variant of 1.0.
    VmagentZstd,
    /// Remote write 2.0. In agent mode, Prometheus keeps no metadata, so it sends none.
    PrometheusWithoutStorage,
    /// Remote write 2.0 with metadata, which celeriac sends as well. It also stores the samples.
    Prometheus,
}

impl Agent {
    pub const ALL: [Self; 4] = [
        Self::VmagentSnappy,
        Self::VmagentZstd,
        Self::PrometheusWithoutStorage,
        Self::Prometheus,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::VmagentSnappy => "vmagent, 1.0",
            Self::VmagentZstd => "vmagent, to VictoriaMetrics",
            Self::PrometheusWithoutStorage => "Prometheus agent, 2.0 without metadata",
            Self::Prometheus => "Prometheus, 2.0",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::VmagentSnappy | Self::VmagentZstd => "victoria-metrics-newer/usr/bin/vmagent",
            Self::PrometheusWithoutStorage | Self::Prometheus => "prometheus-3/usr/bin/prometheus",
        }
    }

    pub fn is_installed(self) -> bool {
        target().join(self.program()).exists()
    }

    /// Starts it: it scrapes `/metrics` on a port of loopback, and pushes to a URL.
    pub fn start(self, port: u16, interval: &str, url: &str) -> Running {
        let folder = TempDir::new().expect("a temporary folder");
        let path = |file: &str| folder.path().join(file).display().to_string();
        let remote = match self {
            Self::VmagentSnappy | Self::VmagentZstd => String::new(),
            Self::PrometheusWithoutStorage | Self::Prometheus => format!(
                "remote_write: [{{protobuf_message: io.prometheus.write.v2.Request, url: {url:?}}}]\n"
            ),
        };
        let config = format!(
            "global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\n\
             scrape_configs: [{{job_name: race, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n\
             {remote}"
        );
        std::fs::write(path("agent.yml"), config).expect("a writable folder");
        let listen = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(target().join(self.program()));
        match self {
            Self::VmagentSnappy => command.arg("-remoteWrite.forcePromProto"),
            Self::VmagentZstd => command.arg("-remoteWrite.forceVMProto"),
            Self::PrometheusWithoutStorage => {
                let data = format!("--storage.agent.path={}", path("data"));
                command.args(["--agent", &data])
            }
            Self::Prometheus => command.arg(format!("--storage.tsdb.path={}", path("data"))),
        };
        match self {
            Self::VmagentSnappy | Self::VmagentZstd => command
                .arg("-loggerLevel=WARN")
                .arg(format!("-promscrape.config={}", path("agent.yml")))
                .arg(format!("-remoteWrite.tmpDataPath={}", path("data")))
                .arg(format!("-remoteWrite.url={url}"))
                .arg(format!("-httpListenAddr={listen}")),
            Self::PrometheusWithoutStorage | Self::Prometheus => command
                .arg("--enable-feature=metadata-wal-records")
                .arg(format!("--config.file={}", path("agent.yml")))
                .arg(format!("--web.listen-address={listen}")),
        };
        Running {
            process: Process::start("agent", &mut command, folder.path()),
            _folder: folder,
        }
    }
}

pub struct Running {
    pub process: Process,
    _folder: TempDir,
}
