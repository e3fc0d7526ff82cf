//! Snapshots to bytes: what goes out, and nothing about how.

pub mod proto;

pub mod text;
pub mod v1;

mod body;
mod group;
mod value;

pub use body::{Body, Content};
pub use group::Group;
