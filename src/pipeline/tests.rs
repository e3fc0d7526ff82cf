use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

mod exemplars;
mod mutated;

use super::*;
use crate::config::Config;
use crate::escape::label_value;
use crate::event::{ContentType, Decoder, Form, Payload, Position};
use crate::profile::ProfileName;

/// A pipeline with the default settings.
fn pipeline() -> Pipeline {
    pipeline_with("{}", ViewConfig::classic(ProfileName::Native))
}

/// A pipeline for one cluster without a broker label that accepts every serializer.
fn pipeline_with(metrics: &str, view: ViewConfig) -> Pipeline {
    let config =
        format!("brokers: [{{url: 'redis://h'}}]\nhttp: {{listen: ':0'}}\nmetrics: {metrics}");
    let config = Config::parse(&config, Path::new("x.yaml"), []).expect("a good configuration");
    let mut telemetry = Telemetry::new(Timestamp::default());
    let broker: Arc<str> = "main".into();
    let (_, metrics) = telemetry.broker(&broker);
    let cluster = ClusterConfig {
        broker,
        label: None,
        drops_expired: false,
        asks_workers: false,
        holds: BrokerRetention::Nothing,
        shard: None,
        accept: ContentType::READ.into_iter().collect(),
        metrics,
    };
    Pipeline::new(
        &config.metrics,
        vec![cluster],
        &[view],
        telemetry,
        Timestamp::from_millis(1_000),
    )
}

fn snapshot(pipeline: &mut Pipeline, now: Timestamp, last: bool) -> Snapshot {
    pipeline.snapshots(now, last).remove(0)
}

/// A recorded message, with the time of its receipt.
fn recorded(line: &str) -> Option<(Payload, Timestamp)> {
    let line: Json = serde_json::from_str(line).expect("a line of JSON");
    let received = line["t"]
        .as_f64()
        .and_then(Timestamp::from_seconds)
        .unwrap_or_default();
    if line["channel"]
        .as_str()
        .is_some_and(|channel| channel.contains("pidbox"))
    {
        return None;
    }
    let payload = if let Some(envelope) = line["payload"].as_str() {
        Payload {
            bytes: envelope.into(),
            form: Form::Envelope,
        }
    } else {
        let body = line["body"].as_str().map(|text| text.as_bytes().to_vec());
        let binary = || {
            STANDARD
                .decode(line["body_b64"].as_str().expect("a body"))
                .expect("base64")
        };
        let content_type =
            ContentType::of(line["properties"]["content_type"].as_str().expect("a type"));
        let form = Form::Body {
            content_type,
            compression: None,
        };
        Payload {
            bytes: body.unwrap_or_else(binary),
            form,
        }
    };
    Some((payload, received))
}

fn counts(table: &Json) -> BTreeMap<String, f64> {
    let entries = table.as_object().expect("a map").iter();
    entries
        .map(|(key, count)| (key.clone(), count.as_f64().expect("a count")))
        .collect()
}

/// The non-zero counters of a snapshot: by event type, by type and task name, and by reason.
fn counted(snapshot: &Snapshot) -> [BTreeMap<String, f64>; 3] {
    let mut tables = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
    for row in &snapshot.rows {
        let family = &*snapshot.family(row).name;
        let label = |name: &str| {
            row.info
                .labels
                .iter()
                .find(|(label, _)| *label == name)
                .map(|(_, v)| v)
        };
        let crate::series::Value::Number(value) = row.value else {
            continue;
        };
        let task = family
            .strip_prefix("celery_task_")
            .and_then(|rest| rest.strip_suffix("_total"));
        let (table, key) = if family == "celery_events_total" {
            (0, label("type").unwrap_or_default().to_owned())
        } else if let Some(kind) = task {
            (
                1,
                format!("task-{kind} {}", label("name").unwrap_or_default()),
            )
        } else if family == "celeriac_messages_undecodable_total" {
            (2, label("reason").unwrap_or_default().to_owned())
        } else {
            continue;
        };
        if value > 0.0 {
            *tables[table].entry(key).or_default() += value;
        }
    }
    tables
}

#[test]
fn every_recording_is_counted_as_by_other_means() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let expected = std::fs::read_to_string(folder.join("counts.json")).expect("the counts");
    let expected: Json = serde_json::from_str(&expected).expect("JSON");
    let expected = expected.as_object().expect("a map");
    assert_eq!(expected.len(), 19, "a recording is missing");
    for (file, expected) in expected {
        let mut pipeline = pipeline();
        let text = std::fs::read_to_string(folder.join("events").join(file)).expect("a recording");
        let mut now = Timestamp::default();
        for (payload, received) in text.lines().filter_map(recorded) {
            now = now.max(received);
            pipeline.apply_batch(&Batch {
                broker: BrokerId::new(0),
                received: now,
                payloads: vec![payload],
                position: Position::Transient,
            });
        }
        let [types, names, unread] = counted(&snapshot(&mut pipeline, now, true));

        assert_eq!(types, counts(&expected["types"]), "{file}");
        // One of the names has a line feed.
        let named = counts(&expected["names"]).into_iter();
        let named = named.map(|(name, count)| (label_value(&name).into_owned(), count));
        assert_eq!(names, named.collect::<BTreeMap<_, _>>(), "{file}");
        assert_eq!(unread, counts(&expected["unread"]), "{file}");
    }
}

#[test]
fn messages_of_one_batch_count_as_in_batches_of_their_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/events");
    for file in std::fs::read_dir(folder).expect("the recordings") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("a recording");
        let messages = text.lines().filter_map(recorded);
        let mut payloads: Vec<_> = messages.map(|(payload, _)| payload).collect();
        let large = format!(
            "{{\"type\": \"task-sent\", \"uuid\": \"u\"}}{}",
            " ".repeat(70_000)
        );
        for (at, body) in ["{", &large, "[]"].into_iter().enumerate() {
            payloads.insert(2 * at, message_of(body.into()));
        }
        let received = Timestamp::from_millis(1_795_344_000_000);
        let rows = |size: usize| {
            let mut pipeline = pipeline();
            for payloads in payloads.chunks(size) {
                pipeline.apply_batch(&Batch {
                    broker: BrokerId::new(0),
                    received,
                    payloads: payloads.to_vec(),
                    position: Position::Transient,
                });
            }
            let snapshot = snapshot(&mut pipeline, received, true);
            let rows = snapshot.rows.iter().map(|row| {
                let name = &snapshot.family(row).name;
                format!("{name} {:?} {:?}", row.info.labels, row.value)
            });
            let mut rows: Vec<_> = rows
                .filter(|row| {
                    // The lag is that of the newest batch.
                    !row.starts_with("process_") && !row.starts_with("celeriac_event_lag_seconds")
                })
                .collect();
            rows.sort_unstable();
            rows
        };
        let expected = rows(1);
        for size in [5, payloads.len().max(1)] {
            assert_eq!(rows(size), expected, "{size} messages a batch");
        }
    }
}

/// A message with this body.
fn message_of(body: Vec<u8>) -> Payload {
    Payload {
        bytes: body,
        form: Form::Body {
            content_type: ContentType::Json,
            compression: None,
        },
    }
}

#[test]
fn messages_that_are_delivered_again_count_once_wherever_they_are_in_a_batch() {
    let message = |n: u64| {
        let body =
            format!("{{\"type\": \"task-started\", \"uuid\": \"{n}\", \"hostname\": \"w@h\"}}");
        message_of(body.into())
    };
    let received = Timestamp::from_millis(1_795_344_000_000);
    let mut pipeline = pipeline();
    pipeline.clusters[0].delivered = Delivered::durable(1_000);
    for (link, numbers) in [
        (1, (0..40).collect::<Vec<u64>>()),
        (2, (0..40).flat_map(|n| [n, 100 + n]).collect()),
    ] {
        pipeline.apply_batch(&Batch {
            broker: BrokerId::new(0),
            received,
            payloads: numbers.iter().map(|n| message(*n)).collect(),
            position: Position::Delivered {
                mark: Mark { link, tag: 1 },
                fingerprints: numbers,
                next: None,
            },
        });
    }
    let snapshot = snapshot(&mut pipeline, received, true);
    let [types, ..] = counted(&snapshot);
    assert_eq!(types, BTreeMap::from([("task-started".to_owned(), 80.0)]));
    assert_eq!(pipeline.clusters[0].metrics.redelivered.get(), 40);
}

#[test]
fn every_recorded_message_may_be_cut_anywhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/events");
    let accept = ContentType::READ.into_iter().collect();
    let mut decoder = Decoder::default();
    for file in std::fs::read_dir(folder).expect("the recordings") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("a recording");
        for (mut payload, received) in text.lines().filter_map(recorded) {
            let length = payload.bytes.len();
            for cut in (0..16).rev().map(|part| part * length / 16) {
                payload.bytes.truncate(cut);
                let mut last = Ok(());
                decoder.decode(&payload, accept, received, |event| last = event.map(drop));
                // A truncated message is always an error, except in YAML, which has no end marker.
                let yaml = matches!(
                    payload.form,
                    Form::Body {
                        content_type: ContentType::Yaml,
                        ..
                    }
                );
                assert!(
                    last.is_err() || yaml,
                    "{:?} {cut} of {length}",
                    payload.form
                );
            }
        }
    }
}

#[test]
fn recorded_failures_show_the_classes_that_the_tasks_raised() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/events");
    let text = std::fs::read_to_string(folder.join("amqp-events.jsonl")).expect("a recording");
    let mut pipeline = pipeline();
    let mut now = Timestamp::default();
    for (payload, received) in text.lines().filter_map(recorded) {
        now = received;
        pipeline.apply_batch(&Batch {
            broker: BrokerId::new(0),
            received,
            payloads: vec![payload],
            position: Position::Transient,
        });
    }
    let snapshot = snapshot(&mut pipeline, now, true);
    let mut classes: Vec<_> = snapshot
        .rows
        .iter()
        .filter(|row| *snapshot.family(row).name == *"celery_task_failed_total")
        .flat_map(|row| {
            row.info
                .labels
                .iter()
                .filter(|(label, _)| *label == "exception")
        })
        .map(|(_, class)| class.to_owned())
        .collect();
    classes.sort_unstable();
    classes.dedup();

    // A time limit and a lost child are placeholders in the event: their class is in the traceback.
    for class in [
        "NotRegistered",
        "SoftTimeLimitExceeded",
        "TimeLimitExceeded",
        "WorkerLostError",
        "ValueError",
    ] {
        assert!(
            classes.iter().any(|known| known == class),
            "{class} in {classes:?}"
        );
    }
}

#[test]
fn a_good_event_is_counted_whatever_stands_around_it() {
    let mut pipeline = pipeline();
    let event =
        |n: u32| format!(r#"{{"type": "task-started", "uuid": "u{n}", "hostname": "w@h"}}"#);
    let form = Form::Body {
        content_type: ContentType::Json,
        compression: None,
    };
    let bodies = [
        format!("[{}, 17, {}]", event(1), event(2)),
        "nonsense".to_owned(),
        format!("[{}, {{\"type\"", event(3)),
        event(4),
    ];
    let payloads = bodies.iter().map(|body| Payload {
        bytes: body.clone().into(),
        form,
    });
    let now = Timestamp::from_millis(5_000);
    pipeline.apply_batch(&Batch {
        broker: BrokerId::new(0),
        received: now,
        payloads: payloads.collect(),
        position: Position::Transient,
    });
    let [types, _, unread] = counted(&snapshot(&mut pipeline, now, false));

    assert_eq!(types, [("task-started".to_owned(), 4.0)].into());
    assert_eq!(
        unread,
        [("json".to_owned(), 2.0), ("not_a_map".to_owned(), 1.0)].into()
    );
    let (broker, _, _) = pipeline.refused().next().expect("something was refused");
    assert_eq!(&**broker, "main");
}

#[test]
fn each_serializer_that_is_not_accepted_is_told_of() {
    let mut pipeline = pipeline();
    pipeline.clusters[0].accept = Accept::default();
    let message = |content_type| Payload {
        bytes: b"x".to_vec(),
        form: Form::Body {
            content_type,
            compression: None,
        },
    };
    use ContentType::{Json, Msgpack, Unknown, Yaml};
    pipeline.apply_batch(&Batch {
        broker: BrokerId::new(0),
        received: Timestamp::default(),
        payloads: [Msgpack, Yaml, Json, Msgpack, Unknown]
            .map(message)
            .to_vec(),
        position: Position::Transient,
    });
    let refused: Vec<_> = pipeline
        .refused()
        .map(|(_, error, count)| (error, count))
        .collect();

    let expected = [
        (DecodeError::NotAccepted(Msgpack), 2),
        (DecodeError::NotAccepted(Yaml), 1),
        (DecodeError::Json, 1),
        (DecodeError::ContentType, 1),
    ];
    assert_eq!(refused, expected);
    let [_, _, unread] = counted(&snapshot(
        &mut pipeline,
        Timestamp::from_millis(2_000),
        false,
    ));
    assert_eq!(
        unread,
        [("content_type".to_owned(), 4.0), ("json".to_owned(), 1.0)].into()
    );
}
