//! A record on its way: what is still to be sent of it, and what became of the rest.
//!
//! At first that is the body as it stands in the queue, which is sent byte for byte until it is answered. Where a
//! receiver refuses it, its halves take its place, and their halves, until what is refused stands alone. The record
//! stays in the queue all the while: a crash sends the whole of it again.

use crate::counts::Counts;
use crate::queue::{Entry, Kind};
use crate::timestamp::Timestamp;
use crate::wire::{self, Body, Halves, Protocol};

/// How many values a receiver may refuse one by one before it is believed that it refuses every one of a record. A
/// receiver that takes nothing would be asked twice for each value otherwise; and the values of one task, which one
/// bad label spoils, are some hundred.
const REFUSED_MAX: u32 = 500;

/// After so many answers of 500 in a row it may be the record that the receiver cannot take.
const ERRORS_MAX: u32 = 10;

/// So often one value is answered with 500, while others are taken, before it is given up.
const LAST_TRIES: u32 = 3;

/// So many values are given up before the receiver has to show again that it takes others.
const SET_ASIDE_MAX: u32 = 8;

/// In so many pieces a record is, without one of them being taken, when another record is tried beside it.
const PIECES_MAX: usize = 8;

/// A record on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) sequence: u64,
    pub(super) group: u64,
    /// What the record holds.
    pub(super) whole: Counts,
    /// Whether one of its requests waits for its answer.
    pub(super) sending: bool,
    /// What is to be sent; the next one is the last.
    pieces: Vec<Piece>,
    /// How often in a row the answer was 500. While it is many, the record is suspected.
    errors: u32,
    /// The pieces that were put back, one after the other, since one was taken or divided.
    put_back: usize,
    /// Whether the receiver took a piece since the record is suspected: it works.
    takes_others: bool,
    /// The values that were given up one by one, until one was taken.
    set_aside: u32,
    /// The values that were refused one by one, until one was taken.
    refused: u32,
}

/// A part of a record.
#[derive(Clone, Debug)]
struct Piece {
    body: Body,
    /// It may have been stored before: its answer was lost, or it came from a queue of an earlier process.
    again: bool,
    /// How often it was tried in vain.
    attempt: u32,
    /// How often it was answered with 500 since the receiver takes others.
    errors: u32,
}

/// How it failed to send a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not sent.
    Unsent,
    Error500,
    Other,
}

/// What to do about a piece that was not taken, and may be sent again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait, and send what is next then.
    Wait,
    /// Send what is next now: the receiver works.
    Go,
    /// This value of that series was given up: the receiver cannot take it, and takes others.
    SetAside(Counts, String),
}

/// What came of a refusal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What will never be stored.
    pub(super) failed: Counts,
    /// What the receiver had already.
    pub(super) delivered: Counts,
    /// The series of a value that was refused alone.
    pub(super) series: Option<String>,
}

impl Flight {
    pub(super) fn new(entry: Entry) -> Self {
        let record = entry.record;
        let (sequence, group) = (entry.sequence, entry.group);
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
        Self {
            sequence,
            group,
            whole: record.counts,
            sending: false,
            pieces: vec![Piece {
                body,
                again: entry.recovered,
                attempt: 0,
                errors: 0,
            }],
            errors: 0,
            put_back: 0,
            takes_others: false,
            set_aside: 0,
            refused: 0,
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
    pub(super) fn is_again(&self) -> bool {
        self.pieces.last().is_some_and(|piece| piece.again)
    }

    /// Whether everything in it was delivered or given up.
    pub(super) const fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What is neither delivered nor given up yet.
    pub(super) fn open(&self) -> Counts {
        self.pieces.iter().map(|piece| piece.body.counts).sum()
    }

    /// The newest value in it.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.pieces.iter().map(|piece| piece.body.newest).max()
    }

    /// Writes what is to be sent next as 1.0. What cannot be read is given up; how much that was.
    pub(super) fn downgrade(&mut self) -> Counts {
        let Some(piece) = self.pieces.last_mut() else {
            return Counts::default();
        };
        match wire::to_v1(&piece.body) {
            Ok(body) => {
                piece.body = body;
                Counts::default()
            }
            Err(wire::Unreadable) => self.give_up_piece(),
        }
    }

    /// The receiver has it. Returns what that was.
    pub(super) fn delivered(&mut self) -> Counts {
        self.refused = 0;
        self.put_back = 0;
        self.set_aside = 0;
        if self.is_suspected() && !self.takes_others {
            self.takes_others = true;
            // What was answered before may have been the receiver's fault.
            self.pieces.iter_mut().for_each(|piece| piece.errors = 0);
        }
        self.pop()
    }

    /// Whether it was stored is not known, unless it was not sent, and it is sent again.
    ///
    /// What is answered with 500 again and again is divided like what is refused, to find the value that the receiver
    /// cannot take. As long as it takes nothing at all it may just be ill: then its pieces are tried in turn.
    pub(super) fn failed(&mut self, failure: Failure) -> Next {
        let Some(piece) = self.pieces.last_mut() else {
            return Next::Go;
        };
        piece.again |= failure != Failure::Unsent;
        piece.attempt = piece.attempt.saturating_add(1);
        if failure != Failure::Error500 {
            (self.errors, self.takes_others) = (0, false);
            return Next::Wait;
        }
        piece.errors += 1;
        let errors = piece.errors;
        self.errors += 1;
        if !self.is_suspected() {
            return Next::Wait;
        }
        if !self.takes_others && self.put_back + 1 < self.pieces.len() {
            self.pieces.rotate_right(1);
            self.put_back += 1;
            return Next::Wait;
        }
        let Some(series) = self.divide() else {
            return if self.takes_others {
                Next::Go
            } else {
                Next::Wait
            };
        };
        if self.takes_others && errors >= LAST_TRIES {
            self.set_aside += 1;
            if self.set_aside >= SET_ASIDE_MAX {
                (self.set_aside, self.takes_others) = (0, false);
            }
            return Next::SetAside(self.pop(), series);
        }
        Next::Wait
    }

    const fn is_suspected(&self) -> bool {
        self.errors >= ERRORS_MAX
    }

    /// Whether it is answered with 500 again and again, and nothing of it says whether that is its own fault.
    pub(super) fn is_stuck(&self) -> bool {
        let is_one = |piece: &Piece| piece.body.counts.points() == 1;
        self.is_suspected()
            && !self.takes_others
            && (self.pieces.len() >= PIECES_MAX || self.pieces.iter().all(is_one))
    }

    /// Puts halves in the place of the piece at hand. `Some`: it is one value, of this series, and stays; what cannot be
    /// read stays as well.
    fn divide(&mut self) -> Option<String> {
        let piece = self.pieces.last()?;
        let again = piece.again;
        self.put_back = 0;
        match wire::split(&piece.body) {
            Ok(Halves::Values(first, second) | Halves::Series(first, second)) => {
                self.replace([(first, again), (second, again)]);
                None
            }
            Ok(Halves::One { series, .. }) => Some(series),
            Err(wire::Unreadable) => Some(String::new()),
        }
    }

    /// The receiver refused it: its halves take its place.
    ///
    /// `is_there`: the receiver says that it has that value, or newer ones. Of something that may have been stored
    /// before that is what was wanted.
    pub(super) fn refused(&mut self, is_there: bool) -> Refusal {
        let Some(piece) = self.pieces.last() else {
            return Refusal::default();
        };
        let again = piece.again;
        match wire::split(&piece.body) {
            Ok(Halves::Values(..) | Halves::Series(..)) => {
                self.divide();
                Refusal::default()
            }
            Ok(Halves::One { .. }) if again && is_there => Refusal {
                delivered: self.delivered(),
                ..Refusal::default()
            },
            Ok(Halves::One {
                without_exemplars: Some(bare),
                ..
            }) => {
                let exemplars = piece.body.counts - bare.counts;
                self.replace([(bare, again)]);
                Refusal {
                    failed: exemplars,
                    ..Refusal::default()
                }
            }
            Ok(Halves::One { series, .. }) => {
                self.refused += 1;
                let mut failed = self.pop();
                if self.refused >= REFUSED_MAX {
                    failed += self.give_up();
                }
                Refusal {
                    failed,
                    series: Some(series),
                    ..Refusal::default()
                }
            }
            Err(wire::Unreadable) => Refusal {
                failed: self.give_up_piece(),
                ..Refusal::default()
            },
        }
    }

    /// The receiver refused some of it, and says how much of it it stored: that is delivered, and the rest is known not
    /// to be. Sent again, what was stored would be refused as well, where it holds older values.
    pub(super) fn stored_in_part(&mut self, stored: Counts) -> Refusal {
        self.refused = 0;
        let failed = self.pop() - stored;
        Refusal {
            failed,
            delivered: stored,
            series: None,
        }
    }

    /// Gives up the piece at hand, and what that is.
    pub(super) fn give_up_piece(&mut self) -> Counts {
        self.pop()
    }

    /// Gives up all that is left, and how much that is.
    pub(super) fn give_up(&mut self) -> Counts {
        let open = self.open();
        self.pieces.clear();
        open
    }

    /// Puts others in the place of the piece at hand, to be sent in their order.
    fn replace<const N: usize>(&mut self, pieces: [(Body, bool); N]) {
        self.pop();
        let pieces = pieces.into_iter().rev();
        self.pieces.extend(pieces.map(|(body, again)| Piece {
            body,
            again,
            attempt: 0,
            errors: 0,
        }));
    }

    fn pop(&mut self) -> Counts {
        self.pieces
            .pop()
            .map_or_else(Counts::default, |piece| piece.body.counts)
    }
}

#[cfg(test)]
mod tests;
