//! The Redis source: connect, subscribe, receive.
//!
//! Redis cuts off a subscriber that reads too slowly, and forgets what it had for it. So the socket is read
//! whatever happens behind it, into a bounded buffer; when nobody takes the events, the oldest in it are
//! dropped and counted. The client library hands messages over through a channel without a bound: the loop
//! below never waits for anything but it and our own room to hand over.

mod buffer;
mod channel;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{RedisConnectionInfo, RedisError};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::unconstrained;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;

use self::buffer::Buffer;
use super::source::{LinkError, REST, Stage};
use crate::config::{BrokerConfig, RedisAddress, RedisConfig};
use crate::tls;

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
        let mut pubsub = connect(redis).await?;
        subscribe(&mut pubsub, config, redis).await?;
        Ok(pubsub)
    });
    let Some(pubsub) = stage.connecting(connecting).await? else {
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
        buffer: Buffer::new(config.queue_bytes_max),
    };
    let ended = receiver.receive(stage).await;
    // What was received is still handed over, as far as there is somebody to take it.
    while !receiver.buffer.is_empty() {
        if stage.hand_over(receiver.buffer.take()).await.is_err() {
            stage
                .metrics
                .dropped_shutdown
                .add(receiver.buffer.len() as u64);
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
                Action::PingDue => self.ping = Some(ping(self.sink.clone())),
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
        stage.metrics.messages.add(taken as u64);
        stage.metrics.dropped_buffer_full.add(dropped);
        taken
    }
}

fn ping(mut sink: PubSubSink) -> Ping {
    Box::pin(async move {
        match timeout(PING_TIMEOUT, sink.ping::<redis::Value>()).await {
            Ok(answer) => answer.map(drop).map_err(|error| failed("ping", error)),
            Err(_) => Err(LinkError::Silent),
        }
    })
}

async fn connect(redis: &RedisConfig) -> Result<PubSub, LinkError> {
    // The database is part of the channels' names; none needs to be selected.
    let mut login =
        RedisConnectionInfo::default().set_lib_name("celeriac", env!("CARGO_PKG_VERSION"));
    if let Some(username) = &redis.username {
        login = login.set_username(username);
    }
    if let Some(password) = &redis.password {
        login = login.set_password(password.read()?);
    }
    let pubsub = match &redis.address {
        RedisAddress::Socket(path) => PubSub::new(&login, UnixStream::connect(path).await?).await,
        RedisAddress::Sentinel(_) => return Err(LinkError::Closed),
        RedisAddress::Tcp { host, port, tls } => {
            let plain = TcpStream::connect((host.as_str(), *port)).await?;
            match tls {
                None => PubSub::new(&login, plain).await,
                Some(tls) => {
                    let connector = TlsConnector::from(Arc::new(tls::client_config(tls)?));
                    let stream = connector.connect(tls::server_name(host)?, plain).await?;
                    PubSub::new(&login, stream).await
                }
            }
        }
    };
    pubsub.map_err(|error| failed("log in", error))
}

async fn subscribe(
    pubsub: &mut PubSub,
    config: &BrokerConfig,
    redis: &RedisConfig,
) -> Result<(), LinkError> {
    let [configured, other] = channel::patterns(redis, &config.event_exchange);
    if let Err(error) = pubsub.psubscribe(&configured).await {
        let missing = error.code() == Some("NOPERM");
        let hint = if missing {
            format!("; the user needs the command psubscribe and the channel pattern &{configured}")
        } else {
            String::new()
        };
        return Err(LinkError::Redis {
            doing: "subscribe",
            error,
            hint,
        });
    }
    // For workers that are configured the other way; a user who may not have it does without.
    if let Err(error) = pubsub.psubscribe(&other).await
        && error.code() != Some("NOPERM")
    {
        return Err(failed("subscribe", error));
    }
    Ok(())
}

const fn failed(doing: &'static str, error: RedisError) -> LinkError {
    LinkError::Redis {
        doing,
        error,
        hint: String::new(),
    }
}
