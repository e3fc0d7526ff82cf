//! The AMQP source: connect, declare, consume, acknowledge.
//!
//! Only acknowledgements and the prefetch bound what waits in the client library, whose stream has no bound of its own; so
//! when nobody takes the events, they wait in the broker. Those of a transient queue, and of a stream, where they mean no
//! more than that there is room, are sent in batches behind the hand-over; those of a durable queue when a checkpoint has
//! the messages. A daemon that is killed in between gets them again.

mod connect;
mod paced;
mod reactor;

mod deliveries;
mod subscribe;
mod topology;

mod control;
mod poll;
mod queues;

mod greeting;
mod probe;

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicCancelOptions};
use lapin::{Channel, Connection, Consumer};
use tracing::warn;

use self::connect::{Pace, connect, failed};
use self::deliveries::{Noting, take};
pub(super) use self::poll::Poll;
pub(super) use self::probe::{look, trouble};
use self::subscribe::{Subscription, subscribe};
use super::source::{BATCH_MESSAGES, CONNECT_TIMEOUT, LinkError, REST, Stage};
use super::unpack::Unpacker;
use crate::config::{AmqpConfig, BrokerConfig, Delivery};
use crate::event::{Mark, Position};
use crate::saved::Offset;

/// How long connecting to a stream may take. RabbitMQ goes through a segment to find an offset, message by message, and
/// does it again at each try.
const STREAM_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the last checkpoint may take, so that what it holds is acknowledged before the connection ends. What is not is
/// delivered once more at the next start, and known.
const LAST: Duration = Duration::from_secs(10);

/// Consumes until something breaks, or until it is time to stop.
pub(super) async fn run(
    config: &BrokerConfig,
    amqp: &AmqpConfig,
    stage: &mut Stage,
) -> Result<(), LinkError> {
    let server = amqp.server(stage.server);
    let name = amqp.queue_name();
    let next = stage.checkpointed.resume.as_ref();
    let next = next
        .filter(|offset| offset.stream == name)
        .map(|offset| offset.next);
    let patience = match amqp.delivery {
        Delivery::Transient | Delivery::Durable => CONNECT_TIMEOUT,
        Delivery::Stream => STREAM_TIMEOUT,
    };
    let alive = stage.alive.clone();
    let connecting = Box::pin(async {
        let connection = connect(server, Pace::Gulps(alive)).await?;
        let subscription = subscribe(&connection, config, amqp, next).await?;
        Ok((connection, subscription))
    });
    let Some((connection, subscription)) = stage.connecting(patience, connecting).await? else {
        return Ok(());
    };
    stage.subscribed(config);
    let Subscription {
        channel,
        consumer,
        is_new,
    } = subscription;
    let link = Link {
        channel,
        consumer,
        noting: Noting {
            delivery: amqp.delivery,
            link: stage.link_number(),
            next: next.filter(|_| !is_new),
        },
        unpacker: Unpacker::new(config.accept),
        newest: 0,
        acknowledged: 0,
        stream: (amqp.delivery == Delivery::Stream).then_some(name),
    };
    link.run(&connection, stage).await
}

/// One subscription.
struct Link {
    channel: Channel,
    consumer: Consumer,
    noting: Noting,
    unpacker: Unpacker,
    /// The tags of the newest message that was handed over, and of the newest that was acknowledged.
    newest: u64,
    acknowledged: u64,
    /// The name of the stream, if it is one.
    stream: Option<String>,
}

impl Link {
    async fn run(mut self, connection: &Connection, stage: &mut Stage) -> Result<(), LinkError> {
        let stop = stage.stop.clone();
        let mut kept = stage.checkpointed.kept.clone();
        kept.mark_changed();
        let mut keeps = self.noting.delivery == Delivery::Durable;
        loop {
            let delivery = tokio::select! {
                delivery = self.consumer.next() => delivery.ok_or(LinkError::Closed)?,
                changed = kept.changed(), if keeps => {
                    keeps = changed.is_ok();
                    let mark = *kept.borrow_and_update();
                    self.acknowledge_kept(mark).await?;
                    continue;
                }
                () = stop.cancelled() => break,
            };
            if self.take(stage, delivery).await? < BATCH_MESSAGES {
                tokio::time::sleep(REST).await;
            }
        }
        // What was delivered is still handed over; what waits in a transient queue is gone with it.
        let options = BasicCancelOptions::default();
        let cancel = self.channel.basic_cancel(self.consumer.tag(), options);
        let canceled = cancel.await;
        canceled.map_err(|error| failed("cancel the consumer", error))?;
        while let Some(Some(delivery)) = self.consumer.next().now_or_never() {
            self.take(stage, delivery).await?;
        }
        if self.noting.delivery == Delivery::Durable {
            // The last checkpoint is made when every source has let go.
            stage.let_go();
            let last = async {
                while self.acknowledged < self.newest && kept.changed().await.is_ok() {
                    let mark = *kept.borrow_and_update();
                    self.acknowledge_kept(mark).await?;
                }
                let closed = connection.close(200, "stopping".into()).await;
                closed.map_err(|error| failed("close the connection", error))
            };
            return tokio::time::timeout(LAST, last)
                .await
                .unwrap_or(Err(LinkError::Timeout(LAST)));
        }
        // The broker is told goodbye, but nobody waits for its answer.
        let _ = connection.close(200, "stopping".into()).now_or_never();
        Ok(())
    }

    /// Takes a delivery and those that are there behind it, and hands them over. Returns how many they were.
    async fn take(
        &mut self,
        stage: &mut Stage,
        first: lapin::Result<lapin::message::Delivery>,
    ) -> Result<usize, LinkError> {
        let mut taken = take(&mut self.consumer, first, self.noting).await?;
        self.unpacker.unpack(&mut taken.payloads);
        if taken.cut > 0 {
            let messages = taken.cut;
            warn!(
                messages,
                "the stream was full and has forgotten messages that were not read"
            );
            let metrics = &stage.metrics;
            metrics.dropped(&metrics.dropped_stream_cut, messages);
        }
        let count = taken.payloads.len();
        let next = match taken.position {
            Position::Delivered { next, .. } => next,
            Position::Transient => None,
        };
        stage.hand_over_at(taken.payloads, taken.position).await?;
        self.newest = taken.tag;
        if let (Some(stream), Some(next)) = (&self.stream, next) {
            self.noting.next = Some(next);
            stage.checkpointed.resume = Some(Offset {
                stream: stream.clone(),
                next,
            });
        }
        if self.noting.delivery != Delivery::Durable {
            self.acknowledge(taken.tag).await?;
        }
        Ok(count)
    }

    /// Acknowledges what a checkpoint holds of this subscription.
    async fn acknowledge_kept(&mut self, mark: Mark) -> Result<(), LinkError> {
        if mark.link == self.noting.link && mark.tag > self.acknowledged {
            self.acknowledge(mark.tag).await?;
        }
        Ok(())
    }

    /// Acknowledges everything up to a message.
    async fn acknowledge(&mut self, tag: u64) -> Result<(), LinkError> {
        let options = BasicAckOptions { multiple: true };
        let acknowledged = self.channel.basic_ack(tag, options).await;
        acknowledged.map_err(|error| failed("acknowledge", error))?;
        self.acknowledged = tag;
        Ok(())
    }
}
