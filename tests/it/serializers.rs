//! Real workers with each of Celery's serializers: tasks are counted if the serializer is accepted, and otherwise the
//! log names it. Also real publishers with Kombu's compressions.

use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;

const SERIALIZERS: [&str; 3] = ["msgpack", "yaml", "pickle"];
const UNDECODABLE: &str = "celeriac_messages_undecodable_total";

/// Runs the workload, and returns the published tasks by type and name.
async fn run(version: &str, serializer: &str, broker: &str, backend: &str) -> Vec<(String, f64)> {
    let celery = Celery::new(version, broker, backend).with("EVENT_SERIALIZER", serializer);
    let mut worker = celery.worker("w1", &["-c", "2"]).await;
    let output = celery.script("serializers.py", 90).await;
    worker.terminate(60);
    // There may be warnings of libraries around it.
    let line = output.lines().find(|line| line.starts_with('{'));
    let counts = line.unwrap_or_else(|| panic!("{output}"));
    let counts: serde_json::Value = serde_json::from_str(counts).expect("JSON");
    let counts = counts.as_object().expect("a map").iter();
    counts
        .map(|(key, count)| (key.clone(), count.as_f64().expect("a count")))
        .collect()
}

async fn counted(version: &str, broker: &str, backend: &str) {
    let config =
        format!("brokers: [{{url: {broker:?}, accept_content: [json, msgpack, yaml, pickle]}}]\n");
    for serializer in SERIALIZERS {
        let celeriac = Celeriac::start(&config).await;
        celeriac.ready().await;
        let expected = run(version, serializer, broker, backend).await;
        let page = celeriac
            .page_when("the worker to go", 30, |page| {
                page.sum("celery_events_total", &["worker-offline"]) == 1.0
            })
            .await;
        for (key, count) in expected {
            let (kind, name) = key.split_once(' ').expect("a type and a name");
            let family = format!("celery_task_{}_total", kind.trim_start_matches("task-"));
            let counted = page.sum(&family, &[&format!("name=\"{name}\"")]);
            assert_eq!(counted, count, "{serializer} {key}: {:#?}", page.0);
        }
        for class in ["ValueError", "KeyError", "Broken"] {
            let class = format!("exception={class:?}");
            let failed = page.sum("celery_task_failed_total", &[&class]);
            assert_eq!(failed, 5.0, "{serializer} {class}");
        }
        assert_eq!(page.sum(UNDECODABLE, &[]), 0.0, "{serializer}");
    }
}

async fn named(version: &str, broker: &str, backend: &str) {
    let config = format!("brokers: [{{url: {broker:?}}}]\n");
    for serializer in SERIALIZERS {
        let celeriac = Celeriac::start(&config).await;
        celeriac.ready().await;
        run(version, serializer, broker, backend).await;
        let told = format!("the body is {serializer}, which `accept_content` does not list");
        wait_for("the log to tell", 20, async || {
            let log = celeriac.process.output();
            if log.contains(&told) {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
        let page = celeriac.page().await;
        let reason = page.sum(UNDECODABLE, &["reason=\"content_type\""]);
        // Up to 24 events are in one message.
        assert!(reason > 10.0, "{serializer}: {reason}");
        assert_eq!(page.sum(UNDECODABLE, &[]), reason, "{serializer}");
        assert_eq!(page.events(), 0.0, "{serializer}");
        let log = celeriac.process.output();
        assert_eq!(log.matches(&told).count(), 1, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_carries_every_serializer() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    counted("5.7", &rabbitmq.url(""), &redis.url(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_carries_every_serializer() {
    let redis = Redis::start().await;
    counted("5.6", &redis.url(0), &redis.url(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serializer_that_is_not_accepted_is_named_once_on_rabbitmq() {
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    named("5.6", &rabbitmq.url(""), &redis.url(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serializer_that_is_not_accepted_is_named_once_on_redis() {
    let redis = Redis::start().await;
    named("5.7", &redis.url(0), &redis.url(1)).await;
}

async fn decompressed(version: &str, broker: &str) {
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {broker:?}}}]\n")).await;
    celeriac.ready().await;
    for compression in ["zlib", "bzip2", "lzma"] {
        Celery::new(version, broker, "cache+memory://")
            .with("OPTIONS", "{}")
            .with("COMPRESSION", compression)
            .script("emit.py", 60)
            .await;
    }
    let page = celeriac
        .page_when("every event", 20, |page| {
            let started = page.sum("celery_task_started_total", &[]);
            page.events() >= 9.0 && started == 3.0
        })
        .await;
    assert_eq!(page.sum(UNDECODABLE, &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_events_are_read_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    decompressed("5.7", &rabbitmq.url("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_events_are_read_on_redis() {
    let redis = Redis::start().await;
    decompressed("5.6", &redis.url(0)).await;
}
