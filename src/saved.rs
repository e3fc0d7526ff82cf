//! What survives a restart, in the form in which it is stored: generated from `proto/checkpoint.proto`.
//!
//! State, series and telemetry each write and read their own part; [`checkpoint`](crate::checkpoint) brings the whole to
//! disk and back. What comes from a file proves its checksum before it gets here, but may be of another version of the
//! daemon: whoever reads it takes what makes sense and leaves the rest.

include!(concat!(env!("OUT_DIR"), "/celeriac.checkpoint.v1.rs"));
