//! Kombu's bindings on Redis: the sets from which queues are discovered.
//!
//! For each exchange a set `_kombu.binding.<exchange>`, whose members are the routing key, a pattern, which is
//! empty unless the exchange is a topic, and the queue. Every queue that a worker or a publisher declared is
//! there, empty ones included.
//!
//! Source: kombu 4.6 to 5.7, `transport/redis.py` (`_queue_bind`, `get_table`); `tests/golden/pidbox`.

use std::collections::BTreeSet;

use redis::Value;

use super::channel::escape;
use super::connect::{failed, is_forbidden};
use super::poll::Poll;
use crate::broker::binding::Binding;
use crate::broker::source::LinkError;
use crate::broker::watch::is_task_queue;

/// Between the parts of a member, and between a queue and its priority: Kombu's `sep`.
pub(super) const SEPARATOR: &str = "\x06\x16";

const KEY: &str = "_kombu.binding.";

/// Celery's default exchange: looked up without a search.
const DEFAULT: &str = "celery";

/// Sets, and members of all of them, that are looked at; the rest is not.
const EXCHANGES_MAX: usize = 1_000;
const BINDINGS_MAX: usize = 20_000;

/// A search goes through all keys of the database, which may hold millions of results: so much of it in a round,
/// and when it is through, not again for a while.
const SCAN_COUNT: usize = 1_000;
const SCAN_STEPS: usize = 10;
const SCAN_AGAIN_ROUNDS: u32 = 20;

/// The bindings of one database.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    exchanges: BTreeSet<String>,
    pub(super) all: Vec<Binding>,
    /// Where the search goes on.
    cursor: u64,
    /// Rounds until it begins again.
    rest: u32,
    /// Whether the user may not search.
    forbidden: bool,
}

impl Poll {
    /// Reads the bindings anew.
    pub(super) async fn read_bindings(&mut self) -> Result<(), LinkError> {
        self.search().await?;
        let exchanges = &mut self.bindings.exchanges;
        exchanges.insert(DEFAULT.to_owned());
        let exchanges: Vec<String> = exchanges.iter().cloned().collect();
        let mut pipe = redis::pipe();
        for exchange in &exchanges {
            pipe.cmd("SMEMBERS")
                .arg(self.key(&format!("{KEY}{exchange}")));
        }
        let answers = self.answers(&pipe).await;
        let answers = answers.map_err(|error| failed("read the bindings", error))?;
        self.bindings.all.clear();
        for (exchange, answer) in exchanges.into_iter().zip(answers) {
            let members = match answer {
                Ok(Value::Array(members) | Value::Set(members)) => members,
                // Of another type, or not for us: there are other ways to know of queues.
                Ok(_) | Err(_) => Vec::new(),
            };
            if members.is_empty() {
                self.bindings.exchanges.remove(&exchange);
            }
            let room = BINDINGS_MAX.saturating_sub(self.bindings.all.len());
            let read = members
                .into_iter()
                .filter_map(|member| binding(&exchange, &member));
            self.bindings.all.extend(read.take(room));
        }
        Ok(())
    }

    /// Looks for sets of other exchanges, some steps at a time.
    async fn search(&mut self) -> Result<(), LinkError> {
        if self.bindings.forbidden || self.bindings.rest > 0 {
            self.bindings.rest = self.bindings.rest.saturating_sub(1);
            return Ok(());
        }
        let prefix = self.key(KEY);
        for _ in 0..SCAN_STEPS {
            let mut scan = redis::cmd("SCAN");
            scan.arg(self.bindings.cursor)
                .arg("MATCH")
                .arg(format!("{}*", escape(&prefix)))
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let page: (u64, Vec<Vec<u8>>) = match scan.query_async(&mut self.connection).await {
                Ok(page) => page,
                Err(error) if is_forbidden(&error) => {
                    self.bindings.forbidden = true;
                    return Ok(());
                }
                Err(error) => return Err(failed("look for bindings", error)),
            };
            let (cursor, keys) = page;
            for key in keys {
                let key = String::from_utf8(key).ok();
                let exchange = key.as_deref().and_then(|key| key.strip_prefix(&prefix));
                // Those of events and of remote control bind no queue of tasks.
                let exchange = exchange.filter(|name| is_task_queue(name) && *name != "celeryev");
                if let Some(exchange) = exchange
                    && self.bindings.exchanges.len() < EXCHANGES_MAX
                {
                    self.bindings.exchanges.insert(exchange.to_owned());
                }
            }
            self.bindings.cursor = cursor;
            if cursor == 0 {
                self.bindings.rest = SCAN_AGAIN_ROUNDS;
                break;
            }
        }
        Ok(())
    }
}

/// Reads a member of the set of an exchange.
fn binding(exchange: &str, member: &Value) -> Option<Binding> {
    let Value::BulkString(member) = member else {
        return None;
    };
    let mut parts = std::str::from_utf8(member).ok()?.split(SEPARATOR);
    let (routing_key, pattern, queue) = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && is_task_queue(queue)).then(|| Binding {
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
        topic: !pattern.is_empty(),
        queue: queue.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_hold_a_key_a_pattern_and_a_queue() {
        let read = |member: &str| {
            let value = Value::BulkString(member.as_bytes().to_vec());
            binding("x", &value).map(|read| (read.routing_key, read.topic, read.queue))
        };
        let row = |key: &str, topic, queue: &str| Some((key.to_owned(), topic, queue.to_owned()));
        let cases = [
            ("high\x06\x16\x06\x16high", row("high", false, "high")),
            (
                "t.#\x06\x16^t\\..*?$\x06\x16topicq",
                row("t.#", true, "topicq"),
            ),
            ("\x06\x16\x06\x16w1@vm.celery.pidbox", None),
            ("worker.#\x06\x16\x06\x16celeryev.4ced9c12", None),
            ("high\x06\x16high", None),
            ("", None),
        ];
        for (member, expected) in cases {
            assert_eq!(read(member), expected, "{member:?}");
        }
    }
}
