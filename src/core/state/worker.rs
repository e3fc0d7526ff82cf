//! One worker: online or offline, and what its heartbeats and its answers say.
//!
//! A worker is its full node name. Any event of it shows that it lives; heartbeats that stay away, or
//! `worker-offline`, show that it does not. A restart is another pid under the same name, or, since containers use
//! pids again, a `processed` that goes back.

mod saved;

use std::time::Duration;

use super::processed::Processed;
use super::{Name, WorkerTimeout};
use crate::event::judge;
use crate::event::{WorkerEvent, WorkerKind};
use crate::timestamp::{ClockStep, Timestamp};

/// What a worker that sends no heartbeats is taken to promise. Celery assumes the same 60 seconds.
const SILENT_FREQ_SECONDS: f64 = 60.0;

/// The longest promise that is believed: one heartbeat a day.
const FREQ_SECONDS_MAX: f64 = 86_400.0;

/// The share of a new measurement in the smoothed clock skew: ten heartbeats make up for most of the past.
const SKEW_SHARE: f64 = 0.2;

/// So many seconds old, an event that may have waited is taken to have waited: it says nothing of a clock.
const BACKLOG: f64 = 10.0;

/// How long a process that began is expected to answer its first question.
pub(super) const NEW: Duration = Duration::from_secs(60);

/// Heartbeats of two processes under one name within this time are two workers, and no restart.
const TWO_AT_ONCE: Duration = Duration::from_secs(30);

/// After so long without anything from a worker that said goodbye, nothing more is on its way.
const SETTLED: Duration = Duration::from_secs(5);

/// What is known of one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    pub name: Name,
    pub online: bool,
    /// When something was received from it last.
    pub seen: Timestamp,
    /// Tasks that run now, by its newest full heartbeat; 0 when offline, absent when it never sent one.
    pub active: Option<u64>,
    /// Load of its machine over 1, 5 and 15 minutes.
    pub loadavg: Option<[f64; 3]>,
    pub software: Software,
    /// Seconds by which its clock is behind ours, smoothed; what a message takes on its way is in it.
    pub clock_skew: Option<f64>,
    /// As it answered to remote control.
    pub pool_size: Option<u64>,
    /// What its pool may grow to.
    pub slots: Option<u64>,
    pub processes: Option<u64>,
    pub prefetch_count: Option<u64>,
    pub queues: Option<Vec<Name>>,
    /// Whether the process that runs now told its queues.
    pub(super) asked: bool,
    /// When that process was first seen.
    pub(super) since: Timestamp,
    /// Two processes send heartbeats under its name.
    pub twofold: bool,
    processed: Processed,
    /// Whether a heartbeat said how many tasks it processed.
    counts: bool,
    /// Seconds between heartbeats, as it announced them.
    freq: Option<f64>,
    pid: Option<i64>,
    /// The process before this one, and when it was heard of last.
    other_pid: Option<(i64, Timestamp)>,
    /// When it said that it goes, by its own clock.
    goodbye: Option<Timestamp>,
    /// When it was found to be offline, by ours.
    offline_since: Timestamp,
}

/// What a worker runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Software {
    pub ident: Option<Name>,
    pub version: Option<Name>,
    pub system: Option<Name>,
}

/// What a heartbeat brought to light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Events that are missing.
    pub(super) missing: u64,
    /// Its count of tasks cannot be right.
    pub(super) is_refused: bool,
    /// The process before this one is no more: it had started its tasks up to then.
    pub(super) restarted: Option<Timestamp>,
}

impl Worker {
    pub(super) fn new(name: Name, now: Timestamp) -> Self {
        Self {
            name,
            online: true,
            seen: now,
            active: None,
            loadavg: None,
            software: Software::default(),
            clock_skew: None,
            pool_size: None,
            slots: None,
            processes: None,
            prefetch_count: None,
            queues: None,
            asked: false,
            since: now,
            twofold: false,
            processed: Processed::default(),
            counts: false,
            freq: None,
            pid: None,
            other_pid: None,
            goodbye: None,
            offline_since: now,
        }
    }

    /// Tasks that it started since it was first seen; absent where no heartbeat tells.
    pub fn processed(&self) -> Option<u64> {
        self.counts.then_some(self.processed.total)
    }

    /// Whether it sends task events; absent before there was anything to tell it by.
    pub const fn events(&self) -> Option<bool> {
        self.processed.events
    }

    /// Whether it announced a pace for its heartbeats.
    pub const fn has_heartbeats(&self) -> bool {
        self.freq.is_some()
    }

    /// Whether an answer of the process with this id is one of the process that sends its heartbeats.
    pub(super) fn is_process(&self, pid: Option<i64>) -> bool {
        !self.twofold && self.pid.zip(pid).is_none_or(|(known, pid)| known == pid)
    }

    /// Whether it shut down on purpose: it has no tasks any more.
    pub(super) const fn said_goodbye(&self) -> bool {
        self.goodbye.is_some()
    }

    /// The queue that it consumes, if it is the only one and the process that runs now is not about to say something else.
    pub(super) fn only_queue(
        &self,
        asked_since: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Name> {
        match self.queues.as_deref() {
            Some([only]) if !self.is_to_answer(asked_since, now) => Some(*only),
            Some(_) | None => None,
        }
    }

    /// Whether its process began a short while ago, and has not said yet which queues it consumes.
    pub(super) fn is_to_answer(&self, asked_since: Option<Timestamp>, now: Timestamp) -> bool {
        let is_new = |asked| !self.asked && self.since >= asked && now.since(self.since) < NEW;
        asked_since.is_some_and(is_new)
    }

    /// Our clock was set.
    pub(super) fn clock_set(&mut self, step: ClockStep) {
        let times = [&mut self.seen, &mut self.since, &mut self.offline_since];
        let other = self.other_pid.iter_mut().map(|(_, seen)| seen);
        times
            .into_iter()
            .chain(other)
            .for_each(|at| step.adjust(at));
    }

    /// A sign of life that is no worker event.
    pub(super) const fn sign_of_life(&mut self, now: Timestamp) {
        self.seen = now;
        // Tasks go on while a worker shuts down: only a heartbeat takes a goodbye back.
        if self.goodbye.is_none() {
            self.online = true;
        }
    }

    /// An event about a task that it sent; `started` where it is one that `processed` counts.
    pub(super) fn task_event(&mut self, started: Option<Timestamp>) {
        match started {
            Some(stamped) => self.processed.started(stamped),
            None => self.processed.task_event(),
        }
    }

    /// It says that it goes, and how many tasks it has processed.
    pub(super) fn say_goodbye(
        &mut self,
        event: &WorkerEvent<'_>,
        pid: Option<i64>,
        stamped: Timestamp,
        now: Timestamp,
    ) -> Found {
        let is_another = self.pid.zip(pid).is_some_and(|(known, pid)| known != pid);
        let mut found = Found::default();
        if self.counts && !is_another {
            self.count(event, stamped, &mut found);
        }
        self.go_offline(now);
        self.offline_since = now;
        self.goodbye = Some(stamped);
        found
    }

    /// Takes how many tasks it says it has processed.
    fn count(&mut self, event: &WorkerEvent<'_>, stamped: Timestamp, found: &mut Found) {
        let Some(processed) = event.processed.filter(|_| !self.twofold) else {
            return;
        };
        if !self.processed.accepts(processed, stamped) {
            found.is_refused = true;
            return;
        }
        self.counts = true;
        let freq = self.freq.unwrap_or(SILENT_FREQ_SECONDS);
        let online = event.kind == WorkerKind::Online;
        let counts = (processed, event.active);
        found.missing += self.processed.heartbeat(counts, stamped, freq, online);
    }

    /// Takes how many seconds a heartbeat took to come, by two clocks.
    pub(super) fn measure_skew(&mut self, event: &WorkerEvent<'_>, skew: f64, may_wait: bool) {
        let counts = event.active.is_some() || event.kind == WorkerKind::Online;
        if counts && self.goodbye.is_none() && judge::is_skew(skew) && (!may_wait || skew < BACKLOG)
        {
            let before = self.clock_skew;
            let smoothed = |before| before + SKEW_SHARE * (skew - before);
            self.clock_skew = Some(before.map_or(skew, smoothed));
        }
    }

    /// Once all has come of one that said goodbye: how many more of its events are missing.
    pub(super) fn settle(&mut self, now: Timestamp) -> u64 {
        let is_settled = self.goodbye.is_some()
            && !self.online
            && now.since(self.offline_since.max(self.seen)) > SETTLED;
        if is_settled {
            self.processed.settle()
        } else {
            0
        }
    }

    /// `worker-online` and `worker-heartbeat`, which may have waited in a queue before they came.
    pub(super) fn beat(
        &mut self,
        event: &WorkerEvent<'_>,
        pid: Option<i64>,
        stamped: Timestamp,
        now: Timestamp,
    ) -> Found {
        self.seen = now;
        let online = event.kind == WorkerKind::Online;
        // The order of two stamps is only that of one clock, which may be ahead when a worker goes and right when it is back.
        let is_back = online
            || self.pid.zip(pid).is_some_and(|(known, pid)| known != pid)
            || now.since(self.offline_since) > SETTLED;
        if self.goodbye.is_some_and(|goodbye| stamped <= goodbye) && !is_back {
            return Found::default();
        }
        self.goodbye = None;
        self.online = true;
        let mut found = Found::default();
        if self.is_another(event, pid, stamped, now) {
            // What the process before had started by its last heartbeat is lost; a new one says when it began.
            let until = if online {
                stamped
            } else {
                self.processed.stamped()
            };
            found.restarted = Some(until);
            self.asked = false;
            self.since = now;
            found.missing = self.processed.end();
        }
        self.pid = pid.or(self.pid);
        // A heartbeat that answers a control command lacks its counts, and its freq means nothing.
        if event.active.is_none() && !online {
            return found;
        }
        self.freq = event.freq.or(self.freq);
        self.active = event.active.or(self.active);
        self.loadavg = event.loadavg.or(self.loadavg);
        self.count(event, stamped, &mut found);
        found
    }

    /// Whether a heartbeat is that of another process, which took the place of the one before.
    fn is_another(
        &mut self,
        event: &WorkerEvent<'_>,
        pid: Option<i64>,
        stamped: Timestamp,
        now: Timestamp,
    ) -> bool {
        let changed = self.pid.zip(pid).filter(|(known, pid)| known != pid);
        let Some((known, pid)) = changed else {
            // One of the two is gone.
            let other = self.other_pid.map_or(now, |(_, seen)| seen);
            self.twofold &= now.since(other) < TWO_AT_ONCE;
            let online = event.kind == WorkerKind::Online;
            let behind = |processed| self.processed.is_behind(processed, stamped, online);
            return !self.twofold && event.processed.is_some_and(behind);
        };
        // The one before is still there: two workers have one name.
        self.twofold = self
            .other_pid
            .is_some_and(|(other, seen)| other == pid && now.since(seen) < TWO_AT_ONCE);
        self.other_pid = Some((known, now));
        if self.twofold {
            self.processed.abandon();
        }
        !self.twofold
    }

    pub(super) fn go_offline(&mut self, now: Timestamp) {
        if self.online {
            self.offline_since = now;
        }
        self.online = false;
        self.active = self.active.map(|_| 0);
    }

    /// Whether it was silent for so long that it counts as offline.
    /// Before `resumed` nobody listened.
    pub(super) fn is_silent(
        &self,
        timeout: WorkerTimeout,
        resumed: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.online && now.since(self.seen.max(resumed)) > self.patience(timeout)
    }

    /// Whether it has been offline for so long that it is to be forgotten.
    pub(super) fn is_gone(&self, retention: Duration, now: Timestamp) -> bool {
        // Its tasks go on to end while it shuts down.
        !self.online && now.since(self.offline_since.max(self.seen)) > retention
    }

    /// It is forgotten. Returns how many of its events are missing.
    pub(super) fn end(&mut self) -> u64 {
        self.processed.end()
    }

    /// The names that it is known by and that it refers to.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        let Software {
            ident,
            version,
            system,
        } = self.software;
        let software = [ident, version, system].into_iter().flatten();
        let queues = self.queues.iter().flatten().copied();
        [self.name].into_iter().chain(software).chain(queues)
    }

    /// How long it may be silent.
    fn patience(&self, timeout: WorkerTimeout) -> Duration {
        match timeout {
            WorkerTimeout::After(duration) => duration,
            WorkerTimeout::Missed(heartbeats) => {
                let freq = self
                    .freq
                    .unwrap_or(SILENT_FREQ_SECONDS)
                    .min(FREQ_SECONDS_MAX);
                Duration::from_secs_f64(freq).saturating_mul(heartbeats)
            }
        }
    }
}
