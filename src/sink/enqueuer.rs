//! Encodes each snapshot as request bodies and appends them to the queue of a sink.

use std::time::Duration;

use crate::counts::Counts;
use crate::queue::Queue;
use crate::series::Snapshot;
use crate::telemetry::sink::{DropReason, SinkMetrics};
use crate::timestamp::Timestamp;
use crate::wire::{Body, Encoder, Metadata, Outgoing, Protocol, Unsent, v1};

/// Minimum samples per request, whatever the receiver answers: with one sample per request, a queue
/// would never drain.
const SAMPLES_MIN: usize = 100;

/// Number of accepted requests after which larger ones are tried again.
const ACCEPTED_MAX: u32 = 1_000;

/// Turns snapshots into queue records.
#[derive(Debug)]
pub(super) struct SnapshotEnqueuer {
    encoder: Encoder,
    metrics: SinkMetrics,
    samples_max: usize,
    /// The configured maximum.
    samples_wanted: usize,
    /// Requests accepted since the maximum was last lowered or raised.
    accepted: u32,
    /// Interval for sending metadata; `None`: never.
    metadata_interval: Option<Duration>,
    metadata_at: Option<Timestamp>,
    number: u64,
    /// Whether series continue in the next process, so that they are not ended at shutdown.
    continues: bool,
}

impl SnapshotEnqueuer {
    pub(super) fn new(
        how: Outgoing,
        protocol: Protocol,
        metadata_interval: Option<Duration>,
        metrics: SinkMetrics,
    ) -> Self {
        let samples_max = how.samples_max;
        metrics.samples_max.set(float(samples_max));
        Self {
            encoder: Encoder::new(how, protocol),
            metrics,
            samples_max,
            samples_wanted: samples_max,
            accepted: 0,
            metadata_interval,
            metadata_at: None,
            number: 0,
            continues: false,
        }
    }

    /// Sets whether series continue across processes, given the time of the newest sample queued
    /// earlier.
    #[must_use]
    pub(super) fn continuing(self, sent_until: Option<Timestamp>) -> Self {
        Self {
            encoder: self.encoder.after(sent_until),
            continues: true,
            ..self
        }
    }

    /// Applies a different selection or relabeling of series. Series sent before are ended, and
    /// those that continue start without a zero.
    pub(super) fn reconfigure(&mut self, how: Outgoing, queue: &mut Queue, now: Timestamp) {
        let newest = Timestamp::from_millis(queue.newest_ms().unwrap_or_default());
        let protocol = self.encoder.protocol();
        let ends = self.encoder.end(newest);
        self.queue(ends, queue, now);
        self.encoder = Encoder::new(how, protocol).continuing_from(newest);
        self.encoder.limit(self.samples_max);
    }

    /// Sets the maximum samples per request and the metadata interval.
    pub(super) fn set_targets(&mut self, samples_max: usize, metadata_interval: Option<Duration>) {
        self.metadata_interval = metadata_interval;
        if samples_max != self.samples_wanted {
            self.samples_wanted = samples_max;
            self.limit(samples_max);
        }
    }

    /// Returns the current maximum samples per request.
    pub(super) const fn samples_max(&self) -> usize {
        self.samples_max
    }

    /// Switches to another protocol version.
    pub(super) const fn set_protocol(&mut self, protocol: Protocol) {
        self.encoder.set_protocol(protocol);
    }

    /// Halves the maximum after a request with `samples` samples was too large. Returns the new
    /// maximum if it is lower than before.
    pub(super) fn send_less(&mut self, samples: usize) -> Option<usize> {
        self.send_at_most((samples / 2).max(SAMPLES_MIN).min(self.samples_wanted))
    }

    /// Lowers the maximum until enough requests have been accepted since the last call. Returns the
    /// new maximum if it is lower than before.
    pub(super) fn send_at_most(&mut self, samples: usize) -> Option<usize> {
        if samples == self.samples_max {
            self.accepted = 0;
        }
        let is_less = samples < self.samples_max;
        is_less.then(|| {
            self.limit(samples);
            samples
        })
    }

    /// Records that a request was accepted. After many of them, a larger maximum is tried.
    pub(super) fn accepted(&mut self) {
        if self.samples_max == self.samples_wanted {
            return;
        }
        self.accepted += 1;
        if self.accepted >= ACCEPTED_MAX {
            self.limit((self.samples_max * 2).min(self.samples_wanted));
        }
    }

    fn limit(&mut self, samples_max: usize) {
        self.accepted = 0;
        self.samples_max = samples_max;
        self.encoder.limit(samples_max);
        self.metrics.samples_max.set(float(samples_max));
    }

    /// Appends a snapshot. After the last one, all series are ended unless they continue in the
    /// next process: without a checkpoint they start over after a restart. Returns how many samples
    /// have invalid or duplicate labels after relabeling.
    pub(super) fn append(&mut self, snapshot: &Snapshot, queue: &mut Queue, now: Timestamp) -> u64 {
        if self.number > 0 {
            self.metrics
                .snapshots_missed
                .add(snapshot.number.saturating_sub(self.number + 1));
        }
        self.number = snapshot.number;
        let encoded = self.encoder.snapshot(snapshot);
        for (why, samples) in Unsent::ALL.into_iter().zip(encoded.unsent) {
            let reason = match why {
                Unsent::Dropped => DropReason::Relabelled,
                Unsent::Invalid => DropReason::Invalid,
                Unsent::Collided => DropReason::Collided,
            };
            let counts = Counts {
                samples,
                ..Counts::default()
            };
            self.metrics.taken.add(counts);
            self.metrics.dropped(reason, counts);
        }
        self.queue(encoded.bodies, queue, now);
        if snapshot.last && !self.continues {
            let ends = self.encoder.end(snapshot.at);
            self.queue(ends, queue, now);
        }
        encoded.unsent[Unsent::Invalid as usize] + encoded.unsent[Unsent::Collided as usize]
    }

    /// Returns the metadata of a snapshot if it is due.
    pub(super) fn metadata(&mut self, snapshot: &Snapshot) -> Vec<Metadata> {
        let Some(interval) = self.metadata_interval else {
            return Vec::new();
        };
        let due = self
            .metadata_at
            .is_none_or(|sent| snapshot.at < sent || snapshot.at.since(sent) >= interval);
        if !due {
            return Vec::new();
        }
        self.metadata_at = Some(snapshot.at);
        v1::metadata(snapshot, self.samples_max)
    }

    /// Appends bodies with disjoint series as one group.
    fn queue(&self, bodies: Vec<Body>, queue: &mut Queue, now: Timestamp) {
        for body in &bodies {
            self.metrics.taken.add(body.counts);
            self.metrics.highest.set(body.newest.seconds());
        }
        if !bodies.is_empty() {
            queue.append(bodies, now.millis());
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds counts as floats"
)]
const fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Limits;
    use crate::series::{Family, LabelSet, MetricKind, Relabel, Room, SeriesTable};
    use crate::telemetry::metrics::Telemetry;

    fn outgoing() -> Outgoing {
        Outgoing {
            external: Vec::new(),
            relabel: Relabel::default(),
            samples_max: 1_000,
            exemplars: true,
            native: false,
            classic: true,
            draft: false,
        }
    }

    #[test]
    fn the_last_snapshot_ends_series_unless_they_go_on_in_the_next_process() {
        let at = Timestamp::from_millis;
        // The zero and value of a counter, and its stale marker.
        for (continues, samples) in [(false, 3), (true, 2)] {
            let mut telemetry = Telemetry::new(at(1_000));
            let metrics = telemetry.sink(&"r".into(), &"http://r/".into());
            let mut feed = SnapshotEnqueuer::new(outgoing(), Protocol::V2, None, metrics);
            if continues {
                feed = feed.continuing(None);
            }
            let mut series = SeriesTable::new(10, at(1_000));
            let family = series.family(Family {
                name: "x_total".into(),
                kind: MetricKind::Counter,
                help: "X.",
                labels: Vec::new(),
            });
            series.open(family, LabelSet::default(), Room::Limited);
            let mut queue = Queue::in_memory(Limits {
                bytes_max: 1 << 20,
                age_max: None,
            });
            feed.append(&series.snapshot(at(2_000), true), &mut queue, at(2_000));
            assert_eq!(queue.pending().samples, samples, "{continues}");
        }
    }

    #[test]
    fn requests_become_smaller_to_a_least_size_and_grow_again() {
        let how = outgoing();
        let mut telemetry = Telemetry::new(Timestamp::from_millis(1_000));
        let metrics = telemetry.sink(&"r".into(), &"http://r/".into());
        let mut feed = SnapshotEnqueuer::new(how, Protocol::V1, None, metrics.clone());
        // The refused size, and the new maximum if it is lower.
        for (refused, less) in [
            (1_000, Some(500)),
            (900, Some(450)),
            (1_000, None),
            (1, Some(SAMPLES_MIN)),
            (1, None),
        ] {
            assert_eq!(feed.send_less(refused), less, "{refused}");
        }
        let mut sizes = Vec::new();
        for _ in 0..6 {
            (0..ACCEPTED_MAX).for_each(|_| feed.accepted());
            sizes.push(metrics.samples_max.get());
        }
        assert_eq!(sizes, [200.0, 400.0, 800.0, 1_000.0, 1_000.0, 1_000.0]);
    }
}
