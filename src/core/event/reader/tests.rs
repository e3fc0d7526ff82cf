use std::fmt::Write;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::event::fields::DEPTH_MAX;
use crate::event::json::Cursor;
use crate::event::{ContentType, MsgpackReader, PickleReader, YamlReader};

/// Writes whatever a reader yields.
fn write<'a, R: Reader<'a>>(
    reader: &mut R,
    depth: usize,
    shown: &mut String,
) -> Result<(), DecodeError> {
    match reader.kind() {
        // A changed pickle may contain a list that contains itself. Readers limit how many values a body yields.
        Kind::Map | Kind::List if depth == DEPTH_MAX => return Err(DecodeError::Depth),
        Kind::Map => {
            shown.push('{');
            reader.map(|reader, key| {
                write!(shown, "{}:", R::key_text(key)).expect("a string");
                write(reader, depth + 1, shown)?;
                shown.push(' ');
                Ok(())
            })?;
            shown.push('}');
        }
        Kind::List => {
            shown.push('[');
            reader.list(|reader| {
                write(reader, depth + 1, shown)?;
                shown.push(' ');
                Ok(())
            })?;
            shown.push(']');
        }
        Kind::Scalar | Kind::End => match reader.value()? {
            Value::Null => shown.push_str("null"),
            Value::Bool(bool) => write!(shown, "{bool}").expect("a string"),
            Value::Number(number) => write!(shown, "{number}").expect("a string"),
            Value::Text(text) => write!(shown, "{text:?}").expect("a string"),
            Value::Loads(_) | Value::Nested => shown.push('?'),
        },
    }
    Ok(())
}

fn show_all<'a, R: Reader<'a>>(reader: Result<R, DecodeError>) -> Result<String, DecodeError> {
    let mut reader = reader?;
    let mut shown = String::new();
    write(&mut reader, 0, &mut shown)?;
    reader.end()?;
    Ok(shown)
}

fn skip_all<'a, R: Reader<'a>>(reader: Result<R, DecodeError>) -> Result<(), DecodeError> {
    let mut reader = reader?;
    reader.skip(0)?;
    reader.end()
}

fn show(content_type: ContentType, body: &[u8]) -> Result<String, DecodeError> {
    match content_type {
        ContentType::Json => show_all(Ok(Cursor::new(body))),
        ContentType::Msgpack => show_all(MsgpackReader::new(body)),
        ContentType::Yaml => show_all(YamlReader::new(&String::from_utf8_lossy(body))),
        ContentType::Pickle => show_all(PickleReader::new(body)),
        ContentType::Unknown => Err(DecodeError::ContentType),
    }
}

fn skip(content_type: ContentType, body: &[u8]) -> Result<(), DecodeError> {
    match content_type {
        ContentType::Json => skip_all(Ok(Cursor::new(body))),
        ContentType::Msgpack => skip_all(MsgpackReader::new(body)),
        ContentType::Yaml => skip_all(YamlReader::new(&String::from_utf8_lossy(body))),
        ContentType::Pickle => skip_all(PickleReader::new(body)),
        ContentType::Unknown => Err(DecodeError::ContentType),
    }
}

fn check(content_type: ContentType, cases: &[(&[u8], Result<&str, DecodeError>)]) {
    for (body, expected) in cases {
        let expected = expected.map(str::to_owned);
        assert_eq!(
            show(content_type, body),
            expected,
            "{}",
            body.escape_ascii()
        );
    }
}

#[test]
fn json_is_walked() {
    let cases: [(&[u8], _); 7] = [
        (b"", Err(DecodeError::Json)),
        (b"[true, false, -Infinity, {}]", Ok("[true false -inf {} ]")),
        (b"{\"a\" 1}", Err(DecodeError::Json)),
        (
            br#" {"a\u0062": [], "c": {"d": [7, NaN, null, "\n"]}} "#,
            Ok(r#"{ab:[] c:{d:[7 NaN null "\n" ] } }"#),
        ),
        (b"[1", Err(DecodeError::Json)),
        (b"[1,]", Err(DecodeError::Json)),
        (b"1 1", Err(DecodeError::Json)),
    ];
    check(ContentType::Json, &cases);
}

#[test]
fn msgpack_is_walked() {
    let cases: [(&[u8], _); 12] = [
        (b"", Err(DecodeError::Empty)),
        (b"\x93\xc2\xc3\xc0", Ok("[false true null ]")),
        (b"\x82\xa1a\x90\xa1b\x81\xa1c\x07", Ok("{a:[] b:{c:7 } }")),
        (
            b"\xdc\x00\x02\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xff",
            Ok("[4294967296 -1 ]"),
        ),
        (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", Ok("0.1")),
        (b"\xd9\x04\xd1\x8f\xff\\", Ok("\"я\u{fffd}\\\\\"")),
        // Bytes, a time, keys that are no texts, and one with a backslash.
        (b"\x92\xc4\x01x\xd6\xff\x00\x00\x00\x00", Ok("[? ? ]")),
        (b"\x83\x01\x02\xc4\x01x\x90\xa2\\n\x03", Ok("{\\n:3 }")),
        (b"\x82\x91\x07\x91\x07\xa1a\x01", Ok("{a:1 }")),
        (b"\x91", Err(DecodeError::Msgpack)),
        (b"\xc1", Err(DecodeError::Msgpack)),
        (b"\xc0\xc0", Err(DecodeError::Msgpack)),
    ];
    check(ContentType::Msgpack, &cases);
}

#[test]
fn yaml_is_walked() {
    let cases: [(&[u8], _); 10] = [
        (b"", Err(DecodeError::Empty)),
        (b"# nothing\n", Err(DecodeError::Empty)),
        (
            b"[null, yes, false, 7, -0.5, .nan, -.inf, 1e5]",
            Ok(r#"[null true false 7 -0.5 NaN -inf "1e5" ]"#),
        ),
        (
            b"a: []\nb: {c: '7', d: \"x\\n\\\"\"}\n",
            Ok(r#"{a:[] b:{c:"7" d:"x\n\"" } }"#),
        ),
        (b"x: !!binary |\n  eA==\ny: 1\n", Ok("{x:? y:1 }")),
        (b"? [1, 2]\n: {3: 4}\nz: 5\n", Ok("{z:5 }")),
        (b"a: &id001 [1]\nb: *id001\n", Ok("{a:[1 ] b:? }")),
        (b"{a: ", Err(DecodeError::Yaml)),
        (b"}", Err(DecodeError::Yaml)),
        (b"1\n---\n2\n", Err(DecodeError::Yaml)),
    ];
    check(ContentType::Yaml, &cases);
}

#[test]
fn pickles_are_walked() {
    let cases: [(&[u8], _); 16] = [
        (b"", Err(DecodeError::Empty)),
        (b"(\x88\x89NK\x07l.", Ok("[true false null 7 ]")),
        (b"(F-0.5\nFnan\nF-inf\nl.", Ok("[-0.5 NaN -inf ]")),
        (
            b"}(U\x01aK\x01V\\u044f\"\nK\x02X\x01\x00\x00\x00c]u.",
            Ok("{a:1 я\":2 c:[] }"),
        ),
        // Bytes, a tuple, a set, a key that is no text.
        (b"(C\x01xK\x01\x85\x8fl.", Ok("[? ? ? ]")),
        (b"}(K\x01K\x02U\x01aK\x03u.", Ok("{a:3 }")),
        // What the memo brings back is there again.
        (b"]q\x00K\x01a0]h\x00ah\x00a.", Ok("[[1 ] [1 ] ]")),
        // Every other way to move a value: a mark, its values or a value removed, one repeated,
        // and the memo by a line, a byte, four bytes, and in order.
        (b"](N1(0K\x010K\x072e.", Err(DecodeError::Pickle)),
        (b"(](N1(0K\x010K\x072l.", Ok("[[] 7 7 ]")),
        (
            b"(K\x05p0\nK\x06q\x01K\x07r\x02\0\0\0K\x08\x94g3\nh\x02j\x01\0\0\0g0\nl.",
            Ok("[5 6 7 8 8 7 6 5 ]"),
        ),
        (b"Np2\n.", Err(DecodeError::Pickle)),
        (b"Nj\0\0\0\0.", Err(DecodeError::Pickle)),
        // A Counter, in protocols 2 and 4, an object with a state, and a map of a class.
        (
            b"}(U\x05totalccollections\nCounter\n}U\x01tK\x01s\x85RU\x03pidK\x07u.",
            Ok("{total:null pid:7 }"),
        ),
        (
            b"(\x8c\x01m\x8c\x01C\x93)\x81}b\x8c\x01m\x8c\x01D\x93)RU\x01kK\x01s}(NNu0K\x05l.",
            Ok("[null null 5 ]"),
        ),
        (b"R.", Err(DecodeError::Pickle)),
        (b"(K\x01l", Err(DecodeError::Pickle)),
    ];
    check(ContentType::Pickle, &cases);
}

#[test]
fn what_is_deep_or_often_the_same_is_refused() {
    for (levels, expected) in [(128, Ok(())), (129, Err(DecodeError::Depth))] {
        let msgpack = [vec![0x91; levels], vec![0xc0]].concat();
        let json = ["[".repeat(levels), "]".repeat(levels)].concat();
        for (content_type, body) in [
            (ContentType::Json, json.as_bytes()),
            (ContentType::Msgpack, &msgpack),
            (ContentType::Yaml, json.as_bytes()),
        ] {
            assert_eq!(skip(content_type, body), expected, "{content_type:?}");
        }
    }

    // A list of two of a list of two, and so on; one large map, many times.
    let doubled = [b"]".as_slice(), &b"q\x00](h\x00h\x00e".repeat(60), b"."].concat();
    let repeated = [
        &b"}("[..],
        &b"U\x01kN".repeat(10_000),
        b"uq\x00(",
        &b"h\x00".repeat(10_000),
        b"l.",
    ];
    for body in [doubled, repeated.concat()] {
        assert_eq!(show(ContentType::Pickle, &body), Err(DecodeError::Values));
    }
}

/// What `tests/golden/bodies.py` made: a batch in every serializer.
fn made() -> Vec<(ContentType, Vec<u8>)> {
    let names = [
        ("batch.json", ContentType::Json),
        ("batch.msgpack", ContentType::Msgpack),
        ("batch.yaml", ContentType::Yaml),
        ("batch.pickle0", ContentType::Pickle),
        ("batch.pickle5", ContentType::Pickle),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/bodies");
    let body = |name: &str| std::fs::read(folder.join(name)).expect("a body");
    names
        .map(|(name, content_type)| (content_type, body(name)))
        .into()
}

/// A body that can be walked can be skipped.
fn hold(content_type: ContentType, body: &[u8]) {
    if show(content_type, body).is_ok() {
        let skipped = skip(content_type, body);
        assert!(matches!(skipped, Ok(()) | Err(DecodeError::Depth)));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        for content_type in ContentType::READ {
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
