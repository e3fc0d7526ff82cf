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

/// What the pages are made of.
#[derive(Clone, Debug)]
struct View {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    readiness: Readiness,
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    view: View,
}

impl Server {
    /// Binds the address, so that a port in use is known at the start.
    pub async fn bind(
        listen: SocketAddr,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        readiness: Readiness,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        Ok(Self {
            listener,
            view: View {
                snapshots,
                readiness,
            },
        })
    }

    /// The address that is listened on: with the port that was free, where none was asked for.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let router = Router::new()
            .route("/metrics", get(scrape::metrics))
            .route("/-/healthy", get(health::healthy))
            .route("/-/ready", get(health::ready))
            .with_state(self.view);
        let serving =
            axum::serve(self.listener, router).with_graceful_shutdown(stop.cancelled_owned());
        // Accepting goes on after errors; there is none to report in the end.
        let _ = serving.await;
    }
}
