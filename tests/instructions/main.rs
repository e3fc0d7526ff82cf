//! Counts the instructions of the path from a message to a request, and compares them with those on record.
//!
//! Instructions do not depend on how busy the machine is. They are counted by valgrind's callgrind in this executable, which
//! runs itself again. `UPDATE_INSTRUCTIONS=1 cargo test --test instructions` records them in
//! `tests/golden/instructions.json` (with CARGO_INCREMENTAL=0, as in a clean clone); if a count rises by more than 3 %, the commit's body has to say why, which
//! `tests/commit-msg` checks. Another compiler makes other instructions, so with another version nothing is compared.

#[path = "../it/support/events.rs"]
#[expect(unreachable_pub, reason = "shared with the integration tests")]
mod events;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use celeriac::config::Config;
use celeriac::event::{Accept, Batch, BrokerId, ContentType, Form, Payload, Position};
use celeriac::pipeline::{BrokerRetention, ClusterConfig, Pipeline, ViewConfig};
use celeriac::profile::ProfileName;
use celeriac::series::Relabel;
use celeriac::telemetry::metrics::Telemetry;
use celeriac::timestamp::Timestamp;
use celeriac::wire::{Encoder, Outgoing, Protocol};

const NOW: Timestamp = Timestamp::from_millis(1_795_344_000_000);

/// Tasks of each round, with four events each.
const TASKS: u64 = 500;

/// In the process whose instructions are counted: the index of the part.
const COUNTED: &str = "CELERIAC_COUNTED";

/// The largest relative rise of a count that needs no new record. An incremental build may need fewer instructions than the
/// one on record, which is not incremental.
const TOLERANCE: f64 = 0.03;

/// What is measured, in the order in which [`counted`] does it.
const PARTS: [&str; 6] = [
    "decode and apply, one event a message",
    "decode and apply, lists of 20",
    "decode and apply, envelopes",
    "snapshot",
    "encode as 1.0",
    "encode as 2.0",
];

#[test]
fn no_part_takes_more_instructions_than_on_record() {
    if let Ok(part) = std::env::var(COUNTED) {
        return counted(part.parse().expect("a number"));
    }
    let parts = PARTS.into_iter().enumerate();
    let counts: BTreeMap<_, _> = parts.map(|(at, part)| (part, count(at))).collect();
    let compiler = compiler();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/instructions.json");
    if std::env::var_os("UPDATE_INSTRUCTIONS").is_some() {
        let record = serde_json::json!({"compiler": compiler, "counts": counts});
        let text = serde_json::to_string_pretty(&record).expect("numbers and texts");
        return std::fs::write(path, text + "\n").expect("the record can be written");
    }
    let record = std::fs::read(path).expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("a record");
    if record["compiler"] != compiler {
        return;
    }
    let changed = counts.iter().filter_map(|(part, now)| {
        let before = record["counts"][part].as_u64().unwrap_or(0);
        let ratio = *now as f64 / before as f64;
        let has_risen = ratio > 1.0 + TOLERANCE;
        has_risen.then(|| format!("{part}: {before} -> {now}, {:+.1} %", (ratio - 1.0) * 100.0))
    });
    let changed: Vec<_> = changed.collect();
    assert!(
        changed.is_empty(),
        "{changed:#?}\nIf this is intended, record it with UPDATE_INSTRUCTIONS=1, and say why in the commit's body"
    );
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let output = output.expect("a compiler");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs this executable under callgrind.
fn count(part: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured*"])
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", "no_part_takes_more_instructions_than_on_record"])
        .args(["--test-threads", "1"])
        .env(COUNTED, part.to_string())
        .output()
        .expect("valgrind runs: `make setup` installs it");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "Collected");
    let count = words.nth(2).and_then(|count| count.parse().ok());
    count.filter(|count| *count > 0).expect("a count")
}

/// Does the work, and has one part of it counted.
fn counted(wanted: usize) {
    let mut at = 0;
    let mut part = |work: &mut dyn FnMut()| {
        if at == wanted {
            measured(work);
        } else {
            work();
        }
        at += 1;
    };
    let mut pipeline = pipeline();
    for (n, (size, is_enveloped)) in [(1, false), (20, false), (20, true)]
        .into_iter()
        .enumerate()
    {
        // The first round makes the series and lets the tables grow.
        let first = 2 * n as u64 * TASKS;
        pipeline.apply_batch(&batch(first, size, is_enveloped));
        let batch = batch(first + TASKS, size, is_enveloped);
        part(&mut || pipeline.apply_batch(&batch));
    }
    let mut snapshots = Vec::new();
    part(&mut || snapshots = pipeline.snapshots(NOW, false));
    let later = pipeline.snapshots(Timestamp::from_millis(NOW.millis() + 1_000), false);
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut encoder = Encoder::new(outgoing(), protocol);
        // The first snapshot has the zeros of all series.
        let _ = black_box(encoder.snapshot(&snapshots[0]));
        part(&mut || drop(black_box(encoder.snapshot(&later[0]))));
    }
}

/// Its instructions are counted, and those of everything that it calls.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn outgoing() -> Outgoing {
    Outgoing {
        external: vec![("job".to_owned(), "celery".to_owned())],
        relabel: Relabel::default(),
        samples_max: 2_000,
        exemplars: true,
        native: false,
        classic: true,
        draft: false,
    }
}

fn pipeline() -> Pipeline {
    let file = "brokers: [{url: 'redis://h'}]\nhttp: {listen: ':0'}";
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

/// The events of some tasks, `size` per message.
fn batch(first: u64, size: usize, is_enveloped: bool) -> Batch {
    let name = |n| format!("app.tasks.task_{}", n % 20);
    let events = (first..first + TASKS).flat_map(|n| events::life(n, &name(n), NOW.seconds()));
    let events: Vec<String> = events.collect();
    let payload = |events: &[String]| {
        let text = events.join(", ");
        let body = if size == 1 { text } else { format!("[{text}]") };
        if is_enveloped {
            return Payload {
                bytes: events::envelope(&body).into_bytes(),
                form: Form::Envelope,
            };
        }
        Payload {
            bytes: body.into_bytes(),
            form: Form::Body {
                content_type: ContentType::Json,
                compression: None,
            },
        }
    };
    Batch {
        broker: BrokerId::new(0),
        received: NOW,
        payloads: events.chunks(size).map(payload).collect(),
        position: Position::Transient,
    }
}
