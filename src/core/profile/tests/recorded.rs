//! Recordings of real clusters, from the first message to the page.
//!
//! The pages hold what the code made of the recordings when they were added, so that a change
//! shows. If it is meant to, write them anew with `UPDATE_PAGES=1` and read the difference.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::*;
use crate::event::{Accept, ContentType, Decoder, Form, Payload};
use crate::wire::text;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(path)
}

/// Returns a recorded message and the time of its receipt; `None` for messages of remote control.
fn message(line: &str) -> Option<(Payload, Timestamp)> {
    let line: Json = serde_json::from_str(line).expect("a line of JSON");
    let received = line["t"].as_f64().and_then(Timestamp::from_seconds);
    let channel = line["channel"].as_str().unwrap_or_default();
    if channel.contains("pidbox") {
        return None;
    }
    let payload = if let Some(envelope) = line["payload"].as_str() {
        Payload {
            bytes: envelope.into(),
            form: Form::Envelope,
        }
    } else {
        let content_type = line["properties"]["content_type"].as_str().expect("a type");
        let encoded = line["body_b64"].as_str();
        let body = match line["body"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => STANDARD.decode(encoded.expect("a body")).expect("base64"),
        };
        Payload {
            bytes: body,
            form: Form::Body {
                content_type: ContentType::of(content_type),
                compression: None,
            },
        }
    };
    Some((payload, received.unwrap_or_default()))
}

/// Returns the page after a recording, and an hour later: errors, and all samples that are not zero.
fn page(recording: &str) -> String {
    let lines = fs::read_to_string(golden(&format!("events/{recording}.jsonl"))).expect("lines");
    let mut bench = Bench::new(NAME_AND_QUEUE, 10_000, 100);
    let mut decoder = Decoder::default();
    let mut page = String::new();
    for (payload, received) in lines.lines().filter_map(message) {
        bench.now = received;
        let accept = Accept::from_iter(ContentType::READ);
        decoder.decode(&payload, accept, received, |event| match event {
            Ok(event) => bench.apply(&event),
            Err(error) => writeln!(page, "refused: {error}").expect("a text"),
        });
        bench.snapshot();
    }
    for after in [Duration::ZERO, Duration::from_secs(3_600)] {
        bench.now = bench.now.after(after);
        let samples = text::render(&bench.snapshot());
        let shown = samples.lines().filter(|line| {
            !line.starts_with('#') && !line.contains("_bucket{") && !line.ends_with(" 0")
        });
        writeln!(page, "after {} s:", after.as_secs()).expect("a text");
        shown.for_each(|line| writeln!(page, "{line}").expect("a text"));
    }
    page
}

#[test]
fn each_recording_becomes_its_page() {
    let recordings = [
        "amqp-events-celery-4.4.7",
        "amqp-events-celery-5.6.3",
        "amqp-events-cold-shutdown-cancelled",
        "amqp-events-control",
        "amqp-events-delayed-delivery",
        "amqp-events-hostile",
        "amqp-events-revoked-reserved",
        "amqp-events-serializers",
        "amqp-events-timezones",
        "amqp-events-warm-shutdown",
        "amqp-events-worker-sigkill",
        "redis-events",
    ];
    for recording in recordings {
        let (page, path) = (page(recording), golden(&format!("pages/{recording}.txt")));
        if std::env::var_os("UPDATE_PAGES").is_some() {
            fs::write(&path, &page).expect("a writable folder");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(page, expected, "{recording}");
    }
}
