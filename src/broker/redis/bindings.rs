//! Kombu's bindings on Redis: the sets from which queues are discovered.
//!
//! For each exchange a set `_kombu.binding.<exchange>`, whose members are the routing key, a pattern, which is
//! empty unless the exchange is a topic, and the queue. Every queue that a worker or a publisher declared is
//! there, empty ones included.
//!
//! Source: kombu 4.6 to 5.7, `transport/redis.py` (`_queue_bind`, `get_table`); `tests/golden/pidbox`.

use std::collections::BTreeSet;

use redis::Value;
use tracing::warn;

use super::channel::escape;
use super::connect::{failed, is_unavailable};
use super::poll::Poll;
use crate::broker::source::LinkError;
use crate::broker::watch::is_task_queue;
use crate::state::{Binding, ExchangeKind};

const KEY: &str = "_kombu.binding.";

/// Celery's default exchange: looked up without a search.
const DEFAULT: &str = "celery";

/// Sets, and members of all of them, that are looked at; the rest is not.
const EXCHANGES_MAX: usize = 1_000;
const BINDINGS_MAX: usize = 20_000;

/// The longest member, in bytes, that is looked at for its separator.
const MEMBER_MAX: usize = 1_024;

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
    /// Whether there are more exchanges or bindings than are looked at.
    has_more: bool,
    /// Where the search goes on.
    cursor: u64,
    /// Rounds until it begins again.
    rest: u32,
    /// Separators of members that cannot be read by the one that is configured.
    pub(super) foreign: BTreeSet<String>,
    told: bool,
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
        self.bindings.foreign.clear();
        let sep = &self.config.sep;
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
            self.bindings.has_more |= members.len() > room;
            for member in members.iter().take(room) {
                match binding(&exchange, member, sep) {
                    Ok(binding) => self.bindings.all.push(binding),
                    Err(other) => self.bindings.foreign.extend(other),
                }
            }
        }
        if self.bindings.all.is_empty()
            && let Some(sep) = self.bindings.foreign.first()
            && !std::mem::replace(&mut self.bindings.told, true)
        {
            warn!(
                ?sep,
                "bindings on Redis use a different separator; compare `sep` with Celery's broker_transport_options"
            );
        }
        Ok(())
    }

    /// Whether there were more exchanges or bindings than are looked at, since it was asked last.
    pub(in crate::broker) const fn has_more_bindings(&mut self) -> bool {
        std::mem::replace(&mut self.bindings.has_more, false)
    }

    /// The bindings as they were read last.
    pub(in crate::broker) fn bindings(&self) -> &[Binding] {
        &self.bindings.all
    }

    /// Looks for sets of other exchanges, some steps at a time.
    async fn search(&mut self) -> Result<(), LinkError> {
        if self.bindings.rest > 0 {
            self.bindings.rest -= 1;
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
                // Queues that are configured, consumed or named by events need no search.
                Err(error) if is_unavailable(&error) => {
                    self.bindings.rest = SCAN_AGAIN_ROUNDS;
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
                let found = &mut self.bindings.exchanges;
                match exchange {
                    Some(exchange) if found.len() < EXCHANGES_MAX => {
                        found.insert(exchange.to_owned());
                    }
                    Some(exchange) if !found.contains(exchange) => self.bindings.has_more = true,
                    Some(_) | None => {}
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

/// Reads a member of the set of an exchange. One that is no binding of a queue of tasks may show another separator.
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

/// The separator of a member whose routing key is the name of its queue, as Celery binds most queues, and which has no
/// pattern: `<queue><sep><sep><queue>`.
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
    // The longest name: a separator is short.
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
