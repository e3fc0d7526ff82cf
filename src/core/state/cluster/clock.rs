//! What clocks that are wrong mean for a cluster: ours, which somebody sets, and those of workers.

use std::time::Duration;

use super::State;
use crate::event::{Refusal, judge};
use crate::state::Change;
use crate::timestamp::{ClockStep, Timestamp};

impl State {
    /// Our clock was set: what was received so long ago stays as long ago.
    pub fn clock_set(&mut self, step: ClockStep) {
        self.tasks.clock_set(step);
        self.workers.clock_set(step);
        self.queues.clock_set(step);
        self.signs.clock_set(step);
        let [older, newer] = &mut self.rounds;
        for at in [older, newer, &mut self.first_event, &mut self.resumed] {
            step.adjust(at);
        }
    }

    /// When an event was sent. One from the future counts from when it was received, or where events wait in the broker, from
    /// the newest event before it, so that it means the same when it is read again. A microsecond after the one before, so
    /// that events keep their order.
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
