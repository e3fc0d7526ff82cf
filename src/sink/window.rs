//! The records in flight, and which of them may be sent now.
//!
//! The series of one group are disjoint, so its records may be sent concurrently. Those of the next
//! group wait until all of it is sent (PRW 1.0 and 2.0, "Ordering"), except for series that are
//! held back elsewhere. Records leave the queue from the front, so a record that is done waits for
//! those before it.

use std::collections::VecDeque;

use super::flight::InFlightRecord;
use crate::counts::Counts;
use crate::queue::Queue;

/// The records in flight, in queue order.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<InFlightRecord>);

impl Window {
    /// Returns the record with this sequence number.
    pub(super) fn get(&mut self, sequence: u64) -> Option<&mut InFlightRecord> {
        let found = self
            .0
            .binary_search_by_key(&sequence, |flight| flight.sequence);
        self.0.get_mut(found.ok()?)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut InFlightRecord> {
        self.0.iter_mut()
    }

    /// Returns how many records are waiting for a response.
    pub(super) fn sending(&self) -> usize {
        self.0.iter().filter(|flight| flight.sending).count()
    }

    /// Counts the values in queued records that were already delivered or given up.
    pub(super) fn finished(&self) -> Counts {
        self.0
            .iter()
            .map(|flight| flight.whole - flight.open())
            .sum()
    }

    /// Returns a record that may be sent now. Reads one from the queue if none here may be.
    pub(super) fn next(&mut self, queue: &mut Queue) -> Option<&mut InFlightRecord> {
        let mut unsent = self.0.iter().filter(|flight| !flight.is_sent());
        let group = unsent.next().map(|flight| flight.group);
        let is_ready = |flight: &InFlightRecord| {
            !flight.sending && !flight.is_sent() && Some(flight.group) == group
        };
        match self.0.iter().position(is_ready) {
            Some(at) => self.0.get_mut(at),
            None => self.read(queue, group),
        }
    }

    /// Returns the last record before the first one that is not sent.
    pub(super) fn sent_through(&self) -> Option<u64> {
        let sent = self.0.iter().take_while(|flight| flight.is_sent());
        sent.last().map(|flight| flight.sequence)
    }

    /// Returns the last record that was read.
    pub(super) fn read_through(&self) -> Option<u64> {
        self.0.back().map(|flight| flight.sequence)
    }

    /// Returns the records with values that are held back elsewhere.
    pub(super) fn held(&self) -> impl Iterator<Item = &InFlightRecord> {
        self.0.iter().filter(|flight| !flight.held().is_zero())
    }

    /// Returns the size of the records that stay in the queue only because some of their values, or
    /// some values of an earlier record, are held back.
    pub(super) fn held_bytes(&self) -> u64 {
        let behind = self.0.iter().skip_while(|flight| flight.held().is_zero());
        let sent = behind.filter(|flight| flight.is_sent());
        sent.map(|flight| flight.bytes).sum()
    }

    /// Reads the next record from the queue if it belongs to this group.
    fn read(&mut self, queue: &mut Queue, group: Option<u64>) -> Option<&mut InFlightRecord> {
        let entry = queue.next(self.read_through())?;
        if group.is_some_and(|group| group != entry.group) {
            return None;
        }
        queue.hold(Some(entry.sequence));
        self.0.push_back(InFlightRecord::new(entry));
        self.0.back_mut()
    }

    /// Removes finished records from the front of the queue.
    ///
    /// Removing them after delivery means that a crash in between sends them again rather than
    /// never.
    pub(super) fn commit(&mut self, queue: &mut Queue) {
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
    use crate::queue::Limits;
    use crate::sink::backlog::Tried;
    use crate::timestamp::Timestamp;
    use crate::wire::{Body, Protocol};

    /// Returns a queue with groups of these sizes.
    fn queue(groups: &[usize]) -> Queue {
        let mut queue = Queue::in_memory(Limits {
            bytes_max: 1 << 20,
            age_max: None,
        });
        for &records in groups {
            let body = Body {
                protocol: Protocol::V1,
                bytes: Bytes::from_static(b"body"),
                counts: Counts {
                    samples: 1,
                    ..Counts::default()
                },
                oldest: Timestamp::from_millis(1),
                newest: Timestamp::from_millis(1),
            };
            queue.append(vec![body; records], 1);
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
        flight.give_up_piece();
        window.commit(queue);
    }

    #[test]
    fn records_of_one_group_go_side_by_side_and_the_next_group_waits() {
        let (mut queue, mut window) = (queue(&[2, 1]), Window::default());
        let first = send(&mut window, &mut queue).expect("a record");
        assert!(queue.has_several_groups(None));
        assert_eq!(send(&mut window, &mut queue), Some(first + 1));
        assert_eq!(send(&mut window, &mut queue), None);
        // The second record is done before the first: it stays in the queue but counts as sent.
        deliver(&mut window, &mut queue, first + 1);
        assert_eq!((window.finished().samples, queue.pending().samples), (1, 3));
        assert_eq!(send(&mut window, &mut queue), None);
        deliver(&mut window, &mut queue, first);
        assert_eq!((window.finished().samples, queue.pending().samples), (0, 1));
        assert_eq!(send(&mut window, &mut queue), Some(first + 2));
        assert!(!queue.has_several_groups(None));
    }

    #[test]
    fn what_waits_elsewhere_holds_its_record_and_not_the_next_group() {
        let (mut queue, mut window) = (queue(&[1, 1, 1]), Window::default());
        let first = send(&mut window, &mut queue).expect("a record");
        let flight = window.get(first).expect("on its way");
        let held = flight.whole;
        flight.sending = false;
        flight
            .replace(&[], Tried::Never, held)
            .expect("nothing to write");
        window.commit(&mut queue);
        assert_eq!(
            window.held().next().map(|flight| flight.sequence),
            Some(first)
        );
        assert_eq!(window.sent_through(), Some(first));
        let second = send(&mut window, &mut queue).expect("the next group");
        deliver(&mut window, &mut queue, second);
        assert_eq!((window.finished().samples, queue.pending().samples), (1, 3));
        assert_eq!(window.read_through(), Some(second));
        window.get(first).expect("held").release(held);
        window.commit(&mut queue);
        assert_eq!((window.finished().samples, queue.pending().samples), (0, 1));
    }
}
