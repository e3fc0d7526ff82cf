//! The listener: for Prometheus and for probes. Everything here is read from the newest snapshot; nothing asks a
//! broker.

mod health;
mod scrape;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::series::Snapshot;
use crate::telemetry::readiness::Readiness;

/// A page to pull: where it is, and what it shows.
#[derive(Clone, Debug)]
pub struct Page {
    pub path: String,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    pages: Vec<Page>,
    readiness: Readiness,
}

impl Server {
    /// Binds the address, so that a port in use is known at the start.
    pub async fn bind(
        listen: SocketAddr,
        pages: Vec<Page>,
        readiness: Readiness,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        Ok(Self {
            listener,
            pages,
            readiness,
        })
    }

    /// The address that is listened on: with the port that was free, where none was asked for.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut router = Router::new()
            .route("/-/healthy", get(health::healthy))
            .route("/-/ready", get(health::ready))
            .with_state(self.readiness);
        for page in self.pages {
            let metrics = get(scrape::metrics).with_state(page.snapshots);
            router = router.route(&page.path, metrics);
        }
        let serving =
            axum::serve(self.listener, router).with_graceful_shutdown(stop.cancelled_owned());
        // Accepting goes on after errors; there is none to report in the end.
        let _ = serving.await;
    }
}
