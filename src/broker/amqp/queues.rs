//! The lengths of queues on RabbitMQ: a passive declaration of each, which needs no permission, works for classic
//! and quorum queues alike, and answers with what is ready and who consumes.
//!
//! A queue that is not there closes the channel, and with it what was asked behind it; that is asked again on a
//! new one. Nothing else is on that channel.

use futures_util::future::join_all;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};

use super::connect::{ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, failed, reply_code};
use super::poll::Poll;
use crate::broker::source::LinkError;
use crate::state::QueueLevel;

/// Questions that wait for their answers at a time, at most. One after the other, 500 queues would take 500 round
/// trips. Behind a queue that is not there it is one, and twice as many each time that all were: many absent ones
/// in a row would otherwise have each of the others asked for again and again.
const AT_ONCE_MAX: usize = 64;

const PASSIVE: QueueDeclareOptions = QueueDeclareOptions {
    passive: true,
    durable: false,
    exclusive: false,
    auto_delete: false,
    nowait: false,
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
            let asked = rest.iter().take(at_once).map(|name| {
                let name = ShortString::from(name.as_str());
                channel.queue_declare(name, PASSIVE, FieldTable::default())
            });
            let asked = join_all(asked).await;
            at_once = (at_once * 2).min(AT_ONCE_MAX);
            // In the order in which they were asked, as the broker answers on one channel.
            for answer in asked {
                let Some((name, behind)) = rest.split_first() else {
                    break;
                };
                let error = match answer {
                    Ok(queue) => {
                        levels.push(QueueLevel {
                            queue: name.clone(),
                            length: queue.message_count().into(),
                            unacked: None,
                            consumers: Some(queue.consumer_count().into()),
                        });
                        rest = behind;
                        continue;
                    }
                    Err(error) => error,
                };
                match reply_code(&error) {
                    Some(NOT_FOUND | ACCESS_REFUSED | RESOURCE_LOCKED) => {
                        absent.push(name.clone());
                        rest = behind;
                        at_once = 1;
                        break;
                    }
                    Some(_) | None => return Err(failed("ask for a queue", error)),
                }
            }
        }
        Ok((levels, absent))
    }
}
