//! Declares queues, exchanges and bindings on a connection, and starts consuming.

use std::time::Duration;

use amq_protocol::types::{AMQPValue, FieldTable};
use tracing::warn;

use super::error::{AmqpError, COMMAND_INVALID, NOT_FOUND, NOT_IMPLEMENTED, PRECONDITION_FAILED};
use super::methods::QueueFlags;
use super::session::Session;
use super::topology::{self, QueueKind};
use crate::broker::error::LinkError;
use crate::config::{AmqpConfig, BrokerConfig, Delivery};
use crate::state::Shard;

/// The name of our consumer, the only one on its channel.
pub(super) const CONSUMER: &str = "celeriac";

/// How long to wait for the newest message of a stream, and then for each other message of its
/// chunk. Chunks are sent whole, but a connection may be slow.
const NEWEST: Duration = Duration::from_secs(3);

/// The operation named in the error when our queue cannot be declared.
pub(super) const DECLARE: &str = "declare a queue";

/// A subscription to events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub(super) channel: u16,
    /// Whether a stream is read from its first message, regardless of any earlier position.
    pub(super) is_new: bool,
}

/// Declares and consumes. `next` is the offset at which to continue in a stream.
pub(super) async fn subscribe(
    session: &mut Session,
    config: &BrokerConfig,
    amqp: &AmqpConfig,
    next: Option<u64>,
) -> Result<Subscription, LinkError> {
    exchange_there(session, &config.event_exchange).await?;
    let next = match amqp.delivery {
        Delivery::Stream if !is_there(session, &amqp.queue_name()).await? => None,
        Delivery::Transient | Delivery::Durable | Delivery::Stream => next,
    };
    let (channel, queue) = queue_there(session, config, amqp).await?;
    bind(session, (channel, &queue), config, amqp).await?;
    let set = session.prefetch(channel, amqp.prefetch).await;
    set.map_err(|error| error.while_doing("set the prefetch"))?;
    let mut is_new = false;
    if amqp.delivery == Delivery::Stream {
        // On a separate channel, so that it does not count against the prefetch.
        let asked = begin_at(session, &queue, next, amqp.prefetch).await?;
        is_new = asked.is_none();
        consume_stream(session, channel, &queue, asked).await?;
    } else {
        let exclusive = amqp.delivery == Delivery::Transient;
        consume(session, channel, &queue, exclusive, FieldTable::default()).await?;
    }
    Ok(Subscription { channel, is_new })
}

/// Consumes a stream from an offset on, or from its first message.
pub(super) async fn consume_stream(
    session: &mut Session,
    channel: u16,
    stream: &str,
    next: Option<u64>,
) -> Result<(), LinkError> {
    let offset = match next {
        Some(offset) => AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX)),
        None => topology::text("first"),
    };
    let arguments = topology::offset_arguments(offset);
    consume(session, channel, stream, false, arguments).await
}

async fn consume(
    session: &mut Session,
    channel: u16,
    queue: &str,
    exclusive: bool,
    arguments: FieldTable,
) -> Result<(), LinkError> {
    let consumes = session.consume(channel, (queue, CONSUMER), exclusive, arguments);
    let permission = format!("read on {queue}");
    consumes
        .await
        .map_err(|error| error.refused("consume", &permission))
}

/// Opens a channel for a single request: a server that refuses the request closes the channel.
pub(super) async fn channel(session: &mut Session) -> Result<u16, LinkError> {
    let channel = session.open_channel().await;
    channel.map_err(|error| error.while_doing("open a channel"))
}

async fn close(session: &mut Session, channel: u16) -> Result<(), LinkError> {
    let closed = session.close_channel(channel).await;
    closed.map_err(|error| error.while_doing("close a channel"))
}

/// Whether a queue exists. A new queue contains none of the messages that were read before.
pub(super) async fn is_there(session: &mut Session, queue: &str) -> Result<bool, LinkError> {
    let passive = QueueFlags {
        passive: true,
        ..QueueKind::Stream.flags()
    };
    let channel = channel(session).await?;
    let declared = session.queue_declare(channel, queue, passive, FieldTable::default());
    match declared.await {
        Ok(_) => close(session, channel).await.map(|()| true),
        // RabbitMQ uses the same code for a queue that exists but whose process is not running yet,
        // as in the first seconds after a broker starts.
        Err(error) if error.code() == Some(NOT_FOUND) && says_no_queue(&error) => Ok(false),
        Err(error) => {
            let permission = format!("configure on {queue}");
            Err(error.refused("find the stream", &permission))
        }
    }
}

fn says_no_queue(error: &AmqpError) -> bool {
    error.to_string().contains("no queue")
}

/// Whether the event exchange exists. The check needs no configure permission.
pub(super) async fn has_exchange(session: &mut Session, exchange: &str) -> Result<bool, LinkError> {
    match declare_exchange(session, exchange, true).await? {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(NOT_FOUND) => Ok(false),
        // RabbitMQ 4 refuses this to users without any permission on the exchange.
        Err(error) => {
            let permission = format!("read on {exchange}");
            Err(error.refused("find the event exchange", &permission))
        }
    }
}

/// Ensures that the event exchange exists. If no worker has declared it yet, declares it exactly as
/// Celery does.
async fn exchange_there(session: &mut Session, exchange: &str) -> Result<(), LinkError> {
    if has_exchange(session, exchange).await? {
        return Ok(());
    }
    let permission = format!("configure on {exchange} (or start a worker, which declares it)");
    let declared = declare_exchange(session, exchange, false).await?;
    declared.map_err(|error| error.refused("declare the event exchange", &permission))
}

async fn declare_exchange(
    session: &mut Session,
    exchange: &str,
    passive: bool,
) -> Result<Result<(), AmqpError>, LinkError> {
    let channel = channel(session).await?;
    let arguments = FieldTable::default();
    let declared = session
        .exchange_declare(channel, (exchange, "topic"), passive, arguments)
        .await;
    if declared.is_ok() {
        close(session, channel).await?;
    }
    Ok(declared)
}

/// Ensures that our queue exists. Returns a channel that is still open and the queue's name.
pub(super) async fn queue_there(
    session: &mut Session,
    config: &BrokerConfig,
    amqp: &AmqpConfig,
) -> Result<(u16, String), LinkError> {
    let (kinds, name): (&[QueueKind], String) = match amqp.delivery {
        Delivery::Transient => (
            &[QueueKind::Transient],
            topology::transient_name(fastrand::u64(..)),
        ),
        Delivery::Durable => (&[QueueKind::Quorum, QueueKind::Classic], amqp.queue_name()),
        Delivery::Stream => (&[QueueKind::Stream], amqp.queue_name()),
    };
    let mut first = None;
    for kind in kinds {
        let channel = channel(session).await?;
        let arguments = kind.arguments(config.queue_bytes_max);
        let declared = session.queue_declare(channel, &name, kind.flags(), arguments);
        let Err(error) = declared.await else {
            if first.is_some() {
                warn!(
                    queue = name,
                    "quorum queues are not available; using a classic queue, which loses its messages when the broker restarts"
                );
            }
            return Ok((channel, name));
        };
        let is_refused = matches!(error.code(), Some(PRECONDITION_FAILED | NOT_IMPLEMENTED));
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
    if error.code() == Some(PRECONDITION_FAILED) {
        let hint = format!(
            "; a queue of this name exists with other arguments: choose another `queue`, or make \
             sure that it is empty and delete it (rabbitmqctl delete_queue {name})"
        );
        return Err(error.explained("declare the queue", hint));
    }
    Err(error.refused(DECLARE, &permission))
}

async fn bind(
    session: &mut Session,
    (channel, queue): (u16, &str),
    config: &BrokerConfig,
    amqp: &AmqpConfig,
) -> Result<(), LinkError> {
    let events = config.event_exchange.as_str();
    let mut bindings: Vec<(&str, &str)> = Vec::new();
    let shards;
    match amqp.shard {
        None => bindings.extend(amqp.bindings.iter().map(|key| (events, key.as_str()))),
        Some(shard) => {
            shards = shards_there(session, channel, events, amqp, shard).await?;
            bindings.push((shards.as_str(), topology::WEIGHT));
            let gets_sent = |binding: &String| topology::takes(binding, topology::SENT);
            if amqp.bindings.iter().any(gets_sent) {
                bindings.push((events, topology::SENT));
            }
        }
    }
    for (source, key) in bindings {
        let bound = session.queue_bind(channel, (source, queue), key).await;
        let permission = format!("write on {queue} and read on {source}");
        bound.map_err(|error| error.refused("bind the queue", &permission))?;
    }
    Ok(())
}

/// Ensures that the exchange that distributes events among shards exists. Returns its name.
async fn shards_there(
    session: &mut Session,
    channel: u16,
    source: &str,
    amqp: &AmqpConfig,
    shard: Shard,
) -> Result<String, LinkError> {
    let name = topology::shards_name(amqp, shard);
    let arguments = topology::shards_arguments();
    let declared = session
        .exchange_declare(channel, (&name, topology::SHARDS), false, arguments)
        .await;
    declared.map_err(|error| {
        // RabbitMQ 3 reports an unknown exchange type with the first code, RabbitMQ 4 with the
        // other.
        let is_unknown = error.code() == Some(COMMAND_INVALID)
            || error.to_string().contains("unknown exchange type");
        if is_unknown {
            let hint =
                "; enable the plugin: rabbitmq-plugins enable rabbitmq_consistent_hash_exchange";
            return error.explained("declare the shards' exchange", hint.to_owned());
        }
        let permission = format!("configure on {name}");
        error.refused("declare the shards' exchange", &permission)
    })?;
    for key in &amqp.bindings {
        let bound = session.exchange_bind(channel, (source, &name), key).await;
        let permission = format!("write on {name} and read on {source}");
        bound.map_err(|error| error.refused("bind the shards' exchange", &permission))?;
    }
    Ok(name)
}

/// Where to start reading a stream: some messages before the saved position, or at its first
/// message. A broker that is killed may lose the end of a stream and assign the same offsets to
/// other messages. If the stream was recreated since then, it would stay silent until it had as
/// many messages as before, so the offset of its newest message is checked.
async fn begin_at(
    session: &mut Session,
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
    // The stream may just be slow, or may have been empty until now. Reading it from its first
    // message could count everything twice, so check again.
    let newest = newest(session, queue, asked).await?;
    let newest = newest.ok_or(LinkError::Timeout(NEWEST))?;
    if newest + 1 < asked {
        warn!(
            queue,
            next, newest, "the stream was recreated; reading it from its first message"
        );
        return Ok(None);
    }
    Ok(Some(asked))
}

/// The offset of a stream's newest message, if it has any, or any offset of at least `enough`.
async fn newest(session: &mut Session, queue: &str, enough: u64) -> Result<Option<u64>, LinkError> {
    let looking = |error: AmqpError| error.while_doing("read the newest message");
    let channel = channel(session).await?;
    session.prefetch(channel, u16::MAX).await.map_err(looking)?;
    let arguments = topology::offset_arguments(topology::text("last"));
    consume(session, channel, queue, false, arguments).await?;
    let mut newest = None;
    // Under load, more messages keep arriving after the last chunk, so stop early.
    while newest.is_none_or(|newest| newest < enough) {
        match tokio::time::timeout(NEWEST, session.delivery()).await {
            Ok(delivery) => newest = newest.max(delivery.map_err(looking)?.properties.offset),
            Err(_) => break,
        }
    }
    session.cancel(channel, CONSUMER).await.map_err(looking)?;
    session.close_channel(channel).await.map_err(looking)?;
    Ok(newest)
}
