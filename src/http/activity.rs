//! Tracks what a connection is waiting for, since when, and how long it may wait.
//!
//! ```text
//! Handshake ─▶ Header ─▶ Working ─▶ Answering ─────▶ Flushing ─▶ Idle
//!                ▲          └─▶ Sending ◀─▶ Live ─▶─┘           │
//!                └─────────────── the next request ─────────────┘
//! ```
//!
//! Only in `Working` is the daemon alone responsible for progress. In all other phases the
//! connection waits for its client, which may never respond; it is then closed after a timeout, or
//! earlier if its slot is needed. With logins, `LoggingIn` interrupts `Working`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::telemetry::http::HttpLimit;

/// Timeout for the TLS handshake: two round trips and a signature.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for the head of a request, from the first byte to the last; on a new connection, from
/// its start.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for the login of a request when many clients log in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout for handling a request: rendering a page, or reloading the configuration.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Timeout for reading a whole response: enough for 10 MB at 1.5 Mbit/s.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);

/// Timeout for progress within a response.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for the next event of a response that lasts. It has signs of life more often.
const LIVE_TIMEOUT: Duration = Duration::from_mins(1);

/// Timeout for the next request. Longer than the usual scrape intervals, so that scrapers can keep
/// their connection.
const IDLE_TIMEOUT: Duration = Duration::from_mins(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client has not completed the TLS handshake.
    Handshake,
    /// The client has not completed the head of a request.
    Header,
    /// The request waits for its password to be checked, possibly behind password guesses by other
    /// clients.
    LoggingIn,
    /// The daemon handles the request.
    Working,
    /// The client reads the response.
    Answering,
    /// The client reads an event of a response that lasts.
    Sending,
    /// The client has read all events so far. The connection waits for the next one, for as long as the response lasts.
    Live,
    /// The client reads the response, whose last bytes have been passed to the connection.
    Flushing,
    /// The client has read the response and keeps the connection open for another request.
    Idle,
}

/// The party that a connection waits for, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Client(Instant),
    Login(Instant),
    Us,
}

/// An expired timeout.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expired {
    /// `None` if this is the normal end of a connection.
    pub(super) limit: Option<HttpLimit>,
}

/// The progress of one connection, shared by its socket, its requests and the loop that enforces
/// the timeouts.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Progress>);

#[derive(Clone, Copy, Debug)]
struct Progress {
    phase: Phase,
    /// Start of the phase; for `Flushing`, start of the response.
    since: Instant,
    /// When bytes were last read or written.
    moved: Instant,
}

impl Activity {
    pub(super) fn new(phase: Phase) -> Self {
        let now = clock::monotonic();
        Self(Mutex::new(Progress::new(phase, now)))
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.progress().enter(phase, clock::monotonic());
    }

    /// Records that bytes were read.
    pub(super) fn read(&self) {
        self.progress().read(clock::monotonic());
    }

    /// Records that bytes were written.
    pub(super) fn written(&self) {
        self.progress().moved = clock::monotonic();
    }

    /// Records that everything was written.
    pub(super) fn flushed(&self) {
        self.progress().flushed(clock::monotonic());
    }

    pub(super) fn expired(&self, now: Instant) -> Option<Expired> {
        self.progress().expired(now)
    }

    pub(super) fn waiting(&self) -> Waiting {
        let progress = *self.progress();
        match progress.phase {
            Phase::Working => Waiting::Us,
            Phase::LoggingIn => Waiting::Login(progress.since),
            // A live page comes back by itself, and a scrape does not.
            Phase::Handshake
            | Phase::Header
            | Phase::Answering
            | Phase::Sending
            | Phase::Live
            | Phase::Flushing
            | Phase::Idle => Waiting::Client(progress.moved),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    const fn new(phase: Phase, now: Instant) -> Self {
        Self {
            phase,
            since: now,
            moved: now,
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        // A slow client has no more time for an event because another one follows.
        let continues = match phase {
            Phase::Flushing => matches!(self.phase, Phase::Answering | Phase::Sending),
            Phase::Sending => self.phase == Phase::Sending,
            Phase::Handshake
            | Phase::Header
            | Phase::LoggingIn
            | Phase::Working
            | Phase::Answering
            | Phase::Live
            | Phase::Idle => false,
        };
        if !continues {
            self.since = now;
            // The stall timeout starts here, because until now the client was waiting for us.
            if matches!(phase, Phase::Answering | Phase::Sending | Phase::Flushing) {
                self.moved = now;
            }
        }
        self.phase = phase;
    }

    fn read(&mut self, now: Instant) {
        self.moved = now;
        if self.phase == Phase::Idle {
            self.enter(Phase::Header, now);
        }
    }

    fn flushed(&mut self, now: Instant) {
        if self.phase == Phase::Flushing {
            self.enter(Phase::Idle, now);
        } else if self.phase == Phase::Sending {
            self.enter(Phase::Live, now);
        }
    }

    fn expired(&self, now: Instant) -> Option<Expired> {
        let (timeout, limit) = match self.phase {
            Phase::Handshake => (HANDSHAKE_TIMEOUT, Some(HttpLimit::Handshake)),
            Phase::Header => (HEADER_TIMEOUT, Some(HttpLimit::Header)),
            Phase::LoggingIn => (LOGIN_TIMEOUT, Some(HttpLimit::Logins)),
            Phase::Working => (REQUEST_TIMEOUT, Some(HttpLimit::Request)),
            Phase::Answering | Phase::Sending | Phase::Flushing => {
                (WRITE_TIMEOUT, Some(HttpLimit::Write))
            }
            Phase::Live => (LIVE_TIMEOUT, None),
            Phase::Idle => (IDLE_TIMEOUT, None),
        };
        let answering = matches!(
            self.phase,
            Phase::Answering | Phase::Sending | Phase::Flushing
        );
        let stalled = answering && now.duration_since(self.moved) >= STALL_TIMEOUT;
        (stalled || now.duration_since(self.since) >= timeout).then_some(Expired { limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_client_that_does_nothing_is_given_up_in_each_phase() {
        let cases = [
            (Phase::Handshake, 10, Some(HttpLimit::Handshake)),
            (Phase::Header, 10, Some(HttpLimit::Header)),
            (Phase::LoggingIn, 30, Some(HttpLimit::Logins)),
            (Phase::Working, 60, Some(HttpLimit::Request)),
            (Phase::Answering, 10, Some(HttpLimit::Write)),
            (Phase::Sending, 10, Some(HttpLimit::Write)),
            (Phase::Live, 60, None),
            (Phase::Flushing, 10, Some(HttpLimit::Write)),
            (Phase::Idle, 180, None),
        ];
        let start = clock::monotonic();
        for (phase, after, limit) in cases {
            let progress = Progress::new(phase, start);
            assert_eq!(
                progress.expired(start + seconds(after - 1)),
                None,
                "{phase:?}"
            );
            let expired = progress.expired(start + seconds(after));
            assert_eq!(expired, Some(Expired { limit }), "{phase:?}");
        }
    }

    #[test]
    fn a_trickle_buys_no_time_but_for_a_response_up_to_a_minute() {
        let start = clock::monotonic();
        let limit = |limit| Some(Expired { limit: Some(limit) });
        let mut header = Progress::new(Phase::Header, start);
        header.read(start + seconds(9));
        let expired = header.expired(start + seconds(10));
        assert_eq!(expired, limit(HttpLimit::Header));

        let mut response = Progress::new(Phase::Working, start);
        response.enter(Phase::Answering, start);
        for second in (5..60).step_by(5) {
            response.moved = start + seconds(second);
            assert_eq!(response.expired(start + seconds(second + 4)), None);
        }
        response.enter(Phase::Flushing, start + seconds(57));
        let expired = response.expired(start + seconds(60));
        assert_eq!(expired, limit(HttpLimit::Write));
    }

    #[test]
    fn a_connection_is_idle_once_its_response_is_flushed_and_until_the_next_request() {
        let now = clock::monotonic();
        let mut progress = Progress::new(Phase::Header, now);
        progress.flushed(now);
        assert_eq!(progress.phase, Phase::Header);
        progress.enter(Phase::Working, now);
        progress.read(now);
        assert_eq!(progress.phase, Phase::Working);
        progress.enter(Phase::Answering, now);
        progress.flushed(now);
        assert_eq!(progress.phase, Phase::Answering);
        progress.enter(Phase::Flushing, now);
        progress.flushed(now);
        assert_eq!(progress.phase, Phase::Idle);
        progress.read(now + seconds(100));
        assert_eq!(progress.phase, Phase::Header);
        assert_eq!(progress.since, now + seconds(100));
    }
}
