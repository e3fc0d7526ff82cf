//! How many series there may be.
//!
//! The limit is on samples, which is what a receiver stores: a histogram with 16 buckets counts as 19. It
//! folds and does not drop: who finds no room opens a series of its overflow instead, from the reserve.
//!
//! Beside it there is the memory budget, in which labels count too.

use super::{LabelSet, Value};
use crate::bounds::{self, Bounds, Part};

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
    bounds: Bounds,
}

/// What a series takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    samples: usize,
    /// Of the labels of all samples: a page has them in each line.
    label_bytes: usize,
}

/// What the labels of a sample take that is not opened yet: three texts of usual length.
const LABEL_BYTES: usize = 100;

impl Size {
    pub(super) fn of(labels: &LabelSet, value: &Value) -> Self {
        let bytes = labels.iter().map(|(name, value)| name.len() + value.len());
        let samples = value.samples();
        Self {
            samples,
            label_bytes: samples * bytes.sum::<usize>(),
        }
    }

    const fn usual(samples: usize) -> Self {
        Self {
            samples,
            label_bytes: samples * LABEL_BYTES,
        }
    }
}

impl Limit {
    pub(super) fn new(samples_max: usize) -> Self {
        Self {
            samples_max,
            samples: 0,
            shared: 0,
            bounds: Bounds::default(),
        }
    }

    pub(super) fn within(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    pub(super) fn reached(&self, limit: bounds::Limit) {
        self.bounds.reached(limit);
    }

    /// A page is held as text and compressed, and while the next one is rendered.
    fn bytes(&self, size: Size) -> u64 {
        self.bounds.sample_bytes() * size.samples as u64 + 2 * size.label_bytes as u64
    }

    /// There may be so many from now on. What is beyond stays.
    pub(super) const fn set(&mut self, samples_max: usize) {
        self.samples_max = samples_max;
    }

    /// Takes room for a series, if it is there.
    pub(super) fn take(&mut self, size: Size, room: Room) -> bool {
        if room == Room::Limited {
            if !self.fits(size) {
                return false;
            }
            self.samples += size.samples;
        }
        self.bounds.take(Part::Series, self.bytes(size));
        true
    }

    /// Gives room back.
    pub(super) fn give(&mut self, size: Size, room: Room) {
        if room == Room::Limited {
            self.samples -= size.samples;
        }
        self.bounds.give(Part::Series, self.bytes(size));
    }

    fn fits(&self, size: Size) -> bool {
        if self.samples + size.samples > self.samples_max {
            self.bounds.reached(bounds::Limit::Series);
            return false;
        }
        let has_room = self.bounds.has_room(Part::Series, self.bytes(size));
        if !has_room {
            self.bounds.reached(bounds::Limit::SeriesMemory);
        }
        has_room
    }

    /// Takes a handle on what is there already, or on nothing; as many as there may be samples.
    pub(super) fn share(&mut self, room: Room) -> bool {
        if matches!(room, Room::Limited) && self.shared >= self.samples_max {
            self.bounds.reached(bounds::Limit::Series);
            return false;
        }
        self.shared += 1;
        true
    }

    /// Gives such a handle back.
    pub(super) const fn unshare(&mut self) {
        self.shared -= 1;
    }

    pub(super) fn has(&self, samples: usize) -> bool {
        self.fits(Size::usual(samples))
    }
}
