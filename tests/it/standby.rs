//! One `data_dir`: who has it, who waits for it, and what happens when it cannot be written.

use std::fs;

use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::redis::Redis;
use super::support::wait_for;

/// A broker, and a folder that outlives daemons.
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
        let (data_dir, url) = (self.data.path(), self.redis.url(0));
        Celeriac::start(&format!(
            "data_dir: {data_dir:?}\nbrokers: [{{url: {url:?}}}]\n"
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
        reasons.contains("data_dir: another daemon has it"),
        "{reasons}"
    );
    assert_eq!(second.get("/-/healthy").await.0, 200);
    assert_eq!(second.get("/metrics").await.0, 404);

    // One that waits is stopped at once.
    let mut third = setting.start().await;
    assert!(third.terminate().success());

    first.process.kill();
    second.ready().await;
    let page = second.page().await;
    assert_eq!(started(&page), 10.0, "{:#?}", page.0);
    let log = second.process.output();
    assert!(
        log.contains("another daemon has this data_dir, standing by"),
        "{log}"
    );
    assert!(
        log.contains("the other daemon is gone, taking over"),
        "{log}"
    );
    assert!(log.contains("going on from the checkpoint"), "{log}");
    assert!(second.terminate().success());
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

    // No file can be made where a folder is.
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
    let messages = |page: &Page| page.sum("celeriac_messages_total", &[]);
    let page = celeriac
        .page_when("own series to go on", 20, |page| {
            failures(page) > 2.0 && messages(page) >= 30.0 * 4.0
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
    assert!(log.contains("cannot write the checkpoint"), "{log}");
    assert!(log.contains("writing checkpoints again"), "{log}");
}
