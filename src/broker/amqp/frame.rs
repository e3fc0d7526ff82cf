//! Parses frames, and those methods and message properties that are used.
//!
//! Publishers choose properties and headers, and the server passes them on unchanged. Only the top
//! level of the headers is parsed. Nested tables and arrays are skipped by their length, so deep
//! nesting cannot overflow the stack.
//!
//! Source: AMQP 0-9-1, "General Frame Format" and "Content Framing"; RabbitMQ's "AMQP 0-9-1 Errata"
//! for types of fields.

use amq_protocol::protocol::{AMQPClass, parse_class};

use super::error::AmqpError;
use crate::event::{Compression, ContentType};

/// Bytes before a payload: the type of the frame, its channel, and the size. One octet follows the
/// payload.
const HEADER_BYTES: usize = 7;
const END: u8 = 0xce;

/// Flags of the properties that are used. These properties come first, so the others need not be
/// parsed.
const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;

/// Class and method of `basic.deliver`, which precede its arguments.
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// The other server methods that are parsed, by class. None of them contains a table, so nothing
/// can be nested.
const PARSED: [(u16, &[u16]); 5] = [
    (10, &[30, 41, 50, 51, 60, 61]),
    (20, &[11, 40, 41]),
    (40, &[11, 21, 31, 51]),
    (50, &[11, 21, 31, 41, 51]),
    (60, &[11, 21, 30, 31]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Method,
    Header,
    Body,
    Heartbeat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: FrameKind,
    pub(super) channel: u16,
    pub(super) payload: &'a [u8],
}

/// The first frame in the buffer, if it is complete, and its length in bytes.
pub(super) fn first(
    read: &[u8],
    payload_max: usize,
) -> Result<Option<(Frame<'_>, usize)>, AmqpError> {
    let Some((header, rest)) = read.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [kind, channel @ .., a, b, c, d] = *header;
    let size = u32::from_be_bytes([a, b, c, d]) as usize;
    if size > payload_max {
        return Err(AmqpError::Malformed("a frame larger than negotiated"));
    }
    let kind = match kind {
        1 => FrameKind::Method,
        2 => FrameKind::Header,
        3 => FrameKind::Body,
        8 => FrameKind::Heartbeat,
        _ => return Err(AmqpError::Malformed("a frame of an unknown type")),
    };
    let (Some(payload), Some(end)) = (rest.get(..size), rest.get(size)) else {
        return Ok(None);
    };
    if *end != END {
        return Err(AmqpError::Malformed("a frame without an end marker"));
    }
    let channel = u16::from_be_bytes(channel);
    let frame = Frame {
        kind,
        channel,
        payload,
    };
    Ok(Some((frame, HEADER_BYTES + size + 1)))
}

/// Parses the payload of a method other than `basic.deliver`.
pub(super) fn method(payload: &[u8]) -> Result<AMQPClass, AmqpError> {
    let class = payload.get(..2).and_then(|mut id| take_u16(&mut id));
    let method = payload.get(2..4).and_then(|mut id| take_u16(&mut id));
    let is_parsed = PARSED
        .iter()
        .any(|(of, methods)| class == Some(*of) && method.is_some_and(|id| methods.contains(&id)));
    if !is_parsed {
        return Err(AmqpError::Malformed("an unexpected method"));
    }
    match parse_class(payload) {
        Ok((_, method)) => Ok(method),
        Err(_) => Err(AmqpError::Malformed("a method that cannot be parsed")),
    }
}

/// The delivery tag if the method is `basic.deliver`.
pub(super) fn deliver(method: &[u8]) -> Option<Result<u64, AmqpError>> {
    let arguments = method.strip_prefix(&DELIVER)?;
    let tag = || {
        let (length, rest) = arguments.split_first()?;
        let tag = rest.get(usize::from(*length)..)?.first_chunk()?;
        Some(u64::from_be_bytes(*tag))
    };
    Some(tag().ok_or(AmqpError::Malformed("a delivery without a tag")))
}

/// The message properties that are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    /// `None`: the message has no content type.
    pub(super) content_type: Option<ContentType>,
    pub(super) compression: Option<Compression>,
    /// The position in a stream.
    pub(super) offset: Option<u64>,
    /// The request that the message replies to.
    pub(super) ticket: Option<String>,
}

/// Parses a content header into the size of the body and the properties. Properties that cannot be
/// read are treated as absent: a message without a content type is refused when it is decoded, and
/// other messages are not affected.
pub(super) fn content(header: &[u8]) -> Result<(u64, Properties), AmqpError> {
    let size = header.get(4..12).and_then(<[u8]>::as_array);
    let size = size.ok_or(AmqpError::Malformed("a message without a size"))?;
    let mut properties = Properties::default();
    let _ = read_properties(&header[12..], &mut properties);
    Ok((u64::from_be_bytes(*size), properties))
}

fn read_properties(mut rest: &[u8], properties: &mut Properties) -> Option<()> {
    let flags = take_u16(&mut rest)?;
    if flags & CONTENT_TYPE != 0 {
        let text = take_short(&mut rest)?;
        let text = std::str::from_utf8(text).ok();
        properties.content_type = Some(text.map_or(ContentType::Unknown, ContentType::of));
    }
    if flags & CONTENT_ENCODING != 0 {
        take_short(&mut rest)?;
    }
    if flags & HEADERS != 0 {
        let mut table = take_long(&mut rest)?;
        while let Some((key, kind, value)) = take_field(&mut table) {
            note(key, kind, value, properties);
        }
    }
    Some(())
}

fn note(key: &[u8], kind: u8, value: &[u8], properties: &mut Properties) {
    let text = (kind == b'S').then(|| std::str::from_utf8(value).ok());
    match key {
        b"compression" if kind == b'V' => properties.compression = None,
        b"compression" => {
            let text = text.flatten();
            properties.compression = text.map_or(Some(Compression::Unknown), Compression::of);
        }
        b"x-stream-offset" => {
            let bytes = matches!(kind, b'l' | b'L')
                .then(|| value.as_array())
                .flatten();
            let offset = bytes.map(|bytes| i64::from_be_bytes(*bytes));
            properties.offset = offset.and_then(|offset| u64::try_from(offset).ok());
        }
        b"ticket" => properties.ticket = text.flatten().map(str::to_owned),
        _ => {}
    }
}

/// Removes the first field of a table: its key, its type and the bytes of its value.
pub(super) fn take_field<'a>(table: &mut &'a [u8]) -> Option<(&'a [u8], u8, &'a [u8])> {
    let key = take_short(table)?;
    let kind = *table.split_off_first()?;
    Some((key, kind, take_value(table, kind)?))
}

/// Removes a value of any type.
fn take_value<'a>(rest: &mut &'a [u8], kind: u8) -> Option<&'a [u8]> {
    let size = match kind {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        // In RabbitMQ `s` is a short integer, not a short string.
        b's' | b'U' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        b'S' | b'A' | b'F' | b'x' => return take_long(rest),
        _ => return None,
    };
    rest.split_off(..size)
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    rest.split_off(..2)?
        .as_array()
        .map(|bytes| u16::from_be_bytes(*bytes))
}

fn take_short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = *rest.split_off_first()?;
    rest.split_off(..usize::from(length))
}

pub(super) fn take_long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(*rest.split_off(..4)?.as_array()?);
    rest.split_off(..usize::try_from(length).ok()?)
}

#[cfg(test)]
pub(super) mod tests;
