//! Deliveries to batches: which messages are handed over together, and the position that they reach.

use xxhash_rust::xxh3::xxh3_64;

use super::assembly::{Delivery, TooLong};
use super::error::AmqpError;
use super::session::Session;
use crate::broker::source::{BATCH_BYTES, BATCH_MESSAGES};
use crate::config;
use crate::event::{ContentType, DecodeError, Form, Mark, Payload, Position};

/// Offsets in a row that may be no messages: RabbitMQ writes what it knows of publishers into a stream where a segment
/// begins, and that takes an offset or two. What is forgotten is a whole segment, and more than so many messages.
const NO_MESSAGES: u64 = 8;

/// Messages that are handed over together.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) payloads: Vec<Payload>,
    pub(super) position: Position,
    /// The tag of the newest.
    pub(super) tag: u64,
    /// Messages of a stream that were gone before they could be read, and one or two for each segment of them.
    pub(super) cut: u64,
    /// The sum of their bodies.
    pub(super) bytes: usize,
}

/// The longest body that is received. RabbitMQ 4 accepts no longer one by default, and nothing that is compressed may become
/// longer.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// The longest body where so much may wait.
pub(super) fn body_max(queue_bytes_max: u64) -> usize {
    usize::try_from(queue_bytes_max.min(MESSAGE_BYTES_MAX)).unwrap_or(usize::MAX)
}

/// What to note of each message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noting {
    pub(super) delivery: config::Delivery,
    /// The number of the subscription.
    pub(super) link: u64,
    /// Of a stream: the next message, or that which would be.
    pub(super) next: Option<u64>,
}

/// Takes a delivery and those that are there behind it.
pub(super) fn take(
    session: &mut Session,
    first: Delivery,
    noting: Noting,
) -> Result<Taken, AmqpError> {
    let mut payloads = Vec::with_capacity(BATCH_MESSAGES);
    let mut fingerprints = Vec::new();
    let (mut tag, mut cut, mut bytes) = (0, 0, 0);
    let mut expected = noting.next;
    let mut next = Some(first);
    while let Some(delivery) = next.take() {
        tag = delivery.tag;
        if let Some(offset) = delivery.properties.offset {
            // What lies before is read again, and known by its fingerprint.
            let gap = expected.map_or(0, |expected| offset.saturating_sub(expected));
            cut += if gap > NO_MESSAGES { gap } else { 0 };
            // Nor does the place go back meanwhile: cut off over and over, that would end at the first message.
            expected = expected.max(Some(offset + 1));
        }
        let content_type = delivery.properties.content_type;
        let form = Form::Body {
            content_type: content_type.unwrap_or(ContentType::Unknown),
            compression: delivery.properties.compression,
        };
        let (payload, fingerprint) = match delivery.body {
            Ok(body) => (Payload { bytes: body, form }, None),
            Err(TooLong(size)) => (too_long(session.body_max()), Some(size)),
        };
        if noting.delivery != config::Delivery::Transient {
            fingerprints.push(fingerprint.unwrap_or_else(|| xxh3_64(&payload.bytes)));
        }
        bytes += payload.bytes.len();
        payloads.push(payload);
        if payloads.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            next = session.delivery_now()?;
        }
    }
    let mark = Mark {
        link: noting.link,
        tag,
    };
    let position = match noting.delivery {
        config::Delivery::Transient => Position::Transient,
        config::Delivery::Durable | config::Delivery::Stream => Position::Delivered {
            mark,
            fingerprints,
            next: expected,
        },
    };
    Ok(Taken {
        payloads,
        position,
        tag,
        cut,
        bytes,
    })
}

/// What stands in for a message that was skipped, so that it counts.
const fn too_long(body_max: usize) -> Payload {
    Payload {
        bytes: Vec::new(),
        form: Form::Refused(DecodeError::Large(body_max)),
    }
}
