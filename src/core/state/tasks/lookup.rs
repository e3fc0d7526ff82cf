//! Finds tasks by id.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::{At, Slot, Tasks, parse_uuid};
use crate::escape::cut;
use crate::state::EVENTS_TOGETHER;
use crate::state::names::TEXT_BYTES_MAX;

/// A task id, parsed and hashed for lookups.
#[derive(Debug)]
pub(in crate::state) struct TaskId<'i> {
    /// Truncated if it is long.
    pub(super) text: Cow<'i, str>,
    pub(super) uuid: Option<[u8; 16]>,
    pub(super) hash: u64,
}

impl TaskId<'_> {
    /// Whether it is longer than what is kept of it.
    pub(super) const fn is_truncated(&self) -> bool {
        matches!(self.text, Cow::Owned(_))
    }
}

impl Tasks {
    /// The id of a task, prepared for looking it up.
    #[inline]
    pub(in crate::state) fn key<'i>(&self, id: &'i str) -> TaskId<'i> {
        let text = cut(id, TEXT_BYTES_MAX);
        let uuid = parse_uuid(&text);
        let hash = match uuid {
            Some(bytes) => self.hasher.hash_one(u128::from_ne_bytes(bytes)),
            None => self.hasher.hash_one(&*text),
        };
        TaskId { text, uuid, hash }
    }

    /// Loads tasks into the processor's cache before they are looked up. Done together, the memory
    /// accesses overlap.
    pub(in crate::state) fn load(&self, ids: &[Option<TaskId<'_>>]) {
        let mut found = [0; EVENTS_TOGETHER];
        let mut count = 0;
        for id in ids.iter().flatten() {
            // The hash is rarely another task's, and then this only loads the wrong one.
            if let Some(&at) = self.index.find(id.hash, |_| true) {
                found[count] = at;
                count += 1;
            }
        }
        let slots = found[..count].iter().map(|at| &self.slots[*at as usize]);
        let bits = slots.map(|slot| slot.last_event ^ u32::from(slot.task.queue_told));
        black_box(bits.fold(0, |all, some| all ^ some));
    }

    /// Finds the task with this id.
    pub(in crate::state) fn find(&self, id: &str) -> Option<At> {
        self.find_key(&self.key(id))
    }

    pub(super) fn find_key(&self, id: &TaskId<'_>) -> Option<At> {
        let same = |&at: &At| match (&self.slots[at as usize].uuid, &id.uuid) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.texts.get(&at).is_some_and(|text| **text == *id.text),
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.index.find(id.hash, same).copied()
    }
}

pub(super) fn hash_of(
    hasher: &DefaultHashBuilder,
    slot: &Slot,
    at: At,
    texts: &HashMap<At, Arc<str>>,
) -> u64 {
    match (&slot.uuid, texts.get(&at)) {
        (Some(bytes), _) => hasher.hash_one(u128::from_ne_bytes(*bytes)),
        (None, text) => hasher.hash_one(text.map(|text| &**text).unwrap_or_default()),
    }
}
