//! Builds the stages from a configuration, spawns and joins them, and drains them in the order of the data.
//!
//! A shutdown is the data flow, closed from the left: the sources and the listener are told to stop; the
//! aggregator ends when its channel closes, and makes the last snapshot; the sinks end when that is sent, or
//! when there is no time left.

mod build;
mod reload;
mod stages;
mod standby;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::build::StartError;
use self::reload::Reloader;
pub use self::stages::RunError;
use self::stages::Stages;
use crate::checkpoint::CheckpointFolder;
use crate::config::{Config, ReloadRequest};
use crate::shutdown::Signals;
use crate::supervisor::{Question, Supervisor};
use crate::telemetry::readiness::Readiness;

/// The share of the grace period after which the sinks give up, so that they can count what they could not send.
const HURRY: f64 = 0.9;

/// The daemon, built and not yet running.
#[derive(Debug)]
pub struct App {
    stages: Stages,
    stop: CancellationToken,
    hurry: CancellationToken,
    /// Who asks for the configuration to be read again; `None`: there is nothing to tell of it.
    reloads: mpsc::Receiver<ReloadRequest>,
    /// Held until every stage has let go of what is in it: then another daemon may have it.
    folder: Option<Arc<CheckpointFolder>>,
    reloader: Option<Reloader>,
    supervisor: Supervisor,
    /// How the stages do, and how the aggregator is asked whether it does.
    readiness: Readiness,
    questions: Option<mpsc::Sender<Question>>,
    grace_period: Duration,
}

impl App {
    /// Builds and spawns all stages; `file` is where the configuration can be read again. While another daemon has the
    /// `data_dir`, it waits.
    pub async fn build(config: Config, file: Option<PathBuf>) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let mut stages = Stages::default();
        let signals = Signals::new().map_err(StartError::Signals)?;
        let (asking, reloads) = mpsc::channel(1);
        let watch_signals = signals.watch(stop.clone(), asking.clone());
        stages.spawn("signals".to_owned(), watch_signals);
        let mut app = Self {
            stages,
            stop,
            hurry: CancellationToken::new(),
            reloads,
            reloader: None,
            folder: None,
            supervisor: Supervisor::from_environment(),
            readiness: Readiness::default(),
            questions: None,
            grace_period: config.global.grace_period,
        };
        if let Some(path) = &config.data_dir {
            let taken =
                standby::take(path, config.http.as_ref(), &app.stop, app.supervisor).await?;
            // It was stopped before there was anything to do.
            let Some(folder) = taken else { return Ok(app) };
            app.folder = Some(Arc::new(folder));
        }
        app.assemble(config, file, asking)?;
        Ok(app)
    }

    /// Stops the daemon as a signal does.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs until it is stopped, then drains for as long as the grace period lasts.
    pub async fn run(mut self) -> Result<(), RunError> {
        self.supervisor.ready();
        let (readiness, questions) = (self.readiness.clone(), self.questions.take());
        let told = self.supervisor.keep_told(Some(readiness), questions);
        tokio::select! {
            ended = self.run_to_end() => ended,
            never = told => match never {},
        }
    }

    async fn run_to_end(&mut self) -> Result<(), RunError> {
        let ended = loop {
            tokio::select! {
                // A stage that ends because of the signal must not look like one that ended by itself.
                biased;
                () = self.stop.cancelled() => break None,
                ended = self.stages.next() => break ended,
                Some(asked) = self.reloads.recv() => self.reload(asked).await,
            }
        };
        self.supervisor.stopping();
        // Nobody waits for an answer any more.
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
        // Who asked by a signal reads the log.
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
        let hurry = async {
            tokio::time::sleep(self.grace_period.mul_f64(HURRY)).await;
            self.hurry.cancel();
            tokio::time::sleep(self.grace_period.mul_f64(1.0 - HURRY)).await;
        };
        let in_time = tokio::select! {
            () = drained => true,
            () = hurry => false,
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
