//! Updates without a reload, and what happens when the daemon goes away.

use super::*;
use crate::support::free_port;

#[tokio::test(flavor = "multi_thread")]
async fn rows_change_without_a_reload_and_new_ones_appear() {
    let (redis, celeriac) = with_tasks("", &["a.task"]).await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/tasks")).await;
    browser
        .client
        .execute("window.mark = 1", Vec::new())
        .await
        .expect("a script");
    let as_of = browser.text("#as-of").await;
    redis.publish_lives(5000..5020, "b.task").await;
    browser
        .until(
            "document.querySelector('#rows-tasks')?.innerText.includes('b.task')",
            20,
        )
        .await;
    assert_ne!(browser.text("#as-of").await, as_of);
    let same = browser.value("window.mark").await;
    assert_eq!(same, 1, "the page was loaded again");

    // A paused page stands still.
    browser
        .find("#pause")
        .await
        .click()
        .await
        .expect("a button");
    redis.publish_lives(6000..6010, "c.task").await;
    let counted = celeriac.page_when("the events", 20, |page| {
        page.sum("celery_task_sent_total", &["name=\"c.task\""]) == 10.0
    });
    counted.await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(!browser.text("#rows-tasks").await.contains("c.task"));
    browser
        .find("#pause")
        .await
        .click()
        .await
        .expect("a button");
    browser
        .until(
            "document.querySelector('#rows-tasks')?.innerText.includes('c.task')",
            20,
        )
        .await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_recovers_when_the_daemon_returns() {
    let redis = Redis::start().await;
    let port = free_port();
    let config = format!("brokers: [{{url: {:?}}}]\n", redis.url(0));
    let mut celeriac = Celeriac::start_on(port, &config, &[], &[]).await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "before.it").await;
    celeriac
        .page_when("the events", 20, |page| page.events() >= 40.0)
        .await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/tasks")).await;
    browser
        .client
        .execute("window.mark = 1", Vec::new())
        .await
        .expect("a script");
    celeriac.terminate();
    browser
        .until("!document.querySelector('#lost').hidden", 20)
        .await;
    let banner = browser.text("#lost").await;
    assert!(!banner.is_empty());

    let celeriac = Celeriac::start_on(port, &config, &[], &[]).await;
    celeriac.ready().await;
    redis.publish_lives(100..110, "after.it").await;
    browser
        .until(
            "document.querySelector('#rows-tasks')?.innerText.includes('after.it')",
            60,
        )
        .await;
    browser
        .until("document.querySelector('#lost').hidden", 20)
        .await;
    browser.close().await;
}

/// Ten pages that are open all the time, as far as the daemon is concerned.
#[tokio::test(flavor = "multi_thread")]
async fn listeners_beyond_the_limit_are_refused_and_their_page_still_works() {
    let (_redis, celeriac) = with_tasks("", &["a.task"]).await;
    let client = reqwest::Client::new();
    let live = celeriac.url("/api/v1/live?view=/tasks");
    let mut open = Vec::new();
    for _ in 0..64 {
        let answer = client.get(&live).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        open.push(answer);
    }
    let refused = client.get(&live).send().await.expect("an answer");
    assert_eq!(refused.status(), 503);
    let (status, page) = celeriac.get("/tasks").await;
    assert_eq!(status, 200);
    assert!(page.contains("a.task"));

    let browser = Browser::start().await;
    browser.open(&celeriac.url("/tasks")).await;
    browser.find("#rows-tasks tr").await;
    // It loads itself again instead.
    browser
        .client
        .execute("window.mark = 1", Vec::new())
        .await
        .expect("a script");
    browser.until("window.mark === undefined", 40).await;
    // Others can listen once a listener is gone.
    drop(open);
    wait_for("a place", 20, async || {
        let answer = client
            .get(&live)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    browser.close().await;
}
