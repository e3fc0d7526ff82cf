//! The context of a broker connection: its metrics, readiness, and channel to the aggregator.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::LinkError;
use super::in_flight::InFlight;
use super::link::{Alive, ConnectionState};
use crate::backoff::Backoff;
use crate::clock;
use crate::config::BrokerConfig;
use crate::event::{Batch, BrokerId, Mark, Payload, Position};
use crate::saved::Offset;
use crate::telemetry::metrics::BrokerMetrics;
use crate::telemetry::readiness::Reporter;

/// The first pause is short because most broker restarts are. The longest pause is two seconds, so
/// a recovered broker is noticed within that time.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Maximum size of the messages waiting for the aggregator, in bytes. A larger message is the only
/// one waiting.
const IN_FLIGHT_BYTES: u64 = 16 << 20;

/// How long connecting and subscribing may take together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A batch is handed over once it has this many messages or bytes, or if no more are available.
pub(super) const BATCH_MESSAGES: usize = 512;
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// Where a connection reports its state and hands over batches.
#[derive(Debug)]
pub(super) struct SourceContext {
    broker: BrokerId,
    link: ConnectionState,
    pub(super) alive: Alive,
    /// Index of the broker's server in use: the last one that worked, otherwise the next in turn.
    pub(super) server: usize,
    /// `None` once the source hands over no more batches.
    batches: Option<mpsc::Sender<Batch>>,
    in_flight: InFlight,
    pub(super) metrics: BrokerMetrics,
    readiness: Reporter,
    pub(super) stop: CancellationToken,
    pub(super) checkpointed: Checkpointed,
}

/// The checkpoint state that a source needs.
#[derive(Debug)]
pub struct Checkpointed {
    /// The newest message that a checkpoint contains. Messages up to it may be acknowledged.
    pub kept: watch::Receiver<Mark>,
    /// The stream and offset at which to continue.
    pub offset: Option<Offset>,
}

impl SourceContext {
    /// Creates the context of a broker, with a limit on the bytes of its waiting messages.
    pub(super) fn new(
        (broker, queue_bytes_max): (BrokerId, u64),
        batches: mpsc::Sender<Batch>,
        (metrics, readiness): (BrokerMetrics, Reporter),
        stop: CancellationToken,
        checkpointed: Checkpointed,
    ) -> Self {
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX).expect("the constants are in order");
        let now = clock::monotonic();
        let link = ConnectionState::new(backoff, now);
        metrics.gap.begin(clock::now());
        let in_flight_bytes = queue_bytes_max.min(IN_FLIGHT_BYTES);
        let in_flight = InFlight::new(batches.max_capacity(), in_flight_bytes);
        Self {
            broker,
            link,
            in_flight,
            alive: Alive::new(now),
            server: 0,
            batches: Some(batches),
            metrics,
            readiness,
            stop,
            checkpointed,
        }
    }

    /// Waits for `connecting` up to the timeout. `None` on shutdown.
    pub(super) async fn connecting<T>(
        &self,
        patience: Duration,
        connecting: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<Option<T>, LinkError> {
        tokio::select! {
            connected = tokio::time::timeout(patience, connecting) => {
                connected.unwrap_or(Err(LinkError::Timeout(patience))).map(Some)
            }
            () = self.stop.cancelled() => Ok(None),
        }
    }

    /// Records a new subscription, and logs it.
    pub(super) fn subscribed(&mut self, config: &BrokerConfig) {
        let now = clock::monotonic();
        self.count_gap(now);
        let subscribed = self.link.subscribed(now);
        self.alive.note(now);
        self.metrics.gap.end();
        self.metrics.connected.set(1.0);
        self.readiness.ready();
        let address = config.address(self.server);
        if subscribed.again {
            self.metrics.reconnects.add(1);
            let gap = subscribed.gap;
            if config.waits_for_checkpoints() {
                warn!(%address, ?gap, "subscribed again; the broker kept the events published meanwhile");
            } else {
                warn!(%address, ?gap, "subscribed again; events published meanwhile are lost");
            }
        } else {
            info!(%address, "subscribed to events");
        }
    }

    pub(super) fn failed(&mut self, config: &BrokerConfig, error: &LinkError) -> Duration {
        let now = clock::monotonic();
        let was_connected = self.metrics.connected.get() > 0.0;
        let is_news = self.link.is_news(was_connected, error);
        let alive = self.alive.last();
        let delay = self.link.failed(now, alive, fastrand::f64());
        self.count_gap(now);
        self.metrics.connected.set(0.0);
        let address = config.address(self.server);
        if is_news {
            warn!(%address, %error, "connection to broker failed; retrying");
        } else {
            tracing::debug!(%address, %error, attempt = self.link.attempt(), ?delay, "not connected");
        }
        self.readiness.waiting(error.to_string());
        if !was_connected {
            self.server = (self.server + 1) % config.servers();
        }
        delay
    }

    /// Records that the subscription ends because the daemon is stopping.
    pub(super) fn ended(&mut self) {
        let now = clock::monotonic();
        self.link.ended(now, self.alive.good_until(now));
        self.count_gap(now);
        self.metrics.connected.set(0.0);
    }

    fn count_gap(&mut self, now: Instant) {
        self.metrics
            .gap
            .grow(self.link.unreported(now), clock::now());
    }

    /// The number of this subscription, counted from 1.
    pub(super) const fn link_number(&self) -> u64 {
        self.link.subscriptions()
    }

    /// Drops the channel to the aggregator: no more batches will be handed over.
    pub(super) fn let_go(&mut self) {
        self.batches = None;
    }

    /// Hands over messages. Waits until there is room.
    pub(super) async fn hand_over(&mut self, payloads: Vec<Payload>) -> Result<(), LinkError> {
        self.hand_over_at(payloads, Position::Transient).await
    }

    /// Hands over messages along with the broker's delivery position.
    pub(super) async fn hand_over_at(
        &mut self,
        payloads: Vec<Payload>,
        position: Position,
    ) -> Result<(), LinkError> {
        let batch = Batch {
            position,
            ..self.batch(payloads)
        };
        let bytes = bytes_of(&batch.payloads);
        self.room(bytes).await?.send(batch);
        self.handed_over(bytes);
        Ok(())
    }

    /// Waits for room for a batch of this many bytes. Report the number of bytes handed over
    /// with [`SourceContext::handed_over`].
    pub(super) async fn room(&self, bytes: u64) -> Result<mpsc::Permit<'_, Batch>, LinkError> {
        let batches = self.batches.as_ref().ok_or(LinkError::Abandoned)?;
        let places = batches.reserve_many(self.in_flight.places_for(bytes));
        let mut places = places.await.map_err(|_| LinkError::Abandoned)?;
        places.next().ok_or(LinkError::Abandoned)
    }

    /// Like [`SourceContext::room`], but without waiting. `None` if there is no room now.
    pub(super) fn room_now(
        &self,
        bytes: u64,
    ) -> Result<Option<mpsc::Permit<'_, Batch>>, LinkError> {
        let batches = self.batches.as_ref().ok_or(LinkError::Abandoned)?;
        match batches.try_reserve_many(self.in_flight.places_for(bytes)) {
            Ok(mut places) => Ok(places.next()),
            Err(TrySendError::Full(())) => Ok(None),
            Err(TrySendError::Closed(())) => Err(LinkError::Abandoned),
        }
    }

    pub(super) fn handed_over(&mut self, bytes: u64) {
        self.in_flight.handed_over(bytes);
    }

    pub(super) fn batch(&self, payloads: Vec<Payload>) -> Batch {
        Batch {
            broker: self.broker,
            received: clock::now(),
            payloads,
            position: Position::Transient,
        }
    }
}

pub(super) fn bytes_of(payloads: &[Payload]) -> u64 {
    let bytes = payloads.iter().map(|payload| payload.bytes.len() as u64);
    bytes.sum()
}
