//! Pushes to real Pushgateways, and to a fake one for responses that real ones never send.

mod refused;

use std::process::Command;
use std::time::Duration;

use axum::http::Method;
use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::exposition::{Exposition, Series};
use super::support::process::Process;
use super::support::prometheus::{Options, Prometheus};
use super::support::pushgateway::{Answer, Double, Labels, Pushgateway};
use super::support::redis::Redis;
use super::support::wait_for;
use strict_receiver::Receiver;

async fn start(redis: &Redis, url: &str, keys: &str) -> Celeriac {
    let config = format!(
        "brokers: [{{url: {:?}}}]\npushgateway: [{{name: g, url: {url:?}, {keys}}}]\n",
        redis.url(0)
    );
    Celeriac::start(&config).await
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    pairs.collect()
}

fn pushes(page: &Page, outcome: &str) -> f64 {
    let outcome = format!("outcome={outcome:?}");
    page.sum("celeriac_pushes_total", &["pushgateway=\"g\"", &outcome])
}

/// Returns the beginning of each log line that contains a message.
fn told<'a>(log: &'a str, message: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(message)).collect()
}

/// Returns the series of one group, without the group's labels and the gateway's own series about it.
fn without(page: &Exposition, group: &Labels) -> Exposition {
    let ours = |series: &Series| {
        let has = |(name, value): (&String, &String)| {
            value.is_empty() || series.labels.get(name) == Some(value)
        };
        group.iter().all(has) && !series.name.starts_with("push_")
    };
    let samples = page.samples.iter().filter(|(series, _)| ours(series));
    let samples = samples.map(|(series, value)| {
        let mut series = series.clone();
        series.labels.retain(|name, _| !group.contains_key(name));
        (series, *value)
    });
    Exposition {
        samples: samples.collect(),
        ..Exposition::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shows_what_the_page_shows_under_the_labels_of_the_group() {
    let redis = Redis::start().await;
    let odd: &[(&str, &str)] = &[
        ("job", "shop/celery"),
        ("blanks", "a b  c"),
        ("dots", ".."),
        ("empty", ""),
        ("instance", "web-1:80"),
        ("letters", "Προμηθεύς ☂"),
        ("quotes", "\"\\%2F+?#"),
    ];
    let grouping = "job: shop/celery, grouping_key: {instance: 'web-1:80', empty: '', blanks: 'a b  c', dots: .., \
                    letters: 'Προμηθεύς ☂', quotes: '\"\\%2F+?#'}";
    for gateway in [Pushgateway::start().await, Pushgateway::start_1_11().await] {
        // Groups of others remain.
        let other = "# TYPE other gauge\nother 7\n";
        assert_eq!(
            gateway.ask(Method::PUT, "/metrics/job/other", other).await,
            200
        );
        let celeriac = start(&redis, &gateway.url(), grouping).await;
        celeriac.ready().await;
        redis.publish_lives(0..20, "t\"1\"").await;

        let group = labels(odd);
        wait_for("the group to show what the page shows", 20, async || {
            let ours = Exposition::parse(&celeriac.get("/metrics").await.1);
            let theirs = without(&gateway.page().await, &group);
            let events = Series {
                name: "celery_events_total".to_owned(),
                labels: labels(&[("type", "task-succeeded")]),
            };
            // The tasks are counted once their queue is known, or after another snapshot.
            let tasks = ours
                .samples
                .keys()
                .any(|series| series.name == "celery_task_sent_total");
            if ours.samples.get(&events) != Some(&20.0) || !tasks {
                return Err("the events are not there yet".to_owned());
            }
            if ours.samples == theirs.samples {
                Ok(())
            } else {
                Err(format!("ours:\n{ours}\ntheirs:\n{theirs}"))
            }
        })
        .await;
        let mut groups = gateway.groups().await;
        groups.sort();
        let mut expected = vec![labels(&[("job", "other")]), group.clone()];
        expected.sort();
        assert_eq!(groups, expected);

        let details = gateway.details().await;
        let is_ours = |group: &&serde_json::Value| group["labels"]["job"] == "shop/celery";
        let ours = details.iter().find(is_ours).expect("our group");
        assert_eq!(ours["last_push_successful"], true);
        assert_eq!(ours["celery_task_sent_total"]["type"], "COUNTER");
        assert_eq!(ours["celery_task_runtime_seconds"]["type"], "HISTOGRAM");
        assert_eq!(ours["celeriac_build_info"]["type"], "GAUGE");
        assert_eq!(gateway.value("other", &[]).await, Some(7.0));

        let page = celeriac.page().await;
        assert!(pushes(&page, "delivered") >= 1.0);
        assert_eq!(pushes(&page, "refused") + pushes(&page, "failed"), 0.0);
        let count = page.sum("celeriac_push_duration_seconds_count", &[]);
        assert!(count >= pushes(&page, "delivered"), "{count}");
        let last = page.sum(
            "celeriac_last_push_timestamp_seconds",
            &["pushgateway=\"g\""],
        );
        let start = page.sum("process_start_time_seconds", &[]);
        assert!(last > start && last < start + 60.0, "{last} and {start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_in_protobuf_shows_the_same_and_may_have_native_histograms() {
    let redis = Redis::start().await;
    let group = labels(&[("job", "p"), ("instance", "")]);
    for gateway in [Pushgateway::start().await, Pushgateway::start_1_11().await] {
        for native in [false, true] {
            let keys = format!(
                "job: p, grouping_key: {{}}, format: protobuf, send_native_histograms: {native}"
            );
            let mut celeriac = start(&redis, &gateway.url(), &keys).await;
            celeriac.ready().await;
            redis.publish_lives(0..20, "t").await;
            wait_for("the group to show what the page shows", 20, async || {
                let mut ours = Exposition::parse(&celeriac.get("/metrics").await.1);
                let mut theirs = without(&gateway.page().await, &group);
                let succeeded = Series {
                    name: "celery_task_succeeded_total".to_owned(),
                    labels: labels(&[("name", "t"), ("queue", "celery")]),
                };
                if ours.samples.get(&succeeded) != Some(&20.0) {
                    return Err("the tasks are not there yet".to_owned());
                }
                if native {
                    // The text page shows only count and sum of a native histogram.
                    for page in [&mut ours, &mut theirs] {
                        page.samples
                            .retain(|series, _| !series.name.ends_with("_bucket"));
                    }
                }
                if ours.samples == theirs.samples {
                    Ok(())
                } else {
                    Err(format!("ours:\n{ours}\ntheirs:\n{theirs}"))
                }
            })
            .await;
            let page = celeriac.page().await;
            assert_eq!(pushes(&page, "refused") + pushes(&page, "failed"), 0.0);
            // It deletes the group when it stops.
            assert!(celeriac.terminate().success());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_ended_is_gone_with_the_next_push() {
    let (redis, gateway) = (Redis::start().await, Pushgateway::start().await);
    let config = format!(
        "brokers: [{{url: {:?}}}]\nmetrics: {{series_ttl: 3s}}\npushgateway: [{{url: {:?}}}]\n",
        redis.url(0),
        gateway.url()
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    redis.publish_lives(0..1, "short.lived").await;
    let ended = ("celery_task_succeeded_total", [("name", "short.lived")]);
    gateway.has(ended.0, &ended.1, Some(1.0)).await;
    gateway.has(ended.0, &ended.1, None).await;
    let stays = ("celery_events_total", [("type", "task-succeeded")]);
    assert_eq!(gateway.value(stays.0, &stays.1).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_away_has_the_newest_state_again_and_nobody_else_suffers() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let mut gateway = Pushgateway::start().await;
    let config = format!(
        "brokers: [{{url: {:?}}}]\nremote_write: [{{url: {:?}}}]\npushgateway: [{{name: g, url: {:?}}}]\n",
        redis.url(0),
        receiver.url(),
        gateway.url()
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "t").await;
    let name = "celery_task_succeeded_total";
    gateway.has(name, &[("name", "t")], Some(10.0)).await;

    gateway.stop();
    redis.publish_lives(10..20, "t").await;
    wait_for("the receiver to have it nonetheless", 10, async || {
        let series = receiver.series(name, &["name=\"t\""]);
        match series.last() {
            Some((_, 20.0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let page = celeriac
        .page_when("some tries", 20, |page| pushes(page, "failed") >= 3.0)
        .await;
    assert_eq!(page.events(), 80.0);
    let (status, reasons) = celeriac.get("/-/ready").await;
    assert_eq!(status, 503);
    assert!(reasons.contains("pushgateway g: no response"), "{reasons}");

    gateway.start_again().await;
    gateway.has(name, &[("name", "t")], Some(20.0)).await;
    celeriac.ready().await;
    let log = celeriac.process.output();
    for message in ["push failed", "pushes succeed again"] {
        assert_eq!(told(&log, message).len(), 1, "{message}: {log}");
    }
    receiver.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_daemon_deletes_its_group_and_no_other() {
    let redis = Redis::start().await;
    for gateway in [Pushgateway::start().await, Pushgateway::start_1_11().await] {
        // A group whose path starts with ours.
        let path = "/metrics/job/celery/shard/a";
        assert_eq!(gateway.ask(Method::PUT, path, "other 7\n").await, 200);
        let keys = "grouping_key: {}";
        let mut celeriac = start(&redis, &gateway.url(), keys).await;
        celeriac.ready().await;
        assert_eq!(gateway.groups().await.len(), 2);
        assert!(celeriac.terminate().success());
        let other = labels(&[("job", "celery"), ("shard", "a")]);
        wait_for("the group to be gone", 5, async || {
            let groups = gateway.groups().await;
            let gone = groups == std::slice::from_ref(&other);
            if gone {
                Ok(())
            } else {
                Err(format!("{groups:?}"))
            }
        })
        .await;
        let log = celeriac.process.output();
        assert_eq!(
            told(&log, "group deleted from the Pushgateway").len(),
            1,
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_to_stay_has_the_last_of_what_was_counted() {
    let (redis, gateway) = (Redis::start().await, Pushgateway::start().await);
    // Only the first and the last snapshot are due, unless a full hour begins.
    let mut celeriac = start(&redis, &gateway.url(), "on_shutdown: keep, interval: 1h").await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "t").await;
    celeriac
        .page_when("the events", 10, |page| page.events() == 40.0)
        .await;
    assert!(celeriac.terminate().success());
    let name = "celery_task_succeeded_total";
    assert_eq!(gateway.value(name, &[("name", "t")]).await, Some(10.0));
    let log = celeriac.process.output();
    assert_eq!(told(&log, "group kept").len(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_killed_leaves_its_group_and_takes_it_over_when_it_is_back() {
    let (redis, gateway) = (Redis::start().await, Pushgateway::start().await);
    let keys = "grouping_key: {instance: one}";
    let mut celeriac = start(&redis, &gateway.url(), keys).await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "before").await;
    let name = "celery_task_succeeded_total";
    let group = ("instance", "one");
    gateway
        .has(name, &[("name", "before"), group], Some(10.0))
        .await;
    celeriac.process.kill();
    let left = gateway.value(name, &[("name", "before"), group]).await;
    assert_eq!(left, Some(10.0));

    let celeriac = start(&redis, &gateway.url(), keys).await;
    celeriac.ready().await;
    redis.publish_lives(10..12, "after").await;
    gateway
        .has(name, &[("name", "after"), group], Some(2.0))
        .await;
    assert_eq!(gateway.value(name, &[("name", "before")]).await, None);
    let groups = gateway.groups().await;
    assert_eq!(groups, [labels(&[("job", "celery"), group])]);
}
