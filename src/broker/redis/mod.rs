//! The Redis source: connect, subscribe, receive.
//!
//! Redis cuts off a subscriber that reads too slowly, and forgets what it had for it. So the socket is read
//! whatever happens behind it, into a bounded buffer; when nobody takes the events, the oldest in it are
//! dropped and counted. The client library hands messages over through a channel without a bound: the loop
//! below never waits for anything but it and our own room to hand over.

mod buffer;
mod channel;
mod connect;
mod sentinel;

mod bindings;
mod control;
mod elsewhere;
mod poll;
mod queues;
mod unacked;

mod probe;

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use tokio::task::coop::unconstrained;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use self::buffer::Buffer;
use self::connect::{Server, failed, refused};
pub(super) use self::poll::{Driver, Poll};
pub(super) use self::probe::{look, trouble};
use super::source::{CONNECT_TIMEOUT, LinkError, REST, Stage};
use crate::config::{BrokerConfig, RedisAddress, RedisConfig, SentinelConfig};

/// Pub/sub carries no heartbeat, so dead peers are noticed by asking; Kombu asks as often.
const PING_INTERVAL: Duration = Duration::from_secs(25);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages that are taken from the library before anything else is looked at.
const DRAIN_MAX: usize = 4_096;

/// Receives until something breaks, or until it is time to stop.
pub(super) async fn run(
    config: &BrokerConfig,
    redis: &RedisConfig,
    stage: &mut Stage,
) -> Result<(), LinkError> {
    let connecting = Box::pin(async {
        let server = connect::server(redis).await?;
        let mut pubsub = connect::subscriber(redis, &server).await?;
        subscribe(&mut pubsub, config, redis).await?;
        Ok((pubsub, server))
    });
    let Some((pubsub, server)) = stage.connecting(CONNECT_TIMEOUT, connecting).await? else {
        return Ok(());
    };
    stage.subscribed(config);
    let (sink, messages) = pubsub.split();
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut receiver = Receiver {
        messages,
        sink,
        pings,
        ping: None,
        master: match &redis.address {
            RedisAddress::Sentinel(sentinel) => Some((sentinel.clone(), server)),
            RedisAddress::Tcp { .. } | RedisAddress::Socket(_) => None,
        },
        buffer: Buffer::new(config.queue_bytes_max),
    };
    let ended = receiver.receive(stage).await;
    // What was received is still handed over, as far as there is somebody to take it.
    while !receiver.buffer.is_empty() {
        let waiting = receiver.buffer.len() as u64;
        if stage.hand_over(receiver.buffer.take()).await.is_err() {
            let metrics = &stage.metrics;
            metrics.dropped(&metrics.dropped_shutdown, waiting);
            break;
        }
    }
    ended
}

struct Receiver {
    messages: PubSubStream,
    sink: PubSubSink,
    pings: Interval,
    ping: Option<Ping>,
    /// Under sentinels: where the master was when this began.
    master: Option<(SentinelConfig, Server)>,
    buffer: Buffer,
}

/// A ping that waits for its answer.
type Ping = Pin<Box<dyn Future<Output = Result<(), LinkError>> + Send>>;

enum Action {
    Message(Option<redis::Msg>),
    HandedOver,
    PingDue,
    Pong(Result<(), LinkError>),
    Stop,
}

impl Receiver {
    async fn receive(&mut self, stage: &Stage) -> Result<(), LinkError> {
        loop {
            match self.next(stage).await? {
                Action::Message(None) => return Err(LinkError::Closed),
                Action::Message(Some(message)) => {
                    let taken = self.take(&message, stage);
                    self.hand_over(stage)?;
                    if taken < DRAIN_MAX {
                        tokio::time::sleep(REST).await;
                    }
                }
                Action::HandedOver => {}
                Action::PingDue => {
                    self.ping = Some(ping(self.sink.clone(), self.master.clone()));
                }
                Action::Pong(answer) => {
                    self.ping = None;
                    answer?;
                }
                Action::Stop => return Ok(()),
            }
        }
    }

    /// Cancel-safe: a message is taken, or room reserved, only by the branch that returns.
    async fn next(&mut self, stage: &Stage) -> Result<Action, LinkError> {
        let pong = async {
            match &mut self.ping {
                Some(ping) => ping.await,
                None => pending().await,
            }
        };
        Ok(tokio::select! {
            message = self.messages.next() => Action::Message(message),
            room = stage.room(), if !self.buffer.is_empty() => {
                room?.send(stage.batch(self.buffer.take()));
                Action::HandedOver
            }
            answer = pong => Action::Pong(answer),
            _ = self.pings.tick() => Action::PingDue,
            () = stage.stop.cancelled() => Action::Stop,
        })
    }

    /// Hands over what finds room at once.
    fn hand_over(&mut self, stage: &Stage) -> Result<(), LinkError> {
        while !self.buffer.is_empty()
            && let Some(room) = stage.room_now()?
        {
            room.send(stage.batch(self.buffer.take()));
        }
        Ok(())
    }

    /// Takes a message and those that are there behind it; how many they were. The runtime's budget for one task,
    /// which ends after 128 messages, does not count here: our own ends soon enough.
    fn take(&mut self, first: &redis::Msg, stage: &Stage) -> usize {
        let mut dropped = self.buffer.push(first.get_payload_bytes().to_vec());
        let mut taken = 1;
        while taken < DRAIN_MAX
            && let Some(Some(message)) = unconstrained(self.messages.next()).now_or_never()
        {
            dropped += self.buffer.push(message.get_payload_bytes().to_vec());
            taken += 1;
        }
        stage
            .metrics
            .dropped(&stage.metrics.dropped_buffer_full, dropped);
        taken
    }
}

fn ping(mut sink: PubSubSink, master: Option<(SentinelConfig, Server)>) -> Ping {
    Box::pin(async move {
        match timeout(PING_TIMEOUT, sink.ping::<redis::Value>()).await {
            Ok(answer) => answer.map_err(|error| failed("ping", error))?,
            Err(_) => return Err(LinkError::Silent),
        };
        // A replica passes on what its master publishes, so a master that has become one still seems to work.
        // A connection that has subscribed cannot ask for its role: the sentinels know.
        if let Some((sentinel, server)) = master
            && let Ok(Ok(now)) = timeout(PING_TIMEOUT, sentinel::master(&sentinel)).await
            && now != server
        {
            return Err(LinkError::NotMaster(server.to_string()));
        }
        Ok(())
    })
}

async fn subscribe(
    pubsub: &mut PubSub,
    config: &BrokerConfig,
    redis: &RedisConfig,
) -> Result<(), LinkError> {
    let patterns = channel::patterns(redis, &config.event_exchange);
    for (at, pattern) in patterns.iter().enumerate() {
        let Err(error) = pubsub.psubscribe(pattern).await else {
            continue;
        };
        // All but the first are for workers that are configured otherwise; a user who may not have them does
        // without.
        if at == 0 || error.code() != Some("NOPERM") {
            let permission = format!("the command psubscribe and the channel pattern &{pattern}");
            return Err(refused("subscribe", error, &permission));
        }
    }
    Ok(())
}
