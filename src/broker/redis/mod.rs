//! The Redis source: connect, subscribe, receive.
//!
//! Redis cuts off a subscriber that reads too slowly, and forgets what it had for it. So the socket is read
//! whatever happens behind it, into a bounded buffer; when nobody takes the events, the oldest in it are
//! dropped and counted.

mod bounded;
mod buffer;
mod channel;
mod connect;
mod sentinel;
mod subscription;

mod bindings;
mod control;
mod elsewhere;
mod poll;
mod queues;
mod unacked;

mod probe;

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::coop::unconstrained;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until, timeout};

use self::buffer::Buffer;
use self::connect::{Server, is_forbidden};
pub(super) use self::poll::{Driver, Poll};
pub(super) use self::probe::{look, trouble};
use self::subscription::{Frame, Subscription};
use super::source::{CONNECT_TIMEOUT, LinkError, REST, Stage, bytes_of};
use super::unpack::Unpacker;
use crate::clock;
use crate::config::{BrokerConfig, RedisAddress, RedisConfig, SentinelConfig};
use crate::event::Payload;

/// Pub/sub carries no heartbeat, so dead peers are noticed by asking, as often as RabbitMQ sends one.
const PING_INTERVAL: Duration = Duration::from_secs(5);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What is read before anything else is looked at.
const ROUND_BYTES: usize = 1 << 20;

/// The longest message that is received: as long a body as RabbitMQ may deliver, in base64 and with its envelope.
const MESSAGE_BYTES_MAX: u64 = 24 << 20;

/// Who had less to read may rest: meanwhile the kernel has room for more than this.
const RESTFUL_BYTES: usize = 64 << 10;

/// Receives until something breaks, or until it is time to stop.
pub(super) async fn run(
    config: &BrokerConfig,
    redis: &RedisConfig,
    stage: &mut Stage,
) -> Result<(), LinkError> {
    let mut buffer = Buffer::new(config.queue_bytes_max, stage.metrics.bounds.clone());
    let mut dropped = 0;
    let connecting = Box::pin(async {
        let server = connect::server(redis).await?;
        let heard = |frame: Frame<'_>| dropped += buffer.hear(frame);
        let subscription = subscribe(config, redis, &server, heard).await?;
        Ok((subscription, server))
    });
    let Some((subscription, server)) = stage.connecting(CONNECT_TIMEOUT, connecting).await? else {
        return Ok(());
    };
    stage.subscribed(config);
    let metrics = &stage.metrics;
    metrics.dropped(&metrics.dropped_buffer_full, dropped);
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut receiver = Receiver {
        subscription,
        pings,
        answer_due: None,
        master: match &redis.address {
            RedisAddress::Sentinel(sentinel) => Some((sentinel.clone(), server)),
            RedisAddress::Tcp { .. } | RedisAddress::Socket(_) => None,
        },
        asking: None,
        buffer,
        unpacker: Unpacker::new(config.accept),
    };
    let ended = receiver.receive(stage).await;
    // What was received is still handed over, as far as there is somebody to take it.
    while !receiver.buffer.is_empty() {
        let waiting = receiver.buffer.len() as u64;
        if stage.hand_over(receiver.taken()).await.is_err() {
            let metrics = &stage.metrics;
            metrics.dropped(&metrics.dropped_shutdown, waiting);
            break;
        }
    }
    ended
}

struct Receiver {
    subscription: Subscription,
    pings: Interval,
    /// When something has to have come, since a ping was sent.
    answer_due: Option<Instant>,
    /// Under sentinels: where the master was when this began.
    master: Option<(SentinelConfig, Server)>,
    /// Whether it still is.
    asking: Option<Asking>,
    buffer: Buffer,
    unpacker: Unpacker,
}

/// The sentinels are asked for the master.
type Asking = Pin<Box<dyn Future<Output = Result<(), LinkError>> + Send>>;

enum Action {
    Read(usize),
    HandedOver(u64),
    PingDue,
    Silence,
    Asked(Result<(), LinkError>),
    Stop,
}

impl Receiver {
    async fn receive(&mut self, stage: &mut Stage) -> Result<(), LinkError> {
        loop {
            match self.next(stage).await? {
                Action::Read(bytes) => {
                    self.answer_due = None;
                    let read = self.take(bytes, stage);
                    // While it comes as fast as it can be read, reading goes first: Redis cuts off who falls behind, and
                    // the buffer is for that.
                    let is_flood = read.as_ref().is_ok_and(|&read| read >= ROUND_BYTES);
                    if !is_flood || self.buffer.is_half_full() {
                        self.hand_over(stage)?;
                    }
                    if read? < RESTFUL_BYTES {
                        tokio::time::sleep(REST).await;
                    }
                }
                Action::HandedOver(bytes) => stage.handed_over(bytes),
                Action::PingDue => {
                    self.answer_due = Some(clock::monotonic() + PING_TIMEOUT);
                    let pinged = timeout(PING_TIMEOUT, self.subscription.ping()).await;
                    pinged.unwrap_or(Err(LinkError::Silent))?;
                    self.asking = self.master.clone().map(ask);
                }
                Action::Silence => return Err(LinkError::Silent),
                Action::Asked(answer) => {
                    self.asking = None;
                    answer?;
                }
                Action::Stop => return Ok(()),
            }
        }
    }

    /// Cancel-safe: something is read, or room reserved, only by the branch that returns.
    async fn next(&mut self, stage: &Stage) -> Result<Action, LinkError> {
        let silence = async {
            match self.answer_due {
                Some(due) => sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        let asked = async {
            match &mut self.asking {
                Some(asking) => asking.await,
                None => pending().await,
            }
        };
        Ok(tokio::select! {
            biased;
            () = stage.stop.cancelled() => Action::Stop,
            answer = asked => Action::Asked(answer),
            _ = self.pings.tick(), if self.answer_due.is_none() => Action::PingDue,
            read = self.subscription.read() => {
                let now = clock::monotonic();
                match &read {
                    Ok(_) => stage.alive.note(now),
                    Err(LinkError::Closed) => stage.alive.closed(now),
                    Err(_) => {}
                }
                Action::Read(read?)
            }
            () = silence => Action::Silence,
            room = stage.room(self.buffer.batch_bytes()), if !self.buffer.is_empty() => {
                let payloads = self.taken();
                let bytes = bytes_of(&payloads);
                room?.send(stage.batch(payloads));
                Action::HandedOver(bytes)
            }
        })
    }

    /// Takes messages for a batch.
    fn taken(&mut self) -> Vec<Payload> {
        let mut payloads = self.buffer.take();
        self.unpacker.unpack(&mut payloads);
        payloads
    }

    /// Hands over what finds room at once.
    fn hand_over(&mut self, stage: &mut Stage) -> Result<(), LinkError> {
        while !self.buffer.is_empty() {
            let Some(room) = stage.room_now(self.buffer.batch_bytes())? else {
                break;
            };
            let payloads = self.taken();
            let bytes = bytes_of(&payloads);
            room.send(stage.batch(payloads));
            stage.handed_over(bytes);
        }
        Ok(())
    }

    /// Takes what was read, and reads and takes what is there behind it; how many bytes they were. The runtime's
    /// budget for one task does not count here: our own ends soon enough.
    fn take(&mut self, mut bytes: usize, stage: &Stage) -> Result<usize, LinkError> {
        let mut dropped = 0;
        let ended = loop {
            let taken = self
                .subscription
                .take(|frame| dropped += self.buffer.hear(frame));
            if let Err(error) = taken {
                break Err(error);
            }
            if bytes >= ROUND_BYTES {
                break Ok(bytes);
            }
            match unconstrained(self.subscription.read()).now_or_never() {
                Some(Ok(more)) => bytes += more,
                Some(Err(error)) => break Err(error),
                None => break Ok(bytes),
            }
        };
        stage
            .metrics
            .dropped(&stage.metrics.dropped_buffer_full, dropped);
        ended
    }
}

/// A replica passes on what its master publishes, so a master that has become one still seems to work. A connection
/// that has subscribed cannot ask for its role: the sentinels know.
fn ask((sentinel, server): (SentinelConfig, Server)) -> Asking {
    Box::pin(async move {
        match timeout(PING_TIMEOUT, sentinel::master(&sentinel)).await {
            Ok(Ok(now)) if now != server => Err(LinkError::NotMaster(server.to_string())),
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
        }
    })
}

/// Connects and subscribes; what comes meanwhile goes to `heard`.
async fn subscribe(
    config: &BrokerConfig,
    redis: &RedisConfig,
    server: &Server,
    mut heard: impl FnMut(Frame<'_>),
) -> Result<Subscription, LinkError> {
    let message_bytes_max = config.queue_bytes_max.min(MESSAGE_BYTES_MAX);
    let mut subscription = connect::subscriber(redis, server, message_bytes_max).await?;
    let patterns = channel::patterns(redis, &config.event_exchange);
    for (at, pattern) in patterns.iter().enumerate() {
        match subscription.subscribe(pattern, &mut heard).await {
            // All but the first are for workers that are configured otherwise; a user who may not have them does
            // without.
            Err(LinkError::Redis { error, .. }) if at > 0 && is_forbidden(&error) => {}
            subscribed => subscribed?,
        }
    }
    Ok(subscription)
}
