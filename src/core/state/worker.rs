//! Tracks one worker: whether it is online, and what its heartbeats and answers report.
//!
//! A worker is identified by its full node name. Any event shows that it is alive; missing
//! heartbeats or `worker-offline` show that it is not. A restart shows as another pid under the
//! same name or, because containers reuse pids, as a `processed` count that goes back.

mod saved;

use std::time::Duration;

use super::processed::Processed;
use super::stalled::Stalls;
use super::{Symbol, WorkerAnswer, WorkerTimeout};
use crate::event::judge;
use crate::event::{WorkerEvent, WorkerKind};
use crate::timestamp::{ClockStep, Timestamp};

/// The heartbeat interval assumed for a worker that sends no heartbeats. Celery assumes the same 60
/// seconds.
const SILENT_FREQ_SECONDS: f64 = 60.0;

/// The longest plausible heartbeat interval: one a day.
const FREQ_SECONDS_MAX: f64 = 86_400.0;

/// The weight of a new measurement in the smoothed clock skew. Ten heartbeats outweigh most of the
/// past.
const SKEW_SHARE: f64 = 0.2;

/// An event at least this many seconds old, if it may have waited in a queue, is assumed to have
/// waited and is not used to measure the clock.
const BACKLOG: f64 = 10.0;

/// How long a new process is expected to take to answer its first request.
pub(super) const NEW: Duration = Duration::from_secs(60);

/// Heartbeats of two processes under one name within this time mean two workers rather than a
/// restart.
const TWO_AT_ONCE: Duration = Duration::from_secs(30);

/// After this time without events from a worker that shut down, no more of its events are on their
/// way.
const SETTLED: Duration = Duration::from_secs(5);

/// How many rounds ask a process for the settings of its tasks: the first may come before it listens,
/// and some workers never answer.
const SETTINGS_TRIES: u8 = 5;

/// Two starts within this time are the same one: answers take up to two seconds, and clocks drift.
const SAME_START: Duration = Duration::from_secs(10);

/// The state of one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    pub name: Symbol,
    pub online: bool,
    /// When its last event was received.
    pub seen: Timestamp,
    /// Running tasks according to its latest full heartbeat; 0 when offline, absent if it never
    /// sent one.
    pub active: Option<u64>,
    /// Load of its machine over 1, 5 and 15 minutes.
    pub loadavg: Option<[f64; 3]>,
    pub software: Software,
    /// Seconds by which its clock is behind ours, smoothed. Includes network latency.
    pub clock_skew: Option<f64>,
    /// As reported in its remote-control answer.
    pub pool_size: Option<u64>,
    /// The pool size when fully grown.
    pub slots: Option<u64>,
    pub processes: Option<u64>,
    pub prefetch_count: Option<u64>,
    /// When the current process started, by our clock.
    pub started: Option<Timestamp>,
    pub queues: Option<Vec<Symbol>>,
    /// Whether the current process has reported its queues.
    pub(super) asked: bool,
    /// How many rounds asked the current process for the settings of its tasks in vain. `None` once
    /// it reported them.
    pub(super) settings_asked: Option<u8>,
    /// The longest time between two starts of a task that a rate limit demands, as the current process
    /// reported; zero without rate limits. Absent until it reported them.
    pub(super) rate_pause: Option<Duration>,
    /// The least prefetch count beyond the tasks for later that the current process reported. Each of
    /// them raises the count that a worker reports, but not always the one that the broker keeps.
    pub(super) prefetch_least: Option<u64>,
    /// Since when it has been stalled.
    pub(super) stalls: Stalls,
    /// When the current process was first seen.
    pub(super) since: Timestamp,
    /// Whether two processes send heartbeats under its name.
    pub twofold: bool,
    processed: Processed,
    /// Whether a heartbeat reported a `processed` count.
    counts: bool,
    /// Seconds between heartbeats, as announced by the worker.
    freq: Option<f64>,
    pid: Option<i64>,
    /// The previous process, and when it was last seen.
    other_pid: Option<(i64, Timestamp)>,
    /// When it announced its shutdown, by its own clock.
    goodbye: Option<Timestamp>,
    /// When it was found to be offline, by our clock.
    offline_since: Timestamp,
}

/// The software that a worker runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Software {
    pub ident: Option<Symbol>,
    pub version: Option<Symbol>,
    pub system: Option<Symbol>,
}

/// What a heartbeat revealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Events that are missing.
    pub(super) missing: u64,
    /// Its count of tasks is implausible.
    pub(super) is_refused: bool,
    /// The previous process has ended: tasks that it started up to this time are lost.
    pub(super) restarted: Option<Timestamp>,
}

impl Worker {
    pub(super) fn new(name: Symbol, now: Timestamp) -> Self {
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
            started: None,
            queues: None,
            asked: false,
            settings_asked: Some(0),
            rate_pause: None,
            prefetch_least: None,
            stalls: Stalls::default(),
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

    /// Tasks started since the worker was first seen. Absent if no heartbeat reports it.
    pub fn processed(&self) -> Option<u64> {
        self.counts.then_some(self.processed.total)
    }

    /// Whether it sends task events. Absent until this is known.
    pub const fn events(&self) -> Option<bool> {
        self.processed.events
    }

    /// When its current process was first seen or, if it is offline, when it was found to be.
    pub const fn state_since(&self) -> Timestamp {
        if self.online {
            self.since
        } else {
            self.offline_since
        }
    }

    /// Whether it announced a heartbeat interval.
    pub const fn has_heartbeats(&self) -> bool {
        self.freq.is_some()
    }

    /// Whether an answer from the process with this id belongs to the process that sends the
    /// heartbeats.
    pub(super) fn is_process(&self, pid: Option<i64>) -> bool {
        !self.twofold && self.pid.zip(pid).is_none_or(|(known, pid)| known == pid)
    }

    /// Whether it shut down deliberately, so that it has no tasks any more.
    pub(super) const fn said_goodbye(&self) -> bool {
        self.goodbye.is_some()
    }

    /// The only queue that it consumes. `None` if it consumes several, or if the current process is
    /// about to report its queues.
    pub(super) fn only_queue(
        &self,
        asked_since: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Symbol> {
        match self.queues.as_deref() {
            Some([only]) if !self.is_to_answer(asked_since, now) => Some(*only),
            Some(_) | None => None,
        }
    }

    /// Whether its process started recently and has not reported its queues yet.
    pub(super) fn is_to_answer(&self, asked_since: Option<Timestamp>, now: Timestamp) -> bool {
        let is_new = |asked| !self.asked && self.since >= asked && now.since(self.since) < NEW;
        asked_since.is_some_and(is_new)
    }

    /// Shifts stored times after our clock was set.
    pub(super) fn clock_set(&mut self, step: ClockStep) {
        let times = [&mut self.seen, &mut self.since, &mut self.offline_since];
        let other = self.other_pid.iter_mut().map(|(_, seen)| seen);
        let other = other.chain(&mut self.started);
        times
            .into_iter()
            .chain(other)
            .for_each(|at| step.adjust(at));
        self.stalls.clock_set(step);
    }

    /// Whether the settings of its tasks are needed and it may report them.
    pub(super) fn settings_are_wanted(&self) -> bool {
        self.online
            && self
                .settings_asked
                .is_some_and(|tries| tries < SETTINGS_TRIES)
    }

    /// Applies how long its process has been running, which it reports in whole seconds. The start
    /// is kept unless it is another one, so that it does not change with each report.
    pub(super) fn runs_for(&mut self, uptime: Duration, now: Timestamp) {
        let started = now.before(uptime);
        let is_same = self
            .started
            .is_some_and(|known| known.since(started).max(started.since(known)) <= SAME_START);
        if !is_same {
            self.started = Some(started);
        }
    }

    /// Records a sign of life other than a worker event.
    pub(super) const fn sign_of_life(&mut self, now: Timestamp) {
        self.seen = now;
        // Tasks continue while a worker shuts down, so only a heartbeat cancels an announced
        // shutdown.
        if self.goodbye.is_none() {
            self.online = true;
        }
    }

    /// Applies what its answer reports about itself, except for its queues.
    pub(super) fn answered(&mut self, answer: &WorkerAnswer, now: Timestamp) {
        self.sign_of_life(now);
        if let Some(tasks) = &answer.registered {
            self.settings_asked = None;
            let pauses = tasks.iter().filter_map(|task| task.rate_pause);
            self.rate_pause = Some(pauses.max().unwrap_or_default());
        }
        self.pool_size = answer.pool_size.or(self.pool_size);
        self.slots = answer.slots.or(self.slots);
        self.processes = answer.processes.or(self.processes);
        self.prefetch_count = answer.prefetch_count.or(self.prefetch_count);
        if let Some((count, scheduled)) = answer.prefetch_count.zip(answer.scheduled.as_ref()) {
            let least = count.saturating_sub(scheduled.len() as u64);
            let known = self.prefetch_least.unwrap_or(least);
            self.prefetch_least = Some(known.min(least));
        }
        if let Some(uptime) = answer.uptime {
            self.runs_for(Duration::from_secs(uptime), now);
        }
        if !self.has_heartbeats() {
            let running = answer.active.as_ref().map(|active| active.len() as u64);
            self.active = running.or(self.active);
        }
    }

    /// Applies a task event that it sent. `started` is set if `processed` counts the event.
    pub(super) fn task_event(&mut self, started: Option<Timestamp>) {
        match started {
            Some(stamped) => self.processed.started(stamped),
            None => self.processed.task_event(),
        }
    }

    /// Applies its announced shutdown, with its final `processed` count.
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
            self.count(event, (stamped, now), &mut found);
        }
        self.go_offline(now);
        self.offline_since = now;
        self.goodbye = Some(stamped);
        found
    }

    /// Applies its `processed` count.
    fn count(
        &mut self,
        event: &WorkerEvent<'_>,
        (stamped, now): (Timestamp, Timestamp),
        found: &mut Found,
    ) {
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
        let before = self.processed.total;
        found.missing += self.processed.heartbeat(counts, stamped, freq, online);
        self.stalls.count(now);
        if self.processed.total > before {
            self.stalls.works(now);
        }
    }

    /// Applies the time from sending to receipt of a heartbeat, by two clocks.
    pub(super) fn measure_skew(&mut self, event: &WorkerEvent<'_>, skew: f64, may_wait: bool) {
        let counts = event.active.is_some() || event.kind == WorkerKind::Online;
        if counts && self.goodbye.is_none() && judge::is_skew(skew) && (!may_wait || skew < BACKLOG)
        {
            let before = self.clock_skew;
            let smoothed = |before| before + SKEW_SHARE * (skew - before);
            self.clock_skew = Some(before.map_or(skew, smoothed));
        }
    }

    /// For a worker that shut down: how many more of its events are missing once all have arrived.
    pub(super) fn count_missing(&mut self, now: Timestamp) -> u64 {
        let is_settled = self.goodbye.is_some()
            && !self.online
            && now.since(self.offline_since.max(self.seen)) > SETTLED;
        if is_settled {
            self.processed.count_missing()
        } else {
            0
        }
    }

    /// Applies `worker-online` and `worker-heartbeat`, which may have waited in a queue.
    pub(super) fn beat(
        &mut self,
        event: &WorkerEvent<'_>,
        pid: Option<i64>,
        stamped: Timestamp,
        now: Timestamp,
    ) -> Found {
        self.seen = now;
        let online = event.kind == WorkerKind::Online;
        // Stamps of one worker are only in order within one clock, which may be ahead at shutdown
        // and correct after the restart.
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
            // Tasks that the previous process started by its last heartbeat are lost;
            // `worker-online` tells when the new one started.
            let until = if online {
                stamped
            } else {
                self.processed.stamped()
            };
            found.restarted = Some(until);
            self.asked = false;
            self.settings_asked = Some(0);
            self.rate_pause = None;
            self.prefetch_least = None;
            self.stalls.works(now);
            self.since = now;
            self.started = None;
            found.missing = self.processed.end();
        }
        self.pid = pid.or(self.pid);
        // A heartbeat that answers a control command lacks its counts, and its freq has no meaning.
        if event.active.is_none() && !online {
            return found;
        }
        self.freq = event.freq.or(self.freq);
        self.active = event.active.or(self.active);
        self.loadavg = event.loadavg.or(self.loadavg);
        self.count(event, (stamped, now), &mut found);
        found
    }

    /// Whether a heartbeat comes from another process that replaced the previous one.
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
        // The previous process is still running: two workers share a name.
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
        self.stalls.end();
    }

    /// Whether it was silent for long enough to count as offline. Time before `resumed` does not
    /// count, because nobody listened.
    pub(super) fn is_silent(
        &self,
        timeout: WorkerTimeout,
        resumed: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.online && now.since(self.seen.max(resumed)) > self.patience(timeout)
    }

    /// Whether it has been offline for long enough to be forgotten.
    pub(super) fn is_gone(&self, retention: Duration, now: Timestamp) -> bool {
        // Its tasks may still end while it shuts down.
        !self.online && now.since(self.offline_since.max(self.seen)) > retention
    }

    /// Called when it is forgotten. Returns how many of its events are missing.
    pub(super) fn end(&mut self) -> u64 {
        self.processed.end()
    }

    /// The names by which it is known and to which it refers.
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
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

#[cfg(test)]
mod tests;
