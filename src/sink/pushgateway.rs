//! One group in a Pushgateway: puts the newest snapshot there at its own pace, and takes the group away in the end.
//!
//! A Pushgateway has no history and no time to live. So nothing waits in a queue: what could not be put is put again
//! with the newest snapshot, whatever that is by then. A PUT replaces the whole group, so a series that ended is gone
//! with the next. After a crash the group stays as it was; `push_time_seconds` of the gateway tells.
//!
//! Source: the Pushgateway's README; its answers were tried on 1.5.1 and 1.11.2.

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

/// The pauses between tries: a push is the whole page, and one that is late by seconds has cost nothing.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How often the last request is tried: a gateway that is away must not use up the time of the others.
const LAST_TRIES: u32 = 3;

/// A sink that pushes to a Pushgateway.
pub struct Pushgateway {
    config: PushgatewayConfig,
    /// Of the group.
    url: Url,
    client: Arc<Client>,
    backoff: Backoff,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Cancelled when there is no time left.
    hurry: CancellationToken,
    newest: Arc<Snapshot>,
    /// In which of its intervals, counted from the epoch, a push was due last.
    turn: Option<i64>,
    /// What is to be asked next.
    next: Option<Task>,
    sending: Option<Sending>,
    /// When to try again what failed.
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    /// How often it was tried in vain.
    attempt: u32,
    failing_since: Option<Instant>,
    refusals: Refusals,
    stage: Stage,
    metrics: PushMetrics,
    readiness: Reporter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Push,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pushing,
    /// The daemon stops: one task is left.
    Leaving,
    Left,
}

/// A request on its way.
struct Sending {
    task: Task,
    /// Nothing follows it.
    last: bool,
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

impl Pushgateway {
    /// A sink as configured. It begins with the snapshot that is there.
    pub fn new(
        config: PushgatewayConfig,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        hurry: CancellationToken,
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
            hurry,
            turn: None,
            next: None,
            sending: None,
            wait: None,
            attempt: 0,
            failing_since: None,
            refusals: Refusals::default(),
            stage: Stage::Pushing,
            metrics,
            readiness,
        })
    }

    /// Runs until the daemon stops and the group is gone, or as it is to stay, or until there is no time left.
    pub async fn run(mut self) {
        self.warn_of_collisions();
        while self.stage != Stage::Left {
            match self.next().await {
                Action::Snapshot(snapshot) => self.take(snapshot),
                Action::Drained => self.leave(),
                Action::Answer(answer) => self.answered(answer),
                Action::Again => self.wait = None,
                Action::GiveUp => self.stay_behind("shutdown grace period expired"),
            }
            self.send_next();
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
            changed = self.snapshots.changed(), if self.stage == Stage::Pushing => match changed {
                Ok(()) => Action::Snapshot(Arc::clone(&self.snapshots.borrow_and_update())),
                Err(_) => Action::Drained,
            },
            answer = answer => Action::Answer(answer),
            () = again => Action::Again,
            () = self.hurry.cancelled() => Action::GiveUp,
        }
    }

    fn take(&mut self, snapshot: Arc<Snapshot>) {
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

    /// Only what the operator wants in the end is left to do. A push that is on its way is waited for: it could
    /// arrive behind the deletion otherwise, and bring the group back.
    fn leave(&mut self) {
        self.stage = Stage::Leaving;
        self.attempt = 0;
        self.wait = None;
        self.next = Some(match self.config.on_shutdown {
            OnShutdown::Delete => Task::Delete,
            OnShutdown::Keep => Task::Push,
        });
    }

    /// Asks what is to be asked next, if nothing is on its way and there is nothing to wait for.
    fn send_next(&mut self) {
        if self.sending.is_some() || self.wait.is_some() || self.stage == Stage::Left {
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
            last: self.stage == Stage::Leaving,
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
            _ if self.stage == Stage::Leaving && !sending.last => {}
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

    /// Counts, tells and reports what became of a push.
    fn pushed(&mut self, judged: &Judged) {
        let reason = &judged.reason;
        match judged.fate {
            Fate::Delivered => {
                self.metrics.delivered.add(1);
                self.metrics.last.set(clock::now().seconds());
                self.attempt = 0;
                self.refusals.clear();
                if let Some(since) = self.failing_since.take() {
                    let elapsed = clock::monotonic().duration_since(since);
                    info!(?elapsed, "pushes succeed again");
                }
                self.readiness.ready();
            }
            Fate::Rejected => {
                self.metrics.refused.add(1);
                if self.refusals.is_new(judged.status, &judged.text) {
                    let advice = judged.advice.unwrap_or("see what it says");
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

    /// All is as the operator wants it.
    fn left(&mut self) {
        self.stage = Stage::Left;
        let group = &self.config.group;
        match self.config.on_shutdown {
            OnShutdown::Delete => info!(%group, "group deleted from the Pushgateway"),
            OnShutdown::Keep => {
                info!(%group, "group kept on the Pushgateway with the last snapshot")
            }
        }
    }

    /// It is not, and will not be.
    fn stay_behind(&mut self, reason: &str) {
        self.stage = Stage::Left;
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

    /// The gateway puts the labels of the group over those of a series: without a word where that makes no two the
    /// same.
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

/// An answer, read.
struct Judged {
    fate: Fate,
    status: StatusCode,
    /// The gateway's own words.
    text: String,
    /// The same for the log.
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

/// A snapshot as the body of a push, and what that is.
fn render(snapshot: &Snapshot, format: PushFormat) -> (&'static str, Bytes) {
    match format {
        PushFormat::Text => (text::CONTENT_TYPE, text::render(snapshot).into()),
        PushFormat::Protobuf { native } => (
            protobuf::CONTENT_TYPE,
            protobuf::render(snapshot, native).into(),
        ),
    }
}

/// In which interval, counted from the epoch, a time lies: the first snapshot of each is pushed. So daemons with one
/// interval push at one time, and snapshots whose interval does not divide it make pushes as often on average.
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
