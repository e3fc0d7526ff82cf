//! Resident memory at a few tasks a second. All programs watch the same brokers, side by side.

use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;

use crate::agents::Agent;
use crate::report::{Row, Section};
use crate::sink::Sink;
use crate::support::celeriac::Celeriac;
use crate::support::cluster::Cluster;
use crate::support::exporter::{Exporter, Kind};
use crate::support::load::{Channels, Confirmed, Load, Way};
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis::Redis;
use crate::usage::mebibytes;

/// Events per second: five tasks.
const RATE: f64 = 21.0;

/// At least two snapshots at the default interval, which the agents have as well.
const WARMUP: Duration = Duration::from_secs(36);
const ROUNDS: usize = 5;

pub async fn run() -> Section {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    let (sink, data) = (Sink::start().await, TempDir::new().expect("a folder"));
    let mut section = Section::new(Vec::new());
    let config = |url: &str, more: &str| {
        format!(
            "global: {{interval: 15s}}\nremote_write: [{{url: {:?}}}]\nbrokers: [{{url: {url:?}{more}}}]\n",
            sink.url()
        )
    };
    let (amqp, stored) = (rabbitmq.url(""), format!("data_dir: {:?}\n", data.path()));
    let durable = format!("{stored}{}", config(&amqp, ", delivery: durable"));
    let mut celeriacs = Vec::new();
    for (name, config) in [
        ("celeriac, RabbitMQ", config(&amqp, "")),
        ("celeriac, Redis", config(&redis.url(0), "")),
        ("celeriac, RabbitMQ, durable queue and data_dir", durable),
    ] {
        celeriacs.push((name, Celeriac::start(&config).await));
    }
    let mut exporters = Vec::new();
    for (name, kind) in [
        ("celery-exporter", Kind::Danihodovic),
        ("Flower", Kind::Flower),
    ] {
        match kind.installed() {
            Some(installed) => {
                exporters.push((name, Exporter::start(kind, &installed, &amqp)));
            }
            None => section.skipped.push(name.to_owned()),
        }
    }
    let mut agents = Vec::new();
    // What they scrape matters little. This page is about as long as that of an exporter, and no other daemon is scraped.
    let scraped = Celeriac::start(&config(&amqp, "")).await;
    for agent in [Agent::VmagentSnappy, Agent::PrometheusWithoutStorage] {
        if agent.is_installed() {
            let running = agent.start(scraped.port, "15s", &sink.url());
            agents.push((agent.name(), running));
        } else {
            section.skipped.push(agent.name().to_owned());
        }
    }
    let ways = [
        Way::RabbitMq(Confirmed::new(&amqp)),
        Way::Redis(Channels::new(&redis).await),
    ];
    let loads = ways.map(|way| Load::start(Cluster::new(4, 1), way, RATE));
    tokio::time::sleep(WARMUP).await;
    let celeriacs = celeriacs.iter().map(|(name, one)| (*name, &one.process));
    let exporters = exporters.iter().map(|(name, one)| (*name, &one.process));
    let agents = agents.iter().map(|(name, one)| (*name, &one.process));
    let all: Vec<_> = celeriacs.chain(exporters).chain(agents).collect();
    let mut values = vec![Vec::new(); all.len()];
    for _ in 0..ROUNDS {
        for (values, (_, process)) in values.iter_mut().zip(&all) {
            values.push(mebibytes(process.pid()));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    join_all(loads.map(Load::end)).await;
    let measure = "resident memory at 5 tasks/s";
    let rows = all.iter().zip(values);
    section
        .rows
        .extend(rows.map(|((name, _), values)| Row::new(measure, name, "MiB", values)));
    section
}
