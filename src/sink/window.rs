//! The records on their way: which may be sent now, and which have left.
//!
//! The series of one group are disjoint, so its records may be sent side by side; those of the next group wait until
//! the last of it has left (PRW 1.0 and 2.0, "Ordering"). Records leave the queue from its front: one that is done
//! waits for those before it.

use std::collections::VecDeque;

use super::flight::Flight;
use crate::counts::Counts;
use crate::queue::Queue;

/// The records on their way, in the order of the queue.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Flight>);

impl Window {
    /// The record with that sequence number.
    pub(super) fn get(&mut self, sequence: u64) -> Option<&mut Flight> {
        self.0.iter_mut().find(|flight| flight.sequence == sequence)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Flight> {
        self.0.iter_mut()
    }

    /// How many wait for an answer.
    pub(super) fn sending(&self) -> usize {
        self.0.iter().filter(|flight| flight.sending).count()
    }

    /// What is delivered or given up already, of records that have not left the queue yet.
    pub(super) fn settled(&self) -> Counts {
        self.0
            .iter()
            .map(|flight| flight.whole - flight.open())
            .sum()
    }

    /// A record that may be sent now; read from the queue where none here may be.
    pub(super) fn next(&mut self, queue: &mut Queue) -> Option<&mut Flight> {
        let group = self.0.front().map(|flight| flight.group);
        let is_ready =
            |flight: &Flight| !flight.sending && !flight.is_done() && Some(flight.group) == group;
        match self.0.iter().position(is_ready) {
            Some(at) => self.0.get_mut(at),
            None => self.read(queue, group),
        }
    }

    /// A record to try beside the one at the front, which the receiver may be unable to take: whichever is next.
    ///
    /// If that one is taken, the one at the front is not sent again, so the order is kept.
    pub(super) fn other(&mut self, queue: &mut Queue) -> Option<&mut Flight> {
        let is_open = |flight: &Flight| !flight.sending && !flight.is_done();
        match self.0.iter().skip(1).position(is_open) {
            Some(at) => self.0.get_mut(at + 1),
            None => self.read(queue, None),
        }
    }

    /// The record at the front, where it is answered with 500 again and again, and is but one value.
    pub(super) fn suspect(&mut self) -> Option<&mut Flight> {
        let front = self.0.front_mut();
        front.filter(|flight| flight.is_stuck() && !flight.sending)
    }

    /// The next record of the queue, if it is of that group.
    fn read(&mut self, queue: &mut Queue, group: Option<u64>) -> Option<&mut Flight> {
        let last = self.0.back().map(|flight| flight.sequence);
        let entry = queue.next(last)?;
        if group.is_some_and(|group| group != entry.group) {
            return None;
        }
        queue.hold(Some(entry.sequence));
        self.0.push_back(Flight::new(entry));
        self.0.back_mut()
    }

    /// Takes what is done off the front of the queue.
    ///
    /// After it was delivered: what breaks before this sends it again rather than never.
    pub(super) fn settle(&mut self, queue: &mut Queue) {
        let mut through = None;
        while let Some(flight) = self.0.pop_front_if(|flight| flight.is_done()) {
            through = Some(flight.sequence);
        }
        if let Some(through) = through {
            queue.commit(through);
            queue.hold(self.0.back().map(|flight| flight.sequence));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::queue::{Kind, Limits, Record};

    /// A queue with groups of so many records.
    fn queue(groups: &[usize]) -> Queue {
        let mut queue = Queue::in_memory(Limits {
            bytes_max: 1 << 20,
            age_max: None,
        });
        for &records in groups {
            let record = Record {
                kind: Kind::V1,
                bytes: Bytes::from_static(b"body"),
                counts: Counts {
                    samples: 1,
                    ..Counts::default()
                },
                oldest_ms: 1,
                newest_ms: 1,
            };
            queue.append(vec![record; records], 1);
        }
        queue
    }

    fn send(window: &mut Window, queue: &mut Queue) -> Option<u64> {
        let flight = window.next(queue)?;
        flight.sending = true;
        Some(flight.sequence)
    }

    fn deliver(window: &mut Window, queue: &mut Queue, sequence: u64) {
        let flight = window.get(sequence).expect("on its way");
        flight.sending = false;
        flight.delivered();
        window.settle(queue);
    }

    #[test]
    fn records_of_one_group_go_side_by_side_and_the_next_group_waits() {
        let (mut queue, mut window) = (queue(&[2, 1]), Window::default());
        let first = send(&mut window, &mut queue).expect("a record");
        assert!(queue.has_several_groups());
        assert_eq!(send(&mut window, &mut queue), Some(first + 1));
        assert_eq!(send(&mut window, &mut queue), None);
        // The second is done before the first: it stays in the queue, and counts as sent.
        deliver(&mut window, &mut queue, first + 1);
        assert_eq!((window.settled().samples, queue.pending().samples), (1, 3));
        assert_eq!(send(&mut window, &mut queue), None);
        deliver(&mut window, &mut queue, first);
        assert_eq!((window.settled().samples, queue.pending().samples), (0, 1));
        assert_eq!(send(&mut window, &mut queue), Some(first + 2));
        assert!(!queue.has_several_groups());
    }

    #[test]
    fn one_that_is_done_already_is_no_other_one_to_try() {
        let (mut queue, mut window) = (queue(&[3]), Window::default());
        let first = send(&mut window, &mut queue).expect("a record");
        send(&mut window, &mut queue).expect("another one");
        deliver(&mut window, &mut queue, first + 1);
        let other = window.other(&mut queue).expect("a third one");
        assert_eq!(other.sequence, first + 2);
    }

    #[test]
    fn where_one_record_cannot_be_sent_the_same_other_one_is_tried() {
        let (mut queue, mut window) = (queue(&[1, 1, 1]), Window::default());
        let first = send(&mut window, &mut queue).expect("a record");
        assert!(window.suspect().is_none());
        // And never one more.
        for _ in 0..3 {
            let other = window.other(&mut queue).expect("another record");
            assert_eq!(other.sequence, first + 1);
        }
    }
}
