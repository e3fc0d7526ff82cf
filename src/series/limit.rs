//! How many series there may be.
//!
//! The limit is on samples, which is what a receiver stores: a histogram with 16 buckets counts as 19. It
//! folds and does not drop: who finds no room opens a series of its overflow instead, from the reserve.

/// Whether a series has to fit under the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Under the limit, or not at all.
    Limited,
    /// Beside the limit: the daemon's own series and overflow series, of which there are few.
    Reserved,
}

/// The limit, and how much of it is used.
#[derive(Debug)]
pub(super) struct Limit {
    samples_max: usize,
    samples: usize,
}

impl Limit {
    pub(super) const fn new(samples_max: usize) -> Self {
        Self {
            samples_max,
            samples: 0,
        }
    }

    /// Takes room for `samples`, if it is there.
    pub(super) const fn take(&mut self, samples: usize, room: Room) -> bool {
        match room {
            Room::Reserved => true,
            Room::Limited if self.samples + samples > self.samples_max => false,
            Room::Limited => {
                self.samples += samples;
                true
            }
        }
    }

    /// Gives room back.
    pub(super) const fn give(&mut self, samples: usize, room: Room) {
        if matches!(room, Room::Limited) {
            self.samples -= samples;
        }
    }

    pub(super) const fn has(&self, samples: usize) -> bool {
        self.samples + samples <= self.samples_max
    }
}
