//! The body of one remote-write request.

use bytes::Bytes;

use super::point::{LENGTH, tag};
use super::{Unreadable, snappy};
use crate::counts::Counts;
use crate::timestamp::Timestamp;

/// The fastest level: each snapshot is compressed once for each receiver.
const ZSTD_LEVEL: i32 = 1;

/// The remote-write version and compression of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    V1,
    V2,
    /// 1.0, compressed with zstd instead of snappy. VictoriaMetrics reads it since 1.88, and vmagent
    /// sends it; no specification has it.
    V1Zstd,
}

impl Protocol {
    /// Returns the version of the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
            Self::V1Zstd => "1.0 with zstd",
        }
    }

    /// Returns whether a receiver of this protocol can read bodies of another one. Every receiver
    /// reads plain 1.0.
    pub fn reads(self, body: Self) -> bool {
        body == self || body == Self::V1
    }

    /// Returns the name of the message, as in Prometheus' `protobuf_message` setting.
    pub const fn message(self) -> &'static str {
        match self {
            Self::V1 | Self::V1Zstd => "prometheus.WriteRequest",
            Self::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// Returns the value of `Content-Type`.
    ///
    /// PRW 2.0, "Protocol": without spaces or quotes. Receivers compare it byte by byte, and treat
    /// unknown values as 1.0. For 1.0, only the bare media type is known to all receivers.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::V1 | Self::V1Zstd => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// Returns the value of `X-Prometheus-Remote-Write-Version`.
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1 | Self::V1Zstd => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }

    /// Returns the value of `Content-Encoding`.
    pub const fn content_encoding(self) -> &'static str {
        match self {
            Self::V1 | Self::V2 => "snappy",
            Self::V1Zstd => "zstd",
        }
    }

    /// Compresses a message. PRW 1.0 and 2.0, "Protocol": snappy's block format; the framed format is
    /// not allowed.
    pub(super) fn compress(self, message: &[u8]) -> Bytes {
        let mut compressed = match self {
            Self::V1 | Self::V2 => snappy::compress(message),
            Self::V1Zstd => zstd::bulk::compress(message, ZSTD_LEVEL)
                .expect("a request is compressed in memory"),
        };
        // zstd reserves room for an incompressible message, and bodies wait in queues.
        compressed.shrink_to_fit();
        compressed.into()
    }

    /// Returns the message in a body of this protocol.
    pub(super) fn decompress(self, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
        match self {
            Self::V1 | Self::V2 => snap::raw::Decoder::new()
                .decompress_vec(body)
                .map_err(|_| Unreadable),
            Self::V1Zstd => zstd::decode_all(body).map_err(|_| Unreadable),
        }
    }
}

/// The series and values of one request, compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub protocol: Protocol,
    pub bytes: Bytes,
    pub counts: Counts,
    /// The times of the oldest and the newest value.
    pub oldest: Timestamp,
    pub newest: Timestamp,
}

/// Types and help texts, compressed. 1.0 sends them in separate requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub bytes: Bytes,
    pub entries: u64,
}

/// Returns the body of a request without series. PRW 2.0, "Symbols": the first, empty symbol is
/// required.
pub fn empty(protocol: Protocol) -> Bytes {
    const SYMBOLS: [u8; 2] = [tag(4, LENGTH), 0];
    protocol.compress(match protocol {
        Protocol::V1 | Protocol::V1Zstd => &[],
        Protocol::V2 => &SYMBOLS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::{v1, v2};
    use crate::wire::series::read;

    #[test]
    fn a_request_without_series_has_the_empty_symbol_in_2_only() {
        let first: v1::WriteRequest = read(&empty(Protocol::V1), Protocol::V1).expect("a request");
        assert_eq!(first, v1::WriteRequest::default());
        let second: v2::Request = read(&empty(Protocol::V2), Protocol::V2).expect("a request");
        let expected = v2::Request {
            symbols: vec![String::new()],
            timeseries: Vec::new(),
        };
        assert_eq!(second, expected);
    }

    #[test]
    fn each_version_has_the_headers_of_its_specification() {
        let of = |protocol: Protocol| {
            [
                protocol.name(),
                protocol.version(),
                protocol.message(),
                protocol.content_type(),
                protocol.content_encoding(),
            ]
        };
        assert_eq!(
            of(Protocol::V1),
            [
                "1.0",
                "0.1.0",
                "prometheus.WriteRequest",
                "application/x-protobuf",
                "snappy"
            ]
        );
        assert_eq!(
            of(Protocol::V2),
            [
                "2.0",
                "2.0.0",
                "io.prometheus.write.v2.Request",
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "snappy"
            ]
        );
        assert_eq!(
            of(Protocol::V1Zstd),
            [
                "1.0 with zstd",
                "0.1.0",
                "prometheus.WriteRequest",
                "application/x-protobuf",
                "zstd"
            ]
        );
    }
}
