//! A record on its way: what is still to be sent of it, and what became of the rest.
//!
//! At first that is the body as it stands in the queue, which is sent byte for byte until it is answered. Where it is too
//! large, its halves take its place; where some of its series are refused, the others do. What [`super::triage`] keeps
//! of it is held. The record stays in the queue all the while: a crash sends the whole of it again.

use std::time::{Duration, Instant};

use super::Outcome;
use super::backlog::Tried;
use crate::counts::Counts;
use crate::queue::{Entry, Kind};
use crate::timestamp::Timestamp;
use crate::wire::{self, Body, Protocol, Series};

/// When a request was answered with nothing but 5xx for so long, its series may be the cause.
pub(super) const ERRORS_MIN: Duration = Duration::from_secs(120);

/// How long it is not looked into again whether they are.
const CHECKED: Duration = Duration::from_secs(30);

/// A record on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) sequence: u64,
    pub(super) group: u64,
    /// What the record holds.
    pub(super) whole: Counts,
    /// The size of its body.
    pub(super) bytes: u64,
    /// The time of its newest value.
    pub(super) made_at: Timestamp,
    /// Whether one of its requests waits for its answer.
    pub(super) sending: bool,
    /// Whether what is not to be sent was taken out.
    pub(super) is_sorted: bool,
    /// What waits elsewhere.
    held: Counts,
    /// What is to be sent; the next one is the last.
    pieces: Vec<Piece>,
}

/// A part of a record.
#[derive(Clone, Debug)]
struct Piece {
    body: Body,
    tried: Tried,
    /// How often it was tried in vain.
    attempt: u32,
    /// Since when every answer was 5xx.
    errors: Option<Instant>,
    /// When it was last looked into whether the receiver answers others.
    checked: Option<Instant>,
}

/// How it failed to send a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not sent.
    Unsent,
    /// 5xx.
    Error,
    Other,
}

impl Failure {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome.status {
            Some(status) if status.is_server_error() => Self::Error,
            None if outcome.unsent => Self::Unsent,
            Some(_) | None => Self::Other,
        }
    }
}

impl Flight {
    pub(super) fn new(entry: Entry) -> Self {
        let record = entry.record;
        let body = Body {
            protocol: match record.kind {
                Kind::V1 => Protocol::V1,
                Kind::V2 => Protocol::V2,
            },
            bytes: record.bytes,
            counts: record.counts,
            oldest: Timestamp::from_millis(record.oldest_ms),
            newest: Timestamp::from_millis(record.newest_ms),
        };
        let tried = if entry.recovered {
            Tried::Unanswered
        } else {
            Tried::Never
        };
        Self {
            sequence: entry.sequence,
            group: entry.group,
            whole: record.counts,
            bytes: body.bytes.len() as u64,
            made_at: body.newest,
            sending: false,
            is_sorted: false,
            held: Counts::default(),
            pieces: vec![Piece::new(body, tried)],
        }
    }

    /// What is to be sent next.
    pub(super) fn body(&self) -> Option<&Body> {
        self.pieces.last().map(|piece| &piece.body)
    }

    /// How often that was tried in vain.
    pub(super) fn attempt(&self) -> u32 {
        self.pieces.last().map_or(0, |piece| piece.attempt)
    }

    /// Whether that may have been stored before.
    pub(super) fn tried(&self) -> Tried {
        let last = self.pieces.last();
        last.map_or(Tried::Never, |piece| piece.tried)
    }

    /// Whether there is nothing to be sent, although some of it may wait elsewhere.
    pub(super) const fn is_sent(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether everything in it was delivered or given up.
    pub(super) fn is_done(&self) -> bool {
        self.is_sent() && self.held.is_zero()
    }

    /// What waits elsewhere.
    pub(super) const fn held(&self) -> Counts {
        self.held
    }

    /// What is neither delivered nor given up yet.
    pub(super) fn open(&self) -> Counts {
        let pieces: Counts = self.pieces.iter().map(|piece| piece.body.counts).sum();
        pieces + self.held
    }

    /// The newest value in what is to be sent.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.pieces.iter().map(|piece| piece.body.newest).max()
    }

    /// Writes what is to be sent next as 1.0. What cannot be read is given up; how much that was.
    pub(super) fn downgrade(&mut self) -> Counts {
        let Some(piece) = self.pieces.last_mut() else {
            return Counts::default();
        };
        match wire::downgrade(&piece.body) {
            Ok(body) => {
                piece.body = body;
                Counts::default()
            }
            Err(wire::Unreadable) => self.give_up_piece(),
        }
    }

    /// Gives up the piece at hand, because the receiver has it or never will, and says how much that is.
    pub(super) fn give_up_piece(&mut self) -> Counts {
        self.pieces
            .pop()
            .map_or_else(Counts::default, |piece| piece.body.counts)
    }

    /// Gives up all that is to be sent, and how much that is.
    pub(super) fn give_up(&mut self) -> Counts {
        let pieces = self.pieces.drain(..);
        pieces.map(|piece| piece.body.counts).sum()
    }

    /// The piece at hand was not taken, and is sent again.
    pub(super) fn failed(&mut self, failure: Failure, now: Instant) {
        if let Some(piece) = self.pieces.last_mut() {
            if failure != Failure::Unsent {
                piece.tried = Tried::Unanswered;
            }
            piece.attempt = piece.attempt.saturating_add(1);
            if failure == Failure::Error {
                piece.errors.get_or_insert(now);
            } else {
                piece.errors = None;
            }
        }
    }

    /// Whether the piece at hand may be the reason why it is answered with 5xx: it is time to look into that.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        let is_before = |at: Instant, time: Duration| now.saturating_duration_since(at) >= time;
        self.pieces.last().is_some_and(|piece| {
            piece.errors.is_some_and(|at| is_before(at, ERRORS_MIN))
                && piece.checked.is_none_or(|at| is_before(at, CHECKED))
        })
    }

    /// It was looked into, and says nothing.
    pub(super) fn checked(&mut self, now: Instant) {
        if let Some(piece) = self.pieces.last_mut() {
            piece.checked = Some(now);
        }
    }

    /// Puts halves in the place of the piece at hand. `None`: it is one value, or cannot be read, and stays.
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

    /// The series of the piece at hand.
    pub(super) fn series(&self) -> Result<Vec<Series>, wire::Unreadable> {
        self.body().map_or_else(|| Ok(Vec::new()), wire::apart)
    }

    /// Puts some of its series in the place of the piece at hand, which ended so; of the others, so much waits elsewhere.
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

    /// Some of what waited elsewhere was delivered or given up.
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
            errors: None,
            checked: None,
        }
    }
}

#[cfg(test)]
mod tests;
