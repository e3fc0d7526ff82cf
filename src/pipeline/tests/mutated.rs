//! Checkpoints with a valid checksum and arbitrary values: the daemon resumes from them without a
//! panic, and exposes no impossible value.

use std::time::Duration;

use fastrand::Rng;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use super::*;
use crate::saved;
use crate::series::{MetricKind, Value};

/// How many checkpoints are tried with each profile.
const ROUNDS: u64 = 150;

/// A message as fields, without its schema.
type Fields = Vec<(u32, Field)>;

enum Field {
    Number(u64),
    Double(u64),
    Text(Vec<u8>),
    Message(Fields),
}

fn read(mut bytes: &[u8]) -> Option<Fields> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (tag, kind) = decode_key(&mut bytes).ok()?;
        let field = match kind {
            WireType::Varint => Field::Number(decode_varint(&mut bytes).ok()?),
            WireType::SixtyFourBit => {
                let (bits, rest) = bytes.split_first_chunk::<8>()?;
                bytes = rest;
                Field::Double(u64::from_le_bytes(*bits))
            }
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let (text, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                read(text).map_or_else(|| Field::Text(text.to_vec()), Field::Message)
            }
            WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => return None,
        };
        fields.push((tag, field));
    }
    Some(fields)
}

fn write(fields: &Fields) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, field) in fields {
        match field {
            Field::Number(number) => {
                encode_key(*tag, WireType::Varint, &mut bytes);
                encode_varint(*number, &mut bytes);
            }
            Field::Double(bits) => {
                encode_key(*tag, WireType::SixtyFourBit, &mut bytes);
                bytes.extend(bits.to_le_bytes());
            }
            Field::Text(text) => put_text(*tag, text, &mut bytes),
            Field::Message(fields) => put_text(*tag, &write(fields), &mut bytes),
        }
    }
    bytes
}

fn put_text(tag: u32, text: &[u8], bytes: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, bytes);
    encode_varint(text.len() as u64, bytes);
    bytes.extend(text);
}

/// Changes one field anywhere in a message.
fn mutate(fields: &mut Fields, random: &mut Rng) {
    if fields.is_empty() {
        return;
    }
    let at = random.usize(..fields.len());
    match &mut fields[at].1 {
        Field::Message(below) if random.u8(..) > 8 => return mutate(below, random),
        Field::Number(number) => *number = strange_number(random),
        Field::Double(bits) => *bits = strange_double(random).to_bits(),
        Field::Text(text) => strange_text(text, random),
        Field::Message(_) => {}
    }
    if random.u8(..) < 16 {
        fields.swap_remove(at);
    }
}

fn strange_number(random: &mut Rng) -> u64 {
    let numbers = [
        0,
        1,
        1 << 31,
        u64::from(u32::MAX),
        1 << 53,
        (1 << 53) + 1,
        1 << 62,
        i64::MAX.cast_unsigned(),
        i64::MIN.cast_unsigned(),
        u64::MAX,
        random.u64(..),
        random.u64(..) >> random.u32(..64),
    ];
    numbers[random.usize(..numbers.len())]
}

fn strange_double(random: &mut Rng) -> f64 {
    let numbers = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        -2.0,
        -0.0,
        0.0,
        1e19,
        f64::from_bits(random.u64(..)),
    ];
    numbers[random.usize(..numbers.len())]
}

fn strange_text(text: &mut Vec<u8>, random: &mut Rng) {
    match random.u8(..4) {
        0 => text.clear(),
        1 => *text = vec![b'x'; 100_000],
        // Packed numbers.
        2 => text.fill(random.u8(..)),
        _ => {
            if let Some(byte) = random.choice(text) {
                *byte = random.u8(..);
            }
        }
    }
}

/// A checkpoint of a recording in which every field is set somewhere.
fn stored(name: ProfileName) -> (Vec<saved::Checkpoint>, Timestamp) {
    let mut pipeline = pipeline_with("{}", view(name));
    let mut now = Timestamp::default();
    for (payload, received) in recording() {
        now = now.max(received);
        apply(&mut pipeline, vec![payload], now);
    }
    drop(pipeline.snapshots(now, false));
    let mut parts: Vec<_> = pipeline.capture(now).into_parts().collect();
    let clusters = parts.iter_mut().flat_map(|part| &mut part.clusters);
    for cluster in clusters {
        fill(cluster, now);
    }
    (parts, now)
}

/// Sets the fields that the recording leaves unset.
fn fill(cluster: &mut saved::Cluster, now: Timestamp) {
    let at = now.micros();
    let step = saved::HeldStep {
        step: saved::Step::Succeeded.into(),
        at,
        sender: 1,
        name: 1,
        worker: 1,
        ran_by: 1,
        outcome: saved::Outcome::Succeeded.into(),
        ran: Some(1.0),
        queue_wait: Some(1.0),
        prefetch_wait: Some(1.0),
        turnaround: Some(1.0),
        attempts: Some(1),
        exchange: 1,
        routing_key: 1,
        queue: 1,
        ..saved::HeldStep::default()
    };
    for worker in &mut cluster.workers {
        worker.pool_size = Some(4);
        worker.slots = Some(4);
        worker.processes = Some(4);
        worker.prefetch_count = Some(4);
        worker.queues = Some(saved::Queues { names: vec![1, 2] });
        worker.other_pid = Some(saved::OtherPid { pid: 1, seen: at });
        worker.clock_skew = Some(0.1);
        worker.freq = Some(2.0);
        if let Some(run) = &mut worker.run {
            run.deficits = vec![saved::Deficit::default(); 5];
            run.before = Some(saved::Moved::default());
        }
    }
    for task in cluster.tasks.iter_mut().take(20) {
        task.stage = saved::Stage::Started.into();
        task.held = vec![step; 2];
        task.workflow = Some(saved::Member {
            root: vec![1; 16],
            chord: 1,
            ..saved::Member::default()
        });
        task.earlier = Some(saved::Earlier {
            started: at,
            ..saved::Earlier::default()
        });
    }
    cluster.held = vec![step];
    cluster.watched_queues = vec![saved::WatchedQueue { queue: 1, age: 1 }];
    cluster.workflows = vec![saved::Workflow {
        root: vec![1; 16],
        name: 1,
        began: at,
        latest: at,
        failed: 1,
        ..saved::Workflow::default()
    }];
}

fn view(name: ProfileName) -> ViewConfig {
    ViewConfig {
        native_histograms: true,
        ..ViewConfig::classic(name)
    }
}

fn recording() -> Vec<(Payload, Timestamp)> {
    let text = include_str!("../../../tests/golden/events/amqp-events.jsonl");
    text.lines().filter_map(recorded).collect()
}

fn apply(pipeline: &mut Pipeline, payloads: Vec<Payload>, now: Timestamp) {
    pipeline.apply_batch(&Batch {
        broker: BrokerId::new(0),
        received: now,
        payloads,
        position: Position::Transient,
    });
}

/// Heartbeats that workers send after the restart.
fn heartbeats(parts: &[saved::Checkpoint], now: Timestamp) -> Vec<Payload> {
    let clusters = parts.iter().flat_map(|part| &part.clusters);
    let texts = clusters.flat_map(|cluster| &cluster.texts);
    let workers = texts.filter(|text| text.contains('@') && text.len() < 100);
    let heartbeat = |worker: &String| {
        let body = serde_json::json!({
            "type": "worker-heartbeat", "hostname": worker, "timestamp": now.seconds(), "pid": 1,
            "freq": 2.0, "active": 1, "processed": 1_000_000, "loadavg": [1.0, 1.0, 1.0],
        });
        Payload {
            bytes: body.to_string().into_bytes(),
            form: Form::Body {
                content_type: ContentType::Json,
                compression: None,
            },
        }
    };
    workers.map(heartbeat).collect()
}

/// Checks what holds for every snapshot.
fn check(snapshot: &Snapshot, now: Timestamp, seed: u64) {
    for row in &snapshot.rows {
        let family = snapshot.family(row);
        let name = &*family.name;
        let from = row.info.after;
        assert!(from.micros() >= 0 && from <= now, "{seed}: {name} {from:?}");
        for (label, value) in row.info.labels.iter() {
            assert!(value.len() <= 64 << 10, "{seed}: {name} {label}");
        }
        let number = match &row.value {
            Value::Number(number) => *number,
            Value::Histogram(histogram) => histogram.sum,
        };
        assert!(number.is_finite(), "{seed}: {name} {number}");
        if family.kind != MetricKind::Gauge {
            assert!(number >= 0.0, "{seed}: {name} {number}");
        }
        if name.ends_with("_timestamp_seconds") {
            let range = 0.0..253_402_300_800.0;
            assert!(range.contains(&number), "{seed}: {name} {number}");
        }
        if name.ends_with("last_seen_timestamp_seconds") {
            assert!(number <= now.seconds(), "{seed}: {name} {number}");
        }
    }
}

/// Continues from parts for a while.
fn go_on(name: ProfileName, parts: &[saved::Checkpoint], at: Timestamp, seed: u64) {
    let mut pipeline = pipeline_with("{}", view(name));
    let now = at.after(Duration::from_secs(60));
    let _ = pipeline.restore(parts.iter().cloned(), now, now);
    let mut now = now;
    for seconds in [1, 2, 3_600, 400 * 86_400] {
        now = now.after(Duration::from_secs(seconds));
        apply(&mut pipeline, heartbeats(parts, now), now);
        let messages = recording().into_iter().map(|(payload, _)| payload);
        apply(&mut pipeline, messages.take(60).collect(), now);
        check(&snapshot(&mut pipeline, now, false), now, seed);
    }
    // The resulting checkpoint can be restored.
    let again = pipeline.capture(now).into_parts();
    let mut next = pipeline_with("{}", view(name));
    let _ = next.restore(again, now, now);
    let now = now.after(Duration::from_secs(1));
    check(&snapshot(&mut next, now, true), now, seed);
}

fn any_values_may_be_stored(name: ProfileName) {
    let (parts, at) = stored(name);
    go_on(name, &parts, at, 0);
    let mut decoded = 0;
    for seed in 1..=ROUNDS {
        let mut random = Rng::with_seed(seed);
        let mut mutated = parts.clone();
        for part in &mut mutated {
            let mut fields = read(&part.encode_to_vec()).expect("a message");
            for _ in 0..random.u32(1..30) {
                mutate(&mut fields, &mut random);
            }
            if let Ok(changed) = saved::Checkpoint::decode(&*write(&fields)) {
                *part = changed;
                decoded += 1;
            }
        }
        go_on(name, &mutated, at, seed);
    }
    assert!(decoded > ROUNDS, "{decoded} checkpoints could be read");
}

#[test]
fn any_values_may_be_stored_of_the_native_profile() {
    any_values_may_be_stored(ProfileName::Native);
}

#[test]
fn any_values_may_be_stored_of_another_profile() {
    any_values_may_be_stored(ProfileName::Flower);
}
