//! Applies `task-received`, which may be late, or report a second delivery.

use super::{Flags, Intervals, Taken, Task, UNKNOWN, saturated};
use crate::event::TaskEvent;
use crate::state::{Symbol, TaskStage};
use crate::timestamp::Timestamp;

impl Task {
    pub(super) fn received(
        &mut self,
        event: &TaskEvent<'_>,
        at: Timestamp,
        worker: Option<Symbol>,
    ) -> Taken {
        if at == self.received {
            return Taken::Again;
        }
        let elsewhere = self.worker.is_some() && self.worker != worker;
        let retries = event.retries.map_or(self.attempt, saturated);
        if elsewhere && self.was_received_before(retries, at) {
            self.received_before(at, worker);
            return Taken::Step(Intervals::default());
        }
        let before = std::mem::replace(&mut self.received, at);
        self.eta = event.eta.is_some();
        let mut intervals = Intervals::default();
        match self.stage {
            // The previous attempt has not ended as far as is known: its task-retried is still to
            // come.
            Some(TaskStage::Started) if retries > self.attempt => {
                self.ahead = Some(TaskStage::Received);
                self.flags.set(Flags::NEXT_ELSEWHERE, elsewhere);
                if let Some(eta) = event.eta.filter(|_| self.next_due == UNKNOWN) {
                    self.next_due = eta;
                    self.flags.set(Flags::ETA_ONLY, true);
                }
            }
            // It arrived after its own task-started.
            Some(TaskStage::Started) if at <= self.started && !elsewhere => {
                self.tell_prefetch_wait(&mut intervals);
            }
            // The same after the end, unless it is a second delivery to another worker.
            None if self.end.is_some()
                && at <= self.ended
                && !(elsewhere && before != UNKNOWN && before < at && retries == self.attempt) => {}
            _ => {
                self.received = before;
                self.received_anew(retries, at, worker);
                if let Some(eta) = event.eta.filter(|_| self.due == UNKNOWN) {
                    self.due = eta;
                    self.flags.set(Flags::ETA_ONLY, true);
                }
            }
        }
        Taken::Step(intervals)
    }

    /// Applies the first receipt of an attempt.
    fn received_anew(&mut self, retries: u16, at: Timestamp, worker: Option<Symbol>) {
        let is_over = self.stage.is_none() && self.end.is_some();
        let elsewhere = self.worker.is_some() && self.worker != worker;
        if is_over {
            // Redelivered: how long it waited for that is unknown.
            self.due = UNKNOWN;
        }
        if is_over && elsewhere && at <= self.ended {
            self.overtake();
        } else if retries > self.attempt {
            // The start and the end of the previous attempt are lost or late.
            if self.stage.is_some() || is_over {
                self.overtake();
            } else {
                self.follows(retries);
            }
            self.ahead = None;
            self.due = std::mem::take(&mut self.next_due);
            self.flags.set(Flags::ETA_ONLY, false);
            self.attempt = retries;
        } else if elsewhere && matches!(self.stage, Some(TaskStage::Received | TaskStage::Started))
        {
            self.overtake();
        }
        self.received = at;
        self.stage = Some(TaskStage::Received);
        self.worker = worker;
        self.flags.set(Flags::QUEUE_WAITED, false);
        self.flags.set(Flags::PREFETCH_WAITED, false);
    }
}
