//! The poller of one broker: asks the broker for queue lengths, and the workers for their state.
//!
//! It runs in the background on its own connection and with deadlines, so neither the event source
//! nor a scrape of the metrics ever waits for it. Only complete rounds are reported; a failed round
//! reports nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::beats::BeatRoster;
use super::context::{CONNECT_TIMEOUT, PAUSE_MAX, PAUSE_MIN};
use super::control::{DEADLINE, Roster, Round};
use super::error::LinkError;
use super::link::ConnectionState;
use super::reply::Method;
use super::schedule::{Schedule, Task};
use super::watch::Watch;
use super::{amqp, redis};
use crate::backoff::Backoff;
use crate::bounds::Limit;
use crate::clock;
use crate::config::{BrokerConfig, Transport};
use crate::event::BrokerId;
use crate::state::{Answers, Binding, PollTargets, QueueLevel, Report};
use crate::telemetry::metrics::{PollMetrics, RoundMetrics};
use crate::timestamp::Timestamp;

/// Time limit for a round. When it expires, the connection is closed.
pub(super) const ROUND_TIMEOUT: Duration = Duration::from_secs(10).saturating_add(DEADLINE);

/// How long closing the connection may take. A blocking pop on Redis returns within a second.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Polls one broker and its workers, and recovers from any error.
#[derive(Debug)]
pub struct Poller {
    broker: BrokerId,
    config: BrokerConfig,
    reports: mpsc::Sender<Report>,
    known: watch::Receiver<Arc<PollTargets>>,
    metrics: PollMetrics,
    stop: CancellationToken,
    link: ConnectionState,
    /// Index of the broker's server in use: the last one that worked, otherwise the next in turn.
    server: usize,
    watch: Watch,
    roster: Roster,
    beats: BeatRoster,
    /// Failures already logged, until the operation succeeds again.
    logged: FailureLog,
    /// Redis: the limit on bursts that was last logged.
    output_buffer: Option<redis::OutputBufferLimit>,
    /// Whether a question about this limit has not been answered.
    unanswered: bool,
}

/// Failures that have been logged.
#[derive(Debug, Default)]
struct FailureLog {
    connection: bool,
    queues: bool,
    control: bool,
    unreadable: bool,
}

/// The connection used for polling.
#[derive(Debug)]
enum Carrier {
    Amqp(Box<amqp::Poll>),
    Redis(Box<redis::Poll>),
}

impl Poller {
    /// Creates the poller of a broker.
    pub fn new(
        broker: BrokerId,
        mut config: BrokerConfig,
        reports: mpsc::Sender<Report>,
        known: watch::Receiver<Arc<PollTargets>>,
        metrics: PollMetrics,
        stop: CancellationToken,
    ) -> Self {
        let shard = config.transport.shard();
        config.poll = std::mem::take(&mut config.poll).of_shard(shard);
        let backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX).expect("the constants are in order");
        Self {
            link: ConnectionState::new(backoff, clock::monotonic()),
            watch: Watch::new(&config.poll.queues, metrics.bounds.clone()),
            broker,
            config,
            reports,
            known,
            metrics,
            stop,
            server: 0,
            roster: Roster::default(),
            beats: BeatRoster::default(),
            logged: FailureLog::default(),
            output_buffer: None,
            unanswered: false,
        }
    }

    /// Runs until shutdown.
    pub async fn run(mut self) {
        let poll = &self.config.poll;
        let asks = poll.queue_interval.is_some() || poll.control_interval.is_some();
        if !asks && !poll.enable_events {
            self.stop.cancelled().await;
            return;
        }
        let stop = self.stop.clone();
        loop {
            match Box::pin(self.connected()).await {
                Ok(()) | Err(LinkError::Abandoned) => return,
                Err(error) => {
                    let delay = self.failed(&error);
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Connects, and polls until the connection fails or the daemon stops.
    async fn connected(&mut self) -> Result<(), LinkError> {
        let stop = self.stop.clone();
        let connecting = timeout(CONNECT_TIMEOUT, self.connect());
        let (mut carrier, driver) = tokio::select! {
            connected = connecting => connected.unwrap_or(Err(LinkError::Timeout(CONNECT_TIMEOUT)))?,
            () = stop.cancelled() => return Ok(()),
        };
        self.link.subscribed(clock::monotonic());
        let address = self.config.address(self.server);
        debug!(%address, "connected for polling");
        let asking = async {
            tokio::select! {
                ended = self.ask(&mut carrier) => ended?,
                () = stop.cancelled() => {}
            }
            let _ = timeout(LEAVE_TIMEOUT, carrier.leave()).await;
            Ok(())
        };
        tokio::select! {
            ended = asking => ended,
            error = driver => Err(error),
        }
    }

    async fn connect(&self) -> Result<(Carrier, redis::Driver), LinkError> {
        match &self.config.transport {
            Transport::Amqp(amqp) => {
                let poll = amqp::Poll::connect(amqp.server(self.server)).await?;
                // The AMQP connection makes progress only during its own calls, so it has no
                // driver.
                Ok((
                    Carrier::Amqp(Box::new(poll)),
                    Box::pin(std::future::pending()),
                ))
            }
            Transport::Redis(redis) => {
                let (poll, driver) = redis::Poll::connect(redis).await?;
                Ok((Carrier::Redis(Box::new(poll)), driver))
            }
        }
    }

    /// Performs each task when it is due. Returns only on error.
    async fn ask(&mut self, carrier: &mut Carrier) -> Result<(), LinkError> {
        let looks_elsewhere = matches!(carrier, Carrier::Redis(_));
        let now = clock::monotonic();
        let mut schedule = Schedule::new(&self.config.poll, looks_elsewhere, now);
        let known = self.known.borrow_and_update().clone();
        schedule.known(&known, now);
        loop {
            let next = schedule.next();
            let sleep = async {
                match next {
                    Some((at, task)) => {
                        tokio::time::sleep_until(at.into()).await;
                        task
                    }
                    None => std::future::pending().await,
                }
            };
            let is_open = self.known.has_changed().is_ok();
            let known = &mut self.known;
            let waiting = async {
                tokio::select! {
                    task = sleep => Some(task),
                    _ = known.changed(), if is_open => None,
                }
            };
            let Some(task) = carrier.rest(waiting).await? else {
                let known = self.known.borrow_and_update().clone();
                schedule.known(&known, clock::monotonic());
                continue;
            };
            self.perform(task, carrier, &mut schedule).await?;
            schedule.done(task, clock::monotonic());
        }
    }

    async fn perform(
        &mut self,
        task: Task,
        carrier: &mut Carrier,
        schedule: &mut Schedule,
    ) -> Result<(), LinkError> {
        let start = clock::monotonic();
        let round = async {
            match task {
                Task::Queues => self.ask_for_queues(carrier).await,
                Task::Control => self.ask_workers(carrier, schedule).await,
                Task::Beats => self.ask_beats(carrier).await,
                Task::EnableEvents => self.enable_events(carrier, schedule).await,
                Task::Elsewhere => self.look_elsewhere(carrier).await,
            }
        };
        let ended = timeout(ROUND_TIMEOUT, Box::pin(round)).await;
        let ended = ended.unwrap_or(Err(LinkError::Late(ROUND_TIMEOUT)));
        let took = clock::monotonic().duration_since(start);
        if let Some(metrics) = self.metrics_of(task) {
            metrics.rounds.add(1);
            metrics.failures.add(u64::from(ended.is_err()));
            metrics.duration.set(took.as_secs_f64());
        }
        match ended {
            Ok(()) => {
                self.logged.connection = false;
                self.refused(task, None);
                Ok(())
            }
            Err(error) if error.is_refusal() => {
                self.refused(task, Some(&error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    const fn metrics_of(&self, task: Task) -> Option<&RoundMetrics> {
        match task {
            Task::Queues => Some(&self.metrics.queues),
            Task::Control => Some(&self.metrics.control),
            Task::Beats | Task::EnableEvents | Task::Elsewhere => None,
        }
    }

    async fn ask_for_queues(&mut self, carrier: &mut Carrier) -> Result<(), LinkError> {
        let known = self.known.borrow().clone();
        let names = self.watch.next(known.queues.iter().map(AsRef::as_ref));
        let asked = clock::now();
        let (queue_levels, absent) = carrier.queue_levels(&names).await?;
        self.watch.asked(&names, absent);
        if carrier.has_more_bindings() {
            self.metrics.bounds.reached(Limit::Bindings);
        }
        if let Some(bindings) = carrier.bindings() {
            self.report(asked, Answers::Bindings(bindings)).await?;
        }
        self.report(asked, Answers::Queues(queue_levels)).await
    }

    async fn ask_workers(
        &mut self,
        carrier: &mut Carrier,
        schedule: &mut Schedule,
    ) -> Result<(), LinkError> {
        let known = self.known.borrow().clone();
        let asked = self.roster.ask(&known.workers);
        let chance = || fastrand::u128(..);
        let methods = if known.task_settings_wanted {
            Method::POLLED_WITH_TASKS
        } else {
            Method::POLLED
        };
        let asked_at = clock::now();
        let mut round = Round::new(methods, asked, self.config.accept, chance);
        let exchange = &self.config.poll.control_exchange;
        carrier.ask(exchange, &mut round).await?;
        if let Some((replies, error)) = round.unreadable_replies()
            && !std::mem::replace(&mut self.logged.unreadable, true)
        {
            warn!(
                replies,
                %error,
                "workers' replies cannot be decoded; check their task_serializer"
            );
        }
        round.report_limits(&self.metrics.bounds);
        let answers = round.finish();
        self.beats.workers_answered(&answers);
        let for_new = schedule.is_forward();
        if self.roster.answered(&answers, &known.workers, for_new) {
            schedule.ask_again();
        }
        let consumed = answers.iter();
        let consumed: BTreeMap<_, _> = consumed
            .filter_map(|answer| Some((answer.worker.clone(), answer.queues.clone()?)))
            .collect();
        if self.watch.consumed(consumed) {
            schedule.queues_are_new(clock::monotonic());
        }
        self.report(asked_at, Answers::Workers(answers)).await
    }

    async fn ask_beats(&mut self, carrier: &mut Carrier) -> Result<(), LinkError> {
        let known = self.known.borrow().clone();
        let Some(mut round) = self.beats.ask(&known.beats, self.config.accept) else {
            return Ok(());
        };
        let asked = clock::now();
        let exchange = &self.config.poll.control_exchange;
        carrier.ask(exchange, &mut round).await?;
        let beats = self.beats.answered(&round, &known.beats, &known.workers);
        self.report(asked, Answers::Beats(beats)).await
    }

    async fn enable_events(
        &self,
        carrier: &mut Carrier,
        schedule: &Schedule,
    ) -> Result<(), LinkError> {
        let due = schedule.to_enable(clock::monotonic());
        let workers: Vec<_> = due.iter().map(|(worker, _)| Arc::clone(worker)).collect();
        let exchange = &self.config.poll.control_exchange;
        carrier.enable_events(exchange, &workers).await?;
        for (worker, _) in due.iter().filter(|(_, first)| *first) {
            info!(%worker, "enabled task events on a worker");
        }
        Ok(())
    }

    async fn look_elsewhere(&mut self, carrier: &mut Carrier) -> Result<(), LinkError> {
        let Carrier::Redis(redis) = carrier else {
            return Ok(());
        };
        // If the server does not answer, the round ends here, and it is not asked again.
        if !std::mem::replace(&mut self.unanswered, true) {
            // The usual error is a missing permission.
            let limit = redis.output_buffer_limit().await.ok().flatten();
            self.unanswered = false;
            self.log_output_buffer(limit);
        }
        // An empty result is reported too, because it clears an earlier one.
        let asked = clock::now();
        let channels = redis
            .unsubscribed_channels(&self.config.event_exchange)
            .await;
        self.report(asked, Answers::Elsewhere(channels)).await
    }

    /// Logs how large a burst Redis holds, when this is known or has changed.
    fn log_output_buffer(&mut self, limit: Option<redis::OutputBufferLimit>) {
        if let Some(limit) = limit
            && self.output_buffer.replace(limit) != Some(limit)
        {
            let events = limit.events();
            info!(%limit, events, "while celeriac cannot read, Redis holds bursts up to client-output-buffer-limit");
        }
    }

    async fn report(&self, asked: Timestamp, answers: Answers) -> Result<(), LinkError> {
        let report = Report {
            broker: self.broker,
            asked,
            received: clock::now(),
            answers,
        };
        self.reports
            .send(report)
            .await
            .map_err(|_| LinkError::Abandoned)
    }

    /// Records whether the broker refused a request. A refusal is logged once until the request
    /// succeeds again.
    fn refused(&mut self, task: Task, error: Option<&LinkError>) {
        let logged = match task {
            Task::Queues => &mut self.logged.queues,
            Task::Control | Task::EnableEvents => &mut self.logged.control,
            // What refuses this one refuses the round before it.
            Task::Beats | Task::Elsewhere => return,
        };
        let logged = std::mem::replace(logged, error.is_some());
        match (error, task) {
            (None, _) => {}
            (Some(error), _) if logged => debug!(%error, "poll failed"),
            (Some(error), Task::Queues) => warn!(%error, "polling queue lengths failed"),
            (Some(error), _) => {
                warn!(%error, "polling workers failed");
            }
        }
    }

    /// Records that there is no connection. Returns the pause before the next attempt.
    fn failed(&mut self, error: &LinkError) -> Duration {
        let was_connected = self.link.is_subscribed();
        let address = self.config.address(self.server);
        let now = clock::monotonic();
        let delay = self.link.failed(now, now, fastrand::f64());
        // The source reports a broker that is down. It may notice a moment later.
        let is_reported = self.metrics.connected.get() == 0.0 || self.link.attempt() < 2;
        if is_reported || std::mem::replace(&mut self.logged.connection, true) {
            debug!(%address, %error, ?delay, "polling queues and workers failed");
        } else {
            warn!(%address, %error, "polling queues and workers failed; retrying");
        }
        if !was_connected {
            self.server = (self.server + 1) % self.config.servers();
            let poll = &self.config.poll;
            let queues = poll.queue_interval.map(|_| &self.metrics.queues);
            let control = poll.control_interval.map(|_| &self.metrics.control);
            for metrics in queues.into_iter().chain(control) {
                metrics.rounds.add(1);
                metrics.failures.add(1);
            }
        }
        delay
    }
}

impl Carrier {
    /// Waits for something else while keeping the connection alive.
    async fn rest<T>(&mut self, waiting: impl Future<Output = T>) -> Result<T, LinkError> {
        match self {
            Self::Amqp(poll) => poll.rest(waiting).await,
            // The client library keeps this connection alive.
            Self::Redis(_) => Ok(waiting.await),
        }
    }

    async fn queue_levels(
        &mut self,
        names: &[String],
    ) -> Result<(Vec<QueueLevel>, Vec<String>), LinkError> {
        match self {
            Self::Amqp(poll) => poll.queue_levels(names).await,
            // On Redis an empty list does not exist, so no queue counts as absent.
            Self::Redis(poll) => Ok((poll.queue_levels(names).await?, Vec::new())),
        }
    }

    /// Whether the broker has more bindings than the limit.
    const fn has_more_bindings(&mut self) -> bool {
        match self {
            Self::Amqp(_) => false,
            Self::Redis(poll) => poll.has_more_bindings(),
        }
    }

    /// The bindings, if the broker exposes them.
    fn bindings(&self) -> Option<Vec<Binding>> {
        match self {
            Self::Amqp(_) => None,
            Self::Redis(poll) => Some(poll.bindings().to_vec()),
        }
    }

    async fn ask(&mut self, exchange: &str, round: &mut Round) -> Result<(), LinkError> {
        match self {
            Self::Amqp(poll) => poll.ask(exchange, round).await,
            Self::Redis(poll) => poll.ask(exchange, round).await,
        }
    }

    async fn enable_events(
        &mut self,
        exchange: &str,
        workers: &[Arc<str>],
    ) -> Result<(), LinkError> {
        match self {
            Self::Amqp(poll) => poll.enable_events(exchange, workers).await,
            Self::Redis(poll) => poll.enable_events(exchange, workers).await,
        }
    }

    async fn leave(self) {
        match self {
            Self::Amqp(poll) => poll.leave().await,
            Self::Redis(poll) => poll.leave().await,
        }
    }
}
