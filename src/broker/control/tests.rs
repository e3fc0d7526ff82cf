use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::state::TaskAnswer;
use crate::timestamp::Timestamp;

const RECORDINGS: [&str; 6] = [
    include_str!("../../../tests/golden/pidbox/amqp-pidbox.jsonl"),
    include_str!("../../../tests/golden/pidbox/amqp-pidbox-celery-4.4.7.jsonl"),
    include_str!("../../../tests/golden/pidbox/amqp-pidbox-celery-5.4.0.jsonl"),
    include_str!("../../../tests/golden/pidbox/redis-pidbox.jsonl"),
    include_str!("../../../tests/golden/pidbox/redis-pidbox-celery-4.4.7.jsonl"),
    include_str!("../../../tests/golden/pidbox/redis-pidbox-celery-5.4.0.jsonl"),
];

/// The requests and the replies of a recording, as pairs of command and body.
fn recorded(recording: &str) -> (Vec<serde_json::Value>, Vec<(String, String)>) {
    let mut requests: Vec<serde_json::Value> = Vec::new();
    let mut replies = Vec::new();
    for line in recording.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let body = row["body_decoded"].as_str().or(row["body"].as_str());
        let body = body.expect("a body").to_owned();
        if row["dir"] == "request" {
            requests.push(serde_json::from_str(&body).expect("JSON"));
            continue;
        }
        let asked = requests.last().expect("a request before");
        replies.push((asked["method"].as_str().expect("a method").to_owned(), body));
    }
    (requests, replies)
}

fn begin(asked: Asked) -> Round {
    let mut chance = 0;
    Round::new(Method::POLLED, asked, Accept::default(), || {
        chance += 1;
        chance
    })
}

fn everybody(workers: &[&str]) -> Asked {
    Asked {
        destination: None,
        expected: workers.iter().map(|&worker| worker.into()).collect(),
    }
}

/// The answers that a round reads from the replies in a recording.
fn answers(recording: &str) -> Vec<WorkerAnswer> {
    let mut round = begin(Asked::default());
    for (method, body) in recorded(recording).1 {
        let at = Method::POLLED.iter().position(|own| own.name() == method);
        let ticket = at.map_or("another", |at| &round.tickets[at]).to_owned();
        round
            .accept(&ticket, ContentType::Json, body.as_bytes())
            .expect("a reply");
    }
    assert_eq!(round.unreadable_replies(), None);
    round.finish()
}

#[test]
fn requests_are_those_of_kombu() {
    for recording in RECORDINGS {
        let (requests, _) = recorded(recording);
        assert!(!requests.is_empty());
        for theirs in requests {
            let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
            let (method, ticket) = (text(&theirs["method"]), text(&theirs["ticket"]));
            let key = text(&theirs["reply_to"]["routing_key"]);
            let ours = request(&method, "{}", None, Some((&ticket, &key)));
            let mut ours: serde_json::Value = serde_json::from_str(&ours).expect("JSON");
            // The recordings reply through an exchange; celeriac uses the default exchange.
            ours["reply_to"]["exchange"] = theirs["reply_to"]["exchange"].clone();
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn requests_without_a_reply_and_for_some_only_have_neither_ticket_nor_all() {
    let workers = ["w1@vm".into(), "w\"2\\\n@вм".into()];
    let body = request("enable_events", "{}", Some(&workers), None);
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let expected = serde_json::json!({
        "method": "enable_events", "arguments": {}, "pattern": null, "matcher": null,
        "destination": ["w1@vm", "w\"2\\\n@вм"],
    });
    assert_eq!(body, expected);
}

#[test]
fn what_workers_reply_is_read() {
    for recording in [RECORDINGS[0], RECORDINGS[3]] {
        let [w1, w2] = answers(recording).try_into().expect("two workers");
        assert_eq!((w1.worker.as_str(), w1.pool_size), ("w1@vm", Some(2)));
        assert_eq!(w1.processes, Some(2));
        assert_eq!(w1.prefetch_count, Some(10));
        assert!(w1.pid.is_some());
        let queues: Vec<_> = ["celery", "topicq", "high"].map(str::to_owned).into();
        let mut found = w1.queues.expect("queues");
        found.sort();
        assert_eq!(found, {
            let mut queues = queues;
            queues.sort();
            queues
        });
        let active = w1.active.expect("tasks");
        let names: BTreeSet<_> = active
            .iter()
            .filter_map(|task| task.name.as_deref())
            .collect();
        assert_eq!(names, ["proj.sleep", "proj.sleep_late"].into());
        for task in &active {
            assert_eq!(task.queue.as_deref(), Some("celery"));
            assert_eq!(task.uuid.len(), 36);
            assert!(task.started.is_some_and(|at| at.seconds() > 1.79e9));
        }
        let reserved = w1.reserved.expect("tasks");
        assert!(!reserved.is_empty());
        assert!(reserved.iter().all(|task| task.started.is_none()));

        assert_eq!((w2.worker.as_str(), w2.pool_size), ("w2@vm", Some(1)));
        assert_eq!(w2.active, Some(Vec::new()));
    }
}

/// The replies of a Celery 5.7 worker in each serializer: content type, command and body.
fn recorded_serializers() -> Vec<(ContentType, String, Vec<u8>)> {
    let recording = include_str!("../../../tests/golden/pidbox/redis-pidbox-serializers.jsonl");
    let mut replies = Vec::new();
    let mut asked = String::new();
    for line in recording.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let payload = row["payload"].as_str().expect("an envelope");
        let envelope: serde_json::Value = serde_json::from_str(payload).expect("JSON");
        let body = envelope["body"].as_str().expect("a body");
        let body = STANDARD.decode(body).expect("base64");
        if row["dir"] == "request" {
            let request: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            request["method"]
                .as_str()
                .expect("a method")
                .clone_into(&mut asked);
        } else {
            let content_type = envelope["content-type"].as_str().expect("a content type");
            replies.push((ContentType::of(content_type), asked.clone(), body));
        }
    }
    replies
}

/// A round that has received the recorded replies in one serializer.
fn round_of(content_type: ContentType, accept: Accept) -> Round {
    let mut round = begin(Asked::default());
    round.accept = accept;
    let replies = recorded_serializers().into_iter();
    for (_, method, body) in replies.filter(|reply| reply.0 == content_type) {
        let at = Method::POLLED.iter().position(|own| own.name() == method);
        let ticket = at.map_or("another", |at| &round.tickets[at]).to_owned();
        // The round counts unreadable replies.
        let _ = round.accept(&ticket, content_type, &body);
    }
    round
}

#[test]
fn replies_in_every_serializer_are_read_alike() {
    // With YAML, `stats` gets no answer: it contains a Counter, which PyYAML does not serialize.
    for (content_type, stats) in [
        (ContentType::Msgpack, true),
        (ContentType::Pickle, true),
        (ContentType::Yaml, false),
    ] {
        let round = round_of(content_type, Accept::from_iter([content_type]));
        assert_eq!(round.unreadable_replies(), None);
        let [worker] = round.finish().try_into().expect("a worker");
        assert_eq!(worker.worker, "w1@vm");
        assert_eq!(worker.pid.is_some(), stats);
        assert_eq!(worker.pool_size, stats.then_some(2));
        assert_eq!(worker.processes, stats.then_some(2));
        assert_eq!(worker.prefetch_count, stats.then_some(6));
        let queues: BTreeSet<_> = worker.queues.into_iter().flatten().collect();
        let expected = ["celery", "high", "topicq"].map(str::to_owned);
        assert_eq!(queues, BTreeSet::from(expected));
        let tasks = |tasks: Option<Vec<TaskAnswer>>, count: usize, started: bool| {
            let tasks = tasks.expect("tasks");
            assert_eq!(tasks.len(), count, "{content_type:?}");
            for task in &tasks {
                assert_eq!(task.name.as_deref(), Some("polled.sleep"));
                assert_eq!(task.uuid.len(), 36);
                assert_eq!(task.started.is_some(), started);
            }
            let queues = tasks.into_iter().map(|task| task.queue.expect("a queue"));
            queues.collect::<Vec<_>>()
        };
        let mut queues = tasks(worker.active, 2, true);
        queues.extend(tasks(worker.reserved, 4, false));
        queues.sort();
        let expected = ["celery", "celery", "celery", "celery", "celery", "high"];
        assert_eq!(queues, expected, "{content_type:?}");
    }
}

#[test]
fn a_serializer_that_is_not_accepted_is_named_and_json_always_is() {
    let round = round_of(ContentType::Msgpack, Accept::default());
    let (replies, error) = round.unreadable_replies().expect("unreadable replies");
    assert_eq!(replies, 4);
    assert_eq!(
        error.to_string(),
        "the body is msgpack, which `accept_content` does not list"
    );
    assert_eq!(round.finish(), []);

    let mut round = begin(Asked::default());
    round.accept = Accept::from_iter([ContentType::Msgpack]);
    let ticket = round.tickets[0].clone();
    let read = round.accept(&ticket, ContentType::Json, br#"{"w": {"pid": 7}}"#);
    assert_eq!(read, Ok(()));
    let read = round.accept(&ticket, ContentType::Unknown, b"{}");
    assert_eq!(read, Err(DecodeError::ContentType));
    // A late reply is dropped whatever its serializer.
    let read = round.accept("of the round before", ContentType::Pickle, b"?");
    assert_eq!(read, Ok(()));
    assert_eq!(
        round.unreadable_replies(),
        Some((1, DecodeError::ContentType))
    );
}

#[test]
fn old_versions_reply_alike_and_errors_say_nothing() {
    for recording in [RECORDINGS[4], RECORDINGS[5]] {
        let [worker] = answers(recording).try_into().expect("a worker");
        assert_eq!(worker.pool_size, Some(1));
        assert_eq!(worker.queues, Some(vec!["celery".to_owned()]));
        assert_eq!(worker.active, None);
    }
    let mut round = begin(everybody(&["w"]));
    let tickets = round.tickets.clone();
    for ticket in &tickets {
        let error = br#"{"w": {"error": "KeyError('nosuch')"}}"#;
        round
            .accept(ticket, ContentType::Json, error)
            .expect("a reply");
    }
    assert!(round.is_over());
    let nothing = WorkerAnswer {
        worker: "w".into(),
        ..WorkerAnswer::default()
    };
    assert_eq!(round.finish(), [nothing]);
}

#[test]
fn arguments_are_stepped_over_whatever_python_wrote() {
    let mut round = begin(everybody(&["w\u{fffd}"]));
    let [_, queues, _, _, active] = round.tickets.clone().try_into().expect("five");
    let body = r#"{"w\udce9": [
        {"id": "a", "name": "t", "args": [NaN, {"x": [1e999, -Infinity]}], "kwargs": {"y": "\ud83d"},
         "time_start": 1795344016.5, "delivery_info": {"exchange": "celery", "routing_key": "high"}},
        {"id": "b", "time_start": 17.5, "delivery_info": {"exchange": "", "routing_key": "any"}},
        {"id": "c", "time_start": null, "delivery_info": {"exchange": "celery", "routing_key": "low"}},
        {"id": "d", "delivery_info": null}, {"name": "without an id"}, 7]}"#;
    round
        .accept(&active, ContentType::Json, body.as_bytes())
        .expect("a reply");
    let body = r#"{"w\udce9": [{"name": "high", "routing_key": "high", "exchange": {"name": "celery", "type": "direct"}},
        {"name": "celery", "routing_key": "celery", "exchange": {"name": "celery", "type": "direct"}}]}"#;
    round
        .accept(&queues, ContentType::Json, body.as_bytes())
        .expect("a reply");
    let [worker] = round.finish().try_into().expect("one");
    let task = |uuid: &str, name: Option<&str>, queue: Option<&str>, started: bool| TaskAnswer {
        uuid: uuid.into(),
        name: name.map(str::to_owned),
        queue: queue.map(str::to_owned),
        started: started.then(|| Timestamp::from_millis(1_795_344_016_500)),
        eta: None,
    };
    let expected = [
        task("a", Some("t"), Some("high"), true),
        task("b", None, Some("any"), false),
        task("c", None, None, false),
        task("d", None, None, false),
    ];
    assert_eq!(worker.active.expect("tasks"), expected);
}

#[test]
fn a_round_is_over_when_everybody_answered_everything() {
    let mut round = begin(everybody(&["a", "b"]));
    let tickets = round.tickets.clone();
    for ticket in &tickets {
        assert!(!round.is_over());
        round
            .accept(ticket, ContentType::Json, br#"{"a": []}"#)
            .expect("a reply");
        round
            .accept("of the round before", ContentType::Json, br#"{"b": []}"#)
            .expect("late");
    }
    assert!(!round.is_over(), "b answered in time to nothing");
    for ticket in &tickets {
        round
            .accept(ticket, ContentType::Json, br#"{"b": []}"#)
            .expect("a reply");
    }
    assert!(round.is_over());
    assert!(
        !begin(Asked::default()).is_over(),
        "nobody is known: all the time there is"
    );
    for body in [&b""[..], b"[]", b"{", b"{\"a\": }"] {
        let mut round = begin(everybody(&["a"]));
        let ticket = round.tickets[0].clone();
        assert!(round.accept(&ticket, ContentType::Json, body).is_err());
        assert!(matches!(round.unreadable_replies(), Some((1, _))));
    }
}

#[test]
fn a_worker_that_hangs_is_not_waited_for_and_asked_now_and_then() {
    let online: [Arc<str>; 2] = ["a".into(), "hangs".into()];
    let answer = WorkerAnswer {
        worker: "a".into(),
        ..WorkerAnswer::default()
    };
    let a: BTreeSet<Arc<str>> = ["a".into()].into();
    let mut roster = Roster::default();
    let mut to_all = Vec::new();
    for at in 0..22 {
        let asked = roster.ask(&online);
        if asked.destination.is_none() {
            to_all.push(at);
        } else {
            assert_eq!(asked.destination, Some(vec!["a".into()]));
        }
        assert_eq!(asked.expected.len(), if at < 3 { 2 } else { 1 });
        roster.answered(std::slice::from_ref(&answer), &online, false);
    }
    assert_eq!(to_all, [0, 1, 2, 10, 20]);
    // A worker that is gone for good is forgotten; one that returns is waited for again.
    roster.answered(std::slice::from_ref(&answer), &online[..1], false);
    assert_eq!(roster.ask(&online[..1]), everybody(&["a"]));
    let asked = roster.ask(&online);
    assert_eq!(asked.expected.len(), 2);
    assert!(asked.expected.is_superset(&a));
}

#[test]
fn tickets_look_like_uuids() {
    let ticket = unique(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(ticket, "01234567-89ab-4def-8123-456789abcdef");
}

#[test]
fn tasks_that_are_scheduled_and_rate_limits_are_read() {
    let mut round = Round::new(
        Method::POLLED_WITH_TASKS,
        everybody(&["w"]),
        Accept::default(),
        || 7,
    );
    round.tickets = [
        "stats",
        "queues",
        "registered",
        "scheduled",
        "reserved",
        "active",
    ]
    .map(str::to_owned)
    .into();
    let mut take = |ticket: &str, list: &str| {
        let body = format!("{{\"w\": {list}}}");
        let taken = round.accept(ticket, ContentType::Json, body.as_bytes());
        taken.expect("a reply");
    };
    take("registered", r#"["free", "slow [rate_limit=1/m]"]"#);
    take(
        "scheduled",
        r#"[{"eta": "2026-11-22T16:17:33.5+00:00", "priority": 6, "request": {"id": "a", "name": "free",
            "args": [{"eta": 7}], "time_start": null, "delivery_info": {"exchange": "", "routing_key": "q"}}},
            {"eta": null, "priority": 6, "request": null}]"#,
    );
    take("reserved", "[]");
    take("active", "[]");
    let answered = |round: &Round| round.workers.get("w").is_some_and(Replies::is_complete);
    assert!(answered(&round));
    // Two workers have this name.
    let twice = round.accept("active", ContentType::Json, br#"{"w": []}"#);
    assert_eq!(twice, Ok(()));
    assert!(!answered(&round));
    let [worker] = round.finish().try_into().expect("one");
    assert!(!worker.complete);
    let registered = worker.registered.expect("tasks");
    let registered: Vec<_> = registered
        .iter()
        .map(|task| (task.name.as_str(), task.rate_pause.is_some()))
        .collect();
    assert_eq!(registered, [("free", false), ("slow", true)]);
    let [task] = worker.scheduled.expect("tasks").try_into().expect("one");
    assert_eq!(
        (task.uuid.as_str(), task.queue.as_deref()),
        ("a", Some("q"))
    );
    let eta = Timestamp::from_iso8601("2026-11-22T16:17:33.5Z");
    assert_eq!(task.eta, eta);
}

#[test]
fn a_list_that_is_missing_cut_or_an_error_makes_an_answer_incomplete() {
    let long = format!("[{}]", vec![r#"{"id": "x"}"#; 10_000].join(","));
    let cases = [
        (["[]", "[]", "[]"], true),
        (["[]", "[]", r#"{"error": "x"}"#], false),
        (["[]", &long, "[]"], false),
    ];
    for (lists, complete) in cases {
        let mut round = begin(everybody(&["w"]));
        let tickets = round.tickets.clone();
        for (ticket, list) in tickets[2..].iter().zip(lists) {
            let body = format!("{{\"w\": {list}}}");
            let taken = round.accept(ticket, ContentType::Json, body.as_bytes());
            taken.expect("a reply");
        }
        let (bounds, cut) = (Bounds::default(), lists.contains(&long.as_str()));
        round.report_limits(&bounds);
        assert_eq!(bounds.times(Limit::ReplyItems), u64::from(cut));
        assert_eq!(round.finish()[0].complete, complete);
    }
    let mut round = begin(everybody(&["w"]));
    let ticket = round.tickets[3].clone();
    let taken = round.accept(&ticket, ContentType::Json, br#"{"w": []}"#);
    taken.expect("a reply");
    assert!(!round.finish()[0].complete, "two lists are missing");
}

#[test]
fn replies_that_are_too_many_or_too_long_are_counted() {
    let reached = |round: &Round| {
        let bounds = Bounds::default();
        round.report_limits(&bounds);
        bounds.times(Limit::Replies)
    };
    let mut round = begin(Asked::default());
    for n in 1..=REPLIES_MAX {
        assert!(!round.is_over());
        assert_eq!(reached(&round), 0);
        let taken = round.accept("late", ContentType::Json, b"{}");
        taken.expect("not read");
        assert_eq!(round.is_over(), n == REPLIES_MAX);
    }
    assert_eq!(reached(&round), 1);

    let mut round = begin(Asked::default());
    round.unreadable(DecodeError::ContentType);
    assert_eq!(reached(&round), 0);
    round.unreadable(DecodeError::Large(REPLY_BYTES_MAX));
    assert_eq!(reached(&round), 1);
}
