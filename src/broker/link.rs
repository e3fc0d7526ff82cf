//! The state of one connection: subscribed or not, for how long, and when to try again. Time and chance come in
//! as values.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// A connection that lasted for less than this did not work: the pauses go on growing.
const LASTED_MIN: Duration = Duration::from_secs(10);

/// The connection to one broker.
#[derive(Debug)]
pub(super) struct Link {
    backoff: Backoff,
    attempt: u32,
    state: State,
    /// Subscriptions so far.
    subscriptions: u64,
}

#[derive(Debug)]
enum State {
    Subscribed {
        since: Instant,
    },
    /// Without a subscription. What lies before `counted` has been told.
    Gap {
        since: Instant,
        counted: Instant,
    },
}

/// The end of a gap.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subscribed {
    /// How long the whole gap was.
    pub(super) gap: Duration,
    /// Whether there was a subscription before.
    pub(super) again: bool,
}

impl Link {
    pub(super) const fn new(backoff: Backoff, now: Instant) -> Self {
        let state = State::Gap {
            since: now,
            counted: now,
        };
        Self {
            backoff,
            attempt: 0,
            state,
            subscriptions: 0,
        }
    }

    /// Notes that events are subscribed to.
    pub(super) fn subscribed(&mut self, now: Instant) -> Subscribed {
        let gap = match self.state {
            State::Gap { since, .. } => now.duration_since(since),
            State::Subscribed { .. } => Duration::ZERO,
        };
        self.state = State::Subscribed { since: now };
        self.subscriptions += 1;
        Subscribed {
            gap,
            again: self.subscriptions > 1,
        }
    }

    /// Notes that the connection failed, or that none could be made; the pause before the next try.
    pub(super) fn failed(&mut self, now: Instant, dice: f64) -> Duration {
        if let State::Subscribed { since } = self.state {
            if now.duration_since(since) >= LASTED_MIN {
                self.attempt = 0;
            }
            self.state = State::Gap {
                since: now,
                counted: now,
            };
        }
        let delay = self.backoff.delay(self.attempt, dice);
        self.attempt = self.attempt.saturating_add(1);
        delay
    }

    /// How much of the gap there is has not been told yet.
    pub(super) fn untold(&mut self, now: Instant) -> Duration {
        match &mut self.state {
            State::Subscribed { .. } => Duration::ZERO,
            State::Gap { counted, .. } => {
                let untold = now.duration_since(*counted);
                *counted = now;
                untold
            }
        }
    }

    pub(super) const fn is_subscribed(&self) -> bool {
        matches!(self.state, State::Subscribed { .. })
    }

    /// Subscriptions so far.
    pub(super) const fn subscriptions(&self) -> u64 {
        self.subscriptions
    }

    /// How often it was tried in vain.
    pub(super) const fn attempt(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn link() -> (Link, Instant) {
        let start = clock::monotonic();
        (
            Link::new(Backoff::new(SECOND, 8 * SECOND).expect("in order"), start),
            start,
        )
    }

    #[test]
    fn a_gap_is_told_once_while_it_lasts_and_whole_at_its_end() {
        let (mut link, start) = link();
        assert_eq!(link.untold(start + 2 * SECOND), 2 * SECOND);
        assert_eq!(link.untold(start + 5 * SECOND), 3 * SECOND);
        assert_eq!(
            link.subscribed(start + 6 * SECOND),
            Subscribed {
                gap: 6 * SECOND,
                again: false
            }
        );
        assert_eq!(link.untold(start + 60 * SECOND), Duration::ZERO);

        link.failed(start + 70 * SECOND, 0.0);
        assert_eq!(link.untold(start + 73 * SECOND), 3 * SECOND);
        assert_eq!(
            link.subscribed(start + 74 * SECOND),
            Subscribed {
                gap: 4 * SECOND,
                again: true
            }
        );
    }

    #[test]
    fn pauses_grow_until_a_connection_lasts() {
        let (mut link, start) = link();
        assert_eq!(link.failed(start, 0.0), SECOND);
        link.subscribed(start + SECOND);
        assert_eq!(link.failed(start + 2 * SECOND, 0.0), 2 * SECOND);
        link.subscribed(start + 4 * SECOND);
        assert_eq!(link.failed(start + 20 * SECOND, 0.0), SECOND);
    }
}
