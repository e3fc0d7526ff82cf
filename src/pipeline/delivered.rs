//! Recognizes messages that a broker delivers again.
//!
//! A durable queue deletes a message when it is acknowledged, which happens after the checkpoint
//! that contains it. After a crash in between, the message is delivered again by another
//! subscription, and its fingerprint is recognized here. Within one subscription nothing is
//! delivered twice, so two identical messages there are two messages.
//!
//! A stream is read again from a little before the saved position. A broker that is killed may lose
//! the end of a stream, even if it had confirmed those messages, and assign their offsets to new
//! ones. Judged by offset alone, the new messages would seem to have been read already.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::event::{Mark, Position};
use crate::saved;

/// The subscription number of messages from an earlier process.
const BEFORE: u64 = 0;

/// The messages received from one broker.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// How many messages may be unacknowledged at a time. `None` if acknowledgements do not wait
    /// for checkpoints.
    window: Option<usize>,
    /// For a stream: its name, and the next offset once a message was read.
    stream: Option<String>,
    next: Option<u64>,
    /// Fingerprints of the newest messages, in order of their first arrival.
    order: VecDeque<u64>,
    /// By fingerprint: the subscription that last delivered it.
    known: HashMap<u64, u64>,
    /// Minimum number of fingerprints to keep: as many as the earlier process remembered, because
    /// its window may have been larger.
    least: usize,
    mark: Mark,
    /// Messages since the last capture.
    waiting: usize,
}

impl Delivered {
    /// Creates the record for a durable queue whose broker sends up to `window` messages ahead of
    /// acknowledgements.
    pub(super) fn durable(window: usize) -> Self {
        Self {
            window: Some(window),
            ..Self::default()
        }
    }

    /// Creates the record for a stream; up to `window` of its messages are read again after a
    /// restart.
    pub(super) fn stream(name: &str, window: usize) -> Self {
        Self {
            window: Some(window),
            stream: Some(name.to_owned()),
            ..Self::default()
        }
    }

    /// Records the position of a batch that is being processed.
    pub(super) fn record(&mut self, position: &Position) {
        match position {
            Position::Transient => {}
            Position::Delivered {
                mark,
                fingerprints,
                next,
            } => {
                self.mark = *mark;
                self.next = *next;
                self.waiting += fingerprints.len();
            }
        }
    }

    /// Whether a message of that subscription is a duplicate. Remembers it from now on.
    pub(super) fn is_again(&mut self, link: u64, fingerprint: u64) -> bool {
        let before = self.known.insert(fingerprint, link);
        // A duplicate does not displace another message, because it may arrive again and again, a
        // few at a time.
        if before.is_none() {
            self.order.push_back(fingerprint);
            self.forget_oldest();
        }
        before.is_some_and(|before| before != link)
    }

    /// Whether a checkpoint is due because many messages wait for it.
    pub(super) fn is_due(&self) -> bool {
        // Streams need no timely acknowledgements.
        let queue = self.window.filter(|_| self.stream.is_none());
        queue.is_some_and(|window| self.waiting > window / 2)
    }

    /// The stored form, and the messages that may be acknowledged once it is written.
    pub(super) fn capture(&mut self) -> (saved::Position, Mark) {
        self.waiting = 0;
        let position = saved::Position {
            fingerprints: self.order.iter().copied().collect(),
            offset: self.offset(),
            ..saved::Position::default()
        };
        (position, self.mark)
    }

    /// Restores the messages of an earlier process.
    pub(super) fn restore(&mut self, saved: &saved::Position) {
        let offset = saved.offset.as_ref();
        let is_same = self.stream.as_ref() == offset.map(|offset| &offset.stream);
        if self.window.is_some() && is_same {
            self.least = saved.fingerprints.len();
            for fingerprint in &saved.fingerprints {
                self.is_again(BEFORE, *fingerprint);
            }
            self.next = offset.map(|offset| offset.next);
        }
    }

    /// For a stream: the position after the newest message that was read, in this process or an
    /// earlier one.
    pub(super) fn offset(&self) -> Option<saved::Offset> {
        self.stream
            .clone()
            .zip(self.next)
            .map(|(stream, next)| saved::Offset { stream, next })
    }

    fn forget_oldest(&mut self) {
        // The broker may hold one window of unacknowledged messages, and may have lost the
        // acknowledgements of another.
        let twice = self.window.unwrap_or_default().saturating_mul(2);
        let most = twice.max(self.least);
        while self.order.len() > most
            && let Some(fingerprint) = self.order.pop_front()
        {
            self.known.remove(&fingerprint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes messages of one subscription. Returns which of them are duplicates.
    fn taken(delivered: &mut Delivered, link: u64, fingerprints: &[u64]) -> Vec<bool> {
        let again = fingerprints
            .iter()
            .map(|one| delivered.is_again(link, *one));
        again.collect()
    }

    #[test]
    fn what_another_subscription_delivered_came_again() {
        let mut delivered = Delivered::durable(10);
        assert_eq!(taken(&mut delivered, 1, &[1, 2, 2]), [false; 3]);
        assert_eq!(taken(&mut delivered, 2, &[2, 3]), [true, false]);
        assert_eq!(taken(&mut delivered, 2, &[2]), [false]);
        assert_eq!(taken(&mut delivered, 3, &[1, 2, 3]), [true; 3]);
    }

    #[test]
    fn what_is_stored_is_known_to_the_next_process() {
        let mut delivered = Delivered::durable(10);
        taken(&mut delivered, 1, &[1, 2]);
        taken(&mut delivered, 2, &[2, 3]);
        let mark = Mark { link: 2, tag: 2 };
        delivered.record(&Position::Delivered {
            mark,
            fingerprints: vec![2, 3],
            next: None,
        });
        let (saved, captured) = delivered.capture();
        assert_eq!(
            (saved.fingerprints.as_slice(), captured),
            (&[1, 2, 3][..], mark)
        );

        let mut next = Delivered::durable(10);
        next.restore(&saved);
        assert_eq!(taken(&mut next, 1, &[3, 4, 1]), [true, false, true]);
        assert_eq!(next.capture().1, Mark::default());
    }

    #[test]
    fn twice_the_window_is_remembered() {
        let mut delivered = Delivered::durable(3);
        taken(&mut delivered, 1, &[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(taken(&mut delivered, 2, &[2]), [true]);
        assert_eq!(taken(&mut delivered, 3, &[1]), [false]);
        assert_eq!(delivered.order.len(), 6);
        assert_eq!(delivered.known.len(), 6);
    }

    #[test]
    fn what_comes_again_and_again_costs_no_other_its_place() {
        let mut delivered = Delivered::durable(3);
        taken(&mut delivered, 1, &[1, 2, 3, 4, 5, 6]);
        for link in 2..20 {
            assert_eq!(taken(&mut delivered, link, &[4, 5]), [true; 2]);
        }
        assert_eq!(taken(&mut delivered, 20, &[4, 5, 6]), [true; 3]);
        assert_eq!(delivered.capture().0.fingerprints, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_smaller_window_forgets_nothing_of_an_earlier_process() {
        let saved = saved::Position {
            fingerprints: (1..=9).collect(),
            ..saved::Position::default()
        };
        let mut delivered = Delivered::durable(2);
        delivered.restore(&saved);
        assert_eq!(
            taken(&mut delivered, 1, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
            [true; 9]
        );
    }

    #[test]
    fn half_a_window_makes_a_checkpoint_due() {
        let mut delivered = Delivered::durable(4);
        let position = |tag| Position::Delivered {
            mark: Mark { link: 1, tag },
            fingerprints: vec![tag, tag + 1],
            next: None,
        };
        delivered.record(&position(1));
        assert!(!delivered.is_due());
        delivered.record(&position(3));
        assert!(delivered.is_due());
        let _ = delivered.capture();
        assert!(!delivered.is_due());
    }

    #[test]
    fn a_stream_goes_on_where_it_was_if_it_is_the_same() {
        let mut delivered = Delivered::stream("celeriac.main", 4);
        let mark = Mark { link: 1, tag: 1 };
        delivered.record(&Position::Delivered {
            mark,
            fingerprints: vec![7],
            next: Some(17),
        });
        taken(&mut delivered, 1, &[7]);
        let (saved, _) = delivered.capture();
        for (name, next) in [("celeriac.main", Some(17)), ("celeriac.other", None)] {
            let mut restored = Delivered::stream(name, 4);
            restored.restore(&saved);
            assert_eq!(taken(&mut restored, 1, &[7, 8]), [next.is_some(), false]);
            assert_eq!(restored.offset().map(|offset| offset.next), next);
        }
    }
}
