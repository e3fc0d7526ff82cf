use super::*;
use crate::series::{LabelName, Pattern, Rule, Snapshot, Source, Template};
use crate::timestamp::Timestamp;

const LIMITED: Room = Room::Limited;

/// Sets `target` if the regular expression matches the `source`.
fn replace(source: &str, regex: &str, target: &str, replacement: &str) -> Rule {
    let pattern = Pattern::new(regex).expect("a pattern");
    Rule::Replace {
        source: source_of(source),
        target: Template::new(target, &pattern),
        replacement: Template::new(replacement, &pattern),
        pattern,
    }
}

fn drop(source: &str, regex: &str) -> Rule {
    Rule::Drop {
        source: source_of(source),
        pattern: Pattern::new(regex).expect("a pattern"),
    }
}

fn source_of(label: &str) -> Source {
    Source {
        labels: vec![label.to_owned()],
        separator: String::new(),
    }
}

struct Table {
    series: SeriesTable,
    /// `x_total`, `now` and `seconds`.
    counter: FamilyId,
    gauge: FamilyId,
    histogram: FamilyId,
}

impl Table {
    /// Has room for nine samples: three histograms, or nine other series.
    fn new(rules: Vec<Rule>) -> Self {
        let mut series = SeriesTable::new(9, Timestamp::from_millis(1_000));
        series = series.with_relabel(Relabel::new(rules));
        let bounds = Buckets::new(&[1.0]).expect("in order");
        let mut family = |name: &str, kind| {
            series.family(Family {
                name: name.into(),
                kind,
                help: "Something.",
                labels: Vec::new(),
            })
        };
        Self {
            counter: family("x_total", MetricKind::Counter),
            gauge: family("now", MetricKind::Gauge),
            histogram: family("seconds", MetricKind::Histogram(Arc::new(bounds))),
            series,
        }
    }

    fn open(&mut self, family: FamilyId, name: &str) -> Option<SeriesId> {
        let labels = [("name", name), ("queue", "celery")];
        let labels = labels.map(|(label, value)| (LabelName::from_static(label), value.into()));
        self.series.open(family, LabelSet::new(labels), LIMITED)
    }

    fn snapshot(&mut self) -> Snapshot {
        self.series.snapshot(Timestamp::from_millis(2_000), false)
    }
}

#[test]
fn a_series_goes_to_the_family_and_labels_that_rules_give_it() {
    let mut table = Table::new(vec![
        replace("__name__", "x_(.*)", "__name__", "shop_$1"),
        replace("queue", "celery", "queue", ""),
        replace("name", "(.*)", "task", "$1"),
    ]);
    let id = table.open(table.counter, "a").expect("room");
    table.series.add(id, 2.0);
    let ran = table.open(table.histogram, "a").expect("room");
    table.series.observe(ran, 0.5);

    let snapshot = table.snapshot();
    let labels = [("name", "a"), ("task", "a")];
    assert_eq!(snapshot.number_of("shop_total", &labels), Some(2.0));
    assert_eq!(snapshot.rows.len(), 2);
    let family = snapshot
        .families
        .iter()
        .find(|family| *family.name == *"shop_total");
    let family = family.expect("a family of the new name");
    assert_eq!(
        (&family.kind, family.help),
        (&MetricKind::Counter, "Something.")
    );
    assert!(snapshot.value("seconds", &labels).is_some());
    assert_eq!(table.series.refused(), Refused::default());
}

#[test]
fn what_is_dropped_takes_everything_and_no_room_and_shows_nothing() {
    let mut table = Table::new(vec![drop("name", "a")]);
    for _ in 0..2 {
        let [number, level, histogram] = [table.counter, table.gauge, table.histogram]
            .map(|family| table.open(family, "a").expect("a handle"));
        table.series.add(number, 1.0);
        table.series.set(level, 2.0);
        table.series.raise(level, 3.0);
        table.series.observe(histogram, 4.0);
        let bounds = Buckets::new(&[7.0, 8.0]).expect("in order");
        table
            .series
            .replace(histogram, Histogram::new(Arc::new(bounds)));

        assert!(table.snapshot().rows.is_empty());
        assert!(table.series.has_room(9) && table.series.samples() == 0);
        for id in [number, level, histogram] {
            table.series.close(id);
        }
    }
    let (dropped, invalid) = (6, 0);
    assert_eq!(table.series.refused(), Refused { dropped, invalid });
    let other = table.open(table.counter, "b").expect("room");
    table.series.add(other, 5.0);
    assert_eq!(table.series.samples(), 1);
    assert_eq!(table.snapshot().rows.len(), 1);
}

#[test]
fn series_that_become_the_same_add_up_and_end_together() {
    let mut table = Table::new(vec![replace("name", ".*", "name", "all")]);
    let ids = ["a", "b"].map(|name| table.open(table.counter, name).expect("room"));
    let ran = ["a", "b"].map(|name| table.open(table.histogram, name).expect("room"));
    for (id, n) in ids.into_iter().zip([2.0, 3.0]) {
        table.series.add(id, n);
    }
    for id in ran {
        table.series.observe(id, 0.5);
    }
    let labels = [("name", "all"), ("queue", "celery")];
    let snapshot = table.snapshot();
    assert_eq!(snapshot.number_of("x_total", &labels), Some(5.0));
    let Some(Value::Histogram(histogram)) = snapshot.value("seconds", &labels) else {
        panic!("no histogram")
    };
    assert_eq!(histogram.counts[..], [2, 0]);

    table.series.close(ids[0]);
    table.series.add(ids[1], 1.0);
    assert_eq!(table.snapshot().number_of("x_total", &labels), Some(6.0));
    table.series.close(ids[1]);
    assert_eq!(table.snapshot().number_of("x_total", &labels), None);
}

#[test]
fn what_would_be_no_series_is_invalid_and_shows_nothing() {
    let named = |name| vec![replace("__name__", "x_total|seconds", "__name__", name)];
    let cases = [
        ("no name", named(""), 2),
        ("no valid name", named("9"), 2),
        ("the name of another type", named("now"), 2),
        (
            "the name of a histogram, for a counter",
            named("seconds"),
            1,
        ),
        (
            "the name of a counter, for a histogram",
            named("x_total"),
            1,
        ),
        ("a part of a histogram", named("seconds_count"), 2),
        ("a second le", vec![replace("name", "(.*)", "le", "$1")], 1),
    ];
    for (what, rules, expected) in cases {
        let mut table = Table::new(rules);
        table.open(table.counter, "a").expect("a handle");
        table.open(table.histogram, "a").expect("a handle");
        table.open(table.gauge, "a").expect("a handle");
        let (dropped, invalid) = (0, expected);
        assert_eq!(
            table.series.refused(),
            Refused { dropped, invalid },
            "{what}"
        );
        assert_eq!(table.snapshot().rows.len() as u64, 3 - expected, "{what}");
    }
}

#[test]
fn a_histogram_may_not_take_a_name_whose_parts_are_there() {
    let rules = vec![
        replace("__name__", "x_total", "__name__", "y_sum"),
        replace("__name__", "seconds", "__name__", "y"),
    ];
    let mut table = Table::new(rules);
    table.open(table.counter, "a").expect("a handle");
    table.open(table.histogram, "a").expect("a handle");
    assert_eq!(table.series.refused().invalid, 1);
    assert_eq!(table.snapshot().rows.len(), 1);
}

#[test]
fn handles_without_a_series_of_their_own_have_a_limit() {
    for rules in [
        vec![drop("queue", "celery")],
        vec![replace("name", ".*", "name", "all")],
    ] {
        let mut table = Table::new(rules);
        let first = table.open(table.counter, "first");
        let mut ids = Vec::new();
        while let Some(id) = table.open(table.counter, "another") {
            ids.push(id);
            assert!(ids.len() < 10, "no end");
        }
        let reserved = table
            .series
            .open(table.counter, LabelSet::default(), Room::Reserved);
        assert!(reserved.is_some());
        table.series.close(ids[0]);
        assert!(table.open(table.counter, "again").is_some());
        assert!(first.is_some() && table.open(table.counter, "more").is_none());
    }
}

#[test]
fn rules_make_a_limited_number_of_families() {
    let mut table = Table::new(vec![replace("name", "(.*)", "__name__", "of_$1")]);
    for n in 0..=FAMILIES_MAX {
        let id = table.open(table.counter, &n.to_string()).expect("a handle");
        table.series.close(id);
    }
    assert_eq!(table.series.refused().invalid, 1);
    assert!(table.open(table.counter, "0").is_some());
    assert_eq!(table.series.refused().invalid, 1);
}

#[test]
fn a_family_that_comes_after_a_renamed_one_of_its_name_is_another() {
    let mut table = Table::new(vec![replace("__name__", "now", "__name__", "late")]);
    table.open(table.gauge, "a").expect("room");
    let late = table.series.family(Family {
        name: "late".into(),
        kind: MetricKind::Counter,
        help: "",
        labels: Vec::new(),
    });
    let id = table.open(late, "b").expect("a handle");
    table.series.add(id, 1.0);
    assert_eq!(table.series.refused().invalid, 1);
    assert_eq!(table.snapshot().rows.len(), 1);
}
