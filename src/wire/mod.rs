//! Snapshots to bytes: what goes out, and nothing about how.

pub mod proto;

pub mod openmetrics;
pub mod protobuf;
pub mod text;
pub mod v1;

mod body;
#[cfg(test)]
mod example;
mod lines;
mod value;

pub use body::{Body, Content};
