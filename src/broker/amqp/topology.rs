//! What is declared on RabbitMQ: the event exchange exactly as Celery does it, and our own queues and exchanges.
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
//! A message that reaches a queue on two ways is in it once.
//!
//! Source: Celery 4.4 to 5.7, `celery/events/event.py` and `receiver.py`; RabbitMQ refuses a declaration with
//! other flags than the exchange has (406).

use amq_protocol::types::{AMQPValue, FieldTable};

use super::methods::QueueFlags;
use crate::config::{AmqpConfig, Shard};
use crate::state::topic_matches;

/// The exchange that divides workers among shards. It comes with a plugin.
pub(super) const SHARDS: &str = "x-consistent-hash";

/// The routing key of events that every shard gets.
pub(super) const SENT: &str = "task.sent";

/// A share of one in what that exchange divides.
pub(super) const WEIGHT: &str = "1";

/// After so many deliveries a quorum queue drops a message: never. RabbitMQ 4 does after 20, and while no checkpoint
/// can be written, every connection that breaks is one. Its -1 for none has 3.10 drop what is delivered again.
const DELIVERIES_MAX: i64 = 1_000_000;

/// What our queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ours alone, gone with the connection. Exclusive, because RabbitMQ 4.3 refuses a transient queue that is not.
    Transient,
    /// Stays, and keeps transient messages through a restart of the broker, which Celery's events are.
    Quorum,
    /// Stays, where there is no other.
    Classic,
    Stream,
}

impl Kind {
    pub(super) const fn flags(self) -> QueueFlags {
        let stays = !matches!(self, Self::Transient);
        QueueFlags {
            passive: false,
            durable: stays,
            exclusive: !stays,
            auto_delete: !stays,
        }
    }

    /// Bounded in bytes: beyond, the oldest go. Without the `x-message-ttl` of 5 s that Celery's own receivers
    /// have: what waits for us for longer than that is not thrown away.
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
                // Two daemons that consume one queue would each have half of every task.
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

/// A stream forgets whole segments, so there are some; and to find an offset RabbitMQ goes through one, message by message,
/// so they are small, as long as they do not become too many files.
const SEGMENTS_MIN: u64 = 8;
const SEGMENTS_MAX: u64 = 1_000;
const SEGMENT_BYTES: u64 = 8 << 20;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// What RabbitMQ has by default.
const SEGMENT_BYTES_MAX: u64 = 500_000_000;

/// A name that no other agent has, and no earlier connection of ours that the broker may still hold on to.
pub(super) fn transient_name(chance: u64) -> String {
    format!("celeriac.{chance:016x}")
}

/// The name of the exchange that divides among so many shards. Each count has its own, so that a queue never gets the
/// share that it had among others.
pub(super) fn shards_name(amqp: &AmqpConfig, shard: Shard) -> String {
    format!("{}.of-{}", amqp.queue, shard.count)
}

/// By which header that exchange divides: a worker's events stay together.
pub(super) fn shards_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("hash-header".into(), text("hostname"));
    arguments
}

/// Where reading a stream begins.
pub(super) fn offset_arguments(offset: AMQPValue) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), offset);
    arguments
}

pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// Whether a binding's pattern takes a routing key.
pub(super) fn takes(pattern: &str, key: &str) -> bool {
    topic_matches(pattern, key)
}
