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
    /// Handles that make no series of their own: rules dropped it, or made it the same as another. They take no
    /// samples, but whoever opened them remembers them, so they have a bound as well.
    shared: usize,
}

impl Limit {
    pub(super) const fn new(samples_max: usize) -> Self {
        Self {
            samples_max,
            samples: 0,
            shared: 0,
        }
    }

    /// There may be so many from now on. What is beyond stays.
    pub(super) const fn set(&mut self, samples_max: usize) {
        self.samples_max = samples_max;
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

    /// Takes a handle on what is there already, or on nothing; as many as there may be samples.
    pub(super) const fn share(&mut self, room: Room) -> bool {
        if matches!(room, Room::Limited) && self.shared >= self.samples_max {
            return false;
        }
        self.shared += 1;
        true
    }

    /// Gives such a handle back.
    pub(super) const fn unshare(&mut self) {
        self.shared -= 1;
    }

    pub(super) const fn has(&self, samples: usize) -> bool {
        self.samples + samples <= self.samples_max
    }
}
