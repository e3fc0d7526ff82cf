//! Threads that read events and rest in between.

use std::io;
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::timeout;

use crate::clock;
use crate::timestamp::Timestamp;

/// Time between two reads of events that trickle in. A read costs wake-ups, memory that has left the
/// CPU's caches and, on RabbitMQ, an acknowledgement: as much as a hundred events.
const INTERVAL: Duration = Duration::from_millis(50);

/// The same in a burst, in which Redis may buffer more than it allows a subscriber in 100 ms.
const INTERVAL_IN_BURST: Duration = Duration::from_millis(10);

/// It is a burst if there was so much to read since the last rest.
const BURST_BYTES: usize = 512 << 10;

/// After a read of as many bytes, more may be on the way that found no room in the receive buffer,
/// which grows only while it is emptied faster than it fills.
const MORE_BYTES: usize = 16 << 10;

/// How long to wait for them.
const MORE: Duration = Duration::from_millis(1);

/// Reads come this long before a multiple of the interval. Snapshots are made at such multiples, so
/// they include what arrived until then.
const AHEAD: Duration = Duration::from_millis(5);

/// Reads from a connection at the right times. Its thread does nothing else.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The number of bytes of the last read, and of all since the last rest.
    last: usize,
    since_rest: usize,
}

/// Starts a thread for `work`, which may rest there with a [`Pace`].
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

impl Pace {
    /// Reads. Rests first, unless more is on the way: blocks this thread until the next read, or
    /// until it is unparked. A task that waits instead would be woken by all that arrives meanwhile.
    /// All connections are read at the same times, which wakes the CPU less often.
    pub(super) async fn read<T>(&mut self, read: impl Future<Output = T>) -> T {
        tokio::pin!(read);
        if self.last >= MORE_BYTES
            && let Ok(read) = timeout(MORE, &mut read).await
        {
            return read;
        }
        let interval = if self.since_rest < BURST_BYTES {
            INTERVAL
        } else {
            INTERVAL_IN_BURST
        };
        *self = Self::default();
        thread::park_timeout(until_next(clock::now(), AHEAD, interval));
        read.await
    }

    /// Notes how many bytes were read.
    pub(super) const fn note(&mut self, bytes: usize) {
        self.last = bytes;
        self.since_rest += bytes;
    }
}

/// Returns the time until it is `ahead` of a multiple of the interval.
fn until_next(now: Timestamp, ahead: Duration, interval: Duration) -> Duration {
    let since_epoch = Duration::from_micros(now.micros().unsigned_abs());
    let since_last = (since_epoch + ahead).as_nanos() % interval.as_nanos();
    interval - Duration::from_nanos(u64::try_from(since_last).unwrap_or(0))
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
        ] {
            let wait = until_next(Timestamp::from_micros(at), AHEAD, INTERVAL);
            assert_eq!(wait, Duration::from_micros(micros), "{at}");
        }
    }
}
