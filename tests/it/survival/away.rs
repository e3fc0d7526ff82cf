//! A daemon that was down while many events were published.

use std::time::{Duration, Instant};

use super::{Agent, each_message_once, exact, is_long};
use crate::support::cluster::Cluster;
use crate::support::load::{Confirmed, Load, Way, burst};
use crate::support::process::resident_max;
use crate::support::prometheus::Prometheus;
use crate::support::rabbitmq::RabbitMq;

/// Limit on resident memory. Most of it is for messages that RabbitMQ sends ahead of acknowledgements: 10,000 with up
/// to 20 events each.
const MEMORY_MAX: u64 = 200 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_durable_queue_held_meanwhile_is_counted_within_a_minute() {
    away("delivery: durable, queue_max_bytes: 2GiB").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_held_meanwhile_is_counted_within_a_minute() {
    away("delivery: stream, queue_max_bytes: 2GiB").await;
}

async fn away(keys: &str) {
    let (rabbitmq, prometheus) = (RabbitMq::start().await, Prometheus::start().await);
    let agent = Agent::new(&rabbitmq.url(""), keys).pushing_to(prometheus.write_url());
    let mut celeriac = agent.start().await;
    celeriac.ready().await;
    let mut cluster = Cluster::new(16, fastrand::u64(..));
    let mut way = Way::RabbitMq(Confirmed::new(&rabbitmq.url("")));
    burst(&mut cluster, &mut way, 10_000).await;
    celeriac
        .page_when("the first events", 30, |page| {
            page.events() == cluster.told.total() as f64
        })
        .await;
    celeriac.process.kill();
    let (told, back) = if is_long() {
        let load = Load::start(cluster, way, 1_000_000.0 / 600.0);
        tokio::time::sleep(Duration::from_secs(600)).await;
        let told = load.end().await.0;
        let back = Instant::now();
        celeriac = agent.start().await;
        (told, back)
    } else {
        burst(&mut cluster, &mut way, 100_000).await;
        let back = Instant::now();
        celeriac = agent.start().await;
        (cluster.told, back)
    };
    let page = celeriac
        .page_when("what was told meanwhile", 120, |page| {
            page.events() >= told.total() as f64
        })
        .await;
    let elapsed = back.elapsed();
    exact(&prometheus, &told, 60).await;
    let most = resident_max(celeriac.process.pid());
    println!(
        "{} events in {elapsed:?}, at most {} MiB resident",
        told.total(),
        most >> 20
    );
    each_message_once(&page, &told);
    assert!(elapsed < Duration::from_secs(60), "{elapsed:?}");
    assert!(most < MEMORY_MAX, "{most}");
}
