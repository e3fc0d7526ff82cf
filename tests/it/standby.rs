//! Two daemons with one `data_dir`: which one uses it, which one waits, and what happens if it is not writable.

use std::fs;

use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::redis::Redis;
use super::support::{free_port, wait_for};

/// A broker, and a folder that outlives the daemons.
struct Setting {
    redis: Redis,
    data: TempDir,
}

impl Setting {
    async fn new() -> Self {
        Self {
            redis: Redis::start().await,
            data: TempDir::new().expect("a temporary folder"),
        }
    }

    async fn start(&self) -> Celeriac {
        self.start_with("").await
    }

    async fn start_with(&self, more: &str) -> Celeriac {
        let (data_dir, url) = (self.data.path(), self.redis.url(0));
        Celeriac::start(&format!(
            "data_dir: {data_dir:?}\nbrokers: [{{url: {url:?}}}]\n{more}"
        ))
        .await
    }
}

fn started(page: &Page) -> f64 {
    page.sum("celery_task_started_total", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_stands_by_and_takes_over() {
    let setting = Setting::new().await;
    let mut first = setting.start().await;
    first.ready().await;
    setting.redis.publish_lives(0..10, "t").await;
    first
        .page_when("the events", 20, |page| started(page) == 10.0)
        .await;

    let mut second = setting.start().await;
    let (status, reasons) = second.get("/-/ready").await;
    assert_eq!(status, 503);
    assert!(
        reasons.contains("data_dir: in use by another daemon"),
        "{reasons}"
    );
    assert_eq!(second.get("/-/healthy").await.0, 200);
    assert_eq!(second.get("/metrics").await.0, 404);

    // A waiting daemon stops at once.
    let mut third = setting.start().await;
    assert!(third.terminate().success());

    first.process.kill();
    second.ready().await;
    let page = second.page().await;
    assert_eq!(started(&page), 10.0, "{:#?}", page.0);
    let log = second.process.output();
    assert!(
        log.contains("data_dir is in use by another daemon"),
        "{log}"
    );
    assert!(
        log.contains("the other daemon stopped; taking over"),
        "{log}"
    );
    assert!(log.contains("checkpoint restored"), "{log}");
    assert!(second.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_keeps_the_folder_until_it_has_let_go_of_all_that_is_in_it() {
    let setting = Setting::new().await;
    // Nothing listens there, so the first daemon has samples to send until its grace period expires.
    let away = format!(
        "global: {{interval: 1s, grace_period: 4s}}\nremote_write: [{{name: r, url: \"http://127.0.0.1:{}/\"}}]\n",
        free_port()
    );
    let mut first = setting.start_with(&away).await;
    first.subscribed("default").await;
    let mut second = setting.start_with(&away).await;
    assert!(first.terminate().success());
    wait_for("the second to take over", 20, async || {
        second.process.must_run();
        let log = second.process.output();
        let subscribed = log.contains("taking over") && log.contains("subscribed to events");
        if subscribed { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn series_stand_still_while_the_checkpoint_cannot_be_written() {
    let setting = Setting::new().await;
    let mut celeriac = setting.start().await;
    celeriac.ready().await;
    setting.redis.publish_lives(0..10, "t").await;
    celeriac
        .page_when("the events", 20, |page| started(page) == 10.0)
        .await;

    // A folder at this path prevents creating the file.
    let obstacle = setting.data.path().join("checkpoint.new");
    wait_for("the obstacle", 5, async || {
        fs::create_dir(&obstacle).map_err(|error| error.to_string())
    })
    .await;
    let failures = |page: &Page| page.sum("celeriac_checkpoint_failures_total", &[]);
    celeriac
        .page_when("a failure", 20, |page| failures(page) > 0.0)
        .await;
    setting.redis.publish_lives(10..30, "t").await;
    let seen = failures(&celeriac.page().await);
    let page = celeriac
        .page_when("what it says of itself to go on", 20, |page| {
            failures(page) > seen + 2.0
        })
        .await;
    assert_eq!(
        started(&page),
        10.0,
        "nothing goes out that a crash would take back"
    );

    fs::remove_dir(&obstacle).expect("an empty folder");
    celeriac
        .page_when("everything", 20, |page| started(page) == 30.0)
        .await;
    assert!(celeriac.terminate().success());
    let log = celeriac.process.output();
    assert!(log.contains("writing the checkpoint failed"), "{log}");
    assert!(log.contains("writing checkpoints succeeds again"), "{log}");
}
