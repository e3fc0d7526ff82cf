//! The Redis source: connects, subscribes, and hands over the messages it receives.
//!
//! Redis disconnects a subscriber that reads too slowly and discards its pending messages. So a
//! thread of its own reads, and messages wait in a bounded buffer. If the aggregator falls
//! behind, the oldest messages in the buffer are dropped and counted.

mod bounded;
mod buffer;
mod channel;
mod client;
mod connect;
mod drained;
mod error;
mod output_buffer;
mod sentinel;
mod subscription;

mod bindings;
mod control;
mod poll;
mod queues;
mod unacked;
mod unsubscribed_channels;

mod probe;

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::coop::unconstrained;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until, timeout};

use self::buffer::Buffer;
pub(super) use self::connect::Driver;
use self::connect::Server;
use self::error::is_forbidden;
pub use self::output_buffer::OutputBufferLimit;
pub(super) use self::poll::Poll;
pub(super) use self::probe::{look, trouble};
use self::subscription::{Frame, Subscription};
use super::context::{CONNECT_TIMEOUT, SourceContext, bytes_of};
use super::error::{LinkError, PING_TIMEOUT};
use super::unpack::Unpacker;
use crate::bounds::Bounds;
use crate::clock;
use crate::config::{BrokerConfig, RedisAddress, RedisConfig, SentinelConfig};
use crate::event::Payload;

/// Pub/sub has no heartbeat, so dead peers are detected by pinging, as often as RabbitMQ sends
/// heartbeats.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum number of bytes to read before anything else is handled.
const ROUND_BYTES: usize = 1 << 20;

/// Maximum size of a message: the largest body that RabbitMQ delivers, in base64 and with its
/// envelope.
const MESSAGE_BYTES_MAX: u64 = 24 << 20;

/// The part of `queue_max_bytes` that may wait before it is parsed.
const UNPARSED: u64 = 4;

/// An end of the connection this soon after a flood is probably due to it.
const FLOOD_ENDED: Duration = Duration::from_secs(2);

/// Receives until an error occurs or the daemon stops.
pub(super) async fn run(
    config: &BrokerConfig,
    redis: &RedisConfig,
    context: &mut SourceContext,
) -> Result<(), LinkError> {
    let mut buffer = Buffer::new(config.queue_bytes_max, context.metrics.bounds.clone());
    let mut unpacker = Unpacker::new(config.accept);
    let ended = loop {
        match connected(config, redis, context, (&mut buffer, &mut unpacker)).await {
            // More events are lost until it is subscribed again, so there is no pause, and what has
            // been read is handed over later.
            Err(error @ LinkError::FellBehind) => context.failed(config, &error),
            ended => break ended,
        };
    };
    // Received messages are still handed over while the aggregator accepts them.
    while !buffer.is_empty() {
        let waiting = buffer.len() as u64;
        let batch = taken(&mut buffer, &mut unpacker);
        if context.hand_over(batch).await.is_err() {
            let metrics = &context.metrics;
            metrics.dropped(&metrics.dropped_shutdown, waiting);
            break;
        }
    }
    ended
}

/// Connects and receives.
async fn connected(
    config: &BrokerConfig,
    redis: &RedisConfig,
    context: &mut SourceContext,
    (buffer, unpacker): (&mut Buffer, &mut Unpacker),
) -> Result<(), LinkError> {
    let mut dropped = 0;
    let connecting = Box::pin(async {
        let server = sentinel::server(redis).await?;
        let on_frame = |frame: Frame<'_>| dropped += buffer.push_frame(frame);
        let bounds = &context.metrics.bounds;
        let subscription = subscribe(config, redis, (&server, bounds), on_frame).await?;
        Ok((subscription, server))
    });
    let Some((subscription, server)) = context.connecting(CONNECT_TIMEOUT, connecting).await?
    else {
        return Ok(());
    };
    context.subscribed(config);
    let metrics = &context.metrics;
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
        unpacker,
        flooded: None,
    };
    let ended = receiver.receive(context).await;
    ended.map_err(|error| receiver.explained(error))
}

/// Removes messages for a batch.
fn taken(buffer: &mut Buffer, unpacker: &mut Unpacker) -> Vec<Payload> {
    let mut payloads = buffer.next_batch();
    unpacker.unpack(&mut payloads);
    payloads
}

struct Receiver<'a> {
    subscription: Subscription,
    pings: Interval,
    /// When a reply to the last ping is due.
    answer_due: Option<Instant>,
    /// With sentinels: the location of the master when the connection was made.
    master: Option<(SentinelConfig, Server)>,
    /// A pending check whether it is still the master.
    asking: Option<Asking>,
    buffer: &'a mut Buffer,
    unpacker: &'a mut Unpacker,
    /// When data last arrived as fast as it could be read.
    flooded: Option<Instant>,
}

/// A request to the sentinels for the current master.
type Asking = Pin<Box<dyn Future<Output = Result<(), LinkError>> + Send>>;

enum ReceiverEvent {
    Read(usize),
    HandedOver(u64),
    PingDue,
    Silence,
    Asked(Result<(), LinkError>),
    Stop,
}

impl Receiver<'_> {
    async fn receive(&mut self, context: &mut SourceContext) -> Result<(), LinkError> {
        loop {
            match self.next(context).await? {
                ReceiverEvent::Read(bytes) => {
                    self.answer_due = None;
                    let read = self.read_available(bytes, context);
                    // If data arrives as fast as it can be parsed, parsing goes first: the buffer
                    // holds more than what waits unparsed.
                    let is_flood = read.as_ref().is_ok_and(|&read| read >= ROUND_BYTES);
                    if !is_flood || self.buffer.is_half_full() {
                        self.hand_over(context)?;
                    }
                    read?;
                }
                ReceiverEvent::HandedOver(bytes) => context.handed_over(bytes),
                ReceiverEvent::PingDue => {
                    self.answer_due = Some(clock::monotonic() + PING_TIMEOUT);
                    let pinged = timeout(PING_TIMEOUT, self.subscription.ping()).await;
                    pinged.unwrap_or(Err(LinkError::Silent))?;
                    self.asking = self.master.clone().map(ask);
                }
                ReceiverEvent::Silence => return Err(LinkError::Silent),
                ReceiverEvent::Asked(answer) => {
                    self.asking = None;
                    answer?;
                }
                ReceiverEvent::Stop => return Ok(()),
            }
        }
    }

    /// Names the likely reason if Redis closed the connection in a flood.
    fn explained(&self, error: LinkError) -> LinkError {
        let is_reset = matches!(&error, LinkError::Redis { error, .. } if error.is_io_error());
        let is_closed = is_reset || matches!(error, LinkError::Closed);
        let is_flood = self
            .flooded
            .is_some_and(|at| clock::monotonic().duration_since(at) < FLOOD_ENDED);
        if is_closed && is_flood {
            LinkError::FellBehind
        } else {
            error
        }
    }

    /// Cancel-safe: only the branch that returns reads data or reserves room.
    async fn next(&mut self, context: &SourceContext) -> Result<ReceiverEvent, LinkError> {
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
            () = context.stop.cancelled() => ReceiverEvent::Stop,
            answer = asked => ReceiverEvent::Asked(answer),
            _ = self.pings.tick(), if self.answer_due.is_none() => ReceiverEvent::PingDue,
            read = self.subscription.read() => {
                let now = clock::monotonic();
                match &read {
                    Ok(_) => context.alive.note(now),
                    Err(LinkError::Closed) => context.alive.closed(now),
                    Err(_) => {}
                }
                ReceiverEvent::Read(read?)
            }
            () = silence => ReceiverEvent::Silence,
            room = context.room(self.buffer.batch_bytes()), if !self.buffer.is_empty() => {
                let payloads = taken(self.buffer, self.unpacker);
                let bytes = bytes_of(&payloads);
                room?.send(context.batch(payloads));
                ReceiverEvent::HandedOver(bytes)
            }
        })
    }

    /// Hands over as many messages as there is room for now.
    fn hand_over(&mut self, context: &mut SourceContext) -> Result<(), LinkError> {
        while !self.buffer.is_empty() {
            let Some(room) = context.room_now(self.buffer.batch_bytes())? else {
                break;
            };
            let payloads = taken(self.buffer, self.unpacker);
            let bytes = bytes_of(&payloads);
            room.send(context.batch(payloads));
            context.handed_over(bytes);
        }
        Ok(())
    }

    /// Parses the bytes read, and reads and parses further bytes that are available. Returns their
    /// number. The runtime's cooperative budget does not apply here: our own limit ends the loop
    /// soon enough.
    fn read_available(
        &mut self,
        mut bytes: usize,
        context: &SourceContext,
    ) -> Result<usize, LinkError> {
        let mut dropped = 0;
        let ended = loop {
            let taken = self
                .subscription
                .drain_frames(|frame| dropped += self.buffer.push_frame(frame));
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
        context
            .metrics
            .dropped(&context.metrics.dropped_buffer_full, dropped);
        if bytes >= ROUND_BYTES / 2 {
            self.flooded = Some(clock::monotonic());
        }
        ended
    }
}

/// Asks the sentinels whether the server is still the master. A replica passes on what its master
/// publishes, so a demoted master still appears to work, and a subscribed connection cannot ask for
/// its own role.
fn ask((sentinel, server): (SentinelConfig, Server)) -> Asking {
    Box::pin(async move {
        match timeout(PING_TIMEOUT, sentinel::master(&sentinel)).await {
            Ok(Ok(now)) if now != server => Err(LinkError::NotMaster(server.to_string())),
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
        }
    })
}

/// Connects and subscribes. Messages that arrive meanwhile go to `on_frame`.
async fn subscribe(
    config: &BrokerConfig,
    redis: &RedisConfig,
    (server, bounds): (&Server, &Bounds),
    mut on_frame: impl FnMut(Frame<'_>),
) -> Result<Subscription, LinkError> {
    let message_bytes_max = config.queue_bytes_max.min(MESSAGE_BYTES_MAX);
    let unparsed_max = usize::try_from(config.queue_bytes_max / UNPARSED).unwrap_or(usize::MAX);
    let stream = drained::connect(
        server,
        connect::tls_of(redis),
        (unparsed_max, bounds.clone()),
    )
    .await?;
    let mut subscription = Subscription::open(stream, redis, message_bytes_max).await?;
    let patterns = channel::patterns(redis, &config.event_exchange);
    for (at, pattern) in patterns.iter().enumerate() {
        match subscription.subscribe(pattern, &mut on_frame).await {
            // All but the first pattern are for differently configured workers, so a missing
            // permission for them is tolerated.
            Err(LinkError::Redis { error, .. }) if at > 0 && is_forbidden(&error) => {}
            subscribed => subscribed?,
        }
    }
    Ok(subscription)
}
