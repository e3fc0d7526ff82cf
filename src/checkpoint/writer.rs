//! The stage between the aggregator and all outputs: writes checkpoints, then publishes the
//! snapshots and acknowledgements that depend on them.
//!
//! Once a checkpoint is on disk, its snapshots go to sinks and pages, and messages of durable
//! queues may be acknowledged. While it cannot be written (full disk), nothing is acknowledged, and
//! the published values stay those on disk: if a receiver had seen later values, it would mistake
//! the values after a crash for a counter reset, and add the whole counter again. Only the metrics
//! of this process keep updating, so that the cause is visible; nothing is queued for remote write.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::{error, info};

use super::folder::CheckpointFolder;
use crate::blocking::blocking;
use crate::clock;
use crate::event::Mark;
use crate::pipeline::Captured;
use crate::series::Snapshot;
use crate::telemetry::metrics::{CheckpointMetrics, starts_over};
use crate::timestamp::Timestamp;

/// State to be written, and snapshots to publish afterwards.
#[derive(Debug)]
pub struct Job {
    pub captured: Captured,
    /// One for each profile; empty if no snapshot is due.
    pub snapshots: Vec<Snapshot>,
}

/// Publishes snapshots, in the order of the pipeline's profiles.
#[derive(Debug)]
pub struct Publisher(Vec<watch::Sender<Arc<Snapshot>>>);

impl Publisher {
    /// Creates a publisher from the sending ends, which hold the newest snapshots.
    pub const fn new(outputs: Vec<watch::Sender<Arc<Snapshot>>>) -> Self {
        Self(outputs)
    }

    /// Publishes snapshots.
    pub fn publish(&self, snapshots: impl IntoIterator<Item = Snapshot>) {
        for (output, snapshot) in self.0.iter().zip(snapshots) {
            // Works without readers: there may be no listener, or a sink may have given up.
            output.send_replace(Arc::new(snapshot));
        }
    }

    /// Publishes snapshots whose Celery series keep the last published values.
    fn hold(&self, snapshots: Vec<Snapshot>) {
        let held = self.0.iter().zip(snapshots).map(|(output, snapshot)| {
            let newest = Arc::clone(&output.borrow());
            snapshot.holding(&newest, starts_over)
        });
        let held: Vec<_> = held.collect();
        self.publish(held);
    }
}

/// Writes checkpoints, and publishes what waits for them.
#[derive(Debug)]
pub struct Writer {
    folder: Arc<CheckpointFolder>,
    jobs: mpsc::Receiver<Job>,
    publisher: Publisher,
    /// By broker.
    kept: Vec<watch::Sender<Mark>>,
    metrics: CheckpointMetrics,
    is_failing: bool,
}

impl Writer {
    /// Creates a writer for `jobs`; `kept` receives, by broker, what may be acknowledged.
    pub const fn new(
        folder: Arc<CheckpointFolder>,
        jobs: mpsc::Receiver<Job>,
        publisher: Publisher,
        kept: Vec<watch::Sender<Mark>>,
        metrics: CheckpointMetrics,
    ) -> Self {
        Self {
            folder,
            jobs,
            publisher,
            kept,
            metrics,
            is_failing: false,
        }
    }

    /// Runs until no more jobs arrive.
    pub async fn run(mut self) {
        while let Some(job) = self.jobs.recv().await {
            self.work(job);
        }
        if self.is_failing {
            let written = self.metrics.timestamp.get();
            error!(
                written,
                "writing the last checkpoint failed; the next start uses the previous one"
            );
        }
    }

    fn work(&mut self, job: Job) {
        let Job {
            captured,
            snapshots,
        } = job;
        let (marks, at) = (captured.marks.clone(), captured.at());
        let start = clock::monotonic();
        let written = blocking(|| self.folder.write(captured.into_parts()));
        let elapsed = clock::monotonic().duration_since(start);
        let is_failing = written.is_err();
        match written {
            Ok(bytes) => {
                self.metrics.duration.set(elapsed.as_secs_f64());
                self.note(at, bytes);
                self.publisher.publish(snapshots);
                for (broker, mark) in marks {
                    self.kept[broker.index()]
                        .send_if_modified(|known| std::mem::replace(known, mark) != mark);
                }
            }
            Err(error) => {
                self.metrics.failures.add(1);
                if !self.is_failing {
                    error!(%error, "writing the checkpoint failed; until it succeeds, pages do not update and nothing is sent or acknowledged");
                }
                self.publisher.hold(snapshots);
            }
        }
        self.is_failing = is_failing;
    }

    fn note(&self, at: Timestamp, bytes: u64) {
        self.metrics.timestamp.set(at.seconds());
        #[expect(
            clippy::cast_precision_loss,
            reason = "Prometheus holds sizes as floats"
        )]
        self.metrics.size.set(bytes as f64);
        if self.is_failing {
            info!("writing checkpoints succeeds again");
        }
    }
}
