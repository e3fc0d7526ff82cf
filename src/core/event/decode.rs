//! Decodes a payload into events: opens the envelope if there is one, decompresses, and selects the
//! serializer.

use super::json::{Cursor, KeyOrder};
use super::reader::Each;
use super::{
    Accept, Compression, ContentType, DecodeError, Event, Form, MsgpackReader, Payload,
    PickleReader, YamlReader, envelope, reader,
};
use crate::timestamp::Timestamp;

/// Decodes payloads into events, and reuses its buffers.
#[derive(Debug, Default)]
pub struct Decoder {
    opener: Opener,
    order: KeyOrder,
}

/// Opens one payload at a time: unwraps its envelope, decompresses it, and reuses its buffers.
#[derive(Debug, Default)]
pub struct Opener {
    /// The body from an envelope.
    body: Vec<u8>,
    /// The decompressed body.
    plain: Vec<u8>,
}

/// A payload's decompressed body.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    pub content_type: ContentType,
    pub bytes: &'a [u8],
}

/// Larger buffers are freed rather than kept for the next payload. The pipeline has 16 openers.
const KEPT_BYTES_MAX: usize = 64 << 10;

impl Decoder {
    /// Calls `each` with every event of a payload in order, and with an error for each one that
    /// could not be read. Does not call it for an empty list, which workers up to 5.6 occasionally
    /// send.
    ///
    /// A body in a serializer that is not in `accept` is neither decompressed nor read.
    pub fn decode(
        &mut self,
        payload: &Payload,
        accept: Accept,
        received: Timestamp,
        mut each: impl FnMut(Result<Event<'_>, DecodeError>),
    ) {
        match self.opener.open(payload, accept) {
            Ok(body) => body.events(&mut self.order, received, &mut each),
            Err(error) => each(Err(error)),
        }
        self.opener.free();
    }
}

impl Opener {
    /// The body of a payload, decompressed, and its serializer. Fails if the serializer is not in
    /// `accept`.
    pub fn open<'a>(
        &'a mut self,
        payload: &'a Payload,
        accept: Accept,
    ) -> Result<Body<'a>, DecodeError> {
        let (content_type, compression, bytes) = unwrap(payload, accept, &mut self.body)?;
        let Some(compression) = compression else {
            return Ok(Body {
                content_type,
                bytes,
            });
        };
        compression.open(bytes, &mut self.plain, |_| true)?;
        Ok(Body {
            content_type,
            bytes: &self.plain,
        })
    }

    /// Frees its buffers if they are large. Call it when the body is no longer needed.
    pub fn free(&mut self) {
        for buffer in [&mut self.body, &mut self.plain] {
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }
}

impl<'a> Body<'a> {
    /// Calls `each` with every event in order, and with an error for each one that could not be
    /// read. `order` holds the order of keys learned from earlier events.
    pub fn events(
        self,
        order: &mut KeyOrder,
        received: Timestamp,
        mut each: impl FnMut(Result<Event<'a>, DecodeError>),
    ) {
        events(self, order, received, &mut each);
    }
}

/// Decompresses a compressed payload, which then contains only its body or the error.
///
/// `may_grow` is called with the compressed and the decompressed length, and decides whether the
/// body may grow further.
pub fn decompress(
    payload: &mut Payload,
    accept: Accept,
    mut may_grow: impl FnMut(usize, usize) -> bool,
) {
    let mut envelope = Vec::new();
    // Unreadable payloads are refused later by the decoder.
    let Ok((content_type, Some(compression), body)) = unwrap(payload, accept, &mut envelope) else {
        return;
    };
    let mut bytes = Vec::new();
    let opened = if may_grow(body.len(), 0) {
        compression.open(body, &mut bytes, |length| may_grow(body.len(), length))
    } else {
        Err(DecodeError::Exhausted)
    };
    *payload = match opened {
        Ok(()) => Payload {
            bytes,
            form: Form::Body {
                content_type,
                compression: None,
            },
        },
        Err(error) => Payload {
            bytes: Vec::new(),
            form: Form::Refused(error),
        },
    };
}

/// The body of a payload, its content type and its compression. The body may be in `envelope`.
fn unwrap<'a>(
    payload: &'a Payload,
    accept: Accept,
    envelope: &'a mut Vec<u8>,
) -> Result<(ContentType, Option<Compression>, &'a [u8]), DecodeError> {
    let (body, content_type, compression) = match payload.form {
        Form::Body {
            content_type,
            compression,
        } => (&payload.bytes, content_type, compression),
        Form::Envelope => {
            let (content_type, compression) = envelope::open(&payload.bytes, envelope)?;
            (&*envelope, content_type, compression)
        }
        Form::Refused(error) => return Err(error),
    };
    if body.is_empty() {
        return Err(DecodeError::Empty);
    }
    if !accept.has(content_type) {
        return Err(match content_type {
            ContentType::Unknown => DecodeError::ContentType,
            ContentType::Json | ContentType::Msgpack | ContentType::Yaml | ContentType::Pickle => {
                DecodeError::NotAccepted(content_type)
            }
        });
    }
    Ok((content_type, compression, body))
}

fn events<'a>(body: Body<'a>, order: &mut KeyOrder, received: Timestamp, each: &mut Each<'_, 'a>) {
    let Body {
        content_type,
        bytes,
    } = body;
    match content_type {
        ContentType::Json => reader::events(Ok(Cursor::of_texts(bytes)), order, received, each),
        ContentType::Msgpack => reader::events(MsgpackReader::new(bytes), order, received, each),
        ContentType::Yaml => {
            let text = String::from_utf8_lossy(bytes);
            reader::events(YamlReader::new(&text), order, received, each);
        }
        ContentType::Pickle => reader::events(PickleReader::new(bytes), order, received, each),
        ContentType::Unknown => each(Err(DecodeError::ContentType)),
    }
}

#[cfg(test)]
mod serializers;
#[cfg(test)]
mod tests;
