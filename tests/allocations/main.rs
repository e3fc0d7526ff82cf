//! Asserts that events of a known kind, task name and worker allocate nothing, and that a hostile body stays within
//! its memory bound. A separate executable, because the counting allocator is global to the process.

#[path = "../it/support/events.rs"]
#[expect(unreachable_pub, reason = "shared with the integration tests")]
mod events;

use std::alloc::System;
use std::path::Path;
use std::sync::{Arc, Mutex};

use celeriac::config::Config;
use celeriac::event::{
    Accept, Batch, BrokerId, Compression, ContentType, Decoder, Form, Payload, Position,
};
use celeriac::pipeline::{BrokerRetention, ClusterConfig, Pipeline, ViewConfig};
use celeriac::profile::ProfileName;
use celeriac::series::Value;
use celeriac::telemetry::metrics::Telemetry;
use celeriac::timestamp::Timestamp;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held while counting, because tests run concurrently.
static COUNTING: Mutex<()> = Mutex::new(());

const NOW: Timestamp = Timestamp::from_millis(1_795_344_000_000);

fn batch(tasks: std::ops::Range<u64>, enveloped: bool) -> Batch {
    let body = |n| {
        let events = events::life(n, &format!("app.task_{}", n % 10), NOW.seconds());
        format!("[{}]", events.join(", "))
    };
    let payload = |body: String| {
        if enveloped {
            Payload {
                bytes: events::envelope(&body).into_bytes(),
                form: Form::Envelope,
            }
        } else {
            let form = Form::Body {
                content_type: ContentType::Json,
                compression: None,
            };
            Payload {
                bytes: body.into_bytes(),
                form,
            }
        }
    };
    Batch {
        broker: BrokerId::new(0),
        received: NOW,
        payloads: tasks.map(body).map(payload).collect(),
        position: Position::Transient,
    }
}

#[test]
fn a_hostile_body_takes_no_more_than_its_bound() {
    let _counting = COUNTING.lock();
    let made = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bodies");
        std::fs::read(folder.join(name)).expect("a body")
    };
    let many = |part: &str| part.repeat((8 << 20) / part.len()).into_bytes();
    let anchors = (0..400_000).map(|n| format!("- &a{n} x\n"));
    let memo = [&b"]"[..], &b"q\x00h\x00a".repeat(1 << 20), b"."].concat();
    let plain = [
        (ContentType::Json, many("[")),
        (ContentType::Msgpack, vec![0x91; 8 << 20]),
        (
            ContentType::Msgpack,
            b"\xdd\xff\xff\xff\xff".repeat(1 << 20),
        ),
        (ContentType::Yaml, many("- ")),
        (ContentType::Yaml, many("[")),
        (ContentType::Yaml, many("? ")),
        (ContentType::Yaml, many("a:\n")),
        (ContentType::Yaml, anchors.collect::<String>().into_bytes()),
        (ContentType::Pickle, many("]")),
        (ContentType::Pickle, many("}")),
        (ContentType::Pickle, many("(")),
        (ContentType::Pickle, memo),
        (ContentType::Pickle, b"Nr\xff\xff\xff\x7f.".to_vec()),
        (
            ContentType::Pickle,
            b"\x8d\xff\xff\xff\x7f\x00\x00\x00\x00".to_vec(),
        ),
    ];
    let compressed = [
        ("zeros.zlib", Compression::Zlib),
        ("zeros.bz2", Compression::Bzip2),
        ("zeros.zst", Compression::Zstd),
        ("zeros.xz", Compression::Xz),
    ];
    let plain = plain.map(|(content_type, bytes)| (content_type, None, bytes));
    let compressed = compressed.map(|(name, one)| (ContentType::Json, Some(one), made(name)));
    let accept = ContentType::READ.into_iter().collect();
    for (content_type, compression, bytes) in plain.into_iter().chain(compressed) {
        let form = Form::Body {
            content_type,
            compression,
        };
        let payload = Payload { bytes, form };
        let mut last = Ok(());
        let region = Region::new(ALLOCATOR);
        Decoder::default().decode(&payload, accept, NOW, |event| last = event.map(drop));
        let taken = region.change().bytes_allocated >> 20;

        println!("{form:?} {last:?} {taken} MiB");
        assert!(last.is_err(), "{form:?}");
        // The total of all allocations, not the peak; includes buffers that were replaced while growing.
        assert!(taken <= 96, "{form:?} takes {taken} MiB: {last:?}");
    }
}

#[test]
fn nothing_is_allocated_for_an_event_in_steady_state() {
    let _counting = COUNTING.lock();
    let file = "brokers: [{url: 'redis://h'}]\nhttp: {listen: ':0'}";
    let config = Config::parse(file, Path::new("x.yaml"), []).expect("a good configuration");
    let mut telemetry = Telemetry::new(NOW);
    let broker: Arc<str> = "main".into();
    let (_, metrics) = telemetry.broker(&broker);
    let cluster = ClusterConfig {
        broker,
        label: None,
        drops_expired: false,
        asks_workers: false,
        holds: BrokerRetention::Nothing,
        shard: None,
        accept: Accept::default(),
        metrics,
    };
    let mut pipeline = Pipeline::new(
        &config.metrics,
        vec![cluster],
        &[ViewConfig {
            profile: ProfileName::Native,
            native_histograms: true,
        }],
        telemetry,
        NOW,
    );
    // The table of ended tasks grows until it is full, and so do the buffers of a round.
    pipeline.apply_batch(&batch(0..40_000, false));
    pipeline.apply_batch(&batch(40_000..40_100, true));
    for enveloped in [false, true] {
        let from = 50_000 + 10_000 * u64::from(enveloped);
        let steady = batch(from..from + 10_000, enveloped);
        let region = Region::new(ALLOCATOR);
        pipeline.apply_batch(&steady);
        let change = region.change();

        assert_eq!(
            (change.allocations, change.reallocations),
            (0, 0),
            "enveloped: {enveloped}"
        );
    }
    // After a snapshot, each bucket allocates one exemplar: the task's uuid and the exemplar itself.
    let snapshots = pipeline.snapshots(NOW, false);
    let buckets = snapshots[0].rows.iter().map(|row| match &row.value {
        Value::Histogram(histogram) => histogram.exemplars.len(),
        Value::Number(_) => usize::from(row.exemplar.is_some()),
    });
    let buckets: usize = buckets.sum();
    assert!(buckets > 0, "no bucket has an exemplar");
    let steady = batch(70_000..80_000, false);
    let region = Region::new(ALLOCATOR);
    pipeline.apply_batch(&steady);
    let change = region.change();

    assert_eq!(
        (change.allocations, change.reallocations),
        (2 * buckets, 0),
        "{buckets} buckets"
    );
}
