//! Groups deliveries into batches, and tracks the stream position that each batch reaches.

use xxhash_rust::xxh3::xxh3_64;

use super::assembly::{Delivery, TooLong};
use super::error::AmqpError;
use super::session::Session;
use crate::broker::context::{BATCH_BYTES, BATCH_MESSAGES};
use crate::config;
use crate::event::{ContentType, DecodeError, Form, Mark, Payload, Position};

/// Number of consecutive offsets that may hold no messages: RabbitMQ writes publisher state at the
/// start of each segment, which uses an offset or two. A larger gap means that retention has
/// deleted whole segments.
const NO_MESSAGES: u64 = 8;

/// A batch of messages to hand over.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) payloads: Vec<Payload>,
    pub(super) position: Position,
    /// The delivery tag of the newest message.
    pub(super) tag: u64,
    /// Messages of a stream that were deleted before they could be read, including the one or two
    /// non-message offsets per segment.
    pub(super) cut: u64,
    /// The total size of the bodies in bytes.
    pub(super) bytes: usize,
}

/// Maximum size of a body. It is RabbitMQ 4's default limit, and the limit for decompressed
/// payloads too.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// The longest body to receive if the queue holds at most `queue_bytes_max` bytes.
pub(super) fn body_max(queue_bytes_max: u64) -> usize {
    usize::try_from(queue_bytes_max.min(MESSAGE_BYTES_MAX)).unwrap_or(usize::MAX)
}

/// The data recorded with each message.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryCursor {
    pub(super) delivery: config::Delivery,
    /// The number of the subscription.
    pub(super) link: u64,
    /// For a stream: the offset expected next.
    pub(super) next: Option<u64>,
}

/// Collects a delivery and those after it that are already available.
pub(super) fn collect(
    session: &mut Session,
    first: Delivery,
    cursor: DeliveryCursor,
) -> Result<Taken, AmqpError> {
    let mut payloads = Vec::with_capacity(BATCH_MESSAGES);
    let mut fingerprints = Vec::new();
    let (mut tag, mut cut, mut bytes) = (0, 0, 0);
    let mut expected = cursor.next;
    let mut next = Some(first);
    while let Some(delivery) = next.take() {
        tag = delivery.tag;
        if let Some(offset) = delivery.properties.offset {
            // Offsets before the expected one are read again and recognized by their fingerprint.
            let gap = expected.map_or(0, |expected| offset.saturating_sub(expected));
            cut += if gap > NO_MESSAGES { gap } else { 0 };
            // The position never moves backwards while they are read. Otherwise, a connection that
            // keeps breaking would end up at the first message.
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
        if cursor.delivery != config::Delivery::Transient {
            fingerprints.push(fingerprint.unwrap_or_else(|| xxh3_64(&payload.bytes)));
        }
        bytes += payload.bytes.len();
        payloads.push(payload);
        if payloads.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            next = session.delivery_now()?;
        }
    }
    let mark = Mark {
        link: cursor.link,
        tag,
    };
    let position = match cursor.delivery {
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

/// A placeholder for a skipped message, so that it is counted.
const fn too_long(body_max: usize) -> Payload {
    Payload {
        bytes: Vec::new(),
        form: Form::Refused(DecodeError::Large(body_max)),
    }
}
