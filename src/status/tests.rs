use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::compose::{Sources, waiting};
use super::document::{Severity, Status};
use super::facts::Facts;
use super::history::History;
use super::query::Window;
use super::setup::Setup;
use crate::config::Config;
use crate::event::{Batch, BrokerId, ContentType, Form, Payload, Position};
use crate::pipeline::{BrokerRetention, ClusterConfig, Pipeline, ViewConfig};
use crate::profile::ProfileName;
use crate::state::{Answers, QueueLevel, Report};
use crate::telemetry::metrics::Telemetry;
use crate::telemetry::readiness::{Readiness, Reporter};
use crate::timestamp::Timestamp;

const START: i64 = 1_700_000_000_000;

/// A daemon without IO: events and polls go in, and documents come out.
struct Daemon {
    pipeline: Pipeline,
    history: History,
    setup: Setup,
    readiness: Readiness,
    broker: Reporter,
    receiver: Reporter,
    now: Timestamp,
    tasks: u64,
}

impl Daemon {
    fn new() -> Self {
        let text = "brokers: [{url: 'redis://h'}]\nremote_write: [{url: 'http://r/api/v1/write', name: r}]\nhttp: {listen: ':0'}";
        let config = Config::parse(text, Path::new("x.yaml"), []).expect("a good configuration");
        let now = Timestamp::from_millis(START);
        let mut telemetry = Telemetry::new(now);
        let (source, metrics) = telemetry.broker(&"default".into());
        source.connected.set(1.0);
        let cluster = ClusterConfig {
            broker: "default".into(),
            label: None,
            drops_expired: false,
            asks_workers: false,
            holds: BrokerRetention::Nothing,
            shard: None,
            accept: [ContentType::of("application/json")].into_iter().collect(),
            metrics,
        };
        let view = ViewConfig::classic(ProfileName::Native);
        let mut readiness = Readiness::default();
        let broker = readiness.stage("broker default", "not subscribed yet");
        let receiver = readiness.stage("remote_write r", "nothing sent yet");
        broker.ready();
        receiver.ready();
        let mut daemon = Self {
            pipeline: Pipeline::new(&config.metrics, vec![cluster], &[view], telemetry, now),
            history: History::default(),
            setup: Setup::new(&config, "default", now),
            readiness,
            broker,
            receiver,
            now,
            tasks: 0,
        };
        daemon.history.begin(&Arc::new(daemon.facts().counted));
        daemon
    }

    fn event(&mut self, body: &str) {
        let payload = Payload {
            bytes: body.as_bytes().into(),
            form: Form::Body {
                content_type: ContentType::of("application/json"),
                compression: None,
            },
        };
        let batch = Batch {
            broker: BrokerId::new(0),
            received: self.now,
            payloads: vec![payload],
            position: Position::Transient,
        };
        self.pipeline.apply_batch(&batch);
    }

    /// A task that is sent, waits, and runs.
    fn task(&mut self, name: &str, queue: &str, wait: f64, runtime: f64, failed: bool) {
        self.tasks += 1;
        let (id, end) = (self.tasks, self.now.seconds());
        let uuid = format!("00000000-0000-0000-0000-{id:012}");
        let start = end - runtime;
        let sent = start - wait;
        let of = |kind: &str, at: f64, from: &str, more: &str| {
            format!(
                r#"{{"type":"{kind}","uuid":"{uuid}","hostname":"{from}","timestamp":{at},"pid":1,"clock":1,"utcoffset":0{more}}}"#
            )
        };
        let published =
            format!(r#","name":"{name}","queue":"{queue}","routing_key":"{queue}","retries":0"#);
        let received = format!(r#","name":"{name}","retries":0"#);
        let ended = if failed {
            of(
                "task-failed",
                end,
                "celery@a",
                r#","exception":"ValueError('x')","traceback":"""#,
            )
        } else {
            let more = format!(r#","runtime":{runtime},"result":"1""#);
            of("task-succeeded", end, "celery@a", &more)
        };
        for event in [
            of("task-sent", sent, "gen1@web", &published),
            of("task-received", sent + 0.001, "celery@a", &received),
            of("task-started", start, "celery@a", ""),
            ended,
        ] {
            self.event(&event);
        }
    }

    fn queue(&mut self, queue: &str, length: u64) {
        let level = QueueLevel {
            queue: queue.into(),
            length,
            unacked: None,
            consumers: None,
        };
        let report = Report {
            broker: BrokerId::new(0),
            asked: self.now,
            received: self.now,
            answers: Answers::Queues(vec![level]),
        };
        self.pipeline.report(&report);
    }

    /// Lets time pass, with a point of the history every 10 s.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds / 10 {
            self.now = self.now.after(Duration::from_secs(10));
            self.record();
        }
        self.now = self.now.after(Duration::from_secs(seconds % 10));
    }

    fn record(&mut self) {
        let overview = self.pipeline.overview(self.now).expect("native");
        let mut facts = Facts::new(&overview, &self.setup);
        let counted = Arc::new(std::mem::take(&mut facts.counted));
        facts.counted.at = counted.at;
        self.history.record(&facts, &counted, &waiting(&overview));
    }

    fn facts(&self) -> Facts {
        let overview = self.pipeline.overview(self.now).expect("native");
        Facts::new(&overview, &self.setup)
    }

    fn status(&mut self, window: Window) -> Status {
        self.pipeline.snapshots(self.now, false);
        let overview = self.pipeline.overview(self.now).expect("native");
        let facts = Facts::new(&overview, &self.setup);
        let stages: Vec<_> = self.readiness.reports().collect();
        let sources = Sources {
            overview: &overview,
            facts: &facts,
            history: &self.history,
            setup: &self.setup,
            stages: &stages,
        };
        let mut status = sources.compose(window);
        status.attention = sources.problems(&status);
        status
    }
}

fn kinds(status: &Status) -> Vec<&str> {
    let problems = status.attention.iter();
    problems.map(|problem| &*problem.kind).collect()
}

#[test]
fn rows_have_the_totals_of_the_metrics_and_the_rates_of_the_window() {
    let mut daemon = Daemon::new();
    daemon.pass(60);
    for at in 0..60 {
        daemon.task("shop.pay", "pay", 2.0, 0.2, at % 4 == 0);
        daemon.pass(1);
    }
    daemon.record();
    let status = daemon.status(Window::OneMinute);
    let [task] = status.tasks.as_slice() else {
        panic!("one task: {:?}", status.tasks);
    };
    assert_eq!(
        (&*task.name, task.queue.as_deref()),
        ("shop.pay", Some("pay"))
    );
    assert_eq!(
        (task.sent, task.started, task.succeeded, task.failed),
        (60, 60, 45, 15)
    );
    assert_eq!(task.failed_ratio, Some(0.25));
    assert_eq!(task.retried_ratio, Some(0.0));
    let exceptions: Vec<_> = task
        .exceptions
        .iter()
        .map(|one| (&*one.exception, one.failed))
        .collect();
    assert_eq!(exceptions, [("ValueError", 15)]);
    assert!(task.last_run_timestamp_seconds > task.last_failure_timestamp_seconds);
    // One a second, over the sixty seconds since the first mark of this window.
    let rate = task.done_per_minute.expect("a rate");
    assert!((55.0..=65.0).contains(&rate), "{rate}");
    assert_eq!(status.summary.completed_per_minute, task.done_per_minute);
    // In the buckets (0.1, 0.25] and (1, 2.5].
    let runtime = task.runtime_p50_seconds.expect("a median");
    assert!((0.1..=0.25).contains(&runtime), "{runtime}");
    let wait = task.wait_p95_seconds.expect("a percentile");
    assert!((1.0..=2.5).contains(&wait), "{wait}");

    let queue = &status.queues[0];
    assert_eq!(&*queue.name, "pay");
    assert_eq!(queue.waiting, None, "no poll has answered");
    assert_eq!(queue.in_per_minute, queue.out_per_minute);
    assert_eq!(queue.wait_p95_seconds, task.wait_p95_seconds);

    // The last ten points are those in which tasks were completed; those before are known to be 0.
    let history = &status.summary.completed_history;
    assert_eq!(history.len(), 60);
    let total: u32 = history.iter().flatten().sum();
    assert_eq!(total, 60);
    assert_eq!(task.hour_history.iter().flatten().sum::<u32>(), 60);
}

#[test]
fn a_window_forgets_what_happened_before_it() {
    let mut daemon = Daemon::new();
    daemon.task("a", "q", 1.0, 0.5, true);
    daemon.pass(120);
    let minute = daemon.status(Window::OneMinute);
    assert_eq!(minute.tasks[0].done_per_minute, Some(0.0));
    assert_eq!(
        minute.tasks[0].failed_ratio, None,
        "a share of nothing is not known"
    );
    assert_eq!(minute.tasks[0].runtime_p50_seconds, None);
    let hour = daemon.status(Window::OneHour);
    assert_eq!(hour.tasks[0].failed_ratio, Some(1.0));
    assert_eq!(hour.tasks[0].done_per_minute, Some(0.5));
}

#[test]
fn before_the_first_seconds_have_passed_there_is_no_rate() {
    let mut daemon = Daemon::new();
    daemon.task("a", "q", 1.0, 0.5, false);
    daemon.pass(2);
    let status = daemon.status(Window::default());
    assert_eq!(status.tasks[0].done_per_minute, None);
    assert_eq!(status.tasks[0].succeeded, 1);
}

#[test]
fn a_queue_drains_grows_or_lacks_workers() {
    let mut daemon = Daemon::new();
    daemon.queue("q", 0);
    daemon.pass(30);
    for _ in 0..10 {
        daemon.task("a", "q", 1.0, 0.5, false);
    }
    daemon.queue("q", 150);
    daemon.pass(30);
    let status = daemon.status(Window::OneMinute);
    let queue = &status.queues[0];
    assert_eq!(queue.waiting, Some(150));
    // As many arrive as are started.
    assert!(queue.growing);
    assert_eq!(queue.drain_seconds, None);
    assert_eq!(kinds(&status), ["queue_drains_slowly"]);
    assert_eq!(queue.history.iter().flatten().max(), Some(&150));

    daemon.queue("q", 1500);
    let status = daemon.status(Window::OneMinute);
    assert_eq!(kinds(&status), ["queue_backlog"]);
    assert_eq!(status.summary.waiting, Some(1500));
}

#[test]
fn what_is_wrong_comes_worst_first_and_goes_away() {
    let mut daemon = Daemon::new();
    daemon.task("a", "q", 1.0, 0.5, false);
    assert_eq!(kinds(&daemon.status(Window::default())), [] as [&str; 0]);

    for _ in 0..5 {
        daemon.task("a", "q", 1.0, 0.5, true);
    }
    daemon.pass(10);
    daemon.broker.waiting("connection refused");
    let status = daemon.status(Window::OneMinute);
    // `connected` is a gauge of the source, which this daemon lacks.
    assert_eq!(kinds(&status), ["task_failures"]);
    let problem = &status.attention[0];
    assert_eq!(problem.severity, Severity::Warning);
    assert_eq!(problem.text, "83 % of task a fail, mostly with ValueError.");
    assert_eq!(
        problem.runbook.as_deref(),
        Some("runbooks/CeleryTaskFailureRatioHigh.md")
    );
    assert!(
        !status.brokers[0]
            .reason
            .as_deref()
            .unwrap_or_default()
            .is_empty()
    );

    daemon.pass(120);
    daemon.task("a", "q", 1.0, 0.5, false);
    assert_eq!(kinds(&daemon.status(Window::OneMinute)), [] as [&str; 0]);
    daemon.receiver.waiting("connection refused");
    let status = daemon.status(Window::OneMinute);
    assert!(!status.receivers[0].working);
    assert_eq!(
        status.receivers[0].last_error.as_deref(),
        Some("connection refused")
    );
}
