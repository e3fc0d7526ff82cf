use super::*;
use crate::event::KeyOrder;
use crate::event::reader::events;
use crate::event::{Detail, Event, EventKind, TaskKind};
use crate::timestamp::Timestamp;

fn each(body: &[u8], mut take: impl FnMut(Result<Event<'_>, DecodeError>)) {
    events(
        PickleReader::new(body),
        &mut KeyOrder::default(),
        Timestamp::default(),
        &mut take,
    );
}

/// Returns the type of each event in a body, or the reason why it could not be read.
fn outcomes(body: &[u8]) -> Vec<Result<EventKind, &'static str>> {
    let mut outcomes = Vec::new();
    each(body, |event| {
        outcomes.push(
            event
                .map(|event| event.kind())
                .map_err(|error| error.reason().name()),
        );
    });
    outcomes
}

const STARTED: &[u8] = b"}(\x8c\x04type\x8c\x0ctask-started\x8c\x04uuid\x8c\x01uu";

#[test]
fn each_kind_of_bad_input_has_its_reason() {
    let started = Ok(EventKind::Task(TaskKind::Started));
    let list = |items: &[&[u8]]| [b"\x80\x04](", &items.concat()[..], b"e."].concat();
    let long = [
        b"}(\x8c\x04type\x8c\x0ctask-started\x8c\x04uuidX\x00\x00\x01\x00",
        &[b'u'; 65_536][..],
        b"u",
    ]
    .concat();
    let deep = [&b"("[..], &b"]".repeat(100_000), &b"a".repeat(99_999), b"0"].concat();
    let cases = [
        (vec![], vec![Err("empty")]),
        (b".".to_vec(), vec![Err("pickle")]),
        (b"\x80\x04].".to_vec(), vec![]),
        (b"\x80\x04}.".to_vec(), vec![Err("field")]),
        (b"\x80\x04K\x07.".to_vec(), vec![Err("not_a_map")]),
        (b"\x80\x04N\x85.".to_vec(), vec![Err("not_a_map")]),
        (
            list(&[STARTED, b"K\x07", STARTED]),
            vec![started, Err("not_a_map"), started],
        ),
        (
            list(&[STARTED, b"}", STARTED]),
            vec![started, Err("field"), started],
        ),
        (list(&[&long, STARTED]), vec![Err("oversized"), started]),
        // A list is not complete before its end.
        (list(&[STARTED, b"\xff"]), vec![Err("pickle")]),
        (list(&[STARTED])[..20].to_vec(), vec![Err("pickle")]),
        // At any depth, because nothing recurses.
        ([&deep, STARTED, b"."].concat(), vec![started]),
        // Bytes are not text.
        (
            b"}(\x8c\x04type\x8c\x0ctask-started\x8c\x04uuidC\x01uu.".to_vec(),
            vec![Err("field")],
        ),
        // Missing operands, or operands of the wrong type.
        (b"a.".to_vec(), vec![Err("pickle")]),
        (b"}N(u.".to_vec(), vec![Err("pickle")]),
        (b"}(Nu.".to_vec(), vec![Err("pickle")]),
        (b"}(N(s.".to_vec(), vec![Err("pickle")]),
        (b"(N0000.".to_vec(), vec![Err("pickle")]),
        (b"]K\x01e.".to_vec(), vec![Err("pickle")]),
        (b"h\x00.".to_vec(), vec![Err("pickle")]),
        (b"Nr\xff\xff\xff\xff.".to_vec(), vec![Err("pickle")]),
        (
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.".to_vec(),
            vec![Err("pickle")],
        ),
    ];
    for (body, expected) in cases {
        let shown = body.escape_ascii().to_string();
        assert_eq!(outcomes(&body), expected, "{shown:.100}");
    }
}

#[test]
fn an_object_costs_the_member_it_stands_in() {
    // Each occurs in an unused member, in an optional one, and in a required one.
    let objects: [&[u8]; 14] = [
        b"cos\nsystem\n(S'true'\ntR",
        b"\x8c\x02os\x8c\x06system\x93",
        b"\x8c\x06signal\x8c\x07SIGKILL\x93",
        b"cx\ny\nN\x85R",
        b"cx\ny\n)R}b",
        b"(S'true'\nios\nsystem\n",
        b"(cx\ny\nNo",
        b"cx\ny\n)\x81",
        b"cx\ny\n)}\x92",
        b"\x82\x01)R",
        b"\x83\x01\x00)R",
        b"\x84\x01\x00\x00\x00)R",
        // A subclass of list, and one of dict.
        b"cx\ny\n)R(K\x01K\x02e",
        b"cx\ny\n)R(K\x01K\x02u",
    ];
    let started = Ok(EventKind::Task(TaskKind::Started));
    for object in objects {
        let body = [
            &b"]("[..],
            STARTED,
            STARTED.strip_suffix(b"u").expect("a map"),
            b"\x8c\x06signum",
            object,
            b"\x8c\x03pid",
            object,
            b"\x8c\x04name",
            object,
            b"u",
            STARTED.strip_suffix(b"u").expect("a map"),
            b"\x8c\x04uuid",
            object,
            b"u",
            STARTED,
            b"e.",
        ]
        .concat();
        let shown = object.escape_ascii().to_string();
        let missing = if object.starts_with(b"cos") {
            // Made from a single string, which is used as the name.
            started
        } else {
            Err("field")
        };
        assert_eq!(
            outcomes(&body),
            [started, started, missing, started],
            "{shown}"
        );
        assert_eq!(outcomes(&[object, b"."].concat()), [Err("not_a_map")]);
    }
    // Missing operands.
    for body in [&b"NR."[..], b"N\x93.", b"N\x81.", b"}b.", b"o.", b"N(NR."] {
        assert_eq!(outcomes(body), [Err("pickle")], "{}", body.escape_ascii());
    }
}

#[test]
fn what_only_the_writer_could_look_up_is_refused_by_its_name() {
    let cases: [(&[u8], &str); 4] = [
        (b"Pid\n.", "PERSID"),
        (b"NQ.", "BINPERSID"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"N\x98.", "READONLY_BUFFER"),
    ];
    for (body, name) in cases {
        let mut error = None;
        each(body, |event| error = event.err());
        assert_eq!(error, Some(DecodeError::PickledReference(name)), "{name}");
    }
    let error = DecodeError::PickledReference("PERSID").to_string();
    assert_eq!(error, "the pickle refers to data outside itself (PERSID)");
}

#[test]
fn what_the_memo_brings_back_is_not_copied() {
    // Nine lists, each of which contains the previous one nine times.
    let mut body = b"]q\x000".to_vec();
    for level in 1..10_u8 {
        body.extend_from_slice(b"](");
        body.extend([b'h', level - 1].repeat(9));
        body.extend([b'e', b'q', level, b'0']);
    }
    // A list that contains itself, and an event that is repeated unchanged.
    body.extend_from_slice(b"]q\x0ah\x0aa0](");
    body.extend_from_slice(STARTED);
    body.extend_from_slice(b"q\x0bh\x0bh\x09h\x0ae.");
    let started = Ok(EventKind::Task(TaskKind::Started));
    let nested = Err("not_a_map");

    assert_eq!(outcomes(&body), [started, started, nested, nested]);
}

#[test]
fn a_pickle_of_too_many_values_is_refused() {
    for value in [&b"N"[..], b"]", b"}", b"(", b")"] {
        let body = [&b"]"[..], &value.repeat(VALUES_MAX), b"."].concat();
        assert_eq!(
            outcomes(&body),
            [Err("oversized")],
            "{}",
            value.escape_ascii()
        );
    }
    for (values, expected) in [(VALUES_MAX, "not_a_map"), (VALUES_MAX + 1, "oversized")] {
        let body = [&b"N0".repeat(values - 1)[..], b"N."].concat();
        assert_eq!(outcomes(&body), [Err(expected)], "{values}");
    }
    let memorized = [&b"N"[..], &b"\x94".repeat(VALUES_MAX), b"."].concat();
    assert_eq!(outcomes(&memorized), [Err("oversized")]);
}

#[test]
fn texts_of_every_protocol_are_read() {
    let long = [b"\x8d\x05\x01\0\0\0\0\0\0".as_slice(), &[b'x'; 0x105]].concat();
    let longest = "x".repeat(0x105);
    let cases: [(&[u8], &str); 12] = [
        (&long, &longest),
        (b"S'\\t\\r\\x4\\q'\n", "\t\r4q"),
        (b"Vproj.\\u0442\xe9\n", "proj.тé"),
        (b"V\\U0001f600\\u005cn\n", "😀\\n"),
        (b"V\\ud800\\uZZZZ\n", "\u{FFFD}\\uZZZZ"),
        (b"Vplain\n", "plain"),
        (b"S'it\\'s\\n\\x41\\\\'\n", "it's\nA\\"),
        (b"S\"\xd1\x82\"\n", "т"),
        (b"U\x02\xd1\x82", "т"),
        (b"T\x02\x00\x00\x00\xd1\x82", "т"),
        (b"X\x02\x00\x00\x00\xd1\x82", "т"),
        // Python leaves lone surrogates in what it calls UTF-8.
        (b"\x8c\x04x\xed\xb3\xa9", "x\u{FFFD}\u{FFFD}\u{FFFD}"),
    ];
    for (text, expected) in cases {
        let body = [b"(dS'type'\nS'task-started'\nsS'uuid'\n", text, b"s."].concat();
        let mut read = None;
        each(&body, |event| {
            let Ok(Event {
                detail: Detail::Task(task),
                ..
            }) = event
            else {
                panic!("{expected}: {event:?}")
            };
            read = Some(task.uuid.into_owned());
        });
        assert_eq!(read.as_deref(), Some(expected));
    }
}

#[test]
fn numbers_of_every_protocol_are_read() {
    let cases: [(&[u8], f64); 14] = [
        (b"I-17\n", -17.0),
        (
            b"L1180591620717411303424L\n",
            1_180_591_620_717_411_303_424.0,
        ),
        (b"F1.5\n", 1.5),
        (b"Finf\n", f64::INFINITY),
        (b"F1e999\n", f64::MAX),
        (b"K\xff", 255.0),
        (b"M\x00\x01", 256.0),
        (b"J\xfe\xff\xff\xff", -2.0),
        (b"G?\xf8\x00\x00\x00\x00\x00\x00", 1.5),
        (b"\x8a\x00", 0.0),
        (b"\x8a\x01\xff", -1.0),
        (b"\x8a\x02\x00\x01", 256.0),
        (
            b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00@",
            1_180_591_620_717_411_303_424.0,
        ),
        (b"\x8b\x03\x00\x00\x00\x00\x00\xff", -65_536.0),
    ];
    for (body, expected) in cases {
        let body = [body, b"."].concat();
        let item = Machine::new(&body).run();
        let Ok(Item::Number(number)) = item else {
            panic!("{expected}: {item:?}")
        };
        assert_eq!(
            number.total_cmp(&expected),
            std::cmp::Ordering::Equal,
            "{number} {expected}"
        );
    }
    assert_eq!(
        long(&[0x7f; 255]).total_cmp(&f64::MAX),
        std::cmp::Ordering::Equal
    );
    assert_eq!(
        long(&[0x80; 255]).total_cmp(&f64::MIN),
        std::cmp::Ordering::Equal
    );
}
