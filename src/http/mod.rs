//! The listener: for Prometheus and for probes. Everything here is read from the newest snapshot; nothing asks a
//! broker.

mod activity;
mod connections;
mod handshake;
mod limits;
mod places;
mod watched;

mod login;
mod turns;

mod negotiate;

mod compress;
mod renderings;
mod scrape;

mod health;
mod reload;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::connections::Connections;
use self::limits::Limits;
use self::login::Login;
use self::renderings::Renderings;
use crate::config::{LoginConfig, ReloadRequest, ServerTlsConfig};
use crate::series::Snapshot;
use crate::telemetry::http::HttpMetrics;
use crate::telemetry::readiness::Readiness;
use crate::tls::TlsError;
use crate::tls::server::ServerTls;

/// A page to pull: where it is, and what it shows.
#[derive(Clone, Debug)]
pub struct Page {
    pub path: String,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Protobuf carries native histograms, where the snapshot has them.
    pub native_histograms: bool,
    /// OpenMetrics carries `_created`.
    pub created_series: bool,
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<ServerTls>,
    login: LoginConfig,
    pages: Vec<Page>,
    readiness: Readiness,
    limits: Arc<Limits>,
    /// `None`: nobody may ask for it.
    reloads: Option<mpsc::Sender<ReloadRequest>>,
}

impl Server {
    /// Binds the address, so that a port in use is known at the start.
    pub fn bind(
        listen: SocketAddr,
        pages: Vec<Page>,
        readiness: Readiness,
    ) -> std::io::Result<Self> {
        let listener = connections::bind(listen)?;
        Ok(Self {
            listener,
            tls: None,
            login: LoginConfig::default(),
            pages,
            readiness,
            limits: Arc::default(),
            reloads: None,
        })
    }

    /// With metrics.
    #[must_use]
    pub fn counted(self, metrics: HttpMetrics) -> Self {
        let limits = Arc::new(Limits::new(metrics));
        Self { limits, ..self }
    }

    /// Open to requests to read the configuration again.
    #[must_use]
    pub fn with_reloads(self, reloads: mpsc::Sender<ReloadRequest>) -> Self {
        Self {
            reloads: Some(reloads),
            ..self
        }
    }

    /// With TLS, and open only to those who log in, as far as the configuration says so.
    pub fn guarded(
        self,
        tls: Option<&ServerTlsConfig>,
        login: LoginConfig,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            tls: tls.map(ServerTls::load).transpose()?,
            login,
            ..self
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
        let reload = post(reload::reload).with_state(self.reloads);
        router = router.route("/-/reload", reload);
        let renderings = Arc::new(Renderings::new(Arc::clone(&self.limits)));
        for page in self.pages {
            let path = page.path.clone();
            let state = (Arc::new(page), Arc::clone(&renderings));
            router = router.route(&path, get(scrape::metrics).with_state(state));
        }
        if let Some(login) = Login::new(self.login, Arc::clone(&self.limits)) {
            router = router.layer(from_fn_with_state(Arc::new(login), login::require));
        }
        let serving = Connections::new(self.limits).serve(self.listener, self.tls, router, stop);
        tokio::select! {
            () = serving => {}
            never = renderings.keep_tidy() => match never {},
        }
    }
}
