//! The poller of one broker: asks the broker how long its queues are, and the workers what they do.
//!
//! On a connection of its own, in the background, with deadlines: the source of the events never waits for it,
//! and nobody who looks at the metrics does.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::BrokerConfig;
use crate::state::{Known, Report};
use crate::telemetry::metrics::PollMetrics;

/// Asks one broker and its workers, whatever happens.
#[derive(Debug)]
pub struct Poller {
    broker: usize,
    config: BrokerConfig,
    reports: mpsc::Sender<Report>,
    known: watch::Receiver<Arc<Known>>,
    metrics: PollMetrics,
    stop: CancellationToken,
}

impl Poller {
    /// The poller of the broker that stands at place `broker` in the configuration.
    pub fn new(
        broker: usize,
        config: BrokerConfig,
        reports: mpsc::Sender<Report>,
        known: watch::Receiver<Arc<Known>>,
        metrics: PollMetrics,
        stop: CancellationToken,
    ) -> Self {
        Self {
            broker,
            config,
            reports,
            known,
            metrics,
            stop,
        }
    }

    /// Runs until it is told to stop.
    pub async fn run(self) {
        self.stop.cancelled().await;
    }
}
