//! The stage that answers requests for the document, and that records its history.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::board::Request;
use super::compose::{Sources, waiting};
use super::document::Status;
use super::facts::Facts;
use super::history::{FINE_SECONDS, History};
use super::query::Window;
use super::saved::HistoryFile;
use super::setup::Setup;
use crate::blocking::blocking;
use crate::clock;
use crate::pipeline::Overview;
use crate::telemetry::readiness::Readiness;

/// How old a document may be.
const FRESH: Duration = Duration::from_secs(1);

/// Number of points between two writes of the history file.
const POINTS_PER_WRITE: u32 = 6;

/// A request to the aggregator for an overview.
pub type OverviewRequest = oneshot::Sender<Overview>;

/// The stage.
#[derive(Debug)]
pub struct StatusStage {
    setup: Setup,
    readiness: Readiness,
    /// To the aggregator.
    overviews: mpsc::Sender<OverviewRequest>,
    requests: mpsc::Receiver<Request>,
    /// `None` without a `data_dir`.
    file: Option<HistoryFile>,
    history: History,
    newest: Option<Newest>,
    unwritten: u32,
}

/// The newest overview, and the documents that were made from it.
#[derive(Debug)]
struct Newest {
    taken: Instant,
    overview: Overview,
    facts: Facts,
    documents: [Option<Arc<Status>>; Window::ALL.len()],
}

impl StatusStage {
    /// Creates the stage, which continues the histories in `file`.
    pub fn new(
        setup: Setup,
        readiness: Readiness,
        overviews: mpsc::Sender<OverviewRequest>,
        requests: mpsc::Receiver<Request>,
        file: Option<HistoryFile>,
    ) -> Self {
        let rings = file.as_ref().map(HistoryFile::read).unwrap_or_default();
        Self {
            setup,
            readiness,
            overviews,
            requests,
            file,
            history: History::resume(rings),
            newest: None,
            unwritten: 0,
        }
    }

    /// Answers and records until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        self.begin().await;
        let mut tick = Box::pin(tokio::time::sleep(until_next_point()));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = &mut tick => {
                    self.record().await;
                    tick = Box::pin(tokio::time::sleep(until_next_point()));
                }
                Some(request) = self.requests.recv() => self.answer(request).await,
            }
        }
        self.write();
    }

    /// Notes the sums at the start, so that rates are known soon.
    async fn begin(&mut self) {
        self.look().await;
        if let Some(newest) = &mut self.newest {
            let counted = Arc::new(std::mem::take(&mut newest.facts.counted));
            self.history.begin(&counted);
        }
        self.newest = None;
    }

    async fn record(&mut self) {
        self.newest = None;
        self.look().await;
        let Some(Newest {
            overview, facts, ..
        }) = &mut self.newest
        else {
            return;
        };
        blocking(|| {
            let counted = Arc::new(std::mem::take(&mut facts.counted));
            facts.counted.at = counted.at;
            self.history.record(facts, &counted, &waiting(overview));
        });
        // Its sums are in the history now.
        self.newest = None;
        self.unwritten += 1;
        if self.unwritten >= POINTS_PER_WRITE {
            self.write();
        }
    }

    async fn answer(&mut self, request: Request) {
        let is_old = |newest: &Newest| clock::monotonic() - newest.taken >= FRESH;
        if self.newest.as_ref().is_none_or(is_old) {
            self.look().await;
        }
        let Self {
            newest: Some(newest),
            history,
            setup,
            readiness,
            ..
        } = self
        else {
            return;
        };
        let document = newest.documents[request.window as usize].get_or_insert_with(|| {
            let stages: Vec<_> = readiness.reports().collect();
            let sources = Sources {
                overview: &newest.overview,
                facts: &newest.facts,
                history,
                setup,
                stages: &stages,
            };
            blocking(|| {
                let mut status = sources.compose(request.window);
                status.attention = sources.problems(&status);
                Arc::new(status)
            })
        });
        // The client may have gone.
        let _ = request.answer.send(Arc::clone(document));
    }

    /// Takes a new overview. The old one stays if the aggregator is stopping.
    async fn look(&mut self) {
        let (asked, answered) = oneshot::channel();
        if self.overviews.send(asked).await.is_err() {
            return;
        }
        if let Ok(overview) = answered.await {
            let facts = blocking(|| Facts::new(&overview, &self.setup));
            self.newest = Some(Newest {
                taken: clock::monotonic(),
                overview,
                facts,
                documents: Default::default(),
            });
        }
    }

    fn write(&mut self) {
        self.unwritten = 0;
        if let Some(file) = &self.file
            && let Err(error) = blocking(|| file.write(&self.history.rings))
        {
            // A failing disk is reported with the checkpoint.
            debug!(%error, "cannot write the histories of the status page");
        }
    }
}

/// The time until the next point is due.
fn until_next_point() -> Duration {
    let point = i64::try_from(FINE_SECONDS * 1_000_000).unwrap_or(i64::MAX);
    let past = clock::now().micros().rem_euclid(point);
    Duration::from_micros(u64::try_from(point - past).unwrap_or_default())
}
