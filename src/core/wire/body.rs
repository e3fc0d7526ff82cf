//! One request's body.

use bytes::Bytes;

use crate::counts::Counts;
use crate::timestamp::Timestamp;

/// The version of remote write that a body is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    V1,
    V2,
}

impl Protocol {
    /// The name of the message, as Prometheus' `protobuf_message` has it.
    pub const fn message(self) -> &'static str {
        match self {
            Self::V1 => "prometheus.WriteRequest",
            Self::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// The value of `Content-Type`.
    ///
    /// PRW 2.0, "Protocol": without a blank and without quotes. Receivers compare it byte by byte, and read 1.0
    /// out of what they do not know. To 1.0 receivers, the bare type is the one that all know.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The value of `X-Prometheus-Remote-Write-Version`.
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// Series with their values, as they go out in one request: compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub protocol: Protocol,
    pub bytes: Bytes,
    pub counts: Counts,
    /// The times of the oldest and the newest value in it.
    pub oldest: Timestamp,
    pub newest: Timestamp,
}

/// Types and help texts, as 1.0 sends them: in a request of their own, compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub bytes: Bytes,
    pub entries: u64,
}

/// The body of a request without series. PRW 2.0, "Symbols": the first is empty, and has to be there.
pub fn empty(protocol: Protocol) -> Bytes {
    const SYMBOLS: [u8; 2] = [4 << 3 | 2, 0];
    compress(match protocol {
        Protocol::V1 => &[],
        Protocol::V2 => &SYMBOLS,
    })
}

/// PRW 1.0 and 2.0, "Protocol": snappy's block format. The framed one must not be used.
pub(super) fn compress(bytes: &[u8]) -> Bytes {
    let compressed = snap::raw::Encoder::new().compress_vec(bytes);
    compressed
        .expect("a request is far below snappy's limit of 4 GiB")
        .into()
}
