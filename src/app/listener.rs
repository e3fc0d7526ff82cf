//! The listener, and the stage behind its status page.

use tokio::sync::mpsc;
use tracing::info;

use super::App;
use super::error::StartError;
use super::instruments::ONLY_BROKER;
use crate::aggregator::Views;
use crate::config::{Config, HttpConfig};
use crate::http::{Page, ReloadRequest, Server};
use crate::status::setup::Setup;
use crate::status::{Board, HistoryFile, OverviewRequest, StatusStage};
use crate::telemetry::http::HttpMetrics;
use crate::telemetry::readiness::Readiness;
use crate::timestamp::Timestamp;

/// What the listener shows.
pub(super) struct Listener<'a> {
    pub(super) config: &'a Config,
    pub(super) views: &'a Views,
    pub(super) readiness: Readiness,
    /// To the aggregator.
    pub(super) overviews: mpsc::Sender<OverviewRequest>,
    pub(super) start: Timestamp,
}

impl App {
    /// Binds the listener, sets up its pages, and spawns it.
    pub(super) fn listen(
        &mut self,
        http: HttpConfig,
        listener: Listener<'_>,
        reloads: Option<mpsc::Sender<ReloadRequest>>,
        metrics: HttpMetrics,
    ) -> Result<(), StartError> {
        let address = http.listen;
        let pages = http.scrape.into_iter().map(|page| Page {
            snapshots: listener.views.of(page.profile),
            path: page.path,
            native_histograms: page.native_histograms,
            created_series: page.created_series,
        });
        let pages: Vec<Page> = pages.collect();
        let paths: Vec<_> = pages.iter().map(|page| page.path.clone()).collect();
        let bound = Server::bind(address, pages, listener.readiness.clone());
        let server = bound.map_err(|source| StartError::Listen { address, source })?;
        let tls = http.tls.as_ref();
        let server = server.guarded(tls, http.login).map_err(StartError::Tls)?;
        let mut server = server
            .with_probes(http.healthy_paths, http.ready_paths)
            .counted(metrics);
        if let Some(reloads) = reloads {
            server = server.with_reloads(reloads);
        }
        let is_shown = http.status.is_some();
        if let Some(status) = http.status {
            server = server.with_status(self.show_status(listener), status);
        }
        let address = server.address().unwrap_or(address);
        let pages = paths.join(" ");
        info!(%address, tls = tls.is_some(), pages, status = is_shown, "listening");
        self.address = Some(address);
        self.stages
            .spawn("http".to_owned(), server.run(self.stop.clone()));
        Ok(())
    }

    /// Spawns the stage behind the status page.
    fn show_status(&mut self, listener: Listener<'_>) -> Board {
        let (board, asked) = Board::new();
        let config = listener.config;
        let stage = StatusStage::new(
            Setup::new(config, ONLY_BROKER, listener.start),
            listener.readiness,
            listener.overviews,
            asked,
            config.data_dir.as_deref().map(HistoryFile::new),
        );
        self.stages
            .spawn("status".to_owned(), stage.run(self.stop.clone()));
        board
    }
}
