//! Reloads the configuration while the daemon runs.
//!
//! A reload is all or nothing: everything that can fail is tried before anything changes, and a
//! single key that cannot change at runtime rejects the whole file. No counter is reset.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{error, info};

use crate::blocking::blocking;
use crate::clock;
use crate::config::{Changes, Config, LoadError, MetricsConfig, SinkId};
use crate::sink::Reconfigured;
use crate::sink::client::{BuildError, Client};
use crate::telemetry::metrics::ReloadMetrics;

/// Why the configuration was not reloaded.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("cannot reload: started from command-line flags, no configuration file")]
    NoFile,
    #[error("nothing was changed: {} is not a regular file and can be read only once", .0.display())]
    ReadOnce(PathBuf),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("nothing was changed; these keys need a restart: {}", .0.join(", "))]
    Fixed(Vec<String>),
    #[error("nothing was changed: cannot create an HTTP client for remote_write {name}: {source}")]
    Client { name: String, source: BuildError },
}

/// The running parts, and the channels to change them.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) file: Option<PathBuf>,
    pub(super) current: Config,
    pub(super) settings: mpsc::Sender<MetricsConfig>,
    /// By sink: a reload neither adds nor moves one.
    pub(super) sinks: Vec<mpsc::Sender<Reconfigured>>,
    pub(super) metrics: ReloadMetrics,
}

impl Reloader {
    /// Reloads the file and applies it.
    pub(super) async fn reload(&mut self) -> Result<(), String> {
        let reloaded = self.try_reload().await;
        match &reloaded {
            Ok(()) => {
                self.metrics.successful.set(1.0);
                self.metrics.timestamp.set(clock::now().seconds());
            }
            Err(error) => {
                self.metrics.successful.set(0.0);
                error!(%error, "reloading the configuration failed; nothing was changed");
            }
        }
        reloaded.map_err(|error| error.to_string())
    }

    async fn try_reload(&mut self) -> Result<(), ReloadError> {
        let file = self.file.as_ref().ok_or(ReloadError::NoFile)?;
        // Reading a pipe again would wait for a writer that may never come.
        if std::fs::metadata(file).is_ok_and(|found| !found.is_file()) {
            return Err(ReloadError::ReadOnce(file.clone()));
        }
        let config = blocking(|| Config::load(file))?;
        let changes = Changes::between(&self.current, &config);
        let fixed: Vec<String> = changes.fixed().map(str::to_owned).collect();
        if !fixed.is_empty() {
            return Err(ReloadError::Fixed(fixed));
        }
        let sinks = config.remote_write.iter().enumerate();
        let sinks = sinks.map(|(at, sink)| (SinkId::new(at), sink));
        let mut ready = Vec::new();
        for (id, sink) in sinks.filter(|(id, _)| changes.touch_sink(*id)) {
            let client = Client::new(&sink.client).map_err(|source| ReloadError::Client {
                name: sink.name.clone(),
                source,
            })?;
            let reconfigured = Reconfigured {
                config: sink.clone(),
                client: Arc::new(client),
                sends_other: changes.send_other(id),
            };
            ready.push((&self.sinks[id.index()], reconfigured));
        }
        // From here on nothing fails: the receivers of these messages live as long as the daemon.
        for (channel, reconfigured) in ready {
            let _ = channel.send(reconfigured).await;
        }
        let _ = self.settings.send(config.metrics.clone()).await;
        info!(changed = !changes.is_empty(), "configuration reloaded");
        self.current = config;
        Ok(())
    }
}
