//! The states that the page explains, each produced for real.

use tempfile::TempDir;

use super::*;
use crate::support::disk::SmallDisk;
use crate::support::events::{envelope, life};
use crate::support::proxy::{Fault, Proxy};
use crate::support::rabbitmq::RabbitMq;

/// Waits until the page has an element with a text.
async fn shows(browser: &Browser, selector: &str, text: &str) {
    wait_for(&format!("{selector}: {text}"), 40, async || {
        let found = browser.texts(selector).await.join("\n");
        if found.contains(text) {
            return Ok(());
        }
        let body = browser.text("body").await;
        Err(format!("{found:?} in {body}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_says_what_to_do_and_then_what_is_missing() {
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    celeriac.ready().await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/")).await;
    shows(&browser, ".notice ol li", "").await;
    assert_eq!(browser.texts(".notice ol li").await.len(), 3);
    // Nothing is known, which is not the same as nothing.
    assert!(
        browser
            .text("#tiles [data-key=failed] .value")
            .await
            .starts_with('–')
    );
    assert!(
        browser
            .text("#tiles [data-key=waiting] .value")
            .await
            .starts_with('–')
    );

    // A worker that sends heartbeats and no task events.
    let beat = r#"{"type": "worker-heartbeat", "hostname": "w0@host", "utcoffset": 0, "pid": 1, "clock": 1, "timestamp": 1795344000.0, "freq": 2.0, "active": 0, "processed": 0, "loadavg": [0, 0, 0], "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux"}"#;
    redis.publish([envelope(beat).as_bytes()]).await;
    shows(&browser, "#rows-workers", "w0@host").await;
    redis.publish_lives(0..10, "first.task").await;
    shows(&browser, "#rows-tasks", "first.task").await;
    assert_eq!(browser.texts(".notice ol li").await.len(), 0);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_keeps_its_figures_with_their_time() {
    let (mut redis, celeriac) = with_tasks("", &["a.task"]).await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/")).await;
    assert_eq!(
        browser.texts("[data-kind=broker_disconnected]").await.len(),
        0
    );
    redis.stop();
    shows(
        &browser,
        "#attention [data-kind=broker_disconnected]",
        "not connected",
    )
    .await;
    shows(&browser, "#rows-brokers", "disconnected").await;
    assert!(browser.text("#rows-tasks").await.contains("a.task"));
    let stale = browser
        .value("document.querySelectorAll('#rows-tasks tr.stale').length")
        .await;
    assert_eq!(stale, 1, "the figures are marked as old");
    redis.start_again().await;
    browser
        .until(
            "!document.querySelector('#attention [data-kind=broker_disconnected]')",
            60,
        )
        .await;
    shows(&browser, "#rows-brokers", "connected").await;
    // What was missed meanwhile is shown for good.
    let gaps = browser.text("#trust [data-key=gaps] dd").await;
    assert!(!gaps.starts_with("0 s"), "{gaps}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_answered_is_not_a_quiet_one() {
    let config = "brokers: [{url: 'redis://127.0.0.1:9/0'}]\n";
    let celeriac = Celeriac::start(config).await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/")).await;
    shows(
        &browser,
        "#attention [data-kind=broker_disconnected]",
        "default",
    )
    .await;
    shows(&browser, "#rows-brokers", "disconnected").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_is_shown_with_what_waits_for_it() {
    let mut prometheus = crate::support::prometheus::Prometheus::start().await;
    let receiver = format!(
        "remote_write: [{{url: {:?}, name: main}}]\n",
        prometheus.write_url()
    );
    let (_redis, celeriac) = with_tasks(&receiver, &["a.task"]).await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/receivers")).await;
    shows(&browser, "#rows-receivers", "working").await;
    prometheus.stop();
    shows(&browser, "#rows-receivers", "failing").await;
    browser.open(&celeriac.url("/")).await;
    shows(
        &browser,
        "#attention [data-kind=receiver_failing]",
        "pending",
    )
    .await;
    shows(&browser, "#trust [data-key=push]", "0 of 1").await;
    prometheus.start_again().await;
    browser
        .until(
            "!document.querySelector('#attention [data-kind=receiver_failing]')",
            90,
        )
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_shown() {
    let Some(disk) = SmallDisk::new(8).await else {
        return;
    };
    let redis = Redis::start().await;
    let config = format!(
        "data_dir: {:?}\nbrokers: [{{url: {:?}}}]\nremote_write: [{{url: 'http://127.0.0.1:9/write', name: main}}]\n",
        disk.data(),
        redis.url(0)
    );
    let through = disk.through();
    let through: Vec<&str> = through.iter().map(String::as_str).collect();
    let celeriac = Celeriac::start_through(&config, &[], &through).await;
    celeriac.subscribed("default").await;
    redis.publish_lives(0..10, "a.task").await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/")).await;
    disk.fill();
    wait_for("the full disk to be shown", 120, async || {
        let found = browser.texts("#attention .problem").await.join("\n");
        let shown = found.contains("cannot be written to disk") || found.contains("checkpoint");
        shown.then_some(()).ok_or(found)
    })
    .await;
    disk.free();
    browser
        .until(
            "![...document.querySelectorAll('#attention .problem')].some(p => /disk|checkpoint/.test(p.innerText) && !/may use/.test(p.innerText))",
            120,
        )
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_names_the_active_instance() {
    let redis = Redis::start().await;
    let data = TempDir::new().expect("a temporary folder");
    let config = format!(
        "data_dir: {:?}\nbrokers: [{{url: {:?}}}]\n",
        data.path(),
        redis.url(0)
    );
    let mut first = Celeriac::start(&config).await;
    first.ready().await;
    let second = Celeriac::start(&config).await;
    let browser = Browser::start().await;
    browser.open(&second.url("/")).await;
    shows(&browser, ".notice", &celeriac::folder::host_name()).await;
    let status = second.status().await;
    assert_eq!(status["instance"]["mode"], "standby");
    first.terminate();
    browser
        .until("!!document.querySelector('#rows-brokers tr')", 40)
        .await;
    assert_eq!(second.status().await["instance"]["mode"], "active");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_says_which_part_it_shows() {
    let rabbitmq = RabbitMq::start().await;
    let config = format!(
        "brokers: [{{url: {:?}, shard: {{index: 1, count: 3}}}}]\n",
        rabbitmq.url("")
    );
    let celeriac = Celeriac::start(&config).await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/")).await;
    shows(&browser, ".notice", "of 3").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_folded_names_the_limit() {
    let names: Vec<String> = (0..60).map(|n| format!("task-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_redis, celeriac) = with_tasks("metrics: {max_series: 500}\n", &names[..2]).await;
    let browser = Browser::start().await;
    browser.open(&celeriac.url("/tasks")).await;
    assert_eq!(
        browser
            .texts("#attention [data-kind=limit_reached]")
            .await
            .len(),
        0
    );
    for (at, name) in (100_u64..).zip(&names[2..]) {
        _redis.publish_lives(at * 100..at * 100 + 2, name).await;
    }
    browser.open(&celeriac.url("/")).await;
    shows(
        &browser,
        "#attention [data-kind=limit_reached]",
        "max_series",
    )
    .await;
    browser.open(&celeriac.url("/tasks?all=1")).await;
    shows(&browser, "#rows-tasks", "(other)").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_shown_and_do_nothing() {
    const HOSTILE: [&str; 6] = [
        "<script>window.mark=1</script>",
        "\\\"><img src=x onerror=window.mark=1>",
        "..%2f..%2f/slash?and#hash&amp=1",
        "\\u202eright-to-left\\u0007bell",
        "{{7*7}}",
        "名前\\u0000",
    ];
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    celeriac.ready().await;
    let long = "l".repeat(400);
    let names = HOSTILE.iter().copied().chain([long.as_str()]);
    for (n, name) in (0..).zip(names) {
        let messages = life(n, name, 1_795_344_000.0)
            .map(|body| envelope(&body.replace("\"celery\"", &format!("\"{name}\""))));
        redis.publish(messages.iter().map(String::as_bytes)).await;
    }
    celeriac
        .page_when("the events", 20, |page| page.events() >= 28.0)
        .await;
    let browser = Browser::start().await;
    for path in ["/", "/tasks"] {
        browser.open(&celeriac.url(path)).await;
        browser
            .until(
                "document.querySelectorAll('#rows-tasks tr').length == 7",
                20,
            )
            .await;
        let shown = browser.texts("#rows-tasks th a").await;
        assert!(
            shown.iter().any(|name| name.contains("<script>")),
            "{shown:?}"
        );
        assert!(
            shown.iter().all(|name| name.chars().count() <= 130),
            "{shown:?}"
        );
        let control = |name: &String| name.chars().any(|c| c.is_control() || c == '\u{202e}');
        assert!(!shown.iter().any(control), "{shown:?}");
        for width in [360, 768, 1600] {
            browser.resize(width, 900).await;
            let wide = browser.value("document.documentElement.scrollWidth").await;
            assert!(
                wide.as_f64() <= Some(f64::from(width)),
                "{path} at {width}: {wide}"
            );
        }
    }
    // Each link leads to the task that it names.
    let count = browser.texts("#rows-tasks th a").await.len();
    for at in 0..count {
        browser.open(&celeriac.url("/tasks")).await;
        let target = format!("document.querySelectorAll('#rows-tasks th a')[{at}]");
        let href = browser.value(&format!("{target}.href")).await;
        let name = browser.value(&format!("{target}.innerText")).await;
        browser.open(href.as_str().expect("an address")).await;
        let heading = browser.text("h1").await;
        let name = name
            .as_str()
            .expect("a name")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let head: String = name.chars().take(100).collect();
        assert!(heading.contains(&head), "{heading:?} for {name:?}");
        assert_eq!(
            browser.text("#detail [data-key=sent] dd").await,
            "1",
            "{name}"
        );
    }
    assert_eq!(browser.value("window.mark ?? 0").await, 0);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_broker_does_not_slow_the_page() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(([127, 0, 0, 1], redis.port).into()).await;
    let url = proxy.in_front_of(&redis.url(0));
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {url:?}}}]\n")).await;
    celeriac.ready().await;
    proxy.set(Fault::Stall);
    let (status, page) = celeriac.get("/").await;
    assert_eq!(status, 200, "{page}");
}
