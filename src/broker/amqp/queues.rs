//! The lengths of queues on RabbitMQ: a passive declaration of each, which needs no permission, works for classic
//! and quorum queues alike, and answers with what is ready and who consumes.
//!
//! A queue that is not there closes the channel, and with it what was asked behind it; that is asked again on a
//! new one. Nothing else is on that channel.

use amq_protocol::types::FieldTable;

use super::error::{ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED};
use super::methods::{Declared, QUEUE_DECLARED, QueueFlags, queue_declare};
use super::poll::Poll;
use crate::broker::source::LinkError;
use crate::state::QueueLevel;

/// Questions that wait for their answers at a time, at most. One after the other, 500 queues would take 500 round
/// trips. Behind a queue that is not there it is one, and twice as many each time that all were: many absent ones
/// in a row would otherwise have each of the others asked for again and again.
const AT_ONCE_MAX: usize = 64;

const PASSIVE: QueueFlags = QueueFlags {
    passive: true,
    durable: false,
    exclusive: false,
    auto_delete: false,
};

impl Poll {
    /// The levels of those queues that are there, and the names of those that are not, or are not for us.
    pub(in crate::broker) async fn levels(
        &mut self,
        names: &[String],
    ) -> Result<(Vec<QueueLevel>, Vec<String>), LinkError> {
        let mut levels = Vec::with_capacity(names.len());
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
            // In the order in which they were asked, as the broker answers on one channel.
            for name in asked {
                let reply = self.session.reply(channel, QUEUE_DECLARED).await;
                match reply.and_then(|reply| Declared::from_reply(&reply)) {
                    Ok(queue) => levels.push(QueueLevel {
                        queue: name.clone(),
                        length: queue.messages.into(),
                        unacked: None,
                        consumers: Some(queue.consumers.into()),
                    }),
                    Err(error) => {
                        self.queues = None;
                        let code = error.code();
                        if !matches!(code, Some(NOT_FOUND | ACCESS_REFUSED | RESOURCE_LOCKED)) {
                            return Err(error.while_doing("ask for a queue"));
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
        Ok((levels, absent))
    }
}
