//! What is declared on RabbitMQ: the event exchange exactly as Celery does it, and our own queue.
//!
//! Source: Celery 4.4 to 5.7, `celery/events/event.py` and `receiver.py`; RabbitMQ refuses a declaration with
//! other flags than the exchange has (406).

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

/// How Celery declares its event exchange: a durable topic exchange.
pub(super) const EXCHANGE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: false,
    durable: true,
    auto_delete: false,
    internal: false,
    nowait: false,
};

/// Asks for the exchange without making it, which needs no permission.
pub(super) const EXCHANGE_PASSIVE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: true,
    ..EXCHANGE
};

/// Ours alone, gone with the connection. Exclusive, because RabbitMQ 4.3 refuses a transient queue that is not.
pub(super) const QUEUE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: false,
    exclusive: true,
    auto_delete: true,
    nowait: false,
};

/// Bounded in bytes: beyond, the oldest go. Without the `x-message-ttl` of 5 s that Celery's own receivers
/// have: what waits for us for longer than that is not thrown away.
pub(super) fn queue_arguments(bytes_max: u64) -> FieldTable {
    let mut arguments = FieldTable::default();
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
    arguments.insert(
        "x-max-length-bytes".into(),
        AMQPValue::LongLongInt(bytes_max),
    );
    arguments
}

/// A name that no other agent has, and no earlier connection of ours that the broker may still hold on to.
pub(super) fn queue_name(chance: u64) -> String {
    format!("celeriac.{chance:016x}")
}
