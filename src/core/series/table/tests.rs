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
