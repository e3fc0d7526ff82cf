//! Two consecutive processes that send to the same receiver: each series gets its zero once.

use super::*;

/// The series that are preceded by a zero, and the time of that zero.
type Zeros<'a> = &'a [(&'a str, i64)];

const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Returns the table and snapshots of a process that started at 1,000, made snapshots at 5,000 and
/// 10,000, and was captured at 11,000. Its series are in both snapshots, in the second only, or in
/// none.
fn first_process() -> (Table, Vec<Snapshot>) {
    let mut table = table();
    let mut snapshots = Vec::new();
    for (name, snapshot) in [("old", Some(5_000)), ("mid", Some(10_000)), ("late", None)] {
        let sent = table.open(table.sent, name);
        table.series.add(sent, 1.0);
        snapshots.extend(snapshot.map(|millis| table.snapshot(millis)));
    }
    (table, snapshots)
}

/// Returns the snapshot of the next process, which started at 12,000 and has one more series. The
/// checkpoint may be missing.
fn next_process(before: Option<&Table>) -> Snapshot {
    let mut next = table_from(at(12_000));
    if let Some(before) = before {
        let saved = before
            .series
            .capture()
            .into_saved("native")
            .next()
            .expect("a part");
        next.series.restore(&saved, at(10_000));
    }
    for name in ["old", "new"] {
        let sent = next.open(next.sent, name);
        next.series.add(sent, 1.0);
    }
    next.snapshot(15_000)
}

/// Returns the zeros in some bodies, with the names of their series.
fn zeros(bodies: &[Body]) -> Vec<(String, i64)> {
    let series = bodies.iter().flat_map(decode);
    let zeros = series.filter_map(|series| {
        let name = series.labels.iter().find(|label| label.name == "name")?;
        let zero = series.samples.iter().find(|sample| sample.value == 0.0)?;
        Some((name.value.clone(), zero.timestamp))
    });
    let mut zeros: Vec<_> = zeros.collect();
    zeros.sort();
    zeros
}

#[test]
fn a_series_that_was_sent_before_the_restart_gets_no_second_zero() {
    // The newest sample sent before; whether a checkpoint was restored; the expected zeros.
    let new = ("new", 12_001);
    let late = ("late", 10_001);
    let cases: [(&str, Option<i64>, bool, Zeros<'_>); 6] = [
        ("everything", Some(10_000), true, &[late, new]),
        (
            "not the newest snapshot",
            Some(5_000),
            true,
            &[late, ("mid", 5_001), new],
        ),
        (
            "nothing but what is older",
            Some(900),
            true,
            &[late, ("mid", 5_001), new, ("old", 1_001)],
        ),
        ("nobody knows", None, true, &[late, new]),
        // The newest checkpoint was damaged, so the one before it was used.
        ("a snapshot more", Some(11_000), true, &[new]),
        (
            "everything, and nothing is restored",
            Some(10_000),
            false,
            &[new, ("old", 12_001)],
        ),
    ];
    let (before, _) = first_process();
    for protocol in ALL {
        for (name, sent_until, restored, expected) in cases {
            let mut encoder = encoder(protocol, 2_000).after(sent_until.map(at));
            let snapshot = next_process(restored.then_some(&before));
            let bodies = bodies(encoder.snapshot(&snapshot));
            let expected: Vec<_> = expected.iter().map(|(n, at)| ((*n).into(), *at)).collect();
            assert_eq!(zeros(&bodies), expected, "{name}");
            // Every series has its value.
            let series = if restored { 4 } else { 2 };
            let values = shown(&bodies)
                .iter()
                .filter(|s| s.contains("@15000"))
                .count();
            assert_eq!(values, series, "{name}");
            assert_eq!(
                zeros(&super::bodies(encoder.snapshot(&snapshot))),
                [],
                "{name}"
            );
        }
    }
}

#[test]
fn over_both_processes_each_series_has_one_zero() {
    let (before, snapshots) = first_process();
    for protocol in ALL {
        // The process ended before its first snapshot was sent, after it, or after both.
        for sent in 0..=snapshots.len() {
            let mut first = encoder(protocol, 2_000);
            let mut all = Vec::new();
            let mut sent_until = None;
            for snapshot in &snapshots[..sent] {
                all.extend(zeros(&bodies(first.snapshot(snapshot))));
                sent_until = Some(snapshot.at);
            }
            // A queue that was never written has no newest time, so this one starts with some data.
            let mut next = encoder(protocol, 2_000).after(sent_until.or(Some(at(0))));
            let snapshot = next_process(Some(&before));
            all.extend(zeros(&bodies(next.snapshot(&snapshot))));
            all.sort();
            let each = [
                ("late", 10_001),
                ("mid", 5_001),
                ("new", 12_001),
                ("old", 1_001),
            ];
            assert_eq!(
                all,
                each.map(|(name, at)| (name.to_owned(), at)),
                "{sent} sent"
            );
        }
    }
}

#[test]
fn of_a_histogram_with_other_bounds_only_what_is_gone_is_marked() {
    for protocol in ALL {
        let mut before = table();
        let ran = before.open(before.runtime, "t");
        before.series.observe(ran, 0.75);
        let at_end = before.snapshot(5_000).at;

        let mut next = table();
        let saved = before
            .series
            .capture()
            .into_saved("native")
            .next()
            .expect("a part");
        next.series.restore(&saved, at_end);
        let mut encoder = encoder(protocol, 2_000).after(Some(at_end));
        let first = shown(&bodies(encoder.snapshot(&next.snapshot(6_000))));
        assert_eq!(first.len(), 5);
        assert!(
            first.iter().all(|series| !series.contains("@5001")),
            "{first:?}"
        );
        let labels = LabelSet::new([(LabelName::from_static("name"), "t".into())]);
        let other = Arc::new(Buckets::new(&[0.5, 2.0]).expect("in order"));
        let ran = next
            .series
            .open_with(next.runtime, labels, Room::Limited, Some(&other))
            .expect("room");
        next.series.observe(ran, 3.0);

        assert_eq!(
            shown(&bodies(encoder.snapshot(&next.snapshot(7_000)))),
            [
                "A=upper,__name__=run_seconds_bucket,job=celery,le=0.5,name=t 0@6001 0@7000",
                "A=upper,__name__=run_seconds_bucket,job=celery,le=2.0,name=t 0@6001 0@7000",
                "A=upper,__name__=run_seconds_bucket,job=celery,le=+Inf,name=t 0@6001 1@7000",
                "A=upper,__name__=run_seconds_sum,job=celery,name=t 0@6001 3@7000",
                "A=upper,__name__=run_seconds_count,job=celery,name=t 0@6001 1@7000",
                "A=upper,__name__=run_seconds_bucket,job=celery,le=1.0,name=t stale@7000",
            ]
        );
    }
}
