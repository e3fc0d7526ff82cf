//! The task that owns all state: batches and reports in, snapshots out.
//!
//! It waits for the next thing that happens, and changes state synchronously. Its channel has a bound: when it
//! cannot keep up, the sources wait (RabbitMQ) or drop the oldest and count them (Redis). The newest snapshot
//! of each profile lies in a `watch` channel for everybody who only reads; so does what pollers need to know.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::clock;
use crate::event::{Batch, DecodeError};
use crate::pipeline::Pipeline;
use crate::profile::ProfileName;
use crate::series::Snapshot;
use crate::state::{HintReason, Known, Report};
use crate::telemetry::process;
use crate::timestamp::Timestamp;

/// Batches that wait for the aggregator, of all brokers together; each holds up to 1 MiB.
pub const BATCHES_WAITING: usize = 16;

/// Batches that are taken before anything else is looked at.
const BATCHES_AT_ONCE: usize = 4;

/// Reports that wait for the aggregator, of all brokers together.
pub const REPORTS_WAITING: usize = 16;

/// A snapshot that is made so much later than it should have been says when it was made.
const LATE: Duration = Duration::from_secs(1);

/// How often the log repeats that messages cannot be read.
const REPEATED: Duration = Duration::from_secs(60);

/// Owns the pipeline.
#[derive(Debug)]
pub struct Aggregator {
    pipeline: Pipeline,
    interval: Duration,
    inputs: Inputs,
    waiting: Vec<Batch>,
    outputs: Outputs,
    /// The hints that hold, as the log has them.
    hinted: Vec<(Arc<str>, HintReason)>,
    /// What the log has told of messages that could not be read: how many of which kind, and when.
    told: Vec<Told>,
}

/// What comes in.
#[derive(Debug)]
pub struct Inputs {
    pub batches: mpsc::Receiver<Batch>,
    pub reports: mpsc::Receiver<Report>,
}

/// What goes out.
#[derive(Debug)]
struct Outputs {
    /// In the order of the pipeline's profiles.
    snapshots: Vec<watch::Sender<Arc<Snapshot>>>,
    /// By broker.
    known: Vec<watch::Sender<Arc<Known>>>,
    hints: watch::Sender<Vec<String>>,
}

/// The ends to read from, of what an aggregator puts out.
#[derive(Debug)]
pub struct Views {
    snapshots: Vec<(ProfileName, watch::Receiver<Arc<Snapshot>>)>,
    /// By broker.
    pub known: Vec<watch::Receiver<Arc<Known>>>,
}

impl Views {
    /// The snapshots of a profile.
    ///
    /// # Panics
    ///
    /// If the pipeline does not run it.
    pub fn of(&self, profile: ProfileName) -> watch::Receiver<Arc<Snapshot>> {
        let found = self.snapshots.iter().find(|(name, _)| *name == profile);
        found
            .map(|(_, snapshots)| snapshots.clone())
            .expect("every profile of an output runs")
    }
}

#[derive(Debug)]
struct Told {
    broker: Arc<str>,
    error: DecodeError,
    count: u64,
    at: Timestamp,
}

enum Action {
    Batches,
    Report(Report),
    Tick,
    /// Every source has let go of its end of the channel.
    Drained,
}

impl Aggregator {
    /// Makes the first snapshot at once, so that outputs have something to show from the start.
    pub fn new(
        mut pipeline: Pipeline,
        interval: Duration,
        inputs: Inputs,
        hints: watch::Sender<Vec<String>>,
    ) -> (Self, Views) {
        let first = snapshots(&mut pipeline, clock::now(), false);
        let (senders, newest): (Vec<_>, Vec<_>) = first
            .into_iter()
            .map(|snapshot| watch::channel(Arc::new(snapshot)))
            .unzip();
        let (known, known_by): (Vec<_>, Vec<_>) = pipeline
            .known()
            .map(|known| watch::channel(Arc::new(known)))
            .unzip();
        let views = Views {
            snapshots: pipeline.profiles().zip(newest).collect(),
            known: known_by,
        };
        let aggregator = Self {
            pipeline,
            interval,
            inputs,
            waiting: Vec::with_capacity(BATCHES_AT_ONCE),
            outputs: Outputs {
                snapshots: senders,
                known,
                hints,
            },
            hinted: Vec::new(),
            told: Vec::new(),
        };
        (aggregator, views)
    }

    /// Runs until every source has let go of its end of the channel, and ends with the last snapshot.
    pub async fn run(mut self) {
        let mut tick = Box::pin(tokio::time::sleep(until_next(clock::now(), self.interval)));
        loop {
            // Cancel-safe: `recv_many` takes nothing unless it returns, and the timer lives on.
            let action = tokio::select! {
                count = self.inputs.batches.recv_many(&mut self.waiting, BATCHES_AT_ONCE) => match count {
                    0 => Action::Drained,
                    _ => Action::Batches,
                },
                () = &mut tick => Action::Tick,
                // Its end means nothing: without pollers there are no reports.
                Some(report) = self.inputs.reports.recv() => Action::Report(report),
            };
            match action {
                Action::Batches => {
                    for batch in self.waiting.drain(..) {
                        self.pipeline.take(&batch);
                    }
                }
                Action::Report(report) => self.pipeline.report(&report),
                Action::Tick => {
                    let now = clock::now();
                    self.publish(aligned(now, self.interval), now, false);
                    tick = Box::pin(tokio::time::sleep(until_next(clock::now(), self.interval)));
                }
                Action::Drained => break,
            }
        }
        let now = clock::now();
        self.publish(now, now, true);
    }

    fn publish(&mut self, at: Timestamp, now: Timestamp, last: bool) {
        let snapshots = snapshots(&mut self.pipeline, at, last);
        // Nobody may be there to read it: a sink that gave up, no listener.
        for (output, snapshot) in self.outputs.snapshots.iter().zip(snapshots) {
            output.send_replace(Arc::new(snapshot));
        }
        for (output, known) in self.outputs.known.iter().zip(self.pipeline.known()) {
            output.send_if_modified(|before| {
                let changed = **before != known;
                if changed {
                    *before = Arc::new(known);
                }
                changed
            });
        }
        self.tell(now);
        self.hint();
    }

    /// Says what is wrong with how a cluster is set up: once, until it is well again.
    fn hint(&mut self) {
        let mut lines = Vec::new();
        let mut holds = Vec::new();
        for (broker, hints) in self.pipeline.hints() {
            for hint in hints {
                lines.push(format!("broker {broker}: {hint}"));
                holds.push((Arc::clone(broker), hint.reason));
                let told = self.hinted.iter();
                if !told
                    .clone()
                    .any(|(b, reason)| b == broker && *reason == hint.reason)
                {
                    warn!(%broker, reason = hint.reason.name(), %hint, "something keeps events from coming");
                }
            }
        }
        self.hinted = holds;
        self.outputs.hints.send_replace(lines);
    }

    /// Says what could not be read: at its first occurrence, then how often each minute.
    fn tell(&mut self, now: Timestamp) {
        for (broker, error, count) in self.pipeline.refused() {
            let reason = error.reason().name();
            let known = self
                .told
                .iter()
                .position(|told| told.broker == *broker && told.error.is_told_with(error));
            let at = known.unwrap_or_else(|| {
                let broker = Arc::clone(broker);
                self.told.push(Told {
                    broker,
                    error,
                    count: 0,
                    at: Timestamp::default(),
                });
                self.told.len() - 1
            });
            let told = &mut self.told[at];
            if count > told.count && now.since(told.at) >= REPEATED {
                let more = count - told.count;
                warn!(%broker, reason, count = more, %error, "events could not be read");
                told.count = count;
                told.at = now;
            }
        }
    }
}

fn snapshots(pipeline: &mut Pipeline, at: Timestamp, last: bool) -> Vec<Snapshot> {
    let start = clock::monotonic();
    if let Some(process) = process::read() {
        pipeline.process(process);
    }
    let snapshots = pipeline.snapshots(at, last);
    pipeline.snapshot_took(clock::monotonic().duration_since(start));
    snapshots
}

/// The last multiple of the interval, unless that is long ago.
fn aligned(now: Timestamp, interval: Duration) -> Timestamp {
    let step = i64::try_from(interval.as_micros())
        .unwrap_or(i64::MAX)
        .max(1);
    let aligned = Timestamp::from_micros(now.micros() - now.micros().rem_euclid(step));
    if now.since(aligned) < LATE {
        aligned
    } else {
        now
    }
}

/// The time to the next multiple of the interval.
fn until_next(now: Timestamp, interval: Duration) -> Duration {
    let step = i64::try_from(interval.as_micros())
        .unwrap_or(i64::MAX)
        .max(1);
    let wait = step - now.micros().rem_euclid(step);
    Duration::from_micros(u64::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    #[test]
    fn snapshots_are_aligned_to_the_clock() {
        let at = |millis| Timestamp::from_millis(millis);
        assert_eq!(until_next(at(29_000), INTERVAL), Duration::from_secs(1));
        assert_eq!(until_next(at(30_000), INTERVAL), INTERVAL);
        assert_eq!(aligned(at(30_007), INTERVAL), at(30_000));
        assert_eq!(aligned(at(31_007), INTERVAL), at(31_007));
    }
}
