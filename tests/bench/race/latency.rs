//! The time from an event's publication to the receiver having a sample that includes it.
//!
//! A single publisher keeps its events in order, so the n-th event has arrived once the sum of `celery_events_total` is n.
//! An event counts as published when the step that publishes it begins.

use crate::pace::{Lives, Published, publish};
use crate::report::{Row, Section, grouped};
use crate::sink::{Seen, Sink};
use crate::support::celeriac::Celeriac;
use crate::support::load::{Channels, Confirmed, Way};
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis::Redis;
use crate::support::wait_for;

const SECONDS: f64 = 10.0;

/// Events per second, and per message. Workers send lists under load.
const LOADS: [(f64, usize); 2] = [(1_000.0, 1), (50_000.0, 20)];

/// Percentiles of all events: in total, and from the snapshot on. The rest is waiting for the snapshot.
struct Latency {
    rate: f64,
    total: [f64; 2],
    after: [f64; 2],
}

pub async fn run() -> Section {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    let mut rows = Vec::new();
    for (rate, per_message) in LOADS {
        for broker in ["RabbitMQ", "Redis"] {
            let (url, mut way) = if broker == "RabbitMQ" {
                let url = rabbitmq.url("");
                let way = Way::RabbitMq(Confirmed::new(&url));
                (url, way)
            } else {
                let way = Way::Redis(Channels::new(&redis).await);
                (redis.url(0), way)
            };
            let latency = measure(&url, &mut way, rate, per_message).await;
            rows.extend(to_rows(broker, per_message, &latency));
        }
    }
    Section::new(rows)
}

async fn measure(url: &str, way: &mut Way, rate: f64, per_message: usize) -> Latency {
    let sink = Sink::following("celery_events_total").await;
    let config = format!(
        "brokers: [{{url: {url:?}}}]\nremote_write: [{{url: {:?}, protobuf_message: prometheus.WriteRequest}}]\n",
        sink.url()
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("default").await;
    let mut lives = Lives::new(20, per_message);
    let published = publish(way, &mut lives, rate, SECONDS).await;
    let everything = published.events as f64;
    let seen = wait_for("the last sample", 30, async || {
        let seen = sink.received().seen;
        let newest = seen.last().map_or(0.0, |seen| seen.value);
        if newest >= everything {
            Ok(seen)
        } else {
            Err(format!("{newest} of {everything}"))
        }
    })
    .await;
    latency(&published, &seen)
}

fn latency(published: &Published, seen: &[Seen]) -> Latency {
    let (mut total, mut after) = (Vec::new(), Vec::new());
    let mut before = 0;
    for (begin, events) in &published.steps {
        let includes = |seen: &&Seen| seen.value >= *events as f64;
        let first = seen.iter().find(includes).expect("everything has arrived");
        let weight = events - before;
        before = *events;
        total.push((first.arrived - begin, weight));
        after.push((first.arrived - first.timestamp, weight));
    }
    Latency {
        rate: published.rate(),
        total: percentiles(total),
        after: percentiles(after),
    }
}

/// Returns the 50th and the 99th percentile of weighted values.
fn percentiles(mut values: Vec<(f64, u64)>) -> [f64; 2] {
    values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all: u64 = values.iter().map(|(_, weight)| weight).sum();
    [0.5, 0.99].map(|share| {
        let mut passed = 0;
        let reached = |(_, weight): &&(f64, u64)| {
            passed += weight;
            passed as f64 >= share * all as f64
        };
        values
            .iter()
            .find(reached)
            .map_or(f64::NAN, |found| found.0)
    })
}

fn to_rows(broker: &str, per_message: usize, latency: &Latency) -> Vec<Row> {
    let rate = grouped(latency.rate);
    let measure = format!("latency, {broker}, {rate} events/s, {per_message} a message");
    let row = |name: &str, seconds| Row::new(&measure, name, "ms", vec![1e3 * seconds]);
    vec![
        row("p50", latency.total[0]),
        row("p50 from the snapshot on", latency.after[0]),
        row("p99", latency.total[1]),
        row("p99 from the snapshot on", latency.after[1]),
    ]
}
