//! One remote-write receiver: queues each snapshot, and sends what is pending, in order.
//!
//! One request at a time is in flight while that is enough. If snapshots pile up, several requests
//! of one snapshot are sent concurrently; their series are disjoint. This preserves the order
//! within each series (PRW 1.0 and 2.0, "Ordering"). A request is retried byte for byte, before
//! anything newer of its series. Series that a receiver refuses are removed from the records and
//! sent separately: see [`super::triage`].

mod answers;
mod apart;
mod sending;

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::client::{Answer, BuildError, Client, SendError};
use super::enqueuer::SnapshotEnqueuer;
use super::error_log::ErrorLog;
use super::triage::Triage;
use super::window::Window;
use crate::blocking::blocking;
use crate::clock;
use crate::config::{Message, RemoteWriteConfig};
use crate::counts::Counts;
use crate::queue::{Lost, Queue};
use crate::series::Snapshot;
use crate::telemetry::readiness::Reporter;
use crate::telemetry::sink::{DropReason, SinkMetrics};
use crate::timestamp::Timestamp;
use crate::wire::{Metadata, Outgoing, Protocol};

/// A sink that pushes by remote write.
pub struct RemoteWrite {
    config: RemoteWriteConfig,
    /// The external labels of all sinks.
    external: Vec<(String, String)>,
    changes: mpsc::Receiver<Reconfigured>,
    client: Arc<Client>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Cancelled when there is no time left to send what is pending.
    drain_deadline: CancellationToken,
    feed: SnapshotEnqueuer,
    queue: Queue,
    window: Window,
    metadata: VecDeque<Metadata>,
    answers: FuturesUnordered<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    /// When to retry what could not be delivered.
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    triage: Triage,
    /// When to retry what is sent separately from the records.
    wait_apart: Option<Pin<Box<tokio::time::Sleep>>>,
    /// The time of the newest snapshot.
    snapshot_at: Option<Timestamp>,
    /// Consecutive failures to send separately from the records.
    failures_apart: u32,
    /// The newest reason why series were quarantined.
    quarantine_reason: String,
    /// Number of quarantined series at which readiness last showed a hint.
    hinted: usize,
    /// Number of consecutive times the receiver was unreachable or asked to retry later.
    failures: u32,
    protocol: Protocol,
    /// Whether the receiver has shown that it speaks 2.0.
    is_proven: bool,
    failing_since: Option<Instant>,
    /// Whether the receiver has accepted any samples.
    has_delivered: bool,
    /// The reasons already logged for samples that were refused permanently.
    logged: ErrorLog,
    /// Whether the disk was failing when this was last logged.
    is_disk_failing: bool,
    drained: bool,
    metrics: SinkMetrics,
    readiness: Reporter,
}

/// A new configuration for a running sink, with its client.
#[derive(Debug)]
pub struct Reconfigured {
    pub config: RemoteWriteConfig,
    pub client: Arc<Client>,
    /// Whether the change affects which series or values are sent.
    pub sends_other: bool,
}

/// A request and its response.
struct Answered {
    sent: Sent,
    since: Instant,
    answer: Result<Answer, SendError>,
}

/// What was sent.
#[derive(Clone, Copy)]
enum Sent {
    /// A part of the record with this sequence number.
    Record {
        sequence: u64,
        protocol: Protocol,
        counts: Counts,
        newest: Timestamp,
    },
    Metadata {
        entries: u64,
    },
    /// Values of single series, sent separately from their records.
    Apart {
        protocol: Protocol,
        counts: Counts,
        newest: Timestamp,
    },
    /// An empty request in place of a record that is repeatedly answered with 5xx.
    Check {
        sequence: u64,
    },
}

/// What happens next.
enum SenderEvent {
    Snapshot(Arc<Snapshot>),
    /// No more snapshots will come.
    Drained,
    Answered(Answered),
    Reconfigured(Box<Reconfigured>),
    /// It is time to retry.
    Again,
    /// It is time to retry what is sent separately.
    ApartAgain,
    /// There is no time left.
    GiveUp,
}

impl RemoteWrite {
    /// Creates a sink as configured, with its queue. Its series carry `external` labels.
    ///
    /// It starts with the current snapshot, after the contents of the queue.
    pub fn new(
        config: RemoteWriteConfig,
        external: Vec<(String, String)>,
        mut queue: Queue,
        (mut snapshots, changes): (watch::Receiver<Arc<Snapshot>>, mpsc::Receiver<Reconfigured>),
        drain_deadline: CancellationToken,
        (metrics, readiness): (SinkMetrics, Reporter),
    ) -> Result<Self, BuildError> {
        let how = outgoing(&config, &external);
        let protocol = protocol(config.message);
        let mut feed =
            SnapshotEnqueuer::new(how, protocol, config.metadata_interval, metrics.clone());
        if queue.is_durable() {
            // Both are in data_dir: the series that persist, and their pending samples.
            feed = feed.continuing(queue.newest_ms().map(Timestamp::from_millis));
        }
        snapshots.mark_changed();
        metrics.shards_min.set(float(config.queue.shards_min));
        metrics.shards_max.set(float(config.queue.shards_max));
        // The samples found in the queue, and those lost when it was opened.
        let lost = queue.take_lost();
        metrics
            .taken
            .add(queue.pending() + lost.full + lost.age + lost.damaged);
        count_lost(&metrics, &lost);
        if !lost.full.is_zero() {
            let samples = lost.full.points();
            warn!(
                samples,
                "queue exceeds max_bytes; dropped the oldest samples"
            );
        }
        Ok(Self {
            client: Arc::new(Client::new(&config.client)?),
            queue,
            feed,
            config,
            external,
            changes,
            snapshots,
            drain_deadline,
            window: Window::default(),
            metadata: VecDeque::new(),
            answers: FuturesUnordered::new(),
            wait: None,
            triage: Triage::default(),
            wait_apart: None,
            snapshot_at: None,
            failures_apart: 0,
            quarantine_reason: String::new(),
            hinted: 0,
            failures: 0,
            protocol,
            is_proven: false,
            failing_since: None,
            has_delivered: false,
            logged: ErrorLog::default(),
            is_disk_failing: false,
            drained: false,
            metrics,
            readiness,
        })
    }

    /// Runs until there are no more snapshots and everything is sent, or until there is no time
    /// left.
    pub async fn run(mut self) {
        loop {
            let action = self.next().await;
            match action {
                SenderEvent::Snapshot(snapshot) => self.enqueue(&snapshot),
                SenderEvent::Drained => self.end(),
                SenderEvent::Answered(answered) => self.answered(answered),
                SenderEvent::Reconfigured(with) => self.reconfigure(*with),
                SenderEvent::Again => self.wait = None,
                SenderEvent::ApartAgain => self.wait_apart = None,
                SenderEvent::GiveUp => break self.give_up(),
            }
            self.drop_expired();
            self.send_more();
            self.report();
            if self.drained && self.answers.is_empty() {
                if self.queue.is_empty() {
                    break;
                }
                // Without another snapshot, it cannot be determined which of the pending series are
                // refused.
                let is_waiting = self.wait.is_some() || self.wait_apart.is_some();
                if !is_waiting && self.is_read() {
                    break self.give_up();
                }
            }
        }
    }

    fn end(&mut self) {
        self.drained = true;
        self.triage.end();
    }

    /// Cancel-safe: the requests and the timers live in `self`, and `changed` marks nothing as seen
    /// before it returns.
    async fn next(&mut self) -> SenderEvent {
        let again = over(&mut self.wait);
        let apart_again = over(&mut self.wait_apart);
        tokio::select! {
            changed = self.snapshots.changed(), if !self.drained => match changed {
                Ok(()) => SenderEvent::Snapshot(Arc::clone(&self.snapshots.borrow_and_update())),
                Err(_) => SenderEvent::Drained,
            },
            Some(answered) = self.answers.next() => SenderEvent::Answered(answered),
            Some(with) = self.changes.recv() => SenderEvent::Reconfigured(with.into()),
            () = again => SenderEvent::Again,
            () = apart_again => SenderEvent::ApartAgain,
            () = self.drain_deadline.cancelled() => SenderEvent::GiveUp,
        }
    }

    /// Applies another configuration. Responses to requests in flight are handled as before.
    fn reconfigure(&mut self, with: Reconfigured) {
        let Reconfigured {
            config,
            client,
            sends_other,
        } = with;
        if sends_other {
            let how = outgoing(&config, &self.external);
            let (feed, queue) = (&mut self.feed, &mut self.queue);
            blocking(|| feed.reconfigure(how, queue, clock::now()));
        }
        if config.message != self.config.message {
            self.protocol = protocol(config.message);
            self.feed.set_protocol(self.protocol);
            self.is_proven = false;
        }
        self.feed.set_targets(
            config.queue.samples_max(self.protocol),
            config.metadata_interval,
        );
        self.metrics.shards_min.set(float(config.queue.shards_min));
        self.metrics.shards_max.set(float(config.queue.shards_max));
        self.client = client;
        self.config = config;
        // The new configuration may have fixed whatever prevented sending.
        (self.wait, self.wait_apart) = (None, None);
        self.triage.restart(clock::monotonic());
        (self.failures, self.failures_apart) = (0, 0);
        info!("configuration changed");
    }

    fn enqueue(&mut self, snapshot: &Snapshot) {
        // The next process concludes from the time of queued samples which series were sent, and
        // this snapshot lacks some.
        if snapshot.held {
            return;
        }
        self.begin_apart(snapshot.at);
        let (feed, queue) = (&mut self.feed, &mut self.queue);
        let nameless = blocking(|| feed.append(snapshot, queue, clock::now()));
        if nameless > 0 {
            debug!(
                samples = nameless,
                "write_relabel_configs produce series without a valid name, or with duplicate labels"
            );
        }
        // Not while the receiver fails: missed metadata is sent again within a minute. 2.0 includes
        // metadata in each request.
        if self.failures == 0 && self.protocol != Protocol::V2 {
            self.metadata.extend(self.feed.metadata(snapshot));
        }
    }

    /// Drops samples that are too old, and counts those that the queue dropped.
    fn drop_expired(&mut self) {
        let now = clock::now();
        let Self { queue, window, .. } = self;
        blocking(|| {
            window.commit(queue);
            queue.expire(now.millis());
        });
        if let Some(age_max) = self.config.queue.sample_age_limit {
            let old = |newest: Timestamp| now.since(newest) > age_max;
            for flight in self.window.iter_mut().filter(|flight| !flight.sending) {
                if flight.newest().is_some_and(old) {
                    self.metrics.dropped(DropReason::TooOld, flight.give_up());
                }
            }
            while self.give_up_held(DropReason::TooOld, old) {}
            self.window.commit(&mut self.queue);
        }
        self.limit_held();
        let lost = self.queue.take_lost();
        count_lost(&self.metrics, &lost);
        if !lost.full.is_zero() {
            let samples = lost.full.points();
            warn!(samples, "queue is full; dropped the oldest samples");
        }
        if !lost.age.is_zero() {
            let samples = lost.age.points();
            warn!(samples, "dropped samples older than sample_age_limit");
        }
        self.log_disk();
    }

    /// Logs when queueing on disk starts to fail, and when it succeeds again.
    fn log_disk(&mut self) {
        let trouble = self.queue.trouble();
        let is_failing = trouble.is_some();
        if is_failing != self.is_disk_failing {
            match trouble {
                Some(error) => {
                    warn!(%error, "queueing on disk failed; keeping samples in memory")
                }
                None => info!("queueing on disk succeeds again"),
            }
            self.is_disk_failing = is_failing;
        }
        self.metrics
            .queue_trouble
            .set(f64::from(u8::from(is_failing)));
    }

    fn report(&mut self) {
        self.report_quarantine();
        let finished = self.window.finished();
        self.metrics.pending.set(self.queue.pending() - finished);
        self.metrics.shards.set(float(self.window.sending()));
        let protocol = match self.protocol {
            Protocol::V1 | Protocol::V1Zstd => 1.0,
            Protocol::V2 => 2.0,
        };
        self.metrics.protocol.set(protocol);
        #[expect(
            clippy::cast_precision_loss,
            reason = "Prometheus holds sizes as floats"
        )]
        self.metrics
            .queue_bytes
            .set(self.queue.pending_bytes() as f64);
    }

    fn give_up(&mut self) {
        let left = self.queue.pending() - self.window.finished();
        let samples = left.points();
        let unwritten = if self.queue.is_durable() {
            self.queue.unwritten()
        } else {
            left
        };
        self.metrics.dropped(DropReason::Shutdown, unwritten);
        if !unwritten.is_zero() {
            let samples = unwritten.points();
            warn!(
                samples,
                "shutdown grace period expired; samples were not sent"
            );
        }
        if self.queue.is_durable() && samples > 0 {
            let samples = (left - unwritten).points();
            info!(
                samples,
                "shutdown grace period expired; unsent samples stay on disk until the next start"
            );
        }
    }
}

/// Waits for the timer. Never returns if there is none.
async fn over(wait: &mut Option<Pin<Box<tokio::time::Sleep>>>) {
    match wait {
        Some(wait) => wait.as_mut().await,
        None => pending().await,
    }
}

fn count_lost(metrics: &SinkMetrics, lost: &Lost) {
    for (reason, counts) in [
        (DropReason::QueueFull, lost.full),
        (DropReason::TooOld, lost.age),
        (DropReason::Damaged, lost.damaged),
    ] {
        metrics.dropped(reason, counts);
    }
    metrics.queue_damaged_bytes.add(lost.damaged_bytes);
}

/// Returns which parts of a snapshot a sink sends.
fn outgoing(config: &RemoteWriteConfig, external: &[(String, String)]) -> Outgoing {
    Outgoing {
        external: config.external(external.to_vec()),
        relabel: config.relabel.clone(),
        samples_max: config.queue.samples_max(protocol(config.message)),
        exemplars: config.send_exemplars,
        native: config.send_native_histograms,
        classic: config.send_classic_histograms,
        draft: config.draft_created_timestamps,
    }
}

/// Returns the protocol version to start with.
const fn protocol(message: Message) -> Protocol {
    match message {
        Message::Auto | Message::V2 => Protocol::V2,
        Message::V1 => Protocol::V1,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds counts as floats"
)]
const fn float(count: usize) -> f64 {
    count as f64
}

impl std::fmt::Debug for RemoteWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteWrite")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
