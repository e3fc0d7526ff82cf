//! What a task is to its workflow.

use super::{Task, TaskKind, UNKNOWN};
use crate::state::workflows::Standing;
use crate::timestamp::Timestamp;

impl Task {
    /// When it was first seen; `None` if no event reported it.
    pub(in crate::state) fn begun(&self) -> Option<Timestamp> {
        let known = [self.sent, self.received, self.started].into_iter();
        known.filter(|at| *at != UNKNOWN).min()
    }

    /// What it contributes to its workflow.
    pub(in crate::state) const fn standing(&self) -> Standing {
        match (self.stage, self.end) {
            (Some(_), _) => Standing::InFlight,
            (None, None | Some(TaskKind::Succeeded)) => Standing::Ended,
            (None, Some(_)) => Standing::Failed,
        }
    }
}
