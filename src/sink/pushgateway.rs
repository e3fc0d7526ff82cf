//! Pushes the newest snapshot to one group of a Pushgateway at its own interval, and deletes the
//! group at the end.
//!
//! A Pushgateway has no history and no time to live, so nothing is queued: a failed push is retried
//! with the snapshot that is newest by then. A PUT replaces the whole group, so a series that has
//! ended disappears with the next push. After a crash the group stays as it was, which the
//! gateway's `push_time_seconds` shows.
//!
//! Source: the Pushgateway's README; responses were tested with 1.5.1 and 1.11.2.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use url::Url;

use super::client::{Answer, BuildError, Client, Request, SendError};
use super::refusal::{Refusals, advice, bounded};
use super::verdict::{Fate, fate};
use crate::backoff::Backoff;
use crate::clock;
use crate::config::{OnShutdown, PushFormat, PushgatewayConfig};
use crate::series::Snapshot;

use crate::telemetry::readiness::Reporter;
use crate::telemetry::sink::PushMetrics;
use crate::timestamp::Timestamp;
use crate::wire::{protobuf, text};

/// Delays between attempts. Each push contains all series, so a delay of a few seconds loses
/// nothing.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Maximum attempts for the last request, so that an unreachable gateway does not use up the time
/// of the other sinks.
const LAST_TRIES: u32 = 3;

/// A sink that pushes to a Pushgateway.
pub struct Pushgateway {
    config: PushgatewayConfig,
    /// URL of the group.
    url: Url,
    client: Arc<Client>,
    backoff: Backoff,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Cancelled when the grace period is about to expire.
    drain_deadline: CancellationToken,
    newest: Arc<Snapshot>,
    /// The interval, counted from the epoch, in which a push was last due.
    turn: Option<i64>,
    /// The next request.
    next: Option<Task>,
    sending: Option<Sending>,
    /// When to retry after a failure.
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Number of failed attempts.
    attempt: u32,
    failing_since: Option<Instant>,
    /// Whether any push has succeeded.
    has_delivered: bool,
    refusals: Refusals,
    stage: PushPhase,
    metrics: PushMetrics,
    readiness: Reporter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Push,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PushPhase {
    Pushing,
    /// The daemon is stopping, and one last request remains.
    Leaving,
    Left,
}

/// A request in flight.
struct Sending {
    task: Task,
    /// Whether this is the last request.
    last: bool,
    since: Instant,
    answer: Pin<Box<dyn Future<Output = Result<Answer, SendError>> + Send>>,
}

/// The next event to handle.
enum PusherEvent {
    Snapshot(Arc<Snapshot>),
    /// No more snapshots will arrive.
    Drained,
    Answer(Result<Answer, SendError>),
    /// The delay is over.
    Again,
    /// The grace period has expired.
    GiveUp,
}

impl Pushgateway {
    /// Creates a sink that starts with the current snapshot.
    pub fn new(
        config: PushgatewayConfig,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        drain_deadline: CancellationToken,
        metrics: PushMetrics,
        readiness: Reporter,
    ) -> Result<Self, BuildError> {
        snapshots.mark_changed();
        let newest = Arc::clone(&snapshots.borrow());
        let mut url = config.url.clone();
        let base = url.path().trim_end_matches('/');
        url.set_path(&format!("{base}{}", config.group.path()));
        Ok(Self {
            client: Arc::new(Client::new(&config.client)?),
            config,
            url,
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX).expect("the constants are in order"),
            newest,
            snapshots,
            drain_deadline,
            turn: None,
            next: None,
            sending: None,
            wait: None,
            attempt: 0,
            failing_since: None,
            has_delivered: false,
            refusals: Refusals::default(),
            stage: PushPhase::Pushing,
            metrics,
            readiness,
        })
    }

    /// Runs until the daemon stops and the group is in its final state, or until the time is up.
    pub async fn run(mut self) {
        self.warn_of_collisions();
        while self.stage != PushPhase::Left {
            match self.next().await {
                PusherEvent::Snapshot(snapshot) => self.accept(snapshot),
                PusherEvent::Drained => self.leave(),
                PusherEvent::Answer(answer) => self.answered(answer),
                PusherEvent::Again => self.wait = None,
                PusherEvent::GiveUp => self.stay_behind("shutdown grace period expired"),
            }
            self.send_next();
        }
    }

    /// Cancel-safe: the request and the timer live in `self`, and `changed` marks nothing as seen
    /// before it completes.
    async fn next(&mut self) -> PusherEvent {
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
            changed = self.snapshots.changed(), if self.stage == PushPhase::Pushing => match changed {
                Ok(()) => PusherEvent::Snapshot(Arc::clone(&self.snapshots.borrow_and_update())),
                Err(_) => PusherEvent::Drained,
            },
            answer = answer => PusherEvent::Answer(answer),
            () = again => PusherEvent::Again,
            () = self.drain_deadline.cancelled() => PusherEvent::GiveUp,
        }
    }

    fn accept(&mut self, snapshot: Arc<Snapshot>) {
        self.newest = snapshot;
        if self.newest.last {
            self.leave();
            return;
        }
        let turn = turn(self.newest.at, self.config.interval);
        if turn.is_none() || turn != self.turn {
            self.turn = turn;
            self.next = Some(Task::Push);
        }
    }

    /// Leaves only the final action that the operator configured. Waits for a push in flight, which
    /// could otherwise arrive after the deletion and bring the group back.
    fn leave(&mut self) {
        self.stage = PushPhase::Leaving;
        self.attempt = 0;
        self.wait = None;
        self.next = Some(match self.config.on_shutdown {
            OnShutdown::Delete => Task::Delete,
            OnShutdown::Keep => Task::Push,
        });
    }

    /// Sends the next request, unless one is in flight or a delay is running.
    fn send_next(&mut self) {
        if self.sending.is_some() || self.wait.is_some() || self.stage == PushPhase::Left {
            return;
        }
        let Some(task) = self.next.take() else {
            return;
        };
        let mut request = Request {
            method: Method::DELETE,
            url: self.url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        if task == Task::Push {
            let (content_type, body) = render(&self.newest, self.config.format);
            let content_type = HeaderValue::from_static(content_type);
            request.method = Method::PUT;
            request.headers.insert(CONTENT_TYPE, content_type);
            request.body = body;
        }
        let client = Arc::clone(&self.client);
        self.sending = Some(Sending {
            task,
            last: self.stage == PushPhase::Leaving,
            since: clock::monotonic(),
            answer: Box::pin(async move { client.send(request).await }),
        });
    }

    fn answered(&mut self, answer: Result<Answer, SendError>) {
        let Some(sending) = self.sending.take() else {
            return;
        };
        let elapsed = clock::monotonic().duration_since(sending.since);
        let judged = Judged::of(answer, clock::now());
        if sending.task == Task::Push {
            self.metrics.duration.observe(elapsed);
            self.pushed(&judged);
        }
        match judged.fate {
            _ if self.stage == PushPhase::Leaving && !sending.last => {}
            Fate::Delivered if sending.last => self.left(),
            Fate::Delivered => {}
            Fate::Rejected if sending.last => self.stay_behind(&judged.reason),
            Fate::Rejected => self.attempt = 0,
            Fate::Retry { .. } if sending.last && self.attempt + 1 >= LAST_TRIES => {
                self.stay_behind(&judged.reason);
            }
            Fate::Retry { after } => {
                let dice = fastrand::f64();
                let delay = self.backoff.delay_asked(after, self.attempt, dice);
                debug!(error = %judged.reason, attempt = self.attempt, ?delay, "push failed");
                self.attempt = self.attempt.saturating_add(1);
                self.wait = Some(Box::pin(tokio::time::sleep(delay)));
                self.next = Some(sending.task);
            }
        }
    }

    /// Counts, logs and reports the outcome of a push.
    fn pushed(&mut self, judged: &Judged) {
        let reason = &judged.reason;
        match judged.fate {
            Fate::Delivered => {
                self.metrics.delivered.add(1);
                self.metrics.last.set(clock::now().seconds());
                self.attempt = 0;
                self.refusals.clear();
                if !std::mem::replace(&mut self.has_delivered, true) {
                    info!(url = self.config.shown_url(), "first push accepted");
                }
                if let Some(since) = self.failing_since.take() {
                    let elapsed = clock::monotonic().duration_since(since);
                    info!(?elapsed, "pushes succeed again");
                }
                self.readiness.ready();
            }
            Fate::Rejected => {
                self.metrics.refused.add(1);
                if self.refusals.is_new(judged.status, &judged.text) {
                    let advice = judged.advice.unwrap_or("see the error");
                    warn!(group = %self.config.group, error = %reason, advice, "push refused");
                }
                self.readiness.waiting(reason.clone());
            }
            Fate::Retry { .. } => {
                self.metrics.failed.add(1);
                if self.failing_since.is_none() {
                    self.failing_since = Some(clock::monotonic());
                    warn!(error = %reason, "push failed; retrying");
                }
                self.readiness.waiting(reason.clone());
            }
        }
    }

    /// Reports that the group is in the configured final state.
    fn left(&mut self) {
        self.stage = PushPhase::Left;
        let group = &self.config.group;
        match self.config.on_shutdown {
            OnShutdown::Delete => info!(%group, "group deleted from the Pushgateway"),
            OnShutdown::Keep => {
                info!(%group, "group kept on the Pushgateway with the last snapshot")
            }
        }
    }

    /// Reports that the group could not be brought into the configured final state.
    fn stay_behind(&mut self, reason: &str) {
        self.stage = PushPhase::Left;
        let (group, error) = (&self.config.group, reason);
        match self.config.on_shutdown {
            OnShutdown::Delete => warn!(
                %group, error,
                "deleting the group failed; if the Pushgateway has it, delete it manually"
            ),
            OnShutdown::Keep => warn!(
                %group, error,
                "pushing the last snapshot failed; the Pushgateway keeps the previous one"
            ),
        }
    }

    /// Warns if labels of the group replace labels of a series. The gateway does so silently,
    /// unless two series become identical.
    fn warn_of_collisions(&self) {
        let families = self.newest.families.iter();
        let labels: BTreeSet<_> = families.flat_map(|family| &family.labels).collect();
        for (label, _) in self.config.group.labels() {
            if labels.contains(&label) {
                let group = &self.config.group;
                warn!(%group, label, "a grouping-key label overwrites a label of the series");
            }
        }
    }
}

/// An interpreted response.
struct Judged {
    fate: Fate,
    status: StatusCode,
    /// The gateway's text.
    text: String,
    /// The reason for the log.
    reason: String,
    advice: Option<&'static str>,
}

impl Judged {
    fn of(answer: Result<Answer, SendError>, now: Timestamp) -> Self {
        match answer {
            Ok(answer) => Self {
                fate: fate(answer.status, &answer.headers, now),
                status: answer.status,
                reason: format!("HTTP {}: {}", answer.status, bounded(&answer.text)),
                advice: advice(answer.status, &answer.text),
                text: answer.text,
            },
            Err(error) => Self {
                fate: Fate::Retry { after: None },
                status: StatusCode::default(),
                text: String::new(),
                reason: error.to_string(),
                advice: None,
            },
        }
    }
}

/// Returns the content type and body of a push.
fn render(snapshot: &Snapshot, format: PushFormat) -> (&'static str, Bytes) {
    match format {
        PushFormat::Text => (text::CONTENT_TYPE, text::render(snapshot).into()),
        PushFormat::Protobuf { native } => (
            protobuf::CONTENT_TYPE,
            protobuf::render(snapshot, native).into(),
        ),
    }
}

/// Returns the interval, counted from the epoch, that contains `at`. The first snapshot in each is
/// pushed. Daemons with the same interval therefore push at the same time, and snapshot intervals
/// that do not divide it yield the right rate on average.
fn turn(at: Timestamp, interval: Option<Duration>) -> Option<i64> {
    let step = i64::try_from(interval?.as_micros()).unwrap_or(i64::MAX);
    Some(at.micros().div_euclid(step.max(1)))
}

impl std::fmt::Debug for Pushgateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pushgateway")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_snapshot_of_each_interval_is_pushed_and_each_where_there_is_none() {
        let pushed = |step: i64, interval: Option<u64>| -> Vec<i64> {
            let interval = interval.map(Duration::from_secs);
            let mut before = None;
            let seconds = (0..9).map(|n| n * step);
            let due = seconds.filter(|second| {
                let turn = turn(Timestamp::from_millis(second * 1_000), interval);
                let due = turn.is_none() || turn != before;
                before = turn;
                due
            });
            due.collect()
        };
        assert_eq!(pushed(15, None), [0, 15, 30, 45, 60, 75, 90, 105, 120]);
        assert_eq!(pushed(15, Some(60)), [0, 60, 120]);
        assert_eq!(pushed(15, Some(20)), [0, 30, 45, 60, 90, 105, 120]);
        assert_eq!(pushed(15, Some(1)), [0, 15, 30, 45, 60, 75, 90, 105, 120]);
    }
}
