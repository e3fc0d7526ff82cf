//! The time without a subscription is counted from the last sign of life, and across restarts.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::support::amqp::Publisher;
use super::support::celeriac::{Celeriac, Page};
use super::support::events::life;
use super::support::proxy::{Fault, Proxy};
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::survival::Agent;

/// How long a connection forwards nothing before it breaks.
const BLACK_HOLE: Duration = Duration::from_secs(8);

/// How long a daemon is not running.
const AWAY: Duration = Duration::from_secs(4);

/// By how much a gap may appear longer: reconnecting, and a snapshot.
const SLACK: f64 = 2.5;

fn gap(page: &Page) -> f64 {
    page.sum("celeriac_broker_gap_seconds_total", &[])
}

/// Breaks the connection some time after it went dead, and returns how much the gap grew and how long it lasted.
async fn broken_after_a_black_hole(celeriac: &Celeriac, proxy: &Proxy) -> (f64, f64) {
    let before = gap(&celeriac.page().await);
    let dead = Instant::now();
    proxy.set(Fault::Stall);
    tokio::time::sleep(BLACK_HOLE).await;
    proxy.set(Fault::Refuse);
    celeriac
        .page_when("the connection to break", 10, |page| {
            page.sum("celeriac_broker_connected", &[]) == 0.0
        })
        .await;
    proxy.set(Fault::None);
    let page = celeriac
        .page_when("the next connection", 10, |page| {
            page.sum("celeriac_broker_connected", &[]) == 1.0
        })
        .await;
    (gap(&page) - before, dead.elapsed().as_secs_f64())
}

fn assert_near(counted: f64, expected: f64) {
    assert!(
        counted > expected - SLACK && counted < expected + SLACK,
        "counted {counted}, expected {expected}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_counts_from_the_last_byte_on_redis() {
    let redis = Redis::start().await;
    let proxy = Proxy::start((Ipv4Addr::LOCALHOST, redis.port).into()).await;
    let url = proxy.in_front_of(&redis.url(0));
    let config = format!("brokers: [{{url: {url:?}, queue_interval: 0s, control_interval: 0s}}]\n");
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    redis.publish_lives(0..1, "t").await;
    celeriac
        .page_when("the events", 10, |page| page.events() == 4.0)
        .await;
    let (counted, lasted) = broken_after_a_black_hole(&celeriac, &proxy).await;
    assert_near(counted, lasted);

    // Nothing breaks this connection: the silence itself is detected.
    redis.publish_lives(1..2, "t").await;
    let page = celeriac
        .page_when("more events", 10, |page| page.events() == 8.0)
        .await;
    let (before, dead) = (gap(&page), Instant::now());
    proxy.set(Fault::Stall);
    celeriac
        .page_when("the silence to be noticed", 20, |page| {
            page.sum("celeriac_broker_connected", &[]) == 0.0
        })
        .await;
    let noticed = dead.elapsed().as_secs_f64();
    let page = celeriac.page().await;
    assert_near(gap(&page) - before, noticed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_counts_from_the_last_byte_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    let proxy = Proxy::start((Ipv4Addr::LOCALHOST, rabbitmq.port).into()).await;
    let url = proxy.in_front_of(&rabbitmq.url(""));
    let config = format!("brokers: [{{url: {url:?}, queue_interval: 0s, control_interval: 0s}}]\n");
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    for body in life(0, "t", 1_795_344_000.0) {
        publisher.publish(body.as_bytes()).await;
    }
    celeriac
        .page_when("the events", 10, |page| page.events() == 4.0)
        .await;
    let (counted, lasted) = broken_after_a_black_hole(&celeriac, &proxy).await;
    assert_near(counted, lasted);

    // A connection with nothing but heartbeats is good until it is closed.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let before = gap(&celeriac.page().await);
    let closed = Instant::now();
    rabbitmq.ctl(&["close_all_connections", "a test closes it"]);
    let page = celeriac
        .page_when("another connection", 15, |page| {
            page.sum("celeriac_broker_reconnects_total", &[]) == 2.0
        })
        .await;
    let most = closed.elapsed().as_secs_f64();
    assert!(gap(&page) - before <= most, "{} {most}", gap(&page));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_a_daemon_was_away_is_counted_on_redis() {
    let redis = Redis::start().await;
    away(&redis.url(0), "delivery: transient").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_a_daemon_was_away_is_counted_with_a_durable_queue() {
    let rabbitmq = RabbitMq::start().await;
    away(&rabbitmq.url(""), "delivery: durable").await;
}

async fn away(url: &str, keys: &str) {
    let agent = Agent::new(url, keys);
    let mut celeriac = agent.start().await;
    celeriac.ready().await;
    let before = gap(&celeriac.page().await);
    assert!(before < SLACK, "{before}");

    assert!(celeriac.terminate().success());
    let gone = Instant::now();
    tokio::time::sleep(AWAY).await;
    let mut celeriac = agent.start().await;
    celeriac.ready().await;
    let stopped = gone.elapsed().as_secs_f64();
    let after = |seconds: f64| move |page: &Page| gap(page) > seconds;
    let page = celeriac
        .page_when("the time away", 5, after(before + AWAY.as_secs_f64() - 0.1))
        .await;
    assert_near(gap(&page) - before, stopped);

    // After a crash, from the last checkpoint, which is made with each snapshot.
    let before = gap(&page);
    celeriac.process.kill();
    let gone = Instant::now();
    tokio::time::sleep(AWAY).await;
    let celeriac = agent.start().await;
    celeriac.ready().await;
    let crashed = gone.elapsed().as_secs_f64();
    let page = celeriac
        .page_when("the time away", 5, after(before + AWAY.as_secs_f64() - 0.1))
        .await;
    assert_near(gap(&page) - before, crashed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = celeriac.page().await;
    assert_eq!(gap(&later), gap(&page), "it doesn't grow while subscribed");
}
