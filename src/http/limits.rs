//! Counts how often each limit of the listener is reached, and logs each limit at most once a
//! minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::clock;
use crate::telemetry::http::{HttpLimit, HttpMetrics};

/// Minimum time between two log lines about the same limit, so that clients cannot fill the log.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct Limits {
    metrics: HttpMetrics,
    logged: Mutex<[Option<Instant>; HttpLimit::ALL.len()]>,
}

impl Limits {
    pub(super) fn new(metrics: HttpMetrics) -> Self {
        Self {
            metrics,
            logged: Mutex::default(),
        }
    }

    /// Counts that a limit was reached.
    pub(super) fn reached(&self, limit: HttpLimit) {
        let counter = self.metrics.limited(limit);
        counter.add(1);
        if self.may_log(limit, clock::monotonic()) {
            let (limit, total) = (limit.name(), counter.get());
            warn!(limit, total, "HTTP limit reached");
        }
    }

    fn may_log(&self, limit: HttpLimit, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut logged[limit as usize];
        let due = last.is_none_or(|last| now.duration_since(last) >= LOG_INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_logs_once_a_minute_however_often_it_is_reached() {
        let limits = Limits::default();
        let start = clock::monotonic();
        let cases = [
            (0, HttpLimit::Header, true),
            (0, HttpLimit::Header, false),
            (1, HttpLimit::Write, true),
            (59, HttpLimit::Header, false),
            (60, HttpLimit::Header, true),
            (60, HttpLimit::Write, false),
            (119, HttpLimit::Header, false),
        ];
        for (seconds, limit, logs) in cases {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(limits.may_log(limit, now), logs, "{limit:?} at {seconds} s");
        }
    }
}
