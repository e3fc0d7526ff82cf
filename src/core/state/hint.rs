//! Hints why dashboards may be empty, derived from the state of a cluster.

use std::fmt;
use std::time::Duration;

use super::workers::Workers;
use super::{Names, Worker};
use crate::timestamp::{ClockStep, Timestamp};

/// How long no events may arrive, including after startup. Heartbeats are sent every 2 seconds.
const QUIET: Duration = Duration::from_secs(60);

/// After this many tasks without a task-sent, publishers are assumed to send none.
const TASKS_WITHOUT_SENT: u64 = 10;

/// A sign this old is ignored unless it was confirmed again. Other channels are checked every
/// minute.
const SIGN_AGE_MAX: Duration = Duration::from_secs(150);

/// The most workers and channels listed in a hint. The rest is given as a number.
const NAMED_MAX: usize = 5;

/// Why some data is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintReason {
    NoEvents,
    WrongChannel,
    EventsDisabled,
    TaskSentDisabled,
    DuplicateNodename,
}

impl HintReason {
    /// All reasons, in order of their number.
    pub const ALL: [Self; 5] = [
        Self::NoEvents,
        Self::WrongChannel,
        Self::EventsDisabled,
        Self::TaskSentDisabled,
        Self::DuplicateNodename,
    ];

    /// The value of the label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoEvents => "no_events",
            Self::WrongChannel => "wrong_channel",
            Self::EventsDisabled => "events_disabled",
            Self::TaskSentDisabled => "task_sent_disabled",
            Self::DuplicateNodename => "duplicate_nodename",
        }
    }
}

/// A reason and its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    pub reason: HintReason,
    /// The workers or channels concerned.
    about: String,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = &self.about;
        match self.reason {
            HintReason::NoEvents => f.write_str(
                "no events are arriving; check that a worker is running, and that it uses the vhost or database and the \
                 event_exchange configured here",
            ),
            HintReason::WrongChannel => write!(
                f,
                "events are published on {about}, which celeriac does not subscribe to; check the database, fanout_prefix \
                 and global_keyprefix"
            ),
            HintReason::EventsDisabled => write!(
                f,
                "{about}: heartbeats but no task events; start the worker with -E, set worker_send_task_events, or set \
                 enable_events here"
            ),
            HintReason::TaskSentDisabled => f.write_str(
                "no task-sent events are arriving; set task_send_sent_event where tasks are published to get queue waits, \
                 turnaround times and the queues of tasks",
            ),
            HintReason::DuplicateNodename => write!(
                f,
                "{about}: two workers share this node name and are counted as one; give each its own with -n"
            ),
        }
    }
}

/// Observations about a cluster from which hints are derived.
#[derive(Debug, Default)]
pub(super) struct SetupEvidence {
    since: Timestamp,
    last_event_at: Option<Timestamp>,
    /// Tasks received without a task-sent of their own, since the latest task-sent of any.
    without_sent: u64,
    /// Channels with events that are not subscribed to, and when they were found.
    elsewhere: (Vec<String>, Timestamp),
}

impl SetupEvidence {
    pub(super) fn event(&mut self, now: Timestamp) {
        // An event shows that the channel is right, whatever was found before.
        if !self.elsewhere.0.is_empty() {
            self.elsewhere.0.clear();
        }
        self.last_event_at = Some(now);
    }

    pub(super) const fn sent(&mut self) {
        self.without_sent = 0;
    }

    pub(super) const fn received(&mut self) {
        self.without_sent += 1;
    }

    /// Records the channels on which events were found, none if the check was not possible. Ignored
    /// while events are arriving here.
    pub(super) fn elsewhere(&mut self, channels: &[String], now: Timestamp) {
        if self
            .last_event_at
            .is_none_or(|last_event_at| now.since(last_event_at) > QUIET)
        {
            self.elsewhere = (channels.to_vec(), now);
        }
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        let times = [&mut self.since, &mut self.elsewhere.1];
        times
            .into_iter()
            .chain(&mut self.last_event_at)
            .for_each(|at| step.adjust(at));
    }

    /// When the last event arrived; the epoch if there was none.
    pub(super) fn last_event_or_epoch(&self) -> Timestamp {
        self.last_event_at.unwrap_or_default()
    }

    pub(super) const fn has_events(&self) -> bool {
        self.last_event_at.is_some()
    }

    /// Restarts the waiting time: no event could arrive until now.
    pub(super) const fn not_subscribed(&mut self, now: Timestamp) {
        self.since = now;
    }

    /// Starts the waiting time on the first call.
    pub(super) fn look(&mut self, now: Timestamp) {
        if self.since == Timestamp::default() {
            self.since = now;
        }
    }

    /// The problems with the cluster's setup that are visible so far.
    pub(super) fn hints(&self, workers: &Workers, names: &Names, now: Timestamp) -> Vec<Hint> {
        let hint = |reason, about| Hint { reason, about };
        let quiet = now.since(self.last_event_or_epoch().max(self.since)) > QUIET;
        let mut hints = Vec::new();
        if quiet {
            hints.push(hint(HintReason::NoEvents, String::new()));
        }
        let (channels, found) = &self.elsewhere;
        if !channels.is_empty() && now.since(*found) < SIGN_AGE_MAX {
            hints.push(hint(HintReason::WrongChannel, some_of(channels)));
        }
        let mut about = |reason, is: &dyn Fn(&Worker) -> bool| {
            let workers = workers.iter().filter(|worker| worker.online && is(worker));
            let names = named(workers, names);
            if !names.is_empty() {
                hints.push(hint(reason, some_of(&names)));
            }
        };
        about(HintReason::EventsDisabled, &|worker| {
            worker.events() == Some(false)
        });
        about(HintReason::DuplicateNodename, &|worker| worker.twofold);
        if self.without_sent >= TASKS_WITHOUT_SENT {
            hints.push(hint(HintReason::TaskSentDisabled, String::new()));
        }
        hints
    }
}

fn named<'a>(workers: impl Iterator<Item = &'a Worker>, names: &Names) -> Vec<String> {
    let mut texts: Vec<String> = workers
        .map(|worker| names.text(worker.name).to_string())
        .collect();
    texts.sort_unstable();
    texts
}

/// The first few names, and the number of further ones.
fn some_of(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
