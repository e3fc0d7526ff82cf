use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};

use super::*;

const MAX: usize = 1 << 20;

fn written(frame: &AMQPFrame) -> Vec<u8> {
    let context = gen_frame(frame)(WriteContext::from(Vec::new())).expect("room");
    context.into_inner().0
}

fn header(headers: FieldTable) -> Vec<u8> {
    let properties = AMQPProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_headers(headers)
        .with_delivery_mode(1)
        .with_correlation_id("7".into());
    written(&AMQPFrame::Header(
        1,
        AMQPContentHeader {
            class_id: 60,
            body_size: 5,
            properties,
        },
    ))
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// One field of each type. The fields that are parsed come after the nested ones.
fn all_types() -> FieldTable {
    let mut inner = FieldTable::default();
    inner.insert("compression".into(), text("of something else"));
    let mut table = FieldTable::default();
    let values = [
        ("a", AMQPValue::Boolean(true)),
        ("b", AMQPValue::ShortShortInt(-1)),
        ("c", AMQPValue::ShortShortUInt(1)),
        ("d", AMQPValue::ShortInt(-2)),
        ("e", AMQPValue::ShortUInt(2)),
        ("f", AMQPValue::LongInt(-4)),
        ("g", AMQPValue::LongUInt(4)),
        ("h", AMQPValue::LongLongInt(8)),
        ("i", AMQPValue::Float(0.5)),
        ("j", AMQPValue::Double(0.25)),
        ("k", AMQPValue::Timestamp(1)),
        ("l", AMQPValue::FieldTable(inner.clone())),
        (
            "m",
            AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(inner)])),
        ),
        ("n", AMQPValue::Void),
        ("o", AMQPValue::ByteArray(vec![1, 2, 3].into())),
        ("x-stream-offset", AMQPValue::LongLongInt(42)),
        ("y-compression", text("no")),
        ("zcompression", AMQPValue::Void),
    ];
    for (key, value) in values {
        table.insert(key.into(), value);
    }
    table.insert("compression".into(), text("application/x-gzip"));
    table.insert("ticket".into(), text("abc"));
    table
}

/// A content header as the codec parses it.
fn oracle(frame: &[u8]) -> Option<(u64, Properties)> {
    let (_, AMQPFrame::Header(_, header)) = parse_frame(frame).ok()? else {
        return None;
    };
    Some((header.body_size, properties_of(&header)))
}

/// The properties that are used.
pub(in super::super) fn properties_of(header: &AMQPContentHeader) -> Properties {
    let content_type = header.properties.content_type().as_ref();
    let headers = header.properties.headers().clone().unwrap_or_default();
    let field = |key: &str| headers.inner().get(key);
    let as_text = |value: &AMQPValue| {
        let text = value.as_long_string()?;
        std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned)
    };
    let compression = match field("compression") {
        None | Some(AMQPValue::Void) => None,
        Some(value) => {
            as_text(value).map_or(Some(Compression::Unknown), |text| Compression::of(&text))
        }
    };
    let offset = field("x-stream-offset").and_then(AMQPValue::as_long_long_int);
    Properties {
        content_type: content_type.map(|text| ContentType::of(text.as_str())),
        compression,
        offset: offset.and_then(|offset| u64::try_from(offset).ok()),
        ticket: field("ticket").and_then(as_text),
    }
}

fn ours(frame: &[u8]) -> Option<(u64, Properties)> {
    let (frame, _) = first(frame, MAX).ok()??;
    (frame.kind == FrameKind::Header).then(|| content(frame.payload).ok())?
}

#[test]
fn what_is_looked_at_is_found_among_fields_of_all_types() {
    let frame = header(all_types());
    let (size, properties) = ours(&frame).expect("a header");
    assert_eq!(size, 5);
    assert_eq!(
        properties,
        Properties {
            content_type: Some(ContentType::Json),
            compression: Compression::of("application/x-gzip"),
            offset: Some(42),
            ticket: Some("abc".to_owned()),
        }
    );
    assert_eq!(oracle(&frame), ours(&frame));
}

#[test]
fn nested_values_are_passed_over_however_deep_they_are() {
    for (kind, inner) in [(b'F', &b"\x01a"[..]), (b'A', b"")] {
        let mut value = Vec::new();
        for _ in 0..30_000 {
            let mut outer = inner.to_vec();
            outer.push(kind);
            outer.extend(u32::try_from(value.len()).expect("few").to_be_bytes());
            outer.append(&mut value);
            value = outer;
        }
        // Class, weight, size, flags for the headers alone, and the table.
        let mut fields = b"\x04deep".to_vec();
        fields.push(kind);
        fields.extend(u32::try_from(value.len()).expect("few").to_be_bytes());
        fields.append(&mut value);
        fields.extend(b"\x06ticketS\0\0\0\x03abc");
        let mut payload = b"\0\x3c\0\0\0\0\0\0\0\0\0\x05\x20\0".to_vec();
        payload.extend(u32::try_from(fields.len()).expect("few").to_be_bytes());
        payload.extend(fields);
        let (size, properties) = content(&payload).expect("a header");
        assert_eq!((size, properties.ticket.as_deref()), (5, Some("abc")));
    }
}

#[test]
fn whatever_bytes_come_nothing_panics_and_what_the_codec_reads_is_read_alike() {
    let whole = header(all_types());
    for end in 0..whole.len() {
        assert_eq!(first(&whole[..end], MAX).expect("no error"), None);
        let _ = content(&whole[HEADER_BYTES.min(end)..end]);
    }
    let mut random = fastrand::Rng::with_seed(7);
    let mut read = 0;
    for _ in 0..100_000 {
        let mut frame = whole.clone();
        for _ in 0..random.usize(1..4) {
            // Not in the size of the frame, which would only truncate it.
            let at = random.usize(HEADER_BYTES..frame.len() - 1);
            frame[at] = random.u8(..);
        }
        let mine = ours(&frame);
        if let Some(theirs) = oracle(&frame) {
            let same_key_twice = || theirs.1 != mine.as_ref().expect("a header").1;
            if frame.windows(7).filter(|key| *key == b"\x06ticket").count() == 1 && same_key_twice()
            {
                assert_eq!(mine, Some(theirs));
            }
            read += 1;
        }
    }
    assert!(read > 1_000, "{read}");
}

#[test]
fn frames_are_bounded_and_end_where_they_say() {
    let frame = written(&AMQPFrame::Body(3, b"hello".to_vec()));
    let (read, length) = first(&frame, MAX).expect("a frame").expect("all of it");
    assert_eq!(
        (read.kind, read.channel, read.payload),
        (FrameKind::Body, 3, &b"hello"[..])
    );
    assert_eq!(length, frame.len());
    assert!(first(&frame, 4).is_err(), "larger than agreed");
    let mut endless = frame.clone();
    *endless.last_mut().expect("an end") = 0;
    assert!(first(&endless, MAX).is_err());
    let mut unknown = frame;
    unknown[0] = 7;
    assert!(first(&unknown, MAX).is_err());
    // Refused because of its announced size alone, before any payload has arrived.
    assert!(first(b"\x01\0\0\xff\xff\xff\xff", FRAME).is_err());
}

const FRAME: usize = 128 << 10;
