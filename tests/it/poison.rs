//! Events with impossible numbers: they do not affect later values, and a checkpoint with such values recovers.

use std::time::{Duration, SystemTime};

use celeriac::checkpoint::CheckpointFolder;
use celeriac::saved::{Checkpoint, Series, Stage};
use tempfile::TempDir;

use super::support::amqp::Publisher;
use super::support::celeriac::{Celeriac, Page};
use super::support::events::{envelope, life};
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::survival::Agent;

/// The years 2100 and 9999.
const YEAR_2100: f64 = 4_102_444_800.0;
const YEAR_9999: f64 = 253_370_764_800.0;

const REFUSED: &str = "celeriac_values_refused_total";

fn now() -> f64 {
    let now = SystemTime::UNIX_EPOCH.elapsed();
    now.expect("a clock after 1970").as_secs_f64()
}

fn event(kind: &str, timestamp: f64, more: &str) -> String {
    format!(
        r#"{{"type": "{kind}", "hostname": "w1@host", "pid": 7, "timestamp": {timestamp}{more}}}"#
    )
}

fn task(kind: &str, uuid: &str, timestamp: f64, more: &str) -> String {
    let more = format!(r#", "uuid": "{uuid}"{more}"#);
    event(&format!("task-{kind}"), timestamp, &more)
}

fn heartbeat(timestamp: f64, processed: u64) -> String {
    let more = format!(r#", "freq": 2.0, "active": 0, "processed": {processed}"#);
    event("worker-heartbeat", timestamp, &more)
}

/// One event with each kind of impossible number, between good ones.
fn poisoned() -> Vec<String> {
    let now = now();
    let name = r#", "name": "t", "queue": "q", "retries": 0"#;
    let huge = r#", "runtime": 1.7e308"#;
    vec![
        heartbeat(now - 9.0, 10),
        // A heartbeat, an end and a step in the future.
        heartbeat(YEAR_2100, 10),
        event("worker-offline", YEAR_2100, ""),
        task("sent", "a", YEAR_2100, name),
        task("succeeded", "a", YEAR_2100, ""),
        // Twice, so that a sum becomes infinite; without a start and with one.
        task("succeeded", "b", now - 8.0, huge),
        task("succeeded", "c", now - 8.0, huge),
        task("received", "d", now - 8.0, name),
        task("started", "d", now - 8.0, ""),
        task("succeeded", "d", now - 7.0, r#", "runtime": 5000.0"#),
        // A start later than any possible end.
        task("received", "e", now - 7.0, name),
        task("started", "e", YEAR_9999, ""),
        task("succeeded", "e", now + 1.0, r#", "runtime": 0.5"#),
        // One that waited since 1970.
        task("sent", "f", 1.0, name),
        task("received", "f", now - 7.0, name),
        task("started", "f", now - 6.0, ""),
        task("succeeded", "f", now - 5.0, r#", "runtime": 0.5"#),
        // A counter that jumps, and then continues where it was.
        heartbeat(now + 1.0, 12),
        heartbeat(now + 2.0, 1 << 53),
        heartbeat(now + 3.0, 14),
        heartbeat(now + 4.0, 15),
    ]
}

/// Number of refusals of each kind. For one task, both the wait and the turnaround are refused.
const REASONS: [(&str, f64); 3] = [("timestamp", 5.0), ("duration", 5.0), ("processed", 1.0)];

fn is_sound(page: &Page) {
    let now = now();
    for (line, value) in &page.0 {
        let family = line.split('{').next().expect("a name");
        assert!(value.is_finite(), "{line}: {value}");
        if family.ends_with("_timestamp_seconds") {
            assert!(*value < now + 700.0, "{line}: {value}");
        } else if !family.starts_with("process_") && !family.starts_with("celeriac_") {
            assert!(value.abs() < 1e7, "{line}: {value}");
        }
    }
}

fn has_what_was_right(page: &Page) {
    is_sound(page);
    for (reason, count) in REASONS {
        let found = page.sum(REFUSED, &[&format!("reason=\"{reason}\"")]);
        assert_eq!(found, count, "{reason}");
    }
    assert_eq!(page.sum("celery_worker_up", &["w1@"]), 1.0);
    assert_eq!(
        page.sum("celery_worker_tasks_processed_total", &["w1@"]),
        5.0
    );
    assert!(page.sum("celeriac_events_missing_total", &[]) <= 5.0);
    assert_eq!(page.sum("celery_task_succeeded_total", &[]), 6.0);
    let in_flight = page
        .0
        .iter()
        .filter(|(line, _)| line.starts_with("celery_tasks_"));
    let in_flight: Vec<_> = in_flight.filter(|(_, value)| **value != 0.0).collect();
    assert!(in_flight.is_empty(), "{in_flight:?}");
    let skew = page.sum("celery_worker_clock_skew_seconds", &["w1@"]);
    assert!(skew.abs() < 20.0, "{skew}");
    // `d` computed from its events, `e` and `f` as measured by the worker.
    let runtimes = page.sum("celery_task_runtime_seconds_sum", &[]);
    assert!((runtimes - 2.0).abs() < 0.01, "{runtimes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_spoils_no_value_in_any_profile() {
    let (redis, data) = (Redis::start().await, TempDir::new().expect("a folder"));
    let profiles = [
        "celery-exporter",
        "celery-prometheus-exporter",
        "ovalmoney",
        "flower",
        "zeit",
    ];
    let others = profiles.map(|profile| format!(", {{path: /{profile}, profile: {profile}}}"));
    let config = format!(
        "data_dir: {:?}\nhttp: {{listen: \"{{listen}}\", scrape: [{{path: /metrics, profile: native}}{}]}}\n\
         metrics: {{worker_timeout: 60s}}\nbrokers: [{{url: {:?}, control_interval: 0s, queue_interval: 0s}}]\n",
        data.path(),
        others.concat(),
        redis.url(0)
    );
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("default").await;
    let events = poisoned();
    let all = events.len() as f64;
    let messages: Vec<String> = events.iter().map(|event| envelope(event)).collect();
    redis.publish(messages.iter().map(String::as_bytes)).await;
    let counted =
        |page: &Page| page.events() == all && page.sum("celery_task_succeeded_total", &[]) == 6.0;
    has_what_was_right(&celeriac.page_when("the events", 20, counted).await);
    for profile in profiles {
        is_sound(&celeriac.page_of(&format!("/{profile}")).await);
    }
    // The same after a crash, once a checkpoint contains all of it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    celeriac.process.kill();
    let celeriac = Celeriac::start(&config).await;
    has_what_was_right(&celeriac.page_when("the restart", 20, counted).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_such_events_is_read_again_to_the_same_values() {
    let rabbitmq = RabbitMq::start().await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let agent = Agent::new(&rabbitmq.url(""), "delivery: stream");
    let mut celeriac = agent.start().await;
    celeriac.ready().await;
    let events = poisoned();
    for round in 0..3_u64 {
        for event in &events {
            publisher
                .publish(
                    event
                        .replace("w1@host", &format!("v{round}@host"))
                        .as_bytes(),
                )
                .await;
        }
        for body in (round * 50..round * 50 + 50).flat_map(|n| life(n, "t", now() - 60.0)) {
            publisher.publish(body.as_bytes()).await;
        }
        // Before or after a checkpoint contains it.
        tokio::time::sleep(Duration::from_millis(300 * round)).await;
        celeriac.process.kill();
        celeriac = agent.start().await;
    }
    let all = 3.0 * (events.len() as f64 + 200.0);
    let page = celeriac
        .page_when("every event once", 30, |page| page.events() == all)
        .await;
    is_sound(&page);
    for reason in ["timestamp", "processed"] {
        let (_, count) = REASONS
            .into_iter()
            .find(|(it, _)| *it == reason)
            .expect("known");
        let found = page.sum(REFUSED, &[&format!("reason=\"{reason}\"")]);
        assert_eq!(found, 3.0 * count, "{reason}");
    }
}

/// Changes every series in a checkpoint, and all data about workers and tasks.
fn poison(data: &TempDir) {
    let folder = CheckpointFolder::open(data.path());
    let folder = folder.expect("a folder").expect("nobody has it");
    let restored = folder.newest().expect("readable").expect("a checkpoint");
    let mut parts: Vec<Checkpoint> = restored.parts().collect();
    let future = 4_102_444_800_000_000;
    for part in &mut parts {
        let families = part.views.iter_mut().flat_map(|view| &mut view.families);
        for family in families {
            let is_time = family.name.ends_with("_timestamp_seconds");
            let poison = |series: &mut Series| {
                if is_time {
                    series.number = YEAR_2100;
                }
                if let Some(histogram) = &mut series.histogram {
                    histogram.sum = 1.7e308;
                }
            };
            family.series.iter_mut().for_each(poison);
        }
        for cluster in &mut part.clusters {
            for worker in &mut cluster.workers {
                worker.online = false;
                worker.goodbye = Some(future);
                worker.clock_skew = Some(-2.3e9);
                worker.processed_total = 1 << 53;
                if let Some(run) = &mut worker.run {
                    run.stamped = future;
                }
            }
            for task in &mut cluster.tasks {
                if task.stage() == Stage::Started {
                    task.started = future;
                }
            }
        }
        for count in &mut part.counts {
            if count.family == "celeriac_events_missing_total" {
                count.value = 1 << 53;
            }
        }
    }
    folder.write(parts.into_iter()).expect("room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_with_such_values_heals() {
    let (redis, data) = (Redis::start().await, TempDir::new().expect("a folder"));
    let config = format!(
        "data_dir: {:?}\nmetrics: {{worker_timeout: 60s}}\n\
         brokers: [{{url: {:?}, control_interval: 0s, queue_interval: 0s}}]\n",
        data.path(),
        redis.url(0)
    );
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("default").await;
    let publish = async |events: &[String]| {
        let messages: Vec<String> = events.iter().map(|event| envelope(event)).collect();
        redis.publish(messages.iter().map(String::as_bytes)).await;
    };
    let name = r#", "name": "t", "queue": "q", "retries": 0"#;
    publish(&[
        heartbeat(now(), 10),
        task("received", "a", now() - 1.0, name),
        task("started", "a", now(), ""),
        task("received", "b", now() - 1.0, name),
        task("started", "b", now(), ""),
        task("succeeded", "b", now(), r#", "runtime": 0.5"#),
    ])
    .await;
    celeriac
        .page_when("the events", 20, |page| {
            page.events() == 6.0 && page.sum("celery_task_succeeded_total", &[]) == 1.0
        })
        .await;
    assert!(celeriac.terminate().success());
    poison(&data);
    let celeriac = Celeriac::start(&config).await;
    celeriac.subscribed("default").await;
    is_sound(&celeriac.page().await);
    publish(&[
        heartbeat(now(), 12),
        heartbeat(now() + 0.1, 15),
        task("succeeded", "a", now(), r#", "runtime": 0.5"#),
    ])
    .await;
    let page = celeriac
        .page_when("the events after the restart", 20, |page| {
            page.events() == 9.0 && page.sum("celery_task_succeeded_total", &[]) == 2.0
        })
        .await;
    is_sound(&page);
    assert_eq!(page.sum("celery_worker_up", &["w1@"]), 1.0);
    assert_eq!(
        page.sum("celery_worker_tasks_processed_total", &["w1@"]),
        3.0
    );
    assert_eq!(page.sum("celeriac_events_missing_total", &[]), 0.0);
    assert_eq!(page.sum("celery_tasks_started", &[]), 0.0);
}
