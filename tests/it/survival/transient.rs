//! If the transport loses events, a metric reports how many.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::Agent;
use crate::support::celeriac::{Celeriac, Page};
use crate::support::cluster::{Cluster, Told};
use crate::support::load::{Channels, Confirmed, Load, Way};
use crate::support::proxy::{Fault, Proxy};
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis::Redis;

const RATE: f64 = 2_000.0;

/// Missing events are counted once five heartbeats, sent every two seconds, confirm them.
const CONFIRMED: Duration = Duration::from_secs(13);

/// Asserts that the number of missing task-started events matches the daemon's metric.
async fn told_apart(celeriac: &Celeriac, told: &Told) {
    let counted = |page: &Page| page.sum("celery_task_started_total", &[]);
    let estimated = |page: &Page| page.sum("celeriac_events_missing_total", &[]);
    let started = told.of("task-started") as f64;
    let page = celeriac
        .page_when("what is missing to be told", 30, |page| {
            let missing = started - counted(page);
            missing > 0.0 && (estimated(page) - missing).abs() <= missing * 0.01
        })
        .await;
    println!(
        "{} of {started} are missing, {} are said to be",
        started - counted(&page),
        estimated(&page)
    );
    assert!(started - counted(&page) > 200.0, "nothing was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_costs_on_redis_is_told() {
    let redis = Redis::start().await;
    let way = Way::Redis(Channels::new(&redis).await);
    kill(&redis.url(0), way).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_costs_with_a_transient_queue_is_told() {
    let rabbitmq = RabbitMq::start().await;
    let way = Way::RabbitMq(Confirmed::new(&rabbitmq.url("")));
    kill(&rabbitmq.url(""), way).await;
}

async fn kill(url: &str, way: Way) {
    let agent = Agent::new(url, "delivery: transient");
    let mut celeriac = agent.start().await;
    celeriac.ready().await;
    let load = Load::start(Cluster::new(6, fastrand::u64(..)), way, RATE);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(6_000..9_000))).await;
        celeriac.process.kill();
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1_000..3_000))).await;
        celeriac = agent.start().await;
    }
    tokio::time::sleep(CONFIRMED).await;
    let (told, _) = load.end().await;
    told_apart(&celeriac, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ten_seconds_without_redis_cost_is_told() {
    let redis = Redis::start().await;
    let proxy = Proxy::start((Ipv4Addr::LOCALHOST, redis.port).into()).await;
    let agent = Agent::new(&proxy.in_front_of(&redis.url(0)), "delivery: transient");
    let celeriac = agent.start().await;
    celeriac.ready().await;
    let way = Way::Redis(Channels::new(&redis).await);
    let load = Load::start(Cluster::new(6, fastrand::u64(..)), way, RATE);
    tokio::time::sleep(Duration::from_secs(6)).await;
    proxy.set(Fault::Refuse);
    tokio::time::sleep(Duration::from_secs(10)).await;
    proxy.set(Fault::None);
    celeriac.ready().await;
    tokio::time::sleep(CONFIRMED).await;
    let (told, way) = load.end().await;
    let Way::Redis(channels) = way else {
        unreachable!("it went to redis")
    };
    assert!(channels.unheard > 1_000, "{}", channels.unheard);
    let page = celeriac.page().await;
    let gap = page.sum("celeriac_broker_gap_seconds_total", &[]);
    assert!((gap - 10.0).abs() < 3.0, "{gap}");
    told_apart(&celeriac, &told).await;
}
