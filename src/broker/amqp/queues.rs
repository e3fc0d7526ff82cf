//! Reads queue lengths from RabbitMQ with a passive declaration of each queue. This needs no
//! permission, works for classic and quorum queues alike, and returns the numbers of ready messages
//! and of consumers.
//!
//! If a queue does not exist, the broker closes the channel, and later requests on it get no reply;
//! they are repeated on a new channel. The channel is used for nothing else.

use amq_protocol::types::FieldTable;

use super::error::{ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED};
use super::methods::{Declared, QUEUE_DECLARED, QueueFlags, queue_declare};
use super::poll::Poll;
use crate::broker::error::LinkError;
use crate::state::QueueLevel;

/// Maximum number of outstanding requests. Sent one by one, 500 queues would take 500 round trips.
/// After an absent queue the limit drops to one, and then doubles each time that all queues exist:
/// otherwise, with many absent queues in a row, the remaining ones would be requested over and
/// over.
const AT_ONCE_MAX: usize = 64;

const PASSIVE: QueueFlags = QueueFlags {
    passive: true,
    durable: false,
    exclusive: false,
    auto_delete: false,
};

impl Poll {
    /// The levels of the queues that exist, and the names of those that are absent or not
    /// accessible.
    pub(in crate::broker) async fn queue_levels(
        &mut self,
        names: &[String],
    ) -> Result<(Vec<QueueLevel>, Vec<String>), LinkError> {
        let mut queue_levels = Vec::with_capacity(names.len());
        let mut absent = Vec::new();
        let mut rest = names;
        let mut at_once = AT_ONCE_MAX;
        while !rest.is_empty() {
            let channel = self.queues_channel().await?;
            let asked = &rest[..rest.len().min(at_once)];
            for name in asked {
                let declare = queue_declare(name, PASSIVE, FieldTable::default());
                self.session.send(channel, declare);
            }
            at_once = (at_once * 2).min(AT_ONCE_MAX);
            // The broker answers in the order of the requests on a channel.
            for name in asked {
                let reply = self.session.reply(channel, QUEUE_DECLARED).await;
                match reply.and_then(|reply| Declared::from_reply(&reply)) {
                    Ok(queue) => queue_levels.push(QueueLevel {
                        queue: name.clone(),
                        length: queue.messages.into(),
                        unacked: None,
                        consumers: Some(queue.consumers.into()),
                    }),
                    Err(error) => {
                        self.queues = None;
                        let code = error.code();
                        if !matches!(code, Some(NOT_FOUND | ACCESS_REFUSED | RESOURCE_LOCKED)) {
                            return Err(error.while_doing("query a queue"));
                        }
                        absent.push(name.clone());
                        at_once = 1;
                    }
                }
                rest = &rest[1..];
                if self.queues.is_none() {
                    break;
                }
            }
        }
        Ok((queue_levels, absent))
    }
}
