//! Opens the queue of each remote-write sink, on disk or in memory.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use tracing::warn;

use crate::config::{Config, SinkId};
use crate::queue::{Limits, OpenError, Queue};
use crate::timestamp::Timestamp;

/// Directory below `data_dir`.
const FOLDER: &str = "queue";

/// Why the queue of a sink cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the queue of {name}: {source}")]
pub struct QueuesError {
    name: String,
    source: OpenError,
}

/// Opens the queue of each sink: on disk below `data_dir`, or in memory without one.
pub fn open(config: &Config) -> Result<Vec<(SinkId, Queue)>, QueuesError> {
    let folder = config.data_dir.as_ref().map(|folder| folder.join(FOLDER));
    let sinks = config.remote_write.iter().enumerate();
    let queues = sinks.map(|(at, sink)| {
        let id = SinkId::new(at);
        let limits = Limits {
            bytes_max: sink.queue.bytes_max,
            age_max: sink.queue.sample_age_limit,
        };
        let Some(folder) = &folder else {
            return Ok((id, Queue::in_memory(limits)));
        };
        let opened = Queue::open(&folder.join(file_name(&sink.name)), limits);
        match opened {
            Ok(queue) => Ok((id, queue)),
            Err(source) => Err(QueuesError {
                name: sink.name.clone(),
                source,
            }),
        }
    });
    let queues = queues.collect();
    if let Some(folder) = &folder {
        let names = config.remote_write.iter();
        log_unused(folder, &names.map(|sink| file_name(&sink.name)).collect());
    }
    queues
}

/// Returns the start time: now, or the time of the newest queued or stored sample if that is
/// slightly later.
pub fn start_behind<'a>(
    queues: impl IntoIterator<Item = &'a Queue>,
    stored: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    let queued = queues.into_iter().filter_map(Queue::newest_ms);
    let newest = queued.map(Timestamp::from_millis).chain(stored).max();
    let start = newest.map_or(now, |newest| now.no_earlier_than(newest));
    if let Some(ahead) = newest
        .map(|newest| newest.since(start))
        .filter(|ahead| !ahead.is_zero())
    {
        warn!(
            ?ahead,
            "newest queued or stored sample is in the future; the system clock was probably set back"
        );
    }
    start
}

/// Logs the queues that belong to no sink, because their sink was renamed or removed.
fn log_unused(folder: &Path, names: &BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| names.contains(name)) {
            let folder = entry.path();
            warn!(
                folder = %folder.display(),
                "queue belongs to no configured remote_write; its samples are not sent"
            );
        }
    }
}

/// Returns a directory name for a sink. Bytes with a special meaning are percent-encoded.
fn file_name(name: &str) -> String {
    let mut file = String::new();
    for byte in name.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if plain || (byte == b'.' && !file.is_empty()) {
            file.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(file, "%{byte:02X}");
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::counts::Counts;
    use crate::wire::{Body, Protocol};

    #[test]
    fn a_name_is_one_folder() {
        let cases = [
            ("main", "main"),
            ("prometheus.example.com", "prometheus.example.com"),
            ("a/b", "a%2Fb"),
            ("..", "%2E."),
            ("%", "%25"),
            ("é", "%C3%A9"),
        ];
        for (name, file) in cases {
            assert_eq!(file_name(name), file);
        }
    }

    #[test]
    fn it_begins_behind_what_is_queued_unless_that_is_of_the_future() {
        let now = Timestamp::from_millis(1_000_000_000);
        for (queued, start) in [
            (None, 1_000_000_000),
            (Some(999_999_000), 1_000_000_000),
            (Some(1_000_000_900), 1_000_000_900),
            (Some(1_000_001_000), 1_000_000_000),
        ] {
            let mut queue = Queue::in_memory(Limits {
                bytes_max: 1 << 20,
                age_max: None,
            });
            if let Some(newest_ms) = queued {
                let body = Body {
                    protocol: Protocol::V1,
                    bytes: Bytes::from_static(b"body"),
                    counts: Counts::default(),
                    oldest: Timestamp::from_millis(newest_ms),
                    newest: Timestamp::from_millis(newest_ms),
                };
                queue.append(vec![body], newest_ms);
            }
            assert_eq!(
                start_behind(&[queue], None, now).millis(),
                start,
                "{queued:?}"
            );
            let stored = queued.map(Timestamp::from_millis);
            assert_eq!(start_behind(&[], stored, now).millis(), start, "{queued:?}");
        }
    }
}
