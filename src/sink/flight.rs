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
/// receiver that takes nothing would be asked twice for each value otherwise.
const REFUSED_MAX: u32 = 32;

/// A record on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) sequence: u64,
    pub(super) group: u64,
    /// What the record holds.
    pub(super) whole: Counts,
    /// Whether one of its requests waits for its answer.
    pub(super) sending: bool,
    /// How often the piece at hand was tried in vain.
    pub(super) attempt: u32,
    /// How often in a row the answer was 500.
    pub(super) errors: u32,
    /// What is to be sent; the next one is the last.
    pieces: Vec<Piece>,
    /// The values that were refused one by one, until one was taken.
    refused: u32,
}

/// A part of a record.
#[derive(Clone, Debug)]
struct Piece {
    body: Body,
    /// It may have been stored before: its answer was lost, or it came from a queue of an earlier process.
    again: bool,
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
            attempt: 0,
            errors: 0,
            pieces: vec![Piece {
                body,
                again: entry.recovered,
            }],
            refused: 0,
        }
    }

    /// What is to be sent next.
    pub(super) fn body(&self) -> Option<&Body> {
        self.pieces.last().map(|piece| &piece.body)
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
        self.next()
    }

    /// Whether it was stored is not known, and it is sent again.
    pub(super) fn failed(&mut self, is_error_500: bool) {
        self.attempt = self.attempt.saturating_add(1);
        self.errors = if is_error_500 { self.errors + 1 } else { 0 };
        if let Some(piece) = self.pieces.last_mut() {
            piece.again = true;
        }
    }

    /// The receiver refused it: its halves take its place.
    ///
    /// `is_there`: the receiver says that it has that value, or newer ones. Of something that may have been stored
    /// before that is what was wanted. `in_part`: it stored some of what it refused.
    pub(super) fn refused(&mut self, is_there: bool, in_part: bool) -> Refusal {
        let Some(piece) = self.pieces.last() else {
            return Refusal::default();
        };
        let again = piece.again;
        match wire::split(&piece.body) {
            // Where something of it was stored, the older values of a series are behind what is there.
            Ok(Halves::Values(first, second)) => {
                self.replace([(first, again || in_part), (second, again)])
            }
            Ok(Halves::Series(first, second)) => self.replace([(first, again), (second, again)]),
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
                let mut failed = self.next();
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

    /// Gives up the piece at hand, and what that is.
    pub(super) fn give_up_piece(&mut self) -> Counts {
        self.next()
    }

    /// Gives up all that is left, and how much that is.
    pub(super) fn give_up(&mut self) -> Counts {
        let open = self.open();
        self.pieces.clear();
        open
    }

    /// Puts others in the place of the piece at hand, to be sent in their order.
    fn replace<const N: usize>(&mut self, pieces: [(Body, bool); N]) -> Refusal {
        self.next();
        let pieces = pieces.into_iter().rev();
        self.pieces
            .extend(pieces.map(|(body, again)| Piece { body, again }));
        Refusal::default()
    }

    fn next(&mut self) -> Counts {
        self.attempt = 0;
        self.errors = 0;
        self.pieces
            .pop()
            .map_or_else(Counts::default, |piece| piece.body.counts)
    }
}
