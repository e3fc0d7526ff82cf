//! The tasks that belong to a workflow. Most belong to none, so their slots only have a bit that
//! shows it, in what would be padding.

use super::{At, Tasks};
use crate::bounds::Part;
use crate::state::workflows::{RootId, Standing};
use crate::timestamp::Timestamp;

/// The most tasks that belong to a workflow.
pub(in crate::state) const MEMBERS_MAX: usize = 200_000;

/// The memory of a member, including a copy in a checkpoint.
pub(in crate::state) const MEMBER_BYTES: u64 = 4 * size_of::<(At, Member)>() as u64;

/// A task's part in its workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) struct Member {
    pub(in crate::state) workflow: RootId,
    /// When a `celery.chord_unlock` was first seen, in seconds since the epoch; 0 for other tasks.
    pub(in crate::state) chord: u32,
    pub(in crate::state) standing: Standing,
    pub(in crate::state) is_root: bool,
}

impl Member {
    /// Since when a chord waits, if this is the task that polls for the end of its header.
    pub(in crate::state) fn chord_since(&self) -> Option<Timestamp> {
        (self.chord > 0).then(|| Timestamp::from_whole_seconds(self.chord))
    }
}

impl Tasks {
    /// The part of a task in its workflow.
    #[inline]
    pub(in crate::state) fn member(&self, at: At) -> Option<Member> {
        if self.slots[at as usize].is_member {
            self.members.get(&at).copied()
        } else {
            None
        }
    }

    /// Adds a task to a workflow, or changes its part.
    pub(in crate::state) fn set_member(&mut self, at: At, member: Member) {
        if self.members.insert(at, member).is_none() {
            self.slots[at as usize].is_member = true;
            self.bounds.claim(Part::Tasks, MEMBER_BYTES);
        }
    }

    pub(in crate::state) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Whether no further task can join a workflow.
    pub(in crate::state) fn members_are_full(&self) -> bool {
        self.members.len() >= MEMBERS_MAX
    }

    /// Removes the tasks whose workflow is forgotten from it.
    pub(in crate::state) fn keep_members(&mut self, is_known: impl Fn(RootId) -> bool) {
        let (slots, bounds) = (&mut self.slots, &self.bounds);
        self.members.retain(|at, member| {
            let is_kept = is_known(member.workflow);
            if !is_kept {
                slots[*at as usize].is_member = false;
                bounds.release(Part::Tasks, MEMBER_BYTES);
            }
            is_kept
        });
    }

    pub(super) fn remove_member(&mut self, at: At) -> Option<Member> {
        if !std::mem::take(&mut self.slots[at as usize].is_member) {
            return None;
        }
        self.bounds.release(Part::Tasks, MEMBER_BYTES);
        self.members.remove(&at)
    }
}
