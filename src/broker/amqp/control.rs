//! Remote control over RabbitMQ: requests to the fanout exchange of the workers' mailboxes, replies through the
//! default exchange to a queue of ours.
//!
//! The queue is made for a round and deleted at its end: a reply that comes later finds none, and is dropped by
//! the broker. All of a round is on a channel of its own.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ExchangeDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Consumer, ExchangeKind};
use tokio::time::timeout;

use super::connect::{self, NOT_FOUND, failed, refused, reply_code};
use super::poll::Poll;
use super::topology;
use crate::broker::control::{DEADLINE, REPLY_BYTES_MAX, Round, request};
use crate::broker::source::LinkError;
use crate::event::{ContentType, DecodeError};

/// Replies that the broker sends ahead of our acknowledgements. They may be large.
const PREFETCH: u16 = 32;

/// What may wait for us in the broker; beyond, the oldest go.
const QUEUE_BYTES_MAX: u64 = 64 << 20;

const EXCHANGE_PASSIVE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: true,
    durable: false,
    auto_delete: false,
    internal: false,
    nowait: false,
};

impl Poll {
    /// Asks the workers, and takes in what they reply until the round is over.
    pub(in crate::broker) async fn ask(
        &mut self,
        control_exchange: &str,
        round: &mut Round,
    ) -> Result<(), LinkError> {
        let Some((channel, mailboxes)) = self.mailboxes(control_exchange).await? else {
            return Ok(());
        };
        let queue = topology::transient_name(fastrand::u64(..));
        let mut replies = replies(&channel, queue.as_str()).await?;
        for body in round.requests(&queue) {
            // What a worker has not taken by then, nobody waits for.
            let expiration = DEADLINE.as_millis().to_string();
            publish(&channel, &mailboxes, &body, Some(expiration)).await?;
        }
        // A deadline is not an error: not everybody answers.
        if let Ok(ended) = timeout(DEADLINE, collect(&mut replies, round)).await {
            let permission = format!("write on {mailboxes}");
            ended.map_err(|error| refused("ask the workers", error, &permission))?;
        }
        let deleted = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
        deleted
            .await
            .map_err(|error| failed("delete the queue of replies", error))?;
        close(&channel).await
    }

    /// Tells workers to send events; they do not answer.
    pub(in crate::broker) async fn enable_events(
        &mut self,
        control_exchange: &str,
        workers: &[Arc<str>],
    ) -> Result<(), LinkError> {
        if let Some((channel, mailboxes)) = self.mailboxes(control_exchange).await? {
            let body = request("enable_events", "{}", Some(workers), None);
            publish(&channel, &mailboxes, &body, None).await?;
            close(&channel).await?;
        }
        Ok(())
    }

    /// A channel, and the exchange of the workers' mailboxes. `None` where it is not there, because no worker
    /// has ever been.
    async fn mailboxes(
        &self,
        control_exchange: &str,
    ) -> Result<Option<(Channel, String)>, LinkError> {
        let channel = connect::channel(&self.connection).await?;
        let mailboxes = format!("{control_exchange}.pidbox");
        let (name, kind) = (mailboxes.as_str().into(), ExchangeKind::Fanout);
        let declared =
            channel.exchange_declare(name, kind, EXCHANGE_PASSIVE, FieldTable::default());
        match declared.await {
            Ok(()) => Ok(Some((channel, mailboxes))),
            Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(None),
            Err(error) => Err(failed("find the workers' mailboxes", error)),
        }
    }
}

/// Waits for the broker's word, which also tells what it thought of the messages before.
async fn close(channel: &Channel) -> Result<(), LinkError> {
    let closed = channel.close(200, "asked".into()).await;
    closed.map_err(|error| failed("close a channel", error))
}

async fn replies(channel: &Channel, queue: &str) -> Result<Consumer, LinkError> {
    let qos = channel.basic_qos(PREFETCH, BasicQosOptions::default());
    qos.await
        .map_err(|error| failed("set the prefetch", error))?;
    let arguments = topology::Kind::Transient.arguments(QUEUE_BYTES_MAX);
    let declared =
        channel.queue_declare(queue.into(), topology::Kind::Transient.options(), arguments);
    declared.await.map_err(|error| {
        refused(
            "declare a queue for replies",
            error,
            "configure on celeriac\\..*",
        )
    })?;
    let options = BasicConsumeOptions {
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    let (tag, arguments) = ("celeriac.replies".into(), FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), tag, options, arguments);
    consumer
        .await
        .map_err(|error| refused("receive replies", error, "read on celeriac\\..*"))
}

async fn publish(
    channel: &Channel,
    mailboxes: &str,
    body: &str,
    expiration: Option<String>,
) -> Result<(), LinkError> {
    let mut properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(1);
    if let Some(expiration) = expiration {
        properties = properties.with_expiration(expiration.as_str().into());
    }
    let options = BasicPublishOptions::default();
    let (exchange, key) = (ShortString::from(mailboxes), ShortString::from(""));
    let sent = channel.basic_publish(exchange, key, options, body.as_bytes(), properties);
    sent.await
        .map(drop)
        .map_err(|error| failed("ask the workers", error))
}

/// Takes replies until the round is over.
async fn collect(replies: &mut Consumer, round: &mut Round) -> lapin::Result<()> {
    while !round.is_over()
        && let Some(delivery) = replies.next().await
    {
        let delivery = delivery?;
        take(round, &delivery);
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

fn take(round: &mut Round, delivery: &Delivery) {
    let properties = &delivery.properties;
    let content_type = properties.content_type().as_ref();
    let content_type =
        content_type.map_or(ContentType::Json, |text| ContentType::of(text.as_str()));
    let headers = properties.headers().as_ref();
    let ticket = headers.and_then(|headers| match headers.inner().get("ticket") {
        Some(AMQPValue::LongString(text)) => Some(text.as_bytes()),
        Some(AMQPValue::ShortString(text)) => Some(text.as_str().as_bytes()),
        Some(_) | None => None,
    });
    let ticket = ticket.and_then(|ticket| std::str::from_utf8(ticket).ok());
    let compressed = headers.is_some_and(|headers| headers.contains_key("compression"));
    match ticket {
        None => round.unreadable(DecodeError::Field("ticket")),
        Some(_) if compressed => round.unreadable(DecodeError::Compressed),
        Some(_) if delivery.data.len() > REPLY_BYTES_MAX => {
            round.unreadable(DecodeError::Large(REPLY_BYTES_MAX));
        }
        Some(ticket) => {
            // Counted by the round.
            let _ = round.take(ticket, content_type, &delivery.data);
        }
    }
}
