//! Limits repeated log messages: remembers which reasons were logged recently.

use std::time::{Duration, Instant};

/// Time during which the same reason is not logged again.
const REPEATED: Duration = Duration::from_secs(600);

/// Maximum number of reasons to log within that time. Beyond that, more of them would not help.
const LOGGED_MAX: usize = 8;

/// The reasons that were logged recently.
#[derive(Debug, Default)]
pub(super) struct ErrorLog(Vec<(String, Instant)>);

impl ErrorLog {
    /// Returns whether to log a reason now, and records it as logged.
    pub(super) fn is_new(&mut self, reason: &str, now: Instant) -> bool {
        self.0
            .retain(|(_, at)| now.saturating_duration_since(*at) < REPEATED);
        let reason = without_figures(reason);
        if self.0.len() >= LOGGED_MAX || self.0.iter().any(|(logged, _)| *logged == reason) {
            return false;
        }
        self.0.push((reason, now));
        true
    }
}

/// Removes the digits from a reason, because they may differ between responses with the same
/// reason.
pub(super) fn without_figures(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_reason_is_told_once_in_a_while_whatever_its_figures_are() {
        let (mut log, now) = (ErrorLog::default(), clock::monotonic());
        assert!(log.is_new("sample 1 is too old", now));
        assert!(!log.is_new("sample 2 is too old", now + Duration::from_secs(599)));
        assert!(log.is_new("sample 3 is too old", now + Duration::from_secs(600)));
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            assert!(log.is_new(name, now + Duration::from_secs(601)));
        }
        assert!(!log.is_new("h", now + Duration::from_secs(602)));
    }
}
