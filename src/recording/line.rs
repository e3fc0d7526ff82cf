//! The format of a recording: JSON lines.
//!
//! The first line is a [`Header`]. Each further line is a message, or says that messages are missing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::config::BrokerConfig;
use crate::event::{Accept, Compression, ContentType, Form, Payload};
use crate::timestamp::Timestamp;

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// [`VERSION`].
    pub(super) celeriac_recording: u32,
    /// The version of the daemon that recorded it.
    pub(super) version: String,
    /// When it began, in seconds since the epoch.
    pub(super) started: f64,
    /// Whether it was scrubbed. All messages of a scrubbed recording are JSON.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) scrubbed: bool,
    pub(super) brokers: Vec<Broker>,
}

/// A recorded broker. Its URL is not part of the recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Broker {
    /// As configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Whether it drops expired messages, as RabbitMQ does.
    pub(super) drops_expired: bool,
    /// The serializers that it accepts.
    pub(super) accept: Vec<String>,
}

/// A line after the first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// When the message was received, in seconds since the epoch.
    pub(super) t: f64,
    /// The index of its broker in the header.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) broker: usize,
    #[serde(flatten)]
    pub(super) content: Content,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    /// A body with its properties.
    Body {
        content_type: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compression: Option<String>,
        #[serde(flatten)]
        bytes: Bytes,
    },
    /// A message of Redis: Kombu's envelope around a body.
    Envelope {
        envelope: String,
    },
    EnvelopeBase64 {
        envelope_base64: String,
    },
    /// A message that was left out: its length, and why.
    Omitted {
        omitted: String,
        length: usize,
    },
    /// Messages that did not reach the recording.
    Lost {
        lost: String,
    },
    /// The last line: the number of messages.
    End {
        end: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Bytes {
    Text { body: String },
    Base64 { body_base64: String },
}

impl Default for Content {
    fn default() -> Self {
        Self::Lost {
            lost: String::new(),
        }
    }
}

/// Why a line is not a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("not a line of a recording: {0}")]
    Json(#[from] serde_json::Error),
    #[error("invalid base64: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("`t` is not a plausible time")]
    Time,
    #[error("the header has no such broker")]
    Broker,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
const fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Content {
    /// The line of a payload as it arrived.
    pub(super) fn of(payload: Payload) -> Self {
        match payload.form {
            Form::Body {
                content_type,
                compression,
            } => Self::Body {
                content_type: content_type.mime().to_owned(),
                compression: compression.map(|compression| compression.name().to_owned()),
                bytes: match String::from_utf8(payload.bytes) {
                    Ok(body) => Bytes::Text { body },
                    Err(error) => Bytes::Base64 {
                        body_base64: STANDARD.encode(error.as_bytes()),
                    },
                },
            },
            Form::Envelope => match String::from_utf8(payload.bytes) {
                Ok(envelope) => Self::Envelope { envelope },
                Err(error) => Self::EnvelopeBase64 {
                    envelope_base64: STANDARD.encode(error.as_bytes()),
                },
            },
            Form::Refused(error) => Self::Omitted {
                omitted: error.to_string(),
                length: payload.bytes.len(),
            },
        }
    }

    /// The payload of a message; `None` for a line without one.
    pub(super) fn payload(self) -> Result<Option<Payload>, LineError> {
        let (bytes, form) = match self {
            Self::Body {
                content_type,
                compression,
                bytes,
            } => {
                let form = Form::Body {
                    content_type: ContentType::of(&content_type),
                    compression: compression.as_deref().and_then(Compression::of),
                };
                let bytes = match bytes {
                    Bytes::Text { body } => body.into_bytes(),
                    Bytes::Base64 { body_base64 } => STANDARD.decode(body_base64)?,
                };
                (bytes, form)
            }
            Self::Envelope { envelope } => (envelope.into_bytes(), Form::Envelope),
            Self::EnvelopeBase64 { envelope_base64 } => {
                (STANDARD.decode(envelope_base64)?, Form::Envelope)
            }
            Self::Omitted { .. } | Self::Lost { .. } | Self::End { .. } => return Ok(None),
        };
        Ok(Some(Payload { bytes, form }))
    }
}

impl Line {
    pub(super) fn parse(text: &[u8]) -> Result<(Self, Timestamp), LineError> {
        let line: Self = serde_json::from_slice(text)?;
        let at = Timestamp::from_seconds(line.t).ok_or(LineError::Time)?;
        Ok((line, at))
    }
}

impl Broker {
    pub(super) fn of(config: &BrokerConfig) -> Self {
        let read = ContentType::READ.into_iter();
        let accepted = read.filter(|one| config.accept.has(*one));
        Self {
            name: config.name.clone(),
            drops_expired: config.transport.drops_expired(),
            accept: accepted.map(|one| one.name().to_owned()).collect(),
        }
    }

    /// The serializers that it accepts; unknown names are ignored.
    pub(super) fn accept(&self) -> Accept {
        let known = ContentType::READ.into_iter();
        known
            .filter(|known| self.accept.iter().any(|name| name == known.name()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_survives_its_line() {
        let body = |bytes: &[u8], content_type, compression| Payload {
            bytes: bytes.into(),
            form: Form::Body {
                content_type,
                compression,
            },
        };
        let envelope = |bytes: &[u8]| Payload {
            bytes: bytes.into(),
            form: Form::Envelope,
        };
        let payloads = [
            body(b"{\"type\": \"x\"}", ContentType::Json, None),
            body("\u{1f955}\0\"\\\n".as_bytes(), ContentType::Yaml, None),
            body(b"\x80\xff", ContentType::Pickle, Some(Compression::Zstd)),
            body(b"", ContentType::Unknown, Some(Compression::Unknown)),
            envelope(b"{\"body\": \"e30=\"}"),
            envelope(b"{\xff"),
        ];
        for payload in payloads {
            let line = Line {
                t: 1_795_344_000.123_456,
                broker: 1,
                content: Content::of(payload.clone()),
            };
            let text = serde_json::to_string(&line).expect("a line");
            assert!(!text.contains('\n'), "{text}");
            let (read, at) = Line::parse(text.as_bytes()).expect("the same line");
            assert_eq!(at.micros(), 1_795_344_000_123_456);
            assert_eq!(read.broker, 1);
            let read = read.content.payload().expect("a message");
            assert_eq!(read, Some(payload), "{text}");
        }
    }

    #[test]
    fn lines_without_a_message_and_invalid_ones_differ() {
        let lost = r#"{"t": 1795344000, "lost": "12 messages"}"#;
        let (line, _) = Line::parse(lost.as_bytes()).expect("a line");
        assert_eq!(line.content.payload().expect("no error"), None);
        for invalid in [
            "",
            "{}",
            r#"{"t": 1795344000}"#,
            r#"{"t": 1e300, "lost": ""}"#,
            r#"{"t": 1795344000, "envelope": 1}"#,
        ] {
            assert!(Line::parse(invalid.as_bytes()).is_err(), "{invalid}");
        }
        let broken = r#"{"t": 1795344000, "content_type": "application/json", "body_base64": "?"}"#;
        let (line, _) = Line::parse(broken.as_bytes()).expect("a line");
        assert!(line.content.payload().is_err());
    }
}
