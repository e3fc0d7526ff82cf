//! Floods of long, unique strings use no more memory than the budget, and no good event is lost. Memory that is no longer
//! needed is returned.

use std::ops::Range;
use std::time::Duration;

use super::support::amqp::Publisher;
use super::support::celeriac::{Celeriac, Page};
use super::support::events::{envelope, life, uuid};
use super::support::load::now;
use super::support::process::{resident_anonymous, resident_max};
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;
use super::support::wait_for;
use tempfile::TempDir;

/// The budget of the daemon, as configured.
const BUDGET: u64 = 256 << 20;

/// Messages published together; each round is followed by the events of some good tasks.
const AT_ONCE: u64 = 2_000;
const GOOD: u64 = 10;

/// Length of a string. Longer than a kilobyte would be refused.
const TEXT_BYTES: usize = 1_000;

/// Returns a string of that length that differs from others at its end.
fn long(n: u64) -> String {
    format!("{}{n:08}", "x".repeat(TEXT_BYTES - 8))
}

fn received(id: &str, name: &str, hostname: &str) -> String {
    format!(
        r#"{{"type": "task-received", "uuid": "{id}", "name": "{name}", "hostname": "{hostname}", "timestamp": {}, "retries": 0}}"#,
        now()
    )
}

/// Publishes events along with those of good tasks, which must all be counted, and returns the page.
async fn flood(what: &str, count: u64, event: impl Fn(u64) -> String) -> (Page, String) {
    let (redis, data) = (Redis::start().await, TempDir::new().expect("a folder"));
    let celeriac = Celeriac::start(&format!(
        "global: {{interval: 2s}}\nlimits: {{memory: 256MiB}}\ndata_dir: {:?}\nbrokers: [{{url: {:?}}}]\n\
         remote_write: [{{name: nobody, url: \"http://127.0.0.1:1/\"}}]\n",
        data.path(),
        redis.url(0)
    ))
    .await;
    celeriac.subscribed("default").await;
    redis.publish_lives(0..GOOD, "good").await;
    let mut good = GOOD;
    for from in (0..count).step_by(usize::try_from(AT_ONCE).expect("a few")) {
        let events = (from..count.min(from + AT_ONCE)).map(|n| envelope(&event(n)));
        let events: Vec<String> = events.collect();
        redis.publish(events.iter().map(String::as_bytes)).await;
        redis.publish_lives(good..good + GOOD, "good").await;
        good += GOOD;
        tokio::time::sleep(Duration::from_millis(100)).await;
        // This test is not about speed: what waits takes a share of the memory, too. The page is large.
        if (from / AT_ONCE) % 10 == 9 {
            let published = (from + 4 * good) as f64;
            celeriac
                .page_when("the daemon to keep up", 90, |page| {
                    page.events() >= published
                })
                .await;
        }
    }
    let all = (count + 4 * good) as f64;
    let page = celeriac
        .page_when("every event", 120, |page| page.events() >= all)
        .await;
    assert_eq!(page.events(), all);
    for step in ["sent", "received", "started", "succeeded"] {
        let name = format!("celery_task_{step}_total");
        assert_eq!(page.sum(&name, &["name=\"good\""]), good as f64, "{step}");
    }
    // Wait for some more snapshots and checkpoints.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let page = celeriac.page().await;
    let of = |name: &str| page.sum(name, &[]).abs();
    let (counted, resident) = (of("celeriac_memory_bytes"), celeriac.resident());
    let most = resident_max(celeriac.process.pid());
    println!(
        "{what}: {:.0} MiB counted, {} MiB resident, {} MiB at most; checkpoint of {:.0} kB in {:.3} s, {:.0} samples",
        counted / f64::from(1 << 20),
        resident >> 20,
        most >> 20,
        of("celeriac_checkpoint_size_bytes") / 1e3,
        of("celeriac_checkpoint_duration_seconds"),
        of("celeriac_samples"),
    );
    for part in ["texts", "tasks", "workers", "series", "buffers"] {
        let label = format!("part=\"{part}\"");
        println!(
            "  {part}: {} kB",
            page.sum("celeriac_memory_bytes", &[&label]) / 1e3
        );
    }
    assert!(most < BUDGET, "{what}: {} MiB", most >> 20);
    assert_eq!(of("celeriac_memory_limit_bytes"), BUDGET as f64);
    assert!(counted < BUDGET as f64, "{what}: {counted}");
    (page, celeriac.process.output())
}

fn reached(page: &Page, limit: &str) -> f64 {
    page.sum(
        "celeriac_limit_reached_total",
        &[&format!("limit=\"{limit}\"")],
    )
}

fn lines_about(log: &str, limit: &str) -> usize {
    let field = format!("limit=\"{limit}\"");
    let lines = log.lines();
    lines
        .filter(|line| line.contains("limit reached") && line.contains(&field))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_without_end_fold_within_the_budget() {
    let count = 150_000;
    let (page, log) = flood("names", count, |n| {
        received(&uuid(1 << 20 | n), &long(n), "w@h")
    })
    .await;
    let counted = page.sum("celery_task_received_total", &[]);
    let good = page.sum("celery_task_received_total", &["name=\"good\""]);
    assert_eq!(counted - good, count as f64);
    assert!(page.sum("celery_task_received_total", &["name=\"(other)\""]) > 0.0);
    for limit in ["text_bytes", "text_memory"] {
        assert!(reached(&page, limit) > 0.0, "{limit}");
        assert_eq!(lines_about(&log, limit), 1, "{limit}: {log}");
    }
    let names = page
        .0
        .keys()
        .filter_map(|line| line.split_once("name=\"")?.1.split_once('"'));
    let longest = names.map(|(name, _)| name.len()).max();
    assert_eq!(longest, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_ids_take_the_budget_and_stay_apart() {
    let count = 300_000;
    let (page, log) = flood("ids", count, |n| received(&long(n), "t", "w@h")).await;
    let flying = page.sum("celery_tasks_in_flight", &[]);
    let evicted = page.sum("celeriac_tasks_evicted_total", &[]);
    assert_eq!(flying + evicted, count as f64);
    assert!(flying > 100_000.0, "{flying}");
    assert!(reached(&page, "task_memory") > 0.0);
    assert_eq!(lines_about(&log, "task_memory"), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_without_end_take_their_share() {
    let count = 150_000;
    let beat = |n| {
        format!(
            r#"{{"type": "worker-heartbeat", "hostname": "{}@h", "timestamp": {}, "freq": 2.0, "active": 0, "processed": 1, "pid": 1, "sw_ident": "py-celery", "sw_ver": "5.6.0", "sw_sys": "Linux", "loadavg": [0.1, 0.1, 0.1]}}"#,
            long(n),
            now()
        )
    };
    let (page, log) = flood("workers", count, beat).await;
    let refused = reached(&page, "worker_memory") + reached(&page, "text_memory");
    assert!(refused > 0.0, "{log}");
}

/// An event with unused arguments of this length.
fn large(n: u64, bytes: usize) -> String {
    let event = received(&uuid(n), "t", "w@h");
    let kwargs = format!("{{\"kwargs\": \"{}\", ", "x".repeat(bytes));
    event.replacen('{', &kwargs, 1)
}

/// Starts a daemon that reads from two brokers within the budget.
async fn reading_both(rabbitmq: &RabbitMq, redis: &Redis) -> Celeriac {
    let celeriac = Celeriac::start(&format!(
        "limits: {{memory: 256MiB}}\nbrokers: [{{name: a, url: {:?}}}, {{name: b, url: {:?}}}]\n",
        rabbitmq.url(""),
        redis.url(0)
    ))
    .await;
    celeriac.subscribed("a").await;
    celeriac.subscribed("b").await;
    celeriac
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_wait_within_the_budget() {
    let rabbitmq = RabbitMq::start().await;
    let redis = Redis::start_with(&["--client-output-buffer-limit", "pubsub 0 0 0"]).await;
    let celeriac = reading_both(&rabbitmq, &redis).await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let count = 60;
    for n in 0..count {
        let (first, second) = (large(n, 15 << 20), large(count + n, 6 << 20));
        publisher.flood(std::iter::once(first.as_bytes())).await;
        redis.publish([envelope(&second).as_bytes()]).await;
    }
    let page = celeriac
        .page_when("every event, or what was dropped", 60, |page| {
            let dropped = page.sum("celeriac_messages_dropped_total", &[]);
            page.events() + dropped == 2.0 * count as f64
        })
        .await;
    let most = resident_max(celeriac.process.pid());
    println!("{} MiB at most, {} events", most >> 20, page.events());
    assert!(most < BUDGET, "{} MiB", most >> 20);
    let on_rabbitmq = page.sum("celeriac_messages_total", &["broker=\"a\""]);
    assert_eq!(on_rabbitmq, count as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_startup_needs_of_the_program_is_returned() {
    let redis = Redis::start().await;
    let celeriac = Celeriac::start(&format!("brokers: [{{url: {:?}}}]\n", redis.url(0))).await;
    celeriac.ready().await;
    let limit = celeriac.resident() - (2 << 20);
    let less = || {
        let now = celeriac.resident();
        let is_less = now < limit;
        is_less.then_some(()).ok_or(format!("{now} bytes"))
    };
    wait_for("less to be resident", 25, async || less()).await;
    // What is in use comes back, but no more.
    redis.publish_lives(0..GOOD, "good").await;
    let all = 4.0 * GOOD as f64;
    celeriac
        .page_when("every event", 10, |page| page.events() == all)
        .await;
    assert_eq!(less(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_burst_needed_is_returned() {
    const BURST: u64 = 20_000;
    let (rabbitmq, redis) = (RabbitMq::start().await, Redis::start().await);
    let celeriac = reading_both(&rabbitmq, &redis).await;
    let publisher = Publisher::new(&rabbitmq.url("")).await;
    let publish = async |tasks: Range<u64>| {
        let lives = tasks.clone().flat_map(|n| life(n, "good", now()));
        let lives: Vec<String> = lives.collect();
        publisher.flood(lives.iter().map(String::as_bytes)).await;
        redis.publish_lives(tasks.clone(), "good").await;
        let all = 8.0 * tasks.end as f64;
        celeriac
            .page_when("every event", 60, |page| page.events() == all)
            .await;
    };
    let resident = || resident_anonymous(celeriac.process.pid());
    publish(0..GOOD).await;
    let before = resident();
    publish(GOOD..BURST).await;
    let full = resident();
    assert!(full > before + (6 << 20), "{full} after {before} bytes");

    wait_for("the memory to be returned", 200, async || {
        let now = resident();
        let is_returned = now < before + (3 << 20);
        is_returned
            .then_some(())
            .ok_or(format!("{before} bytes, then {full}, now {now}"))
    })
    .await;
}
