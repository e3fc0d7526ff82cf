//! Handles wrong clocks in a cluster: steps of our own clock, and workers whose clocks are wrong.

use std::time::Duration;

use super::State;
use crate::event::{Refusal, judge};
use crate::state::Change;
use crate::timestamp::{ClockStep, Timestamp};

impl State {
    /// Shifts stored times after our clock was set, so that their age stays the same.
    pub fn clock_set(&mut self, step: ClockStep) {
        self.tasks.clock_set(step);
        self.workers.clock_set(step);
        self.queues.clock_set(step);
        self.beats.clock_set(step);
        self.runtimes.clock_set(step);
        self.workflows.clock_set(step);
        self.periodic.clock_set(step);
        self.evidence.clock_set(step);
        let [older, newer] = &mut self.rounds;
        for at in [
            older,
            newer,
            &mut self.first_event,
            &mut self.resumed,
            &mut self.unseen_until,
        ] {
            step.adjust(at);
        }
    }

    /// The time at which an event was sent. A time in the future is replaced by the time of receipt
    /// or, if events wait in the broker, by at most a microsecond after the newest earlier event,
    /// so that the result is the same when the event is read again. Replacements are at least a
    /// microsecond apart, so events keep their order.
    pub(super) fn stamped(
        &mut self,
        at: Timestamp,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Timestamp {
        if judge::has_happened(at, now) {
            return at;
        }
        changes.push(Change::Refused(Refusal::Timestamp));
        let microsecond = Duration::from_micros(1);
        let received = if self.limits.broker_holds_events && self.newest != Timestamp::default() {
            now.min(self.newest.after(microsecond))
        } else {
            now
        };
        self.substitute = received.no_earlier_than(self.substitute.after(microsecond));
        self.substitute
    }
}

#[cfg(test)]
mod tests;
