//! What holds for every serializer and every compression.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::event::Compression;

const RECEIVED: Timestamp = Timestamp::from_millis(1_795_344_000_000);

const COMPRESSIONS: [(&str, Compression); 4] = [
    ("zlib", Compression::Zlib),
    ("bz2", Compression::Bzip2),
    ("zst", Compression::Zstd),
    ("xz", Compression::Xz),
];

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(path)
}

/// What `tests/golden/bodies.py` made.
fn made(name: &str) -> Vec<u8> {
    std::fs::read(golden("bodies").join(name)).expect("a body")
}

/// What comes out of a body: each event as it shows itself, or why there is none.
fn read(
    bytes: Vec<u8>,
    content_type: ContentType,
    compression: Option<Compression>,
    accept: Accept,
) -> Vec<Result<String, DecodeError>> {
    let form = Form::Body {
        content_type,
        compression,
    };
    let mut events = Vec::new();
    let payload = Payload { bytes, form };
    Decoder::default().decode(&payload, accept, RECEIVED, |event| {
        events.push(event.map(|event| format!("{event:?}")));
    });
    events
}

fn read_plain(bytes: Vec<u8>, content_type: ContentType) -> Vec<Result<String, DecodeError>> {
    read(
        bytes,
        content_type,
        None,
        Accept::from_iter(ContentType::READ),
    )
}

/// Recorded bodies of every serializer.
fn recorded() -> Vec<(ContentType, Vec<u8>)> {
    let bodies = recording("amqp-events-serializers.jsonl");
    let batch = (ContentType::Json, made("batch.json"));
    bodies.into_iter().chain([batch]).collect()
}

/// The bodies of a recording.
fn recording(file: &str) -> Vec<(ContentType, Vec<u8>)> {
    use base64::Engine;
    let text = std::fs::read_to_string(golden("events").join(file));
    let text = text.expect("a recording");
    let bodies = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let content_type = line["properties"]["content_type"].as_str();
        let content_type = ContentType::of(content_type.expect("a type"));
        let body = line["body"].as_str().map_or_else(
            || {
                let text = line["body_b64"].as_str().expect("a body");
                let body = base64::engine::general_purpose::STANDARD.decode(text);
                body.expect("base64")
            },
            |text| text.as_bytes().to_vec(),
        );
        (content_type, body)
    });
    bodies.collect()
}

#[test]
fn one_batch_reads_the_same_in_every_serializer() {
    let json = read_plain(made("batch.json"), ContentType::Json);
    assert_eq!(json.len(), 5);
    let first = json[0].as_ref().expect("an event");
    assert!(first.contains("проект.задача😀"), "{first}");
    assert!(json.iter().all(Result::is_ok), "{json:#?}");
    let others = [
        ("batch.msgpack", ContentType::Msgpack),
        ("batch.yaml", ContentType::Yaml),
    ];
    let pickles = (0..6).map(|protocol| (format!("batch.pickle{protocol}"), ContentType::Pickle));
    let others = others.map(|(name, one)| (name.to_owned(), one));
    for (name, content_type) in others.into_iter().chain(pickles) {
        assert_eq!(read_plain(made(&name), content_type), json, "{name}");
    }
}

#[test]
fn every_serializer_and_version_reports_the_root_of_a_task() {
    let files = [
        "amqp-events-celery-4.4.7.jsonl",
        "amqp-events-celery-5.2.7.jsonl",
        "amqp-events-celery-5.4.0.jsonl",
        "amqp-events-celery-5.6.3.jsonl",
        "amqp-events-serializers.jsonl",
        "amqp-events.jsonl",
    ];
    for file in files {
        let mut rooted = [(0, 0); ContentType::READ.len()];
        for (content_type, bytes) in recording(file) {
            let at = ContentType::READ.iter().position(|it| *it == content_type);
            let rooted = &mut rooted[at.expect("a known type")];
            for event in read_plain(bytes, content_type).into_iter().flatten() {
                if event.contains("kind: Sent") || event.contains("kind: Received") {
                    rooted.0 += usize::from(event.contains("root_id: Some("));
                    rooted.1 += 1;
                }
            }
        }
        let all = rooted.iter().filter(|(_, tasks)| *tasks > 0);
        let types = if file.contains("serializers") { 3 } else { 1 };
        assert_eq!(all.count(), types, "{file}");
        for (told, tasks) in rooted {
            // Clients of the tests also use task protocol 1, whose messages have no root.
            assert!(told * 10 >= tasks * 9, "{file}: {told} of {tasks}");
        }
    }
}

#[test]
fn a_pickled_object_costs_no_more_than_its_member() {
    let json = read_plain(made("objects.json"), ContentType::Json);
    assert_eq!(json.len(), 4);
    assert!(json.iter().all(Result::is_ok), "{json:#?}");
    for protocol in 0..6 {
        let pickle = read_plain(
            made(&format!("objects.pickle{protocol}")),
            ContentType::Pickle,
        );
        // Protocols 0 and 1 make a subclass of str from three values.
        let (pickle, json) = if protocol < 2 {
            (
                [&pickle[..1], &pickle[2..]].concat(),
                [&json[..1], &json[2..]].concat(),
            )
        } else {
            (pickle, json.clone())
        };
        assert_eq!(pickle, json, "protocol {protocol}");
    }
}

#[test]
fn a_serializer_that_is_not_accepted_is_named() {
    for (content_type, body) in recorded() {
        let other = match content_type {
            ContentType::Json => ContentType::Pickle,
            ContentType::Msgpack
            | ContentType::Yaml
            | ContentType::Pickle
            | ContentType::Unknown => ContentType::Json,
        };
        let events = read(body, content_type, None, Accept::from_iter([other]));
        assert_eq!(events, [Err(DecodeError::NotAccepted(content_type))]);
        let [Err(error)] = events[..] else {
            panic!("{events:?}")
        };
        let name = content_type.name();
        assert_eq!(
            error.to_string(),
            format!("the body is {name}, which `accept_content` does not list")
        );
        assert_eq!(error.reason().name(), "content_type");
    }
    let unknown = read_plain(b"{}".to_vec(), ContentType::Unknown);
    assert_eq!(unknown, [Err(DecodeError::ContentType)]);
}

#[test]
fn a_body_is_read_through_each_compression_of_kombu() {
    let accept = Accept::default();
    for (ending, compression) in COMPRESSIONS {
        let body = made(&format!("event.{ending}"));
        let events = read(body.clone(), ContentType::Json, Some(compression), accept);
        assert_eq!(events.len(), 1, "{ending}");
        let event = events[0].as_ref().expect("an event");
        assert!(event.contains("w1@host"), "{ending}: {event}");

        let cut = body[..body.len() - 1].to_vec();
        let events = read(cut, ContentType::Json, Some(compression), accept);
        let whole = matches!(events[..], [Ok(_)]);
        // The last byte of xz and zlib is of a checksum or the footer, that of zstd of the data.
        assert!(!whole, "{ending}: {events:?}");
    }
    let unknown = read(
        b"{}".to_vec(),
        ContentType::Json,
        Some(Compression::Unknown),
        accept,
    );
    assert_eq!(unknown, [Err(DecodeError::Compressed)]);
}

#[test]
fn a_stream_that_grows_beyond_the_limit_is_refused() {
    for (ending, compression) in COMPRESSIONS {
        let body = made(&format!("zeros.{ending}"));
        let events = read(
            body,
            ContentType::Json,
            Some(compression),
            Accept::default(),
        );
        assert_eq!(events, [Err(DecodeError::Inflated)], "{ending}");
        assert_eq!(DecodeError::Inflated.reason().name(), "oversized");
    }
}

#[test]
fn a_payload_is_decompressed_as_far_as_it_may_grow() {
    let plain = made("event.zlib");
    let json = Form::Body {
        content_type: ContentType::Json,
        compression: Some(Compression::Zlib),
    };
    let compressed = || Payload {
        bytes: plain.clone(),
        form: json,
    };
    let opened = |mut payload: Payload, accept, may_grow: fn(usize, usize) -> bool| {
        decompress(&mut payload, accept, may_grow);
        payload
    };
    let accept = Accept::default();
    let payload = opened(compressed(), accept, |_, _| true);
    let Form::Body { compression, .. } = payload.form else {
        panic!("{payload:?}")
    };
    assert_eq!(compression, None);
    let events = read(payload.bytes, ContentType::Json, None, accept);
    assert!(matches!(&events[..], [Ok(event)] if event.contains("w1@host")));

    let exhausted = Payload {
        bytes: Vec::new(),
        form: Form::Refused(DecodeError::Exhausted),
    };
    assert_eq!(opened(compressed(), accept, |_, _| false), exhausted);
    let zeros = Payload {
        bytes: made("zeros.zlib"),
        form: json,
    };
    let size = zeros.bytes.len();
    let mut grown = Vec::new();
    let mut payload = zeros;
    decompress(&mut payload, accept, |compressed, length| {
        grown.push((compressed, length));
        length == 0
    });
    assert_eq!(
        (payload, grown),
        (exhausted, vec![(size, 0), (size, 4_096)])
    );
    // What is not compressed, or is not accepted, is left as it is.
    assert_eq!(
        opened(compressed(), Accept::from_iter([]), |_, _| true),
        compressed()
    );
}

#[test]
fn a_large_buffer_is_not_kept() {
    let mut decoder = Decoder::default();
    for (bytes, is_kept) in [(KEPT_BYTES_MAX / 2, true), (KEPT_BYTES_MAX + 1, false)] {
        let mut decode = |form, bytes| {
            let payload = Payload { bytes, form };
            decoder.decode(&payload, Accept::default(), RECEIVED, |_| {});
        };
        let body = " ".repeat(bytes);
        decode(
            Form::Envelope,
            format!(r#"{{"body": "{body}", "content-type": "application/json"}}"#).into(),
        );
        assert_eq!(decoder.opener.body.capacity() > 0, is_kept, "{bytes}");
    }
}

#[test]
fn every_beginning_of_a_recorded_body_is_read_or_refused() {
    for (content_type, body) in recorded() {
        let whole = read_plain(body.clone(), content_type).len();
        for end in 0..body.len() {
            let events = read_plain(body[..end].to_vec(), content_type);
            let good = events.iter().filter(|event| event.is_ok()).count();
            assert!(good <= whole, "{content_type:?} {end}");
        }
    }
    for (ending, compression) in COMPRESSIONS {
        let body = made(&format!("event.{ending}"));
        for end in 0..body.len() {
            let cut = body[..end].to_vec();
            read(cut, ContentType::Json, Some(compression), Accept::default());
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for content_type in ContentType::READ {
            read_plain(bytes.clone(), content_type);
        }
        for (_, compression) in COMPRESSIONS {
            read(bytes.clone(), ContentType::Json, Some(compression), Accept::default());
        }
    }

    /// Text that looks like YAML, which finds more of the parser than bytes do.
    #[test]
    fn any_yaml_like_text_is_read_or_refused(
        text in "([-?:,\\[\\]{}#&*!|>'\"%@` \n\t~a0.\\\\]|---|\\.\\.\\.|- |: |\n  |type: x\n|&a |\\*a|<<|!!|\r|\u{85}|\u{FEFF}|\u{2028}){0,40}"
    ) {
        read_plain(text.into_bytes(), ContentType::Yaml);
    }

    /// What is right but for a few bytes gets further than what is wrong from the start.
    #[test]
    fn any_damage_to_a_body_is_read_or_refused(
        which in any::<Index>(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let (content_type, mut body) = which.get(&recorded()).clone();
        for (at, byte) in &damage {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        read_plain(body, content_type);

        let (ending, compression) = which.get(&COMPRESSIONS);
        let mut body = made(&format!("event.{ending}"));
        for (at, byte) in &damage {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        read(body, ContentType::Json, Some(*compression), Accept::default());
    }
}
