//! The count of one worker in its stored form.

use super::{Deficit, Deficits, Processed, Run, Timestamp, WINDOW};
use crate::saved;

impl Processed {
    /// Puts it into the stored form of its worker.
    pub(in crate::state) fn store(&self, worker: &mut saved::Worker) {
        worker.processed_total = self.total;
        worker.events = self.events;
        worker.restarted = self.restarted;
        worker.switches = self.switches;
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
            active: run.active,
            deficits: run.deficits.all().iter().map(Deficit::stored).collect(),
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
            active: run.active,
            deficits: Deficits::restored(&run.deficits),
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
            switches: saved.switches,
            before,
        }
    }
}

impl Deficit {
    fn stored(&self) -> saved::Deficit {
        saved::Deficit {
            stamped: self.stamped.micros(),
            missing: self.missing,
            active: self.active,
            next: self.next,
        }
    }
}

impl Deficits {
    fn restored(saved: &[saved::Deficit]) -> Self {
        let mut deficits = Self::default();
        for saved in saved.iter().take(WINDOW) {
            deficits.push(Deficit {
                stamped: Timestamp::from_micros(saved.stamped),
                missing: saved.missing,
                active: saved.active,
                next: saved.next,
            });
        }
        deficits
    }
}
