//! Stores the table of tasks: those in flight, then those on their way to any shard, then those
//! that have ended. Each group is in order of the last update, oldest first.

use super::{At, NONE, Task, Tasks, parse_uuid};
use crate::saved::{self, task::Id};
use crate::state::task::Label;
use crate::state::texts::{Restored, Texts};
use crate::state::workflows::Standing;
use crate::timestamp::Timestamp;

/// The table at one instant. It shares tasks with the table until they change.
#[derive(Debug)]
pub(in crate::state) struct CapturedTasks(Tasks);

impl Tasks {
    /// Copies the table without its index.
    pub(in crate::state) fn capture(&mut self) -> CapturedTasks {
        CapturedTasks(Self {
            slots: self.slots.share(),
            texts: self.texts.clone(),
            members: self.members.clone(),
            alive: self.alive,
            later: self.later,
            ended: self.ended,
            on_the_way: self.on_the_way,
            ..Self::default()
        })
    }

    /// Adds a task at the recent end of its list. `None` if its id is invalid.
    pub(in crate::state) fn restore(
        &mut self,
        saved: &saved::Task,
        texts: &mut Restored<'_>,
        now: Timestamp,
    ) -> Option<At> {
        let text = match saved.id.as_ref()? {
            Id::Uuid(bytes) => spelt(bytes)?,
            Id::Text(text) => text.clone(),
        };
        let is_known = self.find(&text).is_some();
        if text.is_empty() || text.len() > saved::TEXT_MAX || is_known {
            return None;
        }
        let at = self.find_or_insert(&self.key(&text));
        *self.get_mut(at) = Task::restored(saved, texts, now);
        self.file_by_last_event(at, saved.heard.min(now.whole_seconds()));
        Some(at)
    }
}

impl CapturedTasks {
    /// All tasks.
    pub(in crate::state) fn places(&self) -> impl Iterator<Item = At> {
        let list = |oldest: At| {
            std::iter::successors((oldest != NONE).then_some(oldest), |&at| {
                let next = self.0.slots[at as usize].next;
                (next != NONE).then_some(next)
            })
        };
        // Tasks in `later` became silent before all others.
        list(self.0.later.oldest)
            .chain(list(self.0.alive.oldest))
            .chain(list(self.0.on_the_way.oldest))
            .chain(list(self.0.ended.oldest))
    }

    /// Whether its steps are held.
    pub(in crate::state) fn label(&self, at: At) -> Label {
        self.0.label(at)
    }

    fn stored_member(&self, at: At) -> Option<saved::Member> {
        let member = self.0.members.get(&at)?;
        Some(saved::Member {
            root: member.workflow.stored(),
            chord: member.chord,
            failed: member.standing == Standing::Failed,
            is_root: member.is_root,
        })
    }

    /// The stored form of one task.
    pub(in crate::state) fn stored(&self, at: At, texts: &mut Texts) -> saved::Task {
        let slot = &self.0.slots[at as usize];
        let text = || self.0.texts.get(&at).map(|text| Id::Text(text.to_string()));
        let uuid = slot.uuid.map(|uuid| Id::Uuid(uuid.to_vec()));
        saved::Task {
            id: uuid.or_else(text),
            heard: slot.last_event,
            workflow: slot.is_member.then(|| self.stored_member(at)).flatten(),
            ..slot.task.stored(texts)
        }
    }
}

/// The canonical form of a UUID's 16 bytes.
fn spelt(bytes: &[u8]) -> Option<String> {
    use std::fmt::Write;

    let bytes = <&[u8; 16]>::try_from(bytes).ok()?;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    debug_assert_eq!(parse_uuid(&text).as_ref(), Some(bytes));
    Some(text)
}
