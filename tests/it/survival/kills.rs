//! Daemons that are killed at random moments under load, while brokers and receivers are restarted.

use std::time::{Duration, Instant};

use super::{Agent, each_message_once, exact, is_long};
use crate::support::cluster::Cluster;
use crate::support::load::{Confirmed, Load, Way};
use crate::support::prometheus::Prometheus;
use crate::support::rabbitmq::{Options, RabbitMq, Release};

/// Events per second when nothing holds them up.
const RATE: f64 = 5_600.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_queue_is_counted_exactly_whatever_is_killed() {
    kills("delivery: durable", Release::Debian).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_counted_exactly_whatever_is_killed() {
    kills("delivery: stream", Release::Debian).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_queue_of_rabbitmq_4_is_counted_exactly_whatever_is_killed() {
    kills("delivery: durable", Release::Four).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_rabbitmq_4_is_counted_exactly_whatever_is_killed() {
    kills("delivery: stream", Release::Four).await;
}

async fn kills(delivery: &str, release: Release) {
    let mut rabbitmq = RabbitMq::start_as(Options::of(release)).await;
    let mut prometheus = Prometheus::start_3().await;
    let agent = Agent::new(&rabbitmq.url(""), delivery).pushing_to(prometheus.write_url());
    let mut celeriac = agent.start().await;
    celeriac.ready().await;
    let way = Way::RabbitMq(Confirmed::new(&rabbitmq.url("")));
    let mut load = Load::start(Cluster::new(8, fastrand::u64(..)), way, RATE);
    let (start, mut held) = (Instant::now(), Duration::ZERO);
    for n in 0..if is_long() { 20 } else { 5 } {
        // The moment is random on purpose, so there is nothing to wait for.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1_000..4_500))).await;
        match n % 5 {
            1 => {
                // A publisher without a confirmation cannot know what the broker has received, so wait for that
                // first.
                let begin = Instant::now();
                load.hold().await;
                if n % 2 == 1 {
                    rabbitmq.stop();
                } else {
                    rabbitmq.terminate();
                }
                rabbitmq.start_again().await;
                load.go_on();
                held += begin.elapsed();
            }
            3 => {
                if n % 2 == 1 {
                    prometheus.kill();
                } else {
                    prometheus.stop();
                }
                celeriac.process.kill();
                celeriac = agent.start().await;
                prometheus.start_again().await;
            }
            _ => {}
        }
        celeriac.process.kill();
        celeriac = agent.start().await;
    }
    let elapsed = start.elapsed().saturating_sub(held);
    let (told, _) = load.end().await;
    let rate = told.total() as f64 / elapsed.as_secs_f64();
    println!(
        "{} events in {} messages, {rate:.0} a second; in queues: {}",
        told.total(),
        told.messages,
        rabbitmq.ctl(&["--quiet", "list_queues", "name", "messages"])
    );
    exact(&prometheus, &told, 90).await;
    let page = celeriac.page().await;
    println!("{} messages came again", super::duplicates(&page));
    each_message_once(&page, &told);
    // A busy machine publishes more slowly than asked for.
    assert!(rate > 2_500.0, "{rate}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_without_a_stale_marker_or_a_new_beginning() {
    let (rabbitmq, prometheus) = (RabbitMq::start().await, Prometheus::start().await);
    let agent = Agent::new(&rabbitmq.url(""), "delivery: durable");
    let agent = agent.pushing_to(prometheus.write_url());
    let mut celeriac = agent.start().await;
    celeriac.ready().await;
    let way = Way::RabbitMq(Confirmed::new(&rabbitmq.url("")));
    let load = Load::start(Cluster::new(3, 1), way, 500.0);
    for _ in 0..2 {
        // Some snapshots of each process.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(celeriac.terminate().success());
        let log = celeriac.process.output();
        celeriac = agent.start().await;
        assert!(!log.contains("ERROR"), "{log}");
    }
    let (told, _) = load.end().await;
    exact(&prometheus, &told, 60).await;
    each_message_once(&celeriac.page().await, &told);
    // A series that was marked stale would be absent at some times.
    let expression =
        "count_over_time((celery_events_total{type=\"task-sent\"} or vector(-1))[5m:1s])";
    let series = prometheus.query(expression, None).await;
    assert!(!series.is_empty());
    let absent = "count_over_time((absent(celery_events_total{type=\"task-sent\"}))[20s:1s])";
    let absent = prometheus.query(absent, None).await;
    let seen =
        "time() - min(min_over_time(timestamp(celery_events_total{type=\"task-sent\"})[5m:1s]))";
    let seen = prometheus.query(seen, None).await[0].1;
    let absent = absent.first().map_or(0.0, |(_, value)| *value);
    assert!(
        absent <= (20.0 - seen).max(0.0) + 1.0,
        "{absent} of 20 s, there for {seen} s"
    );
}
