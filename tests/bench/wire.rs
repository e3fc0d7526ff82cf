//! Measures the time and size of encoding a snapshot as requests.
//!
//! `cargo bench --bench wire`. The budget: 100,000 samples to requests in 100 ms. Every request is compressed; the
//! encoder has seen the series before, as in all snapshots but the first.

use std::hint::black_box;
use std::sync::Arc;

use celeriac::series::{
    Buckets, Family, LabelName, LabelSet, MetricKind, Relabel, Room, SeriesTable, Snapshot,
};
use celeriac::timestamp::Timestamp;
use celeriac::wire::{Encoder, Outgoing, Protocol};
use criterion::{Criterion, criterion_group, criterion_main};

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The bounds of the daemon's runtime histograms.
const BOUNDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Returns a snapshot of counters and histograms, each histogram with a few hundred values around its own mean.
fn snapshot(counters: u32, histograms: u32) -> Snapshot {
    let mut series = SeriesTable::new(usize::MAX, START).with_native_histograms(true);
    let buckets = Arc::new(Buckets::new(&BOUNDS).expect("the bounds increase"));
    let mut family = |name: &str, kind, help| {
        series.family(Family {
            name: name.into(),
            kind,
            help,
            labels: vec!["name", "queue"],
        })
    };
    let succeeded = family(
        "celery_task_succeeded_total",
        MetricKind::Counter,
        "Total number of tasks that succeeded (task-succeeded).",
    );
    let runtime = family(
        "celery_task_runtime_seconds",
        MetricKind::Histogram(buckets),
        "Runtime of attempts, as measured by the worker, or from start to end.",
    );
    let labels = |n: u32| {
        let name: Arc<str> = format!("app.tasks.task_{n}").into();
        let queue: Arc<str> = format!("queue-{}", n % 20).into();
        LabelSet::new([
            (LabelName::from_static("name"), name),
            (LabelName::from_static("queue"), queue),
        ])
    };
    for n in 0..counters {
        let id = series
            .open(succeeded, labels(n), Room::Limited)
            .expect("room");
        series.add(id, f64::from(n * 7));
    }
    let mut random = fastrand::Rng::with_seed(1);
    for n in 0..histograms {
        let id = series
            .open(runtime, labels(n), Room::Limited)
            .expect("room");
        let middle = 0.01 * f64::from(n % 1_000 + 1);
        for _ in 0..300 {
            series.observe(id, middle * (0.2 + 2.0 * random.f64() * random.f64()));
        }
    }
    series.snapshot(Timestamp::from_millis(START.millis() + 15_000), false)
}

fn encoder(protocol: Protocol, native: bool, classic: bool) -> Encoder {
    let external = [("instance", "web-1"), ("job", "celery")];
    let how = Outgoing {
        external: external.map(|(k, v)| (k.into(), v.into())).to_vec(),
        relabel: Relabel::default(),
        samples_max: 2_000,
        exemplars: false,
        native,
        classic,
        draft: false,
    };
    Encoder::new(how, protocol)
}

#[expect(clippy::print_stdout, reason = "the sizes are what is measured")]
fn encode(criterion: &mut Criterion) {
    // 5,000 histograms of 19 samples, and counters for the rest of 100,000.
    let large = snapshot(5_000, 5_000);
    for (version, protocol) in [
        ("1.0", Protocol::V1),
        ("1.0 with zstd", Protocol::V1Zstd),
        ("2.0", Protocol::V2),
    ] {
        for (form, native, classic) in [
            ("classic", false, true),
            ("native", true, false),
            ("both", true, true),
        ] {
            let name = format!("100,000 samples, {version}, histograms {form}");
            let mut encoder = encoder(protocol, native, classic);
            let _ = encoder.snapshot(&large);
            let bodies = encoder.snapshot(&large).bodies;
            let bytes: usize = bodies.iter().map(|body| body.bytes.len()).sum();
            println!("{name}: {} requests, {bytes} bytes", bodies.len());
            criterion.bench_function(&name, |bencher| {
                bencher.iter(|| black_box(encoder.snapshot(&large)));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = encode
}
criterion_main!(benches);
