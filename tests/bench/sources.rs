//! Measures both sources end to end: the daemon's CPU time for events from a real broker to series.
//!
//! Budgets in events per CPU second: RabbitMQ 150,000 single and 500,000 in lists of 20; Redis 300,000 and 700,000.
//! Publishing uses the same two cores, so the daemon's CPU time is measured, not elapsed time.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "measures time")]

#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the integration tests use the rest"
)]
#[expect(clippy::panic, clippy::needless_collect, reason = "fit for tests")]
mod support;

use std::time::Instant;

use support::amqp::Publisher;
use support::celeriac::Celeriac;
use support::events::{envelope, life};
use support::rabbitmq::RabbitMq;
use support::redis::Redis;

const TASKS: u64 = 100_000;

#[tokio::main]
async fn main() {
    // `cargo bench` passes its own arguments, and so does `cargo test --benches`: then nothing is measured.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    // To run only one: `cargo bench --bench sources -- redis`.
    let wanted = |name: &str| {
        let mut names =
            std::env::args().filter(|argument| ["rabbitmq", "redis"].contains(&argument.as_str()));
        names.next().is_none_or(|only| only == name)
    };
    for size in [1, 20] {
        if wanted("rabbitmq") {
            rabbitmq(size).await;
        }
        if wanted("redis") {
            redis(size).await;
        }
    }
}

fn bodies(size: usize) -> Vec<String> {
    let events: Vec<String> = (0..TASKS)
        .flat_map(|n| life(n, "bench.task", 1_795_344_000.0))
        .collect();
    let body = |events: &[String]| match events {
        [event] => event.clone(),
        events => format!("[{}]", events.join(", ")),
    };
    events.chunks(size).map(body).collect()
}

async fn rabbitmq(size: usize) {
    let rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let celeriac = start(&rabbitmq.url("")).await;
    let bodies = bodies(size);
    let measured = Measured::begin(&celeriac);
    publisher.flood(bodies.iter().map(String::as_bytes)).await;
    measured.end("RabbitMQ", size, &celeriac).await;
}

async fn redis(size: usize) {
    let redis = Redis::start().await;
    let celeriac = start(&redis.url(0)).await;
    let envelopes: Vec<String> = bodies(size).iter().map(|body| envelope(body)).collect();
    let measured = Measured::begin(&celeriac);
    for envelopes in envelopes.chunks(1_000) {
        redis.publish(envelopes.iter().map(String::as_bytes)).await;
    }
    measured.end("Redis", size, &celeriac).await;
}

async fn start(url: &str) -> Celeriac {
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {url:?}}}]\n")).await;
    celeriac.ready().await;
    celeriac
}

struct Measured {
    cpu_seconds: f64,
    start: Instant,
}

impl Measured {
    fn begin(celeriac: &Celeriac) -> Self {
        Self {
            cpu_seconds: cpu_seconds(celeriac),
            start: Instant::now(),
        }
    }

    async fn end(self, broker: &str, size: usize, celeriac: &Celeriac) {
        let expected = 4.0 * TASKS as f64;
        let page = celeriac
            .page_when("every event", 120, |page| page.events() >= expected)
            .await;
        assert_eq!(page.events(), expected);
        let cpu = cpu_seconds(celeriac) - self.cpu_seconds;
        println!(
            "{broker}, {size} a message: {:.0} events a CPU second ({cpu:.2} s of CPU, {:.1} s on the clock, {} MiB)",
            expected / cpu,
            self.start.elapsed().as_secs_f64(),
            celeriac.resident() >> 20
        );
    }
}

fn cpu_seconds(celeriac: &Celeriac) -> f64 {
    let path = format!("/proc/{}/stat", celeriac.process.pid());
    let stat = std::fs::read_to_string(path).expect("a running process");
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .expect("a name in parentheses")
        .1
        .split(' ')
        .collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("a number");
    (ticks(14) + ticks(15)) / 100.0
}
