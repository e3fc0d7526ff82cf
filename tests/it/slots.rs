//! Current and maximum pool sizes of real workers with every kind of pool.

use futures_util::future::join_all;

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::redis::Redis;

/// Returns the pool size of a queue's worker, and the queue's slots and saturation.
fn pool(page: &Page, queue: &str) -> (f64, f64, f64) {
    let (worker, queue) = (format!("worker=\"{queue}@"), format!("queue=\"{queue}\""));
    (
        page.sum("celery_worker_pool_size", &[&worker]),
        page.sum("celery_queue_slots", &[&queue]),
        page.sum("celery_queue_saturation_ratio", &[&queue]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_what_a_pool_may_grow_to_and_the_pool_size_is_what_it_is() {
    let redis = Redis::start().await;
    let url = redis.url(0);
    let celeriac = Celeriac::start(&format!(
        "brokers: [{{url: {url:?}, control_interval: 1s}}]\n"
    ))
    .await;
    celeriac.ready().await;
    let celery = Celery::new("5.7", &url, "");
    let workers: [(&str, &[&str]); 5] = [
        ("scaled", &["--autoscale", "4,1"]),
        ("told", &["-c", "2"]),
        ("threads", &["-c", "3", "-P", "threads"]),
        ("green", &["-c", "20", "-P", "gevent"]),
        ("solo", &["-c", "7", "-P", "solo"]),
    ];
    let celery = &celery;
    let starting = workers.map(|(name, arguments)| async move {
        let arguments = [arguments, &["-Q", name]].concat();
        celery.worker(name, &arguments).await
    });
    let _workers = join_all(starting).await;
    let are = |page: &Page, expected: &[(&str, f64, f64)]| {
        expected.iter().all(|&(queue, size, slots)| {
            let (now, may, _) = pool(page, queue);
            (now, may) == (size, slots)
        })
    };
    let idle = [
        ("scaled", 1.0, 4.0),
        ("told", 2.0, 2.0),
        ("threads", 3.0, 3.0),
        ("green", 20.0, 20.0),
        ("solo", 1.0, 1.0),
    ];
    celeriac
        .page_when("idle pools", 30, |page| are(page, &idle))
        .await;

    let tasks = [r#"["proj.slow", [60], {"queue": "scaled"}]"#; 3];
    let environment = [("TASKS", format!("[{}]", tasks.join(", ")))];
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    celery.script_with("publish.py", 30, &environment).await;
    celery
        .script_with("pools.py", 30, &[("WORKER", "told"), ("GROW", "2")])
        .await;
    let busy = [("scaled", 3.0, 4.0), ("told", 4.0, 4.0)];
    celeriac
        .page_when("pools that have grown", 20, |page| {
            are(page, &busy) && pool(page, "scaled").2 == 0.75
        })
        .await;
    celery
        .script_with("pools.py", 30, &[("WORKER", "told"), ("GROW", "-3")])
        .await;
    celeriac
        .page_when("a pool that has shrunk", 20, |page| {
            are(page, &[("told", 1.0, 1.0)])
        })
        .await;
}
