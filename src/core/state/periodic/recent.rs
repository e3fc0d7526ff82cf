//! The latest sends of a task, and how often predictions came true.

/// Remembered occurrences.
pub(super) const RECENT: usize = 16;

/// Gaps whose median is the period.
const MEDIAN_OF: usize = 8;

/// The least number of predictions to judge by.
const PREDICTIONS_MIN: u8 = 8;

/// How often predictions came true. The latest 128 count most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) predictions: u8,
    pub(super) true_share: f32,
}

impl Rate {
    pub(super) fn add(&mut self, is_true: bool) {
        self.predictions = self.predictions.saturating_add(1).min(128);
        let hit = if is_true { 1.0 } else { 0.0 };
        self.true_share += (hit - self.true_share) / f32::from(self.predictions);
    }

    pub(super) fn is_above(self, share: f32) -> bool {
        self.predictions >= PREDICTIONS_MIN && self.true_share >= share
    }
}

/// The latest occurrences, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recent {
    times: [u32; RECENT],
    len: u8,
}

impl Recent {
    pub(super) fn push(&mut self, at: u32) {
        if usize::from(self.len) == RECENT {
            self.times.rotate_left(1);
            self.times[RECENT - 1] = at;
        } else {
            self.times[usize::from(self.len)] = at;
            self.len += 1;
        }
    }

    pub(super) fn times(&self) -> &[u32] {
        &self.times[..usize::from(self.len)]
    }

    /// The latest gaps, newest first.
    pub(super) fn gaps(&self) -> impl Iterator<Item = i64> {
        let pairs = self.times().windows(2).rev();
        pairs.map(|pair| i64::from(pair[1]) - i64::from(pair[0]))
    }

    /// The median of the latest gaps; `None` if there are too few.
    pub(super) fn median(&self) -> Option<i64> {
        let mut gaps = [0; MEDIAN_OF];
        let mut len = 0;
        for (gap, place) in self.gaps().zip(&mut gaps) {
            *place = gap;
            len += 1;
        }
        let gaps = &mut gaps[..len];
        gaps.sort_unstable();
        (len >= 3).then(|| gaps[len / 2])
    }
}
