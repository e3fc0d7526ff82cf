//! Limits the number of series.
//!
//! The limit counts samples, which is what a receiver stores: a histogram with 16 buckets counts as
//! 19. Excess series are folded, not dropped: if there is no room, the caller opens an overflow
//! series from the reserve.
//!
//! The memory budget applies as well. It takes the size of labels into account.

use super::{LabelSet, Value};
use crate::bounds::{self, Bounds, Part};

/// Whether a series must fit within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Counted against the limit, and refused if there is no room.
    Limited,
    /// Exempt from the limit: the daemon's own series and overflow series, of which there are few.
    Reserved,
}

/// The limit, and how much of it is in use.
#[derive(Debug)]
pub(super) struct Limit {
    samples_max: usize,
    samples: usize,
    /// Handles without a series of their own, because rules dropped the series or merged it into
    /// another. They add no samples, but use memory in their callers, so they are limited as well.
    shared: usize,
    bounds: Bounds,
}

/// The size of a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    samples: usize,
    /// Total bytes of the labels of all samples, because a page repeats them on each line.
    label_bytes: usize,
}

/// The assumed label size of a sample that is not open yet: three strings of typical length.
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

    /// A page is held as text and compressed, and also while the next one is rendered.
    fn bytes(&self, size: Size) -> u64 {
        self.bounds.sample_bytes() * size.samples as u64 + 2 * size.label_bytes as u64
    }

    /// Changes the limit. Series beyond a lower limit stay.
    pub(super) const fn set(&mut self, samples_max: usize) {
        self.samples_max = samples_max;
    }

    /// Reserves room for a series, if available.
    pub(super) fn reserve(&mut self, size: Size, room: Room) -> bool {
        if room == Room::Limited {
            if !self.fits(size) {
                return false;
            }
            self.samples += size.samples;
        }
        self.bounds.claim(Part::Series, self.bytes(size));
        true
    }

    /// Releases room.
    pub(super) fn release(&mut self, size: Size, room: Room) {
        if room == Room::Limited {
            self.samples -= size.samples;
        }
        self.bounds.release(Part::Series, self.bytes(size));
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

    /// Reserves a handle without a series of its own. The limit on samples applies to their number
    /// too.
    pub(super) fn share(&mut self, room: Room) -> bool {
        if matches!(room, Room::Limited) && self.shared >= self.samples_max {
            self.bounds.reached(bounds::Limit::Series);
            return false;
        }
        self.shared += 1;
        true
    }

    /// Releases such a handle.
    pub(super) const fn unshare(&mut self) {
        self.shared -= 1;
    }

    pub(super) fn has(&self, samples: usize) -> bool {
        self.fits(Size::usual(samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::LabelName;

    #[test]
    fn a_series_takes_its_samples_and_the_memory_of_a_page() {
        let bounds = Bounds::new(1 << 30, false, 0);
        let mut limit = Limit::new(2);
        limit.within(bounds.clone());
        let labels = LabelSet::new([(LabelName::from_static("name"), "abc".into())]);
        let size = Size::of(&labels, &Value::Number(0.0));
        let bytes = bounds.sample_bytes() + 2 * 7;
        assert!(limit.reserve(size, Room::Limited) && limit.reserve(size, Room::Limited));
        assert!(!limit.has(1) && limit.has(0));
        assert!(!limit.reserve(size, Room::Limited));
        assert_eq!(bounds.times(bounds::Limit::Series), 2);
        assert!(limit.reserve(size, Room::Reserved));
        assert_eq!(bounds.used(Part::Series), 3 * bytes);
        limit.release(size, Room::Reserved);
        assert!(!limit.has(1));
        limit.release(size, Room::Limited);
        assert!(limit.has(1) && !limit.has(2));
        assert_eq!(bounds.used(Part::Series), bytes);
        limit.set(3);
        assert!(limit.has(2) && !limit.has(3));
    }

    #[test]
    fn a_series_needs_memory_too() {
        // 14 MiB remain for the parts, of which series may use a quarter and the unreserved rest.
        let bounds = Bounds::new(64 << 20, false, 0);
        let mut limit = Limit::new(usize::MAX);
        limit.within(bounds.clone());
        let each = bounds.sample_bytes() + 2 * 100;
        let mut most = 0;
        while bounds.has_room(Part::Series, (most + 1) * each) {
            most += 1;
        }
        let most = usize::try_from(most).expect("small");
        assert!(most > 0 && limit.has(most) && !limit.has(most + 1));
        assert_eq!(bounds.times(bounds::Limit::SeriesMemory), 1);
    }

    #[test]
    fn handles_without_a_series_are_limited_as_well() {
        let mut limit = Limit::new(1);
        assert!(limit.share(Room::Limited) && !limit.share(Room::Limited));
        assert!(limit.share(Room::Reserved));
        limit.unshare();
        assert!(!limit.share(Room::Limited));
        limit.unshare();
        assert!(limit.share(Room::Limited));
    }
}
