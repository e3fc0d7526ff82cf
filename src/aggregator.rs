//! The task that owns all state. It receives batches from sources and reports from pollers, and
//! publishes snapshots.
//!
//! It waits for the next input and changes state synchronously. Its channel is bounded: when it
//! falls behind, sources either wait (RabbitMQ) or drop the oldest messages and count them (Redis).
//! The newest snapshot of each profile is published in a `watch` channel for all readers, and so is
//! the information that pollers need.
//!
//! With a `data_dir`, each snapshot is published only after the checkpoint captured with it is on
//! disk: see [`checkpoint`](crate::checkpoint). Additional checkpoints are written between two
//! snapshots, so that a crash loses few of the events that no broker retains, and so that a durable
//! queue gets its acknowledgements.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::bounds::Limit;
use crate::checkpoint::{Job, Publisher};
use crate::clock;
use crate::config::MetricsConfig;
use crate::event::{Batch, BrokerId, DecodeError};
use crate::pipeline::{Overview, Pipeline};
use crate::profile::ProfileName;
use crate::series::Snapshot;
use crate::state::{HintReason, PollTargets, Report};
use crate::supervisor::LivenessPing;
use crate::telemetry::process;
use crate::timestamp::{ClockStep, Timestamp};

/// Maximum number of batches waiting for the aggregator, across all brokers; each holds up to 1
/// MiB.
pub const BATCHES_WAITING: usize = 16;

/// Maximum number of batches to apply before looking at the other inputs.
const BATCHES_AT_ONCE: usize = 4;

/// Maximum number of reports waiting for the aggregator, across all brokers.
pub const REPORTS_WAITING: usize = 16;

/// A snapshot delayed by more than this is stamped with the time at which it was actually made.
const LATE: Duration = Duration::from_secs(1);

/// Maximum time between two checkpoints.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// Minimum time between two notifications to pollers about new workers.
const NEWS: Duration = Duration::from_millis(200);

/// Minimum time between two log lines about messages that cannot be decoded.
const REPEATED: Duration = Duration::from_secs(60);

/// Minimum time between two log lines about the same limit.
const LIMITS_REPEATED: Duration = Duration::from_hours(1);

/// Owns the pipeline and publishes its snapshots.
#[derive(Debug)]
pub struct Aggregator {
    pipeline: Pipeline,
    interval: Duration,
    inputs: Inputs,
    waiting: Vec<Batch>,
    outputs: Outputs,
    due: Due,
    /// The wall clock and the monotonic clock, as last read.
    clocks: (Timestamp, Instant),
    /// Number of worker processes that pollers know about, and when they were last notified.
    begun: (u64, Instant),
    /// The hints that were logged and still apply.
    hinted: Vec<(Arc<str>, HintReason)>,
    /// Decoding errors as last logged: count and time for each kind.
    logged: Vec<DecodeErrorLog>,
    /// For each limit, the count and time of its last log line.
    limits: [(u64, Option<Instant>); Limit::ALL.len()],
}

/// The inputs of the aggregator.
#[derive(Debug)]
pub struct Inputs {
    pub batches: mpsc::Receiver<Batch>,
    pub reports: mpsc::Receiver<Report>,
    /// The metrics section of a reloaded configuration.
    pub settings: mpsc::Receiver<MetricsConfig>,
    /// Liveness checks from the supervisor.
    pub questions: mpsc::Receiver<LivenessPing>,
    /// Requests for what people are shown.
    pub overviews: mpsc::Receiver<oneshot::Sender<Overview>>,
}

/// The outputs of the aggregator.
#[derive(Debug)]
struct Outputs {
    snapshots: Outlet,
    /// By broker.
    known: Vec<watch::Sender<Arc<PollTargets>>>,
    hints: watch::Sender<Vec<String>>,
}

/// The snapshot or checkpoint that is due. It waits until the writer has room, which is once the
/// checkpoint before the newest one is written.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    snapshot: bool,
    checkpoint: bool,
}

/// How snapshots are published.
#[derive(Debug)]
pub enum Outlet {
    /// Immediately.
    Direct(Publisher),
    /// Once the checkpoint captured with them is on disk.
    Checkpointed(mpsc::Sender<Job>),
}

/// The receiving ends of the aggregator's outputs.
#[derive(Debug)]
pub struct Views {
    snapshots: Vec<(ProfileName, watch::Receiver<Arc<Snapshot>>)>,
    /// By broker.
    known: Vec<watch::Receiver<Arc<PollTargets>>>,
}

impl Views {
    /// Returns the snapshots of a profile.
    ///
    /// # Panics
    ///
    /// Panics if the pipeline does not run this profile.
    pub fn of(&self, profile: ProfileName) -> watch::Receiver<Arc<Snapshot>> {
        let found = self.snapshots.iter().find(|(name, _)| *name == profile);
        found
            .map(|(_, snapshots)| snapshots.clone())
            .expect("every profile of an output runs")
    }

    /// Returns what the poller of a broker needs to know.
    ///
    /// # Panics
    ///
    /// Panics if the broker is not configured.
    pub fn known(&self, broker: BrokerId) -> watch::Receiver<Arc<PollTargets>> {
        self.known[broker.index()].clone()
    }
}

#[derive(Debug)]
struct DecodeErrorLog {
    broker: Arc<str>,
    error: DecodeError,
    count: u64,
    /// `None`: not logged yet.
    at: Option<Instant>,
}

enum Wake {
    Batches,
    Report(Report),
    Settings(Box<MetricsConfig>),
    LivenessPing(LivenessPing),
    Overview(oneshot::Sender<Overview>),
    /// Time for a snapshot, or for a checkpoint without one.
    Tick,
    Checkpoint,
    /// The work that is due can be done now.
    Due(Option<mpsc::OwnedPermit<Job>>),
    /// Every source has dropped its end of the channel.
    Drained,
}

impl Aggregator {
    /// Makes the first snapshot immediately, so that outputs have something to show from the start.
    /// `outlet` decides how later snapshots are published.
    pub fn new(
        mut pipeline: Pipeline,
        interval: Duration,
        inputs: Inputs,
        hints: watch::Sender<Vec<String>>,
        outlet: impl FnOnce(Publisher) -> Outlet,
    ) -> (Self, Views) {
        // Leaves changes caused by elapsed time to the next snapshot: they must not be published
        // before they are stored.
        let now = clock::now();
        let first = snapshots(&mut pipeline, |pipeline| {
            pipeline.unchanged_snapshots(now, false)
        });
        let (senders, newest): (Vec<_>, Vec<_>) = first
            .into_iter()
            .map(|snapshot| watch::channel(Arc::new(snapshot)))
            .unzip();
        let (known, known_by): (Vec<_>, Vec<_>) = pipeline
            .known()
            .map(|(_, known)| watch::channel(Arc::new(known)))
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
                snapshots: outlet(Publisher::new(senders)),
                known,
                hints,
            },
            due: Due::default(),
            clocks: (now, clock::monotonic()),
            begun: (0, clock::monotonic()),
            hinted: Vec::new(),
            logged: Vec::new(),
            limits: Default::default(),
        };
        (aggregator, views)
    }

    /// Runs until every source has dropped its end of the channel, then publishes the last
    /// snapshot.
    pub async fn run(mut self) {
        let mut tick = Box::pin(tokio::time::sleep(until_next(clock::now(), self.interval)));
        let mut checkpoint = Box::pin(tokio::time::sleep(CHECKPOINT_INTERVAL));
        let jobs = match &self.outputs.snapshots {
            Outlet::Direct(_) => None,
            Outlet::Checkpointed(jobs) => Some(jobs.clone()),
        };
        loop {
            let is_due = self.due.snapshot || self.due.checkpoint;
            // Cancel-safe: `recv_many` takes nothing unless it completes, the timers outlive the
            // loop, and dropping a pending reservation reserves nothing.
            let action = tokio::select! {
                count = self.inputs.batches.recv_many(&mut self.waiting, BATCHES_AT_ONCE) => match count {
                    0 => Wake::Drained,
                    _ => Wake::Batches,
                },
                () = &mut tick, if !self.due.snapshot => Wake::Tick,
                () = &mut checkpoint, if !is_due && jobs.is_some() => Wake::Checkpoint,
                room = room(jobs.clone()), if is_due => Wake::Due(room),
                // A closed channel is fine: without pollers there are no reports.
                Some(report) = self.inputs.reports.recv() => Wake::Report(report),
                Some(settings) = self.inputs.settings.recv() => Wake::Settings(settings.into()),
                Some(question) = self.inputs.questions.recv() => Wake::LivenessPing(question),
                Some(request) = self.inputs.overviews.recv() => Wake::Overview(request),
            };
            match action {
                Wake::Batches => self.apply_waiting(),
                Wake::Report(report) => self.pipeline.report(&report),
                Wake::Settings(settings) => self.pipeline.reconfigure(&settings),
                // Reaching this point proves that the aggregator is alive.
                Wake::LivenessPing(question) => drop(question.send(())),
                // The page may have gone.
                Wake::Overview(request) => drop(
                    self.pipeline
                        .overview(clock::now())
                        .map(|overview| request.send(overview)),
                ),
                Wake::Tick => self.due.snapshot = true,
                Wake::Checkpoint => self.due.checkpoint = true,
                Wake::Due(room) => {
                    let now = self.look_at_clocks();
                    if std::mem::take(&mut self.due).snapshot {
                        self.publish(room, aligned(now, self.interval), now, false);
                        let next = until_next(clock::now(), self.interval);
                        tick = Box::pin(tokio::time::sleep(next));
                    } else if let Some(room) = room {
                        let captured = self.pipeline.capture(now);
                        let snapshots = Vec::new();
                        room.send(Job {
                            captured,
                            snapshots,
                        });
                    }
                    checkpoint = Box::pin(tokio::time::sleep(CHECKPOINT_INTERVAL));
                }
                Wake::Drained => break,
            }
        }
        // The remaining work may wait for a disk and has its own time limit, so liveness checks end
        // here.
        self.inputs.questions.close();
        while self.inputs.questions.try_recv().is_ok() {}
        let now = self.look_at_clocks();
        if jobs.is_none() {
            self.pipeline.release_held(now);
        }
        let room = room(jobs).await;
        self.publish(room, now, now, true);
    }

    fn apply_waiting(&mut self) {
        for batch in self.waiting.drain(..) {
            self.pipeline.apply_batch(&batch);
        }
        self.due.checkpoint |= self.pipeline.wants_checkpoint();
        self.notify_pollers();
    }

    /// Returns the time. If the clock was set since the last call, adjusts the state and logs the
    /// step.
    fn look_at_clocks(&mut self) -> Timestamp {
        let (now, monotonic) = (clock::now(), clock::monotonic());
        let (before, since) = std::mem::replace(&mut self.clocks, (now, monotonic));
        if let Some(step) = ClockStep::between(before, now, monotonic.duration_since(since)) {
            let seconds = step.seconds();
            warn!(seconds, "system clock was set; sample timestamps follow it");
            self.pipeline.clock_set(step);
        }
        now
    }

    /// Makes snapshots as of `at` and publishes them; with checkpoints, hands them to the writer
    /// using the reserved permit.
    fn publish(
        &mut self,
        room: Option<mpsc::OwnedPermit<Job>>,
        at: Timestamp,
        now: Timestamp,
        last: bool,
    ) {
        let snapshots = snapshots(&mut self.pipeline, |pipeline| pipeline.snapshots(at, last));
        match (&self.outputs.snapshots, room) {
            (Outlet::Direct(publisher), _) => publisher.publish(snapshots),
            (Outlet::Checkpointed(_), Some(room)) => {
                let captured = self.pipeline.capture(now);
                room.send(Job {
                    captured,
                    snapshots,
                });
            }
            // The writer has panicked, and the daemon is about to exit.
            (Outlet::Checkpointed(_), None) => {}
        }
        self.publish_known();
        self.log_undecodable(clock::monotonic());
        self.log_limits(clock::monotonic());
        self.hint();
    }

    /// Notifies pollers of new workers, because events may be held until the queues of those
    /// workers are known.
    fn notify_pollers(&mut self) {
        let (notified, at) = self.begun;
        if self.pipeline.begun() != notified && at.elapsed() >= NEWS {
            self.publish_known();
        }
    }

    fn publish_known(&mut self) {
        self.begun = (self.pipeline.begun(), clock::monotonic());
        for (broker, known) in self.pipeline.known() {
            self.outputs.known[broker.index()].send_if_modified(|before| {
                let changed = **before != known;
                if changed {
                    *before = Arc::new(known);
                }
                changed
            });
        }
    }

    /// Logs each problem with a cluster's setup once, until it is resolved.
    fn hint(&mut self) {
        let mut lines = Vec::new();
        let mut holds = Vec::new();
        for (broker, hints) in self.pipeline.hints() {
            for hint in hints {
                lines.push(format!("broker {broker}: {hint}"));
                holds.push((Arc::clone(broker), hint.reason));
                let logged = self.hinted.iter();
                if !logged
                    .clone()
                    .any(|(b, reason)| b == broker && *reason == hint.reason)
                {
                    warn!(%broker, reason = hint.reason.name(), %hint, "a setup problem keeps events from arriving");
                }
            }
        }
        let hinted = std::mem::replace(&mut self.hinted, holds);
        for (broker, reason) in hinted {
            let holds = self.hinted.contains(&(Arc::clone(&broker), reason));
            // Without a subscription, nothing is known about events.
            if !holds && self.pipeline.is_subscribed(&broker) {
                let reason = reason.name();
                info!(%broker, reason, "events are arriving; the setup problem is gone");
            }
        }
        self.outputs.hints.send_replace(lines);
    }

    /// Logs each limit that was reached: at its first occurrence, then at most once an hour.
    fn log_limits(&mut self, now: Instant) {
        for (limit, (times, at)) in Limit::ALL.into_iter().zip(&mut self.limits) {
            let total = self.pipeline.bounds().times(limit);
            if total > *times
                && at.is_none_or(|at| now.saturating_duration_since(at) >= LIMITS_REPEATED)
            {
                let (name, effect) = (limit.name(), limit.effect());
                warn!(
                    limit = name,
                    times = total - *times,
                    effect,
                    "limit reached"
                );
                (*times, *at) = (total, Some(now));
            }
        }
    }

    /// Logs messages and events that could not be decoded: the first occurrence, then a count each
    /// minute.
    fn log_undecodable(&mut self, now: Instant) {
        for (broker, error, count) in self.pipeline.refused() {
            let reason = error.reason().name();
            let known = self
                .logged
                .iter()
                .position(|logged| logged.broker == *broker && logged.error.is_logged_with(error));
            let at = known.unwrap_or_else(|| {
                let broker = Arc::clone(broker);
                self.logged.push(DecodeErrorLog {
                    broker,
                    error,
                    count: 0,
                    at: None,
                });
                self.logged.len() - 1
            });
            let logged = &mut self.logged[at];
            let is_due = |at| now.duration_since(at) >= REPEATED;
            if count > logged.count && logged.at.is_none_or(is_due) {
                let more = count - logged.count;
                warn!(%broker, reason, count = more, %error, "events could not be decoded");
                logged.count = count;
                logged.at = Some(now);
            }
        }
    }
}

/// Reserves a slot in the writer's channel. Returns `None` if there is no writer, or if it is gone.
async fn room(jobs: Option<mpsc::Sender<Job>>) -> Option<mpsc::OwnedPermit<Job>> {
    jobs?.reserve_owned().await.ok()
}

fn snapshots(
    pipeline: &mut Pipeline,
    make: impl FnOnce(&mut Pipeline) -> Vec<Snapshot>,
) -> Vec<Snapshot> {
    let start = clock::monotonic();
    if let Some(process) = process::read() {
        pipeline.process(process);
    }
    let snapshots = make(pipeline);
    pipeline.snapshot_took(clock::monotonic().duration_since(start));
    snapshots
}

/// Returns the last multiple of the interval, or `now` if that is too long ago.
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

/// Returns the time until the next multiple of the interval.
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
