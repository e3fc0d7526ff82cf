//! Why a message, or one event in it, could not be read.

use super::ContentType;
use super::compression::BODY_MAX;
use super::fields::VALUES_MAX;

/// Why a message, or one event in it, could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message has no body")]
    Empty,
    #[error("the body is not JSON, or is truncated")]
    Json,
    #[error("the body nests deeper than {} levels", super::fields::DEPTH_MAX)]
    Depth,
    #[error("the event is not a map")]
    NotAMap,
    #[error("the event has no usable `{0}`")]
    Field(&'static str),
    #[error("the event's `{0}` is longer than {max} bytes", max = super::fields::TEXT_MAX)]
    Oversized(&'static str),
    #[error("the envelope is not a Kombu message")]
    Envelope,
    #[error("the envelope's body is not valid base64")]
    Base64,
    #[error("the body's content type is not supported")]
    ContentType,
    #[error("the body is {}, which `accept_content` does not list", .0.name())]
    NotAccepted(ContentType),
    #[error("the body's compression is not supported")]
    Compressed,
    #[error("the body is not compressed as its header says, or is truncated")]
    Stream,
    #[error("the body is larger than {} MiB when decompressed", BODY_MAX >> 20)]
    Inflated,
    #[error("the body is larger than {} MiB", .0 >> 20)]
    Large(usize),
    #[error("the budget for bodies that grow this much when decompressed is used up")]
    Exhausted,
    #[error("the body has more than {VALUES_MAX} values")]
    Values,
    #[error("the body is not msgpack, or is truncated")]
    Msgpack,
    #[error("the body is not YAML, or is truncated")]
    Yaml,
    #[error("the body is not a pickle, or is truncated")]
    Pickle,
    #[error("the pickle refers to data outside itself ({0})")]
    PickledReference(&'static str),
}

/// The categories under which [`DecodeError`]s are counted: the values of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Empty,
    Json,
    Depth,
    NotAMap,
    Field,
    Oversized,
    Envelope,
    Base64,
    ContentType,
    Compressed,
    Exhausted,
    Msgpack,
    Yaml,
    Pickle,
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 14] = [
        Self::Empty,
        Self::Json,
        Self::Depth,
        Self::NotAMap,
        Self::Field,
        Self::Oversized,
        Self::Envelope,
        Self::Base64,
        Self::ContentType,
        Self::Compressed,
        Self::Exhausted,
        Self::Msgpack,
        Self::Yaml,
        Self::Pickle,
    ];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Json => "json",
            Self::Depth => "depth",
            Self::NotAMap => "not_a_map",
            Self::Field => "field",
            Self::Oversized => "oversized",
            Self::Envelope => "envelope",
            Self::Base64 => "base64",
            Self::ContentType => "content_type",
            Self::Compressed => "compressed",
            Self::Exhausted => "decompression_limit",
            Self::Msgpack => "msgpack",
            Self::Yaml => "yaml",
            Self::Pickle => "pickle",
        }
    }
}

impl DecodeError {
    /// Whether both errors are covered by one log line: they have the same reason and, if a
    /// serializer is not accepted, the same serializer.
    pub fn is_logged_with(self, other: Self) -> bool {
        if let (Self::NotAccepted(_), _) | (_, Self::NotAccepted(_)) = (self, other) {
            return self == other;
        }
        self.reason() == other.reason()
    }

    /// The category under which the error is counted.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Empty => Reason::Empty,
            Self::Json => Reason::Json,
            Self::Depth => Reason::Depth,
            Self::NotAMap => Reason::NotAMap,
            Self::Field(_) => Reason::Field,
            Self::Oversized(_) | Self::Inflated | Self::Large(_) | Self::Values => {
                Reason::Oversized
            }
            Self::Envelope => Reason::Envelope,
            Self::Base64 => Reason::Base64,
            Self::ContentType | Self::NotAccepted(_) => Reason::ContentType,
            Self::Compressed | Self::Stream => Reason::Compressed,
            Self::Exhausted => Reason::Exhausted,
            Self::Msgpack => Reason::Msgpack,
            Self::Yaml => Reason::Yaml,
            Self::Pickle | Self::PickledReference(_) => Reason::Pickle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_share_a_log_line_if_they_share_what_an_operator_would_fix() {
        let not = DecodeError::NotAccepted;
        for (one, other, expected) in [
            (DecodeError::Json, DecodeError::Json, true),
            (DecodeError::Json, DecodeError::Yaml, false),
            (DecodeError::Field("uuid"), DecodeError::Field("type"), true),
            (DecodeError::Values, DecodeError::Inflated, true),
            (not(ContentType::Yaml), not(ContentType::Yaml), true),
            (not(ContentType::Yaml), not(ContentType::Pickle), false),
            (not(ContentType::Yaml), DecodeError::ContentType, false),
        ] {
            assert_eq!(one.is_logged_with(other), expected, "{one} {other}");
            assert_eq!(other.is_logged_with(one), expected, "{other} {one}");
        }
    }
}
