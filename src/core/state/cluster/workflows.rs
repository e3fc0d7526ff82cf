//! Finds the workflow of a task, and keeps it up to date with the task.
//!
//! Only task-sent and task-received name the root. The other events find the workflow through the
//! task. A task that is its own root joins when the first other task does, so tasks alone cost no
//! more than a comparison of two ids.
//!
//! With shards nothing is followed, because each daemon sees only a part of a workflow.

use hashbrown::HashMap;

use super::State;
use crate::bounds::{Limit, Part};
use crate::event::{TaskEvent, TaskKind};
use crate::saved;
use crate::state::tasks::{At, MEMBER_BYTES, Member};
use crate::state::texts::Restored;
use crate::state::workflows::{RootId, Standing, WORKFLOW_BYTES};
use crate::state::{Symbol, WorkflowLevel};
use crate::timestamp::Timestamp;

/// The task that polls for the end of a chord's header, with result backends that cannot count its
/// tasks: all but Redis and a few others. It retries until the header has ended.
const CHORD_UNLOCK: &str = "celery.chord_unlock";

/// An event that names the root of its task.
#[derive(Clone, Copy, Debug)]
struct Rooted<'a> {
    root: &'a str,
    is_root: bool,
    is_chord: bool,
    stamped: Timestamp,
    now: Timestamp,
}

impl State {
    /// The open workflows by the name of their root task; the name is absent if no event reported
    /// it. None with shards.
    pub fn workflows(&self) -> HashMap<Option<Symbol>, WorkflowLevel> {
        self.workflows.levels(self.tasks.members())
    }

    /// Applies an event to the workflow of its task, after it was applied to the task.
    #[inline]
    pub(super) fn follow(
        &mut self,
        at: At,
        event: &TaskEvent<'_>,
        stamped: Timestamp,
        now: Timestamp,
    ) {
        if let Some(member) = self.tasks.member(at) {
            self.follow_member(at, member, event, stamped, now);
            return;
        }
        let names_root = matches!(event.kind, TaskKind::Sent | TaskKind::Received);
        let Some(root) = event.root_id.as_deref().filter(|_| names_root) else {
            return;
        };
        let is_root = *root == *event.uuid;
        let is_chord = event.name.as_deref() == Some(CHORD_UNLOCK);
        let is_alone = is_root && !is_chord && !self.workflows.may_want_root();
        if !is_alone && self.limits.shard.is_none() {
            let rooted = Rooted {
                root,
                is_root,
                is_chord,
                stamped,
                now,
            };
            self.join(at, &rooted);
        }
    }

    fn follow_member(
        &mut self,
        at: At,
        member: Member,
        event: &TaskEvent<'_>,
        stamped: Timestamp,
        now: Timestamp,
    ) {
        let begins = matches!(
            event.kind,
            TaskKind::Sent | TaskKind::Received | TaskKind::Started
        );
        let task = self.tasks.get(at);
        let of_task = task.standing();
        // A task that was given up looks as if it had been cancelled. Only an end changes that.
        let is_known = member.standing != Standing::InFlight && of_task != Standing::InFlight;
        let standing = if begins && is_known {
            member.standing
        } else {
            of_task
        };
        if member.is_root {
            self.workflows.name(member.workflow, task.name);
        }
        let times = (stamped, begins);
        self.workflows.event(&member, standing, times, now);
        let chord = if begins {
            member.chord.min(stamped.whole_seconds())
        } else {
            member.chord
        };
        if standing != member.standing || chord != member.chord {
            let member = Member {
                standing,
                chord,
                ..member
            };
            self.tasks.set_member(at, member);
        }
    }

    /// Adds a task to the workflow of its root, which may begin with it.
    fn join(&mut self, at: At, event: &Rooted<'_>) {
        let workflow = RootId::of(event.root);
        let is_known = self.workflows.contains(workflow);
        let begins = !event.is_root || event.is_chord;
        if (!is_known && !begins) || !self.has_room_for_member() {
            return;
        }
        if !self.workflows.contains(workflow) {
            self.workflows.open(workflow, event.stamped, event.now);
            if !event.is_root
                && let Some(root) = self.tasks.find(event.root)
                && root != at
                && self.tasks.member(root).is_none()
            {
                let member = Member {
                    workflow,
                    chord: 0,
                    standing: self.tasks.get(root).standing(),
                    is_root: true,
                };
                self.add_member(root, member, event);
            }
        }
        let chord = if event.is_chord {
            event.stamped.whole_seconds()
        } else {
            0
        };
        let member = Member {
            workflow,
            chord,
            standing: self.tasks.get(at).standing(),
            is_root: event.is_root,
        };
        self.add_member(at, member, event);
    }

    fn add_member(&mut self, at: At, member: Member, event: &Rooted<'_>) {
        let task = self.tasks.get(at);
        let began = task.begun().unwrap_or(event.stamped);
        self.workflows.join(&member, began, event.now);
        if member.is_root {
            self.workflows.name(member.workflow, task.name);
        }
        self.tasks.set_member(at, member);
    }

    /// Makes room for a task in a workflow, and for the workflow with its root.
    fn has_room_for_member(&mut self) -> bool {
        if self.workflows.is_full() || self.tasks.members_are_full() {
            self.bounds.reached(Limit::Workflows);
            self.workflows.evict();
            let workflows = &self.workflows;
            self.tasks
                .keep_members(|workflow| workflows.contains(workflow));
        }
        let bytes = WORKFLOW_BYTES + 2 * MEMBER_BYTES;
        let has_room = !self.tasks.members_are_full() && self.bounds.has_room(Part::Tasks, bytes);
        if !has_room {
            self.bounds.reached(Limit::Workflows);
        }
        has_room
    }

    /// Notes that a task is no longer in the table.
    pub(super) fn left_workflow(&mut self, member: Option<Member>, to: Standing, now: Timestamp) {
        if let Some(member) = member {
            self.workflows.step(&member, to, now);
        }
    }

    /// Notes that tasks are no longer in flight although no event reported their end.
    pub(super) fn ended_unseen(&mut self, tasks: &[At], to: Standing, now: Timestamp) {
        for at in tasks {
            if let Some(member) = self.tasks.member(*at) {
                self.workflows.step(&member, to, now);
                let standing = to;
                self.tasks.set_member(*at, Member { standing, ..member });
            }
        }
    }

    pub(super) fn restore_workflows(&mut self, saved: &saved::Cluster, now: Timestamp) {
        if self.limits.shard.is_some() {
            return;
        }
        for workflow in &saved.workflows {
            let mut texts = Restored::new(&saved.texts, &mut self.names);
            if self.bounds.has_room(Part::Tasks, WORKFLOW_BYTES) {
                self.workflows.restore(workflow, &mut texts, now);
            }
        }
    }

    /// Restores the part of a task in its workflow, if the workflow was restored.
    pub(super) fn restore_member(&mut self, at: At, saved: Option<&saved::Member>, now: Timestamp) {
        let workflow = saved.and_then(|saved| RootId::restored(&saved.root));
        let Some((saved, workflow)) = saved.zip(workflow) else {
            return;
        };
        let has_room =
            !self.tasks.members_are_full() && self.bounds.has_room(Part::Tasks, MEMBER_BYTES);
        if !self.workflows.contains(workflow) || !has_room {
            return;
        }
        let standing = match self.tasks.get(at).standing() {
            Standing::InFlight => Standing::InFlight,
            Standing::Ended | Standing::Failed | Standing::Silent if saved.failed => {
                Standing::Failed
            }
            Standing::Ended | Standing::Failed | Standing::Silent => Standing::Ended,
        };
        let member = Member {
            workflow,
            chord: saved.chord.min(now.whole_seconds()),
            standing,
            is_root: saved.is_root,
        };
        self.workflows.rejoin(&member);
        self.tasks.set_member(at, member);
    }
}

#[cfg(test)]
mod tests;
