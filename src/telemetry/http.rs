//! Metrics of the HTTP listener and its limits.

use super::metrics::{Counter, HTTP_LIMITED, Telemetry};

/// Metrics of the listener. The default instance is not published.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    limited: [Counter; HttpLimit::ALL.len()],
}

/// A limit of the listener. Whenever one is reached, a connection is closed or a request is
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpLimit {
    /// The number of open connections.
    Connections,
    /// The time for a TLS handshake.
    Handshake,
    /// The time for the head of a request.
    Header,
    /// The time for the daemon to handle a request.
    Request,
    /// The time for a client to read a response.
    Write,
    /// The memory for pages of older snapshots that clients are still reading.
    Renderings,
    /// The logins of one address being checked, or the time for one.
    Logins,
    /// The number of open status pages that receive updates.
    Listeners,
}

impl HttpLimit {
    pub const ALL: [Self; 8] = [
        Self::Connections,
        Self::Handshake,
        Self::Header,
        Self::Request,
        Self::Write,
        Self::Renderings,
        Self::Logins,
        Self::Listeners,
    ];

    /// Returns the value of the label `limit`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Handshake => "handshake",
            Self::Header => "header",
            Self::Request => "request",
            Self::Write => "write",
            Self::Renderings => "renderings",
            Self::Logins => "logins",
            Self::Listeners => "listeners",
        }
    }
}

impl HttpMetrics {
    /// Returns the counter of a limit.
    pub const fn limited(&self, limit: HttpLimit) -> &Counter {
        &self.limited[limit as usize]
    }
}

impl Telemetry {
    /// Adds the metrics of the listener.
    pub fn http(&mut self) -> HttpMetrics {
        let limited = HttpLimit::ALL.map(|limit| {
            let labels = vec![("limit", limit.name().into())];
            self.counter(HTTP_LIMITED, labels)
        });
        HttpMetrics { limited }
    }
}
