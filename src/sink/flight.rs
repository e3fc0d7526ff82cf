//! A record in flight: what remains to be sent of it, and the outcome of the rest.
//!
//! A record starts as the queued body, which is sent byte for byte until it is answered. If it is
//! too large, it is replaced by smaller parts; if some of its series are refused, by the others.
//! Values that [`super::triage`] holds back are counted as held. The record stays in the queue
//! throughout, so after a crash all of it is sent again.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::Outcome;
use super::backlog::Tried;
use crate::counts::Counts;
use crate::queue::Entry;
use crate::timestamp::Timestamp;
use crate::wire::{self, Body, Protocol, Series};

/// How long a request must receive only 5xx responses before its series are suspected.
pub(super) const ERRORS_MIN: Duration = Duration::from_secs(120);

/// Minimum time between two such checks.
const CHECKED: Duration = Duration::from_secs(30);

/// Number of 429 responses in a row after which a request is sent in parts: the receiver may never
/// accept that many samples at once.
const LIMITED: u32 = 3;

/// A record in flight.
#[derive(Debug)]
pub(super) struct InFlightRecord {
    pub(super) sequence: u64,
    pub(super) group: u64,
    /// Counts of the whole record.
    pub(super) whole: Counts,
    /// Size of its body in bytes.
    pub(super) bytes: u64,
    /// Time of its newest value.
    pub(super) made_at: Timestamp,
    /// Whether a request is waiting for a response.
    pub(super) sending: bool,
    /// Whether the values that must not be sent were removed.
    pub(super) is_sorted: bool,
    /// Counts of the values held back elsewhere.
    held: Counts,
    /// The parts still to be sent, as a stack: the last one is next.
    pieces: Vec<Piece>,
}

/// A part of a record.
#[derive(Clone, Debug)]
struct Piece {
    body: Body,
    tried: Tried,
    /// Number of failed attempts.
    attempt: u32,
    /// Length of the current run of 429 responses.
    limited: u32,
    /// Time of the first response in the current run of 5xx responses.
    errors: Option<Instant>,
    /// The same of the piece that this one is a part of.
    errors_before: Option<Instant>,
    /// When the receiver was last checked with another request.
    checked: Option<Instant>,
}

/// How sending a piece failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request was not sent.
    Unsent,
    /// The response was a 5xx.
    Error,
    /// The response was a 429.
    Limited,
    Other,
}

impl Failure {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome.status {
            Some(status) if status.is_server_error() => Self::Error,
            Some(StatusCode::TOO_MANY_REQUESTS) => Self::Limited,
            None if outcome.unsent => Self::Unsent,
            Some(_) | None => Self::Other,
        }
    }
}

impl InFlightRecord {
    pub(super) fn new(entry: Entry) -> Self {
        let body = entry.body;
        let tried = if entry.recovered {
            Tried::Unanswered
        } else {
            Tried::Never
        };
        Self {
            sequence: entry.sequence,
            group: entry.group,
            whole: body.counts,
            bytes: body.bytes.len() as u64,
            made_at: body.newest,
            sending: false,
            is_sorted: false,
            held: Counts::default(),
            pieces: vec![Piece::new(body, tried)],
        }
    }

    /// Returns the body to send next.
    pub(super) fn body(&self) -> Option<&Body> {
        self.pieces.last().map(|piece| &piece.body)
    }

    /// Returns the number of failed attempts for that body.
    pub(super) fn attempt(&self) -> u32 {
        self.pieces.last().map_or(0, |piece| piece.attempt)
    }

    /// Returns whether that body may already be stored.
    pub(super) fn tried(&self) -> Tried {
        let last = self.pieces.last();
        last.map_or(Tried::Never, |piece| piece.tried)
    }

    /// Returns whether nothing is left to send, although some of it may be held back elsewhere.
    pub(super) const fn is_sent(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Returns whether everything was delivered or given up.
    pub(super) fn is_done(&self) -> bool {
        self.is_sent() && self.held.is_zero()
    }

    /// Returns how much is held back elsewhere.
    pub(super) const fn held(&self) -> Counts {
        self.held
    }

    /// Returns how much is neither delivered nor given up.
    pub(super) fn open(&self) -> Counts {
        let pieces: Counts = self.pieces.iter().map(|piece| piece.body.counts).sum();
        pieces + self.held
    }

    /// Returns the time of the newest value that is still to be sent.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.pieces.iter().map(|piece| piece.body.newest).max()
    }

    /// Re-encodes the next piece if a receiver of this protocol cannot read it, in parts of at most
    /// `points_max` values. If we cannot read it either, gives it up and returns how much was lost.
    pub(super) fn downgrade(&mut self, receiver: Protocol, points_max: usize) -> Counts {
        let Some(piece) = self.pieces.last_mut() else {
            return Counts::default();
        };
        let body = &piece.body;
        if receiver.reads(body.protocol) {
            return Counts::default();
        }
        let downgraded = if body.counts.points() <= points_max as u64 {
            wire::downgrade(body, receiver).map(|body| piece.body = body)
        } else {
            self.split(receiver, points_max).map(drop)
        };
        match downgraded {
            Ok(()) => Counts::default(),
            Err(wire::Unreadable) => self.give_up_piece(),
        }
    }

    /// Replaces the current piece with parts of at most `points_max` values. A part whose first response
    /// is a 5xx is as suspect as the whole was. Returns whether there is more than one.
    pub(super) fn divide_to(&mut self, points_max: usize) -> bool {
        let body = self.body();
        let body = body.filter(|body| body.counts.points() > points_max as u64);
        let protocol = body.map(|body| body.protocol);
        protocol.is_some_and(|protocol| self.split(protocol, points_max).is_ok_and(|n| n > 1))
    }

    /// Returns the number of parts.
    fn split(&mut self, receiver: Protocol, points_max: usize) -> Result<usize, wire::Unreadable> {
        let Some(piece) = self.pieces.last() else {
            return Ok(0);
        };
        let piece = piece.clone();
        let parts = wire::parts(&piece.body, receiver, points_max as u64)?;
        let number = parts.len();
        self.pieces.pop();
        let parts = parts.into_iter().rev();
        self.pieces.extend(parts.map(|body| Piece {
            attempt: piece.attempt,
            errors_before: piece.errors,
            ..Piece::new(body, piece.tried)
        }));
        Ok(number)
    }

    /// Gives up the current piece, because the receiver has it or will never accept it, and returns
    /// its size.
    pub(super) fn give_up_piece(&mut self) -> Counts {
        self.pieces
            .pop()
            .map_or_else(Counts::default, |piece| piece.body.counts)
    }

    /// Gives up everything that is left to send, and returns its size.
    pub(super) fn give_up(&mut self) -> Counts {
        let pieces = self.pieces.drain(..);
        pieces.map(|piece| piece.body.counts).sum()
    }

    /// Records that the current piece was not accepted and will be sent again.
    pub(super) fn failed(&mut self, failure: Failure, now: Instant) {
        if let Some(piece) = self.pieces.last_mut() {
            if failure != Failure::Unsent {
                piece.tried = Tried::Unanswered;
            }
            piece.attempt = piece.attempt.saturating_add(1);
            piece.limited = match failure {
                Failure::Limited => piece.limited + 1,
                Failure::Unsent | Failure::Error | Failure::Other => 0,
            };
            let before = piece.errors_before.take();
            if failure == Failure::Error {
                piece.errors.get_or_insert(before.unwrap_or(now));
            } else {
                piece.errors = None;
            }
        }
    }

    /// Returns whether it is time to check if the current piece causes the 5xx responses.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        let is_before = |at: Instant, time: Duration| now.saturating_duration_since(at) >= time;
        self.pieces.last().is_some_and(|piece| {
            piece.errors.is_some_and(|at| is_before(at, ERRORS_MIN))
                && piece.checked.is_none_or(|at| is_before(at, CHECKED))
        })
    }

    /// Returns whether the current piece keeps getting 429.
    pub(super) fn is_limited(&self) -> bool {
        let last = self.pieces.last();
        last.is_some_and(|piece| piece.limited >= LIMITED)
    }

    /// Records a check without a result.
    pub(super) fn checked(&mut self, now: Instant) {
        if let Some(piece) = self.pieces.last_mut() {
            piece.checked = Some(now);
        }
    }

    /// Replaces the current piece with its halves. Returns `None` and leaves it unchanged if it is
    /// a single value or cannot be read.
    pub(super) fn divide(&mut self) -> Option<()> {
        let piece = self.pieces.last()?;
        let tried = piece.tried;
        let halves = wire::halves(&piece.body).ok().flatten()?;
        self.pieces.pop();
        let halves = halves.into_iter().rev();
        self.pieces
            .extend(halves.map(|body| Piece::new(body, tried)));
        Some(())
    }

    /// Returns the series of the current piece.
    pub(super) fn series(&self) -> Result<Vec<Series>, wire::Unreadable> {
        self.body().map_or_else(|| Ok(Vec::new()), wire::apart)
    }

    /// Replaces the current piece with some of its series; `held` counts the values of the others,
    /// which are held back elsewhere.
    pub(super) fn replace(
        &mut self,
        series: &[Series],
        tried: Tried,
        held: Counts,
    ) -> Result<(), wire::Unreadable> {
        self.held += held;
        let Some(piece) = self.pieces.pop() else {
            return Ok(());
        };
        if !series.is_empty() {
            let body = wire::together(series, piece.body.protocol)?;
            self.pieces.push(Piece::new(body, piece.tried.max(tried)));
        }
        Ok(())
    }

    /// Releases held values that were delivered or given up.
    pub(super) fn release(&mut self, counts: Counts) {
        self.held -= counts;
    }
}

impl Piece {
    const fn new(body: Body, tried: Tried) -> Self {
        Self {
            body,
            tried,
            attempt: 0,
            limited: 0,
            errors: None,
            errors_before: None,
            checked: None,
        }
    }
}

#[cfg(test)]
mod tests;
