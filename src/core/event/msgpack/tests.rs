use super::*;
use crate::event::KeyOrder;
use crate::event::reader::events;
use crate::event::{Event, TaskKind};
use crate::event::{EventKind, WorkerKind};
use crate::timestamp::Timestamp;

/// Returns the type of each event in a body, or the reason why it could not be read.
fn outcomes(body: &[u8]) -> Vec<Result<EventKind, &'static str>> {
    let mut outcomes = Vec::new();
    events(
        MsgpackReader::new(body),
        &mut KeyOrder::default(),
        Timestamp::default(),
        &mut |event| {
            outcomes.push(
                event
                    .map(|event| event.kind())
                    .map_err(|error| error.reason().name()),
            );
        },
    );
    outcomes
}

fn one(body: &[u8], check: impl FnOnce(Event<'_>)) {
    let mut check = Some(check);
    events(
        MsgpackReader::new(body),
        &mut KeyOrder::default(),
        Timestamp::default(),
        &mut |event| {
            check.take().expect("one event")(event.expect("a good event"));
        },
    );
    assert!(check.is_none(), "no event");
}

const STARTED: &[u8] = b"\x82\xa4type\xactask-started\xa4uuid\xa1u";

#[test]
fn each_kind_of_bad_input_has_its_reason_and_costs_nothing_else() {
    let started = Ok(EventKind::Task(TaskKind::Started));
    let list = |elements: &[&[u8]]| {
        let length = u8::try_from(elements.len()).expect("a short list");
        [&[0x90 + length][..], &elements.concat()].concat()
    };
    let deep = [vec![0x91; 200], vec![0xc0]].concat();
    let long = [
        b"\x82\xa4type\xactask-started\xa4uuid\xdb\x00\x01\x00\x00",
        &[b'u'; 65_536][..],
    ]
    .concat();
    let cases = [
        (vec![], vec![Err("empty")]),
        (vec![0x90], vec![]),
        (vec![0x80], vec![Err("field")]),
        (vec![0x07], vec![Err("not_a_map")]),
        (vec![0xc1], vec![Err("msgpack")]),
        (vec![0xdd, 0xff, 0xff, 0xff, 0xff], vec![Err("msgpack")]),
        (
            list(&[STARTED, b"\x07", STARTED]),
            vec![started, Err("not_a_map"), started],
        ),
        (
            list(&[STARTED, b"\x81\xa4type"]),
            vec![started, Err("msgpack")],
        ),
        (list(&[STARTED, &deep]), vec![started, Err("depth")]),
        (list(&[&long, STARTED]), vec![Err("oversized"), started]),
        ([STARTED, b"\xc0"].concat(), vec![started, Err("msgpack")]),
        // Bytes are no text, as for Python.
        (
            b"\x82\xa4type\xactask-started\xa4uuid\xc4\x01u".to_vec(),
            vec![Err("field")],
        ),
        (
            b"\x81\xc4\x04type\xadworker-online".to_vec(),
            vec![Err("field")],
        ),
        (
            b"\x82\xa4type\xadworker-online\xa9timestamp\xa3now".to_vec(),
            vec![Err("field")],
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(outcomes(&body), expected, "{body:02x?}");
    }
}

#[test]
fn every_type_of_value_is_stepped_over_and_every_number_read() {
    let skipped: [&[u8]; 12] = [
        b"\xc0",
        b"\xc3",
        b"\xc4\x02xx",
        b"\xc5\x00\x01x",
        b"\xc7\x01\x05x",
        b"\xd4\x00x",
        b"\xd8\x00xxxxxxxxxxxxxxxx",
        b"\xd9\x01x",
        b"\xda\x00\x01x",
        b"\xdc\x00\x01\xc0",
        b"\xde\x00\x01\xc0\x91\x07",
        b"\x81\x93\x01\x02\x03\x80",
    ];
    let numbers: [(&[u8], f64); 11] = [
        (b"\x07", 7.0),
        (b"\xff", -1.0),
        (b"\xcc\xff", 255.0),
        (b"\xcd\x01\x00", 256.0),
        (b"\xce\x00\x01\x00\x00", 65_536.0),
        (b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00", 4_294_967_296.0),
        (b"\xd0\x80", -128.0),
        (b"\xd1\xff\x00", -256.0),
        (b"\xd2\xff\xff\xff\xfe", -2.0),
        (b"\xd3\xff\xff\xff\xff\xff\xff\xff\xfd", -3.0),
        (b"\xca\x40\x00\x00\x00", 2.0),
    ];
    for (value, number) in numbers {
        for skipped in skipped {
            let body = [
                b"\x83\xa4type\xadworker-online\xa1x",
                skipped,
                b"\xa3pid",
                value,
            ]
            .concat();
            one(&body, |event| {
                assert_eq!(event.kind(), EventKind::Worker(WorkerKind::Online));
                #[expect(clippy::cast_possible_truncation, reason = "a small number")]
                let expected = number as i64;
                assert_eq!(event.pid, Some(expected), "{value:02x?} {skipped:02x?}");
            });
        }
    }
}

#[test]
fn a_text_that_is_utf_8_is_borrowed_and_any_other_repaired() {
    one(
        b"\x83\xa4type\xactask-started\xa4uuid\xa2\xff!\xa8hostname\xa3w@h",
        |event| {
            assert!(matches!(event.hostname, std::borrow::Cow::Borrowed("w@h")));
            let crate::event::Detail::Task(task) = event.detail else {
                panic!("a task event")
            };
            assert_eq!(task.uuid, "\u{FFFD}!");
        },
    );
}
