//! CPU time per million samples pushed, and bytes per sample, side by side.
//!
//! Every celeriac watches the same Redis, so all have the same series with the same values. Two have no receiver: the agents
//! scrape the page of one. What the other spends on events and snapshots is subtracted from what those with a receiver
//! spend, so their figure is that of remote write. The figure of an agent includes scraping, but not what the scraped
//! daemon spends on its page.

use std::time::Duration;

use crate::agents::{Agent, Running};
use crate::pace::Lives;
use crate::report::{Row, Section};
use crate::sink::{Received, Sink};
use crate::support::celeriac::Celeriac;
use crate::support::load::{Channels, Way};
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::victoria::Victoria;
use crate::usage::Cpu;

/// Task names: about 12,000 samples.
const NAMES: u64 = 126;

/// Tasks per second, so that values change, and events per message.
const TASKS: u64 = 125;
const PER_MESSAGE: usize = 20;

/// The one whose whole CPU time is shown as well.
const SECOND: &str = "celeriac, 2.0";

const WARMUP: u64 = 12;
const ROUNDS: usize = 5;
/// Length of a round in seconds.
const SECONDS: u64 = 6;
/// Of snapshots and of scrapes.
const INTERVAL: &str = "1s";

enum Program {
    Celeriac(Celeriac),
    Agent(Running),
}

struct Pusher {
    name: &'static str,
    program: Program,
    sink: Sink,
    /// Seconds of CPU time per million samples.
    cpu: Vec<f64>,
    /// The same, without subtracting anything.
    whole: Vec<f64>,
    /// Bytes per sample.
    bytes: Vec<f64>,
}

impl Pusher {
    fn new(name: &'static str, program: Program, sink: Sink) -> Self {
        Self {
            name,
            program,
            sink,
            cpu: Vec::new(),
            whole: Vec::new(),
            bytes: Vec::new(),
        }
    }

    fn process(&self) -> &Process {
        match &self.program {
            Program::Celeriac(celeriac) => &celeriac.process,
            Program::Agent(agent) => &agent.process,
        }
    }

    fn begin(&self) -> (Cpu, Received) {
        (Cpu::of(self.process().pid()), self.sink.received())
    }

    /// Ends a round in which a daemon without a receiver used some seconds.
    fn end(&mut self, (cpu, before): (Cpu, Received), without: f64) {
        let (whole, after) = (cpu.seconds(), self.sink.received());
        let seconds = match self.program {
            Program::Celeriac(_) => whole - without,
            Program::Agent(_) => whole,
        };
        let samples = (after.samples - before.samples) as f64;
        assert!(samples > 0.0, "{}:\n{}", self.name, self.process().output());
        self.cpu.push(1e6 * seconds / samples);
        self.whole.push(1e6 * whole / samples);
        self.bytes
            .push((after.bytes - before.bytes) as f64 / samples);
    }
}

pub async fn run() -> Section {
    let mut section = Section::new(Vec::new());
    let (redis, victoria) = (Redis::start().await, Victoria::start_newer().await);
    let (page, alone) = (celeriac(&redis, None).await, celeriac(&redis, None).await);
    let mut pushers = Vec::new();
    for (name, version) in [
        ("celeriac, 1.0", "prometheus.WriteRequest"),
        (SECOND, "io.prometheus.write.v2.Request"),
        ("celeriac, to VictoriaMetrics", "auto"),
    ] {
        let sink = if version == "auto" {
            Sink::before(&victoria.base).await
        } else {
            Sink::start().await
        };
        let program = celeriac(&redis, Some((&sink.url(), version))).await;
        pushers.push(Pusher::new(name, Program::Celeriac(program), sink));
    }
    for agent in Agent::ALL {
        if !agent.is_installed() {
            section.skipped.push(agent.name().to_owned());
            continue;
        }
        let sink = if agent == Agent::VmagentZstd {
            Sink::before(&victoria.base).await
        } else {
            Sink::start().await
        };
        let program = agent.start(page.port, INTERVAL, &sink.url());
        pushers.push(Pusher::new(agent.name(), Program::Agent(program), sink));
    }
    let mut way = Way::Redis(Channels::new(&redis).await);
    let mut lives = Lives::new(NAMES, PER_MESSAGE);
    work(&mut way, &mut lives, WARMUP).await;
    for _ in 0..ROUNDS {
        let without = Cpu::of(alone.process.pid());
        let begun: Vec<_> = pushers.iter().map(Pusher::begin).collect();
        work(&mut way, &mut lives, SECONDS).await;
        let without = without.seconds();
        for (pusher, begun) in pushers.iter_mut().zip(begun) {
            pusher.end(begun, without);
        }
    }
    let samples = page.page().await.sum("celeriac_samples", &["native"]);
    section.rows = rows(samples, &pushers);
    section
}

/// Publishes tasks once a second, so that daemons wake up for few messages.
async fn work(way: &mut Way, lives: &mut Lives, seconds: u64) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..seconds {
        ticks.tick().await;
        way.publish(lives.messages(TASKS)).await;
    }
    // The first tick was immediate.
    ticks.tick().await;
}

async fn celeriac(redis: &Redis, receiver: Option<(&str, &str)>) -> Celeriac {
    // Exemplars would make requests longer, and the agents send none.
    let remote = receiver.map_or(String::new(), |(url, version)| {
        format!(
            "remote_write: [{{url: {url:?}, protobuf_message: {version}, send_exemplars: false}}]\n"
        )
    });
    let config = format!(
        "global: {{interval: {INTERVAL}}}\nbrokers: [{{url: {:?}}}]\n{remote}",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("default").await;
    celeriac
}

fn rows(samples: f64, pushers: &[Pusher]) -> Vec<Row> {
    let thousands = (samples / 1e3).round();
    let measure =
        format!("CPU per million samples pushed, {thousands},000 series every {INTERVAL}");
    let cpu = pushers
        .iter()
        .map(|pusher| Row::new(&measure, pusher.name, "s", pusher.cpu.clone()));
    let bytes = pushers.iter().map(|pusher| {
        let name = format!("{} ({})", pusher.name, pusher.sink.received().encoding);
        let measure = "bytes per sample on the wire, same samples";
        Row::new(measure, &name, "bytes", pusher.bytes.clone())
    });
    let whole = pushers.iter().filter(|pusher| pusher.name == SECOND);
    let whole = whole.map(|pusher| {
        let name = format!("{SECOND}, with events and snapshots");
        Row::new(&measure, &name, "s", pusher.whole.clone())
    });
    cpu.chain(whole).chain(bytes).collect()
}
