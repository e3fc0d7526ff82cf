//! The bounded table of tasks: those in flight, and for a short time those that have ended.
//!
//! Tasks are found by uuid. Each kind also forms a list from the least to the most recently
//! updated. Nothing is allocated for a task whose id is a UUID, unless the table grows.
//!
//! A task that is due later than the timeout allows waits in a separate list, because silence
//! before its due time means nothing. A heap holds the due times.
//!
//! With shards, tasks on their way are in a separate list: most of them run elsewhere, and they
//! must not push out tasks that a worker of this shard has.

mod later;
mod lookup;
mod members;
mod saved;
mod shrink;
mod uuid;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::chunks::Chunks;
use super::task::{Label, Task};
use super::{Shard, shard};
use crate::bounds::{Bounds, Limit, Part};
use crate::timestamp::{ClockStep, Timestamp};
pub(super) use lookup::TaskId;
use lookup::hash_of;
pub(super) use members::{MEMBER_BYTES, Member};
pub(super) use saved::CapturedTasks;
pub(super) use uuid::parse_uuid;

/// How long an ended task is remembered, so that late and duplicate events are recognized.
const ENDED_KEPT: Duration = Duration::from_secs(60);

/// How many ended tasks are remembered, at 120 bytes each. Above some 500 tasks a second this
/// limit is reached before the time limit; events of one task are rarely late by more than seconds.
const ENDED_MAX: usize = 32_768;

/// The index of a task in the table.
pub(super) type At = u32;

const NONE: At = At::MAX;

/// Tasks by uuid.
#[derive(Debug)]
pub(super) struct Tasks {
    slots: Chunks<Slot>,
    index: HashTable<At>,
    hasher: DefaultHashBuilder,
    /// Ids that are not UUIDs, by index. Nearly all ids are UUIDs in canonical form, which take 16
    /// bytes instead of 36.
    texts: HashMap<At, Arc<str>>,
    /// The tasks that belong to a workflow, by index.
    members: HashMap<At, Member>,
    alive: List,
    ended: List,
    /// In flight and silent for longer than the timeout, but with a due time late enough that this
    /// means nothing yet.
    later: List,
    /// The due times of those tasks, in seconds since the epoch, including some of tasks that have
    /// left the list.
    due: BinaryHeap<Reverse<(u32, At)>>,
    /// On the way to any shard's worker. Empty without shards.
    on_the_way: List,
    shard: Option<Shard>,
    /// When the memory of removed tasks was last freed.
    shrunk: Timestamp,
    /// How many tasks may be evicted for the newest one, which needed memory.
    grown: u8,
    bounds: Bounds,
}

/// The memory of a task: its slot, which is copied if it changes while a checkpoint is being
/// written, and its entries in the index and among the in-flight tasks counted in `(other)`. A slot
/// is kept for a while when its task is removed.
const SLOT_BYTES: u64 = size_of::<Slot>() as u64 + 80;

/// The most tasks evicted to make room for one. A task with a long id uses as much memory as three
/// without, and the memory of their slots cannot be reused for its id.
const EVICTED_FOR_ONE: u8 = 4;

/// The memory of a non-UUID id in addition to its bytes, including a copy in a checkpoint.
const ID_BYTES: u64 = 160;

#[derive(Clone, Debug)]
struct Slot {
    /// The bytes of a UUID. `None` if the id is a text.
    uuid: Option<[u8; 16]>,
    /// When it was last updated, in seconds since the epoch, rounded up.
    last_event: u32,
    previous: At,
    next: At,
    /// The list that it is in, which may no longer be the one it belongs to.
    list: Kept,
    /// Whether it belongs to a workflow.
    is_member: bool,
    task: Task,
}

/// A task that is no longer in the table.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) task: Task,
    pub(super) member: Option<Member>,
}

/// Why a task is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Alive,
    Ended,
    OnTheWay,
    Later,
}

#[derive(Clone, Copy, Debug)]
struct List {
    oldest: At,
    newest: At,
    length: usize,
}

impl Default for Tasks {
    fn default() -> Self {
        let list = List {
            oldest: NONE,
            newest: NONE,
            length: 0,
        };
        Self {
            slots: Chunks::default(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            texts: HashMap::new(),
            members: HashMap::new(),
            alive: list,
            ended: list,
            later: list,
            due: BinaryHeap::new(),
            on_the_way: list,
            shard: None,
            shrunk: Timestamp::default(),
            grown: 0,
            bounds: Bounds::default(),
        }
    }
}

impl Tasks {
    /// A table for the events of all workers, or for those of a shard.
    pub(super) fn new(shard: Option<Shard>, bounds: Bounds) -> Self {
        Self {
            shard,
            bounds,
            ..Self::default()
        }
    }

    /// Finds or creates the task with this id. A new task is in no list until it is
    /// [`filed`](Self::file).
    pub(super) fn find_or_insert(&mut self, id: &TaskId<'_>) -> At {
        if id.is_truncated() {
            self.bounds.reached(Limit::TextBytes);
        }
        if let Some(at) = self.find_key(id) {
            self.unlink(at);
            return at;
        }
        let TaskId { text, uuid, hash } = id;
        let slot = Slot {
            uuid: *uuid,
            last_event: 0,
            previous: NONE,
            next: NONE,
            list: Kept::Ended,
            is_member: false,
            task: Task::default(),
        };
        if self.slots.vacant() == 0 {
            self.grow(SLOT_BYTES);
        }
        let at = self.slots.insert(slot);
        if uuid.is_none() {
            self.grow(id_bytes(text));
            self.texts.insert(at, (**text).into());
        }
        let (slots, texts, hasher) = (&self.slots, &self.texts, &self.hasher);
        self.index.insert_unique(*hash, at, |&at| {
            hash_of(hasher, &slots[at as usize], at, texts)
        });
        at
    }

    pub(super) fn get(&self, at: At) -> &Task {
        &self.slots[at as usize].task
    }

    /// Whether the steps of the task are held.
    pub(super) fn label(&self, at: At) -> Label {
        let slot = self.slots.get(at as usize);
        slot.map_or(Label::Open, |slot| slot.task.label())
    }

    pub(super) fn get_mut(&mut self, at: At) -> &mut Task {
        &mut self.slots[at as usize].task
    }

    /// Moves a task to the recent end of the list that it belongs to.
    pub(super) fn file(&mut self, at: At, now: Timestamp) {
        self.file_by_last_event(at, now.whole_seconds());
    }

    /// Like [`file`](Self::file), with the second in which the task was updated.
    fn file_by_last_event(&mut self, at: At, last_event: u32) {
        self.file_in(at, last_event, self.belongs(at));
    }

    fn file_in(&mut self, at: At, last_event: u32, kept: Kept) {
        let newest = self.list(kept).newest;
        let slot = &mut self.slots[at as usize];
        slot.list = kept;
        slot.last_event = last_event;
        slot.previous = newest;
        slot.next = NONE;
        if newest != NONE {
            self.slots[newest as usize].next = at;
        }
        let list = self.list(kept);
        if list.oldest == NONE {
            list.oldest = at;
        }
        list.newest = at;
        list.length += 1;
        if self.ended.length > ENDED_MAX {
            self.bounds.reached(Limit::EndedTasks);
            self.remove(self.ended.oldest);
        }
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        step.adjust(&mut self.shrunk);
        for &at in &self.index {
            let slot = &mut self.slots[at as usize];
            let mut last_event = Timestamp::from_whole_seconds(slot.last_event);
            step.adjust(&mut last_event);
            slot.last_event = last_event.whole_seconds();
        }
    }

    fn grow(&mut self, bytes: u64) {
        self.grown = EVICTED_FOR_ONE;
        self.bounds.claim(Part::Tasks, bytes);
    }

    /// Removes the least recently updated task if more than `max` are in flight, or if there is no
    /// room for the one that was added. Ended tasks and, with shards, tasks on their way are
    /// removed first.
    pub(super) fn evict(&mut self, max: usize) -> Option<Removed> {
        let is_full = self.grown > 0 && !self.bounds.has_room(Part::Tasks, SLOT_BYTES);
        self.grown = if is_full { self.grown - 1 } else { 0 };
        if is_full {
            self.bounds.reached(Limit::TaskMemory);
            let spare = [self.ended.oldest, self.on_the_way.oldest];
            if let Some(spare) = spare.into_iter().find(|at| *at != NONE) {
                self.remove(spare);
                return self.evict(max);
            }
        }
        while self.on_the_way.length > 0 && self.alive() + self.on_the_way.length > max {
            self.bounds.reached(Limit::Tasks);
            self.remove(self.on_the_way.oldest);
        }
        // Tasks in `later` became silent before all others.
        let oldest = [self.later.oldest, self.alive.oldest];
        let oldest = oldest.into_iter().find(|at| *at != NONE)?;
        let is_beyond = self.alive() > max;
        if is_beyond {
            self.bounds.reached(Limit::Tasks);
        }
        (is_full || is_beyond).then(|| self.remove(oldest))
    }

    /// Gives up every task in flight for which `gone` returns a reason.
    pub(super) fn give_up(&mut self, now: Timestamp, mut gone: impl FnMut(At, &mut Task) -> bool) {
        for mut at in [self.alive.oldest, self.later.oldest] {
            while at != NONE {
                let next = self.slots[at as usize].next;
                self.give_up_one(at, now, &mut gone);
                at = next;
            }
        }
    }

    pub(super) fn give_up_one(
        &mut self,
        at: At,
        now: Timestamp,
        mut gone: impl FnMut(At, &mut Task) -> bool,
    ) {
        // Works on a copy, since most tasks do not change: writing to a piece shared with a
        // checkpoint would copy all of it.
        let mut task = self.get(at).clone();
        let is_gone = gone(at, &mut task);
        if is_gone {
            self.unlink(at);
            task.give_up(now);
            self.slots[at as usize].task = task;
            self.file(at, now);
        } else if task != *self.get(at) {
            self.slots[at as usize].task = task;
            // With shards, a task that returns to its queue is not in flight on any shard.
            if self.belongs(at) != Kept::Alive {
                self.unlink(at);
                self.file(at, now);
            }
        }
    }

    /// Forgets tasks that ended a while ago and, with shards, tasks on their way that were not
    /// updated for `timeout`.
    pub(super) fn forget(&mut self, timeout: Duration, now: Timestamp) {
        while let Some(oldest) = self.slots.get(self.on_the_way.oldest as usize)
            && silence(oldest, now) > timeout
        {
            let at = self.on_the_way.oldest;
            if oldest.waits_until() > now {
                self.unlink(at);
                self.file(at, now);
            } else {
                self.remove(at);
            }
        }
        while let Some(oldest) = self.slots.get(self.ended.oldest as usize)
            && silence(oldest, now) > ENDED_KEPT
        {
            self.remove(self.ended.oldest);
        }
        self.shrink(now);
    }

    /// Every task in flight with its index and the time of its last update.
    pub(super) fn places(&self) -> impl Iterator<Item = (At, Timestamp, &Task)> {
        let list = |oldest: At| {
            std::iter::successors((oldest != NONE).then_some(oldest), |&at| {
                let next = self.slots[at as usize].next;
                (next != NONE).then_some(next)
            })
        };
        let all = list(self.later.oldest).chain(list(self.alive.oldest));
        all.map(|at| {
            let slot = &self.slots[at as usize];
            (
                at,
                Timestamp::from_whole_seconds(slot.last_event),
                &slot.task,
            )
        })
    }

    /// The number of tasks in flight; with shards, of those that a worker has.
    pub(super) const fn alive(&self) -> usize {
        self.alive.length + self.later.length
    }

    /// All tasks in flight, in memory order for speed: there may be a million.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Task> {
        let tasks = self.slots.iter().map(|slot| &slot.task);
        tasks.filter(|task| task.stage.is_some())
    }

    /// All tasks in the table.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.index.iter().map(|&at| self.get(at))
    }

    /// The list that a task belongs to in its current state.
    fn belongs(&self, at: At) -> Kept {
        let task = self.get(at);
        match task.stage {
            None => Kept::Ended,
            Some(_) if shard::stage(task, self.shard).is_none() => Kept::OnTheWay,
            Some(_) => Kept::Alive,
        }
    }

    const fn list(&mut self, kept: Kept) -> &mut List {
        match kept {
            Kept::Alive => &mut self.alive,
            Kept::Ended => &mut self.ended,
            Kept::OnTheWay => &mut self.on_the_way,
            Kept::Later => &mut self.later,
        }
    }

    fn remove(&mut self, at: At) -> Removed {
        self.unlink(at);
        let member = self.remove_member(at);
        let slot = &mut self.slots[at as usize];
        let hash = hash_of(&self.hasher, slot, at, &self.texts);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == at) {
            entry.remove();
        }
        if slot.uuid.is_none()
            && let Some(text) = self.texts.remove(&at)
        {
            self.bounds.release(Part::Tasks, id_bytes(&text));
        }
        let task = std::mem::take(&mut slot.task);
        self.slots.remove(at);
        Removed { task, member }
    }

    fn unlink(&mut self, at: At) {
        let slot = &self.slots[at as usize];
        let (previous, next, kept) = (slot.previous, slot.next, slot.list);
        let list = self.list(kept);
        if list.oldest == at {
            list.oldest = next;
        }
        if list.newest == at {
            list.newest = previous;
        }
        list.length -= 1;
        if previous != NONE {
            self.slots[previous as usize].next = next;
        }
        if next != NONE {
            self.slots[next as usize].previous = previous;
        }
    }
}

const fn id_bytes(text: &str) -> u64 {
    ID_BYTES + text.len() as u64 * 2
}

fn silence(slot: &Slot, now: Timestamp) -> Duration {
    now.since(Timestamp::from_whole_seconds(slot.last_event))
}

#[cfg(test)]
mod tests;
