//! A first-in first-out of request bodies, for one sink, bounded in bytes.
//!
//! The queue holds records in memory. It knows their size and nothing of what is in them; `count` is what its
//! user wants to be told when a record had to go.
//!
//! A record is taken off *after* it was delivered ([`Queue::commit`]): until then [`Queue::peek`] shows it
//! again, so what breaks in between sends it twice rather than never. What does not fit pushes the oldest
//! out, but never the one at the front that may be on its way.

use std::collections::VecDeque;

use bytes::Bytes;

/// One body that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub bytes: Bytes,
    /// What is in it, as its user counts.
    pub count: u64,
    /// The time of the newest sample, in milliseconds since the epoch.
    pub newest_ms: i64,
}

/// What had to go to make room.
#[must_use = "what was dropped has to be counted"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub records: u64,
    /// The sum of their counts.
    pub count: u64,
}

/// Records in the order of their arrival.
#[derive(Debug)]
pub struct Queue {
    records: VecDeque<Record>,
    bytes: u64,
    count: u64,
    bytes_max: u64,
}

impl Queue {
    /// A queue for at most `bytes_max` bytes of bodies.
    pub const fn new(bytes_max: u64) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            count: 0,
            bytes_max,
        }
    }

    /// Adds a record at the end. Where the limit is passed, the oldest go, except the one at the front.
    pub fn append(&mut self, record: Record) -> Dropped {
        self.bytes += record.bytes.len() as u64;
        self.count += record.count;
        self.records.push_back(record);
        let mut dropped = Dropped::default();
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.records.remove(1)
        {
            self.took(&oldest);
            dropped.records += 1;
            dropped.count += oldest.count;
        }
        dropped
    }

    /// The record at the front.
    pub fn peek(&self) -> Option<&Record> {
        self.records.front()
    }

    /// Takes the record at the front off: it was delivered, or never will be.
    pub fn commit(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.took(&record);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The sum of the counts of what waits.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Takes everything off.
    pub fn clear(&mut self) -> Dropped {
        let dropped = Dropped {
            records: self.records.len() as u64,
            count: self.count,
        };
        self.records.clear();
        self.bytes = 0;
        self.count = 0;
        dropped
    }

    const fn took(&mut self, record: &Record) {
        self.bytes -= record.bytes.len() as u64;
        self.count -= record.count;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(count: u64, bytes: usize) -> Record {
        Record {
            bytes: vec![0; bytes].into(),
            count,
            newest_ms: 0,
        }
    }

    #[test]
    fn the_oldest_behind_the_front_goes_when_it_is_full() {
        let mut queue = Queue::new(30);
        for count in [1, 2, 4] {
            assert_eq!(queue.append(record(count, 10)), Dropped::default());
        }

        assert_eq!(
            queue.append(record(8, 10)),
            Dropped {
                records: 1,
                count: 2
            }
        );
        assert_eq!(
            (queue.count(), queue.peek().map(|record| record.count)),
            (13, Some(1))
        );
        // One that is larger than all the room there is does not stay either, unless it is alone.
        assert_eq!(
            queue.append(record(16, 40)),
            Dropped {
                records: 3,
                count: 28
            }
        );
    }

    proptest! {
        /// Everything that was appended is taken off in order, is dropped, or waits.
        #[test]
        fn the_books_balance(steps in prop::collection::vec((any::<bool>(), 1..20_usize), 0..100)) {
            let mut queue = Queue::new(50);
            let (mut appended, mut taken, mut dropped, mut last) = (0, 0, 0, 0);
            for (append, bytes) in steps {
                if append {
                    appended += 1;
                    dropped += queue.append(record(appended, bytes)).records;
                } else if let Some(record) = queue.peek() {
                    prop_assert!(record.count > last);
                    last = record.count;
                    queue.commit();
                    taken += 1;
                }
                prop_assert!(queue.bytes <= 50);
            }
            let waiting = queue.clear().records;
            prop_assert_eq!(appended, taken + dropped + waiting);
        }
    }
}
