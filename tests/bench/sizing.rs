//! Measures the daemon's use of memory, CPU and disk by amount of state: the numbers in docs/sizing.md.
//!
//! Budgets: 10 MiB idle, 25 MiB with 10,000 samples a snapshot and 10,000 tasks in flight, 150 MiB with 1,000,000 in
//! flight; each is measured with a page to scrape, and with a `data_dir` and a receiver that is down.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "measures time")]

#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the integration tests use the rest"
)]
#[expect(clippy::panic, clippy::needless_collect, reason = "fit for tests")]
mod support;

use std::time::Duration;

use support::celeriac::Celeriac;
use support::events::{envelope, life};
use support::load::now;
use support::process::resident_max;
use support::redis::Redis;
use tempfile::TempDir;

/// Task names, and tasks in flight.
const CASES: [(u64, u64); 5] = [
    (0, 0),
    (105, 10_000),
    (105, 100_000),
    (1_050, 100_000),
    (105, 1_000_000),
];

/// Number of messages published together, and the pause after them, because this does not measure speed.
const AT_ONCE: usize = 5_000;
const PAUSE: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() {
    // `cargo bench` passes its own arguments, and so does `cargo test --benches`: then nothing is measured.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("samples, in flight: resident, at most; checkpoint; queue");
    for (names, tasks) in CASES {
        for keeps in [false, true] {
            measure(names, tasks, keeps).await;
        }
    }
}

/// Measures either with a `data_dir` and a receiver that is down, or with only a page to scrape.
async fn measure(names: u64, tasks: u64, keeps: bool) {
    let (redis, data) = (Redis::start().await, TempDir::new().expect("a folder"));
    let more = format!(
        "data_dir: {:?}\nremote_write: [{{name: nobody, url: \"http://127.0.0.1:1/\"}}]\n",
        data.path()
    );
    let celeriac = Celeriac::start(&format!(
        "metrics: {{max_series: 1000000}}\nbrokers: [{{url: {:?}}}]\n{}",
        redis.url(0),
        if keeps { more.as_str() } else { "" }
    ))
    .await;
    celeriac.subscribed("default").await;
    let at = now();
    // Each name has tasks that have ended, and all tasks in flight are received.
    let ended = (0..names).flat_map(|n| life(n, &format!("sizing.task_{n}"), at));
    let flying = (names..names + tasks).map(|n| {
        let [_, received, ..] = life(n, &format!("sizing.task_{}", n % names.max(1)), at);
        received
    });
    let events: Vec<String> = ended.chain(flying).collect();
    for events in events.chunks(AT_ONCE) {
        let messages: Vec<String> = events.iter().map(|event| envelope(event)).collect();
        redis.publish(messages.iter().map(String::as_bytes)).await;
        tokio::time::sleep(PAUSE).await;
    }
    let count = events.len() as f64;
    drop(events);
    celeriac
        .page_when("every event", 120, |page| page.events() >= count)
        .await;
    // Wait for more snapshots and checkpoints, which is when usage peaks.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let page = celeriac.page().await;
    let of = |name: &str| page.sum(name, &[]);
    let pending = of("celeriac_remote_storage_samples_pending");
    println!(
        "{:.0}, {:.0}, {}: {} MiB, {} MiB; {:.0} kB; {:.1} bytes a sample",
        page.sum("celeriac_samples", &["native"]),
        of("celery_tasks_in_flight").abs(),
        if keeps { "kept" } else { "scraped" },
        celeriac.resident() >> 20,
        resident_max(celeriac.process.pid()) >> 20,
        of("celeriac_checkpoint_size_bytes").abs() / 1e3,
        of("celeriac_remote_storage_queue_bytes").abs() / pending.max(1.0),
    );
}
