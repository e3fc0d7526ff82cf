//! How long tasks wait, and that every task ends, in whatever way: real workers on both brokers.

use rustix::process::Signal;

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::events::{envelope, uuid};
use super::support::process::Process;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;

/// A broker, a result backend, and a daemon that polls often.
struct Setting {
    celeriac: Celeriac,
    celery: Celery,
    /// Stopped when dropped.
    servers: (Option<RabbitMq>, Redis),
}

impl Setting {
    async fn new(version: &str, rabbitmq: Option<RabbitMq>, metrics: &str) -> Self {
        let redis = Redis::start().await;
        let url = rabbitmq
            .as_ref()
            .map_or_else(|| redis.url(0), |rabbitmq| rabbitmq.url(""));
        let config = format!(
            "brokers: [{{url: {url:?}, control_interval: 1s, queue_interval: 1s}}]\nmetrics: {{{metrics}}}\n"
        );
        let celeriac = Celeriac::start(&config).await;
        celeriac.ready().await;
        // Tasks of a killed worker are redelivered soon.
        let celery = Celery::new(version, &url, &redis.url(1)).with("VISIBILITY_TIMEOUT", "5");
        Self {
            celeriac,
            celery,
            servers: (rabbitmq, redis),
        }
    }

    /// Publishes tasks, given as `[name, arguments, options]`, and returns their ids.
    async fn publish(&self, tasks: &str) -> Vec<String> {
        let environment = [("TASKS", tasks)];
        let printed = self
            .celery
            .script_with("publish.py", 30, &environment)
            .await;
        printed.lines().map(str::to_owned).collect()
    }

    async fn page_when(&self, what: &str, seconds: u64, holds: impl Fn(&Page) -> bool) -> Page {
        self.celeriac.page_when(what, seconds, holds).await
    }
}

fn in_flight(page: &Page, labels: &[&str]) -> f64 {
    page.sum("celery_tasks_in_flight", labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_waits_in_its_queue_from_when_it_is_due_on_redis() {
    waits(Setting::new("5.7", None, "").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_waits_in_its_queue_from_when_it_is_due_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    waits(Setting::new("5.6", Some(rabbitmq), "").await).await;
}

async fn waits(setting: Setting) {
    let idle = ["-c", "2", "-Q", "idle"];
    let busy = ["-c", "1", "-Q", "busy", "--prefetch-multiplier", "1"];
    let _idle = setting.celery.worker("idle", &idle).await;
    let _busy = setting.celery.worker("busy", &busy).await;
    let tasks = r#"[
        ["proj.slow", [3], {"queue": "busy"}],
        ["proj.urgent", [0.1], {"queue": "busy"}],
        ["proj.urgent", [0.1], {"queue": "idle", "countdown": 3}],
        ["proj.retry_once", [0], {"queue": "idle"}]
    ]"#;
    setting.publish(tasks).await;
    let page = setting
        .page_when("all tasks to end", 30, |page| {
            page.sum("celery_task_succeeded_total", &[]) >= 4.0 && in_flight(page, &[]) == 0.0
        })
        .await;
    let histogram = |family: &str, name: &str, queue: &str| {
        let labels = [format!("name=\"{name}\""), format!("queue=\"{queue}\"")];
        let labels = [labels[0].as_str(), labels[1].as_str()];
        let part = |part: &str| page.sum(&format!("celery_task_{family}_{part}"), &labels);
        (part("count"), part("sum"))
    };
    let waited = |name: &str, queue: &str| histogram("queue_wait_seconds", name, queue);

    let (count, seconds) = waited("proj.urgent", "idle");
    assert!(
        count == 1.0 && seconds < 1.0,
        "a countdown is no wait: {seconds}"
    );
    let (count, seconds) = waited("proj.urgent", "busy");
    assert!(
        count == 1.0 && (2.5..4.5).contains(&seconds),
        "behind another: {seconds}"
    );
    let (count, seconds) = waited("proj.retry_once", "idle");
    assert!(
        count == 2.0 && seconds < 2.0,
        "a wait for each attempt: {count} {seconds}"
    );
    // From when it was first due to its end: the second attempt was 0.2 s later.
    let (count, seconds) = histogram("turnaround_seconds", "proj.retry_once", "idle");
    assert!(count == 1.0 && (0.2..3.0).contains(&seconds), "{seconds}");
    let (count, attempts) = histogram("attempts", "proj.retry_once", "idle");
    assert_eq!((count, attempts), (1.0, 2.0));
    // Received at once, and started when it was due.
    let (count, seconds) = histogram("prefetch_wait_seconds", "proj.urgent", "idle");
    assert!(count == 1.0 && (2.0..4.0).contains(&seconds), "{seconds}");
    for outcome in ["retried", "succeeded"] {
        let labels = [
            "name=\"proj.retry_once\"",
            &format!("outcome=\"{outcome}\""),
        ];
        let ran = page.sum("celery_task_runtime_seconds_count", &labels);
        assert_eq!(ran, 1.0, "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_in_flight_on_redis() {
    ends(Setting::new("5.6", None, "worker_timeout: 5s").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_in_flight_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    ends(Setting::new("5.7", Some(rabbitmq), "worker_timeout: 5s").await).await;
}

/// Tasks that end in every way, then a worker that is killed, restarted, and removed.
async fn ends(setting: Setting) {
    let arguments = ["-c", "2", "-Q", "ends"];
    let mut worker = setting.celery.worker("w", &arguments).await;
    let tasks = r#"[
        ["proj.add", [1, 1], {"queue": "ends"}],
        ["proj.fail", [0], {"queue": "ends"}],
        ["proj.reject", [], {"queue": "ends"}],
        ["proj.retry_once", [1], {"queue": "ends"}],
        ["proj.retry_in_vain", [], {"queue": "ends"}],
        ["proj.urgent", [30], {"queue": "ends", "time_limit": 1}],
        ["proj.urgent", [30], {"queue": "ends", "soft_time_limit": 1}]
    ]"#;
    setting.publish(tasks).await;
    let ended = |page: &Page| {
        let failed = page.sum("celery_task_failed_total", &[]);
        failed >= 4.0 && in_flight(page, &[]) == 0.0
    };
    let page = setting.page_when("every way to end", 30, ended).await;
    for class in [
        "ValueError",
        "ConnectionError",
        "TimeLimitExceeded",
        "SoftTimeLimitExceeded",
    ] {
        let labels = [format!("exception=\"{class}\"")];
        let failed = page.sum("celery_task_failed_total", &[&labels[0]]);
        assert_eq!(failed, 1.0, "{class}: {:#?}", page.0);
    }
    assert_eq!(
        page.sum("celery_task_rejected_total", &["requeue=\"false\""]),
        1.0
    );

    // A killed child process may affect the tasks of others, so it runs alone.
    setting
        .publish(r#"[["proj.kill_child", [], {"queue": "ends"}]]"#)
        .await;
    setting
        .page_when("the lost child", 30, |page| {
            page.sum("celery_task_failed_total", &["WorkerLostError"]) == 1.0
                && in_flight(page, &[]) == 0.0
        })
        .await;
    revoke_and_expire(&setting).await;
    kill_and_restart(&setting, &mut worker, &arguments).await;
}

async fn revoke_and_expire(setting: &Setting) {
    let tasks = r#"[
        ["proj.add", [2, 2], {"queue": "ends", "countdown": 10}],
        ["proj.slow", [60], {"queue": "ends"}],
        ["proj.add", [3, 3], {"queue": "ends", "countdown": 3, "expires": 1}]
    ]"#;
    let ids = setting.publish(tasks).await;
    setting
        .page_when("the one that runs", 20, |page| {
            in_flight(page, &["started"]) == 1.0
        })
        .await;
    let revoked = format!("{} {}", ids[0], ids[1]);
    let environment = [("REVOKED", revoked.as_str())];
    setting
        .celery
        .script_with("revoke.py", 20, &environment)
        .await;
    let page = setting
        .page_when("revoked and expired ones", 40, |page| {
            in_flight(page, &[]) == 0.0
        })
        .await;
    for (reason, count) in [("revoked", 1.0), ("terminated", 1.0), ("expired", 1.0)] {
        let labels = format!("reason=\"{reason}\"");
        let revoked = page.sum("celery_task_revoked_total", &[&labels]);
        assert_eq!(revoked, count, "{reason}: {:#?}", page.0);
    }
    // In a queue without consumers: RabbitMQ drops it there, on Redis a worker finds it later.
    setting
        .publish(r#"[["proj.add", [4, 4], {"queue": "late", "expires": 1}]]"#)
        .await;
    setting
        .page_when("the published one", 10, |page| {
            in_flight(page, &["sent"]) == 1.0
        })
        .await;
    let on_redis = setting.servers.0.is_none();
    let late = if on_redis {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        Some(
            setting
                .celery
                .worker("late", &["-c", "1", "-Q", "late"])
                .await,
        )
    } else {
        None
    };
    let page = setting
        .page_when("the one that expired in its queue", 40, |page| {
            in_flight(page, &[]) == 0.0
        })
        .await;
    let lost = page.sum("celery_task_lost_total", &["timeout"]);
    let expired = page.sum("celery_task_revoked_total", &["expired"]);
    assert_eq!(
        (lost, expired),
        if on_redis { (0.0, 2.0) } else { (1.0, 1.0) }
    );
    if let Some(mut late) = late {
        assert!(late.terminate(30).success());
    }
}

async fn kill_and_restart(setting: &Setting, worker: &mut Process, arguments: &[&str]) {
    let tasks = r#"[
        ["proj.slow", [20], {"queue": "ends"}],
        ["proj.slow", [21], {"queue": "ends"}],
        ["proj.add", [5, 5], {"queue": "ends"}],
        ["proj.add", [6, 6], {"queue": "ends"}]
    ]"#;
    setting.publish(tasks).await;
    setting
        .page_when("two that run and two that wait", 20, |page| {
            in_flight(page, &["started"]) == 2.0 && in_flight(page, &["received"]) == 2.0
        })
        .await;
    worker.signal(Signal::KILL);
    setting
        .page_when("the killed worker to be offline", 20, |page| {
            page.sum("celery_worker_up", &["worker=\"w@"]) == 0.0
        })
        .await;
    // A new process under the same name: the running task is lost, waiting ones are redelivered and run.
    *worker = setting.celery.worker("w", arguments).await;
    let page = setting
        .page_when("what was delivered again", 60, |page| {
            in_flight(page, &[]) == 0.0
        })
        .await;
    assert_eq!(
        page.sum("celery_task_lost_total", &["worker_lost"]),
        2.0,
        "{:#?}",
        page.0
    );
    let added = page.sum("celery_task_succeeded_total", &["proj.add"]);
    assert_eq!(added, 3.0, "{:#?}", page.0);
    assert!(worker.terminate(60).success());
}

/// Events of a task that is retried once, on another worker. Its queue waits are 3 and 6 s, its prefetch waits 2 and 4 s;
/// the first attempt runs for 4 s and the second for 8.
fn retried_elsewhere(n: u64, order: [usize; 8]) -> Vec<String> {
    const START: f64 = 1_795_344_000.0;
    let uuid = uuid(n);
    let event = |kind: &str, worker: &str, at: f64, fields: &str| {
        let at = START + at;
        format!(
            r#"{{"type": "{kind}", "hostname": "{worker}", "uuid": "{uuid}", "timestamp": {at}, "utcoffset": 0, "pid": 1, "clock": {n}{fields}}}"#
        )
    };
    let name = |retries: u32| {
        format!(
            r#", "name": "retried", "args": "[]", "kwargs": "{{}}", "root_id": "{uuid}", "parent_id": null, "retries": {retries}, "eta": null, "expires": null"#
        )
    };
    let sent = |retries| {
        let to = r#", "queue": "celery", "exchange": "", "routing_key": "celery""#;
        format!("{}{to}", name(retries))
    };
    let failed = r#", "exception": "Again()", "traceback": "Again""#;
    let events = [
        event("task-sent", "client@host", 0.0, &sent(0)),
        event("task-received", "w1@host", 1.0, &name(0)),
        event("task-started", "w1@host", 3.0, ""),
        event("task-sent", "w1@host", 6.0, &sent(1)),
        event("task-retried", "w1@host", 7.0, failed),
        event("task-received", "w2@host", 8.0, &name(1)),
        event("task-started", "w2@host", 12.0, ""),
        event(
            "task-succeeded",
            "w2@host",
            20.0,
            r#", "result": "1", "runtime": 8.0"#,
        ),
    ];
    order.iter().map(|at| envelope(&events[*at])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_on_another_worker_adds_up_the_same_in_any_order() {
    // In order; then the second worker's events before some of the first one's.
    let orders = [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [0, 1, 3, 5, 2, 4, 6, 7],
        [0, 1, 2, 3, 5, 4, 6, 7],
        [0, 1, 2, 3, 5, 6, 4, 7],
        [0, 1, 3, 5, 6, 2, 4, 7],
        [0, 1, 3, 5, 6, 7, 2, 4],
    ];
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    celeriac.ready().await;
    for (round, order) in (0_u32..).zip(orders) {
        let (first, tasks) = (u64::from(round) * 50, f64::from(round + 1) * 50.0);
        let messages = (first..first + 50).flat_map(|n| retried_elsewhere(n, order));
        let messages: Vec<_> = messages.collect();
        redis.publish(messages.iter().map(String::as_bytes)).await;
        let page = celeriac
            .page_when("the tasks to end", 10, |page| {
                page.sum("celery_task_succeeded_total", &["retried"]) == tasks
            })
            .await;
        let of = |metric: &str, labels: &[&str]| page.sum(&format!("celery_task_{metric}"), labels);
        for (metric, labels, each) in [
            ("retried_total", &[][..], 1.0),
            ("started_total", &[], 2.0),
            ("runtime_seconds_count", &["outcome=\"retried\""], 1.0),
            ("runtime_seconds_sum", &["outcome=\"retried\""], 4.0),
            ("runtime_seconds_sum", &["outcome=\"succeeded\""], 8.0),
            ("prefetch_wait_seconds_count", &[], 2.0),
            ("prefetch_wait_seconds_sum", &[], 6.0),
            ("queue_wait_seconds_count", &[], 2.0),
            ("queue_wait_seconds_sum", &[], 9.0),
            ("attempts_sum", &[], 2.0),
        ] {
            assert_eq!(of(metric, labels), each * tasks, "{metric} {order:?}");
        }
    }
}
