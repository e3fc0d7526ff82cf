use proptest::prelude::*;

use super::*;
use crate::event::Detail;
use crate::event::fields::{TEXT_MAX, TRACEBACK_TAIL};
use crate::event::reader::events;
use crate::timestamp::Timestamp;

fn text(json: &str) -> Cow<'_, str> {
    Cursor::new(json.as_bytes())
        .raw()
        .expect("a JSON text")
        .text()
}

#[test]
fn escapes_are_read_and_lone_surrogates_replaced() {
    let cases = [
        (r#""plain""#, "plain"),
        (r#""a\"b\\c\/d\n\t\r\b\f""#, "a\"b\\c/d\n\t\r\u{8}\u{c}"),
        (r#""\u0442\u0435""#, "те"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""x\udce9y""#, "x\u{FFFD}y"),
        (r#""\ud83dx""#, "\u{FFFD}x"),
        (r#""\u00""#, "\u{FFFD}00"),
        (r#""\u0000""#, "\0"),
    ];
    for (json, expected) in cases {
        assert_eq!(text(json), expected, "{json}");
    }
}

#[test]
fn a_text_without_escapes_is_borrowed() {
    assert!(matches!(
        text(r#""proj.tasks.add""#),
        Cow::Borrowed("proj.tasks.add")
    ));
}

#[test]
fn a_text_of_any_length_ends_at_its_quote() {
    for length in 0..2 * NEAR + 2 {
        for end in ["", "\\n"] {
            let json = format!("\"{}{end}\"", "x".repeat(length));
            let expected = "x".repeat(length) + if end.is_empty() { "" } else { "\n" };
            assert_eq!(text(&json), expected);
            let open = json.strip_suffix('"').expect("a quote");
            assert!(Cursor::new(open.as_bytes()).raw().is_err(), "{open}");
        }
    }
}

#[test]
fn an_exception_is_borrowed_up_to_an_escape_in_its_arguments() {
    let read = |json| {
        let raw = Cursor::new(json).raw().expect("a JSON text");
        raw.part(Some(Field::Exception)).text()
    };
    let cases: [(&[u8], &str); 3] = [
        (br#""Broken('\n')""#, "Broken('"),
        (br#""Br\u006fken('\n')""#, "Broken('\n')"),
        (br#""Broken('x')""#, "Broken('x')"),
    ];
    for (json, expected) in cases {
        let is_borrowed = matches!(read(json), Cow::Borrowed(_));
        assert_eq!(
            (&*read(json), is_borrowed),
            (expected, !expected.contains('\n'))
        );
    }
    let long = format!("\"{}\"", "x".repeat(EXCEPTION_HEAD + 1));
    assert_eq!(read(long.as_bytes()).len(), EXCEPTION_HEAD);
}

#[test]
fn a_text_is_read_as_far_as_its_field_needs_it() {
    let long = format!("\"x{}y\"", "\\u0041".repeat(TRACEBACK_TAIL));
    let read = |field| {
        let raw = Cursor::new(long.as_bytes()).raw().expect("a JSON text");
        raw.part(field).text()
    };
    let name = read(Some(Field::Name));
    assert!(name.starts_with("xA") && name.len() > TEXT_MAX);
    assert!(name.len() < 3 * TEXT_MAX);
    let traceback = read(Some(Field::Traceback));
    assert!(traceback.ends_with("Ay"));
    assert!((TRACEBACK_TAIL / 6..TRACEBACK_TAIL).contains(&traceback.len()));
}

/// The `freq` of a heartbeat: members of an event are read by a path of their own.
fn freq(json: &str) -> Result<Option<f64>, DecodeError> {
    let last = freq_of(&format!(
        r#"{{"type": "worker-heartbeat", "freq": {json}}}"#
    ));
    let first = freq_of(&format!(
        r#"{{"freq": {json}, "type": "worker-heartbeat"}}"#
    ));
    assert_eq!(last, first, "{json}");
    last
}

fn freq_of(body: &str) -> Result<Option<f64>, DecodeError> {
    let mut freq = Err(DecodeError::Empty);
    let cursor = Cursor::of_texts(body.as_bytes());
    events(
        Ok(cursor),
        &mut KeyOrder::default(),
        Timestamp::default(),
        &mut |event| {
            freq = event.map(|event| match event.detail {
                Detail::Worker(worker) => worker.freq,
                Detail::Task(_) | Detail::Other(_) => None,
            });
        },
    );
    freq
}

#[test]
fn what_python_writes_for_numbers_is_taken() {
    let cases = [
        ("17", 17.0),
        ("-2.5e3", -2500.0),
        ("Infinity", f64::INFINITY),
        ("-Infinity", f64::NEG_INFINITY),
        ("1180591620717411303424", 1_180_591_620_717_411_303_424.0),
        ("1e999", f64::MAX),
        ("1.", 1.0),
        ("0.5", 0.5),
        ("9007199254740993", 9_007_199_254_740_992.0),
        ("1795344000.123456", 1_795_344_000.123_456),
        ("1795344000.1234567", 1_795_344_000.123_456_7),
        ("0.000000000000001", 1e-15),
        ("0.0000000000000001", 1e-16),
        ("0.00000000000000000000", 0.0),
        ("1.00000000000000000000", 1.0),
        ("18446744073709551617", 18_446_744_073_709_551_616.0),
        ("25e-1", 2.5),
        ("2.5E1", 25.0),
    ];
    for (json, expected) in cases {
        let value = Cursor::new(json.as_bytes()).value().expect("a number");
        assert_eq!(value, Value::Number(expected), "{json}");
        let expected = Some(expected).filter(|number| number.is_finite() && *number > 0.0);
        assert_eq!(freq(json), Ok(expected), "{json}");
    }
    let nan = Cursor::new(b"NaN").value();
    assert!(matches!(nan, Ok(Value::Number(n)) if n.is_nan()));
}

#[test]
fn words_that_are_no_json_are_refused() {
    for json in [
        "nul",
        "truefalse",
        "+1",
        ".5",
        "-",
        "nan",
        "0x10",
        "inf",
        "1e",
        "--1",
        "",
    ] {
        assert_eq!(
            Cursor::new(json.as_bytes()).value(),
            Err(DecodeError::Json),
            "{json}"
        );
    }
    for json in ["[nul]", "[-]", "[.5]", "{\"a\": +1}", "[", "[1"] {
        let skipped = Cursor::new(json.as_bytes()).skip(0);
        assert_eq!(skipped, Err(DecodeError::Json), "{json}");
    }
}

#[test]
fn a_quoted_text_is_one_line_of_ascii_controls_and_reads_back() {
    let written = "a\"b\\c\n\u{7f}\u{2028}т😀";
    let mut json = "x: ".to_owned();
    quote(&mut json, written);
    assert_eq!(json, r#"x: "a\"b\\c\u000a\u007f\u2028т😀""#);
    assert_eq!(text(&json[3..]), written);
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::hash_map(".{0,8}", inner, 0..8)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

#[test]
fn keys_that_could_not_be_expected_are_not_learned() {
    for body in [
        r#"{"type":"task-sent","uuid":"u"}"#,
        r#"{"type" : "task-sent", "uuid" : "u"}"#,
        r#"{"u": 1}"#,
    ] {
        let mut order = KeyOrder::default();
        let cursor = Cursor::of_texts(body.as_bytes());
        events(Ok(cursor), &mut order, Timestamp::default(), &mut |_| {});
        assert_eq!(
            format!("{order:?}"),
            format!("{:?}", KeyOrder::default()),
            "{body}"
        );
    }
}

proptest! {
    /// `serde_json` is the oracle: what it writes is stepped over to the last byte.
    #[test]
    fn any_json_is_stepped_over_whole(value in value()) {
        let json = serde_json::to_vec(&value).expect("a value is JSON");
        let mut cursor = Cursor::new(&json);

        prop_assert_eq!(cursor.skip(0), Ok(()));
        prop_assert_eq!(cursor.end(), Ok(()));
    }

    #[test]
    fn a_number_in_an_event_is_read_as_anywhere(
        token in "[0-9]{0,18}[.]?[0-9]{0,18}|null|[0-9.eE+nul-]{1,6}",
    ) {
        let mut cursor = Cursor::new(token.as_bytes());
        let read = cursor.value().and_then(|value| cursor.end().map(|()| value));
        let expected = read.map(|value| {
            let Value::Number(number) = value else {
                return None;
            };
            Some(number).filter(|number| number.is_finite() && *number > 0.0)
        });
        prop_assert_eq!(freq(&token), expected);
    }

    #[test]
    fn any_text_is_read_as_it_was_written(written in ".*") {
        let json = serde_json::to_string(&written).expect("a text is JSON");

        prop_assert_eq!(text(&json), &*written);
        let raw = Cursor::of_texts(json.as_bytes()).raw().expect("a text");
        prop_assert_eq!(raw.text(), written);
    }

    #[test]
    fn the_end_of_a_text_is_the_first_quote_or_backslash(
        bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'!'), Just(b'#'), any::<u8>()], 0..2 * NEAR),
    ) {
        let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        prop_assert_eq!(quote_or_escape(&bytes), expected);
    }

    #[test]
    fn no_bytes_make_it_fail_in_another_way(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        events(Ok(Cursor::new(&bytes)), &mut KeyOrder::default(), Timestamp::default(), &mut |_| {});
    }
}
