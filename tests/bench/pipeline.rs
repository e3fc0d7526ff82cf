//! In-process benchmarks: decode and apply, snapshot to request, snapshot to page.
//!
//! Budgets: 1,000,000 single events a second and 1,500,000 in lists of 20 on one core; 100,000 series to requests
//! in 100 ms; a page of 10,000 series in 5 ms; a checkpoint of 100,000 series and 100,000 tasks in 300 ms, of which the event
//! loop stands still for 20 ms. Criterion prints elements a second.

#[path = "../it/support/events.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the integration tests use the rest"
)]
mod events;

use std::path::Path;
use std::sync::Arc;

use celeriac::checkpoint::CheckpointFolder;
use celeriac::config::Config;
use celeriac::event::{Accept, Batch, BrokerId, ContentType, Form, Payload, Position};
use celeriac::pipeline::{BrokerRetention, ClusterConfig, Pipeline, ViewConfig};
use celeriac::profile::ProfileName;
use celeriac::series::Snapshot;
use celeriac::telemetry::metrics::Telemetry;
use celeriac::timestamp::Timestamp;
use celeriac::wire::text;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const NOW: Timestamp = Timestamp::from_millis(1_795_344_000_000);
const TASKS: u64 = 5_000;
const NAMES: u64 = 50;

fn pipeline() -> Pipeline {
    let file =
        "brokers: [{url: 'redis://h'}]\nhttp: {listen: ':0'}\nmetrics: {max_series: 1000000}";
    let config = Config::parse(file, Path::new("x.yaml"), []).expect("a good configuration");
    let mut telemetry = Telemetry::new(NOW);
    let broker: Arc<str> = "main".into();
    let (_, metrics) = telemetry.broker(&broker);
    Pipeline::new(
        &config.metrics,
        vec![ClusterConfig {
            broker,
            label: None,
            drops_expired: false,
            asks_workers: false,
            holds: BrokerRetention::Nothing,
            shard: None,
            accept: Accept::default(),
            metrics,
        }],
        &[ViewConfig::classic(ProfileName::Native)],
        telemetry,
        NOW,
    )
}

/// Runs a pipeline until nothing in it grows any more.
fn warm(pipeline: &mut Pipeline) {
    for from in (1..9).map(|n| n * TASKS) {
        batches(from, 20)
            .iter()
            .for_each(|batch| pipeline.apply_batch(batch));
    }
}

/// Returns the events of some tasks, `size` per message. A single event is a map, as sent by gevent workers.
fn batches(from: u64, size: usize) -> Vec<Batch> {
    let name = |n| format!("app.tasks.task_{}", n % NAMES);
    let lives = (from..from + TASKS).map(|n| events::life(n, &name(n), NOW.seconds()));
    // In a realistic order: all tasks are sent first, then workers run them.
    let lives: Vec<_> = lives.collect();
    let events: Vec<&String> = (0..4)
        .flat_map(|step| lives.iter().map(move |life| &life[step]))
        .collect();
    let form = Form::Body {
        content_type: ContentType::Json,
        compression: None,
    };
    let messages = events.chunks(size).map(|events| {
        let text = events
            .iter()
            .map(|event| event.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let bytes = if size == 1 { text } else { format!("[{text}]") };
        Payload {
            bytes: bytes.into_bytes(),
            form,
        }
    });
    let messages: Vec<_> = messages.collect();
    messages
        .chunks(512)
        .map(|payloads| Batch {
            broker: BrokerId::new(0),
            received: NOW,
            payloads: payloads.to_vec(),
            position: Position::Transient,
        })
        .collect()
}

fn decode_and_apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode and apply");
    group.throughput(Throughput::Elements(4 * TASKS));
    for (name, size) in [("single", 1), ("lists of 20", 20)] {
        let mut pipeline = pipeline();
        warm(&mut pipeline);
        let mut round = 10;
        group.bench_function(name, |bencher| {
            // New tasks in each round.
            let tasks = || {
                round += 1;
                batches(round * TASKS, size)
            };
            bencher.iter_batched(
                tasks,
                |batches| {
                    batches.iter().for_each(|batch| pipeline.apply_batch(batch));
                    batches
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Returns a snapshot with about this many samples.
fn snapshot(samples: u64) -> Snapshot {
    with_series(samples).snapshots(NOW, false).remove(0)
}

/// Returns a pipeline whose snapshots have about this many samples.
fn with_series(samples: u64) -> Pipeline {
    let mut pipeline = pipeline();
    let form = Form::Body {
        content_type: ContentType::Json,
        compression: None,
    };
    // Each name has 96 samples: nine counters, five gauges, and histograms of 19, three times 18, and 9.
    for n in 0..samples / 96 {
        let life = events::life(n, &format!("app.tasks.task_{n}"), NOW.seconds());
        let payloads = life
            .map(|event| Payload {
                bytes: event.into_bytes(),
                form,
            })
            .to_vec();
        pipeline.apply_batch(&Batch {
            broker: BrokerId::new(0),
            received: NOW,
            payloads,
            position: Position::Transient,
        });
    }
    pipeline
}

/// Measures a checkpoint of 100,000 time series and 100,000 tasks in flight: how long it blocks the event loop, and
/// how long the writer takes.
fn checkpoint(criterion: &mut Criterion) {
    let mut pipeline = with_series(100_000);
    let form = Form::Body {
        content_type: ContentType::Json,
        compression: None,
    };
    for n in 0..100_000 {
        let name = format!("app.tasks.task_{}", n % 1_000);
        // Sent and received, but not started.
        let begun = events::life(1_000_000 + n, &name, NOW.seconds());
        let payloads = begun.into_iter().take(2).map(|event| Payload {
            bytes: event.into_bytes(),
            form,
        });
        pipeline.apply_batch(&Batch {
            broker: BrokerId::new(0),
            received: NOW,
            payloads: payloads.collect(),
            position: Position::Transient,
        });
    }
    let mut group = criterion.benchmark_group("checkpoint");
    group.sample_size(20);
    group.bench_function("snapshot and capture", |bencher| {
        bencher.iter_with_large_drop(|| (pipeline.snapshots(NOW, false), pipeline.capture(NOW)));
    });
    let above = tempfile::tempdir().expect("a temporary folder");
    let folder = CheckpointFolder::open(above.path()).expect("a folder");
    let folder = folder.expect("nobody else has it");
    group.bench_function("encode, write and sync", |bencher| {
        bencher.iter_batched(
            || pipeline.capture(NOW),
            |captured| folder.write(captured.into_parts()).expect("room"),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("read and restore", |bencher| {
        bencher.iter_batched(
            self::pipeline,
            |mut pipeline| {
                let restored = folder.newest().expect("it was written");
                let parts = restored.expect("it is sound");
                pipeline.restore(parts.parts(), NOW, NOW);
                pipeline
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn outputs(criterion: &mut Criterion) {
    let page = snapshot(10_000);
    criterion.bench_function("10,000 series to a page", |bencher| {
        bencher.iter(|| text::render(&page))
    });
}

criterion_group!(benches, decode_and_apply, outputs, checkpoint);
criterion_main!(benches);
