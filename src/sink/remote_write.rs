//! One remote-write receiver: takes each snapshot into the queue, and sends what waits, in order.
//!
//! One request is on its way at a time while that is enough; where snapshots pile up, several of one snapshot go side
//! by side, whose series are disjoint. So the order within each series is kept (PRW 1.0 and 2.0, "Ordering"). A
//! request that must be sent again is sent byte for byte, before anything newer of its series.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::client::{Answer, BuildError, Client, SendError};
use super::feed::Feed;
use super::flight::{Next, Refusal};
use super::request::request;
use super::told::Told;
use super::verdict::{Asked, Verdict, Written, says_already_there, verdict};
use super::window::Window;
use super::{Outcome, blocking};
use crate::clock;
use crate::config::{Message, RemoteWriteConfig};
use crate::counts::Counts;
use crate::queue::{Lost, Queue};
use crate::series::Snapshot;
use crate::telemetry::readiness::Reporter;
use crate::telemetry::sink::{DropReason, SinkMetrics};
use crate::timestamp::Timestamp;
use crate::wire::{Metadata, Outgoing, Protocol};

/// A sink that pushes by remote write.
pub struct RemoteWrite {
    config: RemoteWriteConfig,
    client: Arc<Client>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Cancelled when there is no time left to send what waits.
    hurry: CancellationToken,
    feed: Feed,
    queue: Queue,
    window: Window,
    metadata: VecDeque<Metadata>,
    answers: FuturesUnordered<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    /// When to send again what could not be delivered.
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    /// How often in a row the receiver could not be reached, or asked to come again.
    failures: u32,
    protocol: Protocol,
    /// Whether the receiver has shown that it speaks 2.0.
    is_proven: bool,
    failing_since: Option<Instant>,
    /// Why samples were refused for good, as the log has it.
    told: Told,
    /// What the log has told of the disk.
    is_disk_failing: bool,
    drained: bool,
    metrics: SinkMetrics,
    readiness: Reporter,
}

/// What was sent, and what came back.
struct Answered {
    sent: Sent,
    since: Instant,
    answer: Result<Answer, SendError>,
}

/// What was sent.
#[derive(Clone, Copy)]
enum Sent {
    /// A piece of the record with that sequence number.
    Record {
        sequence: u64,
        protocol: Protocol,
        counts: Counts,
        newest: Timestamp,
    },
    Metadata {
        entries: u64,
    },
}

/// What happens next.
enum Action {
    Snapshot(Arc<Snapshot>),
    /// No more snapshots will come.
    Drained,
    Answered(Answered),
    /// The time to wait is over.
    Again,
    /// There is no time left.
    GiveUp,
}

impl RemoteWrite {
    /// A sink as configured, with its queue; its series carry `external` labels.
    ///
    /// It begins with the snapshot that is there, behind what the queue holds.
    pub fn new(
        config: RemoteWriteConfig,
        external: Vec<(String, String)>,
        mut queue: Queue,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        hurry: CancellationToken,
        (metrics, readiness): (SinkMetrics, Reporter),
    ) -> Result<Self, BuildError> {
        let how = Outgoing {
            external: config.external(external),
            relabel: config.relabel.clone(),
            samples_max: config.queue.samples_max,
            exemplars: config.send_exemplars,
            native: config.send_native_histograms,
            classic: config.send_classic_histograms,
            draft: config.draft_created_timestamps,
        };
        let protocol = match config.message {
            Message::Auto | Message::V2 => Protocol::V2,
            Message::V1 => Protocol::V1,
        };
        let feed = Feed::new(how, protocol, config.metadata_interval, metrics.clone());
        snapshots.mark_changed();
        metrics.shards_min.set(float(config.queue.shards_min));
        metrics.shards_max.set(float(config.queue.shards_max));
        // Found in the queue, and lost of it when it was opened.
        let lost = queue.take_lost();
        metrics
            .taken
            .add(queue.pending() + lost.full + lost.age + lost.damaged);
        count_lost(&metrics, &lost);
        if !lost.full.is_zero() {
            let samples = lost.full.points();
            warn!(
                samples,
                "queue is larger than max_bytes, the oldest samples were dropped"
            );
        }
        Ok(Self {
            client: Arc::new(Client::new(&config.client)?),
            queue,
            feed,
            config,
            snapshots,
            hurry,
            window: Window::default(),
            metadata: VecDeque::new(),
            answers: FuturesUnordered::new(),
            wait: None,
            failures: 0,
            protocol,
            is_proven: false,
            failing_since: None,
            told: Told::default(),
            is_disk_failing: false,
            drained: false,
            metrics,
            readiness,
        })
    }

    /// Runs until no more snapshots come and everything is sent, or until there is no time left.
    pub async fn run(mut self) {
        loop {
            let action = self.next().await;
            match action {
                Action::Snapshot(snapshot) => self.take(&snapshot),
                Action::Drained => self.drained = true,
                Action::Answered(answered) => self.answered(answered),
                Action::Again => self.wait = None,
                Action::GiveUp => break self.give_up(),
            }
            self.tidy();
            self.send_more();
            self.report();
            if self.drained && self.answers.is_empty() && self.queue.is_empty() {
                break;
            }
        }
    }

    /// Cancel-safe: the requests and the timer live in `self`, and `changed` marks nothing as seen before it
    /// returns.
    async fn next(&mut self) -> Action {
        let again = async {
            match &mut self.wait {
                Some(wait) => wait.as_mut().await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = self.snapshots.changed(), if !self.drained => match changed {
                Ok(()) => Action::Snapshot(Arc::clone(&self.snapshots.borrow_and_update())),
                Err(_) => Action::Drained,
            },
            Some(answered) = self.answers.next() => Action::Answered(answered),
            () = again => Action::Again,
            () = self.hurry.cancelled() => Action::GiveUp,
        }
    }

    fn take(&mut self, snapshot: &Snapshot) {
        let (feed, queue) = (&mut self.feed, &mut self.queue);
        let nameless = blocking(|| feed.append(snapshot, queue, clock::now()));
        if nameless > 0 {
            debug!(
                samples = nameless,
                "write_relabel_configs leave series without a valid name, or several with the same labels"
            );
        }
        // Only for a receiver that answers: what it missed comes again in a minute. 2.0 has it in each request.
        if self.failures == 0 && self.protocol == Protocol::V1 {
            self.metadata.extend(self.feed.metadata(snapshot));
        }
    }

    /// Drops what became too old, and counts what the queue gave up.
    fn tidy(&mut self) {
        let now = clock::now();
        let Self { queue, window, .. } = self;
        blocking(|| {
            window.settle(queue);
            queue.expire(now.millis());
        });
        if let Some(age_max) = self.config.queue.sample_age_limit {
            let old = |newest: Timestamp| now.since(newest) > age_max;
            for flight in self.window.iter_mut().filter(|flight| !flight.sending) {
                if flight.newest().is_some_and(old) {
                    self.metrics.dropped(DropReason::TooOld, flight.give_up());
                }
            }
            self.window.settle(&mut self.queue);
        }
        let lost = self.queue.take_lost();
        count_lost(&self.metrics, &lost);
        if !lost.full.is_zero() {
            let samples = lost.full.points();
            warn!(samples, "queue is full, the oldest samples were dropped");
        }
        if !lost.age.is_zero() {
            let samples = lost.age.points();
            warn!(
                samples,
                "samples are older than sample_age_limit and were dropped"
            );
        }
        self.tell_disk();
    }

    /// Says when the disk does not take what is to be queued, and when it does again.
    fn tell_disk(&mut self) {
        let trouble = self.queue.trouble();
        let is_failing = trouble.is_some();
        if is_failing != self.is_disk_failing {
            match trouble {
                Some(error) => {
                    warn!(%error, "cannot queue on disk, keeping samples in memory until it works")
                }
                None => info!("queueing on disk again"),
            }
            self.is_disk_failing = is_failing;
        }
        self.metrics
            .queue_trouble
            .set(f64::from(u8::from(is_failing)));
    }

    /// Sends what may be sent now, as much as may be on its way side by side.
    fn send_more(&mut self) {
        if self.wait.is_some() {
            return;
        }
        let shards = self.shards();
        self.metrics.shards_desired.set(float(shards));
        while self.answers.len() < shards {
            if self.failures == 0 && self.answers.is_empty() && self.send_metadata() {
                return;
            }
            let (window, queue) = (&mut self.window, &mut self.queue);
            let next = blocking(|| window.next(queue).map(|flight| flight.sequence));
            let Some(sequence) = next else { return };
            self.send(sequence);
            self.window.settle(&mut self.queue);
        }
    }

    /// How many requests may be on their way: one is enough, unless there is more than one snapshot to send. While
    /// the receiver fails, one tells when it does no longer.
    fn shards(&self) -> usize {
        let queue = &self.config.queue;
        if self.failures > 0 {
            1
        } else if self.queue.has_several_groups() {
            queue.shards_max
        } else {
            queue.shards_min
        }
    }

    fn send_metadata(&mut self) -> bool {
        let Some(metadata) = self.metadata.pop_front() else {
            return false;
        };
        self.metrics.metadata_bytes.add(metadata.bytes.len() as u64);
        let sent = Sent::Metadata {
            entries: metadata.entries,
        };
        let request = request(&self.config.url, Protocol::V1, metadata.bytes, 0);
        self.fly(sent, request);
        true
    }

    fn send(&mut self, sequence: u64) {
        let Some(flight) = self.window.get(sequence) else {
            return;
        };
        // What was queued before the receiver turned out to speak 1.0.
        let speaks_1 = self.protocol == Protocol::V1;
        loop {
            let unreadable = if speaks_1 {
                flight.downgrade()
            } else {
                Counts::default()
            };
            if unreadable.is_zero() {
                break;
            }
            self.metrics.dropped(DropReason::Damaged, unreadable);
        }
        let Some(body) = flight.body().cloned() else {
            return;
        };
        flight.sending = true;
        self.metrics.bytes.add(body.bytes.len() as u64);
        let attempt = flight.attempt();
        if attempt > 0 {
            self.metrics.retried.add(body.counts);
        }
        let sent = Sent::Record {
            sequence,
            protocol: body.protocol,
            counts: body.counts,
            newest: body.newest,
        };
        let request = request(&self.config.url, body.protocol, body.bytes, attempt);
        self.fly(sent, request);
    }

    fn fly(&self, sent: Sent, request: super::client::Request) {
        let client = Arc::clone(&self.client);
        let since = clock::monotonic();
        self.answers.push(Box::pin(async move {
            let answer = client.send(request).await;
            Answered {
                sent,
                since,
                answer,
            }
        }));
    }

    fn answered(&mut self, answered: Answered) {
        let Answered {
            sent,
            since,
            answer,
        } = answered;
        match sent {
            Sent::Metadata { entries } => self.metadata_answered(entries, answer),
            Sent::Record {
                sequence,
                protocol,
                counts,
                newest,
            } => {
                let elapsed = clock::monotonic().duration_since(since);
                self.metrics.batch_duration.observe(elapsed);
                let outcome = self.judge(protocol, answer);
                if let Some(flight) = self.window.get(sequence) {
                    flight.sending = false;
                }
                self.record_answered(sequence, counts, newest, &outcome);
            }
        }
    }

    fn metadata_answered(&mut self, entries: u64, answer: Result<Answer, SendError>) {
        let outcome = self.judge(Protocol::V1, answer);
        if outcome.verdict == Verdict::Delivered {
            self.metrics.metadata.add(entries);
        } else {
            self.metrics.metadata_failed.add(entries);
            debug!(error = %outcome.reason, "metadata was not taken");
        }
    }

    fn record_answered(
        &mut self,
        sequence: u64,
        counts: Counts,
        newest: Timestamp,
        outcome: &Outcome,
    ) {
        let is_retry = matches!(outcome.verdict, Verdict::Retry { .. });
        if !is_retry {
            // It answers, whatever it says.
            self.failures = 0;
        }
        self.is_proven |= outcome.written != Written::default();
        let Some(flight) = self.window.get(sequence) else {
            return;
        };
        match outcome.verdict {
            Verdict::Delivered => {
                let delivered = flight.delivered();
                self.metrics.sent.add(delivered);
                self.metrics.highest_sent.raise_to(newest.seconds());
                self.feed.taken();
                self.check_written(counts, outcome.written);
                self.set_aside(sequence);
                self.takes_again();
            }
            Verdict::Refused | Verdict::TooLarge => {
                if outcome.verdict == Verdict::TooLarge {
                    self.send_less(counts);
                }
                self.refuse(sequence, counts, outcome);
            }
            Verdict::Rejected => {
                let failed = flight.give_up_piece();
                self.fail(failed, &outcome.reason, Some("all of a request"));
                self.readiness.waiting(outcome.reason.as_str());
            }
            // Several were on their way.
            Verdict::Downgrade if self.protocol == Protocol::V1 => {}
            Verdict::Downgrade => {
                warn!(
                    error = %outcome.reason,
                    "the receiver does not speak remote write 2.0; speaking 1.0 until the next start"
                );
                self.protocol = Protocol::V1;
                self.feed.speak(Protocol::V1);
            }
            Verdict::Retry { after } => {
                let next = flight.failed(outcome.status == Some(StatusCode::INTERNAL_SERVER_ERROR));
                match next {
                    Next::Go => {}
                    Next::Wait => self.retry_later(sequence, after, &outcome.reason),
                    Next::SetAside(counts, series) => {
                        self.gave_up(counts, &series, &outcome.reason)
                    }
                }
            }
        }
    }

    /// A 2.0 receiver says how much it stored of what it accepted. More or less than was sent is worth a look, and no
    /// more: the replica that is not elected hears of zeros.
    fn check_written(&mut self, counts: Counts, written: Written) {
        let differs = |said: Option<u64>, sent: u64| said.is_some_and(|said| said != sent);
        if differs(written.samples, counts.samples)
            || differs(written.histograms, counts.histograms)
        {
            self.metrics.written_other.add(1);
            debug!(
                ?written,
                ?counts,
                "the receiver says that it stored another number of values"
            );
        }
    }

    fn refuse(&mut self, sequence: u64, counts: Counts, outcome: &Outcome) {
        let Some(flight) = self.window.get(sequence) else {
            return;
        };
        let Refusal {
            failed,
            delivered,
            series,
        } = match outcome.written.part_of(counts) {
            Some(stored) if outcome.verdict == Verdict::Refused => flight.stored_in_part(stored),
            _ => flight.refused(says_already_there(&outcome.reason)),
        };
        self.metrics.sent.add(delivered);
        self.fail(failed, &outcome.reason, series.as_deref());
        if !delivered.is_zero() {
            self.takes_again();
        }
    }

    /// Counts what will never be stored; says so once for each reason, and counts the rest.
    fn fail(&mut self, failed: Counts, reason: &str, series: Option<&str>) {
        if failed.is_zero() {
            return;
        }
        self.metrics.failed.add(failed);
        let (samples, series) = (failed.points(), series.unwrap_or("some of a request"));
        if self.told.is_new(reason, clock::monotonic()) {
            warn!(samples, series, error = %reason, "the receiver refused samples for good");
        } else {
            debug!(samples, series, error = %reason, "the receiver refused samples for good");
        }
    }

    /// Puts less into a request from now on than was too much.
    fn send_less(&mut self, counts: Counts) {
        let samples = usize::try_from(counts.points()).unwrap_or(usize::MAX);
        if let Some(samples) = self.feed.send_less(samples) {
            warn!(
                samples,
                "the receiver takes no requests as large as these; sending so many samples at once from now on"
            );
        }
    }

    /// The receiver took a record, and answered 500 to the one before it again and again: that one is at fault.
    fn set_aside(&mut self, sequence: u64) {
        let suspect = self.window.suspect();
        let Some(suspect) = suspect.filter(|suspect| suspect.sequence < sequence) else {
            return;
        };
        let counts = suspect.give_up();
        self.gave_up(counts, "all that is left of a request", "HTTP 500");
    }

    fn gave_up(&self, counts: Counts, series: &str, reason: &str) {
        self.metrics.dropped(DropReason::SetAside, counts);
        error!(
            samples = counts.points(),
            series,
            error = %reason,
            "the receiver answers 500 to a sample again and again and takes others; it was given up"
        );
    }

    fn takes_again(&mut self) {
        self.failures = 0;
        if let Some(since) = self.failing_since.take() {
            let elapsed = clock::monotonic().duration_since(since);
            info!(?elapsed, "the receiver takes samples again");
        }
        self.readiness.ready();
    }

    fn retry_later(&mut self, sequence: u64, after: Option<Duration>, reason: &str) {
        let backoff = self.config.queue.backoff;
        let delay = backoff.delay_asked(after, self.failures, fastrand::f64());
        if self.failing_since.is_none() {
            self.failing_since = Some(clock::monotonic());
            warn!(error = %reason, ?delay, "cannot send samples, trying again until it works");
        } else {
            debug!(error = %reason, attempt = self.failures, ?delay, "cannot send samples");
        }
        self.readiness.waiting(reason);
        if self.wait.is_none() {
            self.failures = self.failures.saturating_add(1);
        }
        if self.tries_another(sequence) {
            return;
        }
        // Of several that failed together, the one that asked for the longest pause counts.
        let wait = tokio::time::sleep(delay);
        let is_longer = |before: &Pin<Box<tokio::time::Sleep>>| before.deadline() < wait.deadline();
        if self.wait.as_ref().is_none_or(is_longer) {
            self.wait = Some(Box::pin(wait));
        }
    }

    /// Whether another record is tried at once, because it may be this one that the receiver cannot take.
    fn tries_another(&mut self, sequence: u64) -> bool {
        let is_suspect = self
            .window
            .suspect()
            .is_some_and(|suspect| suspect.sequence == sequence);
        if !is_suspect || !self.answers.is_empty() {
            return false;
        }
        let (window, queue) = (&mut self.window, &mut self.queue);
        let other = blocking(|| window.other(queue).map(|flight| flight.sequence));
        let Some(other) = other else { return false };
        self.send(other);
        true
    }

    fn judge(&self, protocol: Protocol, answer: Result<Answer, SendError>) -> Outcome {
        match answer {
            Ok(answer) => {
                let asked = Asked {
                    protocol,
                    may_downgrade: self.config.message == Message::Auto,
                    is_proven: self.is_proven,
                    retry_on_429: self.config.queue.retry_on_429,
                };
                Outcome {
                    verdict: verdict(answer.status, &answer.headers, asked, clock::now()),
                    status: Some(answer.status),
                    written: Written::read(&answer.headers),
                    reason: explain(&answer, protocol),
                }
            }
            // Nobody says whether it was stored. Sent again, it is the same sample at the same time, which
            // receivers take for what it is.
            Err(error) => Outcome {
                verdict: Verdict::Retry { after: None },
                status: None,
                written: Written::default(),
                reason: error.to_string(),
            },
        }
    }

    fn report(&self) {
        let settled = self.window.settled();
        self.metrics.pending.set(self.queue.pending() - settled);
        self.metrics.shards.set(float(self.window.sending()));
        let protocol = match self.protocol {
            Protocol::V1 => 1.0,
            Protocol::V2 => 2.0,
        };
        self.metrics.protocol.set(protocol);
        #[expect(
            clippy::cast_precision_loss,
            reason = "Prometheus holds sizes as floats"
        )]
        self.metrics
            .queue_bytes
            .set(self.queue.pending_bytes() as f64);
    }

    fn give_up(&mut self) {
        let left = self.queue.pending() - self.window.settled();
        let samples = left.points();
        let unwritten = if self.queue.is_durable() {
            self.queue.unwritten()
        } else {
            left
        };
        self.metrics.dropped(DropReason::Shutdown, unwritten);
        if !unwritten.is_zero() {
            let samples = unwritten.points();
            warn!(samples, "no time left, samples were not sent");
        }
        if self.queue.is_durable() && samples > 0 {
            let samples = (left - unwritten).points();
            info!(
                samples,
                "no time left, samples wait on disk for the next start"
            );
        }
    }
}

fn count_lost(metrics: &SinkMetrics, lost: &Lost) {
    for (reason, counts) in [
        (DropReason::QueueFull, lost.full),
        (DropReason::TooOld, lost.age),
        (DropReason::Damaged, lost.damaged),
    ] {
        metrics.dropped(reason, counts);
    }
    metrics.queue_damaged_bytes.add(lost.damaged_bytes);
}

/// What the log says of an answer that was not the one hoped for.
fn explain(answer: &Answer, protocol: Protocol) -> String {
    let status = answer.status;
    if status.is_success() && protocol == Protocol::V2 {
        return format!("HTTP {status} that does not say what was written: no receiver of 2.0");
    }
    let mut text = format!("HTTP {status}: {}", answer.text);
    if answer.text.contains("native histograms are disabled") {
        text += " (the receiver has native histograms switched off: switch them on there, or send_native_histograms off here)";
    }
    text
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds counts as floats"
)]
const fn float(count: usize) -> f64 {
    count as f64
}

impl std::fmt::Debug for RemoteWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteWrite")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
