//! What crosses from a broker's socket to the decoder: bytes, and how to read them.

use crate::timestamp::Timestamp;

/// Some messages of one broker, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The broker's place in the configuration.
    pub broker: usize,
    /// When the newest of them was received.
    pub received: Timestamp,
    pub payloads: Vec<Payload>,
}

/// One message as a broker delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub form: Form,
}

/// What the bytes of a payload are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The body itself; content type and compression came beside it, in AMQP's properties.
    Body {
        content_type: ContentType,
        compressed: bool,
    },
    /// Kombu's envelope around the body, as a virtual transport carries it.
    Envelope,
}

/// The serializers of Kombu, by their content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    Json,
    /// One that is not read.
    Unknown,
}

impl ContentType {
    /// Reads a content type; parameters behind a semicolon change nothing.
    pub fn of(text: &str) -> Self {
        let essence = text.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            Self::Json
        } else {
            Self::Unknown
        }
    }
}
