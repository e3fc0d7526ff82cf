//! Threads that read events and rest in between.

use std::io;
use std::thread::{self, Thread};
use std::time::Duration;

use crate::clock;
use crate::timestamp::Timestamp;

/// Time between two reads of events that trickle in, in microseconds. A read costs wake-ups, memory
/// that has left the CPU's caches and, on RabbitMQ, an acknowledgement: as much as a hundred events.
const INTERVAL: i64 = 50_000;

/// Reads come this long before a multiple of the interval. Snapshots are made at such multiples, so
/// they include what arrived until then.
const AHEAD: i64 = 5_000;

/// Starts a thread for `work`, which may [rest](rest) there.
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

/// Blocks this thread until the next read, or until it is unparked. A task that waits instead would
/// be woken by all that arrives meanwhile. All sources read at the same times, which wakes the CPU
/// less often.
pub(super) fn rest() {
    thread::park_timeout(until_read(clock::now()));
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
