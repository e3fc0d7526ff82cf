//! Signals to one cancellation token, and to requests to read the configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::ReloadRequest;

/// What a shell reports for a process that a second Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// SIGTERM, SIGINT and SIGHUP, caught from the moment that this exists.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    reloads: Option<mpsc::Sender<ReloadRequest>>,
}

impl Signals {
    /// Catches the signals.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            reloads: None,
        })
    }

    /// Cancels `stop` with the first signal, and ends the process at once with the second. SIGHUP asks for a reload.
    pub async fn watch(mut self, stop: CancellationToken, reloads: mpsc::Sender<ReloadRequest>) {
        self.reloads = Some(reloads);
        self.next().await;
        info!("stopping; send a second signal to exit immediately");
        stop.cancel();
        self.next().await;
        warn!("second signal received; exiting immediately");
        #[expect(
            clippy::disallowed_methods,
            reason = "whoever asks twice does not want the drain"
        )]
        std::process::exit(INTERRUPTED);
    }

    /// The next signal to stop.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                Some(()) = self.hangup.recv() => {
                    // The log tells what came of it. One that waits reads the newest file too.
                    let (told, _) = oneshot::channel();
                    let _ = self.reloads.as_ref().map(|reloads| reloads.try_send(told));
                }
            }
        }
    }
}
