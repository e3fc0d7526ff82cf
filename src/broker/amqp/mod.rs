//! The AMQP source: connects, declares, consumes and acknowledges. It turns deliveries from
//! RabbitMQ into batches for the aggregator.
//!
//! A message is read only when it can be handed over, so events wait in the broker while the
//! aggregator is busy. The number of bytes in flight is limited regardless of the prefetch: one
//! batch being filled, plus the batches that wait for the aggregator.
//!
//! On a transient queue or a stream, acknowledgements only let the broker send more; they are sent
//! in batches after the hand-over. On a durable queue they are sent once a checkpoint contains the
//! messages, so a daemon that is killed before that receives them again.

mod assembly;
mod channels;
pub(super) mod error;
mod explain;
mod frame;
mod session;
mod tuning;

mod connect;
mod methods;

mod deliveries;
mod subscribe;
mod topology;

mod control;
mod poll;
mod queues;

mod probe;

use std::time::{Duration, Instant};

use tracing::{debug, warn};

use self::assembly::Delivery as Message;
use self::connect::connect;
use self::deliveries::{DeliveryCursor, Taken, body_max, collect};
use self::error::AmqpError;
pub(super) use self::poll::Poll;
pub(super) use self::probe::{look, trouble};
use self::session::Session;
use self::subscribe::{CONSUMER, Subscription, consume_stream, subscribe};
use super::context::{BATCH_MESSAGES, CONNECT_TIMEOUT, SourceContext};
use super::error::LinkError;
use super::thread::Pace;
use super::unpack::Unpacker;
use crate::clock;
use crate::config::{AmqpConfig, BrokerConfig, Delivery};
use crate::event::{Mark, Position};
use crate::saved::Offset;

/// Acknowledgements that only let the broker send more are delayed until this fraction of the
/// prefetch is used up, or for this long.
const UNACKNOWLEDGED: u16 = 4;
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(1);

/// Time limit for connecting to a stream. To find an offset, RabbitMQ scans a segment message by
/// message, on every attempt.
const STREAM_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a stream may be silent before we subscribe to it again. Workers send heartbeats every
/// two seconds.
const STALLED: Duration = Duration::from_secs(10);

/// How long to wait for the last checkpoint, so that its messages can be acknowledged before the
/// connection closes. Messages that are not acknowledged are delivered again at the next start and
/// recognized as duplicates.
const LAST: Duration = Duration::from_secs(10);

/// Consumes until an error occurs or the daemon stops.
pub(super) async fn run(
    config: &BrokerConfig,
    amqp: &AmqpConfig,
    context: &mut SourceContext,
) -> Result<(), LinkError> {
    let server = amqp.server(context.server);
    let name = amqp.queue_name();
    let next = context.checkpointed.offset.as_ref();
    let next = next
        .filter(|offset| offset.stream == name)
        .map(|offset| offset.next);
    let patience = match amqp.delivery {
        Delivery::Transient | Delivery::Durable => CONNECT_TIMEOUT,
        Delivery::Stream => STREAM_TIMEOUT,
    };
    let alive = context.alive.clone();
    let body_max = body_max(config.queue_bytes_max);
    let connecting = Box::pin(async {
        let mut session = connect(server, body_max, Some(alive)).await?;
        let subscription = subscribe(&mut session, config, amqp, next).await?;
        Ok((session, subscription))
    });
    let Some((session, subscription)) = context.connecting(patience, connecting).await? else {
        return Ok(());
    };
    context.subscribed(config);
    let Subscription { channel, is_new } = subscription;
    let link = Consumer {
        session,
        channel,
        cursor: DeliveryCursor {
            delivery: amqp.delivery,
            link: context.link_number(),
            next: next.filter(|_| !is_new),
        },
        unpacker: Unpacker::new(config.accept),
        newest: 0,
        acknowledged: 0,
        acknowledged_at: clock::monotonic(),
        // A stream delivers more only after acknowledgements.
        ahead: match amqp.delivery {
            Delivery::Stream => 0,
            Delivery::Transient | Delivery::Durable => u64::from(amqp.prefetch / UNACKNOWLEDGED),
        },
        full: usize::from(amqp.prefetch / UNACKNOWLEDGED).clamp(1, BATCH_MESSAGES),
        stream: (amqp.delivery == Delivery::Stream).then_some(name),
    };
    link.run(context).await
}

/// One subscription.
struct Consumer {
    session: Session,
    channel: u16,
    cursor: DeliveryCursor,
    unpacker: Unpacker,
    /// The delivery tags of the newest message handed over and of the newest one acknowledged.
    newest: u64,
    acknowledged: u64,
    acknowledged_at: Instant,
    /// Maximum number of unacknowledged messages if acknowledgements only let the broker send more.
    ahead: u64,
    /// After a batch of this many messages, more are on the way: it ended at its own limit, or at
    /// the prefetch, of which its acknowledgement frees a part.
    full: usize,
    /// The name of the stream, if it is one.
    stream: Option<String>,
}

impl Consumer {
    async fn run(mut self, context: &mut SourceContext) -> Result<(), LinkError> {
        let stop = context.stop.clone();
        let mut kept = context.checkpointed.kept.clone();
        kept.mark_changed();
        let mut keeps = self.is_durable();
        let mut pace = Pace::default();
        loop {
            // RabbitMQ closes the channel of a consumer that leaves a message unacknowledged for
            // too long.
            let makes_room = !self.is_durable() && self.acknowledged < self.newest;
            let due = self.acknowledged_at + UNACKNOWLEDGED_FOR;
            self.session.write_now().map_err(receiving)?;
            // Cancel-safe: `delivery` keeps what it has read in the session. It comes last, because
            // the thread may rest before it.
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = kept.changed(), if keeps => {
                    keeps = changed.is_ok();
                    let mark = *kept.borrow_and_update();
                    self.acknowledge_kept(mark);
                    continue;
                }
                () = tokio::time::sleep_until(due.into()), if makes_room => {
                    self.acknowledge_to_make_room();
                    continue;
                }
                () = tokio::time::sleep(STALLED), if self.stream.is_some() && !makes_room => {
                    self.consume_again(context).await?;
                    continue;
                }
                message = pace.read(self.session.delivery()) => message.map_err(receiving)?,
            };
            let (messages, bytes) = self.hand_over_available(context, message).await?;
            pace.note(bytes);
            if messages >= self.full {
                pace.expect_more();
            }
        }
        // Messages already delivered are still handed over. Those left in a transient queue are
        // deleted with it.
        self.cancel(context).await?;
        if self.is_durable() {
            // The last checkpoint is made once every source has dropped its sender.
            context.let_go();
            let last = async {
                while self.acknowledged < self.newest {
                    let changed = self.session.beside(kept.changed()).await;
                    if changed.map_err(acknowledging)?.is_err() {
                        break;
                    }
                    let mark = *kept.borrow_and_update();
                    self.acknowledge_kept(mark);
                }
                let closed = self.session.close("stopping").await;
                closed.map_err(|error| error.while_doing("close the connection"))
            };
            return tokio::time::timeout(LAST, last)
                .await
                .unwrap_or(Err(LinkError::Timeout(LAST)));
        }
        self.session.leave("stopping");
        Ok(())
    }

    /// Cancels the consumer, and hands over the messages delivered before that.
    async fn cancel(&mut self, context: &mut SourceContext) -> Result<(), LinkError> {
        self.session.send_cancel(self.channel, CONSUMER);
        while let Some(message) = self.session.last_deliveries().await.map_err(receiving)? {
            self.hand_over_available(context, message).await?;
        }
        Ok(())
    }

    /// Subscribes to the stream again at the same position. RabbitMQ can lose track of a consumer
    /// that reaches the end of a segment while the next segments are being deleted, and then
    /// delivers nothing more.
    async fn consume_again(&mut self, context: &mut SourceContext) -> Result<(), LinkError> {
        self.cancel(context).await?;
        if let Some(stream) = &self.stream {
            let next = self.cursor.next;
            debug!(next, "no messages from the stream; subscribing again");
            consume_stream(&mut self.session, self.channel, stream, next).await?;
        }
        Ok(())
    }

    /// Hands over a message and those after it that are available without waiting. Returns their
    /// number and total size in bytes.
    async fn hand_over_available(
        &mut self,
        context: &mut SourceContext,
        first: Message,
    ) -> Result<(usize, usize), LinkError> {
        let Taken {
            mut payloads,
            position,
            tag,
            cut,
            bytes,
        } = collect(&mut self.session, first, self.cursor).map_err(receiving)?;
        self.unpacker.unpack(&mut payloads);
        let messages = payloads.len();
        if cut > 0 {
            let metrics = &context.metrics;
            warn!(
                messages = cut,
                "the stream was full and dropped unread messages"
            );
            metrics.dropped(&metrics.dropped_stream_cut, cut);
        }
        let next = match position {
            Position::Delivered { next, .. } => next,
            Position::Transient => None,
        };
        let handing_over = context.hand_over_at(payloads, position);
        let handed_over = self.session.beside(handing_over).await;
        handed_over.map_err(receiving)??;
        self.newest = tag;
        if let (Some(stream), Some(next)) = (&self.stream, next) {
            self.cursor.next = Some(next);
            context.checkpointed.offset = Some(Offset {
                stream: stream.clone(),
                next,
            });
        }
        if !self.is_durable() {
            self.acknowledge_to_make_room();
        }
        Ok((messages, bytes))
    }

    /// Acknowledges the messages handed over, if an acknowledgement is due.
    fn acknowledge_to_make_room(&mut self) {
        let now = clock::monotonic();
        let is_time = now.saturating_duration_since(self.acknowledged_at) >= UNACKNOWLEDGED_FOR;
        if is_time || self.newest - self.acknowledged > self.ahead {
            self.acknowledged_at = now;
            self.acknowledge(self.newest);
        }
    }

    fn is_durable(&self) -> bool {
        self.cursor.delivery == Delivery::Durable
    }

    /// Acknowledges the messages of this subscription that a checkpoint contains.
    fn acknowledge_kept(&mut self, mark: Mark) {
        if mark.link == self.cursor.link && mark.tag > self.acknowledged {
            self.acknowledge(mark.tag);
        }
    }

    /// Acknowledges everything up to a message.
    fn acknowledge(&mut self, tag: u64) {
        self.session.acknowledge(self.channel, tag);
        self.acknowledged = tag;
    }
}

fn receiving(error: AmqpError) -> LinkError {
    match error {
        AmqpError::Ended | AmqpError::Canceled => LinkError::Closed,
        error @ (AmqpError::Io(_)
        | AmqpError::Closed { .. }
        | AmqpError::Silent
        | AmqpError::NoChannel
        | AmqpError::Malformed(_)) => error.while_doing("receive"),
    }
}

fn acknowledging(error: AmqpError) -> LinkError {
    error.while_doing("acknowledge")
}
