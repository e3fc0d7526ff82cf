//! Stores and restores a table: which series continue, and which do not.

mod invalid;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::series::{LabelName, Pattern, Relabel, Rule, Snapshot, Source, Template};

const START: Timestamp = Timestamp::from_millis(1_000_000);
const TTL: Duration = Duration::from_secs(100);

fn at(seconds: u32) -> Timestamp {
    Timestamp::from_whole_seconds(1_000 + seconds)
}

/// A table with a family of each kind.
struct Table {
    series: SeriesTable,
    counter: FamilyId,
    gauge: FamilyId,
    histogram: FamilyId,
}

#[derive(Clone, Copy)]
struct Setup {
    samples_max: usize,
    native: bool,
    start: Timestamp,
}

const SETUP: Setup = Setup {
    samples_max: 100,
    native: false,
    start: START,
};

fn family(name: &str, kind: MetricKind) -> Family {
    Family {
        name: name.into(),
        kind,
        help: "X.",
        labels: vec!["name"],
    }
}

fn buckets(bounds: &[f64]) -> Arc<Buckets> {
    Arc::new(Buckets::new(bounds).expect("in order"))
}

fn table(setup: Setup, relabel: Relabel) -> Table {
    let mut series = SeriesTable::new(setup.samples_max, setup.start)
        .with_native_histograms(setup.native)
        .with_relabel(relabel);
    let bounds = buckets(&[1.0, 2.0]);
    Table {
        counter: series.family(family("x_total", MetricKind::Counter)),
        gauge: series.family(family("x", MetricKind::Gauge)),
        histogram: series.family(family("x_seconds", MetricKind::Histogram(bounds))),
        series,
    }
}

fn labels(name: &str) -> LabelSet {
    LabelSet::new([(LabelName::from_static("name"), name.into())])
}

impl Table {
    fn open(&mut self, family: FamilyId, name: &str) -> SeriesId {
        let id = self.series.open(family, labels(name), Room::Limited);
        id.expect("room")
    }

    /// The checkpoint of the table, serialized and parsed.
    fn saved(&self) -> saved::View {
        let bytes = self
            .series
            .capture()
            .into_saved("native")
            .next()
            .expect("a part")
            .encode_to_vec();
        saved::View::decode(&*bytes).expect("just encoded")
    }

    /// The table of the next process.
    fn restarted(&self, setup: Setup) -> Self {
        let mut next = table(setup, self.series.relabel.clone());
        next.series.restore(&self.saved(), self.series.at);
        next
    }

    fn snapshot(&mut self, at: Timestamp) -> Snapshot {
        self.series.snapshot(at, false)
    }
}

/// Family, labels, value and start of each row.
fn rows(snapshot: &Snapshot) -> Vec<(String, LabelSet, Value, Timestamp)> {
    let rows = snapshot.rows.iter().map(|row| {
        let name = snapshot.family(row).name.to_string();
        let labels = row.info.labels.clone();
        (name, labels, without_exemplars(&row.value), row.info.after)
    });
    rows.collect()
}

fn number(snapshot: &Snapshot, family: &str, name: &str) -> Option<f64> {
    snapshot.number_of(family, &[("name", name)])
}

#[test]
fn an_orphan_goes_out_and_who_opens_it_goes_on() {
    let mut before = table(SETUP, Relabel::default());
    let id = before.open(before.counter, "a");
    before.series.add(id, 2.0);
    before.snapshot(at(10));

    let mut next = before.restarted(Setup {
        start: at(20),
        ..SETUP
    });
    let first = next.snapshot(at(30));
    assert_eq!(number(&first, "x_total", "a"), Some(2.0));
    assert_eq!(first.restored_at, Some(at(10)));
    let id = next.open(next.counter, "a");
    next.series.add(id, 1.0);
    let second = next.snapshot(at(40));

    assert_eq!(number(&second, "x_total", "a"), Some(3.0));
    assert_eq!(second.rows[0].info.after, START);
    assert_eq!(first.rows[0].info.serial, second.rows[0].info.serial);
    next.series.close(id);
    assert_eq!(next.snapshot(at(50)).rows, []);
    assert!(!next.series.limit.has(101) && next.series.limit.has(100));
}

#[test]
fn the_size_of_a_set_begins_with_nothing() {
    let mut before = table(SETUP, Relabel::default());
    for name in ["a", "b", "c"] {
        let id = before.open(before.gauge, name);
        before.series.set(id, 5.0);
    }
    let mut next = before.restarted(SETUP);
    let id = next
        .series
        .open_zeroed(next.gauge, labels("a"), Room::Limited)
        .expect("room");
    next.series.add(id, 1.0);
    // A series that is already open keeps its members.
    let again = next
        .series
        .open_zeroed(next.gauge, labels("a"), Room::Limited);
    assert_eq!(again, Some(id));
    next.series.zero_restored(next.gauge, |labels| {
        labels.iter().any(|(_, value)| value != "c")
    });

    let snapshot = next.snapshot(at(10));
    let values = ["a", "b", "c"].map(|name| number(&snapshot, "x", name));
    assert_eq!(values, [Some(1.0), Some(0.0), Some(5.0)]);
}

#[test]
fn a_histogram_goes_on_only_as_what_it_was() {
    // Bounds and native form of the opening caller; whether the series continues, and whether its
    // room is accounted for correctly.
    let cases = [
        (false, [1.0, 2.0], false, true),
        (false, [1.0, 3.0], false, false),
        (true, [1.0, 2.0], true, true),
        (true, [1.0, 3.0], true, false),
        // No longer wanted: the classic form continues alone.
        (true, [1.0, 2.0], false, true),
        // Wanted but missing: a native form would lack the earlier counts.
        (false, [1.0, 2.0], true, false),
    ];
    for (had_native, bounds, native, goes_on) in cases {
        let context = format!("{had_native} {bounds:?} {native}");
        let mut before = table(
            Setup {
                native: had_native,
                ..SETUP
            },
            Relabel::default(),
        );
        let id = before.open(before.histogram, "a");
        for value in [0.5, 1.5, 9.0] {
            before.series.observe(id, value);
        }
        before.snapshot(at(10));

        let mut next = before.restarted(Setup {
            native,
            start: at(20),
            ..SETUP
        });
        let wanted = buckets(&bounds);
        let open = |series: &mut SeriesTable, of| {
            series.open_with(of, labels("a"), Room::Limited, Some(&wanted))
        };
        let reopened = next
            .series
            .open_restored(next.histogram, labels("a"), Some(&wanted));
        assert_eq!(reopened.is_some(), goes_on, "{context}");
        let id = match reopened {
            Some(id) => id,
            None => open(&mut next.series, next.histogram).expect("room"),
        };
        next.series.observe(id, 1.5);
        let snapshot = next.snapshot(at(30));
        let Value::Histogram(histogram) = &snapshot.rows[0].value else {
            panic!("{context}: a histogram");
        };
        let expected = if goes_on { 4 } else { 1 };
        assert_eq!(histogram.count(), expected, "{context}");
        let in_native = histogram.native.as_ref().map(|native| native.count());
        assert_eq!(in_native, native.then_some(expected), "{context}");
        let after = if goes_on { START } else { at(20) };
        assert_eq!(snapshot.rows[0].info.after, after, "{context}");
        assert_eq!(snapshot.rows.len(), 1, "{context}");
        let taken = 5 + usize::from(native);
        let limit = &next.series.limit;
        assert!(
            limit.has(100 - taken) && !limit.has(101 - taken),
            "{context}"
        );
        next.series.close(id);
        assert!(next.series.limit.has(100), "{context}");
    }
}

#[test]
fn what_nobody_opens_ends_when_it_has_not_changed_for_long() {
    let mut before = table(SETUP, Relabel::default());
    let old = before.open(before.counter, "old");
    before.series.add(old, 1.0);
    before.series.now(at(50));
    let new = before.open(before.counter, "new");
    before.series.add(new, 1.0);

    let mut next = before.restarted(Setup {
        start: at(60),
        ..SETUP
    });
    for (now, there) in [(100, 2), (101, 1), (150, 1), (151, 0)] {
        next.series.expire_restored(TTL, at(now));
        let rows = next.snapshot(at(now)).rows;
        assert_eq!(rows.len(), there, "after {now} s");
        assert_eq!(next.series.has_restored(), there > 0, "after {now} s");
    }
    assert!(next.series.limit.has(100));
}

#[test]
fn what_is_open_does_not_end_with_the_orphans() {
    let mut before = table(SETUP, Relabel::default());
    before.open(before.counter, "a");
    let mut next = before.restarted(SETUP);
    next.open(next.counter, "a");
    next.series.expire_restored(TTL, at(100_000));
    assert_eq!(next.snapshot(at(100_000)).rows.len(), 1);
    assert!(!next.series.has_restored());
}

#[test]
fn a_lower_limit_leaves_out_what_has_no_room() {
    let mut before = table(SETUP, Relabel::default());
    for name in ["a", "b", "c"] {
        before.open(before.counter, name);
    }
    let other = before
        .series
        .open(before.counter, labels("(other)"), Room::Reserved);
    assert!(other.is_some());

    let mut next = table(
        Setup {
            samples_max: 2,
            ..SETUP
        },
        Relabel::default(),
    );
    let restored = next.series.restore(&before.saved(), START);
    let expected = Restored {
        series: 3,
        unknown: 0,
        full: 1,
    };
    assert_eq!(restored, expected);
    // An orphan has room reserved, and hands it over when opened.
    assert!(!next.series.has_room(1));
    assert!(next.series.is_restored(next.counter, labels("a")));
    next.open(next.counter, "a");
    next.open(next.counter, "b");
    assert!(!next.series.is_restored(next.counter, labels("c")));
    assert!(
        next.series
            .open(next.counter, labels("c"), Room::Limited)
            .is_none()
    );
}

#[test]
fn a_family_says_whether_its_series_last() {
    for (restart_policy, opened, value, after) in [
        (RestartPolicy::Keep, false, Some(2.0), START),
        (RestartPolicy::Keep, true, Some(2.0), START),
        (RestartPolicy::KeepIfOpen, false, None, START),
        (RestartPolicy::KeepIfOpen, true, Some(2.0), START),
        (RestartPolicy::Reset, false, None, START),
        (RestartPolicy::Reset, true, Some(0.0), at(20)),
    ] {
        let context = format!("{restart_policy:?} {opened}");
        let mut before = table(SETUP, Relabel::default());
        before.series.restart_policy(before.counter, restart_policy);
        let id = before.open(before.counter, "a");
        before.series.add(id, 2.0);
        before.snapshot(at(10));

        let mut next = table(
            Setup {
                start: at(20),
                ..SETUP
            },
            Relabel::default(),
        );
        next.series.restart_policy(next.counter, restart_policy);
        if opened {
            next.open(next.counter, "a");
        }
        next.series.restore(&before.saved(), at(10));
        let snapshot = next.snapshot(at(30));
        assert_eq!(number(&snapshot, "x_total", "a"), value, "{context}");
        if let Some(row) = snapshot.rows.first() {
            assert_eq!(row.info.after, after, "{context}");
        }
    }
}

/// A rule that renames `x…` to `y…`.
fn renaming() -> Relabel {
    let pattern = Pattern::new("x(.*)").expect("a pattern");
    let rule = Rule::Replace {
        source: Source {
            labels: vec!["__name__".into()],
            separator: String::new(),
        },
        target: Template::new("__name__", &pattern),
        replacement: Template::new("y$1", &pattern),
        pattern,
    };
    Relabel::new(vec![rule])
}

#[test]
fn series_that_rules_renamed_are_found_behind_the_rules() {
    let mut before = table(SETUP, renaming());
    let id = before.open(before.counter, "a");
    before.series.add(id, 2.0);
    let id = before.open(before.gauge, "a");
    before.series.set(id, 3.0);
    before.snapshot(at(10));

    let mut next = before.restarted(SETUP);
    next.series.zero_restored(next.gauge, |_| true);
    assert!(next.series.is_restored(next.counter, labels("a")));
    let id = next.open(next.counter, "a");
    next.series.add(id, 1.0);
    let snapshot = next.snapshot(at(20));
    assert_eq!(number(&snapshot, "y_total", "a"), Some(3.0));
    assert_eq!(number(&snapshot, "y", "a"), Some(0.0));

    // Without the rules, the family does not exist.
    let mut plain = table(SETUP, Relabel::default());
    let restored = plain.series.restore(&before.saved(), at(10));
    assert_eq!((restored.series, restored.unknown), (0, 2));
}

#[derive(Clone, Debug)]
enum Step {
    Open(u8, u8),
    Close(usize),
    Change(usize, f64),
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, 0..6_u8).prop_map(|(family, name)| Step::Open(family, name)),
        1 => any::<usize>().prop_map(Step::Close),
        6 => (any::<usize>(), -3.0..1e6_f64).prop_map(|(at, value)| Step::Change(at, value)),
        1 => Just(Step::Snapshot),
    ]
}

proptest! {
    /// If the same series are opened afterwards, a restart is invisible.
    #[test]
    fn a_restart_is_not_seen(steps in prop::collection::vec(step(), 0..80), native in any::<bool>()) {
        let setup = Setup { native, ..SETUP };
        let mut before = table(setup, Relabel::default());
        let mut open: Vec<(FamilyId, u8, SeriesId)> = Vec::new();
        let mut seconds = 0;
        for step in steps {
            seconds += 1;
            let at_one = |at: usize| open.get(at % open.len().max(1)).copied();
            match step {
                Step::Open(family, name) => {
                    let family = [before.counter, before.gauge, before.histogram][usize::from(family)];
                    let room = if name == 5 { Room::Reserved } else { Room::Limited };
                    let id = before.series.open(family, labels(&name.to_string()), room);
                    open.extend(id.map(|id| (family, name, id)));
                }
                Step::Close(at) => if let Some((.., id)) = at_one(at) {
                    let at = at % open.len();
                    open.swap_remove(at);
                    before.series.close(id);
                },
                Step::Change(at, value) => if let Some((family, _, id)) = at_one(at) {
                    if family == before.histogram {
                        before.series.observe(id, value);
                    } else {
                        before.series.add(id, value);
                    }
                },
                Step::Snapshot => { before.snapshot(at(seconds)); },
            }
        }
        let mut next = before.restarted(Setup { start: at(0), ..setup });
        let at_once = rows(&next.series.snapshot(at(100), false));
        prop_assert_eq!(&at_once, &rows(&before.series.snapshot(at(100), false)));
        for (family, name, id) in &open {
            let room = if *name == 5 { Room::Reserved } else { Room::Limited };
            let again = next.series.open(*family, labels(&name.to_string()), room).expect("room");
            for (series, id) in [(&mut before.series, *id), (&mut next.series, again)] {
                if *family == next.histogram {
                    series.observe(id, 1.5);
                } else {
                    series.add(id, 1.0);
                }
            }
        }
        prop_assert_eq!(
            rows(&next.series.snapshot(at(200), false)),
            rows(&before.series.snapshot(at(200), false))
        );
        let free = |series: &SeriesTable| (0..=100).rev().find(|samples| series.has_room(*samples));
        prop_assert_eq!(free(&next.series), free(&before.series));
        next.series.expire_restored(TTL, at(1_000_000));
        prop_assert_eq!(next.series.snapshot(at(300), false).rows.len(), at_once.len());
    }
}
