//! Reads Kombu's bindings on Redis, from which queues are discovered.
//!
//! Each exchange has a set `_kombu.binding.<exchange>`. Its members consist of the routing key, a
//! pattern (empty unless the exchange is a topic exchange) and the queue. Every queue declared by a
//! worker or a publisher is listed there, including empty ones.
//!
//! Source: kombu 4.6 to 5.7, `transport/redis.py` (`_queue_bind`, `get_table`);
//! `tests/golden/pidbox`.

use std::collections::BTreeSet;

use redis::Value;
use tracing::warn;

use super::channel::escape;
use super::client::Client;
use super::error::{failed, is_unavailable};
use crate::broker::error::LinkError;
use crate::broker::watch::is_task_queue;
use crate::state::{Binding, ExchangeKind};

const KEY: &str = "_kombu.binding.";

/// Celery's default exchange, which is read without a search.
const DEFAULT: &str = "celery";

/// Maximum number of sets to read, and of members across all sets. The rest is ignored.
const EXCHANGES_MAX: usize = 1_000;
const BINDINGS_MAX: usize = 20_000;

/// The longest member, in bytes, that is examined for its separator.
const MEMBER_MAX: usize = 1_024;

/// A search scans all keys of the database, which may hold millions of results. So each round scans
/// only part of it, and a completed search is not repeated for a while.
const SCAN_COUNT: usize = 1_000;
const SCAN_STEPS: usize = 10;
const SCAN_AGAIN_ROUNDS: u32 = 20;

/// The bindings of one database.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    exchanges: BTreeSet<String>,
    /// The bindings from the last read.
    pub(super) all: Vec<Binding>,
    /// Whether a limit on exchanges or bindings was reached since this was last reset.
    pub(super) has_more: bool,
    /// The cursor at which the search continues.
    cursor: u64,
    /// Rounds until the search starts again.
    rest: u32,
    /// Separators of members that cannot be read with the configured one.
    pub(super) foreign: BTreeSet<String>,
    told: bool,
}

impl Bindings {
    /// Reads all bindings again.
    pub(super) async fn read(&mut self, client: &mut Client) -> Result<(), LinkError> {
        self.search(client).await?;
        self.exchanges.insert(DEFAULT.to_owned());
        let exchanges: Vec<String> = self.exchanges.iter().cloned().collect();
        let mut pipe = redis::pipe();
        for exchange in &exchanges {
            pipe.cmd("SMEMBERS")
                .arg(client.key(&format!("{KEY}{exchange}")));
        }
        let answers = client.answers(&pipe).await;
        let answers = answers.map_err(|error| failed("read the bindings", error))?;
        self.all.clear();
        self.foreign.clear();
        let sep = &client.config.sep;
        for (exchange, answer) in exchanges.into_iter().zip(answers) {
            let members = match answer {
                Ok(Value::Array(members) | Value::Set(members)) => members,
                // Not a set, or not accessible. Queues are also discovered in other ways.
                Ok(_) | Err(_) => Vec::new(),
            };
            if members.is_empty() {
                self.exchanges.remove(&exchange);
            }
            let room = BINDINGS_MAX.saturating_sub(self.all.len());
            self.has_more |= members.len() > room;
            for member in members.iter().take(room) {
                match binding(&exchange, member, sep) {
                    Ok(binding) => self.all.push(binding),
                    Err(other) => self.foreign.extend(other),
                }
            }
        }
        if self.all.is_empty()
            && let Some(sep) = self.foreign.first()
            && !std::mem::replace(&mut self.told, true)
        {
            warn!(
                ?sep,
                "bindings on Redis use a different separator; compare `sep` with Celery's broker_transport_options"
            );
        }
        Ok(())
    }

    /// Searches for sets of other exchanges, a few steps per call.
    async fn search(&mut self, client: &mut Client) -> Result<(), LinkError> {
        if self.rest > 0 {
            self.rest -= 1;
            return Ok(());
        }
        let prefix = client.key(KEY);
        for _ in 0..SCAN_STEPS {
            let mut scan = redis::cmd("SCAN");
            scan.arg(self.cursor)
                .arg("MATCH")
                .arg(format!("{}*", escape(&prefix)))
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let page: (u64, Vec<Vec<u8>>) = match scan.query_async(&mut client.connection).await {
                Ok(page) => page,
                // Queues that are configured, consumed or named by events need no search.
                Err(error) if is_unavailable(&error) => {
                    self.rest = SCAN_AGAIN_ROUNDS;
                    return Ok(());
                }
                Err(error) => return Err(failed("look for bindings", error)),
            };
            let (cursor, keys) = page;
            for key in keys {
                let key = String::from_utf8(key).ok();
                let exchange = key.as_deref().and_then(|key| key.strip_prefix(&prefix));
                // The exchanges of events and remote control bind no task queue.
                let exchange = exchange.filter(|name| is_task_queue(name) && *name != "celeryev");
                let found = &mut self.exchanges;
                match exchange {
                    Some(exchange) if found.len() < EXCHANGES_MAX => {
                        found.insert(exchange.to_owned());
                    }
                    Some(exchange) if !found.contains(exchange) => self.has_more = true,
                    Some(_) | None => {}
                }
            }
            self.cursor = cursor;
            if cursor == 0 {
                self.rest = SCAN_AGAIN_ROUNDS;
                break;
            }
        }
        Ok(())
    }
}

/// Parses a member of an exchange's set. On error, returns the separator that the member seems to
/// use, if any.
fn binding(exchange: &str, member: &Value, sep: &str) -> Result<Binding, Option<String>> {
    let Value::BulkString(member) = member else {
        return Err(None);
    };
    let member = std::str::from_utf8(member).map_err(|_| None)?;
    let parts: Vec<&str> = member.split(sep).collect();
    let &[routing_key, pattern, queue] = parts.as_slice() else {
        return Err(separator(member).map(str::to_owned));
    };
    if !is_task_queue(queue) {
        return Err(None);
    }
    Ok(Binding {
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
        kind: if pattern.is_empty() {
            ExchangeKind::Direct
        } else {
            ExchangeKind::Topic
        },
        queue: queue.to_owned(),
    })
}

/// Detects the separator in a member that has no pattern and whose routing key equals the queue
/// name, which is how Celery binds most queues: `<queue><sep><sep><queue>`.
fn separator(member: &str) -> Option<&str> {
    if member.len() > MEMBER_MAX {
        return None;
    }
    let ends = member.char_indices().skip(1).map(|(end, _)| end);
    let queues = ends.filter_map(|end| {
        let (queue, rest) = member.split_at(end);
        let middle = rest
            .strip_suffix(queue)
            .filter(|middle| !middle.is_empty())?;
        let half = middle.len() / 2;
        (middle.is_char_boundary(half) && middle[..half] == middle[half..] && half > 0)
            .then(|| &middle[..half])
    });
    // The longest possible name, because a separator is short.
    queues.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_hold_a_key_a_pattern_and_a_queue() {
        let read = |member: &str| {
            let value = Value::BulkString(member.as_bytes().to_vec());
            binding("x", &value, "\x06\x16").ok().map(|read| {
                (
                    read.routing_key,
                    read.kind == ExchangeKind::Topic,
                    read.queue,
                )
            })
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

    #[test]
    fn another_separator_is_found_where_a_queue_is_bound_by_its_name() {
        let cases = [
            ("celery::celery", Some(":")),
            ("a.b||||a.b", Some("||")),
            ("celery\x06\x16\x06\x16celery", Some("\x06\x16")),
            ("очередь——очередь", Some("—")),
            ("high:celery", None),
            ("xx", None),
            ("aa", None),
            ("", None),
        ];
        for (member, expected) in cases {
            assert_eq!(separator(member), expected, "{member:?}");
        }
        let value = Value::BulkString(b"celery::celery".to_vec());
        let read = |sep| binding("celery", &value, sep);
        assert_eq!(read("\x06\x16"), Err(Some(":".to_owned())));
        assert_eq!(read(":").map(|read| read.queue), Ok("celery".to_owned()));
    }
}
