//! The status page in a real browser, on real workloads: what it shows, in which states, and for whom.

mod access;
mod api;
mod live;
mod states;

use serde_json::Value;

use super::support::browser::Browser;
use super::support::celeriac::Celeriac;
use super::support::celery::Celery;
use super::support::redis::Redis;
use super::support::wait_for;

impl Celeriac {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The document of the API.
    pub(crate) async fn status(&self) -> Value {
        let (status, text) = self.get("/api/v1/status").await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// The row of a table with this name in its first column.
fn row<'a>(status: &'a Value, section: &str, name: &str) -> &'a Value {
    let mut rows = status[section].as_array().expect(section).iter();
    let found = rows.find(|row| row["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {section}: {status}"))
}

/// The number in a text such as `1,234`.
fn number(text: &str) -> f64 {
    let digits: String = text
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number in {text:?}"))
}

/// A daemon, a broker, and enough tasks to look at.
async fn with_tasks(more: &str, names: &[&str]) -> (Redis, Celeriac) {
    let redis = Redis::start().await;
    let config = format!(
        "brokers: [{{url: {:?}, queue_interval: 1s}}]\n{more}",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    for (at, name) in (0_u64..).zip(names) {
        redis
            .publish_lives(at * 1000..at * 1000 + 10 + at, name)
            .await;
    }
    let expected: u64 = (0..names.len() as u64).map(|at| 4 * (10 + at)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a few events")]
    let expected = expected as f64;
    celeriac
        .page_when("the events", 20, |page| page.events() >= expected)
        .await;
    (redis, celeriac)
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_those_of_the_metrics_after_a_real_workload() {
    let redis = Redis::start().await;
    let celery = Celery::new("5.7", &redis.url(0), &redis.url(1));
    let config = format!(
        "brokers: [{{url: {:?}, queue_interval: 1s}}]\n",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    let _worker = celery
        .worker("one", &["-c", "2", "-Q", "celery,prefork,green"])
        .await;
    celery.script("workload.py", 120).await;
    let page = celeriac
        .page_when("the workload to be counted", 30, |page| {
            page.sum("celery_tasks_in_flight", &[]) == 0.0
                && page.sum("celery_task_succeeded_total", &["name=\"proj.green\""]) == 300.0
        })
        .await;

    let browser = Browser::start().await;
    let status = celeriac.status().await;
    for (name, queue) in [
        ("proj.add", "celery"),
        ("proj.green", "green"),
        ("proj.fail", "celery"),
    ] {
        browser
            .open(&celeriac.url(&format!("/task/{name}?queue={queue}")))
            .await;
        let labels = [format!("name=\"{name}\""), format!("queue=\"{queue}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let row = row(&status, "tasks", name);
        for step in [
            "sent",
            "received",
            "started",
            "succeeded",
            "failed",
            "retried",
        ] {
            let counted = page.sum(&format!("celery_task_{step}_total"), &labels);
            let shown = browser.text(&format!("#detail [data-key={step}] dd")).await;
            assert_eq!(number(&shown), counted, "{name}: {step}");
            assert_eq!(row[step].as_f64(), Some(counted), "{name}: {step}");
        }
    }
    // The exceptions of a task, by class.
    browser.open(&celeriac.url("/task/proj.fail")).await;
    let exceptions = browser.texts("#detail .exceptions tbody tr").await;
    let of = |class: &str| {
        let label = format!("exception=\"{class}\"");
        page.sum("celery_task_failed_total", &["name=\"proj.fail\"", &label])
    };
    assert!(exceptions.len() >= 3, "{exceptions:?}");
    for line in &exceptions {
        let mut words = line.split(' ');
        let (class, failed) = (
            words.next().expect("a class"),
            words.next().expect("a number"),
        );
        assert_eq!(number(failed), of(class), "{line}");
    }

    browser.open(&celeriac.url("/")).await;
    let workers = browser.text("#tiles [data-key=workers] .value").await;
    assert!(workers.starts_with("1 "), "{workers}");
    let waiting = browser.text("#tiles [data-key=waiting] .value").await;
    assert_eq!(
        number(&waiting),
        page.sum("celery_queue_length", &[]),
        "{waiting}"
    );
    let events = &page.events();
    let broker = row(&status, "brokers", "default");
    assert!(broker["messages"].as_f64() <= Some(*events), "{broker}");
    let worker = browser.text("#rows-workers tr").await;
    assert!(worker.contains("one@") && worker.contains("up"), "{worker}");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_sorted_filtered_and_lead_to_their_details() {
    let names = ["shop.pay", "shop.refund", "mail.send", "mail.digest"];
    let (_redis, celeriac) = with_tasks("", &names).await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/tasks")).await;
    let first = "#rows-tasks th";
    let sorted = async |by: &str| {
        browser.click("#tasks thead th[data-key=task] a").await;
        let loaded =
            format!("document.readyState == 'complete' && location.search == '?sort={by}'");
        browser.until(&loaded, 10).await;
        browser.texts(first).await
    };
    let ascending = sorted("task").await;
    assert_eq!(
        ascending,
        ["mail.digest", "mail.send", "shop.pay", "shop.refund"]
    );
    let mut descending = sorted("-task").await;
    descending.reverse();
    assert_eq!(ascending, descending);

    // The filter keeps the order, and the heading counts what is left.
    let filter = browser.find("#filter input[name=q]").await;
    filter.send_keys("mail\u{e007}").await.expect("keys");
    browser
        .until(
            "document.querySelectorAll('#rows-tasks tr').length == 2",
            10,
        )
        .await;
    assert_eq!(browser.texts(first).await, ["mail.send", "mail.digest"]);
    let heading = browser.text("#head-tasks").await;
    assert!(heading.contains("2 of 4"), "{heading}");
    browser
        .open(&celeriac.url("/tasks?q=re:%5Eshop%5C.%28pay%7Crefund%29%24"))
        .await;
    assert_eq!(browser.texts(first).await.len(), 2);
    browser
        .open(&celeriac.url("/tasks?q=nothing-like-it"))
        .await;
    let empty = browser.text("#note-tasks").await;
    assert!(empty.contains("Clear the filter"), "{empty}");
    browser.click("#note-tasks a").await;
    browser
        .until(
            "document.querySelectorAll('#rows-tasks tr').length == 4",
            10,
        )
        .await;
    browser.open(&celeriac.url("/tasks?q=re:%28")).await;
    let error = browser.text("#error").await;
    assert!(error.contains("invalid"), "{error}");

    browser.open(&celeriac.url("/tasks?q=refund")).await;
    browser.click("#rows-tasks th a").await;
    browser.find("#detail").await;
    let heading = browser.text("h1").await;
    assert!(heading.contains("shop.refund"), "{heading}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaler_finds_the_length_of_its_queue() {
    let redis = Redis::start().await;
    let config = format!(
        "brokers: [{{url: {:?}, queue_interval: 1s}}]\n",
        redis.url(0)
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    redis.publish_lives(0..5, "t").await;
    let celery = Celery::new("5.7", &redis.url(0), &redis.url(1));
    let send = [("SEND", "[[7, 0, {}]]")];
    celery.script_with("send.py", 60, &send).await;
    // As KEDA's metrics-api scaler asks: a plain GET, and the value at `valueLocation` in the answer.
    let manifest = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/kubernetes/scaling/keda.yaml"
    );
    let manifest = std::fs::read_to_string(manifest).expect("a manifest");
    let of = |key: &str| {
        let mut lines = manifest.lines().map(str::trim);
        let value = lines.find_map(|line| line.strip_prefix(key)).expect(key);
        value.trim_matches([' ', ':', '"']).to_owned()
    };
    let (url, location) = (of("url"), of("valueLocation"));
    let (_, path) = url.split_once(":9808").expect("the service");
    let path = path.replace("reports", "celery");
    let length = wait_for("the queue's length", 30, async || {
        let (status, text) = celeriac.get(&path).await;
        let answer: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let length = answer[location.as_str()]
            .as_f64()
            .filter(|length| *length > 0.0);
        length.filter(|_| status == 200).ok_or(text)
    })
    .await;
    // The page of metrics follows with the next snapshot.
    celeriac
        .page_when("the same length in the metrics", 10, |page| {
            page.sum("celery_queue_length", &["queue=\"celery\""]) == length
        })
        .await;
    let (status, text) = celeriac.get("/api/v1/queues/no-such-queue").await;
    assert_eq!(status, 404, "{text}");
    assert!(text.contains("error"), "{text}");
}
