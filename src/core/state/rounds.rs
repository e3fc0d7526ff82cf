//! How current the answers to regular polls are.

use std::time::Duration;

use crate::timestamp::{ClockStep, Timestamp};

/// The minimum time that an answer stays valid.
const BELIEVED_MIN: Duration = Duration::from_secs(120);

/// How many rounds may be missed before the last answer becomes invalid.
const MISSED_MAX: u32 = 3;

/// The times of complete polling rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    /// When the latest round ended; the epoch if there was none.
    latest: Timestamp,
    /// The time between the latest round and the previous one.
    interval: Duration,
}

impl Rounds {
    /// The rounds that ended at these times, the older one first; the epoch if there was none.
    pub(super) fn of(ended: [Timestamp; 2]) -> Self {
        let mut rounds = Self::default();
        ended.into_iter().for_each(|at| rounds.ended(at));
        rounds
    }

    /// Records a complete round.
    pub(super) fn ended(&mut self, now: Timestamp) {
        self.interval = if self.latest == Timestamp::default() {
            Duration::ZERO
        } else {
            now.since(self.latest)
        };
        self.latest = now;
    }

    /// Whether the latest round is too long ago for its answers to be believed.
    pub(super) fn are_outdated(&self, now: Timestamp) -> bool {
        let believed = BELIEVED_MIN.max(self.interval.saturating_mul(MISSED_MAX));
        now.since(self.latest) > believed
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        step.adjust(&mut self.latest);
    }
}
