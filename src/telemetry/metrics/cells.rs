//! The values of the daemon's own metrics: atomics that a stage updates and a snapshot reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Histogram bounds for the duration of a request, in seconds: those of Prometheus' own metric,
/// without its outliers.
pub(super) const BATCH_BOUNDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// A counter.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<CounterCells>);

#[derive(Debug, Default)]
struct CounterCells {
    count: AtomicU64,
    /// The count restored from earlier processes.
    before: AtomicU64,
}

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.count.fetch_add(n, Relaxed);
    }

    /// Raises the count to a total kept elsewhere, which starts at 0 with the process.
    pub fn raise_to(&self, n: u64) {
        let before = self.0.before.load(Relaxed);
        self.0.count.fetch_max(before.saturating_add(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.count.load(Relaxed)
    }

    /// Continues from the count of earlier processes.
    pub(super) fn restore(&self, before: u64) {
        self.0.before.fetch_add(before, Relaxed);
        self.0.count.fetch_add(before, Relaxed);
    }
}

/// A cumulative duration, stored in microseconds and exposed in seconds.
#[derive(Clone, Debug, Default)]
pub struct Elapsed(Arc<AtomicU64>);

impl Elapsed {
    pub fn add(&self, duration: Duration) {
        self.0.fetch_add(micros(duration), Relaxed);
    }

    /// Sets a duration that is measured elsewhere.
    pub(super) fn set(&self, duration: Duration) {
        self.0.store(micros(duration), Relaxed);
    }

    pub(super) fn seconds(&self) -> f64 {
        seconds(self.micros())
    }

    pub(super) fn micros(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Continues from the duration counted by earlier processes.
    pub(super) fn restore(&self, micros: u64) {
        self.0.fetch_add(micros, Relaxed);
    }
}

/// A value that can go up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Sets the value unless it is already higher.
    pub fn raise_to(&self, value: f64) {
        if value > self.get() {
            self.set(value);
        }
    }

    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// A histogram of durations, with the buckets of [`BATCH_BOUNDS`].
#[derive(Clone, Debug, Default)]
pub struct Durations(Arc<DurationCells>);

#[derive(Debug, Default)]
struct DurationCells {
    counts: [AtomicU64; BATCH_BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Durations {
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BATCH_BOUNDS.partition_point(|bound| *bound < seconds);
        self.0.counts[bucket].fetch_add(1, Relaxed);
        self.0.micros.fetch_add(micros(duration), Relaxed);
    }

    pub(super) fn read(&self) -> (Box<[u64]>, f64) {
        let counts = self.0.counts.iter().map(|count| count.load(Relaxed));
        (counts.collect(), seconds(self.0.micros.load(Relaxed)))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds counts as floats"
)]
pub(super) const fn number(n: u64) -> f64 {
    n as f64
}

const fn seconds(micros: u64) -> f64 {
    number(micros) / 1e6
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
