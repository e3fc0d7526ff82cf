//! Publishes the events of a simulated cluster to a broker at a given rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
    PublisherConfirm,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cluster::{Cluster, FREQ, Message, Told};
use super::events::envelope;
use super::redis::Redis;

/// Time between two steps of the cluster.
const STEP: Duration = Duration::from_millis(50);

/// Maximum number of unconfirmed messages in flight.
const WINDOW: usize = 1_000;

/// A connection to RabbitMQ that publishes each message until the broker has confirmed it.
pub struct Confirmed {
    url: String,
    connected: Option<(Connection, Channel)>,
    fresh: VecDeque<Message>,
    unconfirmed: VecDeque<(Message, PublisherConfirm)>,
    /// Messages that were published again because a connection broke before they were confirmed. The broker may have
    /// some of them twice.
    pub again: u64,
}

impl Confirmed {
    pub fn new(url: &str) -> Box<Self> {
        Box::new(Self {
            url: url.to_owned(),
            connected: None,
            fresh: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            again: 0,
        })
    }

    /// Publishes messages, retrying until it succeeds. The newest ones may not be confirmed yet.
    pub async fn publish(&mut self, messages: Vec<Message>) {
        self.fresh.extend(messages);
        self.within(WINDOW).await;
    }

    /// Waits until the broker has everything.
    pub async fn confirmed(&mut self) {
        self.within(0).await;
    }

    async fn within(&mut self, window: usize) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while let Err(error) = self.push(window).await {
            assert!(Instant::now() < deadline, "cannot publish: {error}");
            self.connected = None;
            self.again += self.unconfirmed.len() as u64;
            // In order, and before new messages.
            for (message, _) in self.unconfirmed.drain(..).rev() {
                self.fresh.push_front(message);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn push(&mut self, window: usize) -> Result<(), String> {
        let failed = |error: lapin::Error| error.to_string();
        if self.connected.is_none() {
            self.connected = Some(connect(&self.url).await.map_err(failed)?);
        }
        let (_, channel) = self.connected.as_ref().expect("just connected");
        while let Some(message) = self.fresh.front() {
            let confirm = send(channel, message).await.map_err(failed)?;
            let message = self.fresh.pop_front().expect("the one that was sent");
            self.unconfirmed.push_back((message, confirm));
            if self.unconfirmed.len() > WINDOW {
                oldest(&mut self.unconfirmed).await?;
            }
        }
        while self.unconfirmed.len() > window {
            oldest(&mut self.unconfirmed).await?;
        }
        Ok(())
    }
}

/// Waits until the oldest message is confirmed.
async fn oldest(unconfirmed: &mut VecDeque<(Message, PublisherConfirm)>) -> Result<(), String> {
    let (_, confirm) = unconfirmed.front_mut().expect("one that waits");
    match tokio::time::timeout(Duration::from_secs(30), confirm).await {
        Ok(Ok(Confirmation::Ack(_))) => {
            unconfirmed.pop_front();
            Ok(())
        }
        Ok(other) => Err(format!("{other:?}")),
        Err(_) => Err("no confirm".to_owned()),
    }
}

async fn connect(url: &str) -> lapin::Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let (exchange, kind) = ("celeryev".into(), ExchangeKind::Topic);
    channel
        .exchange_declare(exchange, kind, options, FieldTable::default())
        .await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok((connection, channel))
}

async fn send(channel: &Channel, message: &Message) -> lapin::Result<PublisherConfirm> {
    let mut headers = FieldTable::default();
    let hostname = AMQPValue::LongString(message.hostname.as_str().into());
    headers.insert("hostname".into(), hostname);
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(1)
        .with_priority(0)
        .with_headers(headers);
    channel
        .basic_publish(
            "celeryev".into(),
            message.routing_key.as_str().into(),
            BasicPublishOptions::default(),
            message.body.as_bytes(),
            properties,
        )
        .await
}

/// A connection to Redis, which reports how many clients each message was delivered to.
pub struct Channels {
    connection: redis::aio::MultiplexedConnection,
    /// Number of messages published without any subscriber.
    pub unheard: u64,
}

impl Channels {
    pub async fn new(redis: &Redis) -> Self {
        Self {
            connection: redis.connection().await,
            unheard: 0,
        }
    }

    async fn publish(&mut self, messages: &[Message]) {
        if messages.is_empty() {
            return;
        }
        let mut pipe = redis::pipe();
        for message in messages {
            pipe.cmd("PUBLISH")
                .arg(format!("/0.celeryev/{}", message.routing_key))
                .arg(envelope(&message.body));
        }
        let heard: Vec<u64> = pipe
            .query_async(&mut self.connection)
            .await
            .expect("redis answers");
        self.unheard += heard.iter().filter(|clients| **clients == 0).count() as u64;
    }
}

pub enum Way {
    RabbitMq(Box<Confirmed>),
    Redis(Channels),
}

impl Way {
    pub async fn publish(&mut self, messages: Vec<Message>) {
        match self {
            Self::RabbitMq(confirmed) => confirmed.publish(messages).await,
            Self::Redis(channels) => channels.publish(&messages).await,
        }
    }

    /// Waits until the broker has everything.
    pub async fn confirmed(&mut self) {
        if let Self::RabbitMq(confirmed) = self {
            confirmed.confirmed().await;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Go,
    /// Paused, once everything is confirmed.
    Hold,
    End,
}

/// A running cluster.
pub struct Load {
    order: watch::Sender<Order>,
    holds: watch::Receiver<bool>,
    task: JoinHandle<(Cluster, Way)>,
}

impl Load {
    /// Starts publishing at an average rate of events per second.
    pub fn start(cluster: Cluster, way: Way, rate: f64) -> Self {
        let (order, orders) = watch::channel(Order::Go);
        let (hold, holds) = watch::channel(false);
        let task = tokio::spawn(work(cluster, way, rate, orders, hold));
        Self { order, holds, task }
    }

    /// Pauses once the broker has everything published so far.
    pub async fn hold(&mut self) {
        self.order.send_replace(Order::Hold);
        let held = self.holds.wait_for(|holds| *holds).await;
        held.expect("the cluster works");
    }

    pub fn go_on(&self) {
        self.order.send_replace(Order::Go);
    }

    /// Sends no more tasks, ends the running ones, and sends heartbeats until the earlier ones are judged.
    pub async fn end(self) -> (Told, Way) {
        self.order.send_replace(Order::End);
        let (cluster, way) = self.task.await.expect("the cluster works");
        (cluster.told, way)
    }
}

pub fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock").as_secs_f64()
}

async fn work(
    mut cluster: Cluster,
    mut way: Way,
    rate: f64,
    mut orders: watch::Receiver<Order>,
    hold: watch::Sender<bool>,
) -> (Cluster, Way) {
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last, mut due, mut ended) = (now(), 0.0, None);
    loop {
        steps.tick().await;
        let order = *orders.borrow_and_update();
        if order == Order::Hold {
            way.confirmed().await;
            hold.send_replace(true);
            let changed = orders.wait_for(|order| *order != Order::Hold).await;
            changed.expect("its owner");
            hold.send_replace(false);
            last = now();
            continue;
        }
        let now = now();
        // A task without a retry has four events. Events that are late are made up for gradually.
        due = (due + (now - last) * rate / 4.2).min(rate / 4.2 * 2.0);
        last = now;
        let most = rate / 4.2 * STEP.as_secs_f64() * 3.0;
        let mut tasks = 0;
        let mut room = most;
        while order == Order::Go && due >= 1.0 && room >= 1.0 {
            tasks += 1;
            due -= 1.0;
            room -= 1.0;
        }
        way.publish(cluster.step(now, tasks)).await;
        if order == Order::End && !cluster.is_busy() {
            let since = *ended.get_or_insert(now);
            if now - since > 2.2 * FREQ {
                way.confirmed().await;
                return (cluster, way);
            }
        }
    }
}

/// Publishes at least `events` events of a cluster, as fast as the broker accepts them.
pub async fn burst(cluster: &mut Cluster, way: &mut Way, events: u64) {
    let enough = cluster.told.total() + events;
    while cluster.told.total() < enough || cluster.is_busy() {
        let more = if cluster.told.total() + 2_000 < enough {
            500
        } else {
            u64::from(cluster.told.total() < enough)
        };
        way.publish(cluster.step(now(), more)).await;
    }
    way.confirmed().await;
}
