//! Declares what is needed on one connection, and consumes.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, ExchangeBindOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer, ExchangeKind};
use tracing::warn;

use super::connect::{
    self, COMMAND_INVALID, NOT_FOUND, NOT_IMPLEMENTED, PRECONDITION_FAILED, failed, refused,
    reply_code,
};
use super::deliveries::offset_of;
use super::topology::{self, Kind};
use crate::broker::source::LinkError;
use crate::config::{AmqpConfig, BrokerConfig, Delivery, Shard};

/// How long the newest messages of a stream are waited for, and then for each one behind another in their chunk, which
/// comes whole. A connection may be slow.
const NEWEST: Duration = Duration::from_secs(3);

/// What is done when a queue of our own cannot be had.
pub(super) const DECLARE: &str = "declare a queue";

/// A subscription to events.
pub(super) struct Subscription {
    pub(super) channel: Channel,
    pub(super) consumer: Consumer,
    /// Of a stream: it is read from its first message, whatever was read before.
    pub(super) is_new: bool,
}

/// Declares and consumes. `next` is where to go on in a stream.
pub(super) async fn subscribe(
    connection: &Connection,
    config: &BrokerConfig,
    amqp: &AmqpConfig,
    next: Option<u64>,
) -> Result<Subscription, LinkError> {
    exchange_there(connection, &config.event_exchange).await?;
    let next = match amqp.delivery {
        Delivery::Stream if !is_there(connection, &amqp.queue_name()).await? => None,
        Delivery::Transient | Delivery::Durable | Delivery::Stream => next,
    };
    let (channel, queue) = queue_there(connection, config, amqp).await?;
    bind(&channel, &queue, config, amqp).await?;
    let mut options = BasicConsumeOptions::default();
    let mut arguments = FieldTable::default();
    let mut is_new = false;
    match amqp.delivery {
        Delivery::Transient => options.exclusive = true,
        Delivery::Durable => {}
        Delivery::Stream => {
            let asked = begin_at(connection, &queue, next, amqp.prefetch).await?;
            is_new = asked.is_none();
            let offset = match asked {
                Some(offset) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX)),
                None => topology::text("first"),
            };
            arguments = topology::offset_arguments(offset);
        }
    }
    let qos = channel.basic_qos(amqp.prefetch, BasicQosOptions::default());
    qos.await
        .map_err(|error| failed("set the prefetch", error))?;
    let consumer = channel.basic_consume(short(&queue), "celeriac".into(), options, arguments);
    let consumer = consumer
        .await
        .map_err(|error| refused("consume", error, &format!("read on {queue}")))?;
    Ok(Subscription {
        channel,
        consumer,
        is_new,
    })
}

/// Whether a queue is there already. One that is not has none of the messages that were read.
pub(super) async fn is_there(connection: &Connection, queue: &str) -> Result<bool, LinkError> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..Kind::Stream.options()
    };
    let channel = connect::channel(connection).await?;
    let declared = channel.queue_declare(short(queue), passive, FieldTable::default());
    match declared.await {
        Ok(_) => Ok(true),
        // The same code is for one that is there, and whose process is not, as in the first seconds of a broker.
        Err(error) if reply_code(&error) == Some(NOT_FOUND) && says_no_queue(&error) => Ok(false),
        Err(error) => {
            let permission = format!("configure on {queue}");
            Err(refused("find the stream", error, &permission))
        }
    }
}

fn says_no_queue(error: &lapin::Error) -> bool {
    error.to_string().contains("no queue")
}

/// Whether the event exchange is there; asked in a way that needs no permission to configure it.
pub(super) async fn has_exchange(
    connection: &Connection,
    exchange: &str,
) -> Result<bool, LinkError> {
    match declare_exchange(connection, exchange, topology::EXCHANGE_PASSIVE).await? {
        Ok(()) => Ok(true),
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(false),
        // RabbitMQ 4 answers only who may do anything with it.
        Err(error) => {
            let permission = format!("read on {exchange}");
            Err(refused("find the event exchange", error, &permission))
        }
    }
}

/// Sees to it that the event exchange is there, made as Celery makes it where no worker has done so yet.
async fn exchange_there(connection: &Connection, exchange: &str) -> Result<(), LinkError> {
    if has_exchange(connection, exchange).await? {
        return Ok(());
    }
    let permission = format!("configure on {exchange} (or start a worker, which makes it)");
    let declared = declare_exchange(connection, exchange, topology::EXCHANGE).await?;
    declared.map_err(|error| refused("declare the event exchange", error, &permission))
}

/// On a channel of its own, which the broker closes with its answer where that is no.
async fn declare_exchange(
    connection: &Connection,
    exchange: &str,
    options: ExchangeDeclareOptions,
) -> Result<lapin::Result<()>, LinkError> {
    let channel = connect::channel(connection).await?;
    let arguments = FieldTable::default();
    Ok(channel
        .exchange_declare(exchange.into(), ExchangeKind::Topic, options, arguments)
        .await)
}

/// Sees to it that our queue is there, and gives a channel that is still open, and the queue's name.
pub(super) async fn queue_there(
    connection: &Connection,
    config: &BrokerConfig,
    amqp: &AmqpConfig,
) -> Result<(Channel, String), LinkError> {
    let (kinds, name): (&[Kind], String) = match amqp.delivery {
        Delivery::Transient => (
            &[Kind::Transient],
            topology::transient_name(fastrand::u64(..)),
        ),
        Delivery::Durable => (&[Kind::Quorum, Kind::Classic], amqp.queue_name()),
        Delivery::Stream => (&[Kind::Stream], amqp.queue_name()),
    };
    let mut first = None;
    for kind in kinds {
        let channel = connect::channel(connection).await?;
        let arguments = kind.arguments(config.queue_bytes_max);
        let declared = channel.queue_declare(short(&name), kind.options(), arguments);
        let Err(error) = declared.await else {
            if first.is_some() {
                warn!(
                    queue = name,
                    "no quorum queue to be had, this one is classic: a restart of the broker loses what waits in it"
                );
            }
            return Ok((channel, name));
        };
        let is_refused = matches!(
            reply_code(&error),
            Some(PRECONDITION_FAILED | NOT_IMPLEMENTED)
        );
        first.get_or_insert(error);
        if !is_refused {
            break;
        }
    }
    let error = first.expect("there is a kind to try");
    let permission = match amqp.delivery {
        Delivery::Transient => "configure on celeriac\\..*".to_owned(),
        Delivery::Durable | Delivery::Stream => format!("configure on {name}"),
    };
    if reply_code(&error) == Some(PRECONDITION_FAILED) {
        let hint = format!(
            "; a queue of this name is there with other arguments: take another `queue`, or see that nothing waits in it \
             and delete it (rabbitmqctl delete_queue {name})"
        );
        return Err(connect::explained("declare the queue", error, hint));
    }
    Err(refused(DECLARE, error, &permission))
}

async fn bind(
    channel: &Channel,
    queue: &str,
    config: &BrokerConfig,
    amqp: &AmqpConfig,
) -> Result<(), LinkError> {
    let source = config.event_exchange.as_str();
    let bind = async |source: &str, key: &str| {
        let permission = format!("write on {queue} and read on {source}");
        let options = QueueBindOptions::default();
        let arguments = FieldTable::default();
        channel
            .queue_bind(short(queue), short(source), short(key), options, arguments)
            .await
            .map_err(|error| refused("bind the queue", error, &permission))
    };
    let Some(shard) = amqp.shard else {
        for binding in &amqp.bindings {
            bind(source, binding).await?;
        }
        return Ok(());
    };
    let shards = shards_there(channel, source, amqp, shard).await?;
    bind(&shards, topology::WEIGHT).await?;
    let gets_sent = |binding: &String| topology::takes(binding, topology::SENT);
    if amqp.bindings.iter().any(gets_sent) {
        bind(source, topology::SENT).await?;
    }
    Ok(())
}

/// Sees to it that the exchange is there that divides events among shards. Returns its name.
async fn shards_there(
    channel: &Channel,
    source: &str,
    amqp: &AmqpConfig,
    shard: Shard,
) -> Result<String, LinkError> {
    let name = topology::shards_name(amqp, shard);
    let declared = channel.exchange_declare(
        short(&name),
        ExchangeKind::Custom(topology::SHARDS.to_owned()),
        topology::EXCHANGE,
        topology::shards_arguments(),
    );
    declared.await.map_err(|error| {
        // The first is RabbitMQ 3's word for a type that it does not know, the other 4's.
        let is_unknown = reply_code(&error) == Some(COMMAND_INVALID)
            || error.to_string().contains("unknown exchange type");
        if is_unknown {
            let hint =
                "; is the plugin there? rabbitmq-plugins enable rabbitmq_consistent_hash_exchange";
            return connect::explained("declare the exchange of shards", error, hint.to_owned());
        }
        let permission = format!("configure on {name}");
        refused("declare the exchange of shards", error, &permission)
    })?;
    for binding in &amqp.bindings {
        let options = ExchangeBindOptions::default();
        let arguments = FieldTable::default();
        let bound = channel.exchange_bind(
            short(&name),
            short(source),
            short(binding),
            options,
            arguments,
        );
        let permission = format!("write on {name} and read on {source}");
        bound
            .await
            .map_err(|error| refused("bind the exchange of shards", error, &permission))?;
    }
    Ok(name)
}

/// Where to begin in a stream: some messages before where it was left, or at its first message. A broker that is killed
/// may lose the end of a stream, and give the same offsets to other messages. A stream that was made anew since then
/// would be silent until it has as many messages; so the newest one is looked at.
async fn begin_at(
    connection: &Connection,
    queue: &str,
    next: Option<u64>,
    again: u16,
) -> Result<Option<u64>, LinkError> {
    let Some(next) = next.filter(|next| *next > 0) else {
        return Ok(None);
    };
    let asked = next.saturating_sub(again.into());
    if asked == 0 {
        return Ok(Some(asked));
    }
    // Only slow, or empty until now? Reading it from its first message could count everything twice: asked again.
    let newest = newest(connection, queue, asked).await?;
    let newest = newest.ok_or(LinkError::Timeout(NEWEST))?;
    if newest + 1 < asked {
        warn!(
            queue,
            next, newest, "the stream was made anew, reading it from its first message"
        );
        return Ok(None);
    }
    Ok(Some(asked))
}

/// The offset of a stream's newest message, if it has any; or of one that is not before `enough`.
async fn newest(
    connection: &Connection,
    queue: &str,
    enough: u64,
) -> Result<Option<u64>, LinkError> {
    let looking = |error| failed("look at the newest message", error);
    let channel = connect::channel(connection).await?;
    let qos = channel.basic_qos(u16::MAX, BasicQosOptions::default());
    qos.await.map_err(looking)?;
    let options = BasicConsumeOptions::default();
    let arguments = topology::offset_arguments(topology::text("last"));
    let consumer = channel.basic_consume(short(queue), "".into(), options, arguments);
    let mut consumer = consumer
        .await
        .map_err(|error| refused("consume", error, &format!("read on {queue}")))?;
    let mut newest = None;
    // Under load others come behind the last chunk, without an end.
    while newest.is_none_or(|newest| newest < enough) {
        match tokio::time::timeout(NEWEST, consumer.next()).await {
            Ok(Some(Ok(delivery))) => newest = newest.max(offset_of(&delivery)),
            Ok(Some(Err(error))) => return Err(looking(error)),
            Ok(None) => return Err(LinkError::Closed),
            Err(_) => break,
        }
    }
    let options = BasicCancelOptions::default();
    channel
        .basic_cancel(consumer.tag(), options)
        .await
        .map_err(looking)?;
    let closed = channel.close(200, "done".into()).await;
    closed.map_err(looking)?;
    Ok(newest)
}

fn short(text: &str) -> ShortString {
    ShortString::from(text)
}
