//! The `queue` label of tasks with real workers: never a wrong queue, and never a generated name.

use std::collections::BTreeSet;

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::process::Process;
use super::support::rabbitmq::{Options, RabbitMq, Release};
use super::support::redis::Redis;

const STEPS: [&str; 3] = ["sent", "received", "succeeded"];

async fn start(url: &str, more: &str) -> Celeriac {
    let keys = format!("url: {url:?}, queue_interval: 1s{more}");
    let celeriac = Celeriac::start(&format!("brokers: [{{{keys}}}]\n")).await;
    celeriac.ready().await;
    celeriac
}

async fn worker(celery: &Celery, name: &str, queues: &str) -> Process {
    celery
        .worker_of("routes", name, &["-c", "2", "-Q", queues])
        .await
}

async fn send(celery: &Celery, tasks: &[&str], environment: &[(&str, &str)]) {
    let tasks = format!("[{}]", tasks.join(", "));
    let environment = [environment, &[("SEND", tasks.as_str())]].concat();
    celery.script_with("routes.py", 60, &environment).await;
}

/// Starts a worker, and waits until it has reported the queues it consumes. Until then events are held, for at most
/// two intervals.
async fn known_worker(celery: &Celery, celeriac: &Celeriac, queues: &str) -> Process {
    let worker = worker(celery, "w", queues).await;
    let count = queues.split(',').count() as f64;
    let answered = |page: &Page| page.sum("celery_queue_workers", &[]) == count;
    celeriac.page_when("its queues", 40, answered).await;
    worker
}

/// Returns how often a step was counted, in all queues or in one.
fn counted(page: &Page, step: &str, queue: &str) -> f64 {
    let family = format!("celery_task_{step}_total");
    let queue = format!("queue=\"{queue}\"");
    let queue = (queue != "queue=\"\"").then_some(queue.as_str());
    page.sum(&family, queue.as_slice())
}

/// Waits until this many tasks have succeeded and none is in flight or held.
async fn over(celeriac: &Celeriac, tasks: f64) -> Page {
    let is_over = |page: &Page| {
        counted(page, "succeeded", "") >= tasks
            && page.sum("celery_tasks_in_flight", &[]) == 0.0
            && page.sum("celeriac_events_held", &[]) == 0.0
    };
    celeriac
        .page_when("all tasks to be over", 60, is_over)
        .await
}

/// One name that alternates between two queues.
const ALTERNATING: [&str; 2] = [
    r#"["routes.add", [1, 2], {"queue": "one"}]"#,
    r#"["routes.add", [1, 2], {"queue": "two"}]"#,
];

/// Several programs call them concurrently.
async fn alternating(version: &str, environment: &[(&str, &str)], programs: usize, tasks: f64) {
    let rabbitmq = RabbitMq::start().await;
    let url = rabbitmq.url("");
    let celery = Celery::new(version, &url, "");
    let celeriac = start(&url, "").await;
    let _worker = known_worker(&celery, &celeriac, "one,two").await;
    let sending = (0..programs).map(|_| send(&celery, &ALTERNATING, environment));
    futures_util::future::join_all(sending).await;
    let page = over(&celeriac, tasks).await;
    let halves = STEPS.map(|step| ["one", "two", ""].map(|queue| counted(&page, step, queue)));
    assert_eq!(halves, [[tasks / 2.0, tasks / 2.0, tasks]; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_two_queues_is_labelled_right_under_load() {
    let environment = [("REPEAT", "400"), ("LATE", "0.02")];
    alternating("5.7", &environment, 4, 3_200.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_two_queues_is_labelled_right_at_five_tasks_a_second() {
    alternating("5.6", &[("REPEAT", "25"), ("RATE", "5")], 1, 50.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_task_sent_a_queue_is_its_workers_only_one_or_unknown() {
    let rabbitmq = RabbitMq::start().await;
    let environment = [("REPEAT", "500"), ("SENT_EVENT", "off")];
    for (vhost, more, queues, expected) in [
        ("", "", &["one", "two"][..], [500.0, 500.0, 0.0]),
        // For a worker that consumes two queues, the queue of its tasks is unknown.
        (
            "both",
            ", control_interval: 0",
            &["one,two"],
            [0.0, 0.0, 1_000.0],
        ),
    ] {
        if !vhost.is_empty() {
            rabbitmq.ctl(&["add_vhost", vhost]);
            rabbitmq.ctl(&["set_permissions", "-p", vhost, "guest", ".*", ".*", ".*"]);
        }
        let url = rabbitmq.url(vhost);
        let celery = Celery::new("5.7", &url, "");
        let celeriac = start(&url, more).await;
        let mut workers = Vec::new();
        for queues in queues {
            workers.push(worker(&celery, &format!("w-{queues}"), queues).await);
        }
        let answered = |page: &Page| {
            let of_queues = page.sum("celery_queue_workers", &[]);
            of_queues == workers.len() as f64 || !more.is_empty()
        };
        celeriac.page_when("their queues", 20, answered).await;
        send(&celery, &ALTERNATING, &environment).await;
        let page = over(&celeriac, 1_000.0).await;
        for step in ["received", "succeeded"] {
            let counted = ["one", "two", "unknown"].map(|queue| counted(&page, step, queue));
            assert_eq!(counted, expected, "{step} {queues:?}");
        }
        assert_eq!(counted(&page, "sent", ""), 0.0);
    }
}

/// Tasks sent to a named exchange, or to a queue bound to one, and sent there again by their retry.
const EXCHANGES: [&str; 5] = [
    r#"["routes.retry", [], {"exchange": "topix", "routing_key": "t.x"}]"#,
    r#"["routes.retry", [], {"exchange": "direx", "routing_key": "d"}]"#,
    r#"["routes.retry", [], {"queue": "others"}]"#,
    r#"["routes.retry", [], {}]"#,
    // On Redis, a process that has not declared the exchange treats it as a direct one, and this task would be lost.
    r#"["routes.retry", [], {"exchange": "topix", "routing_key": "o.a.b"}]"#,
];

async fn exchanges(version: &str, url: &str, tasks: &[&str], others: f64) {
    let celery = Celery::new(version, url, "");
    let celeriac = start(url, "").await;
    let _worker = known_worker(&celery, &celeriac, "default,topics,others,direct").await;
    send(&celery, tasks, &[("REPEAT", "20")]).await;
    let page = over(&celeriac, 60.0 + others).await;
    for (step, attempts) in [
        ("sent", 2.0),
        ("received", 2.0),
        ("retried", 1.0),
        ("succeeded", 1.0),
    ] {
        let queues = ["topics", "direct", "default", "others", ""];
        let counted = queues.map(|queue| counted(&page, step, queue) / attempts);
        let expected = [20.0, 20.0, 20.0, others, 60.0 + others];
        assert_eq!(counted, expected, "{step} {:#?}", page.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_and_direct_exchanges_lead_to_their_queues_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    exchanges("5.7", &rabbitmq.url(""), &EXCHANGES, 40.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_and_direct_exchanges_lead_to_their_queues_on_redis() {
    let redis = Redis::start().await;
    exchanges("5.6", &redis.url(0), &EXCHANGES[..4], 20.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn native_delayed_delivery_leads_to_the_queue_behind_it() {
    let rabbitmq = RabbitMq::start_as(Options::of(Release::Four)).await;
    let url = rabbitmq.url("");
    let celery = Celery::new("5.7", &url, "").with("QUORUM", "1");
    let celeriac = start(&url, "").await;
    let _worker = known_worker(&celery, &celeriac, "topics,others").await;
    let tasks = [
        r#"["routes.add", [1, 2], {"queue": "topics", "countdown": 2}]"#,
        r#"["routes.add", [1, 2], {"exchange": "topix", "exchange_type": "topic", "routing_key": "o.a", "countdown": 2}]"#,
        r#"["routes.add", [1, 2], {"exchange": "topix", "exchange_type": "topic", "routing_key": "o.b"}]"#,
    ];
    send(&celery, &tasks, &[("REPEAT", "10")]).await;
    let delayed = rabbitmq.ctl(&["--quiet", "list_queues", "name"]);
    assert!(delayed.contains("celery_delayed_"), "{delayed}");
    let page = over(&celeriac, 30.0).await;
    for step in STEPS {
        let counted = ["topics", "others", ""].map(|queue| counted(&page, step, queue));
        assert_eq!(counted, [10.0, 20.0, 30.0], "{step} {:#?}", page.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_publish_to_a_broadcast_queue_add_no_series() {
    let rabbitmq = RabbitMq::start().await;
    let url = rabbitmq.url("");
    let celery = Celery::new("5.7", &url, "");
    let celeriac = start(&url, "").await;
    let _worker = known_worker(&celery, &celeriac, "default,bcast").await;
    let tasks = [r#"["routes.reload", [], {}]"#];
    let series = |page: &Page| {
        let lines = page.0.keys().filter(|line| line.starts_with("celery_"));
        lines.cloned().collect::<BTreeSet<_>>()
    };
    send(&celery, &tasks, &[]).await;
    let bcast = "queue=\"bcast.(generated)\"";
    let is_complete = |page: &Page| {
        page.sum("celery_task_succeeded_total", &[bcast]) == 1.0
            && page.sum("celery_queue_consumers", &[bcast]) == 1.0
            && page.sum("celery_queue_workers", &[bcast]) == 1.0
            && page.sum("celery_events_total", &["worker-heartbeat"]) > 0.0
    };
    let first = celeriac.page_when("the first one", 20, is_complete).await;
    for _ in 0..5 {
        send(&celery, &tasks, &[]).await;
    }
    let page = over(&celeriac, 6.0).await;
    for step in STEPS {
        assert_eq!(counted(&page, step, "bcast.(generated)"), 6.0, "{step}");
    }
    let (first, last) = (series(&first), series(&page));
    assert_eq!(last.len(), first.len(), "{:#?}", &last - &first);
}
