//! Counts unacknowledged messages per queue.
//!
//! Kombu keeps all of them in one hash, from delivery tag to `[envelope, exchange, routing_key]`:
//! entire messages, whose last two elements identify the queue. So a script on the server scans the
//! hash in slices and returns only the ends of the messages. If the user may not run scripts, small
//! slices are read here, and each is discarded before the next.
//!
//! Each round is limited and the next one continues where it stopped. The previous count remains in
//! use until the whole hash has been scanned.
//!
//! Source: kombu 4.6 to 5.7, `transport/redis.py` (`QoS.append`); the recording in
//! `tests/golden/pidbox`.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use redis::{RedisError, Value};

use super::client::Client;
use super::error::{failed, is_unavailable};
use crate::broker::error::LinkError;
use crate::broker::watch::is_task_queue;
use crate::clock;
use crate::event::json::key_text;
use crate::state::{Binding, queue_delivered};

/// The limits of a round, in entries and in time.
const ENTRIES_MAX: usize = 50_000;
const TIME_MAX: Duration = Duration::from_millis(400);

/// The entries of a slice: few at first, then as many as hold roughly the target number of bytes.
/// The server does nothing else meanwhile, and copies them once.
const SLICE_MIN: u64 = 10;
const SLICE_MAX: u64 = 1_000;
const SLICE_BYTES: u64 = 1 << 20;

/// Counts that took longer are not reported, because they do not describe any one point in time.
const AGE_MAX: Duration = Duration::from_secs(60);

/// A hash that grows or shrinks during the scan may return an entry twice, so this many entries are
/// remembered.
const SEEN_MAX: usize = 100_000;

/// Returns the cursor, the bytes of the slice, and for each entry its delivery tag and its end: the
/// part after the envelope's last brace, or enough of it to hold two names.
const SCRIPT: &str = r#"
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local entries, out, bytes = page[2], {page[1], 0}, 0
for i = 1, #entries, 2 do
  local value = entries[i + 1]
  local tail = string.sub(value, -1100)
  out[#out + 1] = entries[i]
  out[#out + 1] = string.match(tail, '}(, ?"[^{}]*)$') or tail
  bytes = bytes + #value
end
out[2] = bytes
return out
"#;

/// Unacknowledged messages by queue.
pub(super) type Counts = BTreeMap<String, u64>;

/// The count in progress.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    /// The cursor at which the scan continues; 0 is the beginning.
    cursor: u64,
    counting: Counts,
    began: Option<Instant>,
    slice: u64,
    seen: HashSet<u64>,
    hasher: RandomState,
    /// The latest completed count, and when it started.
    counted: Option<(Counts, Instant)>,
    /// Whether the user may not run scripts.
    no_scripts: bool,
}

/// A slice of the hash.
struct Slice {
    cursor: u64,
    bytes: u64,
    entries: Vec<(Vec<u8>, Option<Route>)>,
}

/// The exchange and the routing key of a message.
type Route = (String, String);

impl Unacked {
    /// Unacknowledged messages by queue. `None` until they are known.
    pub(super) async fn count(
        &mut self,
        client: &mut Client,
        bindings: &[Binding],
    ) -> Result<Option<Counts>, LinkError> {
        let start = clock::monotonic();
        let mut entries = 0;
        while entries < ENTRIES_MAX && clock::monotonic().duration_since(start) < TIME_MAX {
            let slice = match self.next_slice(client).await {
                Ok(slice) => slice,
                // Some users may not read the hash, and the lengths are useful without it.
                Err(error) if is_unavailable(&error) || error.code() == Some("WRONGTYPE") => {
                    return Ok(None);
                }
                Err(error) => return Err(failed("count unacknowledged messages", error)),
            };
            entries += slice.entries.len();
            self.began.get_or_insert(start);
            self.add(slice, |exchange, key| {
                queue_delivered(exchange, key, bindings).map(str::to_owned)
            });
            if self.cursor == 0 {
                self.finish();
                break;
            }
        }
        let now = clock::monotonic();
        let counted = self.counted.as_ref();
        let young = counted.filter(|(_, began)| now.duration_since(*began) <= AGE_MAX);
        Ok(young.map(|(counts, _)| counts.clone()))
    }

    async fn next_slice(&mut self, client: &mut Client) -> Result<Slice, RedisError> {
        let key = client.key(&client.config.unacked_key);
        let count = self.slice.max(SLICE_MIN);
        if !self.no_scripts {
            let mut call = redis::cmd("EVAL");
            call.arg(SCRIPT).arg(1).arg(&key);
            call.arg(self.cursor).arg(count);
            match call.query_async(&mut client.connection).await {
                Ok(Value::Array(values)) => return Ok(of_script(values)),
                Ok(_) => self.no_scripts = true,
                Err(error) if is_unavailable(&error) => {
                    self.no_scripts = true;
                }
                Err(error) => return Err(error),
            }
        }
        let mut scan = redis::cmd("HSCAN");
        scan.arg(&key)
            .arg(self.cursor)
            .arg("COUNT")
            .arg(count.min(100));
        let (cursor, values): (u64, Vec<Vec<u8>>) =
            scan.query_async(&mut client.connection).await?;
        let bytes = values.iter().map(|value| value.len() as u64).sum();
        let mut values = values.into_iter();
        let mut entries = Vec::new();
        while let (Some(tag), Some(value)) = (values.next(), values.next()) {
            entries.push((tag, tail(&value)));
        }
        Ok(Slice {
            cursor,
            bytes,
            entries,
        })
    }

    /// Adds a slice to the count. A message whose queue is unknown is not counted.
    fn add(&mut self, slice: Slice, queue_of: impl Fn(&str, &str) -> Option<String>) {
        let entries = slice.entries.len() as u64;
        for (tag, route) in slice.entries {
            if self.seen.len() < SEEN_MAX && !self.seen.insert(self.hasher.hash_one(&tag)) {
                continue;
            }
            let queue = route.and_then(|(exchange, key)| queue_of(&exchange, &key));
            if let Some(queue) = queue.filter(|queue| is_task_queue(queue)) {
                *self.counting.entry(queue).or_default() += 1;
            }
        }
        self.cursor = slice.cursor;
        let each = slice.bytes / entries.max(1);
        self.slice = (SLICE_BYTES / each.max(1)).clamp(SLICE_MIN, SLICE_MAX);
    }

    fn finish(&mut self) {
        let counts = std::mem::take(&mut self.counting);
        self.counted = self.began.take().map(|began| (counts, began));
        self.seen = HashSet::new();
    }
}

fn of_script(values: Vec<Value>) -> Slice {
    let mut slice = Slice {
        cursor: 0,
        bytes: 0,
        entries: Vec::new(),
    };
    let mut values = values.into_iter();
    if let Some(Value::BulkString(cursor)) = values.next() {
        let cursor = std::str::from_utf8(&cursor).ok();
        slice.cursor = cursor.and_then(|text| text.parse().ok()).unwrap_or(0);
    }
    if let Some(Value::Int(bytes)) = values.next() {
        slice.bytes = u64::try_from(bytes).unwrap_or(0);
    }
    while let (Some(Value::BulkString(tag)), Some(Value::BulkString(end))) =
        (values.next(), values.next())
    {
        slice.entries.push((tag, tail(&end)));
    }
    slice
}

/// The exchange and routing key at the end of a message. Parsed backwards, because the part before
/// them may be large and is truncated.
fn tail(message: &[u8]) -> Option<Route> {
    let rest = message.trim_ascii_end().strip_suffix(b"]")?;
    let (rest, routing_key) = text_at_end(rest)?;
    let rest = rest.trim_ascii_end().strip_suffix(b",")?;
    let (rest, exchange) = text_at_end(rest)?;
    rest.trim_ascii_end().strip_suffix(b",")?;
    Some((exchange, routing_key))
}

/// The JSON string at the end, and the part before it. A quote inside a string is preceded by a
/// backslash that is not itself escaped.
fn text_at_end(bytes: &[u8]) -> Option<(&[u8], String)> {
    let inside = bytes.trim_ascii_end().strip_suffix(b"\"")?;
    let mut end = inside.len();
    loop {
        let quote = memchr::memrchr(b'"', &inside[..end])?;
        let before = &inside[..quote];
        let backslashes = before
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        if backslashes.is_multiple_of(2) {
            return Some((before, key_text(&inside[quote + 1..]).into_owned()));
        }
        end = quote;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_message_tells_its_queue() {
        let row = |exchange: &str, key: &str| Some((exchange.to_owned(), key.to_owned()));
        let cases = [
            (
                r#"[{"body": "W10=", "headers": {}}, "", "celery"]"#,
                row("", "celery"),
            ),
            (r#", "celery", "high"]"#, row("celery", "high")),
            (r#"[{"a":"b"},"topix","t.x"] "#, row("topix", "t.x")),
            (r#"}, "a\"b", "c\\"]"#, row("a\"b", "c\\")),
            (r#"}, "", "\u043e\u0447"]"#, row("", "оч")),
            (r#"}, "x", "with } brace"]"#, row("x", "with } brace")),
            // An exchange that is not a string, and truncated ends.
            (r#"}, null, "celery"]"#, None),
            (r#"celery", "celery"]"#, None),
            (r#""celery"]"#, None),
            (r#"[{"body": "W10="}]"#, None),
            ("", None),
            ("]", None),
            ("\"]", None),
        ];
        for (message, expected) in cases {
            assert_eq!(tail(message.as_bytes()), expected, "{message}");
        }
    }

    #[test]
    fn recorded_messages_are_counted_by_their_queue_and_each_once() {
        let recorded = include_str!("../../../tests/golden/pidbox/redis-unacked.jsonl");
        let entries: Vec<_> = recorded
            .lines()
            .map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let text = |key: &str| row[key].as_str().expect("a text").as_bytes().to_vec();
                (text("tag"), tail(&text("value")))
            })
            .collect();
        let mut unacked = Unacked::default();
        let slice = |cursor, entries| Slice {
            cursor,
            bytes: 5_000,
            entries,
        };
        let default = |exchange: &str, key: &str| {
            assert_eq!(exchange, "");
            Some(key.to_owned())
        };
        unacked.began = Some(clock::monotonic());
        unacked.add(slice(7, entries[..3].to_vec()), default);
        unacked.add(slice(0, entries[2..].to_vec()), default);
        unacked.finish();

        assert_eq!(unacked.slice, (1 << 20) / (5_000 / 3));
        let (counts, _) = unacked.counted.expect("it came to its end");
        assert_eq!(counts, Counts::from([("celery".to_owned(), 5)]));
    }
}
