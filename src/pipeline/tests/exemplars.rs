//! Tests of exemplars (the task they name, when they are replaced) and of native histograms.

use super::*;
use crate::series::{Exemplar, Histogram, Origin, Value};

const FAILED: &str = "celery_task_failed_total";
const RUNTIME: &str = "celery_task_runtime_seconds";
const UUID: &str = "0b6f1a52-5a5e-4a55-9d7c-2f5a4c3b1d00";

fn native() -> ViewConfig {
    ViewConfig::classic(ProfileName::Native)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

/// A pipeline that receives the events of one worker.
struct Feed(Pipeline);

impl Feed {
    fn new(metrics: &str) -> Self {
        Self(pipeline_with(metrics, native()))
    }

    /// Applies events that arrive in one message.
    fn apply(&mut self, millis: i64, events: &[String]) {
        let form = Form::Body {
            content_type: ContentType::Json,
            compression: None,
        };
        self.0.apply_batch(&Batch {
            broker: BrokerId::new(0),
            received: at(millis),
            payloads: vec![Payload {
                bytes: format!("[{}]", events.join(", ")).into(),
                form,
            }],
            position: Position::Transient,
        });
    }

    fn snapshot(&mut self, millis: i64) -> Snapshot {
        snapshot(&mut self.0, at(millis), false)
    }
}

fn event(kind: &str, uuid: &str, more: &str) -> String {
    format!(
        r#"{{"type": "task-{kind}", "uuid": "{uuid}", "hostname": "w@h", "timestamp": 1800000000{more}}}"#
    )
}

fn failed(uuid: &str) -> String {
    event("failed", uuid, r#", "exception": "ValueError('x')""#)
}

fn succeeded(uuid: &str, runtime: f64) -> String {
    event("succeeded", uuid, &format!(r#", "runtime": {runtime}"#))
}

/// The one row of a family.
fn row<'a>(snapshot: &'a Snapshot, family: &str) -> &'a crate::series::Row {
    let rows = snapshot.rows.iter();
    let mut rows = rows.filter(|row| *snapshot.family(row).name == *family);
    let row = rows.next().expect("a series of the family");
    assert_eq!(rows.next(), None, "one series of {family}");
    row
}

fn histogram<'a>(snapshot: &'a Snapshot, family: &str) -> &'a Histogram {
    match &row(snapshot, family).value {
        Value::Histogram(histogram) => histogram,
        Value::Number(_) => panic!("{family} is a histogram"),
    }
}

/// The exemplars of a histogram: bucket, task, value, milliseconds, snapshot.
fn named<'a>(snapshot: &'a Snapshot, family: &str) -> Vec<(usize, &'a str, f64, i64, u64)> {
    let exemplars = histogram(snapshot, family).exemplars.iter();
    let shown = exemplars.map(|(bucket, exemplar)| {
        (
            *bucket,
            &*exemplar.task_id,
            exemplar.value,
            exemplar.at.millis() - at(0).millis(),
            exemplar.snapshot,
        )
    });
    shown.collect()
}

#[test]
fn a_failure_names_its_task() {
    let mut feed = Feed::new("{}");
    feed.apply(7, &[failed(UUID)]);
    let snapshot = feed.snapshot(1_000);

    let expected = Exemplar {
        task_id: UUID.into(),
        value: 1.0,
        at: at(7),
        snapshot: 1,
    };
    assert_eq!(row(&snapshot, FAILED).exemplar.as_deref(), Some(&expected));
}

#[test]
fn of_counters_only_failures_name_a_task() {
    let more = r#", "name": "a", "queue": "q", "runtime": 0.5, "exception": "ValueError('x')""#;
    for kind in [
        "sent",
        "received",
        "started",
        "succeeded",
        "failed",
        "retried",
        "rejected",
        "revoked",
    ] {
        let mut feed = Feed::new("{}");
        feed.apply(0, &[event("received", UUID, more), event(kind, UUID, more)]);
        let snapshot = feed.snapshot(1_000);

        let rows = snapshot.rows.iter().filter(|row| row.exemplar.is_some());
        let families: Vec<_> = rows.map(|row| &*snapshot.family(row).name).collect();
        let expected: &[&str] = if kind == "failed" { &[FAILED] } else { &[] };
        assert_eq!(families, expected, "{kind}");
    }
}

#[test]
fn each_bucket_names_the_first_task_since_the_last_snapshot() {
    let mut feed = Feed::new("{buckets: {runtime: [1, 10]}}");
    feed.apply(0, &[succeeded("a", 0.5), succeeded("b", 0.6)]);
    feed.apply(20, &[succeeded("c", 5.0), succeeded("d", 50.0)]);
    let first = feed.snapshot(1_000);
    feed.apply(1_020, &[succeeded("e", 7.0), succeeded("f", 8.0)]);
    let second = feed.snapshot(2_000);
    let third = feed.snapshot(3_000);

    let before = [
        (0, "a", 0.5, 0, 1),
        (1, "c", 5.0, 20, 1),
        // In the same message as `c`, but with a later timestamp.
        (2, "d", 50.0, 21, 1),
    ];
    assert_eq!(named(&first, RUNTIME), before);
    let after = [before[0], (1, "e", 7.0, 1_020, 2), before[2]];
    assert_eq!(named(&second, RUNTIME), after);
    assert_eq!(named(&third, RUNTIME), after);
}

#[test]
fn a_counter_names_the_first_task_since_the_last_snapshot() {
    let mut feed = Feed::new("{}");
    // The clock steps back before the third.
    for (received, uuids, expected) in [
        (0, ["a", "b"], ("a", 0, 1)),
        (1_500, ["c", "d"], ("c", 1_500, 2)),
        (900, ["e", "f"], ("e", 1_501, 3)),
    ] {
        feed.apply(received, &uuids.map(failed));
        let shown = feed.snapshot(received);
        let exemplar = row(&shown, FAILED).exemplar.as_deref().expect("one");

        let millis = exemplar.at.millis() - at(0).millis();
        assert_eq!((&*exemplar.task_id, millis, exemplar.snapshot), expected);
    }
}

#[test]
fn a_histogram_never_goes_back_in_time_whatever_the_clock_and_the_bucket() {
    let mut feed = Feed::new("{buckets: {runtime: [1, 2, 3]}}");
    let mut newest = None;
    for (received, snapshot) in [(500, 1), (500, 2), (100, 3), (100_000, 4)] {
        let events = [3.5, 0.5, 2.5, 1.5, 0.5].map(|runtime| {
            let uuid = format!("{snapshot}-{runtime}");
            succeeded(&uuid, runtime)
        });
        feed.apply(received, &events);
        let shown = feed.snapshot(received);
        let mut times: Vec<_> = named(&shown, RUNTIME)
            .into_iter()
            .map(|(_, _, _, millis, _)| millis)
            .collect();
        times.sort_unstable();
        times.dedup();

        assert_eq!(times.len(), 4, "one for each bucket, at times that differ");
        assert!(newest < times.first().copied(), "{newest:?} {times:?}");
        newest = times.last().copied();
    }
    // After the clock is set back, there are no new exemplars until it has caught up.
    feed.apply(0, &[succeeded("later", 0.5)]);
    let shown = feed.snapshot(0);
    let new = named(&shown, RUNTIME).into_iter().filter(|of| of.4 == 5);
    assert_eq!(new.count(), 0);
}

#[test]
fn a_task_id_that_is_too_long_for_an_exemplar_is_not_named() {
    let longest = "é".repeat(121);
    for (uuid, fits) in [
        (UUID, true),
        (longest.as_str(), true),
        (&format!("{longest}x"), false),
        (&"x".repeat(122), false),
    ] {
        let mut feed = Feed::new("{}");
        feed.apply(0, &[succeeded(uuid, 0.5)]);
        let snapshot = feed.snapshot(1_000);

        let tasks: Vec<_> = named(&snapshot, RUNTIME);
        assert_eq!(tasks.len(), usize::from(fits), "{uuid}");
        assert!(tasks.iter().all(|(_, task, ..)| *task == uuid));
        assert_eq!(histogram(&snapshot, RUNTIME).count(), 1, "it is counted");
    }
    assert!(Origin::new("", at(0)).is_none());
}

#[test]
fn switched_off_no_task_is_named() {
    let mut feed = Feed::new("{exemplars: false}");
    feed.apply(0, &[failed("a"), succeeded("b", 0.5)]);
    let snapshot = feed.snapshot(1_000);

    assert_eq!(row(&snapshot, FAILED).exemplar, None);
    assert_eq!(named(&snapshot, RUNTIME), []);
}

#[test]
fn a_task_that_another_ones_event_pushes_out_does_not_get_its_name() {
    let mut feed = Feed::new("{max_tasks: 1}");
    let sent = |uuid| event("sent", uuid, r#", "name": "a", "queue": "q""#);
    feed.apply(0, &[sent("a"), sent("b")]);
    let snapshot = feed.snapshot(1_000);

    let labels = [("name", "a"), ("queue", "q"), ("reason", "evicted")];
    let evicted = snapshot.number_of("celery_task_lost_total", &labels);
    assert_eq!(evicted, Some(1.0));
    assert!(snapshot.rows.iter().all(|row| row.exemplar.is_none()));
}

#[test]
fn the_histograms_of_other_profiles_name_tasks_too() {
    for (profile, runtime) in [
        (ProfileName::CeleryExporter, "celery_task_runtime"),
        (ProfileName::Flower, "flower_task_runtime_seconds"),
    ] {
        let mut feed = Feed(pipeline_with("{}", ViewConfig::classic(profile)));
        feed.apply(0, &[succeeded(UUID, 0.5)]);
        let snapshot = feed.snapshot(1_000);

        let tasks: Vec<_> = named(&snapshot, runtime);
        assert_eq!(tasks.len(), 1, "{runtime}");
        assert_eq!(tasks[0].1, UUID);
    }
}

#[test]
fn a_native_form_counts_what_the_classic_one_counts_and_takes_one_sample_more() {
    let on = ViewConfig {
        native_histograms: true,
        ..native()
    };
    let [classic, both] = [native(), on].map(|view| {
        let mut feed = Feed(pipeline_with("{}", view));
        let runtimes = [0.0, 0.5, 1.0, 2.0, 2.1, 1e6];
        let events = runtimes.map(|runtime| succeeded(&format!("u{runtime}"), runtime));
        feed.apply(0, &events);
        feed.snapshot(1_000)
    });
    let samples = |snapshot| row(snapshot, RUNTIME).value.samples();

    assert_eq!(histogram(&classic, RUNTIME).native, None);
    let ran = histogram(&both, RUNTIME);
    let native = ran.native.as_deref().expect("it is on");
    assert_eq!((native.count(), native.zero_count()), (6, 1));
    assert_eq!(ran.count(), 6);
    // 0.5 is in the bucket -8, 1 in 0, 2 in 8, 2.1 in 9, a million in 160.
    let positive = native.positive();
    let spans = positive.spans.iter().map(|span| (span.offset, span.length));
    let spans: Vec<_> = spans.collect();
    assert_eq!(spans, [(-8, 1), (7, 1), (7, 2), (150, 1)]);
    assert_eq!(positive.deltas, [1, 0, 0, 0, 0]);
    assert_eq!(samples(&both), samples(&classic) + 1);
}
