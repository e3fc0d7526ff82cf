//! A payload to its events: opens the envelope where there is one, and picks the serializer.

use super::{ContentType, DecodeError, Event, Form, Payload, envelope, json};
use crate::timestamp::Timestamp;

/// Turns payloads into events; keeps its buffer from one to the next.
#[derive(Debug, Default)]
pub struct Decoder {
    body: Vec<u8>,
}

/// Beyond this a buffer is given back rather than kept for the next payload.
const KEPT_BYTES_MAX: usize = 1 << 20;

impl Decoder {
    /// Calls `each` with every event of a payload in their order, and with the reason for every one that could
    /// not be read. An empty list, which workers up to 5.6 send now and then, makes no call at all.
    pub fn decode(
        &mut self,
        payload: &Payload,
        received: Timestamp,
        mut each: impl FnMut(Result<Event<'_>, DecodeError>),
    ) {
        let (body, content_type) = match payload.form {
            Form::Body {
                compressed: true, ..
            } => return each(Err(DecodeError::Compressed)),
            Form::Body {
                content_type,
                compressed: false,
            } => (&payload.bytes, content_type),
            Form::Envelope => match envelope::open(&payload.bytes, &mut self.body) {
                Ok(content_type) => (&self.body, content_type),
                Err(error) => return each(Err(error)),
            },
        };
        match content_type {
            ContentType::Json => {
                json::events(body, |fields| {
                    each(fields.and_then(|fields| fields.event(received)))
                });
            }
            ContentType::Unknown if body.is_empty() => each(Err(DecodeError::Empty)),
            ContentType::Unknown => each(Err(DecodeError::ContentType)),
        }
        if self.body.capacity() > KEPT_BYTES_MAX {
            self.body = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;
