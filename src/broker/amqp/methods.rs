//! AMQP methods as functions of the session.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{self, AMQPMethod as Basic, AMQPProperties};
use amq_protocol::protocol::exchange::{self, AMQPMethod as Exchange};
use amq_protocol::protocol::queue::{self, AMQPMethod as Queue};
use amq_protocol::types::FieldTable;

use super::error::AmqpError;
use super::session::Session;

/// Class and method of `queue.declare-ok`.
pub(super) const QUEUE_DECLARED: (u16, u16) = (50, 11);

/// The flags of a queue declaration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QueueFlags {
    pub(super) passive: bool,
    pub(super) durable: bool,
    pub(super) exclusive: bool,
    pub(super) auto_delete: bool,
}

/// The state of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) messages: u32,
    pub(super) consumers: u32,
}

impl Declared {
    pub(super) fn from_reply(reply: &AMQPClass) -> Result<Self, AmqpError> {
        let AMQPClass::Queue(Queue::DeclareOk(ok)) = reply else {
            return Err(AmqpError::Malformed("an unexpected reply to a declaration"));
        };
        Ok(Self {
            messages: ok.message_count,
            consumers: ok.consumer_count,
        })
    }
}

/// The method that declares a queue.
pub(super) fn queue_declare(name: &str, flags: QueueFlags, arguments: FieldTable) -> AMQPClass {
    AMQPClass::Queue(Queue::Declare(queue::Declare {
        queue: name.into(),
        passive: flags.passive,
        durable: flags.durable,
        exclusive: flags.exclusive,
        auto_delete: flags.auto_delete,
        nowait: false,
        arguments,
    }))
}

impl Session {
    /// Declares a durable exchange. With `passive`, only checks that it exists, which needs no
    /// configure permission.
    pub(super) async fn exchange_declare(
        &mut self,
        channel: u16,
        (name, kind): (&str, &str),
        passive: bool,
        arguments: FieldTable,
    ) -> Result<(), AmqpError> {
        let declare = Exchange::Declare(exchange::Declare {
            exchange: name.into(),
            kind: kind.into(),
            passive,
            durable: true,
            auto_delete: false,
            internal: false,
            nowait: false,
            arguments,
        });
        let declared = self.call(channel, AMQPClass::Exchange(declare)).await;
        declared.map(drop)
    }

    pub(super) async fn exchange_bind(
        &mut self,
        channel: u16,
        (source, destination): (&str, &str),
        key: &str,
    ) -> Result<(), AmqpError> {
        let bind = Exchange::Bind(exchange::Bind {
            destination: destination.into(),
            source: source.into(),
            routing_key: key.into(),
            nowait: false,
            arguments: FieldTable::default(),
        });
        let bound = self.call(channel, AMQPClass::Exchange(bind)).await;
        bound.map(drop)
    }

    pub(super) async fn queue_declare(
        &mut self,
        channel: u16,
        name: &str,
        flags: QueueFlags,
        arguments: FieldTable,
    ) -> Result<Declared, AmqpError> {
        let declare = queue_declare(name, flags, arguments);
        Declared::from_reply(&self.call(channel, declare).await?)
    }

    pub(super) async fn queue_bind(
        &mut self,
        channel: u16,
        (source, name): (&str, &str),
        key: &str,
    ) -> Result<(), AmqpError> {
        let bind = Queue::Bind(queue::Bind {
            queue: name.into(),
            exchange: source.into(),
            routing_key: key.into(),
            nowait: false,
            arguments: FieldTable::default(),
        });
        let bound = self.call(channel, AMQPClass::Queue(bind)).await;
        bound.map(drop)
    }

    pub(super) async fn queue_unbind(
        &mut self,
        channel: u16,
        (source, name): (&str, &str),
        key: &str,
    ) -> Result<(), AmqpError> {
        let unbind = Queue::Unbind(queue::Unbind {
            queue: name.into(),
            exchange: source.into(),
            routing_key: key.into(),
            arguments: FieldTable::default(),
        });
        let unbound = self.call(channel, AMQPClass::Queue(unbind)).await;
        unbound.map(drop)
    }

    /// Sets how many messages the server may send ahead of acknowledgements.
    pub(super) async fn prefetch(&mut self, channel: u16, count: u16) -> Result<(), AmqpError> {
        let qos = Basic::Qos(basic::Qos {
            prefetch_count: count,
            global: false,
        });
        self.call(channel, AMQPClass::Basic(qos)).await.map(drop)
    }

    /// Starts a consumer.
    pub(super) async fn consume(
        &mut self,
        channel: u16,
        (queue, tag): (&str, &str),
        exclusive: bool,
        arguments: FieldTable,
    ) -> Result<(), AmqpError> {
        self.is_canceled = false;
        let consume = Basic::Consume(basic::Consume {
            queue: queue.into(),
            consumer_tag: tag.into(),
            no_local: false,
            no_ack: false,
            exclusive,
            nowait: false,
            arguments,
        });
        let consumes = self.call(channel, AMQPClass::Basic(consume)).await;
        consumes.map(drop)
    }

    /// Cancels a consumer. Messages delivered before the reply are dropped.
    pub(super) async fn cancel(&mut self, channel: u16, tag: &str) -> Result<(), AmqpError> {
        self.call(channel, cancel(tag)).await.map(drop)
    }

    /// Cancels a consumer. Messages delivered before the reply can still be received.
    pub(super) fn send_cancel(&mut self, channel: u16, tag: &str) {
        self.send(channel, cancel(tag));
    }

    /// Publishes a small message. It is written during the next wait.
    pub(super) fn publish(
        &mut self,
        channel: u16,
        exchange: &str,
        body: &str,
        properties: AMQPProperties,
    ) {
        let publish = Basic::Publish(basic::Publish {
            exchange: exchange.into(),
            routing_key: "".into(),
            mandatory: false,
            immediate: false,
        });
        self.send(channel, AMQPClass::Basic(publish));
        let header = AMQPContentHeader {
            class_id: 60,
            body_size: body.len() as u64,
            properties,
        };
        self.send_frame(&AMQPFrame::Header(channel, header));
        for part in body.as_bytes().chunks(self.payload_max()) {
            self.send_frame(&AMQPFrame::Body(channel, part.to_vec()));
        }
    }
}

fn cancel(tag: &str) -> AMQPClass {
    AMQPClass::Basic(Basic::Cancel(basic::Cancel {
        consumer_tag: tag.into(),
        nowait: false,
    }))
}
