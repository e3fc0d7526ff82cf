//! The HTTP listener, for Prometheus and for probes. All pages are rendered from the newest
//! snapshot; no request causes a query to a broker.

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

mod page;

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
pub use self::reload::ReloadRequest;
use self::renderings::Renderings;
use crate::config::{LoginConfig, ServerTlsConfig, StatusConfig};
use crate::series::Snapshot;
use crate::status::Board;
use crate::telemetry::http::HttpMetrics;
use crate::telemetry::readiness::Readiness;
use crate::tls::TlsError;
use crate::tls::server::ServerTls;

/// A page to scrape: its path and its content.
#[derive(Clone, Debug)]
pub struct Page {
    pub path: String,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Whether protobuf includes native histograms, if the snapshot has them.
    pub native_histograms: bool,
    /// Whether OpenMetrics includes `_created` series.
    pub created_series: bool,
}

/// A listener that is bound but not serving yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<ServerTls>,
    login: LoginConfig,
    pages: Vec<Page>,
    healthy_paths: Vec<String>,
    ready_paths: Vec<String>,
    readiness: Readiness,
    limits: Arc<Limits>,
    /// `None`: reloading over HTTP is disabled.
    reloads: Option<mpsc::Sender<ReloadRequest>>,
    /// `None`: there is no status page.
    status: Option<(Board, StatusConfig)>,
}

impl Server {
    /// Binds the address, so that a port in use is detected at startup.
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
            healthy_paths: Vec::new(),
            ready_paths: Vec::new(),
            readiness,
            limits: Arc::default(),
            reloads: None,
            status: None,
        })
    }

    /// Adds metrics.
    #[must_use]
    pub fn counted(self, metrics: HttpMetrics) -> Self {
        let limits = Arc::new(Limits::new(metrics));
        Self { limits, ..self }
    }

    /// Answers on further paths like `/-/healthy` and `/-/ready`.
    #[must_use]
    pub fn with_probes(self, healthy_paths: Vec<String>, ready_paths: Vec<String>) -> Self {
        Self {
            healthy_paths,
            ready_paths,
            ..self
        }
    }

    /// Accepts requests to reload the configuration.
    #[must_use]
    pub fn with_reloads(self, reloads: mpsc::Sender<ReloadRequest>) -> Self {
        Self {
            reloads: Some(reloads),
            ..self
        }
    }

    /// Adds the status page and its API. Paths of other pages take precedence over those of the status page.
    #[must_use]
    pub fn with_status(self, board: Board, config: StatusConfig) -> Self {
        Self {
            status: Some((board, config)),
            ..self
        }
    }

    /// Adds TLS and logins, as configured.
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

    /// Returns the bound address, including the port if it was chosen by the system.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves requests until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut probes = Router::new()
            .route("/-/healthy", get(health::healthy))
            .route("/-/ready", get(health::ready));
        for path in &self.healthy_paths {
            probes = probes.route(path, get(health::healthy));
        }
        for path in &self.ready_paths {
            probes = probes.route(path, get(health::ready));
        }
        let mut router = probes.with_state(self.readiness);
        let reload = post(reload::reload).with_state(self.reloads);
        router = router.route("/-/reload", reload);
        if let Some(status) = self.status {
            let mut taken = [self.healthy_paths, self.ready_paths].concat();
            taken.extend(self.pages.iter().map(|page| page.path.clone()));
            let limits = Arc::clone(&self.limits);
            router = page::add_to(router, &taken, status, limits, stop.clone());
        }
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
