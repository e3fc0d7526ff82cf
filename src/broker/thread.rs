//! Threads that read events and rest in between.

use std::io;
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::timeout;

use crate::clock;
use crate::timestamp::Timestamp;

/// Time between two reads of events that trickle in, in microseconds. A read costs wake-ups, memory
/// that has left the CPU's caches and, on RabbitMQ, an acknowledgement: as much as a hundred events.
const INTERVAL: i64 = 50_000;

/// After a read of as many bytes as fit into Linux's receive buffer for a new connection, there is
/// no rest.
pub(super) const FULL_BYTES: usize = 64 << 10;

/// After a read of as many bytes, more may be on the way that found no room in the receive buffer.
/// It grows only while it is emptied faster than it fills.
const MORE_BYTES: usize = 16 << 10;

/// How long to wait for them.
const MORE: Duration = Duration::from_millis(1);

/// Reads come this long before a multiple of the interval. Snapshots are made at such multiples, so
/// they include what arrived until then.
const AHEAD: i64 = 5_000;

/// Starts a thread for `work`, which may [rest](rest_after) there.
pub(super) fn spawn(
    name: &str,
    work: impl Future<Output = ()> + Send + 'static,
) -> io::Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = thread::Builder::new().name(name.to_owned());
    let thread = thread.spawn(move || runtime.block_on(work))?;
    Ok(thread.thread().clone())
}

/// After a read of some bytes, blocks this thread until the next read, or until it is unparked. A
/// task that waits instead would be woken by all that arrives meanwhile. All sources read at the
/// same times, which wakes the CPU less often.
pub(super) fn rest_after(bytes: usize) {
    match bytes {
        FULL_BYTES.. => {}
        MORE_BYTES.. => thread::park_timeout(MORE),
        _ => thread::park_timeout(until_read(clock::now())),
    }
}

/// Like [`rest_after`], and reads again. If no more was on the way, the rest is a long one.
pub(super) async fn read_after<T>(bytes: usize, read: impl Future<Output = T>) -> T {
    tokio::pin!(read);
    rest_after(bytes);
    if (MORE_BYTES..FULL_BYTES).contains(&bytes) {
        if let Ok(read) = timeout(MORE, &mut read).await {
            return read;
        }
        rest_after(0);
    }
    read.await
}

fn until_read(now: Timestamp) -> Duration {
    let wait = INTERVAL - (now.micros() + AHEAD).rem_euclid(INTERVAL);
    Duration::from_micros(wait.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_ends_shortly_before_a_snapshot() {
        let second = 1_700_000_000_000_000;
        for (at, micros) in [
            (second, 45_000),
            (second + 44_999, 1),
            (second + 45_000, 50_000),
            (second + 994_000, 1_000),
            (-1, 45_001),
        ] {
            let wait = until_read(Timestamp::from_micros(at));
            assert_eq!(wait, Duration::from_micros(micros), "{at}");
        }
    }
}
