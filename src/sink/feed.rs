//! Each snapshot to bodies in the queue of a sink.

use std::time::Duration;

use crate::counts::Counts;
use crate::queue::{Kind, Queue, Record};
use crate::series::Snapshot;
use crate::telemetry::sink::{DropReason, SinkMetrics};
use crate::timestamp::Timestamp;
use crate::wire::{Body, Encoder, Metadata, Outgoing, Protocol, Unsent, v1};

/// Requests do not become smaller than this, whatever is answered: with one for each sample a queue is never emptied.
const SAMPLES_MIN: usize = 100;

/// So many requests are taken before larger ones are tried.
const TAKEN_MAX: u32 = 1_000;

/// Turns snapshots into records of a queue.
#[derive(Debug)]
pub(super) struct Feed {
    encoder: Encoder,
    metrics: SinkMetrics,
    samples_max: usize,
    /// What is configured.
    samples_wanted: usize,
    /// The requests that were taken since there were fewer samples in them than wanted.
    taken: u32,
    /// The time between two times of sending metadata; `None`: never.
    metadata_interval: Option<Duration>,
    metadata_at: Option<Timestamp>,
    number: u64,
    /// The series go on in the next process.
    goes_on: bool,
}

impl Feed {
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
            taken: 0,
            metadata_interval,
            metadata_at: None,
            number: 0,
            goes_on: false,
        }
    }

    /// The same, where series go on from process to process; with the time of the newest sample that was queued before.
    #[must_use]
    pub(super) fn going_on(self, sent_until: Option<Timestamp>) -> Self {
        Self {
            encoder: self.encoder.after(sent_until),
            goes_on: true,
            ..self
        }
    }

    /// Sends other series from now on, or others of their values: what was sent before ends, and what goes on begins
    /// without a zero.
    pub(super) fn begin_anew(&mut self, how: Outgoing, queue: &mut Queue, now: Timestamp) {
        let newest = Timestamp::from_millis(queue.newest_ms().unwrap_or_default());
        let protocol = self.encoder.protocol();
        let ends = self.encoder.end(newest);
        self.queue(ends, queue, now);
        self.encoder = Encoder::new(how, protocol).behind(newest);
        self.encoder.limit(self.samples_max);
    }

    /// Puts so many samples into a request, and sends metadata so often.
    pub(super) fn want(&mut self, samples_max: usize, metadata_interval: Option<Duration>) {
        self.metadata_interval = metadata_interval;
        if samples_max != self.samples_wanted {
            self.samples_wanted = samples_max;
            self.limit(samples_max);
        }
    }

    /// How many samples go into a request.
    pub(super) const fn samples_max(&self) -> usize {
        self.samples_max
    }

    /// Speaks that version from now on.
    pub(super) const fn speak(&mut self, protocol: Protocol) {
        self.encoder.speak(protocol);
    }

    /// A request with so many samples was too large: puts half as many into one from now on. How many that is, where it
    /// is less than before.
    pub(super) fn send_less(&mut self, samples: usize) -> Option<usize> {
        let less = (samples / 2).max(SAMPLES_MIN).min(self.samples_wanted);
        let is_less = less < self.samples_max;
        is_less.then(|| {
            self.limit(less);
            less
        })
    }

    /// A request was taken. After many, it is tried whether there may be more in one again.
    pub(super) fn taken(&mut self) {
        if self.samples_max == self.samples_wanted {
            return;
        }
        self.taken += 1;
        if self.taken >= TAKEN_MAX {
            self.limit((self.samples_max * 2).min(self.samples_wanted));
        }
    }

    fn limit(&mut self, samples_max: usize) {
        self.taken = 0;
        self.samples_max = samples_max;
        self.encoder.limit(samples_max);
        self.metrics.samples_max.set(float(samples_max));
    }

    /// Appends a snapshot. The last one is followed by the end of all series, unless they go on in the next process:
    /// without a checkpoint they begin anew after a restart. Returns how many samples the rules of relabelling left without labels of
    /// their own.
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
        if snapshot.last && !self.goes_on {
            let ends = self.encoder.end(snapshot.at);
            self.queue(ends, queue, now);
        }
        encoded.unsent[Unsent::Invalid as usize] + encoded.unsent[Unsent::Collided as usize]
    }

    /// The metadata of a snapshot, where it is due.
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

    /// Appends bodies whose series are disjoint.
    fn queue(&self, bodies: Vec<Body>, queue: &mut Queue, now: Timestamp) {
        for body in &bodies {
            self.metrics.taken.add(body.counts);
            self.metrics.highest.set(body.newest.seconds());
        }
        if !bodies.is_empty() {
            queue.append(bodies.into_iter().map(record).collect(), now.millis());
        }
    }
}

fn record(body: Body) -> Record {
    Record {
        kind: match body.protocol {
            Protocol::V1 => Kind::V1,
            Protocol::V2 => Kind::V2,
        },
        bytes: body.bytes,
        counts: body.counts,
        oldest_ms: body.oldest.millis(),
        newest_ms: body.newest.millis(),
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
    use crate::series::{Family, LabelSet, MetricKind, Relabel, Room, Series};
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
        // Zero and value of a counter, and the marker of its end.
        for (goes_on, samples) in [(false, 3), (true, 2)] {
            let mut telemetry = Telemetry::new(at(1_000));
            let metrics = telemetry.sink(&"r".into(), &"http://r/".into());
            let mut feed = Feed::new(outgoing(), Protocol::V2, None, metrics);
            if goes_on {
                feed = feed.going_on(None);
            }
            let mut series = Series::new(10, at(1_000));
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
            assert_eq!(queue.pending().samples, samples, "{goes_on}");
        }
    }

    #[test]
    fn requests_become_smaller_to_a_least_size_and_grow_again() {
        let how = outgoing();
        let mut telemetry = Telemetry::new(Timestamp::from_millis(1_000));
        let metrics = telemetry.sink(&"r".into(), &"http://r/".into());
        let mut feed = Feed::new(how, Protocol::V1, None, metrics.clone());
        // What is refused, and how many go into a request from then on, where that is fewer.
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
            (0..TAKEN_MAX).for_each(|_| feed.taken());
            sizes.push(metrics.samples_max.get());
        }
        assert_eq!(sizes, [200.0, 400.0, 800.0, 1_000.0, 1_000.0, 1_000.0]);
    }
}
