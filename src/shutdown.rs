//! Handles signals: SIGTERM and SIGINT cancel a token, SIGHUP calls a function.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;

/// Signals this soon after the first one are the same request: GNU `timeout` signals the process
/// and then its group, and a Ctrl-C reaches both a wrapper that forwards it and its child.
const REPEATED_WITHIN: Duration = Duration::from_secs(1);

/// Exit status after a second Ctrl-C, as shells report it.
const INTERRUPTED: i32 = 130;

/// SIGTERM, SIGINT and SIGHUP, caught for as long as this exists.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Cancels `stop` on the first signal and exits immediately on the second, unless that is only
    /// a repetition. SIGHUP calls `reload`.
    pub async fn watch(mut self, stop: CancellationToken, mut reload: impl FnMut()) {
        self.next(&mut reload).await;
        info!("stopping; send a second signal to exit immediately");
        stop.cancel();
        let first = clock::monotonic();
        self.next(&mut reload).await;
        while clock::monotonic().duration_since(first) < REPEATED_WITHIN {
            self.next(&mut reload).await;
        }
        warn!("second signal received; exiting immediately");
        #[expect(
            clippy::disallowed_methods,
            reason = "whoever asks twice does not want the drain"
        )]
        std::process::exit(INTERRUPTED);
    }

    /// Returns when the next signal to stop arrives.
    async fn next(&mut self, reload: &mut impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                Some(()) = self.hangup.recv() => reload(),
            }
        }
    }
}
