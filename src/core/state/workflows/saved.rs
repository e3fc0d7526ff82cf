//! Stores and restores workflows.

use super::{Member, RootId, Standing, Workflow, Workflows};
use crate::saved;
use crate::state::texts::{Restored, Texts};
use crate::timestamp::Timestamp;

/// The table at one instant.
#[derive(Debug)]
pub(in crate::state) struct CapturedWorkflows(Vec<(RootId, Workflow)>);

impl RootId {
    /// The stored form.
    pub(in crate::state) fn stored(self) -> Vec<u8> {
        self.0.to_vec()
    }

    pub(in crate::state) fn restored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl Workflows {
    /// Copies the table.
    pub(in crate::state) fn capture(&self) -> CapturedWorkflows {
        let all = self.table.iter();
        CapturedWorkflows(all.map(|(id, workflow)| (*id, *workflow)).collect())
    }

    /// Adds a stored workflow. Its members in flight follow with their tasks. It settles anew,
    /// because events may have been missed meanwhile.
    pub(in crate::state) fn restore(
        &mut self,
        saved: &saved::Workflow,
        texts: &mut Restored<'_>,
        now: Timestamp,
    ) {
        let began = saved::past(saved.began, now);
        let id = RootId::restored(&saved.root).filter(|id| !self.contains(*id));
        let Some(id) = id.filter(|_| began != Timestamp::default() && !self.is_full()) else {
            return;
        };
        let root = texts.name(saved.name);
        let workflow = Workflow {
            root,
            began,
            latest: saved::past(saved.latest, now).max(began),
            changed: now.whole_seconds(),
            in_flight: 0,
            failed: saved.failed,
            silent: saved.silent,
            has_root: saved.has_root,
            counted: saved.counted,
        };
        self.insert(id, workflow);
    }

    /// Adds a restored member. Those that failed have been counted with the workflow.
    pub(in crate::state) fn rejoin(&mut self, member: &Member) {
        if member.standing == Standing::InFlight
            && let Some(workflow) = self.table.get_mut(&member.workflow)
        {
            workflow.in_flight = workflow.in_flight.saturating_add(1);
        }
    }
}

impl CapturedWorkflows {
    /// The stored form.
    pub(in crate::state) fn stored(&self, texts: &mut Texts) -> Vec<saved::Workflow> {
        let all = self.0.iter().map(|(id, workflow)| saved::Workflow {
            root: id.stored(),
            name: texts.place(workflow.root),
            began: workflow.began.micros(),
            latest: workflow.latest.micros(),
            failed: workflow.failed,
            silent: workflow.silent,
            has_root: workflow.has_root,
            counted: workflow.counted,
        });
        all.collect()
    }
}
