//! Runs the exporters that the profiles replace side by side with celeriac on the same workers. Their pages agree in
//! names, types, labels and values, except where a table states the reason.
//!
//! An exporter that is not installed is represented by its recorded pages in `tests/golden/exporters`, made with the
//! same workload, so everything except durations agrees. `RECORD_EXPORTERS=1` records them again from a run in which
//! all pages agreed.

mod mixin;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::comparison::{Difference, Durations, Rule, compare};
use super::support::exporter::{Exporter, Kind};
use super::support::exposition::{Exposition, Series};
use super::support::prometheus::Prometheus;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::{target, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn on_redis_each_profile_agrees_with_its_exporter() {
    side_by_side(Broker::Redis(Redis::start().await), &Kind::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_rabbitmq_celery_exporters_consumers_agree_too() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    let broker = Broker::RabbitMq(Box::new(rabbitmq), redis);
    side_by_side(broker, &[Kind::Danihodovic]).await;
}

/// When pages are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// All tasks were sent, and no worker is running.
    Waiting,
    /// All tasks have ended, and the worker is idle.
    Done,
    /// The worker has announced its shutdown.
    Stopped,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Stopped => "stopped",
        }
    }
}

/// Returns where an exporter's page is wrong, or depends on timing.
fn differences(kind: Kind) -> &'static [Difference] {
    match kind {
        Kind::Danihodovic => DANIHODOVIC,
        Kind::Zerok => ZEROK,
        Kind::OvalMoney => OVALMONEY,
        Kind::Flower => FLOWER,
        Kind::Zeit => &[],
    }
}

const DANIHODOVIC: &[Difference] = &[Difference {
    family: "celery_task_queue_wait_time",
    labels: &[],
    rule: Rule::Ours,
    why: "new in 0.12, and PyPI has 0.11",
}];

const ALL_STATES: &str = "theirs has all states beforehand only if a worker answered as it started";
const REJECTED: &str = "theirs does not know that a rejected task has ended";
const SECOND_ATTEMPT: &str =
    "theirs counts a second attempt if its task-received came behind the task-retried";

const ZEROK: &[Difference] = &[
    Difference {
        family: "celery_tasks",
        labels: &[],
        rule: Rule::OursAtZero,
        why: ALL_STATES,
    },
    Difference {
        family: "celery_tasks_by_name",
        labels: &[],
        rule: Rule::OursAtZero,
        why: ALL_STATES,
    },
    Difference {
        family: "celery_tasks",
        labels: &[("state", "STARTED")],
        rule: Rule::OursIs(0.0),
        why: REJECTED,
    },
    Difference {
        family: "celery_tasks_by_name",
        labels: &[("state", "STARTED"), ("name", "proj.reject")],
        rule: Rule::OursIs(0.0),
        why: REJECTED,
    },
    Difference {
        family: "celery_task_latency",
        labels: &[],
        rule: Rule::Within(1.0),
        why: SECOND_ATTEMPT,
    },
    Difference {
        family: "celery_queue_length",
        labels: &[],
        rule: Rule::Within(24.0),
        why: "theirs is measured every 30 s",
    },
];

const NAMES_QUEUE: &str = "theirs takes the queue that the name was last sent to for each task's";

/// A task name that is sent to both queues.
const fn in_two_queues(
    family: &'static str,
    labels: &'static [(&'static str, &'static str)],
) -> Difference {
    Difference {
        family,
        labels,
        rule: Rule::SumOver("queue"),
        why: NAMES_QUEUE,
    }
}

const OVALMONEY: &[Difference] = &[
    in_two_queues("celery_tasks_total", &[("name", "proj.add")]),
    in_two_queues("celery_tasks_total", &[("name", "proj.slow")]),
    in_two_queues("celery_tasks_total", &[("name", "proj.fail")]),
    in_two_queues("celery_tasks_runtime_seconds", &[("name", "proj.add")]),
    in_two_queues("celery_tasks_runtime_seconds", &[("name", "proj.slow")]),
    in_two_queues("celery_tasks_latency_seconds", &[("name", "proj.add")]),
    in_two_queues("celery_tasks_latency_seconds", &[("name", "proj.slow")]),
    in_two_queues("celery_tasks_latency_seconds", &[("name", "proj.fail")]),
    Difference {
        family: "celery_tasks_latency_seconds",
        labels: &[("name", "proj.retry_once")],
        rule: Rule::Within(1.0),
        why: SECOND_ATTEMPT,
    },
];

const FLOWER: &[Difference] = &[Difference {
    family: "flower_task_prefetch_time_seconds",
    labels: &[("task", "proj.retry_once")],
    rule: Rule::OursIs(0.0),
    why: "theirs keeps the first attempt's time when the second one had an ETA",
}];

enum Broker {
    Redis(Redis),
    /// With a Redis for the results.
    RabbitMq(Box<RabbitMq>, Redis),
}

impl Broker {
    fn url(&self) -> String {
        match self {
            Self::Redis(redis) => redis.url(0),
            Self::RabbitMq(rabbitmq, _) => rabbitmq.url(""),
        }
    }

    fn backend(&self) -> String {
        match self {
            Self::Redis(redis) | Self::RabbitMq(_, redis) => redis.url(1),
        }
    }

    /// Returns the number of subscribers to events.
    async fn receivers(&self) -> usize {
        match self {
            Self::Redis(redis) => redis.subscribers().await,
            Self::RabbitMq(rabbitmq, _) => rabbitmq.receivers(),
        }
    }
}

/// An exporter, or its recorded pages.
enum Theirs {
    Running(Exporter),
    Recorded(Kind),
}

impl Theirs {
    fn start(kind: Kind, broker: &str) -> Self {
        if let Some(folder) = kind.installed() {
            println!("{}: as it runs", kind.name());
            Self::Running(Exporter::start(kind, &folder, broker))
        } else {
            println!("{}: as recorded", kind.name());
            Self::Recorded(kind)
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Running(exporter) => exporter.kind,
            Self::Recorded(kind) => *kind,
        }
    }
}

/// An exporter's page and ours.
struct Pair {
    kind: Kind,
    theirs: Exposition,
    ours: Exposition,
    durations: Durations,
}

impl Pair {
    async fn fetch(theirs: &mut Theirs, celeriac: &Celeriac, phase: Phase) -> Self {
        let kind = theirs.kind();
        let (their, durations) = match theirs {
            Theirs::Running(exporter) => {
                (Exposition::parse(&exporter.page().await), Durations::Same)
            }
            Theirs::Recorded(_) => (recorded(kind, phase), Durations::OfAnotherRun),
        };
        let (status, text) = celeriac.get(&format!("/{}", kind.name())).await;
        assert_eq!(status, 200, "{text}");
        let ours = Exposition::parse(&text);
        let ours = match durations {
            Durations::Same => ours,
            Durations::OfAnotherRun => anonymous(&ours),
        };
        Self {
            kind,
            theirs: their,
            ours,
            durations,
        }
    }

    fn compare(&self, phase: Phase) -> Vec<String> {
        let allowed = differences(self.kind);
        let wrong = compare(&self.theirs, &self.ours, allowed, self.durations);
        let name = self.kind.name();
        if !wrong.is_empty() {
            let folder = target().join("compat");
            std::fs::create_dir_all(&folder).expect("a writable target");
            for (whose, page) in [("theirs", &self.theirs), ("ours", &self.ours)] {
                let file = format!("{name}.{}.{whose}.txt", phase.name());
                std::fs::write(folder.join(file), page.to_string()).expect("a writable target");
            }
        }
        let wrong = wrong.into_iter();
        wrong.map(|line| format!("{name}: {line}")).collect()
    }
}

async fn side_by_side(broker: Broker, kinds: &[Kind]) {
    let mut scrape = vec!["{path: /metrics, profile: native}".to_owned()];
    scrape.extend(
        kinds
            .iter()
            .map(|kind| format!("{{path: /{}, profile: {}}}", kind.name(), kind.profile())),
    );
    let config = format!(
        "brokers: [{{url: {:?}, control_interval: 2s, queue_interval: 1s, queues: [celery, high]}}]\n\
         http: {{listen: \"{{listen}}\", scrape: [{}]}}\n",
        broker.url(),
        scrape.join(", ")
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let before = broker.receivers().await;
    let start = |&kind| Theirs::start(kind, &broker.url());
    let mut theirs: Vec<_> = kinds.iter().map(start).collect();
    let running = |theirs: &&Theirs| matches!(theirs, Theirs::Running(_));
    let expected = before + theirs.iter().filter(running).count();
    wait_for("the exporters to subscribe", 30, async || {
        match broker.receivers().await {
            enough if enough >= expected => Ok(()),
            fewer => Err(format!("{fewer} of {expected}")),
        }
    })
    .await;

    let celery = Celery::new("5.6", &broker.url(), &broker.backend());
    celery.script("gentle.py", 30).await;
    agree(&mut theirs, &celeriac, Phase::Waiting).await;
    let mut worker = celery.worker("w1", &["-c", "2", "-Q", "celery,high"]).await;
    celery.script("settle.py", 40).await;
    agree(&mut theirs, &celeriac, Phase::Done).await;
    worker.terminate(30);
    agree(&mut theirs, &celeriac, Phase::Stopped).await;
}

/// Waits until all pages agree: some exporters poll only every ten seconds.
async fn agree(theirs: &mut [Theirs], celeriac: &Celeriac, phase: Phase) {
    let mut pairs = Vec::new();
    wait_for(&format!("pages that agree ({phase:?})"), 40, async || {
        pairs.clear();
        for theirs in theirs.iter_mut() {
            pairs.push(Pair::fetch(theirs, celeriac, phase).await);
        }
        let wrong: Vec<_> = pairs.iter().flat_map(|pair| pair.compare(phase)).collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            let folder = target().join("compat");
            Err(format!("{}\npages: {}", wrong.join("\n"), folder.display()))
        }
    })
    .await;
    if std::env::var_os("RECORD_EXPORTERS").is_some() && theirs.len() == Kind::ALL.len() {
        for pair in pairs
            .iter()
            .filter(|pair| pair.durations == Durations::Same)
        {
            let text = anonymous(&pair.theirs).to_string();
            std::fs::write(golden(pair.kind, phase), text).expect("a writable folder");
        }
    }
}

fn golden(kind: Kind, phase: Phase) -> PathBuf {
    let file = format!(
        "tests/golden/exporters/{}.{}.txt",
        kind.name(),
        phase.name()
    );
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn recorded(kind: Kind, phase: Phase) -> Exposition {
    let file = golden(kind, phase);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!("{} is neither installed nor recorded: {error}", kind.name())
    });
    Exposition::parse(&text)
}

/// Removes the parts that differ in each run: the machine's name, and the pids in clients' names.
fn anonymous(page: &Exposition) -> Exposition {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a machine's name");
    let machine = machine.trim();
    page.relabelled(|series| {
        let labels = series.labels.iter().map(|(label, value)| {
            let value = match value.split_once('@') {
                Some((node, host)) if host == machine => format!("{}@HOST", without_pid(node)),
                None if value == machine => "HOST".to_owned(),
                Some(_) | None => value.clone(),
            };
            (label.clone(), value)
        });
        Series {
            name: series.name.clone(),
            labels: labels.collect(),
        }
    })
}

/// `gen` of `gen123`, and other names as they are.
fn without_pid(node: &str) -> &str {
    let digits = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
    if node.strip_prefix("gen").is_some_and(digits) {
        "gen"
    } else {
        node
    }
}

/// The expressions of the alerts in the celery-exporter mixin, without thresholds and waiting times.
const FAILED: &str = "sum by (job, namespace, queue_name, name) (increase(\
    celery_task_failed_total{job=~\".*celery.*\", queue_name!~\"None\", name!~\"None\"}[10m]))";
const SUCCEEDED: &str = "sum by (job, namespace, queue_name, name) (increase(\
    celery_task_succeeded_total{job=~\".*celery.*\", queue_name!~\"None\", name!~\"None\"}[10m]))";
const QUEUE_LENGTH: &str = "sum by (job, namespace, queue_name) (\
    celery_queue_length{job=~\".*celery.*\", queue_name!~\"None\"})";
const WORKER_DOWN: &str = "celery_worker_up{job=~\".*celery.*\"} == 0";
const FLOWER_WORKER_DOWN: &str = "flower_worker_online{job=~\".*celery.*\"} == 0";
