//! A burst that celeriac cannot read is lost in Redis: what the log says, and how it goes on.

use rustix::process::Signal;

use super::support::celeriac::Celeriac;
use super::support::redis::Redis;
use super::support::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_limit_that_a_burst_exceeded() {
    let redis = Redis::start_with(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]).await;
    let config = format!(
        "brokers: [{{url: {:?}, queue_interval: 0s, control_interval: 0s}}]\n",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    celeriac.process.signal(Signal::STOP);
    // First the sockets' buffers fill up, then that of Redis.
    let mut published = 0;
    wait_for("Redis to close the connection", 60, async || {
        redis.publish_lives(published..published + 2_500, "t").await;
        published += 2_500;
        match redis.subscribers().await {
            0 => Ok(()),
            more => Err(format!("{more} subscribers")),
        }
    })
    .await;
    celeriac.process.signal(Signal::CONT);
    let page = celeriac
        .page_when("the next connection", 20, |page| {
            page.sum("celeriac_broker_reconnects_total", &[]) == 1.0
        })
        .await;
    assert!(page.sum("celeriac_broker_gap_seconds_total", &[]) > 0.0);
    let log = celeriac.process.output();
    let reason = "probably because client-output-buffer-limit was exceeded";
    assert_eq!(log.matches(reason).count(), 1, "{log}");
    // What comes now is counted, and so is what the sockets held.
    redis
        .publish_lives(published..published + 10, "after")
        .await;
    let page = celeriac
        .page_when("the events", 20, |page| {
            page.sum("celery_task_succeeded_total", &["name=\"after\""]) == 10.0
        })
        .await;
    let before = page.events() - 40.0;
    assert!(before > 0.0 && before < published as f64 * 4.0, "{before}");
}
