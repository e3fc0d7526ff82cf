use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::json::Cursor;
use super::super::json_text::JSON_BYTES_MAX;
use super::*;
use crate::event::{Accept, Decoder, Form, Payload};
use crate::timestamp::Timestamp;

const OTHERS: [ContentType; 3] = [ContentType::Msgpack, ContentType::Yaml, ContentType::Pickle];

fn check(content_type: ContentType, cases: &[(&[u8], Result<&str, DecodeError>)]) {
    for (body, expected) in cases {
        let written = json(content_type, body);
        let written = written.map(|json| String::from_utf8(json.into_owned()).expect("UTF-8"));
        let expected = expected.map(str::to_owned);
        assert_eq!(written, expected, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn msgpack_is_written_as_json() {
    let cases: [(&[u8], _); 17] = [
        (b"", Err(DecodeError::Empty)),
        (b"\xc0", Ok("null")),
        (b"\x93\xc2\xc3\xc0", Ok("[false,true,null]")),
        (b"\x80", Ok("{}")),
        (
            b"\x82\xa1a\x90\xa1b\x81\xa1c\x07",
            Ok(r#"{"a":[],"b":{"c":7}}"#),
        ),
        (
            b"\x92\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xff",
            Ok("[4294967296,-1]"),
        ),
        (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", Ok("0.1")),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", Ok("NaN")),
        (
            b"\x92\xca\x7f\x80\x00\x00\xca\xff\x80\x00\x00",
            Ok("[Infinity,-Infinity]"),
        ),
        (
            b"\xd9\x09\"\\\n\x00\xd1\x8f\xff[,",
            Ok("\"\\\"\\\\\\u000a\\u0000я\u{fffd}[,\""),
        ),
        // Bytes, a time, keys that are no texts; what ends as a bracket does in a text.
        (b"\x92\xc4\x01x\xd6\xff\x00\x00\x00\x00", Ok("[null,null]")),
        (b"\x83\x01\x02\xc4\x01x\x90\xa1[\x03", Ok(r#"{"[":3}"#)),
        // The arguments of tasks are nowhere.
        (
            b"\x83\xa4args\x91\x01\xa2id\xa1u\xa1x\x91\x82\xa6kwargs\x81\xa1k\x01\xa1y\x02",
            Ok(r#"{"id":"u","x":[{"y":2}]}"#),
        ),
        (b"\x91", Err(DecodeError::Msgpack)),
        (b"\xc1", Err(DecodeError::Msgpack)),
        (b"\xc0\xc0", Err(DecodeError::Msgpack)),
        (b"\xdd\xff\xff\xff\xff\xc0", Err(DecodeError::Msgpack)),
    ];
    check(ContentType::Msgpack, &cases);
}

#[test]
fn yaml_is_written_as_json() {
    let cases: [(&[u8], _); 11] = [
        (b"", Err(DecodeError::Empty)),
        (b"# nothing\n", Err(DecodeError::Empty)),
        (
            b"[null, yes, false, 7, -0.5, .nan, .inf, -.inf, 1e5]",
            Ok(r#"[null,true,false,7,-0.5,NaN,Infinity,-Infinity,"1e5"]"#),
        ),
        (
            b"a: []\nb: {c: '7', d: \"x\\n\\\"\"}\n",
            Ok(r#"{"a":[],"b":{"c":"7","d":"x\u000a\""}}"#),
        ),
        (b"x: !!binary |\n  eA==\ny: 1\n", Ok(r#"{"x":null,"y":1}"#)),
        (b"? [1, 2]\n: 3\nz: 4\n", Ok(r#"{"z":4}"#)),
        (
            b"id: u\nargs:\n- 1\n- {a: 2}\nkwargs: {k: v}\nx: [{args: 1, y: 2}]\n",
            Ok(r#"{"id":"u","x":[{"y":2}]}"#),
        ),
        (b"a: &id001 [1]\nb: *id001\n", Ok(r#"{"a":[1],"b":null}"#)),
        (b"{a: ", Err(DecodeError::Yaml)),
        (b"}", Err(DecodeError::Yaml)),
        (b"1\n---\n2\n", Err(DecodeError::Yaml)),
    ];
    check(ContentType::Yaml, &cases);
}

#[test]
fn pickle_is_written_as_json() {
    let cases: [(&[u8], _); 13] = [
        (b"", Err(DecodeError::Empty)),
        (b"\x80\x04N.", Ok("null")),
        (b"(\x88\x89NK\x07l.", Ok("[true,false,null,7]")),
        (
            b"(Gx\x00\x00\x00\x00\x00\x00\x00F-0.5\nFnan\nFinf\nF-inf\nl.",
            Ok("[1.0565890622713305e270,-0.5,NaN,Infinity,-Infinity]"),
        ),
        (
            b"}(U\x01aK\x01V\\u044f\"\nK\x02X\x01\x00\x00\x00c]u.",
            Ok("{\"a\":1,\"я\\\"\":2,\"c\":[]}"),
        ),
        // Bytes, a tuple, a set, a key that is no text.
        (b"(C\x01xK\x01\x85\x8fl.", Ok("[null,null,null]")),
        (b"}(K\x01K\x02U\x01aK\x03u.", Ok(r#"{"a":3}"#)),
        (
            b"}(U\x02idU\x01uU\x04args]K\x01aU\x06kwargs}U\x01x](}(U\x04argsK\x01U\x01yK\x02ueu.",
            Ok(r#"{"id":"u","x":[{"y":2}]}"#),
        ),
        // What the memo brings back is there again.
        (b"]q\x00K\x01a0]h\x00ah\x00a.", Ok("[[1],[1]]")),
        // A Counter, in protocols 2 and 4, an object with a state, and a map of a class.
        (
            b"}(U\x05totalccollections\nCounter\n}U\x01tK\x01s\x85RU\x03pidK\x07u.",
            Ok(r#"{"total":null,"pid":7}"#),
        ),
        (
            b"(\x8c\x01m\x8c\x01C\x93)\x81}b\x8c\x01m\x8c\x01D\x93)RU\x01kK\x01s}(NNu0K\x05l.",
            Ok("[null,null,5]"),
        ),
        (b"R.", Err(DecodeError::Pickle)),
        (b"(K\x01l", Err(DecodeError::Pickle)),
    ];
    check(ContentType::Pickle, &cases);
}

#[test]
fn json_is_handed_back_and_the_unknown_is_refused() {
    let written = json(ContentType::Json, b"{\"args\": ");
    assert!(matches!(written, Ok(Cow::Borrowed(b"{\"args\": "))));
    let written = json(ContentType::Unknown, b"{}");
    assert_eq!(written, Err(DecodeError::ContentType));
}

#[test]
fn what_is_deep_large_or_often_the_same_is_refused() {
    let deep = |levels: usize, (open, value, close): (&str, &[u8], &str)| {
        [
            open.repeat(levels).as_bytes(),
            value,
            close.repeat(levels).as_bytes(),
        ]
        .concat()
    };
    for (levels, expected) in [(128, Ok(())), (129, Err(DecodeError::Depth))] {
        let msgpack = [vec![0x91; levels], vec![0xc0]].concat();
        let pickle = deep(levels - 1, ("]", b"]", "a"));
        let yaml = deep(levels, ("[", b"1", "]"));
        for (content_type, body) in [
            (ContentType::Msgpack, msgpack),
            (ContentType::Pickle, [&pickle[..], b"."].concat()),
            (ContentType::Yaml, yaml),
        ] {
            let written = json(content_type, &body).map(drop);
            assert_eq!(written, expected, "{content_type:?}");
        }
    }

    let large = Err(DecodeError::Large(JSON_BYTES_MAX));
    let control = [&b"\xdb\x00\x30\x00\x00"[..], &vec![1; 0x30_0000]].concat();
    assert_eq!(json(ContentType::Msgpack, &control), large);
    let long = [&b"(X\x00\x00\x10\x00"[..], &vec![b'x'; 1 << 20], b"q\x00"].concat();
    let long_often = [&long[..], &b"h\x00".repeat(20), b"l."].concat();
    assert_eq!(json(ContentType::Pickle, &long_often), large);

    // A list of two of a list of two, and so on; one that holds itself; a map of arguments, many times.
    let often = [b"]".as_slice(), &b"q\x00](h\x00h\x00e".repeat(60), b"."].concat();
    let itself = b"]q\x00h\x00a.".as_slice();
    let arguments = [
        &b"}("[..],
        &b"U\x04argsN".repeat(10_000),
        b"uq\x00(",
        &b"h\x00".repeat(10_000),
        b"l.",
    ];
    let cases = [
        (&often[..], DecodeError::Values),
        (itself, DecodeError::Depth),
        (&arguments.concat(), DecodeError::Values),
    ];
    for (body, error) in cases {
        assert_eq!(json(ContentType::Pickle, body), Err(error));
    }
}

/// What `tests/golden/bodies.py` made: a batch in every serializer.
fn made() -> Vec<(ContentType, Vec<u8>)> {
    let names = [
        ("batch.msgpack", ContentType::Msgpack),
        ("batch.yaml", ContentType::Yaml),
        ("batch.pickle0", ContentType::Pickle),
        ("batch.pickle1", ContentType::Pickle),
        ("batch.pickle2", ContentType::Pickle),
        ("batch.pickle3", ContentType::Pickle),
        ("batch.pickle4", ContentType::Pickle),
        ("batch.pickle5", ContentType::Pickle),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/bodies");
    let body = |name: &str| std::fs::read(folder.join(name)).expect("a body");
    names
        .map(|(name, content_type)| (content_type, body(name)))
        .into()
}

fn events(bytes: Vec<u8>, content_type: ContentType) -> Vec<String> {
    let form = Form::Body {
        content_type,
        compression: None,
    };
    let mut events = Vec::new();
    let accept = Accept::from_iter(ContentType::READ);
    let received = Timestamp::from_millis(1_795_344_000_000);
    Decoder::default().decode(&Payload { bytes, form }, accept, received, |event| {
        events.push(format!("{event:?}"));
    });
    events
}

#[test]
fn what_is_written_reads_as_the_body_did() {
    for (content_type, body) in made() {
        let written = json(content_type, &body).expect("a body").into_owned();
        let expected = events(body, content_type);
        assert_eq!(expected.len(), 5);
        assert_eq!(events(written, ContentType::Json), expected);
    }
}

/// Whatever comes out is one JSON value within the bound.
fn hold(content_type: ContentType, body: &[u8]) {
    if let Ok(written) = json(content_type, body) {
        assert!(written.len() <= JSON_BYTES_MAX);
        let mut cursor = Cursor::new(&written);
        assert_eq!(cursor.skip(0).and_then(|()| cursor.end()), Ok(()));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_write_anything_else(
        bytes in prop::collection::vec(any::<u8>(), 0..256),
    ) {
        for content_type in OTHERS {
            hold(content_type, &bytes);
        }
    }

    #[test]
    fn nor_do_bodies_with_bytes_changed(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
    ) {
        for (content_type, mut body) in made() {
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            hold(content_type, &body);
            hold(content_type, &body[..cut.index(body.len())]);
        }
    }
}
