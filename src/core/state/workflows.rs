//! The bounded table of workflows: tasks that were sent, directly or not, by one root task.
//!
//! A workflow is a root with at least one other task: what Celery's `root_id` connects, be it the
//! steps of a chain, a group or chord in a task, or a task that calls `.delay()`. A task alone has
//! no entry here. Members are kept with their tasks (see `tasks/members.rs`); the table only counts
//! them.
//!
//! ```text
//!           the last member ends           SETTLING passes
//!   open ───────────────────▶ settling ───────────────────▶ counted ──▶ forgotten after KEPT
//!     ▲                          │                             │
//!     └──────────────────────────┴─────────────────────────────┘
//!                     another member is in flight
//! ```
//!
//! A workflow settles before it counts, because a worker sends the next step of a chain just before
//! the previous one ends, and the events of the two may arrive in any order. If a step waits unseen
//! for longer, because its client does not send task-sent, the workflow counts too early. It is
//! remembered, so that it is open again when the step arrives, but it counts only once.

mod saved;

use std::time::Duration;

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::tasks::{Member, parse_uuid};
use super::{Change, Symbol, WorkflowLevel, WorkflowOutcome};
use crate::bounds::{Bounds, Part};
use crate::event::{Refusal, judge};
use crate::timestamp::{ClockStep, Timestamp};
pub(super) use saved::CapturedWorkflows;

/// How long no member must be in flight before a workflow counts as ended. Events arrive up to a
/// second and a half late, and a worker may be busy while it sends the next step.
const SETTLING: Duration = Duration::from_secs(10);

/// How long a counted workflow is remembered.
const KEPT: Duration = Duration::from_secs(10 * 60);

/// The most workflows, including the remembered ones. Beyond it, an eighth of them is forgotten:
/// first those that have been counted, then the least recently active ones.
pub(super) const WORKFLOWS_MAX: usize = 20_000;
const ROOM: usize = 8;

/// The memory of a workflow, including a copy in a checkpoint.
pub(super) const WORKFLOW_BYTES: u64 = 4 * size_of::<(RootId, Workflow)>() as u64;

/// The id of a root task: the bytes of a UUID, or a hash of any other text that is the same in
/// every release, because it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RootId([u8; 16]);

/// What a member contributes to its workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    InFlight,
    /// It succeeded, or nothing reported how it ended.
    Ended,
    /// It failed, was revoked, rejected or cancelled, expired, or its worker was lost.
    Failed,
    /// It was given up, because no event of it arrived for `task_timeout`.
    Silent,
}

/// One workflow.
#[derive(Clone, Copy, Debug)]
struct Workflow {
    /// The name of the root, if known.
    root: Option<Symbol>,
    /// The earliest time at which a member was sent, received or started.
    began: Timestamp,
    /// Timestamp of the newest event.
    latest: Timestamp,
    /// When it last changed, by our clock, in seconds since the epoch.
    changed: u32,
    in_flight: u32,
    failed: u32,
    silent: u32,
    /// Whether the root has joined.
    has_root: bool,
    counted: bool,
}

/// Workflows by their root.
#[derive(Debug, Default)]
pub(super) struct Workflows {
    table: HashMap<RootId, Workflow>,
    /// How many have no root yet.
    unrooted: usize,
    bounds: Bounds,
}

impl RootId {
    pub(super) fn of(root: &str) -> Self {
        Self(parse_uuid(root).unwrap_or_else(|| xxh3_128(root.as_bytes()).to_be_bytes()))
    }
}

impl Workflow {
    const fn count(&mut self, standing: Standing) -> Option<&mut u32> {
        match standing {
            Standing::InFlight => Some(&mut self.in_flight),
            Standing::Ended => None,
            Standing::Failed => Some(&mut self.failed),
            Standing::Silent => Some(&mut self.silent),
        }
    }

    const fn is_open(&self) -> bool {
        self.in_flight > 0 || !self.counted
    }

    const fn outcome(&self) -> WorkflowOutcome {
        if self.failed > 0 {
            WorkflowOutcome::Failed
        } else if self.silent > 0 {
            WorkflowOutcome::Abandoned
        } else {
            WorkflowOutcome::Completed
        }
    }

    fn silence(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_whole_seconds(self.changed))
    }
}

impl Workflows {
    pub(super) fn within(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Whether a workflow may wait for its root.
    pub(super) const fn may_want_root(&self) -> bool {
        self.unrooted > 0
    }

    pub(super) fn contains(&self, id: RootId) -> bool {
        self.table.contains_key(&id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.len() >= WORKFLOWS_MAX
    }

    /// Adds a workflow without members.
    pub(super) fn open(&mut self, id: RootId, began: Timestamp, now: Timestamp) {
        let workflow = Workflow {
            root: None,
            began,
            latest: began,
            changed: now.whole_seconds(),
            in_flight: 0,
            failed: 0,
            silent: 0,
            has_root: false,
            counted: false,
        };
        self.insert(id, workflow);
    }

    fn insert(&mut self, id: RootId, workflow: Workflow) {
        if self.table.insert(id, workflow).is_none() {
            self.unrooted += usize::from(!workflow.has_root);
            self.bounds.claim(Part::Tasks, WORKFLOW_BYTES);
        }
    }

    /// Adds a member.
    pub(super) fn join(&mut self, member: &Member, began: Timestamp, now: Timestamp) {
        let Some(workflow) = self.table.get_mut(&member.workflow) else {
            return;
        };
        if member.is_root && !workflow.has_root {
            workflow.has_root = true;
            self.unrooted -= 1;
        }
        if let Some(count) = workflow.count(member.standing) {
            *count = count.saturating_add(1);
        }
        workflow.began = workflow.began.min(began);
        workflow.changed = now.whole_seconds();
    }

    /// Records the name of the root.
    pub(super) fn name(&mut self, id: RootId, root: Option<Symbol>) {
        if let Some(workflow) = self.table.get_mut(&id) {
            workflow.root = root.or(workflow.root);
        }
    }

    /// Applies an event of a member, stamped at `at`; `begins` if it was sent, received or started.
    pub(super) fn event(
        &mut self,
        member: &Member,
        to: Standing,
        (at, begins): (Timestamp, bool),
        now: Timestamp,
    ) {
        self.step(member, to, now);
        if let Some(workflow) = self.table.get_mut(&member.workflow) {
            workflow.latest = workflow.latest.max(at);
            if begins {
                workflow.began = workflow.began.min(at);
            }
        }
    }

    /// Moves a member from its standing to another one.
    pub(super) fn step(&mut self, member: &Member, to: Standing, now: Timestamp) {
        let Some(workflow) = self.table.get_mut(&member.workflow) else {
            return;
        };
        if member.standing != to {
            if let Some(before) = workflow.count(member.standing) {
                *before = before.saturating_sub(1);
            }
            if let Some(after) = workflow.count(to) {
                *after = after.saturating_add(1);
            }
        }
        if workflow.is_open() {
            workflow.changed = now.whole_seconds();
        }
    }

    /// Counts the workflows that have settled, and forgets those that were counted a while ago.
    pub(super) fn settle(&mut self, now: Timestamp, changes: &mut Vec<Change>) {
        let mut ended = Vec::new();
        let (unrooted, bounds) = (&mut self.unrooted, &self.bounds);
        self.table.retain(|id, workflow| {
            if workflow.in_flight > 0 {
                return true;
            }
            let silence = workflow.silence(now);
            if !workflow.counted && silence > SETTLING {
                workflow.counted = true;
                ended.push((workflow.latest, *id, *workflow));
            }
            let is_kept = !workflow.counted || silence <= KEPT;
            if !is_kept {
                forgotten(workflow, unrooted, bounds);
            }
            is_kept
        });
        // The order of a table is random, and that of changes must not be.
        ended.sort_unstable_by_key(|(latest, id, _)| (*latest, *id));
        for (_, _, workflow) in ended {
            let seconds = workflow.latest.seconds_since(workflow.began).max(0.0);
            let is_plausible = judge::is_duration(seconds);
            if !is_plausible {
                changes.push(Change::Refused(Refusal::Duration));
            }
            changes.push(Change::Workflow {
                outcome: workflow.outcome(),
                root: workflow.root,
                seconds: if is_plausible { seconds } else { 0.0 },
            });
        }
    }

    /// Forgets an eighth of the workflows.
    pub(super) fn evict(&mut self) {
        let all = self.table.iter();
        let all = all.map(|(id, workflow)| (workflow.is_open(), workflow.changed, *id));
        let mut all: Vec<_> = all.collect();
        let room = (all.len() / ROOM).max(1).min(all.len());
        if let Some(last) = room.checked_sub(1) {
            all.select_nth_unstable(last);
        }
        for (_, _, id) in &all[..room] {
            if let Some(workflow) = self.table.remove(id) {
                forgotten(&workflow, &mut self.unrooted, &self.bounds);
            }
        }
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        for workflow in self.table.values_mut() {
            let mut changed = Timestamp::from_whole_seconds(workflow.changed);
            step.adjust(&mut changed);
            workflow.changed = changed.whole_seconds();
        }
    }

    /// The names of the roots.
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.table.values().filter_map(|workflow| workflow.root)
    }

    /// The open workflows by the name of their root, with the chords that wait among `members`.
    pub(super) fn levels<'a>(
        &self,
        members: impl Iterator<Item = &'a Member>,
    ) -> HashMap<Option<Symbol>, WorkflowLevel> {
        let mut levels: HashMap<_, WorkflowLevel> = HashMap::new();
        for workflow in self.table.values().filter(|workflow| workflow.is_open()) {
            let level = levels.entry(workflow.root).or_default();
            level.open += 1;
            level.oldest = earlier(level.oldest, workflow.began);
            level.idle = earlier(level.idle, workflow.latest);
        }
        let waiting = members.filter(|member| member.standing == Standing::InFlight);
        for (member, since) in waiting.filter_map(|it| Some((it, it.chord_since()?))) {
            if let Some(workflow) = self.table.get(&member.workflow) {
                let level = levels.entry(workflow.root).or_default();
                level.chords += 1;
                level.oldest_chord = earlier(level.oldest_chord, since);
            }
        }
        levels
    }
}

fn earlier(known: Option<Timestamp>, other: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(other, |known| known.min(other)))
}

fn forgotten(workflow: &Workflow, unrooted: &mut usize, bounds: &Bounds) {
    *unrooted -= usize::from(!workflow.has_root);
    bounds.release(Part::Tasks, WORKFLOW_BYTES);
}

#[cfg(test)]
mod tests;
