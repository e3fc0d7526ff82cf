//! Reads queue lengths from Redis: one list per queue and priority step, and a single hash with all
//! unacknowledged messages.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;

use super::connect::{failed, is_forbidden, refused};
use super::poll::Poll;
use crate::broker::error::LinkError;
use crate::state::QueueLevel;

/// Keys in one pipeline, which limits the size of one answer.
const AT_ONCE: usize = 2_000;

impl Poll {
    /// The levels of the given queues, and of those found in bindings and unacknowledged messages.
    pub(in crate::broker) async fn queue_levels(
        &mut self,
        names: &[String],
    ) -> Result<Vec<QueueLevel>, LinkError> {
        self.must_be_master().await?;
        self.read_bindings().await?;
        let bound = self.bindings.all.iter();
        let bound = bound.map(|binding| binding.queue.clone());
        let mut queues: BTreeSet<String> = names.iter().cloned().chain(bound).collect();
        let unacked = self.count_unacked().await?;
        if let Some(unacked) = &unacked {
            queues.extend(unacked.keys().cloned());
        }
        let queues: Vec<String> = queues.into_iter().collect();
        let lengths = self.lengths(&queues).await?;
        let level = |(queue, length): (String, Option<u64>)| {
            let unacked = unacked.as_ref();
            Some(QueueLevel {
                length: length?,
                unacked: unacked.map(|unacked| unacked.get(&queue).copied().unwrap_or(0)),
                consumers: None,
                queue,
            })
        };
        Ok(queues.into_iter().zip(lengths).filter_map(level).collect())
    }

    /// The length of each queue over all priority steps. `None` if a key is not a list, or if this
    /// user may read other keys but not this one.
    async fn lengths(&mut self, queues: &[String]) -> Result<Vec<Option<u64>>, LinkError> {
        let (steps, sep) = (self.config.priority_steps.clone(), self.config.sep.clone());
        let mut lengths = Vec::with_capacity(queues.len());
        let mut refusal = None;
        for some in queues.chunks((AT_ONCE / steps.len().max(1)).max(1)) {
            let mut pipe = redis::pipe();
            for queue in some {
                for step in &steps {
                    pipe.cmd("LLEN").arg(self.key(&list(queue, &sep, *step)));
                }
            }
            let answers = self.answers(&pipe).await;
            let mut answers = answers
                .map_err(|error| failed("ask for the lengths of queues", error))?
                .into_iter();
            for _ in some {
                let mut length = Some(0);
                for answer in answers.by_ref().take(steps.len()) {
                    length = match answer {
                        Ok(Value::Int(n)) => {
                            length.map(|length| length + u64::try_from(n).unwrap_or(0))
                        }
                        Ok(_) => None,
                        Err(error) if error.code() == Some("WRONGTYPE") => None,
                        Err(error) if is_forbidden(&error) => {
                            refusal = Some(error);
                            None
                        }
                        Err(error) => return Err(failed("ask for the lengths of queues", error)),
                    };
                }
                lengths.push(length);
            }
        }
        match refusal.filter(|_| lengths.iter().all(Option::is_none)) {
            Some(error) => {
                let permission = "the command llen and the keys of the queues";
                Err(refused("ask for the lengths of queues", error, permission))
            }
            None => Ok(lengths),
        }
    }
}

/// The key of a queue's list at a priority step. For step 0 it is the queue name alone.
fn list(queue: &str, sep: &str, step: u8) -> String {
    if step == 0 {
        queue.to_owned()
    } else {
        format!("{queue}{sep}{step}")
    }
}

/// Unacknowledged messages by queue.
pub(super) type Counts = BTreeMap<String, u64>;
