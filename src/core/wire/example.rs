//! A snapshot that covers every feature of a page, for tests of the formats.

use std::sync::Arc;

use crate::series::{
    Buckets, Exemplar, Exponential, Family, LabelName, LabelSet, MetricKind, Room, SeriesTable,
    Snapshot, Value,
};
use crate::timestamp::Timestamp;

/// When the series started to count.
pub(super) const START: Timestamp = Timestamp::from_millis(1_000_250);

/// Returns two histograms, of which only the first has a native form, two counters, one of them
/// without `_total`, and a gauge with a label value and a help text that need escaping.
pub(super) fn snapshot() -> Snapshot {
    let mut series = SeriesTable::new(100, START);
    let buckets = Arc::new(Buckets::new(&[0.5, 1.0]).expect("in order"));
    let mut family = |name: &str, kind: MetricKind, help: &'static str| {
        series.family(Family {
            name: name.into(),
            kind,
            help,
            labels: Vec::new(),
        })
    };
    let runtime = family("run_seconds", MetricKind::Histogram(buckets), "How long.");
    let sent = family("sent_total", MetricKind::Counter, "Sent.");
    let old = family("old_tasks", MetricKind::Counter, "As another calls it.");
    let level = family("level_bytes", MetricKind::Gauge, "A \\ and \"a\"\nline.");
    let labels = |name: &str| LabelSet::new([(LabelName::from_static("name"), name.into())]);
    let mut open = |family, labels| series.open(family, labels, Room::Limited).expect("room");
    let ran = open(runtime, labels("a"));
    open(runtime, LabelSet::default());
    let counted = open(sent, labels("a"));
    let counted_old = open(old, LabelSet::default());
    let levelled = open(level, labels("b\"\\\n"));
    for value in [0.75, 7.0] {
        series.observe(ran, value);
    }
    series.add(counted, 3.0);
    series.add(counted_old, 1.0);
    series.set(levelled, 1.5);
    let mut snapshot = series.snapshot(Timestamp::from_millis(5_000_000), false);
    for row in &mut snapshot.rows {
        row.exemplar = Some(exemplar("u-1", 1.0));
        let a = row.info.labels.iter().eq([("name", "a")]);
        if let Value::Histogram(histogram) = &mut row.value
            && a
        {
            histogram.native = Some(Box::new(Exponential::new()));
            histogram.exemplars = vec![
                (1, exemplar("u-2", 0.75)),
                // Too long to be exported.
                (2, exemplar(&"u".repeat(122), 7.0)),
            ];
        }
    }
    snapshot
}

fn exemplar(task_id: &str, value: f64) -> Arc<Exemplar> {
    Arc::new(Exemplar {
        task_id: task_id.into(),
        value,
        at: Timestamp::from_millis(4_999_987),
        snapshot: 1,
    })
}
