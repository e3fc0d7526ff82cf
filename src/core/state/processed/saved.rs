//! Stores and restores the `processed` count of a worker.

use super::{Deficit, Deficits, Processed, Run, WINDOW};
use crate::event::judge;
use crate::saved;
use crate::timestamp::Timestamp;

impl Processed {
    /// Adds the count to the stored form of its worker.
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
            heard: run.received,
            heard_later: run.received_later,
            before: run
                .before
                .map(|(started, heard)| saved::Moved { started, heard }),
            missing: run.missing,
            active: run.active,
            deficits: run.deficits.all().iter().map(Deficit::stored).collect(),
        });
        worker.ended_run = self
            .before
            .map(|(stamped, received_later)| saved::EndedRun {
                stamped: stamped.micros(),
                heard_later: received_later,
            });
    }

    pub(in crate::state) fn restored(saved: &saved::Worker, now: Timestamp) -> Self {
        let before = saved.ended_run.and_then(|run| {
            let received_later = saved::count(run.heard_later)?;
            Some((saved::past(run.stamped, now), received_later))
        });
        Self {
            total: saved::count(saved.processed_total).unwrap_or_default(),
            events: saved.events,
            run: saved.run.as_ref().and_then(|run| Run::restored(run, now)),
            restarted: saved.restarted,
            switches: saved.switches,
            before,
            refused: None,
        }
    }
}

impl Run {
    /// `None` if a count or time is implausible. Missing events are then detected from the next
    /// heartbeat on.
    fn restored(saved: &saved::Run, now: Timestamp) -> Option<Self> {
        let stamped = saved::time(saved.stamped);
        if !judge::has_happened(stamped, now) {
            return None;
        }
        let before = match saved.before {
            Some(moved) => Some((saved::count(moved.started)?, saved::count(moved.heard)?)),
            None => None,
        };
        Some(Self {
            base: saved::count(saved.base)?,
            since: saved::past(saved.since, now),
            processed: saved::count(saved.processed)?,
            stamped,
            received: saved::count(saved.heard)?,
            received_later: saved::count(saved.heard_later)?,
            before,
            missing: saved::count(saved.missing)?,
            active: saved.active.and_then(saved::count),
            deficits: Deficits::restored(&saved.deficits)?,
        })
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
    fn restored(saved: &[saved::Deficit]) -> Option<Self> {
        let mut deficits = Self::default();
        for saved in saved.iter().take(WINDOW) {
            deficits.push(Deficit {
                stamped: saved::time(saved.stamped),
                missing: saved::count(saved.missing)?,
                active: saved.active.and_then(saved::count),
                next: saved::count(saved.next)?,
            });
        }
        Some(deficits)
    }
}
