use proptest::prelude::*;

use super::super::proto::v1::TimeSeries;
use super::*;
use crate::series::{Buckets, FamilyId, LabelName, LabelSet, Room, Series, SeriesId};

const START: Timestamp = Timestamp::from_millis(1_000);

struct Table {
    series: Series,
    sent: FamilyId,
    active: FamilyId,
    runtime: FamilyId,
}

fn table() -> Table {
    let mut series = Series::new(10_000, START);
    let buckets = Arc::new(Buckets::new(&[0.5, 1.0]).expect("in order"));
    let mut family = |name: &str, kind| {
        series.family(Family {
            name: name.into(),
            kind,
            help: "H.",
            labels: Vec::new(),
        })
    };
    let sent = family("sent_total", MetricKind::Counter);
    let active = family("active", MetricKind::Gauge);
    let runtime = family("run_seconds", MetricKind::Histogram(buckets));
    Table {
        series,
        sent,
        active,
        runtime,
    }
}

impl Table {
    fn open(&mut self, family: FamilyId, name: &str) -> SeriesId {
        let labels = LabelSet::new([(LabelName::from_static("name"), name.into())]);
        self.series
            .open(family, labels, Room::Limited)
            .expect("room")
    }

    fn snapshot(&mut self, millis: i64) -> Snapshot {
        self.series.snapshot(Timestamp::from_millis(millis), false)
    }
}

fn encoder(samples_max: usize) -> Encoder {
    let external = [("job", "celery"), ("name", "never seen"), ("A", "upper")];
    Encoder::new(
        external.map(|(k, v)| (k.into(), v.into())).to_vec(),
        samples_max,
    )
}

fn decode(body: &Body) -> WriteRequest {
    let raw = snap::raw::Decoder::new()
        .decompress_vec(&body.bytes)
        .expect("snappy's block format");
    let request = WriteRequest::decode(raw.as_slice()).expect("a request");
    // The independent encoder writes the same bytes.
    assert_eq!(request.encode_to_vec(), raw);
    request
}

/// The series of some bodies as text: `name{labels} value@time …`.
fn shown(bodies: &[Body]) -> Vec<String> {
    bodies
        .iter()
        .flat_map(|body| decode(body).timeseries)
        .map(|series| show(&series))
        .collect()
}

fn show(series: &TimeSeries) -> String {
    let labels = series
        .labels
        .iter()
        .map(|label| format!("{}={}", label.name, label.value));
    let samples = series.samples.iter().map(|sample| {
        let stale = sample.value.to_bits() == STALE_MARKER;
        let value = if stale {
            "stale".into()
        } else {
            sample.value.to_string()
        };
        format!(" {value}@{}", sample.timestamp)
    });
    labels.collect::<Vec<_>>().join(",") + &samples.collect::<String>()
}

#[test]
fn a_counter_is_preceded_by_a_zero_once_and_a_gauge_never() {
    let mut table = table();
    let mut encoder = encoder(2_000);
    let (sent, active) = (table.open(table.sent, "t"), table.open(table.active, "t"));
    table.series.add(sent, 1.0);
    table.series.set(active, 3.0);

    assert_eq!(
        shown(&encoder.snapshot(&table.snapshot(5_000))),
        [
            "A=upper,__name__=sent_total,job=celery,name=t 0@1001 1@5000",
            "A=upper,__name__=active,job=celery,name=t 3@5000",
        ]
    );
    assert_eq!(
        shown(&encoder.snapshot(&table.snapshot(6_000)))[0],
        "A=upper,__name__=sent_total,job=celery,name=t 1@6000"
    );
}

#[test]
fn a_histogram_is_its_buckets_sum_and_count() {
    let mut table = table();
    let ran = table.open(table.runtime, "t");
    table.series.observe(ran, 0.75);
    table.series.observe(ran, 3.0);

    let bodies = encoder(2_000).snapshot(&table.snapshot(5_000));
    assert_eq!(
        shown(&bodies),
        [
            "A=upper,__name__=run_seconds_bucket,job=celery,le=0.5,name=t 0@1001 0@5000",
            "A=upper,__name__=run_seconds_bucket,job=celery,le=1.0,name=t 0@1001 1@5000",
            "A=upper,__name__=run_seconds_bucket,job=celery,le=+Inf,name=t 0@1001 2@5000",
            "A=upper,__name__=run_seconds_sum,job=celery,name=t 0@1001 3.75@5000",
            "A=upper,__name__=run_seconds_count,job=celery,name=t 0@1001 2@5000",
        ]
    );
    assert_eq!(
        (bodies[0].count, bodies[0].newest),
        (10, Timestamp::from_millis(5_000))
    );
}

#[test]
fn a_series_that_ends_is_marked_stale_once() {
    let mut table = table();
    let mut encoder = encoder(2_000);
    let sent = table.open(table.sent, "t");
    encoder.snapshot(&table.snapshot(5_000));
    table.series.close(sent);

    assert_eq!(
        shown(&encoder.snapshot(&table.snapshot(6_000))),
        ["A=upper,__name__=sent_total,job=celery,name=t stale@6000"]
    );
    assert!(encoder.snapshot(&table.snapshot(7_000)).is_empty());
}

#[test]
fn a_sink_that_missed_snapshots_still_sends_zeros_and_markers() {
    let mut table = table();
    let mut encoder = encoder(2_000);
    let old = table.open(table.sent, "old");
    encoder.snapshot(&table.snapshot(5_000));
    table.series.close(old);
    table.snapshot(6_000);
    // Takes the place in the table that the closed one had.
    let new = table.open(table.sent, "new");
    table.series.add(new, 2.0);
    table.snapshot(7_000);

    assert_eq!(
        shown(&encoder.snapshot(&table.snapshot(8_000))),
        [
            "A=upper,__name__=sent_total,job=celery,name=new 0@6001 2@8000",
            "A=upper,__name__=sent_total,job=celery,name=old stale@8000",
        ]
    );
}

#[test]
fn a_series_that_came_back_unseen_begins_anew_without_a_marker() {
    let mut table = table();
    let mut encoder = encoder(2_000);
    let sent = table.open(table.sent, "t");
    table.series.add(sent, 5.0);
    encoder.snapshot(&table.snapshot(5_000));
    table.series.close(sent);
    table.snapshot(6_000);
    let sent = table.open(table.sent, "t");
    table.series.add(sent, 1.0);

    assert_eq!(
        shown(&encoder.snapshot(&table.snapshot(7_000))),
        ["A=upper,__name__=sent_total,job=celery,name=t 0@6001 1@7000"]
    );
}

#[test]
fn the_end_marks_everything_stale() {
    let mut table = table();
    let mut encoder = encoder(2_000);
    table.open(table.sent, "a");
    table.open(table.active, "b");
    encoder.snapshot(&table.snapshot(5_000));

    let markers = shown(&encoder.end(Timestamp::from_millis(5_000)));
    assert_eq!(markers.len(), 2);
    assert!(
        markers.iter().all(|marker| marker.ends_with(" stale@5001")),
        "{markers:?}"
    );
}

#[test]
fn metadata_names_every_family_with_type_and_unit() {
    let snapshot = table().snapshot(5_000);
    let bodies = metadata(&snapshot, 2);
    let entries: Vec<_> = bodies
        .iter()
        .flat_map(|body| decode(body).metadata)
        .collect();

    assert_eq!(
        bodies.iter().map(|body| body.count).collect::<Vec<_>>(),
        [2, 1]
    );
    let names: Vec<_> = entries
        .iter()
        .map(|e| (&*e.metric_family_name, e.r#type(), &*e.unit))
        .collect();
    assert_eq!(
        names,
        [
            ("sent_total", MetricType::Counter, ""),
            ("active", MetricType::Gauge, ""),
            ("run_seconds", MetricType::Histogram, "seconds"),
        ]
    );
}

proptest! {
    /// Splitting loses and repeats nothing, keeps to the limit, and never divides a histogram.
    #[test]
    fn requests_hold_the_snapshot_whatever_their_size(counters in 0..40_u32, histograms in 0..10_u32, samples_max in 1..60_usize) {
        let mut table = table();
        for n in 0..counters {
            table.open(table.sent, &n.to_string());
        }
        for n in 0..histograms {
            table.open(table.runtime, &n.to_string());
        }
        let snapshot = table.snapshot(5_000);
        let whole = shown(&encoder(usize::MAX).snapshot(&snapshot));
        let bodies = encoder(samples_max).snapshot(&snapshot);

        prop_assert_eq!(shown(&bodies), whole);
        for body in &bodies {
            let request = decode(body);
            let samples: usize = request.timeseries.iter().map(|series| series.samples.len()).sum();
            prop_assert_eq!(samples as u64, body.count);
            // A histogram that is larger than the limit goes alone.
            prop_assert!(samples <= samples_max.max(10), "{} samples", samples);
            let parts = request.timeseries.iter().filter(|s| s.labels.iter().any(|l| l.value.starts_with("run_seconds")));
            prop_assert_eq!(parts.count() % 5, 0);
        }
    }
}
