use proptest::prelude::*;

use super::*;
use crate::event::{Detail, EventKind, TEXT_MAX, TaskEvent, TaskKind, WorkerEvent, WorkerKind};

const RECEIVED: Timestamp = Timestamp::from_millis(1_795_344_000_000);

/// What came out of a JSON body: for each event its type, or the reason why there is none.
fn outcomes(body: &str) -> Vec<Result<EventKind, &'static str>> {
    let mut outcomes = Vec::new();
    decode(body.as_bytes(), |event| {
        outcomes.push(
            event
                .map(|event| event.kind())
                .map_err(|error| error.reason().name()),
        );
    });
    outcomes
}

fn decode(body: &[u8], each: impl FnMut(Result<Event<'_>, DecodeError>)) {
    let form = Form::Body {
        content_type: ContentType::Json,
        compression: None,
    };
    Decoder::default().decode(
        &Payload {
            bytes: body.to_vec(),
            form,
        },
        Accept::default(),
        RECEIVED,
        each,
    );
}

fn one(body: &str, check: impl FnOnce(Event<'_>)) {
    let mut check = Some(check);
    decode(body.as_bytes(), |event| {
        let check = check.take().expect("one event");
        check(event.expect("a good event"));
    });
    assert!(check.is_none(), "no event in {body}");
}

const STARTED: &str =
    r#"{"type": "task-started", "uuid": "u", "hostname": "w@h", "timestamp": 1.5}"#;

#[test]
fn a_task_event_keeps_what_is_asked_for() {
    let body = r#"{"hostname": "gen7@h", "utcoffset": -5.5, "pid": 7, "clock": 3, "uuid": "u-1",
        "root_id": "u-1", "parent_id": "u-0", "name": "proj.\u0442", "args": "(1, 'x')", "kwargs": "{}", "retries": 2,
        "eta": "2026-11-22T16:17:33.500000+05:30", "exchange": "high", "routing_key": "hi", "queue": "high", "timestamp": 1795344019.25, "type": "task-sent"}"#;
    one(body, |event| {
        assert_eq!(event.timestamp, Timestamp::from_millis(1_795_344_019_250));
        assert_eq!((event.hostname.as_ref(), event.pid), ("gen7@h", Some(7)));
        let expected = TaskEvent {
            name: Some("proj.т".into()),
            queue: Some("high".into()),
            exchange: Some("high".into()),
            routing_key: Some("hi".into()),
            root_id: Some("u-1".into()),
            has_parent: true,
            retries: Some(2),
            eta: Timestamp::from_seconds(1_795_344_453.5),
            ..TaskEvent::new(TaskKind::Sent, "u-1")
        };
        assert_eq!(event.detail, Detail::Task(expected));
    });
}

#[test]
fn a_body_that_is_not_utf_8_costs_only_the_characters_that_are_none() {
    let mut hostnames = Vec::new();
    let body = b"{\"type\": \"worker-online\", \"hostname\": \"w\xff@h\", \"pid\": 7}";
    decode(body, |event| {
        let event = event.expect("an event");
        hostnames.push((event.hostname.into_owned(), event.pid));
    });
    assert_eq!(hostnames, [("w\u{FFFD}@h".to_owned(), Some(7))]);
}

#[test]
fn a_heartbeat_on_demand_lacks_its_counts() {
    one(
        r#"{"type": "worker-heartbeat", "hostname": "w@h", "freq": 5, "timestamp": 2}"#,
        |event| {
            let expected = WorkerEvent {
                freq: Some(5.0),
                ..WorkerEvent::new(WorkerKind::Heartbeat)
            };
            assert_eq!(event.detail, Detail::Worker(expected));
        },
    );
}

#[test]
fn a_heartbeat_tells_load_and_software_where_they_are_what_they_should_be() {
    let heartbeat = |more: &str, expected: WorkerEvent<'_>| {
        let body =
            format!(r#"{{"type": "worker-heartbeat", "hostname": "w@h", "timestamp": 2, {more}}}"#);
        one(&body, |event| {
            assert_eq!(event.detail, Detail::Worker(expected))
        });
    };
    let nothing = || WorkerEvent::new(WorkerKind::Heartbeat);
    heartbeat(
        r#""loadavg": [0.5, 1, 2.25], "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux""#,
        WorkerEvent {
            loadavg: Some([0.5, 1.0, 2.25]),
            sw_ident: Some("py-celery".into()),
            sw_ver: Some("5.7.0".into()),
            sw_sys: Some("Linux".into()),
            ..nothing()
        },
    );
    for odd in [
        "[0.5, 1]",
        "[1, 2, 3, 4]",
        r#"[1, "a", 2]"#,
        "[NaN, 1, 2]",
        "7",
        "{}",
    ] {
        heartbeat(&format!(r#""loadavg": {odd}"#), nothing());
    }
    let long = "x".repeat(200);
    heartbeat(&format!(r#""sw_ver": "{long}""#), nothing());
}

#[test]
fn a_task_sent_that_names_an_exchange_leaves_the_queue_to_the_bindings() {
    // (queue, exchange, routing key), the queue that is taken, and whether bindings decide.
    let cases = [
        (("celery", "", "celery"), (Some("celery"), false)),
        (("default", "", "high"), (Some("high"), false)),
        (("high", "media", "hi"), (Some("high"), true)),
        (("celery", "celery", "celery"), (Some("celery"), false)),
        (("default", "topix", "t.a.b"), (Some("default"), true)),
        (("", "celery_delayed_27", "0.1.qt"), (None, true)),
    ];
    for ((queue, exchange, key), expected) in cases {
        let body = format!(
            r#"{{"type": "task-sent", "uuid": "u", "queue": "{queue}", "exchange": "{exchange}", "routing_key": "{key}"}}"#
        );
        one(&body, |event| {
            let Detail::Task(task) = event.detail else {
                panic!("a task event");
            };
            let taken = (task.queue.as_deref(), task.exchange.is_some());
            assert_eq!(taken, expected, "{body}");
            assert_eq!(task.routing_key.is_some(), expected.1, "{body}");
        });
    }
}

#[test]
fn the_class_of_a_lost_child_comes_out_of_the_traceback() {
    let traceback =
        r"Traceback:\n  File \u0022/venv/x\u0022\nbilliard.exceptions.WorkerLostError: gone\n";
    let member = format!(r#""traceback": "{traceback}""#);
    let exception = r#""exception": "ExceptionWithTraceback()""#;
    for members in [
        format!("{member}, {exception}"),
        format!("{exception}, {member}"),
    ] {
        one(
            &format!(r#"{{"type": "task-failed", "uuid": "u", {members}}}"#),
            |event| {
                let Detail::Task(task) = event.detail else {
                    panic!("a task event")
                };
                assert_eq!(task.exception.as_deref(), Some("WorkerLostError"));
            },
        );
    }
}

#[test]
fn an_event_belongs_to_the_task_that_it_is_a_step_of() {
    for (body, id) in [
        (STARTED, Some("u")),
        (r#"{"type": "worker-online", "uuid": "u"}"#, None),
        (r#"{"type": "my-event", "uuid": "u"}"#, None),
    ] {
        one(body, |event| assert_eq!(event.task_id(), id, "{body}"));
    }
}

#[test]
fn a_member_is_kept_where_it_can_be_what_it_should_be() {
    let task = |members: &str, expected: TaskEvent<'_>| {
        let body = format!(r#"{{"type": "task-received", "uuid": "u", {members}}}"#);
        one(&body, |event| {
            assert_eq!(event.detail, Detail::Task(expected), "{body}")
        });
    };
    let nothing = || TaskEvent::new(TaskKind::Received, "u");
    task(
        r#""runtime": 0, "expires": "2026-11-22T16:17:33Z", "terminated": true, "expired": true, "requeue": true"#,
        TaskEvent {
            runtime: Some(0.0),
            expires: Timestamp::from_seconds(1_795_364_253.0),
            terminated: true,
            expired: true,
            requeue: true,
            ..nothing()
        },
    );
    for odd in [
        r#""runtime": -0.5"#,
        r#""runtime": Infinity"#,
        r#""retries": -1"#,
        r#""retries": 1.5"#,
        r#""name": """#,
        r#""name": null, "retries": null"#,
        r#""eta": 7, "expires": "soon", "exception": []"#,
        r#""requeue": 1, "terminated": "true", "expired": null"#,
    ] {
        task(odd, nothing());
    }
}

#[test]
fn an_id_of_a_related_task_is_a_text_or_missing() {
    let longest = "x".repeat(TEXT_MAX);
    let cases = [
        (r#""r""#.to_owned(), Some("r")),
        ("null".to_owned(), None),
        ("7".to_owned(), None),
        (r#"["r"]"#.to_owned(), None),
        (r#""""#.to_owned(), None),
        (format!("\"{longest}\""), Some(&*longest)),
        (format!("\"{longest}x\""), None),
    ];
    for (value, expected) in cases {
        for key in ["root_id", "parent_id"] {
            let body = format!(r#"{{"type": "task-received", "uuid": "u", "{key}": {value}}}"#);
            one(&body, |event| {
                let Detail::Task(task) = event.detail else {
                    panic!("a task event");
                };
                let told = (task.root_id.as_deref(), task.has_parent);
                let expected = match key {
                    "root_id" => (expected, false),
                    _ => (None, expected.is_some()),
                };
                assert_eq!(told, expected, "{body}");
            });
        }
    }
}

#[test]
fn a_name_may_be_as_long_as_a_label_and_no_longer() {
    let heartbeat = EventKind::Worker(WorkerKind::Heartbeat);
    for (length, expected) in [(1024, Ok(heartbeat)), (1025, Err("oversized"))] {
        for letter in ["h", r"\u0068"] {
            let name = letter.repeat(length);
            let body = format!(r#"{{"type": "worker-heartbeat", "hostname": "{name}"}}"#);
            assert_eq!(outcomes(&body), [expected], "{letter} {length}");
        }
    }
    for (length, is_kept) in [(128, true), (129, false), (0, false)] {
        let version = "7".repeat(length);
        let body = format!(r#"{{"type": "worker-heartbeat", "freq": 0, "sw_ver": "{version}"}}"#);
        one(&body, |event| {
            let expected = WorkerEvent {
                sw_ver: Some(version.into()).filter(|_| is_kept),
                ..WorkerEvent::new(WorkerKind::Heartbeat)
            };
            assert_eq!(event.detail, Detail::Worker(expected));
        });
    }
}

#[test]
fn an_event_of_another_type_may_use_the_names_of_members_as_it_likes() {
    for (member, expected) in [
        (r#""name": [1], "runtime": "long""#, Ok(EventKind::Other)),
        (r#""uuid": [1]"#, Err("field")),
        (r#""hostname": 1"#, Err("field")),
        (r#""timestamp": "now""#, Err("field")),
    ] {
        let body = format!(r#"{{"type": "my-event", {member}}}"#);
        assert_eq!(outcomes(&body), [expected], "{member}");
    }
}

#[test]
fn a_time_that_is_missing_or_no_number_is_the_time_of_receipt() {
    for timestamp in ["", r#""timestamp": null,"#, r#""timestamp": NaN,"#] {
        one(
            &format!(r#"{{{timestamp} "type": "worker-online"}}"#),
            |event| {
                assert_eq!(event.timestamp, RECEIVED, "{timestamp}");
            },
        );
    }
}

#[test]
fn a_body_may_nest_128_levels_deep_and_no_more() {
    // The first two are the list that an event may stand in, and the event.
    for (more, is_read) in [(125, true), (126, true), (127, false)] {
        let member = format!("{}{}", "[".repeat(more), "]".repeat(more));
        let body = format!(r#"{{"type": "worker-online", "x": {member}}}"#);
        let expected = if is_read {
            Ok(EventKind::Worker(WorkerKind::Online))
        } else {
            Err("depth")
        };
        assert_eq!(outcomes(&body), [expected], "{more}");
    }
}

#[test]
fn each_kind_of_bad_input_has_its_reason_and_costs_nothing_else() {
    let started = Ok(EventKind::Task(TaskKind::Started));
    let long = "n".repeat(2_000);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let cases = [
        (String::new(), vec![Err("empty")]),
        ("   ".to_owned(), vec![Err("empty")]),
        ("nonsense".to_owned(), vec![Err("json")]),
        ("17".to_owned(), vec![Err("not_a_map")]),
        ("[]".to_owned(), vec![]),
        (
            format!("[{STARTED}, 17, {STARTED}]"),
            vec![started, Err("not_a_map"), started],
        ),
        (
            format!("[{STARTED}, {{\"type\": "),
            vec![started, Err("json")],
        ),
        (format!("{STARTED} x"), vec![started, Err("json")]),
        (format!("[{STARTED} {STARTED}]"), vec![started, Err("json")]),
        (format!("[{STARTED}, {deep}]"), vec![started, Err("depth")]),
        (format!("[{{}}, {STARTED}]"), vec![Err("field"), started]),
        (r#"{"type": 7}"#.to_owned(), vec![Err("field")]),
        (r#"{"type": "task-started"}"#.to_owned(), vec![Err("field")]),
        (
            r#"{"type": "task-started", "uuid": ""}"#.to_owned(),
            vec![Err("field")],
        ),
        (
            r#"{"type": "task-started", "uuid": ["u"]}"#.to_owned(),
            vec![Err("field")],
        ),
        (
            r#"{"type": "worker-online", "timestamp": "now"}"#.to_owned(),
            vec![Err("field")],
        ),
        (
            r#"{"type": "worker-online", "timestamp": 1e999}"#.to_owned(),
            vec![Err("field")],
        ),
        (
            format!(r#"[{{"type": "task-received", "uuid": "u", "name": "{long}"}}, {STARTED}]"#),
            vec![Err("oversized"), started],
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(outcomes(&body), expected, "{body}");
    }
}

#[test]
fn values_that_only_python_writes_cost_no_event() {
    let members = r#""x": NaN, "y": [Infinity, -Infinity, 1180591620717411303424], "z": "\udce9""#;
    let body = format!(r#"[{{"type": "my-event", {members}}}, {STARTED}]"#);

    assert_eq!(
        outcomes(&body),
        [Ok(EventKind::Other), Ok(EventKind::Task(TaskKind::Started))]
    );
}

const MEMBERS: [&str; 14] = [
    r#""type": "task-sent""#,
    r#""uuid": "01234567-89ab-cdef-fedc-ba9876543210""#,
    r#""uuid":"other""#,
    r#""hostname": "w@h""#,
    r#""name": "t""#,
    r#""names": "u""#,
    r#""n\u0061me": "v""#,
    r#""name" : "w""#,
    r#""routing_key": "k""#,
    r#""exchange": "x""#,
    r#""timestamp": 1795344000.1234567"#,
    r#""pid": 123456789012"#,
    r#""a long key that is not known": [1, {"name": "z"}]"#,
    r#""args": "{\"name\": 1}""#,
];

proptest! {
    /// A batch that is cut anywhere still gives every event that stands before the cut.
    #[test]
    fn events_before_a_cut_are_read(events in 1_usize..6, cut in 0.0..1.0_f64) {
        let body = format!("[{}]", vec![STARTED; events].join(","));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
        let cut = (cut * body.len() as f64) as usize;
        let whole = body[..cut].matches('}').count();
        let read = outcomes(&body[..cut]);

        prop_assert_eq!(read.iter().filter(|event| event.is_ok()).count(), whole);
        prop_assert_eq!(read.last().map(Result::is_err), Some(true));
    }

    /// The learned order of keys affects only speed.
    #[test]
    fn events_are_read_alike_in_any_order_of_members(
        orders in prop::collection::vec(
            prop::sample::subsequence(MEMBERS.to_vec(), 1..MEMBERS.len()).prop_shuffle(), 1..12,
        ),
        space in "[ \n]{0,1}",
    ) {
        let mut decoder = Decoder::default();
        for members in orders {
            let body = format!("{{{}}}", members.join(&format!(",{space}")));
            let payload = Payload {
                bytes: body.into_bytes(),
                form: Form::Body {
                    content_type: ContentType::Json,
                    compression: None,
                },
            };
            let read = |decoder: &mut Decoder| {
                let mut read = Vec::new();
                let each = |event: Result<Event<'_>, _>| read.push(format!("{event:?}"));
                decoder.decode(&payload, Accept::default(), RECEIVED, each);
                read
            };
            let expected = read(&mut Decoder::default());
            prop_assert_eq!(&read(&mut decoder), &expected);
            prop_assert_eq!(read(&mut decoder), expected);
        }
    }

    /// Whatever stands in one event of a batch as valid JSON, its neighbours are read.
    #[test]
    fn neighbours_of_any_event_are_read(key in "[a-z]{0,12}|uuid|type|timestamp|name", text in ".*", number in any::<f64>()) {
        let odd = serde_json::json!({ "type": "task-received", "uuid": "u", key: [text, number] });
        let read = outcomes(&format!("[{STARTED}, {odd}, {STARTED}]"));

        prop_assert_eq!(read.len(), 3);
        prop_assert!(read[0].is_ok() && read[2].is_ok());
    }
}
