//! CPU time per event, and the share of events lost, in turns; then the share lost in a large burst.
//!
//! Each program has its own virtual host on RabbitMQ, or its own Redis, and runs all the time, but only one of them gets
//! events at a time. CPU time is that of the whole process until it has handled everything that reached it.

use std::time::{Duration, Instant};

use crate::pace::{Lives, publish};
use crate::report::{Row, Section, grouped, median};
use crate::support::celeriac::Celeriac;
use crate::support::exporter::{Exporter, Kind};
use crate::support::load::{Channels, Confirmed, Way};
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis::Redis;
use crate::usage::Cpu;

const ROUNDS: usize = 5;

/// Events per second, and for how long.
const RATE: f64 = 8_000.0;
const SECONDS: f64 = 3.0;

/// The burst: events per second, per message, and for how long. Workers send lists under load.
const BURST_RATE: f64 = 50_000.0;
const BURST_PER_MESSAGE: usize = 20;
const BURST_SECONDS: f64 = 4.0;

/// A program has handled what it got if its count stays the same for this long: longer than celeriac's interval of 1 s.
const QUIET: Duration = Duration::from_millis(1_600);
/// The longest wait for it.
const SETTLING: Duration = Duration::from_secs(40);

/// Names of the counters of events on the exporters' pages.
const COUNTERS: [&str; 6] = [
    "celery_task_sent_total",
    "celery_task_received_total",
    "celery_task_started_total",
    "celery_task_succeeded_total",
    "flower_events_total",
    "celery_tasks_total",
];

enum Program {
    Celeriac(Celeriac),
    Exporter(Exporter),
}

struct Racer {
    name: &'static str,
    program: Program,
    way: Way,
    lives: Lives,
    /// Its Redis, if it has one.
    _redis: Option<Redis>,
    values: Vec<f64>,
    lost: Vec<f64>,
    rates: Vec<f64>,
}

pub async fn run() -> Section {
    let mut section = Section::new(Vec::new());
    let rabbitmq = RabbitMq::start().await;
    let mut racers = Vec::new();
    for kind in [None, Some(Kind::Danihodovic), Some(Kind::Flower)] {
        let vhost = kind.map_or("celeriac", Kind::name);
        rabbitmq.ctl(&["add_vhost", vhost]);
        rabbitmq.ctl(&["set_permissions", "-p", vhost, "guest", ".*", ".*", ".*"]);
        let url = rabbitmq.url(vhost);
        let way = Way::RabbitMq(Confirmed::new(&url));
        racers.extend(start(kind, &url, way, None, &mut section).await);
    }
    section.rows.extend(race("RabbitMQ", racers).await);
    drop(rabbitmq);
    let mut racers = Vec::new();
    for kind in [None, Some(Kind::OvalMoney), Some(Kind::Flower)] {
        let redis = Redis::start().await;
        let url = redis.url(0);
        let way = Way::Redis(Channels::new(&redis).await);
        racers.extend(start(kind, &url, way, Some(redis), &mut section).await);
    }
    section.rows.extend(race("Redis", racers).await);
    section
}

/// Starts celeriac, or an exporter if it is installed.
async fn start(
    kind: Option<Kind>,
    url: &str,
    way: Way,
    redis: Option<Redis>,
    section: &mut Section,
) -> Option<Racer> {
    let name = match kind {
        None => "celeriac",
        Some(Kind::Danihodovic) => "celery-exporter",
        Some(Kind::Flower) => "Flower",
        Some(_) => "OvalMoney's exporter",
    };
    let program = if let Some(kind) = kind {
        let Some(installed) = kind.installed() else {
            section.skipped.push(name.to_owned());
            return None;
        };
        Program::Exporter(Exporter::start(kind, &installed, url))
    } else {
        let config = format!("brokers: [{{url: {url:?}}}]\n");
        Program::Celeriac(Celeriac::start(&config).await)
    };
    Some(Racer {
        name,
        program,
        way,
        lives: Lives::new(10, 1),
        _redis: redis,
        values: Vec::new(),
        lost: Vec::new(),
        rates: Vec::new(),
    })
}

async fn race(broker: &str, mut racers: Vec<Racer>) -> Vec<Row> {
    for racer in &mut racers {
        racer.subscribed().await;
    }
    for round in 0..ROUNDS {
        // Each program is first in some rounds.
        let first = round % racers.len();
        racers.rotate_left(first);
        for racer in &mut racers {
            racer.measure().await;
        }
        racers.rotate_right(first);
    }
    let mut bursts = Vec::new();
    let mut burst_rates = Vec::new();
    for racer in &mut racers {
        let (rate, lost) = racer.burst().await;
        bursts.push((racer.name, lost));
        burst_rates.push(rate);
    }
    let rates: Vec<f64> = racers
        .iter()
        .flat_map(|racer| racer.rates.clone())
        .collect();
    let rate = grouped(median(&rates));
    let measure = format!("CPU per event, {broker}, {rate} events/s for {SECONDS} s");
    let row = |racer: Racer| Row {
        lost: racer.lost,
        ..Row::new(&measure, racer.name, "µs", racer.values)
    };
    let rows = racers.into_iter().map(row);
    let rate = grouped(median(&burst_rates));
    let measure = format!("lost, {broker}, {rate} events/s in lists for {BURST_SECONDS} s");
    let lost = |(name, lost): (&str, f64)| Row::new(&measure, name, "%", vec![100.0 * lost]);
    rows.chain(bursts.into_iter().map(lost)).collect()
}

impl Racer {
    /// Publishes single tasks until one is counted.
    async fn subscribed(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.handled().await == 0.0 {
            assert!(Instant::now() < deadline, "{} counts nothing", self.name);
            self.way.publish(self.lives.messages(1)).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.settled(f64::INFINITY).await;
    }

    async fn measure(&mut self) {
        let before = self.handled().await;
        let cpu = Cpu::of(self.pid());
        let published = publish(&mut self.way, &mut self.lives, RATE, SECONDS).await;
        let handled = self.settled(before + published.events as f64).await - before;
        self.values.push(1e6 * cpu.seconds() / handled);
        self.lost.push(1.0 - handled / published.events as f64);
        self.rates.push(published.rate());
    }

    /// Returns the rate of a burst, and the share that it never counted.
    async fn burst(&mut self) -> (f64, f64) {
        let before = self.handled().await;
        self.lives.per_message = BURST_PER_MESSAGE;
        let (rate, seconds) = (BURST_RATE, BURST_SECONDS);
        let published = publish(&mut self.way, &mut self.lives, rate, seconds).await;
        let events = published.events as f64;
        let handled = self.settled(before + events).await - before;
        (published.rate(), 1.0 - handled / events)
    }

    /// Waits until it has counted everything, or counts no more. Returns its count.
    async fn settled(&mut self, everything: f64) -> f64 {
        let start = Instant::now();
        let (mut count, mut since) = (self.handled().await, Instant::now());
        while count < everything && since.elapsed() < QUIET && start.elapsed() < SETTLING {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let now = self.handled().await;
            if now > count {
                (count, since) = (now, Instant::now());
            }
        }
        count
    }

    fn pid(&self) -> u32 {
        match &self.program {
            Program::Celeriac(celeriac) => celeriac.process.pid(),
            Program::Exporter(exporter) => exporter.process.pid(),
        }
    }

    /// Returns the number of events that it has counted.
    async fn handled(&mut self) -> f64 {
        match &mut self.program {
            Program::Celeriac(celeriac) => celeriac.page().await.events(),
            Program::Exporter(exporter) => {
                let page = exporter.page().await;
                let value = |line: &str| {
                    let (name, _) = line.split_once('{')?;
                    let (_, value) = line.rsplit_once(' ')?;
                    COUNTERS
                        .contains(&name)
                        .then(|| value.parse::<f64>().ok())?
                };
                page.lines().filter_map(value).sum()
            }
        }
    }
}
