//! A source: keeps one broker subscribed, whatever happens.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::in_flight::InFlight;
use super::link::{Alive, Link};
use super::{amqp, redis};
use crate::backoff::Backoff;
use crate::clock;
use crate::config::{BrokerConfig, Transport};
use crate::event::{Batch, Mark, Payload, Position};
use crate::saved::Offset;
use crate::telemetry::metrics::BrokerMetrics;
use crate::telemetry::readiness::Reporter;

/// The first pause is short, because most restarts of a broker are; the longest keeps a broker that comes back
/// waiting for two seconds at most.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What may wait for the aggregator, in bytes of messages; one that is larger waits alone.
const IN_FLIGHT_BYTES: u64 = 16 << 20;

/// How long connecting and subscribing may take together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A batch is handed over when so many messages, or bytes, are in it, and when no more are there.
pub(super) const BATCH_MESSAGES: usize = 512;
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// How long a source rests when it has taken all that was there. Events that trickle in are taken some at a time:
/// each time costs a wake-up, a hand-over and, on RabbitMQ, an acknowledgement.
pub(super) const REST: Duration = Duration::from_millis(5);

/// The source of one broker's events.
#[derive(Debug)]
pub struct Source {
    config: BrokerConfig,
    stage: Stage,
}

/// What a connection reports to, and where it hands over.
#[derive(Debug)]
pub(super) struct Stage {
    broker: usize,
    link: Link,
    pub(super) alive: Alive,
    /// Which of the broker's servers it is: the one that worked last, else the next one in turn.
    pub(super) server: usize,
    /// `None`: it has let go.
    batches: Option<mpsc::Sender<Batch>>,
    in_flight: InFlight,
    pub(super) metrics: BrokerMetrics,
    readiness: Reporter,
    pub(super) stop: CancellationToken,
    pub(super) checkpointed: Checkpointed,
}

/// What a source needs to know of the checkpoint.
#[derive(Debug)]
pub struct Checkpointed {
    /// The newest message that a checkpoint holds: so far may be acknowledged.
    pub kept: watch::Receiver<Mark>,
    /// Where to go on in which stream.
    pub resume: Option<Offset>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("no connection within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error(transparent)]
    Secret(#[from] crate::config::SecretError),
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    #[error("cannot {doing}: {error}{hint}")]
    Amqp {
        doing: &'static str,
        error: amqp::AmqpError,
        hint: String,
    },
    #[error("cannot {doing}: {error}{hint}")]
    Redis {
        doing: &'static str,
        error: ::redis::RedisError,
        hint: String,
    },
    /// What the server said to it, without the password.
    #[error("cannot log in: {0}")]
    Login(String),
    #[error("the broker closed the connection")]
    Closed,
    #[error("no answer to a ping within {} s", redis::PING_TIMEOUT.as_secs())]
    Silent,
    #[error("no reply to a poll within {} s", .0.as_secs())]
    Late(Duration),
    #[error("no sentinel knows a master named `{name}`{hint}")]
    NoMaster { name: String, hint: String },
    #[error("the server at {0} is not the master")]
    NotMaster(String),
    /// Whoever takes the batches is gone: the daemon stops.
    #[error("nobody takes the events")]
    Abandoned,
}

impl LinkError {
    /// Whether the connection stays good: the broker only refused one thing that was asked.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Amqp { error, .. } => error.is_of_channel(),
            Self::Redis { error, .. } => error.code().is_some(),
            Self::Timeout(_)
            | Self::Connect(_)
            | Self::Secret(_)
            | Self::Tls(_)
            | Self::Login(_)
            | Self::Closed
            | Self::Silent
            | Self::Late(_)
            | Self::NoMaster { .. }
            | Self::NotMaster(_)
            | Self::Abandoned => false,
        }
    }
}

impl Source {
    /// The source of the broker that stands at place `broker` in the configuration.
    pub fn new(
        broker: usize,
        config: BrokerConfig,
        batches: mpsc::Sender<Batch>,
        (metrics, readiness): (BrokerMetrics, Reporter),
        stop: CancellationToken,
        checkpointed: Checkpointed,
    ) -> Self {
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX).expect("the constants are in order");
        let now = clock::monotonic();
        let link = Link::new(backoff, now);
        metrics.gap.resume(clock::now());
        let in_flight_bytes = config.queue_bytes_max.min(IN_FLIGHT_BYTES);
        let in_flight = InFlight::new(batches.max_capacity(), in_flight_bytes);
        let stage = Stage {
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
        };
        Self { config, stage }
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) {
        loop {
            let ended = match &self.config.transport {
                Transport::Amqp(amqp) => amqp::run(&self.config, amqp, &mut self.stage).await,
                Transport::Redis(redis) => redis::run(&self.config, redis, &mut self.stage).await,
            };
            match ended {
                Ok(()) | Err(LinkError::Abandoned) => break,
                Err(error) => {
                    let delay = self.stage.failed(&self.config, &error);
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = self.stage.stop.cancelled() => break,
                    }
                }
            }
        }
        self.stage.ended();
    }
}

impl Stage {
    /// Waits for `connecting` for so long, or until it is time to stop: `None`.
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

    /// Notes that events are subscribed to from now on.
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
                warn!(%address, ?gap, "subscribed again; the broker kept the events of the gap");
            } else {
                warn!(%address, ?gap, "subscribed again; events of the gap are lost");
            }
        } else {
            info!(%address, "subscribed to events");
        }
    }

    fn failed(&mut self, config: &BrokerConfig, error: &LinkError) -> Duration {
        let now = clock::monotonic();
        let was_connected = self.metrics.connected.get() > 0.0;
        let first = self.link.attempt() == 0 || was_connected;
        let alive = self.alive.last();
        let delay = self.link.failed(now, alive, fastrand::f64());
        self.count_gap(now);
        self.metrics.connected.set(0.0);
        let address = config.address(self.server);
        // Once for each outage: the metric tells how long it lasts.
        if first {
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

    /// Notes that the daemon stops. Until another one starts there is no subscription.
    fn ended(&mut self) {
        let now = clock::monotonic();
        self.link.ended(now, self.alive.good_until(now));
        self.count_gap(now);
        self.metrics.connected.set(0.0);
    }

    fn count_gap(&mut self, now: Instant) {
        self.metrics.gap.grow(self.link.untold(now), clock::now());
    }

    /// Which subscription this is, counted from 1.
    pub(super) const fn link_number(&self) -> u64 {
        self.link.subscriptions()
    }

    /// No more batches will come.
    pub(super) fn let_go(&mut self) {
        self.batches = None;
    }

    /// Hands messages over; waits while nobody takes them.
    pub(super) async fn hand_over(&mut self, payloads: Vec<Payload>) -> Result<(), LinkError> {
        self.hand_over_at(payloads, Position::Transient).await
    }

    /// The same, with how far the broker's delivery has come.
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

    /// Room to hand over a batch of so many bytes without waiting. Say afterwards how many they were: [`Stage::handed_over`].
    pub(super) async fn room(&self, bytes: u64) -> Result<mpsc::Permit<'_, Batch>, LinkError> {
        let batches = self.batches.as_ref().ok_or(LinkError::Abandoned)?;
        let places = batches.reserve_many(self.in_flight.places_for(bytes));
        let mut places = places.await.map_err(|_| LinkError::Abandoned)?;
        places.next().ok_or(LinkError::Abandoned)
    }

    /// The same, if there is any now.
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
