//! Queues that hold messages and have no worker: they stay visible, whatever else is sent and whatever restarts.

use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;

/// The value of a gauge of one queue.
fn gauge(page: &Page, name: &str, queue: &str) -> Option<f64> {
    let label = format!("queue=\"{queue}\"");
    let found = |line: &&String| line.starts_with(&format!("{name}{{")) && line.contains(&label);
    page.0.keys().find(found).map(|line| page.0[line])
}

fn backlog(page: &Page, queue: &str) -> (Option<f64>, Option<f64>) {
    let of = |name| gauge(page, name, queue);
    (of("celery_queue_length"), of("celery_queue_workers"))
}

/// Tasks of one name in two queues; the queue of the older ones loses its only worker, then the daemon restarts.
async fn is_watched(broker: &str, monitor: &str) {
    let data_dir = TempDir::new().expect("a temporary folder");
    let config = format!(
        "data_dir: {:?}\nbrokers: [{{url: {monitor:?}, control_interval: 1s, queue_interval: 1s}}]\n\
         metrics: {{worker_retention: 2s, series_ttl: 4s}}\n",
        data_dir.path()
    );
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let celery = Celery::new("5.7", broker, "");
    let mut worker = celery
        .worker("reporter", &["-c", "1", "-Q", "reports", "-P", "threads"])
        .await;
    celeriac
        .page_when("its queue", 20, |page| {
            backlog(page, "reports") == (Some(0.0), Some(1.0))
        })
        .await;
    worker.terminate(30);
    let mut tasks = vec![r#"["proj.add", [1, 2], {"queue": "reports"}]"#; 6];
    tasks.push(r#"["proj.add", [1, 2], {"queue": "default"}]"#);
    let tasks = format!("[{}]", tasks.join(", "));
    celery
        .script_with("publish.py", 30, &[("TASKS", &tasks)])
        .await;
    let both = |page: &Page| {
        backlog(page, "reports") == (Some(6.0), Some(0.0))
            && backlog(page, "default") == (Some(1.0), Some(0.0))
    };
    celeriac.page_when("both queues", 20, both).await;
    // The worker is forgotten, and neither queue was mentioned for longer than the time to live of a series.
    celeriac
        .page_when("the worker to be forgotten", 20, |page| {
            let sent = page.sum("celery_task_last_timestamp_seconds", &["sent"]);
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.expect("after 1970").as_secs_f64();
            !page.0.keys().any(|line| line.contains("reporter@")) && now - sent > 6.0
        })
        .await;
    let page = celeriac.page().await;
    assert!(both(&page), "{:#?}", page.0);

    celeriac.terminate();
    let celeriac = Celeriac::start(&config).await;
    celeriac.page_when("both queues again", 20, both).await;
    // Empty, and not mentioned anywhere.
    celery
        .script_with("purge.py", 30, &[("QUEUES", "reports")])
        .await;
    celeriac
        .page_when("the empty queue to be forgotten", 20, |page| {
            backlog(page, "reports").0.is_none() && backlog(page, "default").0 == Some(1.0)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_a_backlog_and_no_worker_is_watched_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    is_watched(&rabbitmq.url(""), &rabbitmq.url("")).await;
}

/// Without permission to search for bindings, a queue is known only from events and workers, as on RabbitMQ.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_a_backlog_and_no_worker_is_watched_on_redis() {
    let redis = Redis::start().await;
    redis
        .user(&["~*", "&*", "+@all", "-scan", "-smembers"])
        .await;
    is_watched(&redis.url(0), &redis.url_of_user(0)).await;
}
