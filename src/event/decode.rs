//! A payload to its events: opens the envelope where there is one, decompresses, and picks the serializer.

use super::{
    Accept, ContentType, DecodeError, Event, Form, Payload, envelope, json, msgpack, pickle, yaml,
};
use crate::timestamp::Timestamp;

/// Turns payloads into events; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What was in an envelope.
    body: Vec<u8>,
    /// What was compressed.
    plain: Vec<u8>,
}

/// Beyond this a buffer is given back rather than kept for the next payload.
const KEPT_BYTES_MAX: usize = 1 << 20;

impl Decoder {
    /// Calls `each` with every event of a payload in their order, and with the reason for every one that could
    /// not be read. An empty list, which workers up to 5.6 send now and then, makes no call at all.
    ///
    /// A body of a serializer that is not in `accept` is neither decompressed nor looked at.
    pub fn decode(
        &mut self,
        payload: &Payload,
        accept: Accept,
        received: Timestamp,
        mut each: impl FnMut(Result<Event<'_>, DecodeError>),
    ) {
        match self.open(payload, accept) {
            Ok((content_type, body)) => events(content_type, body, received, each),
            Err(error) => each(Err(error)),
        }
        for buffer in [&mut self.body, &mut self.plain] {
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }

    /// The body of a payload, and what it is.
    fn open<'a>(
        &'a mut self,
        payload: &'a Payload,
        accept: Accept,
    ) -> Result<(ContentType, &'a [u8]), DecodeError> {
        let (body, content_type, compression) = match payload.form {
            Form::Body {
                content_type,
                compression,
            } => (&payload.bytes, content_type, compression),
            Form::Envelope => {
                let (content_type, compression) = envelope::open(&payload.bytes, &mut self.body)?;
                (&self.body, content_type, compression)
            }
        };
        if body.is_empty() {
            return Err(DecodeError::Empty);
        }
        if !accept.has(content_type) {
            return Err(match content_type {
                ContentType::Unknown => DecodeError::ContentType,
                ContentType::Json
                | ContentType::Msgpack
                | ContentType::Yaml
                | ContentType::Pickle => DecodeError::NotAccepted(content_type),
            });
        }
        let Some(compression) = compression else {
            return Ok((content_type, body));
        };
        compression.open(body, &mut self.plain)?;
        Ok((content_type, &self.plain))
    }
}

/// Calls `each` with every event of a body.
fn events(
    content_type: ContentType,
    body: &[u8],
    received: Timestamp,
    mut each: impl FnMut(Result<Event<'_>, DecodeError>),
) {
    match content_type {
        ContentType::Json => json::events(body, |fields| {
            each(fields.and_then(|fields| fields.event(received)));
        }),
        ContentType::Msgpack => msgpack::events(body, |fields| {
            each(fields.and_then(|fields| fields.event(received)));
        }),
        ContentType::Yaml => yaml::events(body, |fields| {
            each(fields.and_then(|fields| fields.event(received)));
        }),
        ContentType::Pickle => pickle::events(body, |fields| {
            each(fields.and_then(|fields| fields.event(received)));
        }),
        ContentType::Unknown => each(Err(DecodeError::ContentType)),
    }
}

#[cfg(test)]
mod serializers;
#[cfg(test)]
mod tests;
