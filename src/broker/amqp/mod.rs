//! The AMQP source: connect, declare, consume, acknowledge.
//!
//! Deliveries are acknowledged in batches, after they were handed over. Only that and the prefetch bound what
//! waits in the client library, whose stream has no bound of its own; so when nobody takes the events, they
//! wait in the broker's queue.

mod connect;
mod paced;
mod reactor;
mod topology;

mod control;
mod poll;
mod queues;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer, ExchangeKind};

use self::connect::{NOT_FOUND, Pace, channel, connect, failed, refused, reply_code};
pub(super) use self::poll::Poll;
use super::source::{BATCH_BYTES, BATCH_MESSAGES, LinkError, REST, Stage};
use crate::config::{AmqpConfig, BrokerConfig};
use crate::event::{Compression, ContentType, Form, Payload};

/// Consumes until something breaks, or until it is time to stop.
pub(super) async fn run(
    config: &BrokerConfig,
    amqp: &AmqpConfig,
    stage: &mut Stage,
) -> Result<(), LinkError> {
    let server = amqp.server(stage.server);
    let connecting = Box::pin(async {
        let connection = connect(server, Pace::Gulps).await?;
        let (channel, consumer) = subscribe(&connection, config, amqp).await?;
        Ok((connection, channel, consumer))
    });
    let Some((connection, channel, mut consumer)) = stage.connecting(connecting).await? else {
        return Ok(());
    };
    stage.subscribed(config);
    let stop = stage.stop.clone();
    loop {
        let delivery = tokio::select! {
            delivery = consumer.next() => delivery.ok_or(LinkError::Closed)?,
            () = stop.cancelled() => break,
        };
        if take(stage, &mut consumer, delivery).await? < BATCH_MESSAGES {
            tokio::time::sleep(REST).await;
        }
    }
    // What was delivered is still handed over; what waits in the queue is gone with it.
    let cancel = channel
        .basic_cancel(consumer.tag(), BasicCancelOptions::default())
        .await;
    cancel.map_err(|error| failed("cancel the consumer", error))?;
    while let Some(Some(delivery)) = consumer.next().now_or_never() {
        take(stage, &mut consumer, delivery).await?;
    }
    // The broker is told goodbye, but nobody waits for its answer.
    let _ = connection.close(200, "stopping".into()).now_or_never();
    Ok(())
}

/// Takes a delivery and those that are there behind it, hands them over, and acknowledges them. Returns how many
/// they were.
async fn take(
    stage: &Stage,
    consumer: &mut Consumer,
    first: lapin::Result<Delivery>,
) -> Result<usize, LinkError> {
    let mut payloads = Vec::with_capacity(BATCH_MESSAGES);
    let mut bytes = 0;
    let mut next = Some(first);
    let mut newest = None;
    while let Some(delivery) = next.take() {
        let delivery = delivery.map_err(|error| failed("receive", error))?;
        newest = Some(delivery.acker.clone());
        let payload = payload(delivery);
        bytes += payload.bytes.len();
        payloads.push(payload);
        if payloads.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            next = consumer.next().now_or_never().flatten();
        }
    }
    let taken = payloads.len();
    stage.metrics.messages.add(taken as u64);
    stage.hand_over(payloads).await?;
    if let Some(newest) = newest {
        let acknowledged = newest.ack(BasicAckOptions { multiple: true }).await;
        acknowledged.map_err(|error| failed("acknowledge", error))?;
    }
    Ok(taken)
}

fn payload(delivery: Delivery) -> Payload {
    let content_type = delivery.properties.content_type().as_ref();
    let headers = delivery.properties.headers().as_ref();
    let form = Form::Body {
        content_type: content_type
            .map_or(ContentType::Unknown, |text| ContentType::of(text.as_str())),
        compression: headers.and_then(compression),
    };
    Payload {
        bytes: delivery.data,
        form,
    }
}

/// What Kombu's header says that the body was compressed with.
fn compression(headers: &FieldTable) -> Option<Compression> {
    let value = headers.inner().get("compression")?;
    if matches!(value, AMQPValue::Void) {
        return None;
    }
    let long = value.as_long_string();
    let text = long.and_then(|text| std::str::from_utf8(text.as_bytes()).ok());
    text.map_or(Some(Compression::Unknown), Compression::of)
}

async fn subscribe(
    connection: &Connection,
    config: &BrokerConfig,
    amqp: &AmqpConfig,
) -> Result<(Channel, Consumer), LinkError> {
    let exchange = ShortString::from(config.event_exchange.as_str());
    let channel = exchange_there(connection, &config.event_exchange).await?;
    let qos = channel
        .basic_qos(amqp.prefetch, BasicQosOptions::default())
        .await;
    qos.map_err(|error| failed("set the prefetch", error))?;
    let queue = ShortString::from(topology::queue_name(fastrand::u64(..)).as_str());
    let arguments = topology::queue_arguments(config.queue_bytes_max);
    let declared = channel
        .queue_declare(queue.clone(), topology::QUEUE, arguments)
        .await;
    declared.map_err(|error| refused("declare a queue", error, "configure on celeriac\\..*"))?;
    for binding in &amqp.bindings {
        let binding = ShortString::from(binding.as_str());
        let options = QueueBindOptions::default();
        let arguments = FieldTable::default();
        let bound =
            channel.queue_bind(queue.clone(), exchange.clone(), binding, options, arguments);
        let permission = format!(
            "write on celeriac\\..* and read on {}",
            config.event_exchange
        );
        bound
            .await
            .map_err(|error| refused("bind the queue", error, &permission))?;
    }
    let options = BasicConsumeOptions {
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    let consumer = channel.basic_consume(queue, "celeriac".into(), options, FieldTable::default());
    let consumer = consumer
        .await
        .map_err(|error| refused("consume", error, "read on celeriac\\..*"))?;
    Ok((channel, consumer))
}

/// A channel, once the event exchange is there. Asked for first, which needs no permission; made as Celery makes
/// it where no worker has done so yet.
async fn exchange_there(connection: &Connection, exchange: &str) -> Result<Channel, LinkError> {
    let declare = async |channel: &Channel, options| {
        let arguments = FieldTable::default();
        channel
            .exchange_declare(exchange.into(), ExchangeKind::Topic, options, arguments)
            .await
    };
    let channel = channel(connection).await?;
    match declare(&channel, topology::EXCHANGE_PASSIVE).await {
        Ok(()) => Ok(channel),
        // The broker closed that channel with its answer.
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => {
            let channel = connect::channel(connection).await?;
            let permission = format!("configure on {exchange} (or start a worker, which makes it)");
            let declared = declare(&channel, topology::EXCHANGE).await;
            declared.map_err(|error| refused("declare the event exchange", error, &permission))?;
            Ok(channel)
        }
        Err(error) => Err(failed("find the event exchange", error)),
    }
}
