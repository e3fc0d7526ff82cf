//! Snapshots to receivers: a sink takes each snapshot, and brings it to one receiver in its own time.
//!
//! Sinks know nothing of each other and never wait for each other. Each has its queue; what a request's answer
//! means ([`verdict`]), when to ask again ([`crate::backoff`]) and what waits ([`crate::queue`]) are three things.

pub mod auth;
pub mod client;
pub mod verdict;

mod feed;
mod remote_write;
mod response;
mod transport;

pub use remote_write::RemoteWrite;
