//! Real workers that die, share a host, or send no task events.

use std::time::Duration;

use rustix::process::Signal;

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;
use strict_receiver::{Receiver, STALE};

/// How long an offline worker stays visible.
const RETENTION: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_down_for_its_retention_and_then_ends() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let config = format!(
        "brokers: [{{url: {:?}}}]\nmetrics: {{worker_retention: {}s}}\nremote_write: [{{url: {:?}}}]\n",
        redis.url(0),
        RETENTION.as_secs(),
        receiver.url()
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let celery = Celery::new("5.7", &redis.url(0), &redis.url(1));
    let dies = celery.worker("dies", &["-c", "1", "-Q", "a"]).await;
    let _stays = celery.worker("stays", &["-c", "1", "-Q", "b"]).await;
    let up =
        |page: &Page, name: &str| page.sum("celery_worker_up", &[&format!("worker=\"{name}@")]);
    celeriac
        .page_when("two workers on one host", 20, |page| {
            up(page, "dies") == 1.0 && up(page, "stays") == 1.0
        })
        .await;
    dies.signal(Signal::KILL);
    // Three missed heartbeats of 2 s, and a snapshot.
    let page = celeriac
        .page_when("one of them to be down", 10, |page| {
            page.sum("celery_workers", &["offline"]) == 1.0
        })
        .await;
    assert_eq!((up(&page, "dies"), up(&page, "stays")), (0.0, 1.0));
    celeriac
        .page_when("it to end", RETENTION.as_secs() + 5, |page| {
            !page.0.keys().any(|line| line.contains("dies@"))
        })
        .await;
    assert_eq!(up(&celeriac.page().await, "stays"), 1.0);

    // The pushed series: ones, then zeros for the retention time, then the stale marker, and nothing after it.
    let series = wait_for("the stale marker", 10, async || {
        let line = receiver.with(|received| {
            let all = received.series.keys();
            let mut dies = all
                .filter(|labels| labels.contains("celery_worker_up") && labels.contains("dies@"));
            dies.next().cloned()
        });
        let line = line.ok_or("no series")?;
        let samples = receiver.with(|received| received.series[&line].clone());
        match samples.last() {
            Some((_, value)) if value.to_bits() == STALE => Ok(samples),
            _ => Err(format!("{samples:?}")),
        }
    })
    .await;
    let values: Vec<f64> = series.iter().map(|(_, value)| *value).collect();
    let (marker, before) = values.split_last().expect("samples");
    let downs = before.iter().filter(|value| **value == 0.0).count();
    assert!(
        marker.is_nan() && before.is_sorted_by(|a, b| a >= b),
        "{values:?}"
    );
    assert!(
        (7..=10).contains(&downs),
        "{downs} zeros, a second apart: {values:?}"
    );
    receiver.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hostname_the_workers_of_a_host_are_one() {
    let redis = Redis::start().await;
    let config = format!(
        "brokers: [{{url: {:?}}}]\nmetrics: {{worker_label: hostname, task_labels: [name, worker]}}\n",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let celery = Celery::new("5.6", &redis.url(0), &redis.url(1));
    let dies = celery.worker("dies", &["-c", "1", "-Q", "a"]).await;
    let _stays = celery.worker("stays", &["-c", "2", "-Q", "b"]).await;
    let tasks = r#"[["proj.add", [1, 1], {"queue": "a"}], ["proj.add", [2, 2], {"queue": "b"}]]"#;
    celery
        .script_with("publish.py", 30, &[("TASKS", tasks)])
        .await;
    let page = celeriac
        .page_when("both tasks", 20, |page| {
            page.sum("celery_task_succeeded_total", &[]) == 2.0
                && page.sum("celery_worker_tasks_processed_total", &[]) == 2.0
                && page.sum("celery_workers", &["online"]) == 2.0
        })
        .await;
    let of_workers = |page: &Page, family: &str| {
        let of_family = |line: &&String| line.starts_with(&format!("{family}{{"));
        let lines: Vec<_> = page.0.keys().filter(of_family).cloned().collect();
        assert!(lines.iter().all(|line| !line.contains('@')), "{lines:?}");
        lines.len()
    };
    assert_eq!(of_workers(&page, "celery_worker_up"), 1);
    assert_eq!(of_workers(&page, "celery_worker_info"), 1);
    assert_eq!(of_workers(&page, "celery_worker_tasks_processed_total"), 1);
    dies.signal(Signal::KILL);
    let page = celeriac
        .page_when("one of them to be down", 15, |page| {
            page.sum("celery_workers", &["offline"]) == 1.0
        })
        .await;
    assert_eq!(
        page.sum("celery_worker_up", &[]),
        1.0,
        "the host still has one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_task_events_is_told_of_and_switched_on_on_redis() {
    let redis = Redis::start().await;
    silent("5.7", &redis.url(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_task_events_is_told_of_and_switched_on_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    silent("5.6", &rabbitmq.url("")).await;
}

async fn silent(version: &str, url: &str) {
    let celery = Celery::new(version, url, "");
    let send = async |count: u32| {
        let send = format!("[[{count}, 0, {{\"queue\": \"celery\"}}]]");
        celery.script_with("send.py", 30, &[("SEND", &send)]).await;
    };
    let told = Celeriac::start(&format!("brokers: [{{url: {url:?}}}]\n")).await;
    told.ready().await;
    let _worker = celery.worker_of("polled", "w", &["-c", "1"]).await;
    told.page_when("its heartbeats", 20, |page| {
        page.sum("celery_workers", &["online"]) == 1.0
    })
    .await;
    let unknown = told.page().await;
    assert!(!unknown.0.keys().any(|line| line.contains("events_enabled")));

    send(3).await;
    let page = told
        .page_when("it to show that it sends none", 10, |page| {
            page.sum("celeriac_setup_problem", &["events_disabled"]) == 1.0
        })
        .await;
    let enabled = |page: &Page| page.sum("celery_worker_events_enabled", &["worker=\"w@"]);
    let shown = page.0.keys().any(|line| line.contains("events_enabled"));
    assert!(shown && enabled(&page) == 0.0, "{:#?}", page.0);
    assert_eq!(page.sum("celery_worker_tasks_processed_total", &[]), 3.0);
    // A later heartbeat confirms it.
    let missing = |page: &Page| page.sum("celeriac_events_missing_total", &[]);
    let page = told
        .page_when("what is missing", 10, |page| missing(page) > 0.0)
        .await;
    assert_eq!(missing(&page), 3.0);
    let (status, hints) = told.get("/-/ready").await;
    assert!(
        status == 200 && hints.contains("hint: broker default: w@"),
        "{status} {hints}"
    );
    let log = told.process.output();
    let warned = log.matches("events_disabled").count();
    assert_eq!(warned, 1, "once: {log}");

    // The same with `enable_events`: counted from then on.
    let config = format!("brokers: [{{url: {url:?}, enable_events: true}}]\n");
    let switching = Celeriac::start(&config).await;
    switching.ready().await;
    switching
        .page_when("its heartbeats", 20, |page| {
            page.sum("celery_workers", &["online"]) == 1.0
        })
        .await;
    send(1).await;
    switching
        .page_when("it to be found silent", 15, |page| {
            page.sum("celeriac_setup_problem", &["events_disabled"]) == 1.0
        })
        .await;
    wait_for("events to be on", 20, async || {
        let log = switching.process.output();
        if log.contains("enabled task events on a worker") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    // The worker executes the command when it gets to it: of tasks sent one by one, the first with an event is
    // counted.
    let succeeded = |page: &Page| page.sum("celery_task_succeeded_total", &["polled.sleep"]);
    wait_for("a first task to be heard of", 20, async || {
        send(1).await;
        let heard = switching.page_when("it to be heard of", 20, |page| succeeded(page) > 0.0);
        let heard = tokio::time::timeout(Duration::from_secs(3), heard).await;
        heard.map(drop).map_err(|_| switching.process.output())
    })
    .await;
    assert_eq!(succeeded(&switching.page().await), 1.0);
    send(5).await;
    let page = switching
        .page_when("what it runs from then on", 15, |page| {
            succeeded(page) == 6.0
        })
        .await;
    assert_eq!(enabled(&page), 1.0);
    assert_eq!(
        page.sum("celeriac_setup_problem", &["events_disabled"]),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gevent_worker_misses_nothing_and_its_goodbye_counts_what_it_started_last() {
    let redis = Redis::start().await;
    let url = redis.url(0);
    let celery = Celery::new("5.6", &url, "");
    let send = async |count: u32| {
        let send = format!("[[{count}, 0.05, {{\"queue\": \"celery\"}}]]");
        celery.script_with("send.py", 60, &[("SEND", &send)]).await;
    };
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {url:?}}}]\n")).await;
    celeriac.ready().await;
    let arguments = ["-P", "gevent", "-c", "20", "-E"];
    let mut worker = celery.worker_of("polled", "w", &arguments).await;
    celeriac
        .page_when("its heartbeats", 20, |page| {
            page.sum("celery_workers", &["online"]) == 1.0
        })
        .await;
    // Celery counts a task, switches greenlets, and then stamps task-started, so heartbeats can fall in between.
    send(2_000).await;
    let succeeded = |page: &Page| page.sum("celery_task_succeeded_total", &[]);
    let page = celeriac
        .page_when("all tasks to succeed", 60, |page| {
            succeeded(page) == 2_000.0
        })
        .await;
    let seen = |page: &Page| page.sum("celery_worker_last_seen_timestamp_seconds", &["w@"]);
    let since = seen(&page);
    let page = celeriac
        .page_when("the heartbeats that would confirm a loss", 30, |page| {
            seen(page) > since + 12.0
        })
        .await;
    assert_eq!(page.sum("celeriac_events_missing_total", &[]), 0.0);

    // Started after the last heartbeat, and included only in the count of `worker-offline`.
    send(3).await;
    celeriac
        .page_when("three more", 20, |page| succeeded(page) == 2_003.0)
        .await;
    assert!(worker.terminate(30).success());
    let page = celeriac
        .page_when("its goodbye", 20, |page| {
            page.sum("celery_workers", &["offline"]) == 1.0
        })
        .await;
    let processed = page.sum("celery_worker_tasks_processed_total", &["w@"]);
    assert_eq!(processed, 2_003.0);
    assert_eq!(page.sum("celeriac_events_missing_total", &[]), 0.0);
}

/// Before 5.7, threads that announce tasks and the one that sends the announcements share a list without a lock.
#[tokio::test(flavor = "multi_thread")]
async fn the_events_that_a_pool_of_threads_loses_are_counted() {
    let rabbitmq = RabbitMq::start().await;
    for (version, vhost, loses) in [("5.6", "older", true), ("5.7", "newer", false)] {
        rabbitmq.ctl(&["add_vhost", vhost]);
        rabbitmq.ctl(&["set_permissions", "-p", vhost, "guest", ".*", ".*", ".*"]);
        let url = rabbitmq.url(vhost);
        let celery = Celery::new(version, &url, "");
        let celeriac = Celeriac::start(&format!("brokers: [{{url: {url:?}}}]\n")).await;
        celeriac.ready().await;
        let arguments = ["-P", "threads", "-c", "8", "-E"];
        let _worker = celery.worker_of("polled", "w", &arguments).await;
        let missing = |page: &Page| page.sum("celeriac_events_missing_total", &[]);
        // It is a race, so it may take several attempts.
        for attempt in 1.. {
            let send = r#"[[5000, 0, {"queue": "celery"}]]"#;
            celery.script_with("send.py", 60, &[("SEND", send)]).await;
            let tasks = f64::from(attempt * 5_000);
            let page = celeriac
                .page_when("each task to be started or missing", 240, |page| {
                    page.sum("celery_worker_tasks_processed_total", &["w@"]) == tasks
                        && page.sum("celery_task_started_total", &[]) + missing(page) == tasks
                })
                .await;
            if !loses || missing(&page) > 0.0 {
                assert_eq!(missing(&page) > 0.0, loses, "{version}");
                break;
            }
            assert!(attempt < 10, "nothing was lost");
        }
    }
}
