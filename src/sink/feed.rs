//! Each snapshot to bodies in the queue of a sink.

use std::time::Duration;

use crate::queue::{Counts, Kind, Queue, Record};
use crate::series::Snapshot;
use crate::telemetry::metrics::SinkMetrics;
use crate::timestamp::Timestamp;
use crate::wire::{Body, v1};

/// Turns snapshots into records of a queue.
#[derive(Debug)]
pub(super) struct Feed {
    encoder: v1::Encoder,
    metrics: SinkMetrics,
    samples_max: usize,
    /// The time between two times of sending metadata; `None`: never.
    metadata_interval: Option<Duration>,
    metadata_at: Option<Timestamp>,
    number: u64,
}

impl Feed {
    pub(super) const fn new(
        encoder: v1::Encoder,
        samples_max: usize,
        metadata_interval: Option<Duration>,
        metrics: SinkMetrics,
    ) -> Self {
        Self {
            encoder,
            metrics,
            samples_max,
            metadata_interval,
            metadata_at: None,
            number: 0,
        }
    }

    /// Appends a snapshot. The last one is followed by the end of all series: without a checkpoint they begin
    /// anew after a restart. Returns how much had to go to make room.
    pub(super) fn append(&mut self, snapshot: &Snapshot, queue: &mut Queue) -> u64 {
        if self.number > 0 {
            self.metrics
                .snapshots_missed
                .add(snapshot.number.saturating_sub(self.number + 1));
        }
        self.number = snapshot.number;
        let mut bodies = self.encoder.snapshot(snapshot);
        if snapshot.last {
            bodies.extend(self.encoder.end(snapshot.at));
        }
        let mut group = Vec::new();
        for body in bodies {
            self.metrics.samples_in.add(body.count);
            self.metrics.highest.set(body.newest.seconds());
            let Body {
                bytes,
                count,
                newest,
                ..
            } = body;
            group.push(Record {
                kind: Kind::V1,
                bytes,
                counts: Counts {
                    samples: count,
                    ..Counts::default()
                },
                oldest_ms: newest.millis(),
                newest_ms: newest.millis(),
            });
        }
        queue.append(group, snapshot.at.millis());
        let dropped = queue.take_lost().full.samples;
        self.metrics.dropped_queue_full.add(dropped);
        dropped
    }

    /// The metadata of a snapshot, where it is due.
    pub(super) fn metadata(&mut self, snapshot: &Snapshot) -> Vec<Body> {
        let Some(interval) = self.metadata_interval else {
            return Vec::new();
        };
        let due = self
            .metadata_at
            .is_none_or(|sent| snapshot.at.since(sent) >= interval);
        if !due {
            return Vec::new();
        }
        self.metadata_at = Some(snapshot.at);
        v1::metadata(snapshot, self.samples_max)
    }
}
