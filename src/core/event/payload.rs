//! The messages passed from a broker's socket to the decoder: bytes, and how to read them.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::DecodeError;
use super::compression::Compression;
use crate::timestamp::Timestamp;

/// Identifies a broker by its index in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerId(usize);

impl BrokerId {
    /// Returns the id of the broker at `index` in the configuration.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Returns the broker's index in everything that is kept by broker.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// Messages of one broker in order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub broker: BrokerId,
    /// When the newest of them was received.
    pub received: Timestamp,
    pub payloads: Vec<Payload>,
    pub position: Position,
}

/// The broker's delivery position after a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// The broker no longer has the messages: there is no position to return to.
    Transient,
    /// The broker may deliver the messages again: the newest message, and the fingerprint of each.
    Delivered {
        mark: Mark,
        fingerprints: Vec<u64>,
        /// For a stream, the offset after the newest message. A durable queue keeps messages until
        /// a checkpoint contains them.
        next: Option<u64>,
    },
}

/// All messages of a durable queue up to a given one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Which subscription delivered it, counted from 1 in each process.
    pub link: u64,
    /// Its delivery tag within that.
    pub tag: u64,
}

/// One message as a broker delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub form: Form,
}

/// The format of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The body alone. Content type and compression are AMQP properties.
    Body {
        content_type: ContentType,
        compression: Option<Compression>,
    },
    /// Kombu's envelope around the body, as used by virtual transports.
    Envelope,
    /// No data: the payload could not be decompressed.
    Refused(DecodeError),
}

/// The name of Kombu's header for it in an envelope.
static HEADER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"compression\""));

impl Payload {
    /// Whether the payload may be compressed. If `false`, it is not.
    pub fn may_be_compressed(&self) -> bool {
        match self.form {
            Form::Body { compression, .. } => compression.is_some(),
            Form::Envelope => HEADER.find(&self.bytes).is_some(),
            Form::Refused(_) => false,
        }
    }
}

/// The serializers of Kombu, by their content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    Json,
    Msgpack,
    Yaml,
    Pickle,
    /// An unsupported serializer.
    Unknown,
}

impl ContentType {
    /// The supported serializers.
    pub const READ: [Self; 4] = [Self::Json, Self::Msgpack, Self::Yaml, Self::Pickle];

    /// Parses a content type, ignoring parameters after a semicolon.
    ///
    /// The first name of each kind is Kombu's. The others are used by programs not written in
    /// Python.
    pub fn of(text: &str) -> Self {
        const KNOWN: [(&str, ContentType); 9] = [
            ("application/json", ContentType::Json),
            ("application/x-msgpack", ContentType::Msgpack),
            ("application/msgpack", ContentType::Msgpack),
            ("application/vnd.msgpack", ContentType::Msgpack),
            ("application/x-yaml", ContentType::Yaml),
            ("application/yaml", ContentType::Yaml),
            ("text/yaml", ContentType::Yaml),
            ("text/x-yaml", ContentType::Yaml),
            ("application/x-python-serialize", ContentType::Pickle),
        ];
        // As almost all messages have it.
        if text == Self::Json.mime() {
            return Self::Json;
        }
        let essence = text.split(';').next().unwrap_or_default().trim();
        let known = KNOWN
            .iter()
            .find(|(known, _)| essence.eq_ignore_ascii_case(known));
        known.map_or(Self::Unknown, |(_, content_type)| *content_type)
    }

    /// Kombu's content type for the serializer.
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Msgpack => "application/x-msgpack",
            Self::Yaml => "application/x-yaml",
            Self::Pickle => "application/x-python-serialize",
            Self::Unknown => "unknown",
        }
    }

    /// Kombu's name for the serializer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
            Self::Yaml => "yaml",
            Self::Pickle => "pickle",
            Self::Unknown => "unknown",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Json => 1,
            Self::Msgpack => 2,
            Self::Yaml => 4,
            Self::Pickle => 8,
            Self::Unknown => 0,
        }
    }
}

/// The accepted serializers; by default only JSON, as in Celery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept(u8);

impl Accept {
    /// Whether a serializer is accepted. [`ContentType::Unknown`] never is.
    pub const fn has(self, content_type: ContentType) -> bool {
        self.0 & content_type.bit() != 0
    }
}

impl FromIterator<ContentType> for Accept {
    fn from_iter<I: IntoIterator<Item = ContentType>>(types: I) -> Self {
        Self(types.into_iter().fold(0, |bits, one| bits | one.bit()))
    }
}

impl Default for Accept {
    fn default() -> Self {
        Self(ContentType::Json.bit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_read_in_every_spelling() {
        let cases = [
            ("application/json", ContentType::Json),
            ("Application/JSON; charset=utf-8", ContentType::Json),
            ("application/x-msgpack", ContentType::Msgpack),
            ("application/vnd.msgpack", ContentType::Msgpack),
            ("application/x-yaml", ContentType::Yaml),
            ("text/yaml ;x=y", ContentType::Yaml),
            ("application/x-python-serialize", ContentType::Pickle),
            // Kombu's serializer `auth`, and text that is none of ours.
            ("application/data", ContentType::Unknown),
            ("text/plain", ContentType::Unknown),
            ("", ContentType::Unknown),
        ];
        for (text, content_type) in cases {
            assert_eq!(ContentType::of(text), content_type, "{text}");
        }
    }

    #[test]
    fn only_what_may_be_compressed_is_looked_into() {
        let body = |compression| Form::Body {
            content_type: ContentType::Json,
            compression,
        };
        let cases: [(Form, &[u8], bool); 5] = [
            (body(None), b"\"compression\"", false),
            (body(Some(Compression::Zlib)), b"", true),
            (Form::Envelope, br#"{"headers": {"compression": ""}}"#, true),
            (Form::Envelope, br#"{"headers": {}}"#, false),
            (Form::Refused(DecodeError::Inflated), b"", false),
        ];
        for (form, bytes, expected) in cases {
            let bytes = bytes.to_vec();
            let payload = Payload { bytes, form };
            assert_eq!(payload.may_be_compressed(), expected, "{payload:?}");
        }
    }

    #[test]
    fn what_is_accepted_is_what_was_named() {
        let accept = Accept::from_iter([ContentType::Yaml, ContentType::Unknown]);
        let accepted = ContentType::READ.map(|content_type| accept.has(content_type));

        assert_eq!(accepted, [false, false, true, false]);
        assert!(!accept.has(ContentType::Unknown));
        assert_eq!(Accept::default(), Accept::from_iter([ContentType::Json]));
    }
}
