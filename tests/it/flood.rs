//! 400,000 events, as fast as the broker accepts them: every one is counted.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::support::amqp::Publisher;
use super::support::celeriac::Celeriac;
use super::support::events::{envelope, life, uuid};
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;

const TASKS: u64 = 100_000;
const EVENTS: f64 = 400_000.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_on_rabbitmq_is_counted_to_the_last_event() {
    let rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", rabbitmq.url(""))).await;
    celeriac.ready().await;

    let bodies: Vec<String> = (0..TASKS)
        .flat_map(|n| life(n, "burst.task", 1_795_344_000.0))
        .collect();
    let start = Instant::now();
    publisher
        .flood(bodies.iter().map(|body| body.as_bytes()))
        .await;
    println!("published in {:?}", start.elapsed());
    all_counted(&celeriac).await;
    println!(
        "counted after {:?}, {} MiB resident",
        start.elapsed(),
        celeriac.resident() >> 20
    );
}

/// With few messages at a time, each rest would wait for an acknowledgement that nothing delays.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_prefetch_holds_up_no_events() {
    let rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    for prefetch in [1, 10] {
        let broker = format!("{{url: {:?}, prefetch: {prefetch}}}", rabbitmq.url(""));
        let celeriac = Celeriac::start(&format!("brokers: [{broker}]\n")).await;
        celeriac.ready().await;
        let bodies: Vec<String> = (0..3_000)
            .flat_map(|n| life(n, "burst.task", 1_795_344_000.0))
            .collect();
        publisher
            .flood(bodies.iter().map(|body| body.as_bytes()))
            .await;
        celeriac
            .page_when("every event", 20, |page| page.events() == 12_000.0)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_on_redis_is_counted_to_the_last_event() {
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    celeriac.ready().await;

    let start = Instant::now();
    for thousand in 0..TASKS / 1000 {
        redis
            .publish_lives(thousand * 1000..(thousand + 1) * 1000, "burst.task")
            .await;
    }
    println!("published in {:?}", start.elapsed());
    all_counted(&celeriac).await;
    println!(
        "counted after {:?}, {} MiB resident",
        start.elapsed(),
        celeriac.resident() >> 20
    );
}

async fn all_counted(celeriac: &Celeriac) {
    let page = celeriac
        .page_when("every event", 120, |page| page.events() >= EVENTS)
        .await;
    assert_eq!(page.events(), EVENTS);
    for step in ["sent", "received", "started", "succeeded"] {
        let counted = page.sum(
            &format!("celery_task_{step}_total"),
            &["name=\"burst.task\""],
        );
        assert_eq!(counted, TASKS as f64, "{step}");
    }
    assert_eq!(
        page.sum("celery_task_runtime_seconds_count", &[]),
        TASKS as f64
    );
    assert_eq!(page.sum("celery_tasks_in_flight", &[]), 0.0);
    for lost in ["undecodable", "dropped", "duplicate"] {
        assert_eq!(
            page.sum(&format!("celeriac_messages_{lost}_total"), &[]),
            0.0,
            "{lost}"
        );
    }
    assert_eq!(page.sum("celeriac_messages_total", &[]), EVENTS);
}

/// A subscriber that falls behind is not disconnected: messages that do not fit into memory are dropped and counted
/// here. No round exceeds what Redis buffers for a subscriber (32 MB) that gets no CPU time.
#[tokio::test(flavor = "multi_thread")]
async fn what_redis_sends_beyond_the_buffer_is_dropped_and_counted() {
    let redis = Redis::start().await;
    let config = format!(
        "brokers: [{{url: {:?}, queue_max_bytes: 1MiB}}]\n",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    // Large bodies, each a list of many events that are slow to apply: the decoder falls behind the socket.
    let events: Vec<String> = (0..1_000)
        .map(|n| life(n, "slow.task", 1_795_344_000.0)[0].clone())
        .collect();
    let message = envelope(&format!("[{}]", events.join(",")));
    let mut published = 0.0;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        redis.publish([message.as_bytes(); 20]).await;
        published += 20.0;
        let page = celeriac.page().await;
        if page.sum("celeriac_messages_dropped_total", &["buffer_full"]) > 0.0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "nothing was dropped of {published} messages"
        );
    }
    // The books balance: each message was dropped, or its thousand events were counted.
    celeriac
        .page_when("the books to balance", 60, |page| {
            let dropped = page.sum("celeriac_messages_dropped_total", &[]);
            page.sum("celeriac_messages_total", &[]) == published
                && page.events() / 1_000.0 + dropped == published
        })
        .await;
    assert!(
        celeriac.resident() < 200 << 20,
        "{} MiB",
        celeriac.resident() >> 20
    );
    let page = celeriac.page().await;
    assert_eq!(page.sum("celeriac_broker_reconnects_total", &[]), 0.0);
}

/// Publishes the task-received of some tasks, in lists of 20, and waits until they are counted.
async fn receive(redis: &Redis, celeriac: &Celeriac, tasks: Range<u64>) {
    let (start, end) = (tasks.start, tasks.end);
    let messages = (start..end).step_by(20).map(|first| {
        let events = first..end.min(first + 20);
        let events: Vec<String> = events
            .map(|n| {
                let uuid = uuid(n);
                format!(r#"{{"type": "task-received", "uuid": "{uuid}", "name": "waiting.task", "hostname": "w@host", "timestamp": 1795344000.5}}"#)
            })
            .collect();
        envelope(&format!("[{}]", events.join(",")))
    });
    let messages: Vec<String> = messages.collect();
    redis.publish(messages.iter().map(String::as_bytes)).await;
    celeriac
        .page_when("the tasks to be received", 60, |page| {
            page.sum("celery_task_received_total", &[]) >= end as f64
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_tasks_in_flight_take_less_than_150_mib() {
    const MILLION: u64 = 1_000_000;
    let redis = Redis::start().await;
    let config = format!(
        "brokers: [{{url: {:?}}}]\nmetrics: {{worker_retention: 1h}}\n",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    // A release build takes about 12 MiB by now. This one takes more, because its code is larger.
    let before = celeriac.resident();
    // In portions, so that the table is measured and not the messages waiting for it.
    for first in (0..MILLION).step_by(25_000) {
        receive(&redis, &celeriac, first..first + 25_000).await;
    }
    let page = celeriac.page().await;
    assert_eq!(
        page.sum("celery_tasks_in_flight", &["received"]),
        MILLION as f64
    );
    assert_eq!(page.sum("celeriac_tasks_tracked", &[]), MILLION as f64);
    assert_eq!(page.sum("celeriac_messages_dropped_total", &[]), 0.0);
    let grown = celeriac.resident().saturating_sub(before) >> 20;
    println!(
        "{grown} MiB, a snapshot in {} s",
        page.sum("celeriac_snapshot_duration_seconds", &[])
    );
    assert!(grown < 138, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_max_tasks_the_oldest_are_forgotten_and_totals_are_right() {
    let redis = Redis::start().await;
    let config = format!(
        "brokers: [{{url: {:?}}}]\nmetrics: {{max_tasks: 1000}}\n",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    receive(&redis, &celeriac, 0..TASKS).await;
    let page = celeriac
        .page_when("all tasks", 10, |page| {
            page.sum("celeriac_tasks_evicted_total", &[]) == (TASKS - 1_000) as f64
        })
        .await;
    assert_eq!(
        page.sum("celery_task_received_total", &["waiting.task"]),
        TASKS as f64
    );
    assert_eq!(
        page.sum("celery_task_lost_total", &["evicted"]),
        (TASKS - 1_000) as f64
    );
    assert_eq!(page.sum("celery_tasks_in_flight", &[]), 1_000.0);
    assert_eq!(page.sum("celeriac_tasks_tracked", &[]), 1_000.0);
}
