//! Limits the total size of one source's batches that wait for the aggregator.
//!
//! The channel to the aggregator limits only the number of batches, which may contain large
//! messages. A source that has handed over many bytes therefore waits until enough slots in the
//! channel are free. Batches leave the channel in order, so those of the source that are still
//! waiting are the ones it handed over last.

use std::collections::VecDeque;

/// The sizes of the newest batches.
#[derive(Debug)]
pub(super) struct InFlight {
    sizes: VecDeque<u64>,
    /// The capacity of the channel.
    places: usize,
    bytes_max: u64,
}

impl InFlight {
    pub(super) const fn new(places: usize, bytes_max: u64) -> Self {
        Self {
            sizes: VecDeque::new(),
            places,
            bytes_max,
        }
    }

    /// How many slots must be free before another batch of this many bytes is handed over.
    pub(super) fn places_for(&self, bytes: u64) -> usize {
        let mut room = self.bytes_max.saturating_sub(bytes);
        let fits = |size: &&u64| {
            let rest = room.checked_sub(**size);
            room = rest.unwrap_or(room);
            rest.is_some()
        };
        let may_wait = self.sizes.iter().rev().take_while(fits).count();
        if may_wait == self.sizes.len() {
            return 1;
        }
        (self.places - may_wait).max(1)
    }

    pub(super) fn handed_over(&mut self, bytes: u64) {
        if self.sizes.len() == self.places {
            self.sizes.pop_front();
        }
        self.sizes.push_back(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_needs_one_place() {
        let mut in_flight = InFlight::new(4, 100);
        for _ in 0..10 {
            assert_eq!(in_flight.places_for(20), 1);
            in_flight.handed_over(20);
        }
    }

    #[test]
    fn what_is_too_large_alone_waits_until_nothing_else_does() {
        let mut in_flight = InFlight::new(4, 100);
        assert_eq!(in_flight.places_for(200), 1);
        in_flight.handed_over(200);
        assert_eq!(in_flight.places_for(200), 4);
        assert_eq!(in_flight.places_for(1), 4);
    }

    /// Simulates a channel that is drained at random.
    #[test]
    fn no_more_bytes_wait_than_may() {
        let mut random = fastrand::Rng::with_seed(1);
        let (places, bytes_max) = (16, 1_000);
        for _ in 0..200 {
            let mut in_flight = InFlight::new(places, bytes_max);
            let mut channel: VecDeque<u64> = VecDeque::new();
            for _ in 0..200 {
                // Other sources use some of the slots.
                let bytes = random.u64(0..400);
                let mut read = 0;
                while places - channel.len() < in_flight.places_for(bytes) {
                    channel.pop_front();
                    read += 1;
                }
                // It must not wait for more than necessary.
                if read > 0 && channel.len() + 1 < places {
                    let before = in_flight.sizes.iter().rev().take(channel.len() + 1);
                    assert!(before.sum::<u64>() + bytes > bytes_max);
                }
                channel.push_back(bytes);
                in_flight.handed_over(bytes);
                let waiting: u64 = channel.iter().sum();
                assert!(waiting <= bytes_max, "{waiting}");
                for _ in 0..random.usize(0..2) {
                    channel.pop_front();
                }
            }
        }
    }
}
