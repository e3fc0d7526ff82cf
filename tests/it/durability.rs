//! What survives an outage, a crash, a restart and a full disk, counted to the sample.

mod kills;
mod simulated;
mod waiting;

use std::process::Command;
use std::time::{Duration, Instant};

use celeriac::queue::{Limits, Queue};
use celeriac::wire::Protocol;
use tempfile::TempDir;

use self::simulated::Simulated;
use super::support::celeriac::{Celeriac, Page};
use super::support::redis::Redis;
use super::support::wait_for;
use strict_receiver::answer::{Answer, Knows};
use strict_receiver::{Receiver, STALE};

/// Short waits, so that an outage ends soon after the receiver is back.
const SOON: &str = "min_backoff: 30ms, max_backoff: 200ms";

/// A daemon with a sink `r`, and the folder that outlives it.
struct Setting {
    redis: Redis,
    receiver: Receiver,
    data: TempDir,
    /// Additional keys of `global` and of the queue.
    global: &'static str,
    queue: &'static str,
}

impl Setting {
    async fn new(global: &'static str, queue: &'static str) -> Self {
        Self {
            redis: Redis::start().await,
            receiver: Receiver::start().await,
            data: TempDir::new().expect("a temporary folder"),
            global,
            queue,
        }
    }

    fn config(&self) -> String {
        format!(
            "data_dir: {:?}\nglobal: {{interval: 1s, {}}}\nbrokers: [{{url: {:?}}}]\n\
             remote_write: [{{name: r, url: {:?}, queue_config: {{{SOON}, {}}}}}]\n",
            self.data.path(),
            self.global,
            self.redis.url(0),
            self.receiver.url(),
            self.queue
        )
    }

    async fn start(&self) -> Celeriac {
        Celeriac::start(&self.config()).await
    }

    fn away(&self) {
        self.receiver.answer_always(Some(Answer::Status(503)));
    }

    fn back(&self) {
        self.receiver.answer_always(None);
    }

    /// Starts a daemon while the receiver is down, stops it once samples are pending, and returns them.
    async fn left_behind(&self) -> Vec<waiting::Sample> {
        self.away();
        let mut celeriac = self.start().await;
        celeriac.subscribed("default").await;
        self.redis.publish_lives(0..20, "t").await;
        let counted = |page: &Page| page.events() == 80.0 && of(page, "pending") > 0.0;
        celeriac.page_when("the events", 20, counted).await;
        let start = Instant::now();
        assert!(celeriac.terminate().success());
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
        let log = celeriac.process.output();
        assert_eq!(log.matches("samples stay on disk").count(), 1, "{log}");
        self.receiver.with(|received| received.sender_restarted());
        let waiting = waiting::samples(self.data.path(), "r");
        let succeeded = |(series, _, value): &waiting::Sample| {
            series.starts_with("celery_task_succeeded_total{") && *value == 20.0_f64.to_bits()
        };
        assert!(waiting.iter().any(succeeded), "the last snapshot waits too");
        waiting
    }

    /// Returns the samples that the receiver does not have.
    fn missing(&self, samples: &[waiting::Sample]) -> Vec<waiting::Sample> {
        missing(&self.receiver, samples)
    }
}

fn missing(receiver: &Receiver, samples: &[waiting::Sample]) -> Vec<waiting::Sample> {
    receiver.with(|received| {
        let is_missing = |(series, at, bits): &&waiting::Sample| {
            let stored = received.series.get(series);
            !stored.is_some_and(|stored| {
                let found = stored.binary_search_by_key(at, |(at, _)| *at);
                found.is_ok_and(|found| stored[found].1.to_bits() == *bits)
            })
        };
        samples.iter().filter(is_missing).cloned().collect()
    })
}

/// Returns one of the sink's sample counts.
fn of(page: &Page, word: &str) -> f64 {
    page.sum(&format!("celeriac_remote_storage_samples_{word}"), &[])
}

fn dropped(page: &Page, reason: &str) -> f64 {
    let reason = format!("reason={reason:?}");
    page.sum("celeriac_remote_storage_samples_dropped_total", &[&reason])
}

fn failing_disks(page: &Page) -> f64 {
    page.sum("celeriac_remote_storage_queue_disk_failing", &[])
}

/// Samples taken = sent + failed + dropped + pending.
fn balanced(page: &Page) -> bool {
    let given_up = of(page, "failed_total") + of(page, "dropped_total");
    of(page, "in_total") == of(page, "total") + given_up + of(page, "pending")
}

fn on_disk(folder: &TempDir, bytes_max: u64) -> Queue {
    let limits = Limits {
        bytes_max,
        age_max: None,
    };
    Queue::open(folder.path(), limits).expect("an empty folder")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_ten_minutes_costs_no_sample_of_10_000_series() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let (receiver, folder) = (Receiver::start().await, TempDir::new().expect("a folder"));
        receiver.answer_always(Some(Answer::Status(503)));
        let keys = format!("protobuf_message: {message}, queue_config: {{{SOON}}}");
        let queue = on_disk(&folder, 128 << 20);
        let mut sink = Simulated::start(10_000, &receiver, &keys, queue);
        sink.ticks(40).await;
        assert_eq!(receiver.samples(), 0);
        let bytes = sink.metric("celeriac_remote_storage_queue_bytes", "");
        receiver.answer_always(None);
        let back = Instant::now();
        sink.settled(120).await;
        println!(
            "{message}: {} samples in {bytes} bytes were caught up with in {:?}",
            receiver.samples(),
            back.elapsed()
        );
        assert_eq!(receiver.samples(), 10_000 * 41);
        assert_eq!(sink.samples("total", ""), 410_000.0);
        assert!(sink.stored(&receiver).into_iter().eq(0..40));
        receiver.assert_no_violation();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_is_the_oldest_and_is_counted() {
    let (receiver, folder) = (Receiver::start().await, TempDir::new().expect("a folder"));
    receiver.answer_always(Some(Answer::Status(503)));
    let mut sink = Simulated::start(
        10_000,
        &receiver,
        &format!("queue_config: {{{SOON}}}"),
        on_disk(&folder, 1 << 20),
    );
    sink.ticks(40).await;
    receiver.answer_always(None);
    sink.settled(120).await;
    let (stored, full) = (
        receiver.samples(),
        sink.samples("dropped_total", "queue_full"),
    );
    assert!(full > 0.0);
    assert_eq!(sink.samples("dropped_total", ""), full);
    assert_eq!(sink.samples("total", ""), stored as f64);
    assert_eq!(sink.samples("in_total", ""), full + stored as f64);
    let places = sink.stored(&receiver);
    println!("of 40 snapshots these are left: {places:?}");
    // A request in flight is never dropped, nor are the records in the same segment. It is sent first, followed by
    // the newest ones without a gap.
    let held = places
        .iter()
        .zip(0..)
        .take_while(|(place, n)| *place == n)
        .count();
    let newest = &places[held..];
    assert!((1..=3).contains(&held), "{places:?}");
    assert!(newest.len() > 3, "{places:?}");
    assert!(
        newest.iter().copied().eq(40 - newest.len()..40),
        "{places:?}"
    );
    receiver.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_does_not_keep_the_newest_waiting() {
    let (receiver, folder) = (Receiver::start().await, TempDir::new().expect("a folder"));
    receiver.answer_always(Some(Answer::Status(503)));
    let delay = Duration::from_millis(50);
    receiver.behave(|behaviour| behaviour.delay = delay);
    let keys = format!("queue_config: {{{SOON}, max_samples_per_send: 100, max_shards: 8}}");
    let queue = on_disk(&folder, 128 << 20);
    let mut sink = Simulated::start(2_000, &receiver, &keys, queue);
    sink.ticks(20).await;
    receiver.answer_always(None);
    let back = Instant::now();
    sink.tick().await;
    sink.settled(60).await;
    let elapsed = back.elapsed();
    // Sent one by one, these take at least 22 s: 21 snapshots and the zeros, of 20 requests each.
    let in_turn = delay * 22 * 20;
    println!("21 snapshots to a slow receiver took {elapsed:?}, in turn at least {in_turn:?}");
    assert!(elapsed < in_turn * 2 / 3, "{elapsed:?}");
    let side_by_side = receiver.with(|received| received.side_by_side);
    assert!((2..=8).contains(&side_by_side), "{side_by_side}");
    assert!(sink.stored(&receiver).into_iter().eq(0..21));
    receiver.assert_no_violation();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_disk_the_end_of_the_grace_period_drops_what_waits() {
    for on_disk_too in [false, true] {
        let (receiver, folder) = (Receiver::start().await, TempDir::new().expect("a folder"));
        receiver.answer_always(Some(Answer::Status(503)));
        let queue = if on_disk_too {
            on_disk(&folder, 1 << 20)
        } else {
            Queue::in_memory(Limits {
                bytes_max: 1 << 20,
                age_max: None,
            })
        };
        let keys = format!("queue_config: {{{SOON}}}");
        let mut sink = Simulated::start(10, &receiver, &keys, queue);
        sink.ticks(3).await;
        sink.hurry().await;
        let expected = if on_disk_too { 0.0 } else { 40.0 };
        assert_eq!(sink.samples("dropped_total", "shutdown"), expected);
        assert_eq!(sink.samples("dropped_total", ""), expected);
        assert_eq!(sink.samples("in_total", ""), 40.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_a_shutdown_comes_first_after_the_next_start() {
    let setting = Setting::new("grace_period: 2s", "").await;
    let waiting = setting.left_behind().await;
    // The receiver is still down: pending samples count as queued in the process that will send them.
    let mut celeriac = setting.start().await;
    let counted = |page: &Page| of(page, "in_total") > 0.0 && balanced(page);
    let page = celeriac
        .page_when("the books to balance", 10, counted)
        .await;
    assert!(of(&page, "in_total") >= waiting.len() as f64);
    assert!(of(&page, "pending") >= waiting.len() as f64);
    setting.back();
    celeriac.ready().await;
    let first = waiting.first().expect("samples").1;
    wait_for("what waited", 20, async || {
        match setting.missing(&waiting).len() {
            0 => Ok(()),
            missing => Err(format!("{missing} of {} are missing", waiting.len())),
        }
    })
    .await;
    let page = celeriac
        .page_when("the books to balance", 10, balanced)
        .await;
    assert_eq!(of(&page, "dropped_total") + of(&page, "failed_total"), 0.0);
    assert!(celeriac.terminate().success());
    // The strict receiver has seen each series in chronological order, so old samples came first.
    setting.receiver.assert_no_violation();
    let starts = setting.receiver.series("process_start_time_seconds", &[]);
    assert!(starts.iter().all(|(at, _)| *at >= first));
    let lives: Vec<_> = starts
        .iter()
        .filter(|(_, value)| value.to_bits() != STALE)
        .map(|(_, value)| value.to_bits())
        .collect();
    let changes = lives.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(changes, 1, "two processes, one after the other: {starts:?}");
    let left = waiting::entries(setting.data.path(), "r");
    assert_eq!(left.len(), 0, "everything was delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_as_2_reaches_a_receiver_of_1() {
    for knows in [Knows::OnlyFirst(415), Knows::OnlyFirstUnawares] {
        let setting = Setting::new("grace_period: 2s", "max_samples_per_send: 50").await;
        let waiting = setting.left_behind().await;
        let entries = waiting::entries(setting.data.path(), "r");
        assert!(
            entries
                .iter()
                .all(|entry| entry.body.protocol == Protocol::V2)
        );
        setting.receiver.behave(|behaviour| behaviour.knows = knows);
        setting.back();
        let mut celeriac = setting.start().await;
        celeriac.ready().await;
        wait_for("what waited", 20, async || {
            match setting.missing(&waiting).len() {
                0 => Ok(()),
                missing => Err(format!("{missing} of {} are missing", waiting.len())),
            }
        })
        .await;
        let page = celeriac
            .page_when("the books to balance", 10, balanced)
            .await;
        assert_eq!(of(&page, "dropped_total") + of(&page, "failed_total"), 0.0);
        assert!(celeriac.terminate().success());
        setting.receiver.assert_no_violation();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_dropped_and_the_rest_is_fresh() {
    let setting = Setting::new("", "sample_age_limit: 2s").await;
    setting
        .receiver
        .behave(|behaviour| behaviour.may_give_up = true);
    setting.away();
    let celeriac = setting.start().await;
    let away = Instant::now();
    wait_for("four seconds of outage", 30, async || {
        let page = celeriac.page().await;
        let elapsed = away.elapsed();
        if elapsed > Duration::from_secs(4) && dropped(&page, "too_old") > 0.0 {
            Ok(())
        } else {
            Err(format!("{elapsed:?}, {:?}", page.0))
        }
    })
    .await;
    let back = celeriac::clock::now();
    setting.back();
    celeriac.ready().await;
    let page = celeriac
        .page_when("the books to balance", 10, |page| {
            balanced(page) && of(page, "total") > 0.0
        })
        .await;
    assert_eq!(of(&page, "dropped_total"), dropped(&page, "too_old"));
    assert_eq!(of(&page, "failed_total"), 0.0);
    let stored = setting.receiver.series("celeriac_build_info", &[]);
    let oldest = stored.first().expect("a sample").0;
    // Samples that were old enough at the last check, except a request that was in flight.
    assert!(
        back.millis() - oldest <= 3_000,
        "{oldest} at {}",
        back.millis()
    );
    let steps = stored.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(steps.into_iter().all(|step| step == 1_000), "{stored:?}");
    setting.receiver.assert_no_violation();
}

/// Runs the rest in its own namespace, with a disk for a few checkpoints mounted at the folder named in the variable.
const SMALL_DISK: [&str; 6] = [
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs -o size=2m tmpfs \"$SMALL_DISK\" && exec \"$0\" \"$@\"",
];

/// Whether this machine lets an ordinary user create a namespace.
fn has_small_disks() -> bool {
    let allowed = Command::new("unshare")
        .args([
            "--map-root-user",
            "--mount",
            "mount",
            "-t",
            "tmpfs",
            "tmpfs",
            "/mnt",
        ])
        .output();
    allowed.is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_delays_and_loses_nothing() {
    if !has_small_disks() {
        println!("skipped: this machine allows no name spaces, so there is no disk to fill");
        return;
    }
    let setting = Setting::new("", "max_bytes: 16MiB").await;
    setting.away();
    let folder = setting.data.path().to_str().expect("text");
    let disk = [("SMALL_DISK", folder)];
    let celeriac = Celeriac::start_through(&setting.config(), &disk, &SMALL_DISK).await;
    celeriac.subscribed("default").await;
    // Names that do not compress, so that each snapshot takes a large part of the disk.
    for n in 0..300_u64 {
        let odd = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let name = format!("task.{odd:x}");
        setting.redis.publish_lives(n..n + 1, &name).await;
    }
    // The queue and the checkpoint share the disk, and either may be the first to find it full.
    let is_full = |page: &Page| {
        let failures = page.sum("celeriac_checkpoint_failures_total", &[]);
        failing_disks(page) == 1.0 || failures > 0.0
    };
    celeriac.page_when("the disk to be full", 60, is_full).await;
    let resident = celeriac.resident();
    println!("{resident} are resident");
    assert!(resident < 200 << 20, "{resident}");
    let log = celeriac.process.output();
    assert!(log.contains("No space left"), "{log}");

    setting.back();
    // Sending frees space for the checkpoint, and then everything continues.
    let works = |page: &Page| failing_disks(page) == 0.0 && balanced(page);
    celeriac.page_when("the disk to work", 60, works).await;
    wait_for("the newest values", 60, async || {
        let series = setting
            .receiver
            .series("celery_events_total", &["task-succeeded"]);
        match series.last() {
            Some((_, 300.0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let page = celeriac
        .page_when("the books to balance", 30, |page| {
            balanced(page) && of(page, "pending") < of(page, "in_total") / 10.0
        })
        .await;
    assert_eq!(of(&page, "dropped_total"), 0.0);
    assert_eq!(of(&page, "failed_total"), 0.0);
    let log = celeriac.process.output();
    assert!(log.contains("writing checkpoints succeeds again"), "{log}");
    setting.receiver.assert_no_violation();
}
