//! Names and arguments of everything declared on RabbitMQ: the event exchange exactly as Celery
//! declares it, and our own queues and exchanges.
//!
//! ```text
//!                    bindings
//!   event exchange ───────────▶ our queue                                      without shards
//!
//!                    bindings                  by the header `hostname`
//!   event exchange ───────────▶ our exchange ───────────▶ a queue for each      with shards
//!         └────────────────── task.sent ────────────────▶ daemon
//! ```
//!
//! A message that reaches a queue by two routes is delivered to it once.
//!
//! Source: Celery 4.4 to 5.7, `celery/events/event.py` and `receiver.py`; RabbitMQ refuses to
//! redeclare an exchange with other flags (406).

use amq_protocol::types::{AMQPValue, FieldTable};

use super::methods::QueueFlags;
use crate::config::AmqpConfig;
use crate::state::{Shard, topic_matches};

/// The type of the exchange that distributes workers among shards. It requires a plugin.
pub(super) const SHARDS: &str = "x-consistent-hash";

/// The routing key of events that every shard gets.
pub(super) const SENT: &str = "task.sent";

/// The weight of each shard's binding to that exchange.
pub(super) const WEIGHT: &str = "1";

/// The delivery limit of a quorum queue: effectively unlimited. RabbitMQ 4 drops a message after 20
/// deliveries by default, and while no checkpoint can be written, every broken connection uses up
/// one. The value -1, which means no limit there, makes RabbitMQ 3.10 drop every redelivered
/// message.
const DELIVERIES_MAX: i64 = 1_000_000;

/// The kind of our queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueKind {
    /// Exclusive and deleted with the connection. Exclusive because RabbitMQ 4.3 refuses transient
    /// queues that are not.
    Transient,
    /// Durable. Keeps transient messages, such as Celery's events, through a restart of the broker.
    Quorum,
    /// Durable, used where quorum queues are not available.
    Classic,
    Stream,
}

impl QueueKind {
    pub(super) const fn flags(self) -> QueueFlags {
        let stays = !matches!(self, Self::Transient);
        QueueFlags {
            passive: false,
            durable: stays,
            exclusive: !stays,
            auto_delete: !stays,
        }
    }

    /// Limited in bytes: beyond that, the oldest messages are dropped. Unlike Celery's own
    /// receivers, sets no `x-message-ttl` of 5 s, so messages that wait longer are kept.
    pub(super) fn arguments(self, bytes_max: u64) -> FieldTable {
        let mut arguments = FieldTable::default();
        let number = |n: u64| AMQPValue::LongLongInt(i64::try_from(n).unwrap_or(i64::MAX));
        arguments.insert("x-max-length-bytes".into(), number(bytes_max));
        match self {
            Self::Transient => {}
            Self::Quorum | Self::Classic => {
                if self == Self::Quorum {
                    arguments.insert("x-queue-type".into(), text("quorum"));
                    let limit = AMQPValue::LongLongInt(DELIVERIES_MAX);
                    arguments.insert("x-delivery-limit".into(), limit);
                }
                arguments.insert("x-overflow".into(), text("drop-head"));
                // Two daemons consuming one queue would each see about half of a task's events.
                arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
            }
            Self::Stream => {
                arguments.insert("x-queue-type".into(), text("stream"));
                let few = (bytes_max / SEGMENTS_MIN).min(SEGMENT_BYTES);
                let segment = few.max(bytes_max / SEGMENTS_MAX);
                let segment = segment.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
                let key = "x-stream-max-segment-size-bytes";
                arguments.insert(key.into(), number(segment));
            }
        }
        arguments
    }
}

/// Minimum number of segments of a stream, which deletes whole segments only. RabbitMQ scans a
/// segment message by message to find an offset, so segments should be small, but not so small that
/// there are too many files.
const SEGMENTS_MIN: u64 = 8;
const SEGMENTS_MAX: u64 = 1_000;
const SEGMENT_BYTES: u64 = 8 << 20;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// RabbitMQ's default.
const SEGMENT_BYTES_MAX: u64 = 500_000_000;

/// A name used by no other daemon, and by no earlier connection of this one that the broker may
/// still consider open.
pub(super) fn transient_name(chance: u64) -> String {
    format!("celeriac.{chance:016x}")
}

/// The name of the exchange that distributes events among this number of shards. Each number has
/// its own exchange, so a queue never receives the share that it had with a different number.
pub(super) fn shards_name(amqp: &AmqpConfig, shard: Shard) -> String {
    format!("{}.of-{}", amqp.queue, shard.count)
}

/// The arguments of that exchange: it distributes events by a header, so that all events of a
/// worker reach the same shard.
pub(super) fn shards_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("hash-header".into(), text("hostname"));
    arguments
}

/// The offset at which to start reading a stream.
pub(super) fn offset_arguments(offset: AMQPValue) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), offset);
    arguments
}

pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// Whether a binding's pattern matches a routing key.
pub(super) fn takes(pattern: &str, key: &str) -> bool {
    topic_matches(pattern, key)
}
