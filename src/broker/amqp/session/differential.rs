//! Compares the session with the codec: the same bytes, however they are split, must produce the
//! same messages.
//!
//! The oracle parses whole frames with the codec's own parser, which reads every value of a table,
//! and assembles messages in the simplest way. It can also be run as a fuzz test:
//! `FUZZ_SECONDS=600 cargo nextest run --lib --run-ignored all -E 'test(session::differential)'`.

use std::collections::BTreeMap;
use std::time::Duration;

use amq_protocol::frame::{AMQPContentHeader, parse_frame};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::protocol::queue;
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
use fastrand::Rng;

use super::super::frame::Properties;
use super::super::frame::tests::properties_of;
use super::tests::written;
use super::*;

const CHANNELS: u16 = 3;
const BODY_MAX: usize = 5_000;

/// A message as both sides see it. A body that is too long is represented by its size.
type Message = (u64, Properties, Result<Vec<u8>, u64>);

fn value(random: &mut Rng, depth: usize) -> AMQPValue {
    let kinds = if depth == 0 { 11 } else { 13 };
    match random.usize(..kinds) {
        0 => AMQPValue::Boolean(random.bool()),
        1 => AMQPValue::ShortShortInt(random.i8(..)),
        2 => AMQPValue::ShortShortUInt(random.u8(..)),
        3 => AMQPValue::ShortInt(random.i16(..)),
        4 => AMQPValue::LongInt(random.i32(..)),
        5 => AMQPValue::LongLongInt(random.i64(..)),
        6 => AMQPValue::Double(random.f64()),
        7 => AMQPValue::Timestamp(random.u64(..)),
        8 => AMQPValue::Void,
        9 => AMQPValue::LongString(
            random
                .choice(["", "bzip2", "abc"])
                .unwrap_or_default()
                .into(),
        ),
        10 => AMQPValue::ByteArray(vec![random.u8(..); random.usize(..20)].into()),
        11 => AMQPValue::FieldTable(table(random, depth - 1)),
        _ => {
            let values = (0..random.usize(..4)).map(|_| value(random, depth - 1));
            AMQPValue::FieldArray(FieldArray::from(values.collect::<Vec<_>>()))
        }
    }
}

fn table(random: &mut Rng, depth: usize) -> FieldTable {
    let mut table = FieldTable::default();
    let keys = [
        "",
        "ticket",
        "compression",
        "x-stream-offset",
        "other",
        "clock",
    ];
    for _ in 0..random.usize(..6) {
        let key = random.choice(keys).unwrap_or_default();
        table.insert(key.into(), value(random, depth));
    }
    table
}

fn properties(random: &mut Rng) -> AMQPProperties {
    let mut properties = AMQPProperties::default();
    if random.bool() {
        let types = [
            "application/json",
            "application/x-python-serialize",
            "",
            "text",
        ];
        let kind = random.choice(types).unwrap_or_default();
        properties = properties.with_content_type(kind.into());
    }
    if random.bool() {
        properties = properties.with_content_encoding("utf-8".into());
    }
    if random.bool() {
        properties = properties.with_headers(table(random, 3));
    }
    if random.bool() {
        properties = properties.with_delivery_mode(1).with_priority(9);
    }
    properties
}

/// The frames of a message on a channel.
fn message(random: &mut Rng, channel: u16) -> Vec<AMQPFrame> {
    let longest = *random
        .choice(&[0, 10, BODY_MAX, 2 * BODY_MAX])
        .unwrap_or(&0);
    let body = vec![random.u8(..); random.usize(..=longest)];
    let deliver = basic::AMQPMethod::Deliver(basic::Deliver {
        consumer_tag: "celeriac".into(),
        delivery_tag: random.u64(..),
        redelivered: random.bool(),
        exchange: "celeryev".into(),
        routing_key: "task.multi".into(),
    });
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: body.len() as u64,
        properties: properties(random),
    };
    let parts = body.chunks(random.usize(1..=BODY_MAX).max(body.len() / 8));
    let parts = parts.map(|part| AMQPFrame::Body(channel, part.to_vec()));
    let begin = [
        AMQPFrame::Method(channel, AMQPClass::Basic(deliver)),
        AMQPFrame::Header(channel, header),
    ];
    begin.into_iter().chain(parts).collect()
}

/// The bytes a server might send: messages on several channels, frame by frame, interleaved with
/// other frames.
fn stream(random: &mut Rng) -> Vec<u8> {
    let mut channels: Vec<_> = (1..=CHANNELS)
        .map(|channel| {
            let messages = (0..random.usize(..4)).flat_map(|_| message(random, channel));
            messages.collect::<std::collections::VecDeque<_>>()
        })
        .collect();
    let mut frames = Vec::new();
    while channels.iter().any(|frames| !frames.is_empty()) {
        let channel = random.usize(..channels.len());
        frames.extend(channels[channel].pop_front());
        match random.u8(..) {
            0..20 => frames.push(AMQPFrame::Heartbeat),
            20..40 => {
                let ok = queue::AMQPMethod::DeclareOk(queue::DeclareOk {
                    queue: "q".into(),
                    message_count: 1,
                    consumer_count: 2,
                });
                frames.push(AMQPFrame::Method(2, AMQPClass::Queue(ok)));
            }
            _ => {}
        }
    }
    written(&frames)
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..random.usize(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.usize(..bytes.len());
        match random.u8(..8) {
            0 => bytes.truncate(at),
            1 => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, random.u8(..)),
            3 => {
                let end = bytes.len().min(at + random.usize(..200));
                let copy = bytes[at..end].to_vec();
                let to = random.usize(..bytes.len());
                bytes.splice(to..to, copy);
            }
            4 => bytes[at] ^= 1 << random.u8(..8),
            _ => {
                bytes[at] = *random
                    .choice(&[0, 1, 0x7f, 0x80, 0xff, b'F', b'A', b'S'])
                    .unwrap_or(&0)
            }
        }
    }
}

/// The messages in whole frames, up to the first frame that the codec cannot parse or that is out
/// of order.
fn oracle(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut partial = BTreeMap::new();
    while let Ok((rest, frame)) = parse_frame(bytes) {
        bytes = rest;
        let whole = match frame {
            AMQPFrame::Method(channel, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver))) => {
                let begun = (deliver.delivery_tag, None, Vec::new());
                if channel == 0 || channel > CHANNELS || partial.insert(channel, begun).is_some() {
                    break;
                }
                continue;
            }
            AMQPFrame::Header(channel, header) => match partial.get_mut(&channel) {
                Some((_, known @ None, _)) => {
                    let size = header.body_size;
                    *known = Some((size, properties_of(&header)));
                    (size == 0).then_some(channel)
                }
                _ => break,
            },
            AMQPFrame::Body(channel, part) => match partial.get_mut(&channel) {
                Some((_, Some((size, _)), body)) => {
                    body.extend(part);
                    let length = body.len() as u64;
                    if length > *size {
                        break;
                    }
                    (length == *size).then_some(channel)
                }
                _ => break,
            },
            AMQPFrame::ProtocolHeader(_)
            | AMQPFrame::Method(..)
            | AMQPFrame::Heartbeat
            | AMQPFrame::InvalidHeartbeat(_) => continue,
        };
        if let Some((tag, Some((size, properties)), body)) =
            whole.and_then(|channel| partial.remove(&channel))
        {
            let body = if size > BODY_MAX as u64 {
                Err(size)
            } else {
                Ok(body)
            };
            messages.push((tag, properties, body));
        }
    }
    messages
}

/// The messages of a session that receives the bytes in random pieces, and whether it ended with an
/// error.
fn session(bytes: &[u8], random: &mut Rng) -> (Vec<Message>, bool) {
    let (stream, _server) = tokio::io::duplex(1);
    let mut session = Session::new(Box::new(stream), BODY_MAX, None);
    for _ in 0..CHANNELS {
        session.channels.open();
    }
    let mut messages = Vec::new();
    let mut rest = bytes;
    loop {
        loop {
            match session.buffered_delivery() {
                Ok(Some(delivery)) => {
                    let body = delivery.body.map_err(|too_long| too_long.0);
                    messages.push((delivery.tag, delivery.properties, body));
                }
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
        if rest.is_empty() {
            return (messages, false);
        }
        let most = if random.bool() { 16 } else { 9_000 };
        let piece = rest.split_off(..random.usize(1..=most).min(rest.len()));
        session.read.extend_from_slice(piece.unwrap_or_default());
    }
}

/// Compares one stream and several mutations of it. Returns how many messages were compared.
fn round(seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let bytes = stream(&mut random);
    let (messages, is_error) = session(&bytes, &mut random);
    assert!(!is_error, "seed {seed}");
    assert_eq!(messages, oracle(&bytes), "seed {seed}");
    let mut compared = messages.len();
    for _ in 0..8 {
        let mut bytes = bytes.clone();
        mutate(&mut bytes, &mut random);
        let (messages, is_error) = session(&bytes, &mut random);
        let expected = oracle(&bytes);
        // The session may be stricter than the codec, and may accept headers that the codec
        // refuses.
        let both = messages.len().min(expected.len());
        assert_eq!(messages[..both], expected[..both], "seed {seed}");
        assert!(is_error || messages.len() >= expected.len(), "seed {seed}");
        compared += both;
    }
    compared
}

#[tokio::test]
async fn streams_cut_anywhere_are_the_messages_of_the_codec() {
    let compared: usize = (0..2_000).map(round).sum();
    assert!(compared > 20_000, "{compared}");
}

#[tokio::test]
#[ignore = "runs for FUZZ_SECONDS"]
async fn fuzz() {
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(60);
    let end = clock::monotonic() + Duration::from_secs(seconds);
    let (mut rounds, mut compared) = (0_u64, 0);
    while clock::monotonic() < end {
        compared += round(fastrand::u64(..));
        rounds += 1;
    }
    eprintln!("{rounds} streams, {compared} messages compared");
}
