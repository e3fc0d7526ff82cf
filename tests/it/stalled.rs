//! Workers that idle beside a backlog, and those that only look like it.

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;

const STALLED: &str = "celery_worker_stalled_timestamp_seconds";

async fn send(celery: &Celery, tasks: &str) {
    celery.script_with("send.py", 60, &[("SEND", tasks)]).await;
}

async fn command(celery: &Celery, command: &str, worker: &str) {
    let environment = [("COMMAND", command), ("DESTINATION", worker)];
    celery.script_with("command.py", 60, &environment).await;
}

/// Returns the rows of workers that the status document shows as stalled: names and queues.
async fn stalled(celeriac: &Celeriac) -> Vec<(String, serde_json::Value)> {
    let status = celeriac.status().await;
    let workers = status["workers"].as_array().expect("a list").iter();
    let workers = workers.filter(|row| !row["stalled_since_timestamp_seconds"].is_null());
    workers
        .map(|row| {
            let name = row["name"].as_str().expect("a name");
            (name.to_owned(), row["stalled_queues"].clone())
        })
        .collect()
}

/// A worker whose consumer is gone, one that is busy, and one that holds rate-limited tasks, each with a backlog.
async fn only_the_stuck_one_is_found(version: &str, url: &str) {
    let celery = Celery::new(version, url, "");
    // Tasks that a worker held back before celeriac listened would be unknown.
    let config = format!("brokers: [{{url: {url:?}, queue_interval: 1s, control_interval: 2s}}]\n");
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    // The start of a worker is known to about a second, and these have to be known to have started later.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let _stuck = celery
        .worker_of("polled", "stuck", &["-E", "-c", "2", "-Q", "celery"])
        .await;
    let _busy = celery
        .worker_of("polled", "busy", &["-E", "-c", "1", "-Q", "high"])
        .await;
    let _limited = celery
        .worker_of("polled", "limited", &["-E", "-c", "1", "-Q", "topicq"])
        .await;
    let high = r#"[8, 120, {"queue": "high"}]"#;
    let limited = r#"[12, 0, {"queue": "topicq", "routing_key": "t.x"}, "polled.limited"]"#;
    send(
        &celery,
        &format!(r#"[{high}, {limited}, [3, 0, {{"queue": "celery"}}]]"#),
    )
    .await;
    let succeeded = |page: &Page| page.sum("celery_task_succeeded_total", &["queue=\"celery\""]);
    let page = celeriac
        .page_when("some tasks", 60, |page| {
            succeeded(page) == 3.0
                && page.sum("celery_queue_length", &["queue=\"high\""]) > 0.0
                && page.sum("celery_queue_length", &["queue=\"topicq\""]) > 0.0
        })
        .await;
    assert_eq!(page.sum_known(STALLED, &[]), None);

    let host = rustix::system::uname();
    let name = format!("stuck@{}", host.nodename().to_string_lossy());
    command(&celery, "stall", &name).await;
    // A request for the next message may still be open.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    send(&celery, r#"[[5, 0, {"queue": "celery"}]]"#).await;
    let page = celeriac
        .page_when("the stuck worker", 60, |page| {
            page.sum_known(STALLED, &[]).is_some()
        })
        .await;
    assert!(
        page.sum(
            STALLED,
            &[&format!("worker=\"{name}\""), "queue=\"celery\""]
        ) > 1e9
    );
    let queues = serde_json::json!(["celery"]);
    assert_eq!(stalled(&celeriac).await, [(name.clone(), queues)]);
    assert_eq!(succeeded(&page), 3.0);

    command(&celery, "resume", &name).await;
    let page = celeriac
        .page_when("it to go on", 30, |page| {
            page.sum_known(STALLED, &[]).is_none() && succeeded(page) == 8.0
        })
        .await;
    wait_for("the document of the same snapshot", 10, async || {
        let rows = stalled(&celeriac).await;
        rows.is_empty().then_some(()).ok_or(format!("{rows:?}"))
    })
    .await;
    assert!(page.sum("celery_queue_length", &["queue=\"high\""]) > 0.0);
    assert!(page.sum("celery_queue_length", &["queue=\"topicq\""]) > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_stuck_worker_is_found_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    only_the_stuck_one_is_found("5.6", &rabbitmq.url("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_stuck_worker_is_found_on_redis() {
    let redis = Redis::start().await;
    only_the_stuck_one_is_found("5.7", &redis.url(0)).await;
}
