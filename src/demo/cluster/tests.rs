use std::collections::BTreeMap;

use super::*;
use crate::event::{Accept, Decoder, Event};
use crate::state::{Change, Limits, State, WorkerTimeout};

/// Runs a cluster for a time, from a moment in the afternoon, and passes each of its events on. Returns the greatest length
/// of each queue.
fn run(seconds: i64, mut pass: impl FnMut(&Event<'_>, Timestamp)) -> [usize; QUEUES.len()] {
    let start = Timestamp::from_millis(1_800_000_000_000);
    let mut cluster = Cluster::new(start);
    let mut longest = [0; QUEUES.len()];
    let mut decoder = Decoder::default();
    for step in 0..seconds * 20 {
        let now = start.after(STEP * u32::try_from(step).expect("a short run"));
        for body in cluster.take_step(now) {
            let message = payload(body.clone());
            decoder.decode(&message, Accept::default(), now, |event| match event {
                Ok(event) => pass(&event, now),
                Err(error) => panic!("{error}: {body}"),
            });
        }
        for (longest, queue) in longest.iter_mut().zip(&cluster.queues) {
            *longest = queue.len().max(*longest);
        }
    }
    longest
}

#[test]
fn what_the_cluster_publishes_is_read_by_the_real_decoder() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let longest = run(300, |event, _| {
        *seen.entry(event.kind().name().to_owned()).or_default() += 1;
    });

    let expected = [
        "task-failed",
        "task-received",
        "task-retried",
        "task-sent",
        "task-started",
        "task-succeeded",
        "worker-heartbeat",
        "worker-online",
    ];
    assert_eq!(seen.keys().collect::<Vec<_>>(), expected.each_ref());
    // Five minutes contain two uploads, two restarts, and no night.
    assert_eq!(seen["worker-online"], 2);
    assert!(seen["task-sent"] > 5_000, "{seen:?}");
    let [default, media, payments, reports] = longest;
    assert!(media > 80, "{longest:?}");
    assert!(default < 40 && payments < 40, "{longest:?}");
    assert_eq!(reports, 0);
}

#[test]
fn no_event_is_missing() {
    let mut state = State::new(Limits {
        tasks_max: 100_000,
        task_timeout: Duration::from_secs(3_600),
        worker_timeout: WorkerTimeout::Missed(3),
        worker_retention: Duration::from_secs(3_600),
        long_running_factor: 3.0,
        periodic: Vec::new(),
        awaits_periodic: false,
        queue_ttl: DAY,
        broker_drops_expired: true,
        broker_holds_events: false,
        keep_foreign: false,
        asks_workers: true,
        shard: None,
    });
    let mut changes = Vec::new();
    run(300, |event, now| {
        let events = std::slice::from_ref(event);
        state.apply_all(events, now, &mut changes, &mut Vec::new());
        state.expire(now, &mut changes);
    });

    let missing: Vec<_> = changes
        .iter()
        .filter(|change| matches!(change, Change::Missing(_)))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_nightly_task_was_last_sent_at_two_in_the_morning() {
    let night = |text| last_night(Timestamp::from_iso8601(text).expect("a time"));
    let expected = Timestamp::from_iso8601("2026-11-28T02:00:00+00:00").expect("a time");

    assert_eq!(night("2026-11-28T14:30:00+00:00"), expected);
    assert_eq!(night("2026-11-28T02:00:00+00:00"), expected);
    assert_eq!(night("2026-11-29T01:59:59+00:00"), expected);
}
