//! Tests of the table's values.

use super::*;
use crate::series::LabelName;

const START: Timestamp = Timestamp::from_millis(1_000);

fn table() -> (SeriesTable, FamilyId) {
    let mut series = SeriesTable::new(3, START);
    let family = series.family(Family {
        name: "x_total".into(),
        kind: MetricKind::Counter,
        help: "X.",
        labels: Vec::new(),
    });
    (series, family)
}

fn labels(name: &str) -> LabelSet {
    LabelSet::new([(LabelName::from_static("name"), name.into())])
}

#[test]
fn the_same_labels_are_the_same_series() {
    let (mut series, family) = table();
    let first = series
        .open(family, labels("a"), Room::Limited)
        .expect("room");
    series.add(first, 2.0);
    let again = series
        .open(family, labels("a"), Room::Limited)
        .expect("room");
    series.add(again, 3.0);

    let snapshot = series.snapshot(Timestamp::from_millis(2_000), false);
    assert_eq!(snapshot.number_of("x_total", &[("name", "a")]), Some(5.0));
    assert_eq!(snapshot.rows.len(), 1);
}

#[test]
fn a_series_ends_when_all_who_opened_it_have_closed_it() {
    let (mut series, family) = table();
    let ids = [(); 2].map(|()| series.open(family, labels("a"), Room::Limited));
    assert_eq!(ids[0], ids[1]);
    series.close(ids[0].expect("room"));
    series.add(ids[1].expect("room"), 2.0);
    let shown = |series: &mut SeriesTable| {
        let snapshot = series.snapshot(Timestamp::from_millis(2_000), false);
        snapshot.number_of("x_total", &[("name", "a")])
    };
    assert_eq!(shown(&mut series), Some(2.0));
    series.close(ids[1].expect("room"));
    assert_eq!(shown(&mut series), None);
}

#[test]
fn the_limit_refuses_and_a_closed_series_makes_room() {
    let (mut series, family) = table();
    let ids = ["a", "b", "c"].map(|name| series.open(family, labels(name), Room::Limited));
    assert_eq!(series.open(family, labels("d"), Room::Limited), None);
    assert!(
        series
            .open(family, labels("(other)"), Room::Reserved)
            .is_some()
    );

    series.close(ids[0].expect("room"));
    assert!(series.open(family, labels("d"), Room::Limited).is_some());
    assert_eq!(series.open(family, labels("e"), Room::Limited), None);
}

#[test]
fn a_native_form_takes_room_for_one_sample_and_gives_it_back() {
    let buckets = Arc::new(Buckets::new(&[1.0]).expect("in order"));
    // A bound, +Inf, sum and count.
    for (native, room, fits) in [(false, 4, true), (true, 4, false), (true, 5, true)] {
        let mut series = SeriesTable::new(room, START).with_native_histograms(native);
        let family = series.family(Family {
            name: "x_seconds".into(),
            kind: MetricKind::Histogram(Arc::clone(&buckets)),
            help: "X.",
            labels: Vec::new(),
        });
        let id = series.open(family, labels("a"), Room::Limited);
        assert_eq!(id.is_some(), fits, "{native} {room}");
        if let Some(id) = id {
            assert_eq!(series.samples(), room);
            series.close(id);
        }
        assert!(series.has_room(room), "{native} {room}");
    }
}

#[test]
fn a_series_that_comes_back_is_another_one() {
    let (mut series, family) = table();
    let first = series
        .open(family, labels("a"), Room::Limited)
        .expect("room");
    series.add(first, 2.0);
    let before = series.snapshot(Timestamp::from_millis(2_000), false);
    series.close(first);
    series
        .open(family, labels("a"), Room::Limited)
        .expect("room");
    let after = series.snapshot(Timestamp::from_millis(3_000), false);

    assert_ne!(before.rows[0].info.serial, after.rows[0].info.serial);
    assert_eq!(after.number_of("x_total", &[("name", "a")]), Some(0.0));
    assert_eq!(after.rows[0].info.after, before.at);
}

#[test]
fn rows_go_out_by_family_and_labels_whatever_the_order_of_opening() {
    let (mut series, family) = table();
    for name in ["c", "a", "b"] {
        series
            .open(family, labels(name), Room::Limited)
            .expect("room");
    }
    let rows = series.snapshot(Timestamp::from_millis(2_000), false).rows;
    let names: Vec<_> = rows.iter().flat_map(|row| row.info.labels.iter()).collect();

    assert_eq!(names, [("name", "a"), ("name", "b"), ("name", "c")]);
}

#[test]
fn time_goes_forward_when_the_clock_goes_back_a_little() {
    let (mut series, _) = table();
    let first = series.snapshot(Timestamp::from_millis(5_000), false);
    let second = series.snapshot(Timestamp::from_millis(4_100), false);

    assert_eq!(second.at, Timestamp::from_millis(5_002));
    assert_eq!((first.number, second.number), (1, 2));
}

#[test]
fn time_follows_a_clock_that_is_set_back_and_no_series_begins_in_the_future() {
    let (mut series, family) = table();
    let at = Timestamp::from_millis;
    let open = |series: &mut SeriesTable, name| {
        let id = series.open(family, labels(name), Room::Limited);
        id.expect("room")
    };
    // Before any step, with the clock ahead, and since the last snapshot.
    open(&mut series, "a");
    series.snapshot(at(3_600_000), false);
    open(&mut series, "b");
    series.snapshot(at(3_615_000), false);
    open(&mut series, "c");
    for millis in [30_000, 45_000] {
        let snapshot = series.snapshot(at(millis), false);
        assert_eq!(snapshot.at, at(millis));
        let begun: Vec<_> = snapshot.rows.iter().map(|row| row.info.after).collect();
        // Series that started ahead have no known start, and new ones have a zero just before their
        // first value.
        assert_eq!(begun, [at(1_000), at(0), at(29_998)], "{millis}");
    }
}

fn gauge(series: &mut SeriesTable) -> SeriesId {
    let family = series.family(Family {
        name: "x".into(),
        kind: MetricKind::Gauge,
        help: "X.",
        labels: Vec::new(),
    });
    series
        .open(family, labels("a"), Room::Limited)
        .expect("room")
}

#[test]
fn a_gauge_is_set_added_to_and_raised() {
    let mut series = SeriesTable::new(3, START);
    let id = gauge(&mut series);
    let mut shown = |change: &dyn Fn(&mut SeriesTable)| {
        change(&mut series);
        let snapshot = series.snapshot(Timestamp::from_millis(2_000), false);
        snapshot.number_of("x", &[("name", "a")])
    };
    assert_eq!(shown(&|series| series.set(id, 5.0)), Some(5.0));
    assert_eq!(shown(&|series| series.add(id, -2.0)), Some(3.0));
    assert_eq!(shown(&|series| series.raise(id, 2.0)), Some(3.0));
    assert_eq!(shown(&|series| series.raise(id, 4.0)), Some(4.0));
}

#[test]
fn the_first_task_since_a_snapshot_is_the_exemplar_of_a_counter() {
    let (mut series, family) = table();
    let id = series
        .open(family, labels("a"), Room::Limited)
        .expect("room");
    let mut add = |tasks: &[(&'static str, i64)], until| {
        for (task, second) in tasks {
            let received = Timestamp::from_millis(second * 1_000);
            series.add_of(id, 1.0, Origin::new(task, received));
        }
        series.add_of(id, 1.0, None);
        let snapshot = series.snapshot(Timestamp::from_millis(until), false);
        let exemplar = snapshot.rows[0].exemplar.as_ref().expect("an exemplar");
        exemplar.task_id.to_string()
    };
    assert_eq!(add(&[("a", 2), ("b", 3)], 5_000), "a");
    assert_eq!(add(&[], 10_000), "a");
    assert_eq!(add(&[("c", 12), ("d", 13)], 15_000), "c");
}

#[test]
fn handles_of_one_series_are_limited_like_samples() {
    let (mut series, family) = table();
    let open = |series: &mut SeriesTable, room| series.open(family, labels("a"), room);
    let id = open(&mut series, Room::Limited).expect("room");
    for _ in 0..3 {
        assert_eq!(open(&mut series, Room::Limited), Some(id));
    }
    assert_eq!(open(&mut series, Room::Limited), None);
    assert_eq!(open(&mut series, Room::Reserved), Some(id));
    series.close(id);
    series.close(id);
    assert_eq!(open(&mut series, Room::Limited), Some(id));
    assert_eq!(series.samples(), 1);
}

#[test]
fn a_peek_shows_what_the_next_snapshot_will() {
    let (mut series, family) = table();
    series.snapshot(Timestamp::from_millis(2_000), false);
    let id = series
        .open(family, labels("a"), Room::Limited)
        .expect("room");
    series.add(id, 2.0);
    let peek = series.peek();
    let snapshot = series.snapshot(Timestamp::from_millis(3_000), false);
    assert_eq!(
        (peek.rows, peek.families),
        (snapshot.rows, snapshot.families)
    );
    series.close(id);
    assert_eq!(series.peek().rows, []);
}

#[test]
fn a_snapshot_is_the_last_one_if_the_daemon_stops() {
    let (mut series, _) = table();
    assert!(!series.snapshot(Timestamp::from_millis(2_000), false).last);
    assert_eq!(series.at(), Timestamp::from_millis(2_000));
    assert!(series.snapshot(Timestamp::from_millis(3_000), true).last);
    // Exactly a second back, the clock was set.
    let back = series.snapshot(Timestamp::from_millis(2_002), false);
    assert_eq!(back.at, Timestamp::from_millis(2_002));
}
