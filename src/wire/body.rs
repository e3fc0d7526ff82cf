//! One request's body.

use bytes::Bytes;

use crate::timestamp::Timestamp;

/// What goes out in one request, compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub bytes: Bytes,
    pub content: Content,
    /// How many samples, or metadata entries, are in it.
    pub count: u64,
    /// The time of the newest sample.
    pub newest: Timestamp,
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Samples,
    Metadata,
}
