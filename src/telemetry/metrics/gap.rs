//! Measures the time without a subscription to a broker's events, across restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use super::Elapsed;
use crate::timestamp::Timestamp;

/// The total time without a subscription to a broker, and the time up to which it has been counted.
#[derive(Clone, Debug)]
pub struct Gap {
    pub(super) elapsed: Elapsed,
    /// Microseconds since the epoch; the maximum while subscribed.
    until: Arc<AtomicI64>,
}

impl Default for Gap {
    fn default() -> Self {
        Self {
            elapsed: Elapsed::default(),
            until: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }
}

impl Gap {
    /// Begins the gap of a process that has not subscribed yet. If an earlier process counted, the
    /// time since then is part of it.
    pub fn begin(&self, now: Timestamp) {
        self.grow(now.since(self.until(now)), now);
    }

    /// Extends a gap that is still open at `now`.
    pub fn grow(&self, more: Duration, now: Timestamp) {
        self.elapsed.add(more);
        self.until.store(now.micros(), Relaxed);
    }

    /// Records that there is a subscription.
    pub fn end(&self) {
        self.until.store(i64::MAX, Relaxed);
    }

    /// Returns the length of all gaps so far, in microseconds.
    pub fn micros(&self) -> u64 {
        self.elapsed.micros()
    }

    /// Returns the time up to which the gap is counted, as of `now`.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_micros(self.until.load(Relaxed)).min(now)
    }

    /// Restores the time up to which an earlier process counted.
    pub fn restore(&self, until: Timestamp) {
        self.until.store(until.micros(), Relaxed);
    }
}
