//! Detects missing events: compares the number of tasks that a worker reports as started with the
//! task-started events received from it.
//!
//! The `processed` of a heartbeat counts the tasks that the worker's process has started, and so
//! its task-started events. Both are stamped by one clock, so the events stamped up to a heartbeat
//! must add up to the count in that heartbeat. A heartbeat can overtake events that the worker
//! still buffers, so each is judged when the next one arrives.
//!
//! ```text
//!   started    · ··  ·    ···     ·   ·         stamps of task-started events
//!   heartbeat  │         │              │       processed: 7, 11, 16
//!            base        └ judged when ─┘ comes:   11 − 7 = 4 started, 4 heard
//! ```
//!
//! With gevent and eventlet, a heartbeat may come between the two: Celery counts a task,
//! acknowledges it, which switches greenlets, and only then stamps task-started. Such a deficit
//! disappears in a later heartbeat; a real one remains. So a deficit is counted
//!
//! - to the extent that no such task can explain it: these are active, and are stamped before the
//!   next heartbeat; or
//! - if it has not shrunk for several heartbeats, unless this worker's deficits are known to
//!   shrink.
//!
//! Source: Celery 4.4 to 5.7, `celery/worker/state.py` (`all_total_count`), and the recording
//! `tests/golden/events/amqp-events.jsonl`, which ends with 102 processed, 101 of them announced.

mod saved;

use std::time::Duration;

use crate::event::judge;
use crate::timestamp::Timestamp;

/// If two heartbeats are more than this many intervals apart, others between them were lost.
/// Comparing them does not show whether the worker sends task events.
const APART_MAX: f64 = 2.5;

/// Heartbeats of a process arrive in order, give or take a few seconds. One stamped earlier than
/// the previous one by more than this shows that the worker's clock was set back.
const SET_BACK: Duration = Duration::from_secs(10);

/// Number of heartbeats whose deficits are compared.
const WINDOW: usize = 5;

/// The counts of one worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Processed {
    /// Tasks started since the worker was first seen, across restarts.
    pub(super) total: u64,
    /// Whether it sends task events; `None` until this can be determined.
    pub(super) events: Option<bool>,
    run: Option<Run>,
    /// Whether it counts a task before it stamps task-started, as with gevent, so that deficits
    /// shrink.
    switches: bool,
    /// Whether there was an earlier process, so that everything the next one has processed is new.
    restarted: bool,
    /// The newest heartbeat of that process, and the number of task-started events stamped after
    /// it.
    before: Option<(Timestamp, u64)>,
    /// The count in the newest heartbeat, if it was refused as implausible.
    refused: Option<u64>,
}

/// The deficits of the newest heartbeats, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
struct Deficits {
    list: [Deficit; WINDOW],
    count: usize,
}

/// The number of tasks that a heartbeat reports as started minus the task-started events received.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Deficit {
    stamped: Timestamp,
    missing: u64,
    active: Option<u64>,
    /// Number of task-started events stamped between this heartbeat and the next one.
    next: u64,
}

/// The counts of one process since it started or was first seen.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    /// How many tasks it had processed at first, and when.
    base: u64,
    since: Timestamp,
    /// The newest heartbeat.
    processed: u64,
    stamped: Timestamp,
    /// Number of task-started events stamped up to that heartbeat, and after it.
    received: u64,
    received_later: u64,
    /// Number of tasks running at that heartbeat, if it reports them.
    active: Option<u64>,
    /// Deficits of the newest judged heartbeats, oldest first.
    deficits: Deficits,
    /// For the interval before the newest heartbeat, if it is conclusive: the number of tasks
    /// started, and of task-started events received.
    before: Option<(u64, u64)>,
    /// Number of events found to be missing so far.
    missing: u64,
}

impl Processed {
    /// A task-started event.
    pub(super) fn started(&mut self, stamped: Timestamp) {
        self.events = Some(true);
        let Some(run) = &mut self.run else { return };
        if stamped > run.stamped {
            run.received_later += 1;
        } else if stamped > run.since {
            run.received += 1;
            run.deficits.received_late(stamped);
            if let Some((_, received)) = &mut run.before {
                *received += 1;
            }
        }
    }

    /// Another event about a task.
    pub(super) const fn task_event(&mut self) {
        self.events = Some(true);
    }

    /// Applies a heartbeat, which the worker sends every `freq` seconds or when it comes `online`.
    /// Returns how many more events are missing.
    pub(super) fn heartbeat(
        &mut self,
        (processed, active): (u64, Option<u64>),
        stamped: Timestamp,
        freq: f64,
        online: bool,
    ) -> u64 {
        let Some(run) = &mut self.run else {
            self.begin(processed, stamped, online);
            return 0;
        };
        if run.is_set_back(stamped) {
            let moved = processed.saturating_sub(run.processed);
            let missing = run.count_missing();
            self.total = self.total.saturating_add(moved);
            self.begin(processed, stamped, online);
            return missing;
        }
        if stamped <= run.stamped {
            return 0;
        }
        self.switches |= run.judge();
        let missing = run.confirmed(self.switches);
        if let Some((moved, 0)) = run.before
            && moved > 0
            && run.received_later == 0
        {
            self.events = Some(false);
        }
        let moved = processed.saturating_sub(run.processed);
        let near = stamped.seconds_since(run.stamped) <= freq * APART_MAX;
        run.before = near.then_some((moved, run.received_later));
        run.received += std::mem::take(&mut run.received_later);
        run.processed = processed;
        run.active = active;
        run.stamped = stamped;
        self.total = self.total.saturating_add(moved);
        missing
    }

    /// Whether a worker can have processed this many tasks by then. A second count that is no lower
    /// than one just refused is accepted: counting continues from there, and the tasks in between
    /// are not counted.
    pub(super) fn accepts(&mut self, processed: u64, stamped: Timestamp) -> bool {
        let refused = self.refused.take();
        let (before, since) = match (&self.run, self.before) {
            (Some(run), _) => (run.processed, run.stamped),
            (None, Some((since, _))) if self.restarted => (0, since),
            (None, _) => return judge::is_count(processed),
        };
        if judge::are_starts(processed.saturating_sub(before), stamped.since(since)) {
            return true;
        }
        if judge::is_count(processed) && refused.is_some_and(|refused| processed >= refused) {
            self.abandon();
            return true;
        }
        self.refused = Some(processed);
        false
    }

    /// Whether a heartbeat can only come from another process. A process that just came `online`
    /// has counted every task whose task-started was received.
    pub(super) fn is_behind(&self, processed: u64, stamped: Timestamp, online: bool) -> bool {
        self.run.as_ref().is_some_and(|run| {
            let later = if online { run.received_later } else { 0 };
            let is_newer = stamped > run.stamped || run.is_set_back(stamped);
            processed < run.processed + later && is_newer
        })
    }

    /// When the newest heartbeat was stamped.
    pub(super) fn stamped(&self) -> Timestamp {
        self.run.as_ref().map(|run| run.stamped).unwrap_or_default()
    }

    /// Called when no more events of the process will arrive. Returns how many more of them are
    /// missing.
    pub(super) fn count_missing(&mut self) -> u64 {
        self.run.as_mut().map_or(0, Run::count_missing)
    }

    /// Called when the process has ended. Returns how many more of its events are missing.
    pub(super) fn end(&mut self) -> u64 {
        self.events = None;
        self.restarted = true;
        let Some(mut run) = self.run.take() else {
            return 0;
        };
        self.before = Some((run.stamped, run.received_later));
        run.count_missing()
    }

    /// Resets the counts, because two processes send heartbeats under one name and their counts
    /// cannot be compared.
    pub(super) fn abandon(&mut self) {
        self.run = None;
        self.restarted = false;
        self.before = None;
    }

    /// Starts counting for a process, which may already have processed some tasks.
    ///
    /// If the process replaced another one during a gap, its tasks were started after the newest
    /// heartbeat of that one, and so were those whose task-started arrived since then. A process
    /// that comes online has not started any task before.
    fn begin(&mut self, processed: u64, stamped: Timestamp, online: bool) {
        let before = self.before.take().filter(|_| !online);
        if std::mem::take(&mut self.restarted) {
            self.total = self.total.saturating_add(processed);
        }
        let (base, since, received) = match before {
            Some((since, received)) => (0, since, received),
            None => (processed, stamped, 0),
        };
        self.run = Some(Run {
            base,
            since,
            processed,
            stamped,
            received,
            received_later: 0,
            active: None,
            deficits: Deficits::default(),
            before: None,
            missing: 0,
        });
    }
}

impl Run {
    /// Whether the worker's clock went back between the newest heartbeat and one with this stamp.
    fn is_set_back(&self, stamped: Timestamp) -> bool {
        self.stamped.since(stamped) > SET_BACK
    }

    /// Judges the newest heartbeat. Returns whether it shows that deficits of this worker shrink.
    fn judge(&mut self) -> bool {
        // If more events arrived than tasks were started, the first heartbeat had counted tasks
        // that were not stamped yet.
        let started = self.processed.saturating_sub(self.base);
        let early = self.received.saturating_sub(started).min(self.base);
        self.base -= early;
        self.deficits.grow(early);
        let deficit = self.deficit();
        let shrinks = self
            .deficits
            .all()
            .last()
            .is_some_and(|before| before.missing > deficit.missing);
        self.deficits.push(deficit);
        shrinks || early > 0
    }

    /// The deficit of the newest heartbeat.
    fn deficit(&self) -> Deficit {
        let started = self.processed.saturating_sub(self.base);
        Deficit {
            stamped: self.stamped,
            missing: started.saturating_sub(self.received),
            active: self.active,
            next: self.received_later,
        }
    }

    /// Returns how many more events are certainly missing. Events stamped after the newest judged
    /// heartbeat may still arrive.
    fn confirmed(&mut self, switches: bool) -> u64 {
        let deficits = self.deficits.all();
        let settled = deficits.iter().rev().skip(1).map(Deficit::least).max();
        let lasting = deficits
            .first()
            .filter(|_| !switches && deficits.len() == WINDOW)
            .filter(|_| deficits.is_sorted_by_key(|deficit| deficit.missing));
        let lasting = lasting.map(|deficit| deficit.missing);
        let missing = settled.max(lasting).unwrap_or_default();
        self.raise(missing)
    }

    /// Returns how many more events are missing once no more can arrive.
    fn count_missing(&mut self) -> u64 {
        let deficits = self.deficits.all().iter();
        let settled = deficits.map(Deficit::least).max().unwrap_or_default();
        let missing = settled.max(self.deficit().least());
        self.raise(missing)
    }

    fn raise(&mut self, missing: u64) -> u64 {
        let more = missing.saturating_sub(self.missing);
        self.missing += more;
        more
    }
}

impl Deficits {
    fn all(&self) -> &[Deficit] {
        &self.list[..self.count]
    }

    fn push(&mut self, deficit: Deficit) {
        if self.count == WINDOW {
            self.list.rotate_left(1);
        } else {
            self.count += 1;
        }
        self.list[self.count - 1] = deficit;
    }

    /// Increases all deficits, because the base was too high.
    fn grow(&mut self, by: u64) {
        for deficit in &mut self.list[..self.count] {
            deficit.missing += by;
        }
    }

    /// Applies a task-started event that was stamped before heartbeats already judged.
    fn received_late(&mut self, stamped: Timestamp) {
        let list = &mut self.list[..self.count];
        for deficit in list.iter_mut().filter(|deficit| stamped <= deficit.stamped) {
            deficit.missing = deficit.missing.saturating_sub(1);
        }
        let before = list.iter_mut().rev();
        if let Some(before) = before.into_iter().find(|deficit| deficit.stamped < stamped) {
            before.next += 1;
        }
    }
}

impl Deficit {
    /// The minimum number of missing events: excludes tasks that may have been counted before they
    /// were stamped.
    fn least(&self) -> u64 {
        let unstamped = self.active.unwrap_or(u64::MAX).min(self.next);
        self.missing.saturating_sub(unstamped)
    }
}

#[cfg(test)]
mod tests;
