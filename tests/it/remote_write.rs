//! Tests the sender against a strict receiver.
//!
//! `tests/senders.md` lists a sender's obligations, and the rule or test that checks each of them.

use std::time::{Duration, Instant};

use super::support::celeriac::{Celeriac, Page};
use super::support::redis::Redis;
use super::support::wait_for;
use strict_receiver::{Answer, Receiver, STALE};

async fn start(redis: &Redis, receiver: &Receiver, keys: &str) -> Celeriac {
    let config = format!(
        "brokers: [{{url: {:?}}}]\nremote_write: [{{name: r, url: {:?}, {keys}}}]\n",
        redis.url(0),
        receiver.url()
    );
    Celeriac::start(&config).await
}

const SINK: &str = "celeriac_remote_storage_samples";

/// Samples taken = sent + failed + dropped + pending.
fn balanced(page: &Page) -> bool {
    let sum = |word: &str| page.sum(&format!("{SINK}_{word}"), &[]);
    sum("in_total") == sum("total") + sum("failed_total") + sum("dropped_total") + sum("pending")
}

/// Waits until a series has this value at the receiver.
async fn value(receiver: &Receiver, name: &str, labels: &[&str], expected: f64) {
    wait_for("a value in the receiver", 30, async || {
        let newest = receiver
            .series(name, labels)
            .last()
            .map(|(_, value)| *value);
        if newest == Some(expected) {
            Ok(())
        } else {
            Err(format!("{name}: {newest:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_breaks_no_rule_and_arrives_with_zeros_and_metadata() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    receiver.samples_max(40);
    let celeriac = start(
        &redis,
        &receiver,
        "queue_config: {max_samples_per_send: 40}",
    )
    .await;
    celeriac.ready().await;
    for n in 0..20 {
        redis
            .publish_lives(n * 5..n * 5 + 5, &format!("task.{n}"))
            .await;
    }
    value(
        &receiver,
        "celery_task_succeeded_total",
        &["name=\"task.19\""],
        5.0,
    )
    .await;
    receiver.assert_no_violation();

    let samples = receiver.series("celery_task_succeeded_total", &["name=\"task.3\""]);
    assert_eq!(
        samples[0].1, 0.0,
        "the first sample of a counter is 0: {samples:?}"
    );
    assert!(samples[0].0 < samples[1].0);
    let labels = ["job=\"celery\"", "instance=", "queue=\"celery\""];
    assert!(
        !receiver
            .series(
                "celery_task_sent_total",
                &[&labels[..], &["name=\"task.3\""]].concat()
            )
            .is_empty()
    );
    // In a later request of the same snapshot.
    let runtime = "celery_task_runtime_seconds_count";
    value(&receiver, runtime, &["name=\"task.3\""], 5.0).await;
    // One timestamp per snapshot, on a full second.
    assert!(
        samples[1..].iter().all(|(at, _)| at % 1000 == 0),
        "{samples:?}"
    );
    receiver.with(|received| {
        assert_eq!(
            received.metadata["celery_task_runtime_seconds"],
            "Histogram seconds Runtime of attempts, as measured by the worker, or from start to end."
        );
        assert!(received.metadata["celery_task_sent_total"].starts_with("Counter  Total number of tasks published"));
    });
    celeriac
        .page_when("the books to balance", 10, balanced)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_tried_again_comes_again_byte_for_byte() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let celeriac = start(
        &redis,
        &receiver,
        "remote_timeout: 1s, queue_config: {max_backoff: 100ms}",
    )
    .await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "t").await;
    value(
        &receiver,
        "celery_task_succeeded_total",
        &["name=\"t\""],
        10.0,
    )
    .await;
    receiver.answer(&[
        Answer::Status(500),
        Answer::Status(503),
        Answer::Status(429),
        Answer::Status(408),
        Answer::StoreAndCut,
        Answer::Status(502),
        Answer::Silence(Duration::from_secs(2)),
    ]);
    redis.publish_lives(10..20, "t").await;
    value(
        &receiver,
        "celery_task_succeeded_total",
        &["name=\"t\""],
        20.0,
    )
    .await;
    let retried = |page: &Page| page.sum(&format!("{SINK}_retried_total"), &[]) > 0.0;
    let page = celeriac
        .page_when("the books to balance", 10, |page| {
            balanced(page) && retried(page)
        })
        .await;
    receiver.assert_no_violation();
    assert_eq!(page.sum(&format!("{SINK}_failed_total"), &[]), 0.0);
    assert_eq!(page.sum(&format!("{SINK}_dropped_total"), &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_waited_for() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let celeriac = start(&redis, &receiver, "").await;
    celeriac.ready().await;
    receiver.answer(&[Answer::RetryAfter(429, 3), Answer::RetryAfter(503, 1)]);
    let asked = Instant::now();
    redis.publish_lives(0..1, "t").await;
    value(
        &receiver,
        "celery_task_succeeded_total",
        &["name=\"t\""],
        1.0,
    )
    .await;
    assert!(
        asked.elapsed() >= Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    receiver.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_counted_and_not_sent_again() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let celeriac = start(
        &redis,
        &receiver,
        "queue_config: {retry_on_http_429: false}",
    )
    .await;
    celeriac.ready().await;
    receiver.answer(&[401, 404, 429, 302].map(Answer::Status));
    redis.publish_lives(0..10, "t").await;
    value(
        &receiver,
        "celery_task_succeeded_total",
        &["name=\"t\""],
        10.0,
    )
    .await;
    receiver.assert_no_violation();
    let failed = |page: &Page| page.sum(&format!("{SINK}_failed_total"), &[]) > 0.0;
    celeriac
        .page_when("the books to balance", 10, |page| {
            balanced(page) && failed(page)
        })
        .await;
    let log = celeriac.process.output();
    for status in ["401", "404", "429", "302"] {
        assert!(
            log.contains(&format!("error=HTTP {status}")),
            "{status}: {log}"
        );
    }
    assert!(log.contains("as told by the test"), "{log}");
    // The same wording as in `doctor`.
    for advice in [
        "credentials are missing or wrong",
        "/api/v1/write (Prometheus",
        "`url` redirects elsewhere",
    ] {
        assert!(log.contains(advice), "{advice}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_for_too_long_costs_the_oldest_and_holds_up_no_other() {
    let redis = Redis::start().await;
    let (away, there) = (Receiver::start().await, Receiver::start().await);
    away.answer_always(Some(Answer::Status(503)));
    // A queue of a megabyte, and samples that do not compress, so that each snapshot takes a large part of it.
    let config = format!(
        "global: {{interval: 1s}}\nbrokers: [{{url: {:?}}}]\nremote_write:\n\
         - {{name: away, url: {:?}, queue_config: {{max_bytes: 1MiB}}}}\n- {{name: there, url: {:?}}}\n",
        redis.url(0),
        away.url(),
        there.url()
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("default").await;
    for n in 0..600_u64 {
        let odd = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        redis
            .publish_lives(n..n + 1, &format!("task.{odd:x}"))
            .await;
    }
    let dropped = format!("{SINK}_dropped_total");
    let page = celeriac
        .page_when("the queue to be full", 60, |page| {
            page.sum(&dropped, &["remote_name=\"away\""]) > 0.0
        })
        .await;
    assert_eq!(page.sum(&dropped, &["remote_name=\"there\""]), 0.0);
    value(&there, "celery_events_total", &["task-succeeded"], 600.0).await;
    away.answer_always(None);
    value(&away, "celery_events_total", &["task-succeeded"], 600.0).await;
    for receiver in [&away, &there] {
        receiver.assert_no_violation();
    }
    celeriac
        .page_when("the books to balance", 20, balanced)
        .await;
    let log = celeriac.process.output();
    assert!(
        log.contains("queue is full") && log.contains("sending succeeds again"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_daemon_ends_its_series() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let mut celeriac = start(&redis, &receiver, "").await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "t").await;
    celeriac
        .page_when("the events", 10, |page| page.events() == 40.0)
        .await;
    // Events after the newest snapshot are sent too.
    redis.publish_lives(10..20, "t").await;
    wait_for("the daemon to have read it", 10, async || {
        let lag = celeriac.page().await.sum("celeriac_messages_total", &[]);
        if lag >= 80.0 {
            Ok(())
        } else {
            Err(lag.to_string())
        }
    })
    .await;
    assert!(celeriac.terminate().success());
    receiver.assert_no_violation();
    receiver.with(|received| {
        let alive: Vec<_> = received
            .series
            .iter()
            .filter(|(_, samples)| {
                samples
                    .last()
                    .is_none_or(|(_, value)| value.to_bits() != STALE)
            })
            .collect();
        assert!(alive.is_empty(), "{alive:?}");
    });
    let succeeded = receiver.series("celery_task_succeeded_total", &["name=\"t\""]);
    assert_eq!(succeeded[succeeded.len() - 2].1, 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_and_the_end_of_the_grace_period_end_it() {
    let redis = Redis::start().await;
    let receiver = Receiver::start().await;
    receiver.answer_always(Some(Answer::Status(503)));
    let global = "global: {interval: 1s, grace_period: 2s}\n";
    let config = format!(
        "{global}brokers: [{{url: {:?}}}]\nremote_write: [{{url: {:?}}}]\n",
        redis.url(0),
        receiver.url()
    );
    let mut celeriac = Celeriac::start(&config).await;
    let start = Instant::now();
    assert!(celeriac.terminate().success());
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    let log = celeriac.process.output();
    assert!(
        log.contains("shutdown grace period expired; samples were not sent"),
        "{log}"
    );

    let patient = config.replace("2s", "60s");
    let mut celeriac = Celeriac::start(&patient).await;
    celeriac.process.signal(rustix::process::Signal::TERM);
    wait_for("the first signal to be taken", 5, async || {
        let log = celeriac.process.output();
        if log.contains("stopping") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    // The same request again, as GNU timeout sends it.
    celeriac.process.signal(rustix::process::Signal::TERM);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let status = celeriac.process.terminate(5);
    assert_eq!(status.code(), Some(130));
    let log = celeriac.process.output();
    assert_eq!(log.matches("second signal").count(), 2, "{log}");
}
