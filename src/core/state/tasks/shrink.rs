//! Frees memory after a burst of tasks.

use std::time::Duration;

use super::{SLOT_BYTES, Tasks, hash_of};
use crate::bounds::Part;
use crate::timestamp::Timestamp;

/// Minimum time between two attempts. An attempt visits every removed task.
const SHRUNK_EVERY: Duration = Duration::from_secs(20);

/// The table keeps memory for this many removed tasks.
const VACANT_KEPT: usize = 1_024;

impl Tasks {
    /// Frees memory of removed tasks if most of the table is theirs. A piece of the table with one
    /// task left in it is kept.
    pub(super) fn shrink(&mut self, now: Timestamp) {
        let used = self.index.len();
        if self.slots.vacant() <= used.max(VACANT_KEPT) || now.since(self.shrunk) < SHRUNK_EVERY {
            return;
        }
        self.shrunk = now;
        let room = self.slots.shrink();
        self.bounds.release(Part::Tasks, room as u64 * SLOT_BYTES);
        let (slots, texts, hasher) = (&self.slots, &self.texts, &self.hasher);
        self.index.shrink_to(2 * used, |&at| {
            hash_of(hasher, &slots[at as usize], at, texts)
        });
        self.texts.shrink_to(2 * self.texts.len());
        self.members.shrink_to(2 * self.members.len());
        self.due.shrink_to(2 * self.due.len());
    }
}
