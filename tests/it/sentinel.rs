//! Redis under sentinels, with failovers in the middle.

use celeriac::state::PollTargets;

use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::events::{envelope, life};
use super::support::polling::Polling;
use super::support::sentinel::Sentinel;
use super::support::wait_for;

fn config(sentinel: &Sentinel) -> String {
    format!(
        "brokers: [{{url: {:?}, sentinel: {{master_name: mymaster}}}}]\n",
        sentinel.url(0)
    )
}

/// Publishes on a channel of the master until there is a subscriber. Only the successful publish is delivered.
async fn publish(sentinel: &Sentinel, channel: &str, n: u64) {
    let message = envelope(&life(n, "t", 1_795_344_000.0)[0]);
    wait_for("a subscriber on the master", 40, async || {
        let master = sentinel.master().await;
        let server = sentinel.servers.iter().find(|server| server.port == master);
        let server = server.ok_or("a stranger")?;
        let client = redis::Client::open(server.url(0)).expect("a URL");
        let connecting = client.get_multiplexed_async_connection().await;
        let mut connection = connecting.map_err(|error| error.to_string())?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(&message);
        match publish.query_async::<u64>(&mut connection).await {
            Ok(0) => Err("nobody".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_after_a_failover_and_after_the_master_has_died() {
    let mut sentinel = Sentinel::start().await;
    let celeriac = Celeriac::start(&config(&sentinel)).await;
    celeriac.ready().await;
    // Both forms of the channel name.
    publish(&sentinel, "/0.celeryev/task.multi", 1).await;
    publish(&sentinel, "/{db}.celeryev/task.multi", 2).await;
    celeriac
        .page_when("events of the first master", 10, |page| {
            page.events() == 2.0
        })
        .await;

    sentinel.fail_over().await;
    publish(&sentinel, "/0.celeryev/task.multi", 3).await;
    celeriac
        .page_when("events of the second", 20, |page| page.events() == 3.0)
        .await;

    // The old master must be back as a replica before it can be promoted again.
    sentinel.replica_in_step().await;
    let now = sentinel.master().await;
    let master = sentinel
        .servers
        .iter_mut()
        .find(|server| server.port == now);
    master.expect("one of ours").stop();
    sentinel.other_than(now).await;
    publish(&sentinel, "/{db}.celeryev/task.multi", 4).await;
    celeriac
        .page_when("events of the third", 20, |page| page.events() == 4.0)
        .await;
    let log = celeriac.process.output();
    assert!(log.contains("mymaster@127.0.0.1"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_is_heard_and_asked_through_a_sentinel() {
    let sentinel = Sentinel::start().await;
    let options = r#"{"master_name": "mymaster"}"#;
    let send = r#"[[2, 60, {"queue": "celery"}], [3, 0, {"queue": "nobody"}]]"#;
    let celery = Celery::new("5.7", &sentinel.url(0), "")
        .with("OPTIONS", options)
        .with("SEND", send);
    let celeriac = Celeriac::start(&config(&sentinel)).await;
    celeriac.ready().await;
    let arguments = ["-E", "-c", "1", "-P", "threads"];
    let _worker = celery.worker_of("polled", "w1", &arguments).await;
    celery.script("send.py", 30).await;
    celeriac
        .page_when("task events", 20, |page| {
            page.sum("celery_task_started_total", &["polled.sleep"]) == 1.0
        })
        .await;
    let keys = format!(
        "url: {:?}, sentinel: {{master_name: mymaster}}, control_interval: 1s, queue_interval: 1s",
        sentinel.url(0)
    );
    let mut polling = Polling::start_knowing(&keys, PollTargets::default());
    let asked = |workers: &[celeriac::state::WorkerAnswer]| {
        workers.len() == 1
            && workers[0]
                .active
                .as_ref()
                .is_some_and(|tasks| tasks.len() == 1)
    };
    polling.workers("the worker", 20, asked).await;
    let sums = |levels: &[celeriac::state::QueueLevel]| {
        let sum = |queue| {
            let (length, unacked) = super::support::polling::length_unacked(levels, queue);
            length + unacked
        };
        sum("celery") == 2 && sum("nobody") == 3
    };
    polling.queues("the queues", 20, sums).await;

    // The new master is polled, not the old one, which would respond too.
    sentinel.fail_over().await;
    polling.queues("the queues again", 40, sums).await;
    polling.workers("the worker again", 60, asked).await;
    polling.stop().await;
}
