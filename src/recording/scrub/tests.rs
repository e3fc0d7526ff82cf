use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::recording::line::Content;

fn body(bytes: impl Into<Vec<u8>>, content_type: ContentType) -> Payload {
    Payload {
        bytes: bytes.into(),
        form: Form::Body {
            content_type,
            compression: None,
        },
    }
}

fn all() -> Accept {
    ContentType::READ.into_iter().collect()
}

fn scrubbed(text: &str) -> Json {
    let payload = body(text, ContentType::Json);
    let scrubbed = Scrubber::default()
        .scrub(&payload, all())
        .expect("readable");
    serde_json::from_slice(&scrubbed.bytes).expect("JSON")
}

/// A text that is a secret: `n` makes it unique, and it is long enough not to occur by chance.
fn secret(n: usize) -> String {
    format!("hunter2-{n:02}-geheim")
}

#[test]
fn values_keep_their_length_and_kind() {
    let event = r#"{"type": "task-succeeded", "uuid": "00000001-0000-4000-8000-000000000001",
        "hostname": "w1@h", "timestamp": 1795344000.5, "clock": 7, "runtime": 0.25,
        "result": "abc", "mine": [1, {"key": true}]}"#;
    let expected = serde_json::json!({
        "type": "task-succeeded", "uuid": "00000001-0000-4000-8000-000000000001",
        "hostname": "w1@h", "timestamp": 1_795_344_000.5, "clock": 7, "runtime": 0.25,
        "result": "xxx", "xxxx": [0, {"xxx": false}],
    });
    assert_eq!(scrubbed(event), expected);
}

#[test]
fn the_class_of_an_exception_is_read_from_a_scrubbed_event() {
    let frames = r#"Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\n"#;
    let cases = [
        ("ValueError('secret')", String::new(), Some("ValueError")),
        (
            "it failed",
            format!("{frames}app.Broken: secret"),
            Some("Broken"),
        ),
        (
            "it failed",
            format!("{frames}app.error: secret"),
            Some("error"),
        ),
        ("it failed", String::new(), None),
    ];
    for (exception, traceback, class) in cases {
        let event = format!(
            r#"{{"exception": "{exception}", "traceback": "{traceback}", "uuid": "u", "type": "task-failed"}}"#
        );
        let payload = body(event.clone(), ContentType::Json);
        let scrubbed = Scrubber::default()
            .scrub(&payload, all())
            .expect("readable");
        let classes = known(&scrubbed, all()).into_iter().map(|known| known.class);
        let expected = [class.map(str::to_owned)];
        assert_eq!(classes.collect::<Vec<_>>(), expected, "{event}");
        let text = String::from_utf8(scrubbed.bytes).expect("UTF-8");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn ids_that_are_not_uuids_differ_and_cannot_be_guessed() {
    let id = |scrubber: &Scrubber, text: &str| {
        let event = format!(r#"{{"type": "task-started", "uuid": "{text}"}}"#);
        let scrubbed = scrubber.scrub(&body(event, ContentType::Json), all());
        scrubbed.expect("readable").bytes
    };
    let (one, other) = (Scrubber { seed: 1 }, Scrubber { seed: 2 });
    assert_eq!(id(&one, "order-1"), id(&one, "order-1"));
    assert_ne!(id(&one, "order-1"), id(&one, "order-2"));
    assert_ne!(id(&one, "order-1"), id(&other, "order-1"));
}

#[test]
fn none_of_twenty_secrets_is_left() {
    let s: Vec<String> = (0..20).map(secret).collect();
    let escaped: String = s[0]
        .chars()
        .map(|c| format!("\\u{:04x}", c as u32))
        .collect();
    let task = r#""uuid": "u", "hostname": "w@h", "timestamp": 1795344000"#;
    let json = [
        format!(
            r#"{{"type": "task-sent", {task}, "args": "({escaped},)", "kwargs": "{}"}}"#,
            s[1]
        ),
        format!(
            r#"{{"type": "task-succeeded", {task}, "result": "{}"}}"#,
            s[2]
        ),
        format!(
            r#"{{"type": "task-failed", {task}, "exception": "E('{}')", "traceback": "E: {}"}}"#,
            s[3], s[4]
        ),
        // Custom fields, keys, types, and Celery's names used by a custom event.
        format!(
            r#"{{"type": "task-sent", {task}, "mine": "{}", "{}": {{"{}": 1}}}}"#,
            s[5], s[6], s[7]
        ),
        format!(
            r#"{{"type": "{}", "name": "{}", "queue": "{}"}}"#,
            s[8], s[9], s[10]
        ),
        format!(
            r#"[{{"type": "task-sent", {task}, "eta": "{}", "signum": "{}"}}, "{}"]"#,
            s[11], s[12], s[13]
        ),
        format!(r#"{{"type": "task-sent", "uuid": "{}", "args": ["#, s[14]),
        format!(
            r#"{{"type": "task-sent", "uuid": "{}", "root_id": "{}"}}"#,
            s[14], s[15]
        ),
    ];
    let mut payloads: Vec<_> = json.map(|text| body(text, ContentType::Json)).into();
    let mut msgpack = b"\x82\xa4type\xa9task-sent\xa4args".to_vec();
    msgpack.push(0xa0 | u8::try_from(s[16].len()).expect("short"));
    msgpack.extend(s[16].bytes());
    payloads.push(body(msgpack, ContentType::Msgpack));
    let pickle = format!("(dVtype\nVtask-sent\nsVargs\nV{}\ns.", s[17]);
    payloads.push(body(pickle, ContentType::Pickle));
    let yaml = format!("type: task-sent\nkwargs: {}\n", s[18]);
    payloads.push(body(yaml, ContentType::Yaml));
    let inner = STANDARD.encode(format!(r#"{{"type": "task-sent", {task}}}"#));
    payloads.push(Payload {
        bytes: format!(
            r#"{{"body": "{inner}", "content-type": "application/json", "headers": {{"x": "{}"}}, "properties": {{"body_encoding": "base64"}}}}"#,
            s[19]
        )
        .into_bytes(),
        form: Form::Envelope,
    });
    let scrubber = Scrubber::default();
    let mut readable = 0;
    for payload in &payloads {
        let line = match scrubber.scrub(payload, all()) {
            Ok(scrubbed) => {
                readable += 1;
                serde_json::to_string(&Content::of(scrubbed)).expect("a line")
            }
            Err(error) => error.to_string(),
        };
        // Without quotes and backslashes, an escape of a letter would show as `u0068`.
        assert!(!line.contains("\\u"), "{line}");
        assert!(!line.contains("base64\":"), "{line}");
        for secret in &s {
            assert!(!line.contains(secret.as_str()), "{secret}: {line}");
        }
    }
    // All but the truncated JSON.
    assert_eq!(readable, payloads.len() - 1);
}

#[test]
fn nesting_and_shared_values_are_bounded() {
    let deep = format!(
        r#"{{"mine": {}{}}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let shared: String = (1..60)
        .map(|n| format!("k{n}: &a{n} [*a{0}, *a{0}]\n", n - 1))
        .collect();
    let cases = [
        (deep, ContentType::Json, vec![DecodeError::Depth]),
        (
            format!("k0: &a0 [x, x]\n{shared}"),
            ContentType::Yaml,
            vec![
                DecodeError::Large(BYTES_MAX),
                DecodeError::Values,
                DecodeError::Yaml,
            ],
        ),
    ];
    for (text, content_type, errors) in cases {
        let ended = Scrubber::default().scrub(&body(text, content_type), all());
        if let Err(error) = ended {
            assert!(errors.contains(&error), "{error}");
        } else {
            assert_eq!(content_type, ContentType::Yaml, "aliases may be scalars");
        }
    }
}
