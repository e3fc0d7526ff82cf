//! Deliveries to batches: what is taken together, and how far the broker's delivery has come with it.

use futures_util::{FutureExt, StreamExt};
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use xxhash_rust::xxh3::xxh3_64;

use super::connect::failed;
use crate::broker::source::{BATCH_BYTES, BATCH_MESSAGES, LinkError};
use crate::config;
use crate::event::{Compression, ContentType, Form, Mark, Payload, Position};

/// Offsets in a row that may be no messages: RabbitMQ writes what it knows of publishers into a stream where a segment
/// begins, and that takes an offset or two. What is forgotten is a whole segment, and more than so many messages.
const NO_MESSAGES: u64 = 8;

/// Messages that were there together.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) payloads: Vec<Payload>,
    pub(super) position: Position,
    /// The tag of the newest.
    pub(super) tag: u64,
    /// Messages of a stream that were gone before they could be read, and one or two for each segment of them.
    pub(super) cut: u64,
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
pub(super) async fn take(
    consumer: &mut Consumer,
    first: lapin::Result<Delivery>,
    noting: Noting,
) -> Result<Taken, LinkError> {
    let mut payloads = Vec::with_capacity(BATCH_MESSAGES);
    let mut fingerprints = Vec::new();
    let mut bytes = 0;
    let mut tag = 0;
    let mut cut = 0;
    let mut expected = noting.next;
    let mut next = Some(first);
    while let Some(delivery) = next.take() {
        let delivery = delivery.map_err(|error| failed("receive", error))?;
        tag = delivery.delivery_tag;
        bytes += delivery.data.len();
        if noting.delivery != config::Delivery::Transient {
            fingerprints.push(xxh3_64(&delivery.data));
        }
        if let Some(offset) = offset_of(&delivery) {
            // What lies before is read again, and known by its fingerprint.
            let gap = expected.map_or(0, |expected| offset.saturating_sub(expected));
            cut += if gap > NO_MESSAGES { gap } else { 0 };
            // Nor does the place go back meanwhile: cut off over and over, that would end at the first message.
            expected = expected.max(Some(offset + 1));
        }
        payloads.push(payload(delivery));
        if payloads.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            next = consumer.next().now_or_never().flatten();
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
    })
}

/// The place of a message in its stream.
pub(super) fn offset_of(delivery: &Delivery) -> Option<u64> {
    let headers = delivery.properties.headers().as_ref()?;
    let offset = headers.inner().get("x-stream-offset")?;
    u64::try_from(offset.as_long_long_int()?).ok()
}

fn payload(delivery: Delivery) -> Payload {
    let content_type = delivery.properties.content_type().as_ref();
    let headers = delivery.properties.headers().as_ref();
    let form = Form::Body {
        content_type: content_type
            .map_or(ContentType::Unknown, |text| ContentType::of(text.as_str())),
        compression: headers.and_then(compression),
    };
    Payload {
        bytes: delivery.data,
        form,
    }
}

/// What Kombu's header says that the body was compressed with.
fn compression(headers: &FieldTable) -> Option<Compression> {
    let value = headers.inner().get("compression")?;
    if matches!(value, AMQPValue::Void) {
        return None;
    }
    let long = value.as_long_string();
    let text = long.and_then(|text| std::str::from_utf8(text.as_bytes()).ok());
    text.map_or(Some(Compression::Unknown), Compression::of)
}
