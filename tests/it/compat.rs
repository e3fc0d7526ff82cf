//! Runs the exporters that the profiles replace side by side with celeriac on the same workers. Their pages agree in
//! names, types, labels and values, except where a table states the reason.
//!
//! An exporter that is not installed is represented by its recorded pages in `tests/golden/exporters`, made with the
//! same workload, so everything except durations agrees. `RECORD_EXPORTERS=1` records them again from a run in which
//! all pages agreed.

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

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_of_the_celery_exporter_mixin_has_an_answer() {
    let (redis, prometheus) = (Redis::start().await, Prometheus::start_3().await);
    let config = format!(
        "global: {{interval: 1s, external_labels: {{job: celery, namespace: shop, cluster: main}}}}\n\
         brokers: [{{url: {:?}, control_interval: 2s, queue_interval: 1s, queues: [celery, high]}}]\n\
         metrics: {{worker_timeout: 5s}}\n\
         remote_write:\n  - {{url: {url:?}, name: exporter, profile: celery-exporter}}\n  \
         - {{url: {url:?}, name: flower, profile: flower}}\n",
        redis.url(0),
        url = prometheus.write_url()
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let celery = Celery::new("5.6", &redis.url(0), &redis.url(1));
    celery.script("gentle.py", 30).await;
    // Without a pool, no child process outlives the worker.
    let mut worker = celery
        .worker("w1", &["-P", "solo", "-Q", "celery,high"])
        .await;
    celery.script("settle.py", 40).await;

    let ratio = format!("{FAILED} / ({FAILED} + {SUCCEEDED}) * 100 > 5");
    let failing = |queue: &str| {
        let labels = [("queue_name", queue), ("name", "proj.fail")];
        (with_globals(&labels), 100.0)
    };
    answers(&prometheus, &ratio, &[failing("celery"), failing("high")]).await;

    worker.kill();
    celery.script("gentle.py", 30).await;
    let length = |queue: &str, tasks| (with_globals(&[("queue_name", queue)]), tasks);
    let lengths = [length("celery", 24.0), length("high", 16.0)];
    answers(&prometheus, QUEUE_LENGTH, &lengths).await;

    for (query, label, value) in [
        (WORKER_DOWN, "hostname", ""),
        (FLOWER_WORKER_DOWN, "worker", "w1@"),
    ] {
        let down = wait_for(query, 30, async || {
            match prometheus.query(query, None).await.as_slice() {
                [(labels, _)] => Ok(labels.clone()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let named = down[label]
            .as_str()
            .expect("the label of the one that is down");
        assert!(!named.is_empty() && named.starts_with(value), "{down}");
        for (label, value) in [
            ("job", "celery"),
            ("namespace", "shop"),
            ("cluster", "main"),
        ] {
            assert_eq!(down[label], value, "{down}");
        }
    }
}

type Labels = BTreeMap<String, String>;

fn with_globals(labels: &[(&str, &str)]) -> Labels {
    let globals = [("job", "celery"), ("namespace", "shop")];
    let all = globals.iter().chain(labels);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Waits until a query gives these series with these values, and no others.
async fn answers(prometheus: &Prometheus, query: &str, expected: &[(Labels, f64)]) {
    wait_for(query, 30, async || {
        let series = prometheus.query(query, None).await;
        let found = |(labels, value): &(Labels, f64)| {
            series.iter().any(|(found, number)| {
                let same = serde_json::to_value(labels).is_ok_and(|labels| labels == *found);
                same && (number - value).abs() < 1e-6
            })
        };
        if series.len() == expected.len() && expected.iter().all(found) {
            Ok(())
        } else {
            Err(format!("{series:?}"))
        }
    })
    .await;
}

#[test]
fn what_differs_is_found_where_no_row_allows_it() {
    let text = "# TYPE t_total counter\nt_total{name=\"a\\\"b\",queue=\"q\"} 3.0\n\
                # TYPE g gauge\ng 1.0\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1.0\n\
                h_bucket{le=\"+Inf\"} 2.0\nh_count 2.0\nh_sum 1.5\nh_created 7\n";
    let row = |family, rule| Difference {
        family,
        labels: &[],
        rule,
        why: "",
    };
    // A replacement made on their page to get ours, the allowed differences, and the reported ones.
    let cases: [(&str, &str, Vec<Difference>, &[&str]); 13] = [
        ("", "", vec![], &[]),
        ("le=\"1.0\"", "le=\"1\"", vec![], &[]),
        ("h_created 7\n", "python_info{} 1\n", vec![], &[]),
        ("g 1.0", "g 2", vec![], &["g{}: theirs 1, ours 2"]),
        ("g 1.0", "g 2", vec![row("g", Rule::Within(1.0))], &[]),
        ("g 1.0", "g 0", vec![row("g", Rule::OursIs(0.0))], &[]),
        (
            "g 1.0",
            "g 1",
            vec![row("g", Rule::OursIs(1.0))],
            &["g{}: theirs 1, ours 1 (OursIs(1.0): )"],
        ),
        (
            "g 1.0",
            "g 1\no{} 1",
            vec![row("o", Rule::OursAtZero)],
            &["only on ours: o{} 1"],
        ),
        ("g 1.0", "g 1\no{} 0", vec![row("o", Rule::OursAtZero)], &[]),
        ("g 1.0\n", "", vec![], &["missing on ours: g{} 1"]),
        (
            "gauge",
            "counter",
            vec![],
            &["type of g: theirs Some(\"gauge\"), ours Some(\"counter\")"],
        ),
        (
            "queue=\"q\"",
            "queue=\"r\"",
            vec![row("t_total", Rule::SumOver("queue"))],
            &[],
        ),
        (
            "h_sum 1.5",
            "h_sum 1.6",
            vec![],
            &["h_sum{}: theirs 1.5, ours 1.6"],
        ),
    ];
    for (from, to, rows, told) in cases {
        let (theirs, ours) = (
            Exposition::parse(text),
            Exposition::parse(&text.replace(from, to)),
        );
        assert_eq!(
            compare(&theirs, &ours, &rows, Durations::Same),
            told,
            "{from:?} → {to:?}"
        );
    }
    let slower = Exposition::parse(&text.replace("h_sum 1.5", "h_sum 1.6"));
    let told = compare(
        &Exposition::parse(text),
        &slower,
        &[],
        Durations::OfAnotherRun,
    );
    assert_eq!(told, Vec::<String>::new());
    let read = Exposition::parse(&slower.to_string());
    assert_eq!(
        read.samples, slower.samples,
        "what is written is read again"
    );
}
