use super::*;
use crate::event::KeyOrder;
use crate::event::reader::events;
use crate::event::{Detail, Event, EventKind, TaskKind, WorkerKind};
use crate::timestamp::Timestamp;

fn each(body: &str, mut take: impl FnMut(Result<Event<'_>, DecodeError>)) {
    events(
        YamlReader::new(body),
        &mut KeyOrder::default(),
        Timestamp::default(),
        &mut take,
    );
}

/// Returns the type of each event in a body, or the reason why it could not be read.
fn outcomes(body: &str) -> Vec<Result<EventKind, &'static str>> {
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

const STARTED: &str = "- type: task-started\n  uuid: u\n";

#[test]
fn each_kind_of_bad_input_has_its_reason_and_costs_nothing_else() {
    let started = Ok(EventKind::Task(TaskKind::Started));
    let cases = [
        (String::new(), vec![Err("empty")]),
        ("# nothing\n".to_owned(), vec![Err("empty")]),
        ("[]\n".to_owned(), vec![]),
        ("{}\n".to_owned(), vec![Err("field")]),
        ("17\n...\n".to_owned(), vec![Err("not_a_map")]),
        ("nonsense".to_owned(), vec![Err("not_a_map")]),
        ("{type: worker-online".to_owned(), vec![Err("yaml")]),
        ("}".to_owned(), vec![Err("yaml")]),
        (
            "type: worker-online\n---\ntype: worker-online\n".to_owned(),
            vec![Ok(EventKind::Worker(WorkerKind::Online)), Err("yaml")],
        ),
        (
            format!("{STARTED}- 17\n{STARTED}"),
            vec![started, Err("not_a_map"), started],
        ),
        (
            format!("{STARTED}- {{type: \"x\n"),
            vec![started, Err("yaml")],
        ),
        (
            format!("{STARTED}- {}{}\n", "[".repeat(200), "]".repeat(200)),
            vec![started, Err("depth")],
        ),
        (
            format!("{STARTED}{}\n", "- ".repeat(100_000)),
            vec![started, Err("depth")],
        ),
        (
            format!("{STARTED}- {{}}\n{STARTED}"),
            vec![started, Err("field"), started],
        ),
        (
            "type: task-started\nuuid: [u]\n".to_owned(),
            vec![Err("field")],
        ),
        (
            "type: task-started\nuuid: !!binary |\n  dQ==\n".to_owned(),
            vec![Err("field")],
        ),
        (
            format!("type: task-started\nuuid: {}\n", "u".repeat(2_000)),
            vec![Err("oversized")],
        ),
        (
            format!("{STARTED}- [{}]\n", "x, ".repeat(VALUES_MAX)),
            vec![started, Err("oversized")],
        ),
        (
            "? [a, b]\n: {c: d}\n? type\n: worker-online\n".to_owned(),
            vec![Ok(EventKind::Worker(WorkerKind::Online))],
        ),
    ];
    for (body, expected) in cases {
        let shown = body.chars().take(80).collect::<String>();
        assert_eq!(outcomes(&body), expected, "{shown}");
    }
}

#[test]
fn an_alias_is_not_followed() {
    // Each level holds the one before nine times: nine to the ninth, if anybody looked.
    let mut body = "- type: task-started\n  uuid: u\n  a0: &a0 [x]\n".to_owned();
    for level in 1..10 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        body.extend([format!("  a{level}: &a{level} [{items}]\n")]);
    }
    body += "- *a9\n- type: task-started\n  uuid: *a9\n";
    let started = Ok(EventKind::Task(TaskKind::Started));

    assert_eq!(outcomes(&body), [started, Err("not_a_map"), Err("field")]);
}

#[test]
fn words_without_quotes_are_what_pyyaml_takes_them_for() {
    let cases = [
        ("17", Value::Number(17.0)),
        ("-17", Value::Number(-17.0)),
        ("1795344412.8263006", Value::Number(1_795_344_412.826_300_6)),
        ("1.0e-05", Value::Number(1e-5)),
        ("-.5", Value::Number(-0.5)),
        ("+17", Value::Number(17.0)),
        ("0", Value::Number(0.0)),
        ("-0.0", Value::Number(0.0)),
        ("2.5E+2", Value::Number(250.0)),
        ("+.inf", Value::Number(f64::INFINITY)),
        (".inf", Value::Number(f64::INFINITY)),
        ("-.inf", Value::Number(f64::NEG_INFINITY)),
        ("1.0e+999", Value::Number(f64::MAX)),
        ("null", Value::Null),
        ("~", Value::Null),
        ("", Value::Null),
        ("yes", Value::Bool(true)),
        ("False", Value::Bool(false)),
        // Texts, all of them.
        ("00000000e0", Value::Text("00000000e0".into())),
        ("1e5", Value::Text("1e5".into())),
        ("1.0e5", Value::Text("1.0e5".into())),
        ("0123", Value::Text("0123".into())),
        ("inf", Value::Text("inf".into())),
        (".", Value::Text(".".into())),
        ("-", Value::Text("-".into())),
        ("+", Value::Text("+".into())),
        (".e+5", Value::Text(".e+5".into())),
        ("1.0e+", Value::Text("1.0e+".into())),
        ("1.0e+x", Value::Text("1.0e+x".into())),
        ("1.0x", Value::Text("1.0x".into())),
        ("x.5", Value::Text("x.5".into())),
        ("x.5e+1", Value::Text("x.5e+1".into())),
        ("-.nan", Value::Text("-.nan".into())),
        ("--1", Value::Text("--1".into())),
        ("1.2.3", Value::Text("1.2.3".into())),
        ("proj.add", Value::Text("proj.add".into())),
    ];
    for (text, expected) in cases {
        let value = word(text).unwrap_or(Value::Text(text.into()));
        assert_eq!(value, expected, "{text}");
    }
    assert!(matches!(word(".nan"), Some(Value::Number(nan)) if nan.is_nan()));
}

#[test]
fn as_many_values_are_read_as_are_allowed() {
    for (steps, expected) in [(5, Ok(())), (4, Err(DecodeError::Values))] {
        let mut reader = YamlReader::new("[x, y]").expect("YAML");
        // Two values, the end of the list, and those of the document and the stream.
        reader.steps = VALUES_MAX - steps;
        let read = reader.skip(0).and_then(|()| reader.end());
        assert_eq!(read, expected, "{steps}");
    }
}

#[test]
fn escapes_are_read_and_lone_surrogates_replaced() {
    let cases = [
        (r#""proj.\u0442\U0001F600""#, "proj.т😀"),
        (r#""a\nb\tc\0""#, "a\nb\tc\0"),
        (r#""x\udce9y""#, "x\u{FFFD}y"),
        (r#""x\uDCE9""#, "x\u{FFFD}"),
        // A backslash that is escaped itself, and quotes in which there are no escapes.
        (r#""x\\udce9y""#, r"x\udce9y"),
        (r"'it''s \n'", r"it's \n"),
        ("\"two\n\n  lines\"", "two\nlines"),
    ];
    for (text, expected) in cases {
        let mut read = None;
        each(&format!("type: task-started\nuuid: {text}\n"), |event| {
            let Ok(Event {
                detail: Detail::Task(task),
                ..
            }) = event
            else {
                panic!("{text}: {event:?}")
            };
            read = Some(task.uuid.into_owned());
        });
        assert_eq!(read.as_deref(), Some(expected), "{text}");
    }
}
