//! The messages of remote write and of the protobuf exposition format, generated from `proto/`.
//!
//! Those of remote write are used for reading, for metadata, and as the oracle in tests. Requests
//! with samples are written directly by [`v1`](super::v1), which copies labels that are kept
//! encoded.

/// Remote write 1.0.
#[expect(clippy::all, reason = "generated")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/prometheus.rs"));
}

/// Remote write 2.0.
pub mod v2 {
    include!(concat!(env!("OUT_DIR"), "/io.prometheus.write.v2.rs"));
}

/// The protobuf exposition format.
pub mod client {
    include!(concat!(env!("OUT_DIR"), "/io.prometheus.client.rs"));
}
