//! Sinks deliver snapshots to receivers: each sink receives every snapshot and sends it to one
//! receiver at its own pace.
//!
//! Sinks are independent and never wait for each other. The meaning of a response ([`verdict`]),
//! the time of the next attempt ([`crate::backoff`]) and the pending data ([`crate::queue`]) are
//! kept separate. Only remote write has a queue: a Pushgateway has no history, so only the newest
//! snapshot is worth sending.

pub mod advice;
pub mod auth;
pub mod client;
pub mod probe;
pub mod verdict;

mod error_log;
mod response;
mod transport;

// Remote write, through a queue.
pub mod queues;

mod enqueuer;
mod flight;
mod request;
mod window;

// Handling of refused series.
mod backlog;
mod conflicts;
mod names;
mod quarantine;
mod search;
mod triage;

mod remote_write;

// Pushgateway, without a queue.
mod refusal;

mod pushgateway;

use http::StatusCode;

pub use pushgateway::Pushgateway;
pub use remote_write::{Reconfigured, RemoteWrite};

use self::verdict::{Verdict, Written};
use crate::wire::Protocol;

/// The outcome of a request.
#[derive(Debug)]
struct Outcome {
    verdict: Verdict,
    /// The protocol of the request.
    protocol: Protocol,
    /// Whether the response is from VictoriaMetrics.
    is_victoria: bool,
    /// `None`: there was no response.
    status: Option<StatusCode>,
    /// Whether nothing was sent at all.
    unsent: bool,
    written: Written,
    /// The body of the response.
    text: String,
    /// Reason for the log.
    reason: String,
}
