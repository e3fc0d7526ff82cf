use std::collections::HashMap;
use std::fs;

use super::*;
use crate::status::saved::HistoryFile;

fn id(name: &str) -> TaskId {
    TaskId {
        broker: None,
        name: name.into(),
        queue: Some("q".into()),
    }
}

/// Sums in which each task has completed this often.
fn counted<'a>(seconds: i64, tasks: impl IntoIterator<Item = (&'a str, u64)>) -> Arc<Counted> {
    let tasks = tasks.into_iter().map(|(name, succeeded)| {
        let counts = TaskCounts {
            succeeded,
            ..TaskCounts::default()
        };
        (id(name), Arc::new(counts))
    });
    Arc::new(Counted {
        at: Timestamp::from_millis(seconds * 1000),
        tasks: tasks.collect(),
        ..Counted::default()
    })
}

fn record(history: &mut History, counted: &Arc<Counted>, waiting: &[(&str, u64)]) {
    let mut facts = Facts::default();
    facts.counted.at = counted.at;
    let waiting = waiting.iter();
    let waiting: HashMap<QueueId, u64> = waiting
        .map(|(name, waiting)| ((None, Arc::from(*name)), *waiting))
        .collect();
    history.record(&facts, counted, &waiting);
}

/// The last points.
fn last(ring: &Ring, interval: u64, count: usize) -> Vec<Option<u32>> {
    let points = ring.points(interval);
    assert_eq!(points.len(), POINTS);
    points[POINTS - count..].to_vec()
}

#[test]
fn points_that_were_not_recorded_are_unknown() {
    let mut ring = Ring::default();
    assert_eq!(ring.points(5), vec![None; POINTS]);
    ring.set(10, 7);
    ring.set(13, 0);
    let expected = [None, Some(7), None, None, Some(0), None];
    assert_eq!(last(&ring, 14, 6), expected);

    // More than the whole ring later, nothing is left.
    assert_eq!(ring.points(13 + POINTS as u64), vec![None; POINTS]);
    ring.set(13 + 2 * POINTS as u64, 1);
    assert_eq!(last(&ring, 13 + 2 * POINTS as u64, 2), [None, Some(1)]);

    // After the clock was set back, the points are those of the new time.
    ring.set(20, 4);
    assert_eq!(last(&ring, 20, 2), [None, Some(4)]);
}

#[test]
fn only_the_newest_points_are_kept() {
    let mut ring = Ring::default();
    for interval in 0..100_u32 {
        ring.set(interval.into(), interval);
    }
    let expected: Vec<_> = (40..100).map(Some).collect();
    assert_eq!(ring.points(99), expected);
    ring.add(99, u32::MAX);
    assert_eq!(
        last(&ring, 99, 1),
        [Some(u32::MAX - 1)],
        "the largest known value"
    );
}

#[test]
fn tasks_are_counted_in_seconds_and_minutes() {
    let mut history = History::default();
    for (seconds, total) in [(0, 5), (10, 7), (20, 7), (60, 10)] {
        record(
            &mut history,
            &counted(seconds, [("a", total)]),
            &[("q", total)],
        );
    }
    let (fine, coarse) = &history.rings.tasks[&id("a")];
    // What was there at first was not completed meanwhile.
    assert_eq!(
        last(fine, 6, 7),
        [Some(0), Some(2), Some(0), None, None, None, Some(3)]
    );
    assert_eq!(last(coarse, 1, 2), [Some(2), Some(3)]);
    assert_eq!(last(&history.rings.completed, 6, 2), [None, Some(3)]);
    let queue = &history.rings.queues[&(None, "q".into())];
    assert_eq!(last(queue, 6, 1), [Some(10)]);
}

#[test]
fn a_window_is_at_least_half_covered_and_never_exceeded() {
    let mut history = History::default();
    for seconds in (0..7200).step_by(10) {
        record(&mut history, &counted(seconds, [("a", 1)]), &[]);
        let now = Timestamp::from_millis(seconds * 1000);
        for window in Window::ALL {
            let before = history.before(window, now).expect("a mark");
            let covered = now.since(before.at);
            let whole = window.duration();
            assert!(covered <= whole, "{window:?} at {seconds}: {covered:?}");
            let so_far = whole.min(now.since(Timestamp::default()));
            // A mark is made every ten seconds at most.
            let slack = std::time::Duration::from_secs(10);
            assert!(
                covered + slack >= so_far / 2,
                "{window:?} at {seconds}: {covered:?}"
            );
        }
    }
    // Sums that did not change are shared.
    let [one, other] = [Window::OneMinute, Window::OneHour].map(|window| {
        let now = Timestamp::from_millis(7_190_000);
        Arc::clone(&history.before(window, now).expect("a mark").tasks[&id("a")])
    });
    assert!(Arc::ptr_eq(&one, &other));
}

#[test]
fn only_the_busiest_have_a_history() {
    let names: Vec<String> = (0..300).map(|n| format!("task-{n:03}")).collect();
    let mut history = History::default();
    // The later ones complete more.
    for (point, seconds) in (0..5_u64).zip((0..).step_by(10)) {
        let tasks = (0..).zip(&names);
        let tasks = tasks.map(|(n, name)| (name.as_str(), n * point));
        record(&mut history, &counted(seconds, tasks), &[]);
    }
    assert_eq!(history.rings.tasks.len(), HISTORIES_MAX);
    assert!(history.rings.tasks.contains_key(&id("task-299")));
    assert!(!history.rings.tasks.contains_key(&id("task-000")));
}

#[test]
fn histories_survive_a_restart_and_a_damaged_file_does_not_matter() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = HistoryFile::new(folder.path());
    assert_eq!(file.read(), Rings::default());

    let mut history = History::default();
    for (seconds, total) in [(0, 0), (10, 3)] {
        let tasks = [("a", total), ("\u{1f955} \"\\\n", total)];
        record(&mut history, &counted(seconds, tasks), &[("q", 9)]);
    }
    file.write(&history.rings).expect("a writable folder");
    assert_eq!(file.read(), history.rings);

    let path = folder.path().join("history");
    let bytes = fs::read(&path).expect("a file");
    for damaged in [&bytes[..bytes.len() / 2], b"", b"[]", b"{\"version\":2}"] {
        fs::write(&path, damaged).expect("a writable folder");
        assert_eq!(file.read(), Rings::default());
    }
    let mut long = history.rings.clone();
    long.completed.points = (0..100_000).collect();
    file.write(&long).expect("a writable folder");
    let mut read = file.read();
    read.completed.set(2, 5);
    assert_eq!(
        read.completed.points.len(),
        POINTS,
        "a file cannot make it grow"
    );
}
