//! Work that does not happen or does not end, with real workers and schedulers: what they do is seen, and seen to end.

use rustix::process::Signal;

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;

async fn start(url: &str, more: &str) -> Celeriac {
    let keys = format!("url: {url:?}, control_interval: 1s");
    let celeriac = Celeriac::start(&format!("brokers: [{{{keys}}}]\n{more}")).await;
    celeriac.ready().await;
    celeriac
}

async fn send(celery: &Celery, tasks: &str) {
    celery.script_with("late.py", 60, &[("SEND", tasks)]).await;
}

/// Returns the problems of this kind: subject and text.
async fn problems(celeriac: &Celeriac, kind: &str) -> Vec<(String, String)> {
    let status = celeriac.status().await;
    let problems = status["attention"].as_array().expect("a list").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    problems
        .filter(|problem| problem["kind"] == kind)
        .map(|problem| (text(&problem["subject"]), text(&problem["text"])))
        .collect()
}

/// A task that hangs, tasks that are retried, and workflows.
async fn late(version: &str, url: &str) {
    let results = tempfile::tempdir().expect("a folder");
    let backend = format!("file://{}", results.path().display());
    let celery = Celery::new(version, url, &backend);
    let _worker = celery.worker_of("late", "w", &["-c", "3"]).await;
    // Threads do not enforce time limits. Before Celery 5.7, several of them lose events.
    let thread = ["-P", "threads", "-c", "1", "-Q", "hang"];
    let _thread = celery.worker_of("late", "h", &thread).await;
    let celeriac = start(url, "").await;

    send(&celery, r#"[["late.hang", [25]]]"#).await;
    let long = |page: &Page| page.sum("celery_tasks_running_long", &["name=\"late.hang\""]);
    celeriac
        .page_when("a task to run too long", 30, |page| long(page) == 1.0)
        .await;
    let found = problems(&celeriac, "task_running_long").await;
    let [(subject, text)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(subject, "late.hang");
    assert!(
        text.contains(" on h@") && text.contains("time limit"),
        "{text}"
    );

    // Meanwhile, tasks that may be retried twice, and one that fails without a retry.
    let flaky = r#"["late.flaky", []],"#.repeat(6);
    send(&celery, &format!(r#"[{flaky} ["late.broken", []]]"#)).await;
    let exhausted = |page: &Page, name: &str| {
        let name = format!("name=\"{name}\"");
        page.sum("celery_task_retries_exhausted_total", &[&name])
    };
    let page = celeriac
        .page_when("all to fail", 30, |page| {
            page.sum("celery_task_failed_total", &["exception=\"OSError\""]) == 7.0
        })
        .await;
    assert_eq!(page.sum("celery_task_retried_total", &["late.flaky"]), 12.0);
    assert_eq!(exhausted(&page, "late.flaky"), 6.0);
    assert_eq!(exhausted(&page, "late.broken"), 0.0);
    // Rates take a while.
    let start = "6 late.flaky tasks ran out of retries in the last ";
    wait_for("a problem", 30, async || {
        let found = problems(&celeriac, "retries_exhausted").await;
        let is_it =
            |(subject, text): &(String, String)| subject == "late.flaky" && text.starts_with(start);
        (found.len() == 1 && is_it(&found[0]))
            .then_some(())
            .ok_or(format!("{found:?}"))
    })
    .await;

    workflows(&celery, &celeriac).await;

    celeriac
        .page_when("it to end", 40, |page| {
            page.sum_known("celery_tasks_running_long", &[]).is_none()
        })
        .await;
    assert_eq!(problems(&celeriac, "task_running_long").await, []);
}

async fn workflows(celery: &Celery, celeriac: &Celeriac) {
    let tasks = r#"[["late.flow", [6, false]], ["late.flow", [6, true]], ["late.fan", [6]]]"#;
    send(celery, tasks).await;
    let count = |page: &Page, family: &str, root: &str, more: &str| {
        let root = format!("name=\"late.{root}\"");
        page.sum(family, &[&root, more])
    };
    celeriac
        .page_when("open workflows", 20, |page| {
            count(page, "celery_workflows_open", "flow", "") == 2.0
                && count(page, "celery_workflows_open", "fan", "") == 1.0
                && count(page, "celery_workflows_chords_waiting", "fan", "") == 1.0
        })
        .await;
    wait_for("the document of the same snapshot", 10, async || {
        let status = celeriac.status().await;
        let open = status["workflows"].as_array().expect("a list").iter();
        let open: Vec<_> = open.map(|row| (&row["name"], &row["open"])).collect();
        (open.len() == 2).then_some(()).ok_or(format!("{open:?}"))
    })
    .await;
    let ended = |page: &Page, root: &str, outcome: &str| {
        let outcome = format!("outcome=\"{outcome}\"");
        count(page, "celery_workflows_ended_total", root, &outcome)
    };
    celeriac
        .page_when("them to end", 40, |page| {
            ended(page, "flow", "completed") == 1.0
                && ended(page, "flow", "failed") == 1.0
                && ended(page, "fan", "completed") == 1.0
                && page.sum_known("celery_workflows_open", &[]).is_none()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_retried_and_linked_tasks_are_seen_on_rabbitmq() {
    let rabbitmq = RabbitMq::start().await;
    late("5.6", &rabbitmq.url("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_retried_and_linked_tasks_are_seen_on_redis() {
    let redis = Redis::start().await;
    late("5.7", &redis.url(0)).await;
}

/// Returns how overdue a periodic task is, if that is known.
fn overdue(page: &Page, name: &str) -> Option<f64> {
    let name = format!("name=\"{name}\"");
    page.sum_known("celery_periodic_task_overdue_seconds", &[&name])
}

async fn overdue_tasks(celeriac: &Celeriac) -> Vec<String> {
    let problems = problems(celeriac, "periodic_task_overdue").await;
    problems.into_iter().map(|(subject, _)| subject).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_periodic_tasks_are_overdue_unless_beat_runs() {
    let rabbitmq = RabbitMq::start().await;
    let url = rabbitmq.url("");
    let celery = Celery::new("5.6", &url, "");
    let tick = "{name: periodic.tick, every: 2s}";
    let other = "{name: periodic.other, crontab: '* * * * *', timezone: Asia/Kolkata}";
    let more = format!("metrics: {{periodic_tasks: [{tick}, {other}]}}\n");
    let celeriac = start(&url, &more).await;
    let names = ["periodic.other", "periodic.tick"];
    let both = |page: &Page| names.map(|name| overdue(page, name).unwrap_or(-1.0));

    // Its schedule lacks one of them, which was never sent.
    let beat = celery.beat_with("periodic", &[]).await;
    let page = celeriac
        .page_when("one to be overdue", 120, |page| both(page)[0] >= 30.0)
        .await;
    assert_eq!(both(&page)[1], 0.0);
    assert_eq!(overdue_tasks(&celeriac).await, [names[0]]);
    let period = "celery_periodic_task_period_seconds";
    assert_eq!(page.sum(period, &["name=\"periodic.tick\""]), 2.0);
    let next_due = "celery_periodic_task_next_due_timestamp_seconds";
    let next_due = page.sum(next_due, &["name=\"periodic.other\""]);
    assert_eq!(next_due % 60.0, 0.0, "{next_due}");

    drop(beat);
    celeriac
        .page_when("both to be overdue", 60, |page| {
            both(page).iter().all(|seconds| *seconds >= 30.0)
        })
        .await;
    assert_eq!(overdue_tasks(&celeriac).await, names);
    let celery = celery.with("CRONTAB", "* * * * *");
    let _beat = celery.beat_with("periodic", &[]).await;
    celeriac
        .page_when("both to be sent", 90, |page| both(page) == [0.0; 2])
        .await;
    assert_eq!(overdue_tasks(&celeriac).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learned_periodic_task_is_overdue_after_a_restart_too() {
    let redis = Redis::start().await;
    let url = redis.url(0);
    let celery = Celery::new("5.7", &url, "").with("EVERY", "30");
    let data = tempfile::tempdir().expect("a folder");
    let config = format!("data_dir: {:?}\nbrokers: [{{url: {url:?}}}]\n", data.path());
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let known = |page: &Page| overdue(page, "periodic.tick");
    celery
        .script_with("history.py", 120, &[("DAYS", "9")])
        .await;
    let beat = celery.beat_with("periodic", &[]).await;
    let page = celeriac
        .page_when("a schedule", 30, |page| known(page) == Some(0.0))
        .await;
    assert_eq!(page.sum("celery_periodic_task_period_seconds", &[]), 30.0);

    celeriac.process.signal(Signal::TERM);
    celeriac.process.ended(30);
    let celeriac = Celeriac::start(&config).await;
    let page = celeriac
        .page_when("its schedule", 30, |page| known(page) == Some(0.0))
        .await;
    let sent = |page: &Page| page.sum("celery_task_sent_total", &["periodic.tick"]);
    let before = sent(&page);
    let page = celeriac
        .page_when("two more sends", 90, |page| sent(page) >= before + 2.0)
        .await;
    assert_eq!(known(&page), Some(0.0));
    drop(beat);
    celeriac
        .page_when("it to be overdue", 90, |page| {
            known(page).is_some_and(|it| it >= 30.0)
        })
        .await;
    assert_eq!(overdue_tasks(&celeriac).await, ["periodic.tick"]);
    let _beat = celery.beat_with("periodic", &[]).await;
    celeriac
        .page_when("it to be sent again", 60, |page| {
            known(page).is_none_or(|it| it == 0.0)
        })
        .await;
    assert_eq!(overdue_tasks(&celeriac).await, [""; 0]);
}
