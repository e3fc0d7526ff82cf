//! Up to when the events of a cluster have been seen.

use std::time::Duration;

use super::State;
use crate::timestamp::Timestamp;

/// After this long without an event, none is waiting in the broker: heartbeats are sent every 2
/// seconds.
const QUIET: Duration = Duration::from_secs(60);

impl State {
    /// The time up to which all events have been read, according to their timestamps, or because
    /// none are arriving.
    pub(super) fn read_until(&self, now: Timestamp) -> Timestamp {
        let last_event = self.evidence.last_event_or_epoch().max(self.resumed);
        if now.since(last_event) < QUIET {
            self.newest.min(now)
        } else {
            now
        }
    }

    /// The time up to which all events that were sent have been read.
    pub(super) fn seen_until(&self, now: Timestamp) -> Timestamp {
        if self.limits.broker_holds_events {
            self.read_until(now)
        } else {
            now
        }
    }

    /// Notes that events arrive, except for those that still wait in the broker.
    pub fn subscribed(&mut self, now: Timestamp) {
        self.periodic.observed(self.seen_until(now));
    }

    /// Notes that no events can arrive because there is no subscription.
    pub fn not_subscribed(&mut self, now: Timestamp) {
        self.evidence.not_subscribed(now);
        self.periodic.not_observed(now);
        self.unseen_until = now;
    }
}
