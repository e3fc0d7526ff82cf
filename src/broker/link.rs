//! Tracks the state of one connection: subscribed or not, for how long, and when to retry. Time and
//! randomness are passed in as values.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::error::LinkError;
use crate::backoff::Backoff;

/// A connection that lasted less than this counts as a failed attempt, so the pauses keep growing.
const LASTED_MIN: Duration = Duration::from_secs(10);

/// A healthy connection is never silent for longer: RabbitMQ sends a heartbeat every 5 seconds, and
/// Redis is pinged at the same interval.
const SILENT_MAX: Duration = Duration::from_secs(6);

/// The time of the last sign of life on a connection. Shared with the socket, which another thread
/// may read.
#[derive(Clone, Debug)]
pub(super) struct Alive {
    start: Instant,
    /// Microseconds since `start`.
    last: Arc<AtomicU64>,
}

impl Alive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            last: Arc::default(),
        }
    }

    /// Records that the peer closed the connection. This counts as a sign of life unless the
    /// connection was already dead, in which case something on the path closed it.
    pub(super) fn closed(&self, now: Instant) {
        self.note(self.good_until(now));
    }

    /// Records a sign of life.
    pub(super) fn note(&self, now: Instant) {
        let micros = now.duration_since(self.start).as_micros();
        self.last
            .store(u64::try_from(micros).unwrap_or(u64::MAX), Relaxed);
    }

    /// When the last sign of life was seen.
    pub(super) fn last(&self) -> Instant {
        self.start + Duration::from_micros(self.last.load(Relaxed))
    }

    /// When a connection that has not failed yet was last known to be good: now, unless it has been
    /// silent for longer than a healthy one would be.
    pub(super) fn good_until(&self, now: Instant) -> Instant {
        let last = self.last();
        if now.duration_since(last) > SILENT_MAX {
            last
        } else {
            now
        }
    }
}

/// The connection to one broker.
#[derive(Debug)]
pub(super) struct ConnectionState {
    backoff: Backoff,
    attempt: u32,
    state: LinkPhase,
    /// The number of subscriptions so far.
    subscriptions: u64,
    /// The refusal of this outage that was logged last.
    refusal: Option<String>,
}

#[derive(Debug)]
enum LinkPhase {
    Subscribed {
        since: Instant,
    },
    /// Not subscribed. The time before `counted` has already been reported.
    Gap {
        since: Instant,
        counted: Instant,
    },
}

/// The end of a gap.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subscribed {
    /// Total length of the gap.
    pub(super) gap: Duration,
    /// Whether there was an earlier subscription.
    pub(super) again: bool,
}

impl ConnectionState {
    pub(super) const fn new(backoff: Backoff, now: Instant) -> Self {
        let state = LinkPhase::Gap {
            since: now,
            counted: now,
        };
        Self {
            backoff,
            attempt: 0,
            state,
            subscriptions: 0,
            refusal: None,
        }
    }

    /// Records a new subscription.
    pub(super) fn subscribed(&mut self, now: Instant) -> Subscribed {
        let gap = match self.state {
            LinkPhase::Gap { since, .. } => now.duration_since(since),
            LinkPhase::Subscribed { .. } => Duration::ZERO,
        };
        self.state = LinkPhase::Subscribed { since: now };
        self.subscriptions += 1;
        Subscribed {
            gap,
            again: self.subscriptions > 1,
        }
    }

    /// Records that the connection failed or could not be made. Returns the pause before the next
    /// attempt. The gap begins at the last sign of life, because it can take long to notice that a
    /// peer is gone.
    pub(super) fn failed(&mut self, now: Instant, alive: Instant, dice: f64) -> Duration {
        self.ended(now, alive);
        let delay = self.backoff.delay(self.attempt, dice);
        self.attempt = self.attempt.saturating_add(1);
        delay
    }

    /// Whether to log an error: once per outage, because the metric shows how long it lasts. But a
    /// server that cannot be reached at first may turn out to refuse the connection.
    pub(super) fn is_news(&mut self, was_connected: bool, error: &LinkError) -> bool {
        let first = self.attempt == 0 || was_connected;
        if first {
            self.refusal = None;
        }
        let refusal = error.is_definite().then(|| error.to_string());
        let differs = refusal.is_some() && refusal != self.refusal;
        if differs {
            self.refusal = refusal;
        }
        first || differs
    }

    /// Records that the subscription has ended, if there was one.
    pub(super) fn ended(&mut self, now: Instant, alive: Instant) {
        if let LinkPhase::Subscribed { since } = self.state {
            let alive = alive.min(now).max(since);
            if alive.duration_since(since) >= LASTED_MIN {
                self.attempt = 0;
            }
            self.state = LinkPhase::Gap {
                since: alive,
                counted: alive,
            };
        }
    }

    /// The part of the current gap that has not been reported yet.
    pub(super) fn unreported(&mut self, now: Instant) -> Duration {
        match &mut self.state {
            LinkPhase::Subscribed { .. } => Duration::ZERO,
            LinkPhase::Gap { counted, .. } => {
                let unreported = now.duration_since(*counted);
                *counted = now;
                unreported
            }
        }
    }

    pub(super) const fn is_subscribed(&self) -> bool {
        matches!(self.state, LinkPhase::Subscribed { .. })
    }

    /// The number of subscriptions so far.
    pub(super) const fn subscriptions(&self) -> u64 {
        self.subscriptions
    }

    /// The number of failed attempts.
    pub(super) const fn attempt(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn link() -> (ConnectionState, Instant) {
        let start = clock::monotonic();
        (
            ConnectionState::new(Backoff::new(SECOND, 8 * SECOND).expect("in order"), start),
            start,
        )
    }

    #[test]
    fn a_gap_is_told_once_while_it_lasts_and_whole_at_its_end() {
        let (mut link, start) = link();
        assert_eq!(link.unreported(start + 2 * SECOND), 2 * SECOND);
        assert_eq!(link.unreported(start + 5 * SECOND), 3 * SECOND);
        assert_eq!(
            link.subscribed(start + 6 * SECOND),
            Subscribed {
                gap: 6 * SECOND,
                again: false
            }
        );
        assert_eq!(link.unreported(start + 60 * SECOND), Duration::ZERO);

        let broke = start + 70 * SECOND;
        link.failed(broke, broke, 0.0);
        assert_eq!(link.unreported(start + 73 * SECOND), 3 * SECOND);
        assert_eq!(
            link.subscribed(start + 74 * SECOND),
            Subscribed {
                gap: 4 * SECOND,
                again: true
            }
        );
    }

    #[test]
    fn a_gap_begins_at_the_last_sign_of_life() {
        let (mut link, start) = link();
        link.subscribed(start + SECOND);
        let alive = Alive::new(start);
        alive.note(start + 40 * SECOND);
        link.failed(start + 60 * SECOND, alive.last(), 0.0);
        assert_eq!(link.unreported(start + 60 * SECOND), 20 * SECOND);
        assert_eq!(link.unreported(start + 61 * SECOND), SECOND);
        // A failed attempt to connect does not move the start of the gap.
        link.failed(start + 62 * SECOND, alive.last(), 0.0);
        assert_eq!(link.unreported(start + 62 * SECOND), SECOND);
        assert_eq!(link.subscribed(start + 63 * SECOND).gap, 23 * SECOND);
        // A sign of life from before the subscription is ignored.
        link.failed(start + 65 * SECOND, alive.last(), 0.0);
        assert_eq!(link.unreported(start + 65 * SECOND), 2 * SECOND);
    }

    #[test]
    fn a_quiet_connection_is_good_until_it_is_quieter_than_a_healthy_one() {
        let start = clock::monotonic();
        let alive = Alive::new(start);
        let later = start + 5 * SECOND;
        assert_eq!(alive.good_until(later), later);
        assert_eq!(alive.good_until(start + 7 * SECOND), start);
        alive.closed(start + 7 * SECOND);
        assert_eq!(alive.last(), start);
        alive.closed(later);
        assert_eq!(alive.last(), later);
    }

    #[test]
    fn an_outage_is_logged_once_and_each_refusal_in_it_once() {
        let (mut link, start) = link();
        let login = |text: &str| LinkError::Login(text.to_owned());
        let mut logged = |was_connected, error: &LinkError| {
            let is_news = link.is_news(was_connected, error);
            link.failed(start, start, 0.0);
            is_news
        };
        assert!(logged(false, &LinkError::Closed));
        assert!(!logged(false, &LinkError::Silent));
        assert!(logged(false, &login("wrong password")));
        assert!(!logged(false, &LinkError::Closed));
        assert!(!logged(false, &login("wrong password")));
        assert!(logged(false, &login("no access to the vhost")));
        // The next outage.
        assert!(logged(true, &login("no access to the vhost")));
        assert!(!logged(false, &login("no access to the vhost")));
    }

    #[test]
    fn pauses_grow_until_a_connection_lasts() {
        let (mut link, start) = link();
        let failed = |link: &mut ConnectionState, seconds| {
            let now = start + seconds * SECOND;
            link.failed(now, now, 0.0)
        };
        assert_eq!(failed(&mut link, 0), SECOND);
        link.subscribed(start + SECOND);
        assert_eq!(failed(&mut link, 2), 2 * SECOND);
        link.subscribed(start + 4 * SECOND);
        assert_eq!(failed(&mut link, 20), SECOND);
    }
}
