//! Threads that read events and rest in between.

use std::io;
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::timeout;

use crate::clock;
use crate::timestamp::Timestamp;

/// Time between two reads of events that trickle in. Each read costs wake-ups and cache misses, as
/// much as processing a hundred events.
const INTERVAL: Duration = Duration::from_millis(50);

/// The interval in a burst, which may exceed what Redis buffers for a subscriber within 100 ms.
const INTERVAL_IN_BURST: Duration = Duration::from_millis(10);

/// A burst: this much was read since the last rest.
const BURST_BYTES: usize = 512 << 10;

/// After a read of this many bytes, more may be on the way that found no room in the receive buffer,
/// which grows only while it is emptied faster than it fills.
const MORE_BYTES: usize = 16 << 10;

/// How long to wait for more: longer than a round trip in a data center.
const MORE: Duration = Duration::from_millis(5);

/// Reads come this long before a multiple of the interval. Whole seconds are such multiples, and
/// that is when snapshots are made, so they include what arrived until then.
const AHEAD: Duration = Duration::from_millis(5);

/// Decides when a thread reads from its connection, and lets it rest in between.
#[derive(Debug, Default)]
pub(super) struct Pace {
    expects_more: bool,
    /// The number of bytes read since the last rest.
    bytes: usize,
}

/// Starts a thread for `work`, which may rest there with a [`Pace`].
pub(super) fn spawn(
    name: &str,
    work: impl Future<Output = ()> + Send + 'static,
) -> io::Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let builder = thread::Builder::new().name(name.to_owned());
    let handle = builder.spawn(move || runtime.block_on(work))?;
    Ok(handle.thread().clone())
}

impl Pace {
    /// Rests unless more is on the way, then reads.
    ///
    /// A rest blocks the thread, because a task that waits would be woken by all that arrives
    /// meanwhile. So poll this after everything else that is ready. It ends early if the thread is
    /// unparked. All connections are read at the same times, which wakes the CPU less often.
    ///
    /// Cancel-safe if `read` is.
    pub(super) async fn read<T>(&mut self, read: impl Future<Output = T>) -> T {
        tokio::pin!(read);
        if self.expects_more
            && let Ok(read) = timeout(MORE, &mut read).await
        {
            return read;
        }
        let rest = until_read(clock::now(), self.interval());
        *self = Self::default();
        thread::park_timeout(rest);
        read.await
    }

    /// Notes how many bytes were read.
    pub(super) const fn note(&mut self, bytes: usize) {
        self.expects_more = bytes >= MORE_BYTES;
        self.bytes += bytes;
    }

    /// Notes that the server has probably sent more since the last read.
    pub(super) const fn expect_more(&mut self) {
        self.expects_more = true;
    }

    const fn interval(&self) -> Duration {
        if self.bytes < BURST_BYTES {
            INTERVAL
        } else {
            INTERVAL_IN_BURST
        }
    }
}

fn until_read(now: Timestamp, interval: Duration) -> Duration {
    let since_epoch = Duration::from_micros(now.micros().unsigned_abs());
    let since_last = (since_epoch + AHEAD).as_nanos() % interval.as_nanos();
    interval - Duration::from_nanos(u64::try_from(since_last).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn a_rest_ends_shortly_before_a_snapshot() {
        let second = 1_700_000_000_000_000;
        for (at, interval, micros) in [
            (second, INTERVAL, 45_000),
            (second + 44_999, INTERVAL, 1),
            (second + 45_000, INTERVAL, 50_000),
            (second + 994_000, INTERVAL, 1_000),
            (second + 994_000, INTERVAL_IN_BURST, 1_000),
            (second + 1_000, INTERVAL_IN_BURST, 4_000),
        ] {
            let rest = until_read(Timestamp::from_micros(at), interval);
            assert_eq!(rest, Duration::from_micros(micros), "{at}");
        }
    }

    #[test]
    fn what_was_read_since_the_last_rest_decides_about_the_next() {
        let mut pace = Pace::default();
        for (bytes, expects_more, interval) in [
            (MORE_BYTES - 1, false, INTERVAL),
            (MORE_BYTES, true, INTERVAL),
            (BURST_BYTES, true, INTERVAL_IN_BURST),
            (1, false, INTERVAL_IN_BURST),
        ] {
            pace.note(bytes);
            assert_eq!(
                (pace.expects_more, pace.interval()),
                (expects_more, interval)
            );
        }
        pace.expect_more();
        assert!(pace.expects_more);
    }

    #[tokio::test]
    async fn without_more_on_the_way_it_rests_until_it_is_unparked() {
        let mut pace = Pace::default();
        pace.note(BURST_BYTES);
        assert_eq!(pace.read(ready(1)).await, 1);
        assert_eq!(pace.bytes, BURST_BYTES, "no rest");
        thread::current().unpark();
        let reading = timeout(2 * MORE, pace.read(pending::<()>()));
        assert!(reading.await.is_err());
        assert_eq!(pace.bytes, 0, "a rest");
    }
}
