//! Daemons that are killed at random moments while they push: fifty times, five in parallel.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::waiting;
use super::{balanced, missing, of};
use crate::support::celeriac::Celeriac;
use crate::support::redis::Redis;
use crate::support::wait_for;
use strict_receiver::{Answer, Receiver, STALE};

const LANES: u64 = 5;
const KILLS: u64 = 10;

/// Identifies the process that a sample at the receiver came from.
const START: &str = "process_start_time_seconds";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_at_any_of_50_kills_arrives() {
    let redis = Redis::start().await;
    let start = Instant::now();
    let lanes = (0..LANES).map(|lane| lane_of_kills(&redis, lane));
    let waited: usize = futures_util::future::join_all(lanes).await.iter().sum();
    println!(
        "{} kills in {:?}, {waited} samples waited at them",
        LANES * KILLS,
        start.elapsed()
    );
    assert!(waited > 0, "no kill met a sample that waited");
}

/// Kills and restarts a daemon several times. Returns how many samples were pending at the kills.
async fn lane_of_kills(redis: &Redis, lane: u64) -> usize {
    let (receiver, data) = (Receiver::start().await, TempDir::new().expect("a folder"));
    // Many small requests make for many moments at which to be killed.
    let config = format!(
        "data_dir: {:?}\nglobal: {{interval: 1s, external_labels: {{instance: lane-{lane}}}}}\n\
         brokers: [{{url: {:?}}}]\nremote_write:\n- name: r\n  url: {:?}\n  queue_config:\n    \
         {{min_backoff: 20ms, max_backoff: 200ms, max_samples_per_send: 40, max_shards: 4}}\n",
        data.path(),
        redis.url(0),
        receiver.url()
    );
    let mut waited = Vec::new();
    for kill in 0..KILLS {
        trouble(&receiver);
        let before = receiver.with(|received| received.requests);
        let mut celeriac = Celeriac::start(&config).await;
        let tasks = (lane * KILLS + kill) * 10;
        redis
            .publish_lives(tasks..tasks + 10, &format!("task.{lane}"))
            .await;
        wait_for("the first push", 30, async || {
            let requests = receiver.with(|received| received.requests);
            if requests > before {
                Ok(())
            } else {
                Err(format!("{requests} requests"))
            }
        })
        .await;
        // The moment is random on purpose, so there is nothing to wait for.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(300..2_000))).await;
        celeriac.process.kill();
        // Requests in flight have arrived by now or never will.
        wait_for("the requests on their way", 10, async || {
            match receiver.with(|received| received.in_flight()) {
                0 => Ok(()),
                requests => Err(format!("{requests} requests")),
            }
        })
        .await;
        receiver.with(|received| received.sender_restarted());
        waited.extend(waiting::samples(data.path(), "r"));
    }
    receiver.behave(|behaviour| behaviour.delay = Duration::ZERO);
    let mut celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    wait_for("what waited at the kills", 30, async || {
        match missing(&receiver, &waited).as_slice() {
            [] => Ok(()),
            missing => Err(format!("{} are missing, {:?}", missing.len(), missing[0])),
        }
    })
    .await;
    let page = celeriac
        .page_when("the books to balance", 30, balanced)
        .await;
    assert_eq!(of(&page, "dropped_total") + of(&page, "failed_total"), 0.0);
    assert!(celeriac.terminate().success());
    assert_eq!(waiting::samples(data.path(), "r"), []);
    receiver.assert_no_violation();
    no_holes(&receiver);
    waited.len()
}

/// Makes the receiver slow for a while, and sometimes fail, refuse, or cut the connection after storing.
fn trouble(receiver: &Receiver) {
    let delay = Duration::from_millis(fastrand::u64(0..40));
    receiver.behave(|behaviour| behaviour.delay = delay);
    let answers: Vec<_> = (0..30)
        .map(|_| match fastrand::u8(..10) {
            0 => Answer::Status(503),
            1 => Answer::Status(500),
            2 => Answer::StoreAndCut,
            _ => Answer::Status(204),
        })
        .collect();
    receiver.answer(&answers);
}

/// Asserts that the samples of each process are complete from its first snapshot to its last, one per second, in all
/// series alike.
fn no_holes(receiver: &Receiver) {
    let starts = receiver.series(START, &[]);
    let mut lives: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for (at, value) in &starts {
        if value.to_bits() != STALE {
            lives.entry(value.to_bits()).or_default().push(*at);
        }
    }
    assert_eq!(lives.len() as u64, KILLS + 1, "{starts:?}");
    for (life, times) in (0..).zip(lives.values()) {
        // The first snapshot is made at startup and not on a full second, and one that would coincide with it comes 2
        // ms later. The same is true of the last one of the process that was not killed.
        let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
        for (n, step) in steps.enumerate() {
            let is_last = life == KILLS && n + 2 == times.len();
            let least = if n == 0 || is_last { 2 } else { 998 };
            // A process that starts just before a full second may miss it.
            let most = if n == 0 { 1_998 } else { 1_002 };
            assert!((least..=most).contains(&step), "{times:?}");
        }
    }
    let expected: Vec<i64> = lives.into_values().flatten().collect();
    // A gauge that never changes, and a counter, which also has zeros.
    for name in ["celeriac_build_info", "celeriac_messages_total"] {
        let samples = receiver.series(name, &[]);
        let has = |at: &i64| {
            let found = samples.binary_search_by_key(at, |(at, _)| *at);
            found.is_ok_and(|found| samples[found].1.to_bits() != STALE)
        };
        let missing: Vec<_> = expected.iter().filter(|at| !has(at)).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}
