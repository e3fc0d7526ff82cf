//! A real workload with real workers: the totals in Prometheus match those of Celery's own event receiver.

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::{Celery, Counts};
use super::support::prometheus::Prometheus;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_with_celery_5_6_is_counted_exactly() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    counted_exactly(
        "5.6",
        &rabbitmq.url(""),
        &redis.url(1),
        Prometheus::start().await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_with_celery_5_7_is_counted_exactly() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    counted_exactly(
        "5.7",
        &rabbitmq.url(""),
        &redis.url(1),
        Prometheus::start_3().await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_celery_5_6_is_counted_exactly() {
    let redis = Redis::start().await;
    counted_exactly(
        "5.6",
        &redis.url(0),
        &redis.url(1),
        Prometheus::start_3().await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_celery_5_7_is_counted_exactly() {
    let redis = Redis::start().await;
    counted_exactly(
        "5.7",
        &redis.url(3),
        &redis.url(1),
        Prometheus::start().await,
    )
    .await;
}

async fn counted_exactly(version: &str, broker: &str, backend: &str, prometheus: Prometheus) {
    let config = format!(
        "brokers: [{{url: {broker:?}}}]\nremote_write: [{{url: {:?}}}]\n",
        prometheus.write_url()
    );
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let celery = Celery::new(version, broker, backend);
    let counter = celery.count().await;
    // The second worker's child processes are killed, which may affect other tasks, but it has none.
    let mut workers = [
        celery.worker("w1", &["-c", "2", "-Q", "celery"]).await,
        celery.worker("w2", &["-c", "2", "-Q", "prefork"]).await,
        celery
            .worker("w3", &["-P", "gevent", "-c", "10", "-Q", "green"])
            .await,
    ];
    celery.script("workload.py", 150).await;
    for worker in &mut workers {
        worker.terminate(60);
    }
    // Each worker announces its shutdown, and that is its last event.
    celeriac
        .page_when("the workers to go", 30, |page| {
            page.sum("celery_worker_up", &[]) == 0.0
                && page.sum("celery_workers", &["offline"]) == 3.0
        })
        .await;
    let counts = counter.finish();
    let all: u64 = counts.types.values().sum();
    let page = celeriac
        .page_when("every event", 20, |page| page.events() >= all as f64)
        .await;
    check(&page, &counts);
    let expired = if broker.starts_with("redis") {
        5.0
    } else {
        0.0
    };
    assert_eq!(page.sum("celery_task_revoked_total", &["expired"]), expired);
    // Tasks revoked before a worker received them, and killed workers, leave nothing behind either.
    assert_eq!(
        page.sum("celery_tasks_in_flight", &[]),
        0.0,
        "{:#?}",
        page.0
    );

    let sent = [
        "celery_events_total",
        "celery_task_succeeded_total",
        "celery_task_runtime_seconds_count",
    ];
    for name in sent {
        let expected = page.sum(name, &[]);
        prometheus.has(name, expected).await;
    }
    check_prometheus(&prometheus, &counts).await;
    assert!(celeriac.terminate().success());
}

/// Returns the counter that an event type increments.
fn family(kind: &str) -> String {
    format!("celery_task_{}_total", kind.trim_start_matches("task-"))
}

fn check(page: &Page, counts: &Counts) {
    println!("{:?}", counts.types);
    for (kind, count) in &counts.types {
        let defined = page.sum("celery_events_total", &[&format!("type={kind:?}")]);
        // Custom event types are counted as one.
        if kind == "task-progress" || kind == "billing-card-charged" {
            assert_eq!(page.sum("celery_events_total", &["type=\"other\""]), 20.0);
        } else {
            assert_eq!(defined, *count as f64, "{kind}");
        }
    }
    for (key, count) in &counts.names {
        let (kind, name) = key.split_once(' ').expect("a type and a name");
        if kind != "task-progress" {
            let counted = page.sum(&family(kind), &[&format!("name=\"{name}\"")]);
            assert_eq!(counted, *count as f64, "{key}: {:#?}", page.0);
        }
    }
    let expected = [
        ("proj.fail", "ValueError", 50.0),
        ("proj.fail", "KeyError", 50.0),
        ("proj.fail", "Broken", 50.0),
        ("proj.kill_child", "WorkerLostError", 3.0),
        ("proj.retry_in_vain", "ConnectionError", 10.0),
    ];
    for (name, class, count) in expected {
        let labels = [format!("name=\"{name}\""), format!("exception=\"{class}\"")];
        let counted = page.sum("celery_task_failed_total", &[&labels[0], &labels[1]]);
        assert_eq!(counted, count, "{name} {class}");
    }
    assert_eq!(page.sum("celery_task_revoked_total", &["terminated"]), 2.0);
    for lost in [
        "celeriac_messages_undecodable_total",
        "celeriac_messages_dropped_total",
    ] {
        assert_eq!(page.sum(lost, &[]), 0.0, "{lost}");
    }
}

async fn check_prometheus(prometheus: &Prometheus, counts: &Counts) {
    for (kind, count) in &counts.types {
        if kind != "task-progress" && kind != "billing-card-charged" {
            let stored = prometheus
                .sum(&format!("celery_events_total{{type={kind:?}}}"))
                .await;
            assert_eq!(stored, *count as f64, "{kind}");
        }
    }
    for (key, count) in &counts.names {
        let (kind, name) = key.split_once(' ').expect("a type and a name");
        if kind != "task-progress" {
            let stored = prometheus
                .sum(&format!("{}{{name=\"{name}\"}}", family(kind)))
                .await;
            assert_eq!(stored, *count as f64, "{key}");
        }
    }
}
