//! Tasks that run too long: for longer than their own time limit, or than usual for their name.

use hashbrown::HashMap;

use super::State;
use crate::state::{Symbol, TaskStage};
use crate::timestamp::Timestamp;

/// A task without a time limit that has run for less than this never counts, in seconds: for a task
/// that usually takes milliseconds, three times as long means nothing.
const MIN_SECONDS: f64 = 60.0;

/// How long after its time limit a task may take to end, in seconds. Its event may also be late.
const LIMIT_GRACE_SECONDS: f64 = 10.0;

/// The tasks of one name that run too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongRunning {
    pub name: Symbol,
    pub count: u64,
    /// When the one that has run for longest started, and on which worker.
    pub since: Timestamp,
    pub worker: Option<Symbol>,
    /// How long a task of this name may run.
    pub allowed: Allowed,
}

/// How long a task may run, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// By its own time limit.
    TimeLimit(f64),
    /// By the 99th percentile of earlier runs.
    Usual(f64),
}

impl Allowed {
    /// The number of seconds.
    pub const fn seconds(self) -> f64 {
        match self {
            Self::TimeLimit(seconds) | Self::Usual(seconds) => seconds,
        }
    }

    /// Whether a task that has run for this many seconds runs too long.
    fn is_exceeded_by(self, seconds: f64) -> bool {
        match self {
            Self::TimeLimit(limit) => seconds > limit + LIMIT_GRACE_SECONDS,
            Self::Usual(usual) => seconds > usual,
        }
    }
}

impl State {
    /// The running tasks that run too long, by name.
    pub fn long_running(&self, now: Timestamp) -> Vec<LongRunning> {
        let mut allowed: HashMap<Symbol, Option<Allowed>> = HashMap::new();
        let mut found: HashMap<Symbol, LongRunning> = HashMap::new();
        let running = self.tasks.in_flight();
        for task in running.filter(|task| task.stage == Some(TaskStage::Started)) {
            let since = task.entered();
            let seconds = now.seconds_since(since);
            let Some(name) = task.name.filter(|_| self.is_still_running(since)) else {
                continue;
            };
            let allowed = allowed.entry(name).or_insert_with(|| self.allowed(name));
            let Some(allowed) = allowed.filter(|allowed| allowed.is_exceeded_by(seconds)) else {
                continue;
            };
            let one = LongRunning {
                name,
                count: 0,
                since,
                worker: task.worker,
                allowed,
            };
            let found = found.entry(name).or_insert(one);
            found.count += 1;
            if since < found.since {
                (found.since, found.worker) = (since, task.worker);
            }
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_unstable_by_key(|one| one.since);
        found
    }

    /// Whether a task that started then is still running, as far as events tell: its end may have
    /// been missed without a subscription. Then two rounds over the workers decide.
    fn is_still_running(&self, since: Timestamp) -> bool {
        let is_seen = since > self.unseen_until || self.rounds[0] > self.unseen_until;
        is_seen && since != Timestamp::default()
    }

    /// How long a task of this name may run. `None` if that is not known.
    fn allowed(&self, name: Symbol) -> Option<Allowed> {
        let settings = self.registered.get(&self.names.text(name));
        if let Some(limit) = settings.and_then(|settings| settings.time_limit) {
            return Some(Allowed::TimeLimit(limit));
        }
        let factor = self.limits.long_running_factor;
        let usual = self.runtimes.p99(name).filter(|_| factor > 0.0)?;
        Some(Allowed::Usual((usual * factor).max(MIN_SECONDS)))
    }
}
