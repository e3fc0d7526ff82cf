//! Metrics of the sinks.

use std::sync::Arc;

use super::metrics::{
    BATCH_DURATION, BYTES, Counter, Definition, Durations, EXEMPLARS, EXEMPLARS_DROPPED,
    EXEMPLARS_FAILED, EXEMPLARS_IN, EXEMPLARS_PENDING, EXEMPLARS_RETRIED, Gauge, HIGHEST,
    HIGHEST_SENT, HISTOGRAMS, HISTOGRAMS_DROPPED, HISTOGRAMS_FAILED, HISTOGRAMS_IN,
    HISTOGRAMS_PENDING, HISTOGRAMS_RETRIED, LAST_PUSH, Labels, METADATA, METADATA_BYTES,
    METADATA_FAILED, PROTOCOL, PUSH_DURATION, PUSHES, QUARANTINED, QUEUE_BYTES, QUEUE_DAMAGED,
    QUEUE_TROUBLE, SAMPLES, SAMPLES_DROPPED, SAMPLES_FAILED, SAMPLES_IN, SAMPLES_MAX,
    SAMPLES_PENDING, SAMPLES_RETRIED, SHARDS, SHARDS_DESIRED, SHARDS_MAX, SHARDS_MIN,
    SNAPSHOTS_MISSED, Telemetry, WRITTEN_OTHER,
};
use crate::counts::Counts;

/// Metrics of one remote-write sink, modelled on Prometheus' `prometheus_remote_storage_*`.
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    pub taken: CountsCounter,
    pub sent: CountsCounter,
    pub failed: CountsCounter,
    pub retried: CountsCounter,
    dropped: [CountsCounter; DropReason::ALL.len()],
    pub pending: CountsGauge,
    pub metadata: Counter,
    pub metadata_failed: Counter,
    pub metadata_bytes: Counter,
    pub bytes: Counter,
    pub batch_duration: Durations,
    pub highest: Gauge,
    pub highest_sent: Gauge,
    pub shards: Gauge,
    pub shards_desired: Gauge,
    pub shards_min: Gauge,
    pub shards_max: Gauge,
    pub samples_max: Gauge,
    pub queue_bytes: Gauge,
    pub queue_damaged_bytes: Counter,
    pub queue_trouble: Gauge,
    pub protocol: Gauge,
    pub written_other: Counter,
    pub quarantined: Gauge,
    pub snapshots_missed: Counter,
}

/// Metrics of one Pushgateway.
#[derive(Clone, Debug)]
pub struct PushMetrics {
    pub delivered: Counter,
    pub refused: Counter,
    pub failed: Counter,
    pub duration: Durations,
    pub last: Gauge,
}

/// Why a sink drops samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The queue was full, and this was the oldest.
    QueueFull,
    /// Older than `sample_age_limit`.
    TooOld,
    /// The shutdown grace period expired, and there is no disk queue.
    Shutdown,
    /// Dropped by a rule in `write_relabel_configs`.
    Relabelled,
    /// Without a valid name after `write_relabel_configs`.
    Invalid,
    /// With the same labels as another series after `write_relabel_configs`.
    Collided,
    /// Could not be read back from disk.
    Damaged,
}

impl DropReason {
    const ALL: [Self; 7] = [
        Self::QueueFull,
        Self::TooOld,
        Self::Shutdown,
        Self::Relabelled,
        Self::Invalid,
        Self::Collided,
        Self::Damaged,
    ];

    /// Returns the value of the label `reason`, with Prometheus' names where they exist.
    const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooOld => "too_old",
            Self::Shutdown => "shutdown",
            Self::Relabelled => "dropped_series",
            Self::Invalid => "invalid_labels",
            Self::Collided => "relabel_collision",
            Self::Damaged => "damaged",
        }
    }
}

impl SinkMetrics {
    /// Counts dropped samples, native histograms and exemplars.
    pub fn dropped(&self, reason: DropReason, counts: Counts) {
        self.dropped[reason as usize].add(counts);
    }
}

/// Counters of samples, native histograms and exemplars.
#[derive(Clone, Debug)]
pub struct CountsCounter([Counter; 3]);

impl CountsCounter {
    pub fn add(&self, counts: Counts) {
        let counts = [counts.samples, counts.histograms, counts.exemplars];
        for (counter, count) in self.0.iter().zip(counts) {
            counter.add(count);
        }
    }
}

/// Gauges of samples, native histograms and exemplars.
#[derive(Clone, Debug)]
pub struct CountsGauge([Gauge; 3]);

impl CountsGauge {
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus holds counts as floats"
    )]
    pub fn set(&self, counts: Counts) {
        let counts = [counts.samples, counts.histograms, counts.exemplars];
        for (gauge, count) in self.0.iter().zip(counts) {
            gauge.set(count as f64);
        }
    }
}

impl Telemetry {
    /// Adds a remote-write sink; `url` must not contain credentials.
    pub fn sink(&mut self, name: &Arc<str>, url: &Arc<str>) -> SinkMetrics {
        let labels = || vec![("remote_name", Arc::clone(name)), ("url", Arc::clone(url))];
        let dropped = DropReason::ALL.map(|reason| {
            let labels = [labels(), vec![("reason", reason.name().into())]].concat();
            let definitions = [SAMPLES_DROPPED, HISTOGRAMS_DROPPED, EXEMPLARS_DROPPED];
            self.counts(definitions, &labels)
        });
        let of = labels();
        SinkMetrics {
            taken: self.counts([SAMPLES_IN, HISTOGRAMS_IN, EXEMPLARS_IN], &of),
            sent: self.counts([SAMPLES, HISTOGRAMS, EXEMPLARS], &of),
            failed: self.counts([SAMPLES_FAILED, HISTOGRAMS_FAILED, EXEMPLARS_FAILED], &of),
            retried: self.counts(
                [SAMPLES_RETRIED, HISTOGRAMS_RETRIED, EXEMPLARS_RETRIED],
                &of,
            ),
            dropped,
            pending: CountsGauge(
                [SAMPLES_PENDING, HISTOGRAMS_PENDING, EXEMPLARS_PENDING]
                    .map(|definition| self.gauge(definition, of.clone())),
            ),
            metadata: self.counter(METADATA, labels()),
            metadata_failed: self.counter(METADATA_FAILED, labels()),
            metadata_bytes: self.counter(METADATA_BYTES, labels()),
            bytes: self.counter(BYTES, labels()),
            batch_duration: self.durations(BATCH_DURATION, labels()),
            highest: self.time(HIGHEST, labels()),
            highest_sent: self.time(HIGHEST_SENT, labels()),
            shards: self.gauge(SHARDS, labels()),
            shards_desired: self.gauge(SHARDS_DESIRED, labels()),
            shards_min: self.gauge(SHARDS_MIN, labels()),
            shards_max: self.gauge(SHARDS_MAX, labels()),
            samples_max: self.gauge(SAMPLES_MAX, labels()),
            queue_bytes: self.gauge(QUEUE_BYTES, labels()),
            queue_damaged_bytes: self.counter(QUEUE_DAMAGED, labels()),
            queue_trouble: self.gauge(QUEUE_TROUBLE, labels()),
            protocol: self.gauge(PROTOCOL, labels()),
            written_other: self.counter(WRITTEN_OTHER, labels()),
            quarantined: self.gauge(QUARANTINED, labels()),
            snapshots_missed: self.counter(SNAPSHOTS_MISSED, labels()),
        }
    }

    /// Adds a Pushgateway.
    pub fn pushgateway(&mut self, name: &Arc<str>) -> PushMetrics {
        let labels = || vec![("pushgateway", Arc::clone(name))];
        let outcome = |value: &str| [labels(), vec![("outcome", value.into())]].concat();
        PushMetrics {
            delivered: self.counter(PUSHES, outcome("delivered")),
            refused: self.counter(PUSHES, outcome("refused")),
            failed: self.counter(PUSHES, outcome("failed")),
            duration: self.durations(PUSH_DURATION, labels()),
            last: self.time(LAST_PUSH, labels()),
        }
    }

    fn counts(&mut self, definitions: [Definition; 3], labels: &Labels) -> CountsCounter {
        CountsCounter(definitions.map(|definition| self.counter(definition, labels.clone())))
    }
}
