//! Finds tasks in flight that have been silent for longer than the timeout, counted from their due
//! time.
//!
//! The list of tasks is in order of their last update, so only its oldest entries need checking. A
//! task that is due later moves to a separate list, and its due time to a heap, so each task is
//! checked once at its timeout and not at every snapshot.

use std::cmp::Reverse;
use std::time::Duration;

use super::{At, Kept, Removed, Slot, Tasks, silence};
use crate::timestamp::Timestamp;

/// The longest time to wait for a due time.
const AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The heap may hold this many more due times than there are tasks.
pub(super) const STALE_MAX: usize = 1024;

impl Tasks {
    /// Removes a task that was silent for longer than `timeout` before `now`, and was due by then.
    pub(in crate::state) fn expire(
        &mut self,
        timeout: Duration,
        now: Timestamp,
    ) -> Option<Removed> {
        while let Some(oldest) = self.slots.get(self.alive.oldest as usize)
            && silence(oldest, now) > timeout
        {
            let (at, last_event) = (self.alive.oldest, oldest.last_event);
            let due = oldest.waits_until();
            if now.since(due) > timeout {
                return Some(self.remove(at));
            }
            self.unlink(at);
            self.file_in(at, last_event, Kept::Later);
            self.due.push(Reverse((due.whole_seconds(), at)));
        }
        while let Some(&Reverse((due, at))) = self.due.peek() {
            if now.since(Timestamp::from_whole_seconds(due)) <= timeout && !self.is_stale(due, at) {
                break;
            }
            self.due.pop();
            if !self.is_stale(due, at) {
                return Some(self.remove(at));
            }
        }
        if self.due.len() > 2 * self.later.length + STALE_MAX {
            let due = std::mem::take(&mut self.due);
            let due = due.into_iter();
            self.due = due
                .filter(|Reverse((due, at))| !self.is_stale(*due, *at))
                .collect();
        }
        None
    }

    /// Whether a due time belongs to no task in the list.
    fn is_stale(&self, due: u32, at: At) -> bool {
        let slot = self.slots.get(at as usize);
        slot.is_none_or(|slot| {
            slot.list != Kept::Later || slot.waits_until().whole_seconds() != due
        })
    }
}

impl Slot {
    /// The time until which silence means nothing.
    pub(super) fn waits_until(&self) -> Timestamp {
        let last_event = Timestamp::from_whole_seconds(self.last_event);
        self.task
            .waits_for()
            .min(last_event.after(AHEAD_MAX))
            .max(last_event)
    }
}
