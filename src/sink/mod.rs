//! Snapshots to receivers: a sink takes each snapshot, and brings it to one receiver in its own time.
//!
//! Sinks know nothing of each other and never wait for each other. What a request's answer means ([`verdict`]), when
//! to ask again ([`crate::backoff`]) and what waits ([`crate::queue`]) are three things. Only remote write has a queue:
//! a Pushgateway has no history, so that for it nothing but the newest snapshot is worth sending.

pub mod advice;
pub mod auth;
pub mod client;
pub mod probe;
pub mod verdict;

mod response;
mod told;
mod transport;

// To a receiver of remote write, through a queue.
pub mod queues;

mod feed;
mod flight;
mod request;
mod window;

// What a receiver refuses, series by series.
mod backlog;
mod conflicts;
mod names;
mod quarantine;
mod search;
mod triage;

mod remote_write;

// To a Pushgateway, without one.
mod refusal;

mod pushgateway;

use http::StatusCode;

pub use pushgateway::Pushgateway;
pub use remote_write::{Reconfigured, RemoteWrite};

use self::verdict::{Verdict, Written};

/// What came of a request.
#[derive(Debug)]
struct Outcome {
    verdict: Verdict,
    /// `None`: there was no answer.
    status: Option<StatusCode>,
    /// Nothing was sent at all.
    unsent: bool,
    written: Written,
    /// The text of the answer.
    text: String,
    /// For the log.
    reason: String,
}
