//! How celeriac's costs grow with events, series, tasks in flight, workers, queues and receivers.
//!
//! Every daemon runs as in production: with a `data_dir` and a receiver. The three daemons of a curve run side by side, each
//! on its own Redis; with events, one after the other on RabbitMQ.

use std::collections::BTreeMap;
use std::time::Duration;

use tempfile::TempDir;

use crate::pace::{Lives, publish};
use crate::report::{Curve, Point, Section, rounded};
use crate::sink::Sink;
use crate::support::celeriac::{Celeriac, Page};
use crate::support::events::{envelope, life};
use crate::support::load::{Confirmed, Way, now};
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis::Redis;
use crate::usage::{Cpu, mebibytes};

const INTERVAL: Duration = Duration::from_secs(5);

/// Long enough for a snapshot and its checkpoint, and two snapshots that are measured.
const SETTLING: Duration = Duration::from_secs(6);
const WINDOW: Duration = Duration::from_secs(10);

/// Seconds between two heartbeats of a worker, as Celery sends them.
const FREQ: u64 = 2;

/// Samples of one task name whose tasks succeed.
const SAMPLES: u64 = 95;

/// Number of messages published together, and the pause after them.
const AT_ONCE: usize = 5_000;
const PAUSE: Duration = Duration::from_millis(50);

/// What a daemon has to do.
#[derive(Clone, Copy, Debug)]
struct Case {
    at: u64,
    /// Task names whose tasks have ended.
    names: u64,
    in_flight: u64,
    workers: u64,
    queues: u64,
    receivers: u64,
}

const USUAL: Case = Case {
    at: 0,
    names: 10,
    in_flight: 0,
    workers: 0,
    queues: 0,
    receivers: 1,
};

/// A daemon with what it needs.
struct Setup {
    at: f64,
    celeriac: Celeriac,
    _data: TempDir,
    _sink: Sink,
}

pub async fn run() -> Section {
    let mut section = Section::new(Vec::new());
    section.curves.push(by_events().await);
    let case = |at, change: fn(&mut Case, u64)| {
        let mut case = Case { at, ..USUAL };
        change(&mut case, at);
        case
    };
    for (by, sizes, change) in [
        (
            "samples per snapshot",
            [1_000, 10_000, 100_000],
            (|case, at| case.names = at / SAMPLES) as fn(&mut Case, u64),
        ),
        (
            "tasks in flight",
            [10_000, 100_000, 1_000_000],
            |case, at| case.in_flight = at,
        ),
        ("workers", [10, 100, 1_000], |case, at| case.workers = at),
        ("queues", [10, 100, 1_000], |case, at| case.queues = at),
        ("receivers of 10,000 samples", [1, 3, 10], |case, at| {
            (case.names, case.receivers) = (10_000 / SAMPLES, at);
        }),
    ] {
        let cases = sizes.map(|at| case(at, change));
        section.curves.push(Curve {
            by: by.to_owned(),
            points: side_by_side(&cases).await,
        });
    }
    section
}

async fn by_events() -> Curve {
    let rabbitmq = RabbitMq::start().await;
    let mut points = Vec::new();
    for rate in [100.0, 1_000.0, 10_000.0] {
        let url = rabbitmq.url("");
        let queue = format!("race.{rate}");
        let broker = format!("url: {url:?}, delivery: durable, queue: {queue}");
        let mut setup = Setup::start(rate, &broker, 1).await;
        let mut way = Way::RabbitMq(Confirmed::new(&url));
        let mut lives = Lives::new(100, 1);
        publish(&mut way, &mut lives, rate, SETTLING.as_secs_f64()).await;
        let cpu = Cpu::of(setup.celeriac.process.pid());
        let published = publish(&mut way, &mut lives, rate, WINDOW.as_secs_f64()).await;
        setup.at = rounded(published.rate());
        points.push(setup.point(&cpu).await);
        drop(setup);
        rabbitmq.ctl(&["delete_queue", &queue]);
    }
    Curve {
        by: "events per second, one a message, RabbitMQ".to_owned(),
        points,
    }
}

async fn side_by_side(cases: &[Case]) -> Vec<Point> {
    let (mut setups, mut redises, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for case in cases {
        let redis = Redis::start().await;
        let queues: Vec<String> = (0..case.queues).map(|n| format!("queue-{n}")).collect();
        let broker = format!("url: {:?}, queues: {queues:?}", redis.url(0));
        let setup = Setup::start(case.at as f64, &broker, case.receivers).await;
        counts.push(fill(&redis, case).await as f64);
        setups.push(setup);
        redises.push(redis);
    }
    for (setup, count) in setups.iter().zip(counts) {
        let counted = |page: &Page| page.events() >= count;
        let celeriac = &setup.celeriac;
        celeriac.page_when("every event", 120, counted).await;
    }
    beat(&redises, cases, SETTLING).await;
    let begun: Vec<_> = setups
        .iter()
        .map(|setup| Cpu::of(setup.celeriac.process.pid()))
        .collect();
    beat(&redises, cases, WINDOW).await;
    let mut points = Vec::new();
    for (setup, cpu) in setups.iter().zip(&begun) {
        points.push(setup.point(cpu).await);
    }
    points
}

/// Publishes ended tasks of each name, and tasks in flight. Returns the number of events.
async fn fill(redis: &Redis, case: &Case) -> usize {
    let (names, at) = (case.names, now());
    let name = |n: u64| format!("race.task_{}", n % names);
    let ended = (0..names).flat_map(|n| life(n, &name(n), at));
    let flying = (names..names + case.in_flight).map(|n| {
        let [_, received, ..] = life(n, &name(n), at);
        received
    });
    let mut events = ended.chain(flying).peekable();
    let mut count = 0;
    while events.peek().is_some() {
        let messages: Vec<String> = events
            .by_ref()
            .take(AT_ONCE)
            .map(|event| envelope(&event))
            .collect();
        count += messages.len();
        redis.publish(messages.iter().map(String::as_bytes)).await;
        tokio::time::sleep(PAUSE).await;
    }
    count
}

/// Sends the workers' heartbeats for a time.
async fn beat(redises: &[Redis], cases: &[Case], time: Duration) {
    let mut beats = tokio::time::interval(Duration::from_secs(FREQ));
    for _ in 0..time.as_secs() / FREQ {
        beats.tick().await;
        for (redis, case) in redises.iter().zip(cases) {
            let beat = |n| {
                envelope(&format!(
                    r#"{{"hostname": "w{n}@host{n}", "utcoffset": 0, "pid": 4242, "clock": 7, "freq": {FREQ}, "active": 0, "processed": 0, "loadavg": [0.43, 0.48, 0.27], "sw_ident": "py-celery", "sw_ver": "5.6.3", "sw_sys": "Linux", "timestamp": {}, "type": "worker-heartbeat"}}"#,
                    now()
                ))
            };
            let messages: Vec<String> = (0..case.workers).map(beat).collect();
            if !messages.is_empty() {
                redis.publish(messages.iter().map(String::as_bytes)).await;
            }
        }
    }
    // The first tick is immediate.
    beats.tick().await;
}

impl Setup {
    async fn start(at: f64, broker: &str, receivers: u64) -> Self {
        let (sink, data) = (Sink::start().await, TempDir::new().expect("a folder"));
        let url = sink.url();
        let receivers = (0..receivers).map(|n| format!("{{name: r{n}, url: {url:?}}}"));
        let config = format!(
            "data_dir: {:?}\nglobal: {{interval: {}s}}\nmetrics: {{max_series: 1000000}}\n\
             brokers: [{{{broker}, queue_interval: 5s}}]\nremote_write: [{}]\n",
            data.path(),
            INTERVAL.as_secs(),
            receivers.collect::<Vec<_>>().join(", ")
        );
        let celeriac = Celeriac::start(&config).await;
        celeriac.subscribed("default").await;
        Self {
            at,
            celeriac,
            _data: data,
            _sink: sink,
        }
    }

    async fn point(&self, cpu: &Cpu) -> Point {
        let cores = cpu.seconds() / WINDOW.as_secs_f64();
        let page = self.celeriac.page().await;
        let of = |name: &str| Page::sum(&page, name, &[]).abs();
        let costs = [
            ("CPU, % of a core", 100.0 * cores),
            ("memory, MiB", mebibytes(self.celeriac.process.pid())),
            ("samples", page.sum("celeriac_samples", &["native"])),
            (
                "snapshot, ms",
                1e3 * of("celeriac_snapshot_duration_seconds"),
            ),
            (
                "checkpoint, ms",
                1e3 * of("celeriac_checkpoint_duration_seconds"),
            ),
            ("checkpoint, MB", of("celeriac_checkpoint_size_bytes") / 1e6),
        ];
        let named = |(name, cost): (&str, f64)| (name.to_owned(), cost);
        Point {
            at: self.at,
            costs: costs.map(named).into_iter().collect::<BTreeMap<_, _>>(),
        }
    }
}
