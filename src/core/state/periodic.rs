//! Learns which tasks are sent periodically, and which of them are overdue.
//!
//! Input: the times at which tasks were sent, by the clocks of their senders, and the times at which
//! sends could not be observed. Output: for each task name its last send and, once its history has
//! predicted its sends well, its period, when it is due next, and by how much it is overdue; and how
//! many processes send it at the same rhythm: see [`Senders`].
//!
//! Celery's events do not contain schedules, so they are inferred: see [`History`]. A name that is
//! also sent by users is overdue once nobody has sent it for too long. Schedules that no model
//! predicts are never reported as overdue.

mod calendar;
mod crontab;
mod history;
mod monthly;
mod recent;
mod saved;
mod schedule;
mod senders;
mod tape;
mod unseen;
mod weekly;

use std::time::Duration;

use hashbrown::{HashMap, HashSet};

pub use self::crontab::{Crontab, CrontabError};
use self::history::{Expected, History};
use self::schedule::Configured;
pub use self::schedule::Schedule;
pub(super) use self::senders::ProcessId;
use self::senders::Senders;
use self::unseen::Unseen;
use super::Symbol;
use crate::bounds::{Bounds, Limit, Part};
use crate::event::judge;
use crate::timestamp::{ClockStep, Timestamp};

/// The most names that are remembered, and how many of the least recently sent make room beyond
/// that.
const NAMES_MAX: usize = 1_000;
const ROOM: usize = NAMES_MAX / 10;

/// Sends within this time of a recorded one need no look at the history, which takes those within
/// two seconds for one.
const BURST: Duration = Duration::from_secs(1);

/// The memory of a name without its runs: the entry in the table, with a copy that a checkpoint
/// in progress holds, and the processes that send it.
const NAME_BYTES: u64 = (2 * (size_of::<History>() + size_of::<Symbol>())
    + size_of::<Senders>()
    + size_of::<Symbol>()) as u64;

/// What is known about the sends of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodicTask {
    pub name: Symbol,
    /// By the sender's clock. `None` if a configured task was never sent.
    pub last_sent: Option<Timestamp>,
    /// The time between the last send and the next one. Differs between sends unless they are
    /// equally far apart.
    pub period: Option<Duration>,
    pub next_due: Option<Timestamp>,
    /// The time since it was due, once that is longer than usual delays. Zero until then, and
    /// `None` if it is not known when the task is due.
    pub overdue: Option<Duration>,
    /// The number of processes that send it at the same rhythm, such as two beats. `None` unless
    /// there are at least two.
    pub senders: Option<u64>,
}

/// The tasks of one cluster that may be periodic.
#[derive(Debug, Default)]
pub(super) struct PeriodicTasks {
    tasks: HashMap<Symbol, History>,
    /// The processes that send these tasks. Not stored: a duplicate beat
    /// is found again, although later.
    senders: HashMap<Symbol, Senders>,
    configured: HashMap<Symbol, Configured>,
    /// Whether configured tasks are expected before their first send.
    awaited: bool,
    unseen: Unseen,
    /// The last send that was recorded: a burst of sends of one name is one send.
    newest: Option<(Symbol, Timestamp)>,
    /// The same for the sends of one process.
    newest_by: Option<(ProcessId, Symbol, Timestamp)>,
    bounds: Bounds,
}

/// A copy of everything that survives a restart.
#[derive(Debug)]
pub(super) struct CapturedPeriodic {
    tasks: HashMap<Symbol, History>,
    configured: HashMap<Symbol, Configured>,
    unseen: Unseen,
}

impl PeriodicTasks {
    pub(super) fn within(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Sets the schedule of a task, which need not be learned then.
    pub(super) fn configure(&mut self, name: Symbol, schedule: Schedule) {
        let since = Timestamp::default();
        self.configured.insert(name, Configured { schedule, since });
    }

    /// Expects configured tasks to be sent even if they never were.
    pub(super) fn await_first(&mut self) {
        self.awaited = true;
    }

    /// When the next send is expected.
    fn expected(
        &self,
        name: Symbol,
        history: Option<&History>,
        now: Timestamp,
    ) -> Option<Expected> {
        match self.configured.get(&name) {
            Some(configured) => {
                let last_sent = history.map(|history| history.last_sent);
                configured.expected(last_sent, &self.unseen)
            }
            None => history?.expected(now, &self.unseen),
        }
    }

    /// Records that a task was sent: the first attempt of a task that no other task sent. `at` must
    /// have [happened](judge::has_happened). Sends may be repeated and out of order.
    pub(super) fn sent(&mut self, name: Symbol, at: Timestamp) {
        if let Some((newest, since)) = self.newest
            && newest == name
            && (since..since.after(BURST)).contains(&at)
        {
            return;
        }
        self.newest = Some((name, at));
        if let Some(history) = self.tasks.get_mut(&name) {
            let before = history.tape.bytes();
            history.sent(at, &self.unseen);
            self.bounds
                .claim(Part::Tasks, 2 * (history.tape.bytes() - before));
        } else if self.bounds.has_room(Part::Tasks, NAME_BYTES) {
            self.insert(name, History::new(at));
        } else {
            self.bounds.reached(Limit::PeriodicTasks);
            self.sent_unrecorded(name, at);
        }
        self.unseen.observed(at);
    }

    /// Records which client process sent a task, after [`sent`](Self::sent). The times are those of
    /// its clock. Unlike there, a send counts if another process sent the task in the same second.
    pub(super) fn sent_by(&mut self, process: ProcessId, name: Symbol, at: Timestamp) {
        if let Some((newest, of, since)) = self.newest_by
            && (newest, of) == (process, name)
            && (since..since.after(BURST)).contains(&at)
        {
            return;
        }
        self.newest_by = Some((process, name, at));
        if self.tasks.contains_key(&name) {
            self.senders.entry(name).or_default().sent(process, at);
        }
    }

    /// Expects a configured task whose send is not kept from then on.
    fn sent_unrecorded(&mut self, name: Symbol, at: Timestamp) {
        if let Some(configured) = self.configured.get_mut(&name) {
            configured.since = configured.since.max(at);
        }
    }

    fn insert(&mut self, name: Symbol, history: History) {
        self.bounds.claim(Part::Tasks, cost(&history));
        if let Some(replaced) = self.tasks.insert(name, history) {
            self.bounds.release(Part::Tasks, cost(&replaced));
        }
        if self.tasks.len() <= NAMES_MAX {
            return;
        }
        self.bounds.reached(Limit::PeriodicTasks);
        let last_sent = self.tasks.values().map(|history| history.last_sent);
        let mut last_sent: Vec<_> = last_sent.collect();
        let (_, oldest_kept, _) = last_sent.select_nth_unstable(ROOM);
        let oldest_kept = *oldest_kept;
        let configured = std::mem::take(&mut self.configured);
        self.retain_if(|name, history| {
            history.last_sent >= oldest_kept || configured.contains_key(&name)
        });
        self.configured = configured;
    }

    /// Records that all sends until `now` were observed. Call it regularly while events arrive.
    pub(super) fn observed(&mut self, now: Timestamp) {
        for configured in self.configured.values_mut() {
            if configured.since == Timestamp::default() {
                configured.since = now;
            }
        }
        self.unseen.observed(now);
    }

    /// Records that sends may have been missed since the last observation. Call it regularly while
    /// there is no subscription, and once after restoring.
    pub(super) fn not_observed(&mut self, now: Timestamp) {
        self.unseen.not_observed(now);
    }

    /// All names, in no particular order.
    pub(super) fn iter(&self, now: Timestamp) -> impl Iterator<Item = PeriodicTask> {
        let known = self.tasks.iter();
        let known = known.map(|(name, history)| (*name, Some(history)));
        // Without any send, perhaps none can be seen.
        let is_awaited = self.awaited && !self.tasks.is_empty();
        let awaited = is_awaited.then_some(&self.configured);
        let unsent = awaited.into_iter().flatten().filter(|(name, configured)| {
            configured.since != Timestamp::default() && !self.tasks.contains_key(*name)
        });
        known
            .chain(unsent.map(|(name, _)| (*name, None)))
            .map(move |(name, history)| self.task(name, history, now))
    }

    fn task(&self, name: Symbol, history: Option<&History>, now: Timestamp) -> PeriodicTask {
        let expected = self.expected(name, history, now);
        let due = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
        let senders = self.senders.get(&name);
        PeriodicTask {
            name,
            last_sent: history.map(|history| history.last_sent),
            period: expected.map(|it| Duration::from_secs(it.gap.unsigned_abs())),
            next_due: expected.map(|it| due(it.due)),
            overdue: expected.map(|it| {
                if now > due(it.late) {
                    now.since(due(it.due))
                } else {
                    Duration::ZERO
                }
            }),
            senders: senders.and_then(|senders| senders.in_rhythm(now)),
        }
    }

    /// Forgets tasks that have been overdue for longer than their period and `ttl`: nobody sends
    /// them any more. Configured ones stay.
    pub(super) fn expire(&mut self, ttl: Duration, now: Timestamp) {
        let is_over = |it: Expected| {
            let due = Timestamp::from_micros(it.due.saturating_mul(1_000_000));
            now.since(due) > ttl.max(Duration::from_secs(it.gap.unsigned_abs()))
        };
        let tasks = self.tasks.iter();
        let over = tasks.filter(|(name, history)| {
            !self.configured.contains_key(*name)
                && history.expected(now, &self.unseen).is_some_and(is_over)
        });
        let over: HashSet<Symbol> = over.map(|(name, _)| *name).collect();
        if !over.is_empty() {
            self.retain_if(|name, _| !over.contains(&name));
        }
    }

    fn retain_if(&mut self, wanted: impl Fn(Symbol, &History) -> bool) {
        let mut released = 0;
        self.tasks.retain(|name, history| {
            let is_wanted = wanted(*name, history);
            if !is_wanted {
                released += cost(history);
            }
            is_wanted
        });
        self.senders.retain(|name, _| self.tasks.contains_key(name));
        self.bounds.release(Part::Tasks, released);
    }

    /// The names to keep.
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        self.tasks.keys().chain(self.configured.keys()).copied()
    }

    /// Handles a step of our own clock. Senders' clocks did not change, so their times are kept
    /// unless they are in the future.
    pub(super) fn clock_set(&mut self, step: ClockStep) {
        self.retain_if(|_, history| judge::has_happened(history.last_sent, step.now()));
        for configured in self.configured.values_mut() {
            configured.since = configured.since.min(step.now());
        }
        self.unseen.clock_set(step);
    }

    /// Copies everything that survives a restart.
    pub(super) fn capture(&self) -> CapturedPeriodic {
        CapturedPeriodic {
            tasks: self.tasks.clone(),
            configured: self.configured.clone(),
            unseen: self.unseen.clone(),
        }
    }
}

/// The memory of a name.
fn cost(history: &History) -> u64 {
    NAME_BYTES + 2 * history.tape.bytes()
}

#[cfg(test)]
mod tests;
