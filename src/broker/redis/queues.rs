//! Reads queue lengths from Redis, which has one list per queue and priority step.

use redis::Value;

use super::client::Client;
use super::error::{failed, is_forbidden, refused};
use crate::broker::error::LinkError;

/// Keys in one pipeline, which limits the size of one answer.
const AT_ONCE: usize = 2_000;

/// The length of each queue over all priority steps. `None` if a key is not a list, or if this
/// user may read other keys but not this one.
pub(super) async fn lengths(
    client: &mut Client,
    queues: &[String],
) -> Result<Vec<Option<u64>>, LinkError> {
    let steps = client.config.priority_steps.clone();
    let mut lengths = Vec::with_capacity(queues.len());
    let mut refusal = None;
    for some in queues.chunks((AT_ONCE / steps.len().max(1)).max(1)) {
        let mut pipe = redis::pipe();
        for queue in some {
            for step in &steps {
                pipe.cmd("LLEN")
                    .arg(client.key(&list(queue, &client.config.sep, *step)));
            }
        }
        let answers = client.answers(&pipe).await;
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

/// The key of a queue's list at a priority step. For step 0 it is the queue name alone.
fn list(queue: &str, sep: &str, step: u8) -> String {
    if step == 0 {
        queue.to_owned()
    } else {
        format!("{queue}{sep}{step}")
    }
}
