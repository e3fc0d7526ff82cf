//! The messages of remote write and of the protobuf exposition format, generated from `proto/`.
//!
//! Those of remote write are used for reading, for metadata, and as the oracle in tests. Requests
//! with samples are written directly by [`v1`](super::v1), which copies labels that are kept
//! encoded.

/// Remote write 1.0.
#[expect(clippy::all, reason = "generated")]
pub mod v1 {
    include!("../generated/remote_write_v1.rs");
}

/// Remote write 2.0.
pub mod v2 {
    include!("../generated/remote_write_v2.rs");
}

/// The protobuf exposition format.
pub mod client {
    include!("../generated/client_model.rs");
}
