//! The count of one worker in its stored form.

use super::{Processed, Run, Timestamp};
use crate::saved;

impl Processed {
    /// Puts it into the stored form of its worker.
    pub(in crate::state) fn store(&self, worker: &mut saved::Worker) {
        worker.processed_total = self.total;
        worker.events = self.events;
        worker.restarted = self.restarted;
        worker.run = self.run.as_ref().map(|run| saved::Run {
            base: run.base,
            since: run.since.micros(),
            processed: run.processed,
            stamped: run.stamped.micros(),
            heard: run.heard,
            heard_later: run.heard_later,
            before: run
                .before
                .map(|(started, heard)| saved::Moved { started, heard }),
            missing: run.missing,
        });
        worker.ended_run = self.before.map(|(stamped, heard_later)| saved::EndedRun {
            stamped: stamped.micros(),
            heard_later,
        });
    }

    pub(in crate::state) fn restored(saved: &saved::Worker) -> Self {
        let run = saved.run.as_ref().map(|run| Run {
            base: run.base,
            since: Timestamp::from_micros(run.since),
            processed: run.processed,
            stamped: Timestamp::from_micros(run.stamped),
            heard: run.heard,
            heard_later: run.heard_later,
            before: run.before.map(|moved| (moved.started, moved.heard)),
            missing: run.missing,
        });
        let before = saved.ended_run.map(|run| {
            let stamped = Timestamp::from_micros(run.stamped);
            (stamped, run.heard_later)
        });
        Self {
            total: saved.processed_total,
            events: saved.events,
            run,
            restarted: saved.restarted,
            before,
        }
    }
}
