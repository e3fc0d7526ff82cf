mod exemplars;
mod relabelled;
mod restart;
mod settings;

use proptest::prelude::*;

use prost::Message;

use super::super::downgrade as to_v1;
use super::super::point::STALE_MARKER;
use super::super::proto::v1::{self as proto, TimeSeries, metric_metadata::MetricType};
use super::super::proto::v2 as v2_proto;
use super::super::series::read;
use super::super::v1::metadata;
use super::*;
use crate::series::{
    Buckets, Family, FamilyId, LabelName, LabelSet, Pattern, Room, Rule, SeriesId, SeriesTable,
    Source,
};

const START: Timestamp = Timestamp::from_millis(1_000);

struct Table {
    series: SeriesTable,
    sent: FamilyId,
    active: FamilyId,
    runtime: FamilyId,
}

fn table() -> Table {
    table_from(START)
}

/// Returns a table that starts at this time.
fn table_from(start: Timestamp) -> Table {
    let mut series = SeriesTable::new(10_000, start);
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

const ALL: [Protocol; 3] = [Protocol::V1, Protocol::V2, Protocol::V1Zstd];

fn outgoing(samples_max: usize) -> Outgoing {
    let external = [("job", "celery"), ("name", "never seen"), ("A", "upper")];
    Outgoing {
        external: external.map(|(k, v)| (k.into(), v.into())).to_vec(),
        relabel: Relabel::default(),
        samples_max,
        exemplars: true,
        native: false,
        classic: true,
        draft: false,
    }
}

fn encoder(protocol: Protocol, samples_max: usize) -> Encoder {
    Encoder::new(outgoing(samples_max), protocol)
}

fn bodies(encoded: Encoded) -> Vec<Body> {
    assert_eq!(encoded.unsent, [0; 3]);
    encoded.bodies
}

fn raw(body: &Body) -> Vec<u8> {
    body.protocol.decompress(&body.bytes).expect("compressed")
}

/// Decodes the series of a body of either version to the 1.0 message.
fn decode(body: &Body) -> Vec<TimeSeries> {
    // An independent encoder produces the same bytes.
    match body.protocol {
        Protocol::V1 | Protocol::V1Zstd => {
            let request: proto::WriteRequest = read(&body.bytes, body.protocol).expect("a request");
            assert_eq!(request.encode_to_vec(), raw(body));
        }
        Protocol::V2 => {
            let request: v2_proto::Request = read(&body.bytes, body.protocol).expect("a request");
            assert_eq!(request.encode_to_vec(), raw(body));
            check_symbols(&request);
        }
    }
    let body = to_v1(body, Protocol::V1).expect("a request");
    let request: proto::WriteRequest = read(&body.bytes, body.protocol).expect("a request");
    request.timeseries
}

/// PRW 2.0, "Symbols": the first is empty, none is repeated, and each is used.
fn check_symbols(request: &v2_proto::Request) {
    let mut unused: HashSet<&str> = request.symbols.iter().map(String::as_str).collect();
    assert_eq!(
        (request.symbols[0].as_str(), unused.len()),
        ("", request.symbols.len())
    );
    for series in &request.timeseries {
        let meta = series.metadata.expect("metadata with each series");
        let exemplars = series.exemplars.iter().flat_map(|e| &e.labels_refs);
        let refs = series.labels_refs.iter().chain(exemplars);
        for at in refs.chain([&meta.help_ref, &meta.unit_ref]) {
            unused.remove(request.symbols[*at as usize].as_str());
        }
    }
    unused.remove("");
    assert!(unused.is_empty(), "{unused:?}");
}

/// Formats the series of some bodies as `name{labels} value@time …`.
fn shown(bodies: &[Body]) -> Vec<String> {
    bodies
        .iter()
        .flat_map(decode)
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
    let histograms = series.histograms.iter().map(|histogram| {
        let stale = histogram.sum.to_bits() == STALE_MARKER;
        let Some(proto::histogram::Count::CountInt(count)) = histogram.count else {
            panic!("a count of whole numbers");
        };
        let value = if stale {
            "stale".into()
        } else {
            format!("{}/{count}", histogram.sum)
        };
        let reset = if histogram.reset_hint == 1 { "!" } else { "" };
        format!(" {reset}{value}@{}", histogram.timestamp)
    });
    let exemplars = series.exemplars.iter().map(|exemplar| {
        let label = &exemplar.labels[0];
        format!(
            " #{}={}:{}@{}",
            label.name, label.value, exemplar.value, exemplar.timestamp
        )
    });
    let values = samples.chain(histograms).chain(exemplars);
    labels.collect::<Vec<_>>().join(",") + &values.collect::<String>()
}

#[test]
fn a_counter_is_preceded_by_a_zero_once_and_a_gauge_never() {
    for protocol in ALL {
        let mut table = table();
        let mut encoder = encoder(protocol, 2_000);
        let (sent, active) = (table.open(table.sent, "t"), table.open(table.active, "t"));
        table.series.add(sent, 1.0);
        table.series.set(active, 3.0);

        assert_eq!(
            shown(&bodies(encoder.snapshot(&table.snapshot(5_000)))),
            [
                "A=upper,__name__=sent_total,job=celery,name=t 0@1001 1@5000",
                "A=upper,__name__=active,job=celery,name=t 3@5000",
            ]
        );
        assert_eq!(
            shown(&bodies(encoder.snapshot(&table.snapshot(6_000))))[0],
            "A=upper,__name__=sent_total,job=celery,name=t 1@6000"
        );
    }
}

#[test]
fn a_histogram_is_its_buckets_sum_and_count() {
    for protocol in ALL {
        let mut table = table();
        let ran = table.open(table.runtime, "t");
        table.series.observe(ran, 0.75);
        table.series.observe(ran, 3.0);

        let bodies = bodies(encoder(protocol, 2_000).snapshot(&table.snapshot(5_000)));
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
            (
                bodies[0].counts.samples,
                bodies[0].oldest.millis(),
                bodies[0].newest.millis()
            ),
            (10, 1_001, 5_000)
        );
    }
}

#[test]
fn a_series_that_ends_is_marked_stale_once() {
    for protocol in ALL {
        let mut table = table();
        let mut encoder = encoder(protocol, 2_000);
        let sent = table.open(table.sent, "t");
        bodies(encoder.snapshot(&table.snapshot(5_000)));
        table.series.close(sent);

        assert_eq!(
            shown(&bodies(encoder.snapshot(&table.snapshot(6_000)))),
            ["A=upper,__name__=sent_total,job=celery,name=t stale@6000"]
        );
        assert_eq!(encoder.snapshot(&table.snapshot(7_000)), Encoded::default());
    }
}

#[test]
fn a_sink_that_missed_snapshots_still_sends_zeros_and_markers() {
    for protocol in ALL {
        let mut table = table();
        let mut encoder = encoder(protocol, 2_000);
        let old = table.open(table.sent, "old");
        bodies(encoder.snapshot(&table.snapshot(5_000)));
        table.series.close(old);
        table.snapshot(6_000);
        // Reuses the slot of the closed series.
        let new = table.open(table.sent, "new");
        table.series.add(new, 2.0);
        table.snapshot(7_000);

        assert_eq!(
            shown(&bodies(encoder.snapshot(&table.snapshot(8_000)))),
            [
                "A=upper,__name__=sent_total,job=celery,name=new 0@6001 2@8000",
                "A=upper,__name__=sent_total,job=celery,name=old stale@8000",
            ]
        );
    }
}

#[test]
fn a_series_that_came_back_unseen_begins_anew_without_a_marker() {
    for protocol in ALL {
        let mut table = table();
        let mut encoder = encoder(protocol, 2_000);
        let sent = table.open(table.sent, "t");
        table.series.add(sent, 5.0);
        bodies(encoder.snapshot(&table.snapshot(5_000)));
        table.series.close(sent);
        table.snapshot(6_000);
        let sent = table.open(table.sent, "t");
        table.series.add(sent, 1.0);

        assert_eq!(
            shown(&bodies(encoder.snapshot(&table.snapshot(7_000)))),
            ["A=upper,__name__=sent_total,job=celery,name=t 0@6001 1@7000"]
        );
    }
}

#[test]
fn the_end_marks_everything_stale() {
    for protocol in ALL {
        let mut table = table();
        let mut encoder = encoder(protocol, 2_000);
        table.open(table.sent, "a");
        table.open(table.active, "b");
        bodies(encoder.snapshot(&table.snapshot(5_000)));

        let markers = shown(&encoder.end(Timestamp::from_millis(5_000)));
        assert_eq!(markers.len(), 2);
        assert!(
            markers.iter().all(|marker| marker.ends_with(" stale@5001")),
            "{markers:?}"
        );
    }
}

#[test]
fn requests_of_2_say_what_a_family_is_and_when_a_series_began() {
    let mut table = table();
    let ids = [table.sent, table.active, table.runtime].map(|family| table.open(family, "t"));
    table.series.observe(ids[2], 0.1);
    let mut encoder = encoder(Protocol::V2, 2_000);
    let starts = |body: &Body| -> Vec<_> {
        let request: v2_proto::Request = read(&body.bytes, body.protocol).expect("a request");
        let series = request.timeseries.iter().map(|series| {
            let meta = series.metadata.expect("metadata");
            let text = |at: u32| request.symbols[at as usize].clone();
            let starts = series.samples.iter().map(|s| s.start_timestamp);
            let starts = starts.chain(series.histograms.iter().map(|h| h.start_timestamp));
            (
                meta.r#type,
                text(meta.help_ref),
                text(meta.unit_ref),
                starts.collect::<Vec<_>>(),
            )
        });
        series.collect()
    };
    let encoded = bodies(encoder.snapshot(&table.snapshot(5_000)));
    let all = starts(&encoded[0]);
    assert_eq!(all[0], (1, "H.".into(), String::new(), vec![1_000, 1_000]));
    assert_eq!(all[1], (2, "H.".into(), String::new(), vec![0]));
    assert_eq!(
        all[2],
        (3, "H.".into(), "seconds".into(), vec![1_000, 1_000])
    );
    // It stays the same for the lifetime of the series.
    let encoded = bodies(encoder.snapshot(&table.snapshot(6_000)));
    assert_eq!(starts(&encoded[0])[0].3, [1_000]);
}

#[test]
fn the_field_of_the_drafts_is_written_where_it_is_asked_for() {
    let mut table = table();
    table.open(table.sent, "t");
    let snapshot = table.snapshot(5_000);
    let [without, with] = [false, true].map(|draft| {
        let how = Outgoing {
            draft,
            ..outgoing(2_000)
        };
        let encoded = Encoder::new(how, Protocol::V2).snapshot(&snapshot);
        raw(&encoded.bodies[0])
    });
    // Field 6 of the series, 1,000 as a varint.
    assert!(with.ends_with(&[0x30, 0xe8, 0x07]), "{with:?}");
    assert_eq!(with.len(), without.len() + 3);
}

#[test]
fn native_histograms_go_beside_the_classic_ones_or_in_their_place() {
    for protocol in ALL {
        for classic in [true, false] {
            let mut table = table();
            table.series = table.series.with_native_histograms(true);
            let ran = table.open(table.runtime, "t");
            table.series.observe(ran, 0.75);
            table.series.observe(ran, 3.0);
            let how = Outgoing {
                native: true,
                classic,
                ..outgoing(2_000)
            };
            let mut encoder = Encoder::new(how, protocol);
            let encoded = bodies(encoder.snapshot(&table.snapshot(5_000)));
            let series = shown(&encoded);
            let native = "A=upper,__name__=run_seconds,job=celery,name=t";
            assert_eq!(series.len(), if classic { 6 } else { 1 });
            let last = series.last().expect("a series");
            assert_eq!(*last, format!("{native} !0/0@1001 3.75/2@5000"));
            let counts = Counts {
                samples: if classic { 10 } else { 0 },
                histograms: 2,
                exemplars: 0,
            };
            assert_eq!(encoded[0].counts, counts);

            table.series.close(ran);
            let ended = bodies(encoder.snapshot(&table.snapshot(6_000)));
            assert_eq!(shown(&ended).last(), Some(&format!("{native} stale@6000")));
        }
    }
}

#[test]
fn metadata_names_every_family_with_type_and_unit() {
    let snapshot = table().snapshot(5_000);
    let requests = metadata(&snapshot, 2);
    let counts: Vec<_> = requests.iter().map(|request| request.entries).collect();
    assert_eq!(counts, [2, 1]);
    let entries = requests.iter().flat_map(|request| {
        let request: proto::WriteRequest = read(&request.bytes, Protocol::V1).expect("a request");
        request.metadata
    });
    let entries: Vec<_> = entries.collect();
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

#[test]
fn a_request_is_filled_to_its_limit() {
    for protocol in ALL {
        let mut table = table();
        for name in ["a", "b", "c", "d"] {
            table.open(table.active, name);
        }
        let snapshot = table.snapshot(5_000);
        let sizes = |samples_max: usize| -> Vec<u64> {
            let bodies = bodies(encoder(protocol, samples_max).snapshot(&snapshot));
            bodies.iter().map(|body| body.counts.samples).collect()
        };
        assert_eq!(sizes(4), [4]);
        assert_eq!(sizes(3), [3, 1]);
        assert_eq!(sizes(2), [2, 2]);
    }
}

proptest! {
    /// Splitting loses and repeats nothing, respects the limit, and never divides a histogram.
    #[test]
    fn requests_hold_the_snapshot_whatever_their_size(counters in 0..40_u32, histograms in 0..10_u32, samples_max in 1..60_usize, at in 0..2_usize) {
        let protocol = ALL[at];
        let mut table = table();
        for n in 0..counters {
            table.open(table.sent, &n.to_string());
        }
        for n in 0..histograms {
            table.open(table.runtime, &n.to_string());
        }
        let snapshot = table.snapshot(5_000);
        let whole = shown(&bodies(encoder(protocol, usize::MAX).snapshot(&snapshot)));
        let bodies = bodies(encoder(protocol, samples_max).snapshot(&snapshot));

        prop_assert_eq!(shown(&bodies), whole);
        for body in &bodies {
            let request = decode(body);
            let samples: usize = request.iter().map(|series| series.samples.len()).sum();
            prop_assert_eq!(samples as u64, body.counts.samples);
            // A histogram that exceeds the limit is sent alone.
            prop_assert!(samples <= samples_max.max(10), "{} samples", samples);
            let parts = request.iter().filter(|s| s.labels.iter().any(|l| l.value.starts_with("run_seconds")));
            prop_assert_eq!(parts.count() % 5, 0);
        }
    }
}
