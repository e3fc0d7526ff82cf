//! Encodes snapshots as bytes: remote write, the text formats and protobuf. Does not send them.

pub mod proto;

pub mod openmetrics;
pub mod protobuf;
pub mod text;

mod encoder;
mod point;
mod symbols;
pub mod v1;
mod v2;

mod series;

mod group;

mod body;
#[cfg(test)]
mod example;
mod lines;
mod snappy;
mod value;

pub use body::{Body, Metadata, Protocol, empty};
pub use encoder::{Encoded, Encoder, Outgoing, Unsent};
pub use group::Group;
pub use series::{Key, Labels, Series, apart, downgrade, halves, parts, together};

/// Exemplar label that holds the task id.
const TASK_ID: &str = "task_id";

/// Error: a body cannot be split. Since we wrote it, it was damaged, or there is a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a compressed request")]
pub struct Unreadable;
