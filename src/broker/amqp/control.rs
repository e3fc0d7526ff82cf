//! Remote control over RabbitMQ: sends requests to the fanout exchange of the workers' mailboxes,
//! and receives replies through the default exchange on a queue of our own.
//!
//! The queue is declared for one round and deleted at its end, so the broker drops replies that
//! arrive later. Each round uses its own channel.

use std::sync::Arc;

use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::types::FieldTable;
use tokio::time::timeout;

use super::assembly::Delivery;
use super::error::{AmqpError, NOT_FOUND};
use super::poll::Poll;
use super::session::Session;
use super::subscribe::{CONSUMER, channel};
use super::topology;
use crate::broker::control::{REPLY_BYTES_MAX, Round, request};
use crate::broker::error::LinkError;
use crate::event::{ContentType, DecodeError};

/// Number of replies that the broker may send ahead of our acknowledgements. Replies can be large.
const PREFETCH: u16 = 32;

/// Maximum size of the replies queued for us in the broker, in bytes. Beyond that, the oldest are
/// dropped.
const QUEUE_BYTES_MAX: u64 = 64 << 20;

impl Poll {
    /// Sends the requests and collects replies until the round is over.
    pub(in crate::broker) async fn ask(
        &mut self,
        control_exchange: &str,
        round: &mut Round,
    ) -> Result<(), LinkError> {
        let Some((channel, mailboxes)) = self.mailboxes(control_exchange).await? else {
            return Ok(());
        };
        let queue = topology::transient_name(fastrand::u64(..));
        let session = &mut self.session;
        replies(session, channel, &queue).await?;
        for body in round.requests(&queue) {
            // Requests that a worker has not received by the deadline have become useless.
            let expiration = round.deadline.as_millis().to_string();
            publish(session, channel, &mailboxes, &body, Some(expiration));
        }
        let deadline = round.deadline;
        // Reaching the deadline is not an error: some workers may not answer.
        if let Ok(ended) = timeout(deadline, collect(session, channel, round)).await {
            let permission = format!("write on {mailboxes}");
            ended.map_err(|error| error.refused("send requests to workers", &permission))?;
        }
        // The queue is deleted when its only consumer is cancelled.
        let canceled = session.cancel(channel, CONSUMER).await;
        canceled.map_err(|error| error.while_doing("cancel the consumer"))?;
        close(session, channel).await
    }

    /// Asks workers to enable events. They do not reply.
    pub(in crate::broker) async fn enable_events(
        &mut self,
        control_exchange: &str,
        workers: &[Arc<str>],
    ) -> Result<(), LinkError> {
        if let Some((channel, mailboxes)) = self.mailboxes(control_exchange).await? {
            let body = request("enable_events", "{}", Some(workers), None);
            publish(&mut self.session, channel, &mailboxes, &body, None);
            close(&mut self.session, channel).await?;
        }
        Ok(())
    }

    /// Opens a channel and returns it with the exchange of the workers' mailboxes. `None` if the
    /// exchange does not exist because no worker has ever started.
    async fn mailboxes(
        &mut self,
        control_exchange: &str,
    ) -> Result<Option<(u16, String)>, LinkError> {
        let channel = channel(&mut self.session).await?;
        let mailboxes = format!("{control_exchange}.pidbox");
        let exchange = (mailboxes.as_str(), "fanout");
        let arguments = FieldTable::default();
        let declared = self
            .session
            .exchange_declare(channel, exchange, true, arguments);
        match declared.await {
            Ok(()) => Ok(Some((channel, mailboxes))),
            Err(error) if error.code() == Some(NOT_FOUND) => Ok(None),
            Err(error) => Err(error.while_doing("find the workers' mailboxes")),
        }
    }
}

/// Closes the channel and waits for the broker's reply, which also reveals errors caused by earlier
/// messages.
async fn close(session: &mut Session, channel: u16) -> Result<(), LinkError> {
    let closed = session.close_channel(channel).await;
    closed.map_err(|error| error.while_doing("close a channel"))
}

async fn replies(session: &mut Session, channel: u16, queue: &str) -> Result<(), LinkError> {
    let set = session.prefetch(channel, PREFETCH).await;
    set.map_err(|error| error.while_doing("set the prefetch"))?;
    let kind = topology::QueueKind::Transient;
    let arguments = kind.arguments(QUEUE_BYTES_MAX);
    let declared = session.queue_declare(channel, queue, kind.flags(), arguments);
    declared.await.map_err(|error| {
        error.refused("declare a queue for replies", "configure on celeriac\\..*")
    })?;
    let consumes = session
        .consume(channel, (queue, CONSUMER), true, FieldTable::default())
        .await;
    consumes.map_err(|error| error.refused("receive replies", "read on celeriac\\..*"))
}

fn publish(
    session: &mut Session,
    channel: u16,
    mailboxes: &str,
    body: &str,
    expiration: Option<String>,
) {
    let mut properties = AMQPProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(1);
    if let Some(expiration) = expiration {
        properties = properties.with_expiration(expiration.as_str().into());
    }
    session.publish(channel, mailboxes, body, properties);
}

/// Collects replies until the round is over.
async fn collect(session: &mut Session, channel: u16, round: &mut Round) -> Result<(), AmqpError> {
    while !round.is_over() {
        let delivery = session.delivery().await?;
        accept_reply(round, &delivery);
        session.acknowledge(channel, delivery.tag);
    }
    Ok(())
}

fn accept_reply(round: &mut Round, delivery: &Delivery) {
    let properties = &delivery.properties;
    // Workers' replies are JSON, but some carry no content type.
    let content_type = properties.content_type.unwrap_or(ContentType::Json);
    match (&properties.ticket, &delivery.body) {
        (None, _) => round.unreadable(DecodeError::Field("ticket")),
        (Some(_), Err(_)) => round.unreadable(DecodeError::Large(REPLY_BYTES_MAX)),
        (Some(_), Ok(_)) if properties.compression.is_some() => {
            round.unreadable(DecodeError::Compressed);
        }
        (Some(ticket), Ok(body)) => {
            // The round counts replies that cannot be read.
            let _ = round.accept(ticket, content_type, body);
        }
    }
}
