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

    /// Whether it was stored is not known, and it is sent again.
    ///
    /// What is answered with 500 again and again is divided like what is refused, to find the value that the receiver
    /// cannot take. As long as it takes nothing at all it may just be ill: then its pieces are tried in turn.
    pub(super) fn failed(&mut self, is_error_500: bool) -> Next {
        let Some(piece) = self.pieces.last_mut() else {
            return Next::Go;
        };
        piece.again = true;
        piece.attempt = piece.attempt.saturating_add(1);
        if !is_error_500 {
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::queue::Record;
    use crate::series::{Family, LabelName, LabelSet, MetricKind, Relabel, Room, Series};
    use crate::wire::{Encoder, Outgoing};

    /// A record of so many counters, which are new: each has a zero and a value.
    pub(super) fn entry(sequence: u64, group: u64, series: usize, protocol: Protocol) -> Entry {
        let mut table = Series::new(10_000, Timestamp::from_millis(1_000));
        let family = table.family(Family {
            name: "x_total".into(),
            kind: MetricKind::Counter,
            help: "X.",
            labels: Vec::new(),
        });
        for n in 0..series {
            let value: Arc<str> = n.to_string().into();
            let labels = LabelSet::new([(LabelName::from_static("n"), value)]);
            table.open(family, labels, Room::Limited).expect("room");
        }
        let how = Outgoing {
            external: Vec::new(),
            relabel: Relabel::default(),
            samples_max: usize::MAX,
            exemplars: true,
            native: false,
            classic: true,
            draft: false,
        };
        let snapshot = table.snapshot(Timestamp::from_millis(5_000), false);
        let body = Encoder::new(how, protocol)
            .snapshot(&snapshot)
            .bodies
            .remove(0);
        Entry {
            sequence,
            group,
            record: Record {
                kind: match protocol {
                    Protocol::V1 => Kind::V1,
                    Protocol::V2 => Kind::V2,
                },
                bytes: body.bytes,
                counts: body.counts,
                oldest_ms: body.oldest.millis(),
                newest_ms: body.newest.millis(),
            },
            recovered: false,
        }
    }

    /// A request as bytes, shown as text.
    fn raw(body: &Body) -> String {
        let raw = snap::raw::Decoder::new().decompress_vec(&body.bytes);
        String::from_utf8_lossy(&raw.expect("compressed")).into_owned()
    }

    /// Sends a flight to a receiver that refuses requests which hold the given text.
    fn deliver(flight: &mut Flight, bad: &str, is_there: bool) -> (Counts, Counts, Vec<String>) {
        let (mut delivered, mut failed, mut series) =
            (Counts::default(), Counts::default(), Vec::new());
        let mut requests = 0;
        while let Some(body) = flight.body() {
            requests += 1;
            assert!(requests < 3_000, "it comes to an end");
            let raw = raw(body);
            if raw.contains(bad) {
                let refusal = flight.refused(is_there);
                failed += refusal.failed;
                delivered += refusal.delivered;
                series.extend(refusal.series);
            } else {
                delivered += flight.delivered();
            }
        }
        (delivered, failed, series)
    }

    #[test]
    fn only_what_is_refused_alone_is_lost() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let mut flight = Flight::new(entry(1, 1, 10, protocol));
            let (delivered, failed, series) = deliver(&mut flight, "7", false);
            assert_eq!((delivered.samples, failed.samples), (18, 2));
            assert_eq!(series, ["x_total{n=\"7\"}", "x_total{n=\"7\"}"]);
            assert!(flight.is_done());
            assert_eq!(flight.open(), Counts::default());
        }
    }

    #[test]
    fn what_may_have_been_stored_and_is_there_counts_as_delivered() {
        for (lost_an_answer, expected) in [(true, (20, 0)), (false, (18, 2))] {
            let mut flight = Flight::new(entry(1, 1, 10, Protocol::V2));
            if lost_an_answer {
                flight.failed(false);
            }
            let (delivered, failed, _) = deliver(&mut flight, "7", true);
            assert_eq!((delivered.samples, failed.samples), expected);
        }
        // A queue of an earlier process may have been cut off from its answer.
        let mut flight = Flight::new(Entry {
            recovered: true,
            ..entry(1, 1, 1, Protocol::V1)
        });
        let (delivered, failed, _) = deliver(&mut flight, "x_total", true);
        assert_eq!((delivered.samples, failed.samples), (2, 0));
    }

    #[test]
    fn what_was_stored_in_part_is_not_sent_again() {
        let mut flight = Flight::new(entry(1, 1, 10, Protocol::V2));
        let stored = Counts {
            samples: 18,
            ..Counts::default()
        };
        let refusal = flight.stored_in_part(stored);
        assert_eq!((refusal.delivered.samples, refusal.failed.samples), (18, 2));
        assert!(flight.is_done());
    }

    #[test]
    fn a_receiver_that_refuses_everything_is_not_asked_about_every_value() {
        let mut flight = Flight::new(entry(1, 1, 2_000, Protocol::V1));
        let mut requests = 0;
        let mut failed = Counts::default();
        while flight.body().is_some() {
            requests += 1;
            failed += flight.refused(false).failed;
        }
        assert_eq!(failed.samples, 4_000);
        assert!(requests < 1_100, "{requests}");
    }

    /// Sends a flight to a receiver that answers 500 to what holds the given text, and to everything for a while.
    fn outlast(
        flight: &mut Flight,
        bad: &str,
        mut outage: u32,
    ) -> (Counts, Counts, Vec<String>, u32) {
        let (mut delivered, mut aside, mut series) =
            (Counts::default(), Counts::default(), Vec::new());
        let mut requests = 0;
        while let Some(body) = flight.body() {
            requests += 1;
            assert!(requests < 3_000, "it comes to an end");
            let raw = raw(body);
            if outage == 0 && !raw.contains(bad) {
                delivered += flight.delivered();
                continue;
            }
            outage = outage.saturating_sub(1);
            if let Next::SetAside(counts, of) = flight.failed(true) {
                aside += counts;
                series.push(of);
            }
        }
        (delivered, aside, series, requests)
    }

    #[test]
    fn only_what_breaks_the_receiver_is_set_aside() {
        for protocol in [Protocol::V1, Protocol::V2] {
            for outage in [0, 5, 40] {
                let mut flight = Flight::new(entry(1, 1, 50, protocol));
                let (delivered, aside, series, requests) = outlast(&mut flight, "37", outage);
                assert_eq!((delivered.samples, aside.samples), (98, 2), "{outage}");
                assert!(
                    series.iter().all(|series| series == "x_total{n=\"37\"}"),
                    "{series:?}"
                );
                assert!(requests < 60 + outage, "{requests}");
            }
        }
    }

    #[test]
    fn many_bad_ones_cost_no_good_one() {
        // Every series whose number has a 1 in it: 111 of 300 in a row and apart.
        let mut flight = Flight::new(entry(1, 1, 300, Protocol::V1));
        let (delivered, failed, _) = deliver(&mut flight, "\u{1}1", false);
        let bad =
            (0..300).filter(|n: &u32| n.to_string().starts_with('1') && n.to_string().len() == 1);
        assert_eq!(failed.samples, 2 * bad.count() as u64);
        assert_eq!(delivered.samples + failed.samples, 600);
    }

    #[test]
    fn what_breaks_the_receiver_alone_waits_for_another_record_to_tell() {
        for series in [1, 2] {
            let mut flight = Flight::new(entry(1, 1, series, Protocol::V1));
            let mut tries = 0;
            while !flight.is_stuck() {
                tries += 1;
                assert!(tries < 100, "{series}");
                assert_eq!(flight.failed(true), Next::Wait);
            }
            assert_eq!(flight.give_up().samples, 2 * series as u64);
        }
    }

    #[test]
    fn more_bad_ones_than_good_are_set_aside_until_nothing_tells_any_more() {
        let mut flight = Flight::new(entry(1, 1, 12, Protocol::V2));
        let mut aside = 0;
        let mut tries = 0;
        while flight.body().is_some() && !flight.is_stuck() {
            tries += 1;
            assert!(tries < 1_000);
            let body = flight.body().expect("a body");
            if body.counts.samples <= 2 && raw(body).contains("\u{1}3") {
                flight.delivered();
            } else if let Next::SetAside(counts, _) = flight.failed(true) {
                aside += counts.samples;
            }
        }
        assert!(aside > 0 || flight.is_stuck(), "{aside}");
    }

    #[test]
    fn a_stray_500_after_a_long_outage_costs_nothing() {
        let mut flight = Flight::new(entry(1, 1, 2, Protocol::V1));
        for _ in 0..30 {
            flight.failed(true);
        }
        flight.delivered();
        assert!(!matches!(flight.failed(true), Next::SetAside(..)));
        assert!(flight.body().is_some());
    }

    #[test]
    fn a_receiver_that_answers_500_to_everything_for_long_loses_nothing() {
        let mut flight = Flight::new(entry(1, 1, 50, Protocol::V2));
        let (delivered, aside, _, requests) = outlast(&mut flight, "nothing has this", 500);
        assert_eq!((delivered.samples, aside.samples), (100, 0));
        assert!(requests < 650, "{requests}");
        // One value that breaks it, and no other to tell: another record has to.
        let mut flight = Flight::new(entry(1, 1, 1, Protocol::V1));
        for _ in 0..50 {
            assert!(flight.failed(true) == Next::Wait && flight.body().is_some());
        }
    }

    #[test]
    fn what_was_queued_as_2_is_sent_as_1() {
        let mut flight = Flight::new(entry(1, 1, 3, Protocol::V2));
        assert_eq!(flight.downgrade(), Counts::default());
        let body = flight.body().expect("a body");
        assert_eq!((body.protocol, body.counts.samples), (Protocol::V1, 6));
        let mut broken = entry(1, 1, 3, Protocol::V2);
        broken.record.bytes = bytes::Bytes::from_static(b"rubbish");
        let mut flight = Flight::new(broken);
        assert_eq!(flight.downgrade().samples, 6);
        assert!(flight.is_done());
    }
}
