//! Builds the stages from a configuration, spawns and joins them, and drains them in data-flow
//! order.
//!
//! A shutdown follows the data flow: first the sources and the listener are stopped; the aggregator
//! ends when its channel closes, after a last snapshot; the sinks end when that snapshot is sent,
//! or when the grace period expires.

mod build;
mod error;
mod instruments;
mod listener;
mod outputs;
mod reload;
mod simulation;
mod stages;
mod standby;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::error::StartError;
use self::reload::Reloader;
pub use self::simulation::{Inputs, Simulation};
pub use self::stages::RunError;
use self::stages::Stages;
use crate::aggregator::Views;
use crate::checkpoint::CheckpointFolder;
use crate::config::Config;
use crate::http::ReloadRequest;
use crate::memory;
use crate::profile::ProfileName;
use crate::series::Snapshot;
use crate::shutdown::Signals;
use crate::supervisor::{LivenessPing, Supervisor};
use crate::telemetry::readiness::Readiness;

/// Fraction of the grace period after which the sinks give up, so that they can still count unsent
/// samples.
const HURRY: f64 = 0.9;

/// The daemon, built but not yet running.
#[derive(Debug)]
pub struct App {
    stages: Stages,
    stop: CancellationToken,
    drain_deadline: CancellationToken,
    /// Requests to reload the configuration, each with a channel for the result.
    reloads: mpsc::Receiver<ReloadRequest>,
    /// The lock on `data_dir`, held until every stage has released its files. Another daemon may
    /// then take over.
    folder: Option<Arc<CheckpointFolder>>,
    reloader: Option<Reloader>,
    supervisor: Supervisor,
    /// The readiness of the stages, and the channel for liveness checks of the aggregator.
    readiness: Readiness,
    questions: Option<mpsc::Sender<LivenessPing>>,
    grace_period: Duration,
    /// Replaces the brokers, if they have not been started yet.
    simulation: Option<Simulation>,
    /// The outputs of the aggregator, and the address of the listener, once they exist.
    views: Option<Views>,
    address: Option<SocketAddr>,
}

impl App {
    /// Builds and spawns all stages; `file` is the configuration file to reload. Waits while
    /// another daemon holds `data_dir`.
    pub async fn build(config: Config, file: Option<PathBuf>) -> Result<Self, StartError> {
        Self::build_with(config, file, None).await
    }

    /// Like [`App::build`], with simulated clusters in place of all brokers.
    pub async fn simulate(config: Config, simulation: Simulation) -> Result<Self, StartError> {
        Self::build_with(config, None, Some(simulation)).await
    }

    async fn build_with(
        config: Config,
        file: Option<PathBuf>,
        simulation: Option<Simulation>,
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let mut stages = Stages::default();
        let signals = Signals::new().map_err(StartError::Signals)?;
        let (asking, reloads) = mpsc::channel(1);
        let signalled = asking.clone();
        let watch_signals = signals.watch(stop.clone(), move || {
            // The result is logged. If a request is already waiting, it will read the newest file
            // anyway.
            let _ = signalled.try_send(oneshot::channel().0);
        });
        stages.spawn("signals".to_owned(), watch_signals);
        let mut app = Self {
            stages,
            stop,
            drain_deadline: CancellationToken::new(),
            reloads,
            reloader: None,
            folder: None,
            supervisor: Supervisor::from_environment(),
            readiness: Readiness::default(),
            questions: None,
            grace_period: config.global.grace_period,
            simulation,
            views: None,
            address: None,
        };
        if let Some(path) = &config.data_dir {
            let taken =
                standby::lock_when_free(path, config.http.as_ref(), &app.stop, app.supervisor)
                    .await?;
            // The daemon was stopped while standing by.
            let Some(folder) = taken else { return Ok(app) };
            app.folder = Some(Arc::new(folder));
        }
        app.assemble(config, file, asking)?;
        Ok(app)
    }

    /// Returns a token that stops the daemon as a signal would.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Returns the address that is listened on, if any.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns the snapshots of a profile that an output uses, unless the daemon was stopped before
    /// it took any.
    pub fn snapshots(&self, profile: ProfileName) -> Option<watch::Receiver<Arc<Snapshot>>> {
        self.views.as_ref().map(|views| views.of(profile))
    }

    /// Runs until stopped, then drains for at most the grace period.
    pub async fn run(mut self) -> Result<(), RunError> {
        self.supervisor.ready();
        let (readiness, questions) = (self.readiness.clone(), self.questions.take());
        let notifying = self.supervisor.keep_notified(Some(readiness), questions);
        tokio::select! {
            ended = self.run_to_end() => ended,
            never = notifying => match never {},
            never = memory::release() => match never {},
        }
    }

    async fn run_to_end(&mut self) -> Result<(), RunError> {
        let ended = loop {
            tokio::select! {
                // Check `stop` first, so that a stage that ends because of the signal is not
                // reported as a failure.
                biased;
                () = self.stop.cancelled() => break None,
                ended = self.stages.next() => break ended,
                Some(asked) = self.reloads.recv() => self.reload(asked).await,
            }
        };
        self.supervisor.stopping();
        // No more reloads are accepted.
        self.reloads.close();
        if let Some(error) = ended {
            self.stop.cancel();
            self.drain().await;
            return Err(error);
        }
        self.drain().await;
        Ok(())
    }

    async fn reload(&mut self, asked: ReloadRequest) {
        let Some(reloader) = &mut self.reloader else {
            return;
        };
        self.supervisor.reloading();
        let reloaded = reloader.reload().await;
        self.supervisor.ready();
        self.grace_period = reloader.current.global.grace_period;
        // A reload requested by a signal has no receiver; its result is logged.
        let _ = asked.send(reloaded);
    }

    async fn drain(&mut self) {
        let drained = async {
            while !self.stages.are_drained() {
                if let Some(RunError::Panicked(stage)) = self.stages.next().await {
                    warn!(stage, "stage panicked during shutdown");
                }
            }
        };
        let drain_deadline = async {
            tokio::time::sleep(self.grace_period.mul_f64(HURRY)).await;
            self.drain_deadline.cancel();
            tokio::time::sleep(self.grace_period.mul_f64(1.0 - HURRY)).await;
        };
        let in_time = tokio::select! {
            () = drained => true,
            () = drain_deadline => false,
        };
        if in_time {
            info!("stopped");
        } else {
            let stages = self.stages.running();
            warn!(
                ?stages,
                "shutdown grace period expired; some stages were still running"
            );
        }
    }
}
