//! One remote-write receiver: takes each snapshot into the queue, and sends what waits, in order.
//!
//! One request is on its way at a time, which keeps the order within each series (PRW 1.0, "Ordering"). A
//! request that must be sent again is sent byte for byte, before anything newer.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use url::Url;

use super::client::{Answer, BuildError, Client, Request, SendError};
use super::feed::Feed;
use super::verdict::{Verdict, retry_after, verdict};
use crate::clock;
use crate::config::RemoteWriteConfig;
use crate::queue::{Limits, Queue};
use crate::series::Snapshot;
use crate::telemetry::metrics::SinkMetrics;
use crate::telemetry::readiness::Reporter;
use crate::timestamp::Timestamp;
use crate::wire::{Body, Content, v1};

/// A sink that pushes by remote write.
pub struct RemoteWrite {
    config: RemoteWriteConfig,
    client: Arc<Client>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Cancelled when there is no time left to send what waits.
    hurry: CancellationToken,
    feed: Feed,
    queue: Queue,
    metadata: VecDeque<Body>,
    sending: Option<Sending>,
    /// When to send again what could not be delivered.
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    /// How often the request at the front was tried in vain.
    attempt: u32,
    failing_since: Option<Instant>,
    /// Why samples were refused for good, as the log has it, until some are taken again.
    refused: Option<String>,
    drained: bool,
    metrics: SinkMetrics,
    readiness: Reporter,
}

/// A request on its way.
struct Sending {
    content: Content,
    /// The record that it is, where it is one.
    sequence: u64,
    count: u64,
    bytes: u64,
    newest: Timestamp,
    since: Instant,
    answer: Pin<Box<dyn Future<Output = Result<Answer, SendError>> + Send>>,
}

/// What happens next.
enum Action {
    Snapshot(Arc<Snapshot>),
    /// No more snapshots will come.
    Drained,
    Answer(Result<Answer, SendError>),
    /// The time to wait is over.
    Again,
    /// There is no time left.
    GiveUp,
}

impl RemoteWrite {
    /// A sink as configured; its series carry `external` labels.
    ///
    /// It begins with the snapshot that is there.
    pub fn new(
        config: RemoteWriteConfig,
        external: Vec<(String, String)>,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        hurry: CancellationToken,
        metrics: SinkMetrics,
        readiness: Reporter,
    ) -> Result<Self, BuildError> {
        let encoder = v1::Encoder::new(external, config.queue.samples_max);
        let feed = Feed::new(
            encoder,
            config.queue.samples_max,
            config.metadata_interval,
            metrics.clone(),
        );
        snapshots.mark_changed();
        Ok(Self {
            client: Arc::new(Client::new(&config.client)?),
            queue: Queue::in_memory(Limits {
                bytes_max: config.queue.bytes_max,
                age_max: None,
            }),
            feed,
            config,
            snapshots,
            hurry,
            metadata: VecDeque::new(),
            sending: None,
            wait: None,
            attempt: 0,
            failing_since: None,
            refused: None,
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
                Action::Answer(answer) => self.answered(answer),
                Action::Again => self.wait = None,
                Action::GiveUp => break self.give_up(),
            }
            self.send_next();
            #[expect(
                clippy::cast_precision_loss,
                reason = "Prometheus holds counts as floats"
            )]
            self.metrics
                .samples_pending
                .set(self.queue.pending().samples as f64);
            if self.drained && self.sending.is_none() && self.queue.is_empty() {
                break;
            }
        }
    }

    /// Cancel-safe: the request and the timer live in `self`, and `changed` marks nothing as seen before it
    /// returns.
    async fn next(&mut self) -> Action {
        let answer = async {
            match &mut self.sending {
                Some(sending) => (&mut sending.answer).await,
                None => pending().await,
            }
        };
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
            answer = answer => Action::Answer(answer),
            () = again => Action::Again,
            () = self.hurry.cancelled() => Action::GiveUp,
        }
    }

    fn take(&mut self, snapshot: &Snapshot) {
        let dropped = self.feed.append(snapshot, &mut self.queue);
        if dropped > 0 {
            warn!(
                samples = dropped,
                "queue is full, the oldest samples were dropped"
            );
        }
        // Only for a receiver that answers: what it missed comes again in a minute.
        if self.attempt == 0 {
            self.metadata.extend(self.feed.metadata(snapshot));
        }
    }

    /// Sends what stands at the front, if nothing is on its way and there is nothing to wait for.
    fn send_next(&mut self) {
        if self.sending.is_some() || self.wait.is_some() {
            return;
        }
        let (body, sequence) = if self.attempt == 0
            && let Some(body) = self.metadata.pop_front()
        {
            (body, 0)
        } else if let Some(entry) = self.queue.next(None) {
            self.queue.hold(Some(entry.sequence));
            let body = Body {
                bytes: entry.record.bytes,
                content: Content::Samples,
                count: entry.record.counts.samples,
                newest: Timestamp::from_millis(entry.record.newest_ms),
            };
            (body, entry.sequence)
        } else {
            return;
        };
        let (client, url, attempt) = (
            Arc::clone(&self.client),
            self.config.url.clone(),
            self.attempt,
        );
        if body.content == Content::Samples {
            self.metrics.bytes.add(body.bytes.len() as u64);
            if attempt > 0 {
                self.metrics.samples_retried.add(body.count);
            }
        }
        self.sending = Some(Sending {
            content: body.content,
            sequence,
            count: body.count,
            bytes: body.bytes.len() as u64,
            newest: body.newest,
            since: clock::monotonic(),
            answer: Box::pin(async move { client.send(request(url, body.bytes, attempt)).await }),
        });
    }

    fn answered(&mut self, answer: Result<Answer, SendError>) {
        let Some(sending) = self.sending.take() else {
            return;
        };
        let elapsed = clock::monotonic().duration_since(sending.since);
        let (verdict, reason) = self.judge(answer);
        if sending.content == Content::Metadata {
            let delivered = verdict == Verdict::Delivered;
            let counter = if delivered {
                &self.metrics.metadata
            } else {
                &self.metrics.metadata_failed
            };
            counter.add(sending.count);
            if !delivered {
                debug!(error = %reason, "metadata was not taken");
            }
            return;
        }
        self.metrics.batch_duration.observe(elapsed);
        match verdict {
            Verdict::Delivered => {
                // After it was delivered: what breaks before this line sends it again rather than never.
                self.queue.commit(sending.sequence);
                self.metrics.samples.add(sending.count);
                self.metrics.highest_sent.set(sending.newest.seconds());
                self.attempt = 0;
                self.refused = None;
                if let Some(since) = self.failing_since.take() {
                    let elapsed = clock::monotonic().duration_since(since);
                    info!(?elapsed, "the receiver takes samples again");
                }
                self.readiness.ready();
            }
            Verdict::Rejected => {
                self.queue.commit(sending.sequence);
                self.metrics.samples_failed.add(sending.count);
                self.attempt = 0;
                // Once for each reason: the metric counts the rest.
                if self.refused.as_ref() != Some(&reason) {
                    let (samples, bytes) = (sending.count, sending.bytes);
                    warn!(samples, bytes, error = %reason, "the receiver refused samples for good");
                    self.refused = Some(reason.clone());
                }
                self.readiness.waiting(reason);
            }
            Verdict::Retry { after } => self.retry_later(after, reason),
        }
    }

    fn retry_later(&mut self, after: Option<Duration>, reason: String) {
        let delay = self
            .config
            .queue
            .backoff
            .delay_asked(after, self.attempt, fastrand::f64());
        if self.failing_since.is_none() {
            self.failing_since = Some(clock::monotonic());
            warn!(error = %reason, ?delay, "cannot send samples, trying again until it works");
        } else {
            debug!(error = %reason, attempt = self.attempt, ?delay, "cannot send samples");
        }
        self.readiness.waiting(reason);
        self.attempt = self.attempt.saturating_add(1);
        self.wait = Some(Box::pin(tokio::time::sleep(delay)));
    }

    fn judge(&self, answer: Result<Answer, SendError>) -> (Verdict, String) {
        match answer {
            Ok(answer) => {
                let after = retry_after(&answer.headers, clock::now());
                let verdict = verdict(answer.status, after, self.config.queue.retry_on_429);
                (verdict, format!("HTTP {}: {}", answer.status, answer.text))
            }
            // Nobody says whether it was stored. Sent again, it is the same sample at the same time, which
            // receivers take for what it is.
            Err(error) => (Verdict::Retry { after: None }, error.to_string()),
        }
    }

    fn give_up(&mut self) {
        let samples = self.queue.pending().samples;
        self.metrics.dropped_shutdown.add(samples);
        if samples > 0 {
            warn!(samples, "no time left, samples were not sent");
        }
    }
}

/// One remote-write 1.0 request; `attempt` counts from 0.
fn request(url: Url, body: Bytes, attempt: u32) -> Request {
    // PRW 1.0, "Protocol": these, and who we are, whatever the user's headers say.
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    headers.insert(REMOTE_WRITE_VERSION, HeaderValue::from_static("0.1.0"));
    if attempt > 0 {
        headers.insert(RETRY_ATTEMPT, HeaderValue::from(attempt));
    }
    Request {
        method: Method::POST,
        url,
        headers,
        body,
    }
}

const REMOTE_WRITE_VERSION: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

impl std::fmt::Debug for RemoteWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteWrite")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
