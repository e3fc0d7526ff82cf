//! Outages of receivers and brokers.

use std::time::{Duration, Instant};

use super::support::amqp::Publisher;
use super::support::celeriac::Celeriac;
use super::support::events::life;
use super::support::free_port;
use super::support::prometheus::Prometheus;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;

/// How long the receiver is down in `a_receiver_that_was_away_misses_nothing`.
const AWAY: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_misses_nothing() {
    let (redis, mut prometheus) = (Redis::start().await, Prometheus::start().await);
    let config = format!(
        "brokers: [{{url: {:?}}}]\nremote_write: [{{url: {:?}}}]\n",
        redis.url(0),
        prometheus.write_url()
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    redis.publish_lives(0..100, "steady.task").await;
    prometheus.has("celery_task_succeeded_total", 100.0).await;

    // A restart during the outage.
    prometheus.stop();
    redis.publish_lives(100..200, "steady.task").await;
    prometheus.start_again().await;
    prometheus.has("celery_task_succeeded_total", 200.0).await;

    // Down for two minutes, while events continue.
    prometheus.stop();
    let away = Instant::now();
    let mut n = 200;
    while away.elapsed() < AWAY {
        redis.publish_lives(n..n + 10, "steady.task").await;
        n += 10;
        let (status, reasons) = celeriac.get("/-/ready").await;
        assert!(
            away.elapsed() < Duration::from_secs(5) || status == 503,
            "{status} {reasons}"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let pending = celeriac
        .page()
        .await
        .sum("celeriac_remote_storage_samples_pending", &[]);
    assert!(pending > 1_000.0, "{pending}");
    prometheus.start_again().await;
    for name in [
        "celery_task_sent_total",
        "celery_task_succeeded_total",
        "celery_task_runtime_seconds_count",
    ] {
        prometheus.has(name, n as f64).await;
    }
    // Not only the end: the samples from the outage are there, one per second.
    let points = "count_over_time(celery_task_succeeded_total[3m])";
    let points = prometheus.query(points, None).await;
    assert!(points[0].1 > 115.0, "{points:?}");
    let page = celeriac.page().await;
    for lost in ["failed_total", "dropped_total"] {
        assert_eq!(
            page.sum(&format!("celeriac_remote_storage_samples_{lost}"), &[]),
            0.0,
            "{lost}"
        );
    }
    celeriac.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rabbitmq_that_was_restarted_is_read_again_within_five_seconds() {
    let mut rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", rabbitmq.url(""))).await;
    celeriac.ready().await;
    for body in life(1, "t", 1_795_344_000.0) {
        publisher.publish(body.as_bytes()).await;
    }
    celeriac
        .page_when("the first events", 10, |page| page.events() == 4.0)
        .await;

    rabbitmq.stop();
    drop(publisher);
    let gone = Instant::now();
    wait_for("the outage to be noticed", 15, async || {
        match celeriac.get("/-/ready").await {
            (503, reasons) if reasons.contains("broker default: ") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // It may subscribe before the broker reports that it is up, which blocks a thread.
    let runtime = tokio::runtime::Handle::current();
    let back = tokio::task::spawn_blocking(move || {
        runtime.block_on(rabbitmq.start_again());
        (Instant::now(), rabbitmq)
    });
    celeriac.subscribed("default").await;
    let subscribed = Instant::now();
    let (back, rabbitmq) = back.await.expect("it starts");
    let lateness = subscribed.saturating_duration_since(back);
    assert!(lateness < Duration::from_secs(5), "{lateness:?}");
    let gap = subscribed.duration_since(gone).as_secs_f64();

    let publisher = Publisher::new(&rabbitmq.url("")).await;
    for body in life(2, "t", 1_795_344_000.0) {
        publisher.publish(body.as_bytes()).await;
    }
    let page = celeriac
        .page_when("events after the outage", 10, |page| page.events() == 8.0)
        .await;
    assert_eq!(page.sum("celeriac_broker_reconnects_total", &[]), 1.0);
    assert_eq!(page.sum("celeriac_broker_connected", &[]), 1.0);
    let told = page.sum("celeriac_broker_gap_seconds_total", &[]);
    assert!((told - gap).abs() < 3.0, "told {told}, was {gap}");
    assert!(
        celeriac.process.output().contains("subscribed again"),
        "{}",
        celeriac.process.output()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_restarted_is_read_again_within_five_seconds() {
    let mut redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "steady.task").await;
    celeriac
        .page_when("the first events", 10, |page| page.events() == 40.0)
        .await;

    redis.stop();
    wait_for("the outage to be noticed", 15, async || {
        match celeriac.get("/-/ready").await {
            (503, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    redis.start_again().await;
    let back = Instant::now();
    celeriac.ready().await;
    assert!(
        back.elapsed() < Duration::from_secs(5),
        "{:?}",
        back.elapsed()
    );
    redis.publish_lives(10..20, "steady.task").await;
    let page = celeriac
        .page_when("events after the outage", 10, |page| page.events() == 80.0)
        .await;
    assert_eq!(page.sum("celeriac_broker_reconnects_total", &[]), 1.0);
    assert!(page.sum("celeriac_broker_gap_seconds_total", &[]) > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_before_its_brokers_and_one_that_is_gone_holds_up_no_other() {
    let redis = Redis::start().await;
    let nobody = free_port();
    let config = format!(
        "brokers:\n- {{name: here, url: {:?}}}\n- {{name: gone, url: 'amqp://127.0.0.1:{nobody}//'}}\n\
         - {{name: later, url: 'redis://127.0.0.1:{nobody}/0'}}\n",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("here").await;
    let (status, reasons) = celeriac.get("/-/ready").await;
    assert_eq!(status, 503);
    assert!(
        reasons.contains("broker gone: ") && reasons.contains("broker later: "),
        "{reasons}"
    );
    assert_eq!(celeriac.get("/-/healthy").await.0, 200);

    redis.publish_lives(0..10, "steady.task").await;
    let page = celeriac
        .page_when("events of the one", 10, |page| page.events() == 40.0)
        .await;
    assert_eq!(
        page.sum("celery_task_succeeded_total", &["broker=\"here\""]),
        10.0
    );
    assert_eq!(page.sum("celeriac_broker_connected", &[]), 1.0);
    assert!(page.sum("celeriac_broker_gap_seconds_total", &["gone"]) > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_event_after_the_start_is_an_increase_of_one() {
    let redis = Redis::start().await;
    for prometheus in [Prometheus::start().await, Prometheus::start_3().await] {
        let config = format!(
            "brokers: [{{url: {:?}}}]\nremote_write: [{{url: {:?}}}]\n",
            redis.url(0),
            prometheus.write_url()
        );
        let celeriac = Celeriac::start(&config).await;
        celeriac.ready().await;
        redis.publish_lives(7..8, "steady.task").await;
        prometheus.has("celery_task_succeeded_total", 1.0).await;

        // Evaluated at the time of the first sample with the event, so that nothing is extrapolated.
        let first = "min_over_time(timestamp(celery_task_succeeded_total == 1)[5m:100ms])";
        let first = wait_for("the first sample", 10, async || {
            let series = prometheus.query(first, None).await;
            series
                .first()
                .map(|(_, time)| *time)
                .ok_or_else(|| "nothing".to_owned())
        })
        .await;
        let names = [
            "celery_task_succeeded_total",
            "celery_task_runtime_seconds_count",
            "celery_events_total{type=\"task-succeeded\"}",
        ];
        for name in names {
            let increase = prometheus
                .query(&format!("increase({name}[5m])"), Some(first))
                .await;
            assert_eq!(increase.len(), 1, "{name}");
            assert_eq!(increase[0].1, 1.0, "{name}");
        }
    }
}
