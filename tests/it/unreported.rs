//! Tasks in flight whose end no event reports, that are not due yet, or that ran before celeriac started, with real
//! workers.

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;

/// Returns the definitions of `count` tasks to send.
fn tasks(count: usize, name: &str, arguments: &str, options: &str) -> String {
    vec![format!(r#"["ghosts.{name}", {arguments}, {options}]"#); count].join(", ")
}

async fn send(celery: &Celery, tasks: &[String], purge: &str) {
    let send = format!("[{}]", tasks.join(", "));
    let environment = [("SEND", send.as_str()), ("PURGE", purge)];
    celery.script_with("ghosts.py", 30, &environment).await;
}

fn named(page: &Page, family: &str, name: &str) -> f64 {
    page.sum(family, &[&format!("name=\"ghosts.{name}\"")])
}

async fn start(url: &str, more: &str) -> Celeriac {
    let keys = format!("url: {url:?}, control_interval: 1s, queue_interval: 1s");
    let celeriac = Celeriac::start(&format!("brokers: [{{{keys}}}]\n{more}")).await;
    celeriac.ready().await;
    celeriac
}

async fn ghosts(version: &str, url: &str) {
    let celery = Celery::new(version, url, "");
    let celeriac = start(url, "").await;
    let arguments = [
        "-c",
        "1",
        "-Q",
        "celery,held",
        "--prefetch-multiplier",
        "10",
    ];
    let _worker = celery.worker_of("ghosts", "w", &arguments).await;
    let all = [
        tasks(3, "ignore", "[]", "{}"),
        tasks(2, "quiet", "[]", "{}"),
        // These have not ended: two wait for their rate limit, and one for its ETA.
        tasks(3, "limited", "[]", r#"{"queue": "held"}"#),
        tasks(1, "add", "[1, 2]", r#"{"queue": "held", "countdown": 900}"#),
        tasks(4, "add", "[1, 2]", r#"{"queue": "purged"}"#),
    ];
    send(&celery, &all, "purged").await;
    let unreported = "celery_task_unreported_total";
    let is_over = |page: &Page| page.sum(unreported, &[]) >= 9.0;
    let page = celeriac
        .page_when("nine tasks to be over", 40, is_over)
        .await;
    let reasons = [
        ("ignore", "ended", 3.0),
        ("quiet", "gone", 2.0),
        ("add", "gone", 4.0),
    ];
    for (name, reason, count) in reasons {
        let labels = [
            &*format!("name=\"ghosts.{name}\""),
            &*format!("reason=\"{reason}\""),
        ];
        assert_eq!(page.sum(unreported, &labels), count, "{name} {:#?}", page.0);
    }
    assert_eq!(page.sum("celery_task_lost_total", &[]), 0.0);
    assert_eq!(page.sum("celery_task_runtime_seconds_count", &[]), 1.0);
    // Some rounds later, the others are still in flight.
    let polls = |page: &Page| page.sum("celeriac_polls_total", &[]);
    let before = polls(&page);
    let later = |page: &Page| polls(page) >= before + 16.0;
    let page = celeriac.page_when("eight rounds more", 20, later).await;
    assert_eq!(page.sum(unreported, &[]), 9.0);
    assert_eq!(
        named(&page, "celery_tasks_in_flight", "limited"),
        2.0,
        "{:#?}",
        page.0
    );
    assert_eq!(
        named(&page, "celery_tasks_in_flight", "add"),
        1.0,
        "{:#?}",
        page.0
    );
    assert_eq!(page.sum("celery_tasks_in_flight", &[]), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_end_without_an_event_leave_flight_on_redis() {
    let redis = Redis::start().await;
    ghosts("5.7", &redis.url(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_end_without_an_event_leave_flight_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    ghosts("5.6", &rabbitmq.url("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_not_due_is_not_lost() {
    let redis = Redis::start().await;
    let url = redis.url(0);
    let celery = Celery::new("5.7", &url, "");
    let celeriac = start(&url, "metrics: {task_timeout: 3s}\n").await;
    let _worker = celery.worker_of("ghosts", "w", &["-c", "1"]).await;
    let all = [
        tasks(1, "add", "[1, 2]", r#"{"countdown": 9}"#),
        tasks(1, "sleep", "[0]", r#"{"queue": "nobody", "countdown": 6}"#),
        tasks(1, "ignore", "[]", r#"{"queue": "nobody"}"#),
    ];
    send(&celery, &all, "").await;
    let lost = |page: &Page, name: &str| named(page, "celery_task_lost_total", name);
    let page = celeriac
        .page_when("a task that is due to be lost", 15, |page| {
            lost(page, "ignore") == 1.0
        })
        .await;
    assert_eq!((lost(&page, "sleep"), lost(&page, "add")), (0.0, 0.0));
    let page = celeriac
        .page_when("the other one", 20, |page| {
            lost(page, "sleep") == 1.0 && named(page, "celery_task_succeeded_total", "add") == 1.0
        })
        .await;
    assert_eq!(lost(&page, "add"), 0.0);
    assert_eq!(page.sum("celery_task_succeeded_total", &["unknown"]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_worker_that_was_there_first_have_their_names_queues_and_starts() {
    let rabbitmq = RabbitMq::start().await;
    let url = rabbitmq.url("");
    let celery = Celery::new("5.7", &url, "");
    let _worker = celery
        .worker_of("ghosts", "w", &["-c", "1", "--prefetch-multiplier", "10"])
        .await;
    let all = [
        tasks(1, "sleep", "[8]", "{}"),
        tasks(2, "add", "[1, 2]", "{}"),
        tasks(1, "quiet", "[]", r#"{"countdown": 900}"#),
    ];
    send(&celery, &all, "").await;
    let celeriac = start(&url, "").await;
    let flying = |page: &Page, name: &str, state: &str| {
        let labels = [
            &*format!("name=\"ghosts.{name}\""),
            "queue=\"celery\"",
            state,
        ];
        page.sum("celery_tasks_in_flight", &labels)
    };
    let page = celeriac
        .page_when("what runs and waits", 10, |page| {
            flying(page, "sleep", "started") == 1.0
                && flying(page, "add", "received") == 2.0
                && flying(page, "quiet", "received") == 1.0
        })
        .await;
    assert!(!page.0.keys().any(|line| line.contains("name=\"unknown\"")));
    let oldest = page.sum("celery_tasks_oldest_timestamp_seconds", &["received"]);
    let started = page.sum("celery_tasks_oldest_timestamp_seconds", &["started"]);
    assert!(oldest > started, "{oldest} {started}");
    let page = celeriac
        .page_when("them to end", 20, |page| {
            page.sum("celery_task_succeeded_total", &["queue=\"celery\""]) == 3.0
        })
        .await;
    assert_eq!(named(&page, "celery_task_succeeded_total", "sleep"), 1.0);
    assert!(!page.0.keys().any(|line| line.contains("name=\"unknown\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_replaces_itself_counts_under_both_names() {
    let redis = Redis::start().await;
    let url = redis.url(0);
    let celery = Celery::new("5.7", &url, "");
    let celeriac = start(&url, "").await;
    let _worker = celery.worker_of("ghosts", "w", &["-c", "2"]).await;
    send(&celery, &[tasks(20, "replace", "[]", "{}")], "").await;
    let page = celeriac
        .page_when("all to succeed", 20, |page| {
            named(page, "celery_task_succeeded_total", "add") == 20.0
                && page.sum("celery_tasks_in_flight", &[]) == 0.0
        })
        .await;
    for name in ["replace", "add"] {
        for family in [
            "sent_total",
            "received_total",
            "started_total",
            "queue_wait_seconds_count",
            "prefetch_wait_seconds_count",
        ] {
            let family = format!("celery_task_{family}");
            assert_eq!(
                named(&page, &family, name),
                20.0,
                "{name} {family} {:#?}",
                page.0
            );
        }
    }
    assert_eq!(page.sum("celery_task_unreported_total", &[]), 0.0);
}
