//! Signals to one cancellation token.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What a shell reports for a process that a second Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// SIGTERM and SIGINT, caught from the moment that this exists.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches the signals.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Cancels `stop` with the first signal, and ends the process at once with the second.
    pub async fn watch(mut self, stop: CancellationToken) {
        self.next().await;
        info!("stopping; a second signal ends at once");
        stop.cancel();
        self.next().await;
        warn!("a second signal, ended at once");
        #[expect(
            clippy::disallowed_methods,
            reason = "whoever asks twice does not want the drain"
        )]
        std::process::exit(INTERRUPTED);
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
