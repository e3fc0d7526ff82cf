//! Snapshots to receivers: a sink takes each snapshot, and brings it to one receiver in its own time.
//!
//! Sinks know nothing of each other and never wait for each other. What a request's answer means ([`verdict`]), when
//! to ask again ([`crate::backoff`]) and what waits ([`crate::queue`]) are three things. Only remote write has a queue:
//! a Pushgateway has no history, so that for it nothing but the newest snapshot is worth sending.

pub mod auth;
pub mod client;
pub mod verdict;

mod feed;
mod pushgateway;
mod refusal;
mod remote_write;

pub use pushgateway::Pushgateway;
pub use remote_write::RemoteWrite;
