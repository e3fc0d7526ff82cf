//! Recordings of raw event messages: `celeriac record` writes them, and `celeriac replay` feeds
//! them to the daemon's own pipeline, so a wrong number can be reproduced anywhere.
//!
//! ```text
//!   Source ──▶ record ──▶ scrub ──▶ line ──▶ FILE ──▶ read ──▶ replay ──▶ Pipeline or App
//! ```
//!
//! `line.rs` is the format: one JSON object a line.

mod line;
mod read;
mod scrub;

pub mod record;
pub mod replay;
