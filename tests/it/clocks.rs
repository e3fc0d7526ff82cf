//! Clocks that are wrong and then corrected: the daemon's own, and that of a worker.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use tempfile::TempDir;

use super::support::celeriac::{Celeriac, Page};
use super::support::events::envelope;
use super::support::prometheus::{Options, Prometheus};
use super::support::querier::Querier;
use super::support::redis::Redis;
use super::support::wait_for;

const HOUR: i64 = 3_600;

/// The log message about a clock step.
const STEPPED: &str = "system clock was set";

/// A counter of the tasks that each test publishes.
const RECEIVED: &str = "celery_task_received_total";

/// A wall clock for one process that the test sets while the process runs.
struct WallClock {
    folder: TempDir,
    library: PathBuf,
}

impl WallClock {
    /// Creates a clock that is `ahead` seconds ahead.
    fn new(ahead: i64) -> Self {
        let libraries = fs::read_dir("/usr/lib").expect("a folder").flatten();
        let mut libraries =
            libraries.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let library = libraries.find(|path| path.exists());
        let clock = Self {
            folder: TempDir::new().expect("a temporary folder"),
            library: library.expect("libfaketime; run `make setup`"),
        };
        clock.set(ahead);
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    fn set(&self, ahead: i64) {
        // Replaced atomically, because the process may read the file at any time.
        let next = self.folder.path().join("next");
        fs::write(&next, format!("{ahead:+}\n")).expect("writable");
        fs::rename(next, self.file()).expect("writable");
    }

    async fn start(&self, config: &str) -> Celeriac {
        let (file, library) = (self.file(), self.library.display().to_string());
        let environment = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a path")),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        let celeriac = Celeriac::start_with(config, &environment).await;
        celeriac.subscribed("default").await;
        celeriac
    }
}

fn now() -> f64 {
    let now = SystemTime::UNIX_EPOCH.elapsed();
    now.expect("a clock after 1970").as_secs_f64()
}

/// An event of a worker, stamped `ahead` seconds from now.
fn worker_event(kind: &str, ahead: f64, more: &str) -> String {
    let timestamp = now() + ahead;
    envelope(&format!(
        r#"{{"type": "worker-{kind}", "hostname": "w1@host", "pid": 7, "timestamp": {timestamp}, "freq": 60.0, "active": 0{more}}}"#
    ))
}

fn remote_write(servers: &[(&str, &Querier)]) -> String {
    let sinks = servers.iter().map(|(name, server)| {
        let url = server.write_url();
        format!("- {{name: {name}, url: {url:?}, protobuf_message: prometheus.WriteRequest}}\n")
    });
    format!("remote_write:\n{}", sinks.collect::<String>())
}

/// A metric of a sink.
fn of_sink(page: &Page, metric: &str, sink: &str) -> f64 {
    let sink = format!("remote_name=\"{sink}\"");
    page.sum(&format!("celeriac_remote_storage_{metric}"), &[&sink])
}

/// Waits until a receiver's newest sample of a counter is no older than three seconds, and has that value.
async fn is_up_to_date(server: &Querier, value: f64) {
    let age = format!("time() - timestamp(sum({RECEIVED}) == {value})");
    let newest = format!("max(time() - timestamp({RECEIVED}))");
    wait_for("a sample of now", 10, async || {
        let (sum, age) = (
            server.query(&age, None).await,
            server.query(&newest, None).await,
        );
        match (sum.first(), age.first()) {
            (Some(_), Some((_, age))) if (-1.0..3.0).contains(age) => Ok(()),
            _ => Err(format!("{sum:?} {age:?}")),
        }
    })
    .await;
}

fn steps(celeriac: &Celeriac) -> usize {
    celeriac.process.output().matches(STEPPED).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_that_are_refused_for_the_future_are_sent_again_once_the_clock_is_right() {
    let (redis, server) = (Redis::start().await, Prometheus::start_3().await);
    // It accepts samples up to ten minutes ahead.
    let clock = WallClock::new(HOUR);
    let broker = format!("brokers: [{{url: {:?}}}]\n", redis.url(0));
    let celeriac = clock
        .start(&format!("{broker}{}", remote_write(&[("main", &server)])))
        .await;
    redis.publish_lives(0..10, "t").await;
    let page = celeriac
        .page_when("samples of the future to be refused", 30, |page| {
            page.sum(RECEIVED, &[]) == 10.0 && of_sink(page, "samples_failed_total", "main") > 0.0
        })
        .await;
    assert_eq!(of_sink(&page, "samples_total", "main"), 0.0);

    clock.set(0);
    redis.publish_lives(10..20, "t").await;
    is_up_to_date(&server, 20.0).await;
    // Pending samples from the future are refused too, but none from the present.
    let failed = async || of_sink(&celeriac.page().await, "samples_failed_total", "main");
    let mut last = failed().await;
    for n in 2_u64.. {
        redis.publish_lives(n * 10..n * 10 + 10, "t").await;
        is_up_to_date(&server, (n * 10 + 10) as f64).await;
        let before = std::mem::replace(&mut last, failed().await);
        if n > 4 && before == last {
            break;
        }
        assert!(n < 20, "{before} samples failed, then {last}");
    }
    let page = celeriac.page().await;
    assert_eq!(of_sink(&page, "series_quarantined", "main"), 0.0);
    assert_eq!(steps(&celeriac), 1, "{}", celeriac.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_of_the_future_in_a_receiver_cost_only_those_that_it_refuses() {
    let redis = Redis::start().await;
    let strict = Prometheus::start().await;
    let tolerant = Prometheus::start_with(Options::default().out_of_order("1h")).await;
    // Both accept samples up to ten minutes ahead.
    let clock = WallClock::new(300);
    let broker = format!("brokers: [{{url: {:?}}}]\n", redis.url(0));
    let sinks = remote_write(&[("strict", &strict), ("tolerant", &tolerant)]);
    let celeriac = clock.start(&format!("{broker}{sinks}")).await;
    redis.publish_lives(0..10, "t").await;
    celeriac
        .page_when("samples of the future to be accepted", 30, |page| {
            page.sum(RECEIVED, &[]) == 10.0
                && ["strict", "tolerant"]
                    .iter()
                    .all(|sink| of_sink(page, "samples_total", sink) > 500.0)
        })
        .await;

    clock.set(0);
    redis.publish_lives(10..20, "t").await;
    // The receiver has it five minutes earlier, where its own clock is.
    is_up_to_date(&tolerant, 20.0).await;
    let page = celeriac
        .page_when("what is refused to be counted", 20, |page| {
            of_sink(page, "samples_failed_total", "strict") > 0.0
        })
        .await;
    for sink in ["strict", "tolerant"] {
        assert_eq!(of_sink(&page, "series_quarantined", sink), 0.0, "{sink}");
    }
    assert_eq!(of_sink(&page, "samples_failed_total", "tolerant"), 0.0);
    // A series that is new to the receiver is accepted at once.
    redis.publish_lives(20..30, "u").await;
    strict.has(&format!("{RECEIVED}{{name=\"u\"}}"), 10.0).await;
    assert_eq!(steps(&celeriac), 1, "{}", celeriac.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forgotten_when_the_clock_goes_ahead_and_nothing_lingers_when_it_goes_back() {
    let redis = Redis::start().await;
    let clock = WallClock::new(0);
    let celeriac = clock
        .start(&format!(
            "brokers: [{{url: {:?}}}]\nmetrics: {{task_timeout: 1h, worker_timeout: 15s}}\n",
            redis.url(0)
        ))
        .await;
    let beat = worker_event("heartbeat", 0.0, "");
    let started = envelope(&format!(
        r#"{{"type": "task-started", "hostname": "w1@host", "pid": 7, "timestamp": {}, "uuid": "one"}}"#,
        now()
    ));
    let up = |page: &Page| page.sum("celery_worker_up", &["w1@"]);
    redis.publish([beat.as_bytes(), started.as_bytes()]).await;
    celeriac
        .page_when("the worker", 10, |page| up(page) == 1.0)
        .await;
    clock.set(24 * HOUR);
    wait_for("the step", 5, async || {
        // No heartbeat arrives, but its age is unchanged.
        assert_eq!(up(&celeriac.page().await), 1.0);
        if steps(&celeriac) == 1 {
            Ok(())
        } else {
            Err(celeriac.process.output())
        }
    })
    .await;
    let page = celeriac.page().await;
    assert_eq!(up(&page), 1.0);
    assert_eq!(page.sum("celery_task_lost_total", &[]), 0.0);
    clock.set(0);
    celeriac
        .page_when("the worker to be offline", 30, |page| up(page) == 0.0)
        .await;
    assert_eq!(steps(&celeriac), 2, "{}", celeriac.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_clock_was_ahead_is_up_as_soon_as_it_is_back() {
    let redis = Redis::start().await;
    let broker = format!("brokers: [{{url: {:?}}}]\n", redis.url(0));
    let celeriac = Celeriac::start(&broker).await;
    celeriac.subscribed("default").await;
    let up = |page: &Page| page.sum("celery_worker_up", &["w1@"]);
    let processed = |page: &Page| page.sum("celery_worker_tasks_processed_total", &["w1@"]);
    let is_up = async |what, expected: f64| {
        celeriac
            .page_when(what, 5, |page| up(page) == expected)
            .await
    };
    for (kind, ahead, count, expected) in [
        ("heartbeat", 500.0, 10, 1.0),
        ("heartbeat", 502.0, 12, 1.0),
        ("offline", 503.0, 12, 0.0),
        // Back online, with its clock corrected.
        ("online", 0.0, 0, 1.0),
        ("heartbeat", 1.0, 3, 1.0),
    ] {
        let event = worker_event(kind, ahead, &format!(", \"processed\": {count}"));
        redis.publish([event.as_bytes()]).await;
        is_up(kind, expected).await;
    }
    let page = celeriac
        .page_when("the tasks of both processes", 5, |page| {
            processed(page) == 5.0
        })
        .await;
    assert_eq!(page.sum("celeriac_events_missing_total", &[]), 2.0);

    // The clock is corrected while the worker runs: everything it counts from then on is included.
    for (ahead, count) in [(402.0, 4), (2.0, 6), (4.0, 9)] {
        let event = worker_event("heartbeat", ahead, &format!(", \"processed\": {count}"));
        redis.publish([event.as_bytes()]).await;
    }
    celeriac
        .page_when("the tasks since then", 5, |page| processed(page) == 11.0)
        .await;
}
