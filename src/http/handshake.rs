//! TLS handshakes, using the certificates that the files currently contain.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use super::watched::Watched;
use crate::clock;
use crate::tls::TlsError;
use crate::tls::server::ServerTls;

/// Minimum time between two checks of the files.
const FRESH: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Handshakes {
    certificates: Arc<Certificates>,
    /// When the files were last checked.
    looked: Instant,
}

#[derive(Debug)]
struct Certificates {
    current: watch::Sender<Arc<ServerTls>>,
    /// Whether unusable files were already logged, so that clients cannot fill the log.
    complained: AtomicBool,
}

impl Handshakes {
    pub(super) fn new(tls: ServerTls) -> Self {
        let certificates = Certificates {
            current: watch::Sender::new(Arc::new(tls)),
            complained: AtomicBool::new(false),
        };
        Self {
            certificates: Arc::new(certificates),
            looked: clock::monotonic(),
        }
    }

    /// Starts the handshake of a new connection. From time to time a handshake checks the files
    /// first, so no timer is needed while there are no connections.
    pub(super) fn begin(
        &mut self,
        stream: Watched,
    ) -> impl Future<Output = io::Result<TlsStream<Watched>>> + Send + use<> {
        let now = clock::monotonic();
        let look = now.duration_since(self.looked) >= FRESH;
        if look {
            self.looked = now;
        }
        let certificates = Arc::clone(&self.certificates);
        async move {
            if look {
                certificates.renew().await;
            }
            let settings = certificates.current.borrow().settings();
            TlsAcceptor::from(settings).accept(stream).await
        }
    }
}

impl Certificates {
    /// Reloads the files if they have changed and are usable. They may be on a slow volume.
    async fn renew(&self) {
        let held = Arc::clone(&self.current.borrow());
        let looked: Result<Result<_, TlsError>, _> =
            tokio::task::spawn_blocking(move || held.changed()).await;
        match looked {
            Ok(Ok(renewed)) => {
                self.complained.store(false, Relaxed);
                if let Some(renewed) = renewed {
                    info!("reloaded the listener's certificates");
                    self.current.send_replace(Arc::new(renewed));
                }
            }
            Ok(Err(error)) => {
                // The files may be halfway through an update.
                if !self.complained.swap(true, Relaxed) {
                    warn!(%error, "reloading the listener's certificates failed; keeping the old ones");
                }
            }
            // The runtime is shutting down.
            Err(_) => {}
        }
    }
}
