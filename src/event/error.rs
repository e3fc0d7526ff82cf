//! Why a message, or one event in it, could not be read.

/// Why a message, or one event in it, could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message has no body")]
    Empty,
    #[error("the body is not JSON, or ends in the middle")]
    Json,
    #[error("the body nests deeper than {} levels", super::json::DEPTH_MAX)]
    Depth,
    #[error("an event is a map, and this is none")]
    NotAMap,
    #[error("the event has no usable `{0}`")]
    Field(&'static str),
    #[error("the event's `{0}` is longer than {max} bytes", max = super::fields::TEXT_MAX)]
    Oversized(&'static str),
    #[error("the envelope is not one of Kombu's")]
    Envelope,
    #[error("the envelope's body is not base64")]
    Base64,
    #[error("the body's content type is not accepted")]
    ContentType,
    #[error("the body is compressed")]
    Compressed,
}

/// What [`DecodeError`]s count under: the values of the label `reason`.
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
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 10] = [
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
        }
    }
}

impl DecodeError {
    /// What this error counts under.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Empty => Reason::Empty,
            Self::Json => Reason::Json,
            Self::Depth => Reason::Depth,
            Self::NotAMap => Reason::NotAMap,
            Self::Field(_) => Reason::Field,
            Self::Oversized(_) => Reason::Oversized,
            Self::Envelope => Reason::Envelope,
            Self::Base64 => Reason::Base64,
            Self::ContentType => Reason::ContentType,
            Self::Compressed => Reason::Compressed,
        }
    }
}
