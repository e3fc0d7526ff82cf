//! Decides what a poller does next, and when. Time is passed in as a value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::PollConfig;
use crate::state::PollTargets;

/// Leaves time for events and a first answer, so that the first rounds know which queues and
/// workers to ask about.
const FIRST_CONTROL: Duration = Duration::from_secs(2);
const FIRST_QUEUES: Duration = Duration::from_secs(1);

/// New queues are polled after this delay, together with any others found meanwhile.
const SOON: Duration = Duration::from_secs(1);

/// New workers are asked after this delay. It is shorter because events of their tasks wait for the
/// answer.
const ASK_SOON: Duration = Duration::from_millis(250);

/// A worker that was asked to enable events is asked again after this time.
const ENABLE_AGAIN: Duration = Duration::from_secs(60);

/// When no event has arrived for this long, other channels are checked for events.
const SILENCE: Duration = Duration::from_secs(10);
const SILENCE_AGAIN: Duration = Duration::from_secs(60);

/// A task of the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Queues,
    Control,
    Beats,
    EnableEvents,
    Elsewhere,
}

/// When each task is due. `None`: not scheduled.
#[derive(Debug)]
pub(super) struct Schedule {
    queue_interval: Option<Duration>,
    control_interval: Option<Duration>,
    enables_events: bool,
    queues: Option<Instant>,
    control: Option<Instant>,
    /// After each regular round of remote control.
    beats: Option<Instant>,
    unsubscribed_channels: Option<Instant>,
    /// Rounds brought forward for new workers since the last regular round. Each waits twice as
    /// long as the one before, so that a starting fleet does not cause a round every second.
    brought_forward: u32,
    /// Whether the next round was brought forward.
    forward: bool,
    /// Whether a worker that was asked for the first time has not answered.
    again: bool,
    /// Workers that are silent, or were until recently.
    silent: BTreeMap<Arc<str>, Silent>,
    seen: Arc<PollTargets>,
}

/// A worker that sends no events.
#[derive(Clone, Copy, Debug)]
struct Silent {
    /// When to ask it to enable events.
    at: Instant,
    /// Whether it was asked before.
    asked: bool,
}

impl Schedule {
    /// The schedule of a new connection.
    pub(super) fn new(config: &PollConfig, looks_elsewhere: bool, now: Instant) -> Self {
        Self {
            queue_interval: config.queue_interval,
            control_interval: config.control_interval,
            enables_events: config.enable_events,
            queues: config.queue_interval.map(|_| now + FIRST_QUEUES),
            control: config.control_interval.map(|_| now + FIRST_CONTROL),
            beats: None,
            unsubscribed_channels: looks_elsewhere.then(|| now + SILENCE),
            brought_forward: 0,
            forward: false,
            again: false,
            silent: BTreeMap::new(),
            seen: Arc::default(),
        }
    }

    /// Updates the schedule with the current state of the cluster.
    pub(super) fn known(&mut self, known: &Arc<PollTargets>, now: Instant) {
        if known.events_arrive {
            self.unsubscribed_channels = None;
        }
        let is_new =
            |old: &[Arc<str>], new: &[Arc<str>]| new.iter().any(|name| !old.contains(name));
        if is_new(&self.seen.queues, &known.queues) {
            self.queues_are_new(now);
        }
        if known.begun > self.seen.begun || is_new(&self.seen.workers, &known.workers) {
            self.bring_forward(now);
        }
        if self.enables_events {
            for worker in &known.silent {
                let new = Silent {
                    at: now,
                    asked: false,
                };
                self.silent.entry(Arc::clone(worker)).or_insert(new);
            }
            self.silent
                .retain(|worker, silent| silent.at > now || known.silent.contains(worker));
        }
        self.seen = Arc::clone(known);
    }

    /// Brings the next round of remote control forward.
    fn bring_forward(&mut self, now: Instant) {
        let Some(at) = &mut self.control else { return };
        let wait = ASK_SOON.saturating_mul(2_u32.saturating_pow(self.brought_forward));
        let forward = now + wait.min(SILENCE_AGAIN);
        if forward < *at {
            *at = forward;
            self.forward = true;
            self.brought_forward += 1;
        }
    }

    /// Whether the round that is due was brought forward for new workers.
    pub(super) const fn is_forward(&self) -> bool {
        self.forward
    }

    /// Records that a new worker has not answered the current round.
    pub(super) const fn ask_again(&mut self) {
        self.again = true;
    }

    /// Records that new queues were found.
    pub(super) fn queues_are_new(&mut self, now: Instant) {
        if let Some(at) = &mut self.queues {
            *at = (*at).min(now + SOON);
        }
    }

    /// The next task, and when it is due.
    pub(super) fn next(&self) -> Option<(Instant, Task)> {
        let silent = self.seen.silent.iter();
        let enable = silent
            .filter_map(|worker| Some(self.silent.get(worker)?.at))
            .min();
        let tasks = [
            (enable, Task::EnableEvents),
            (self.queues, Task::Queues),
            (self.control, Task::Control),
            (self.beats, Task::Beats),
            (self.unsubscribed_channels, Task::Elsewhere),
        ];
        let due = tasks.into_iter().filter_map(|(at, task)| Some((at?, task)));
        due.min_by_key(|(at, _)| *at)
    }

    /// The silent workers to ask for events now, and whether each is asked for the first time.
    pub(super) fn to_enable(&self, now: Instant) -> Vec<(Arc<str>, bool)> {
        let silent = self.seen.silent.iter();
        let due = silent.filter_map(|worker| {
            let silent = self.silent.get(worker).filter(|silent| silent.at <= now)?;
            Some((Arc::clone(worker), !silent.asked))
        });
        due.collect()
    }

    /// Records that a task was attempted, successfully or not.
    pub(super) fn done(&mut self, task: Task, now: Instant) {
        match task {
            Task::Queues => self.queues = self.queue_interval.map(|interval| now + interval),
            Task::Control => {
                if !std::mem::take(&mut self.forward) {
                    self.brought_forward = 0;
                    self.beats = Some(now);
                }
                self.control = self.control_interval.map(|interval| now + interval);
                if std::mem::take(&mut self.again) {
                    self.bring_forward(now);
                }
            }
            Task::Beats => self.beats = None,
            Task::EnableEvents => {
                for silent in self.silent.values_mut().filter(|silent| silent.at <= now) {
                    *silent = Silent {
                        at: now + ENABLE_AGAIN,
                        asked: true,
                    };
                }
            }
            Task::Elsewhere => {
                self.unsubscribed_channels = self.unsubscribed_channels.map(|_| now + SILENCE_AGAIN)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(config: &PollConfig) -> (Schedule, Instant) {
        let now = clock::monotonic();
        (Schedule::new(config, true, now), now)
    }

    fn known(
        workers: &[&str],
        silent: &[&str],
        queues: &[&str],
        events_arrive: bool,
    ) -> Arc<PollTargets> {
        let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        Arc::new(PollTargets {
            queues: names(queues),
            workers: names(workers),
            silent: names(silent),
            begun: 0,
            events_arrive,
            ..PollTargets::default()
        })
    }

    #[test]
    fn rounds_come_at_their_intervals() {
        let (mut schedule, start) = schedule(&PollConfig::default());
        let mut order = Vec::new();
        while order.len() < 10 {
            let (at, task) = schedule.next().expect("something");
            schedule.done(task, at);
            order.push(((at - start).as_secs(), task));
        }
        let expected = [
            (1, Task::Queues),
            (2, Task::Control),
            (2, Task::Beats),
            (10, Task::Elsewhere),
            (16, Task::Queues),
            (31, Task::Queues),
            (46, Task::Queues),
            (61, Task::Queues),
            (62, Task::Control),
            (62, Task::Beats),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn new_workers_and_queues_are_asked_soon_but_a_fleet_that_starts_not_every_second() {
        let (mut schedule, start) = schedule(&PollConfig::default());
        schedule.done(Task::Queues, start);
        schedule.done(Task::Control, start);
        let control = |schedule: &Schedule| schedule.control.expect("on") - start;
        schedule.known(&known(&["a"], &[], &[], true), start);
        assert_eq!(control(&schedule), SECOND / 4);
        assert_eq!(schedule.unsubscribed_channels, None);
        schedule.done(Task::Control, start);
        schedule.known(&known(&["a", "b"], &[], &[], true), start);
        assert_eq!(control(&schedule), SECOND / 2);
        schedule.done(Task::Control, start);
        schedule.known(&known(&["a"], &[], &["q"], true), start);
        assert_eq!(control(&schedule), 60 * SECOND, "who goes is no news");
        assert_eq!(schedule.queues, Some(start + SECOND));
        // After a regular round, another new worker brings the next one forward again.
        schedule.done(Task::Control, start);
        schedule.known(&known(&["a", "c"], &[], &["q"], true), start);
        assert_eq!(control(&schedule), SECOND / 4);
        schedule.done(Task::Control, start);
        // A new process under a known name is asked as well, and asked again if it did not answer.
        let restarted = PollTargets {
            begun: 1,
            ..PollTargets::clone(&known(&["a", "c"], &[], &["q"], true))
        };
        schedule.known(&Arc::new(restarted), start);
        assert_eq!(control(&schedule), SECOND / 2);
        assert!(schedule.is_forward());
        schedule.ask_again();
        schedule.done(Task::Control, start);
        assert_eq!(control(&schedule), SECOND);
    }

    #[test]
    fn silent_workers_are_told_at_once_and_each_once_a_minute() {
        let config = PollConfig {
            enable_events: true,
            ..PollConfig::default()
        };
        let (mut schedule, start) = schedule(&config);
        let to_enable = |schedule: &Schedule, now| {
            let due = schedule.to_enable(now).into_iter();
            due.map(|(worker, first)| (worker.to_string(), first))
                .collect::<Vec<_>>()
        };
        schedule.known(&known(&["a"], &["a"], &[], true), start);
        assert_eq!(schedule.next(), Some((start, Task::EnableEvents)));
        assert_eq!(to_enable(&schedule, start), [("a".to_owned(), true)]);
        schedule.done(Task::EnableEvents, start);
        assert_eq!(to_enable(&schedule, start + 59 * SECOND), []);
        // A worker that sends events and then stops is not asked sooner.
        schedule.known(&known(&["a"], &[], &[], true), start + SECOND);
        schedule.known(
            &known(&["a", "b"], &["a", "b"], &[], true),
            start + 2 * SECOND,
        );
        let now = start + 2 * SECOND;
        assert_eq!(to_enable(&schedule, now), [("b".to_owned(), true)]);
        schedule.done(Task::EnableEvents, now);
        let now = start + 60 * SECOND;
        assert_eq!(to_enable(&schedule, now), [("a".to_owned(), false)]);
    }

    #[test]
    fn what_is_off_is_never_due() {
        let config = PollConfig {
            queue_interval: None,
            control_interval: None,
            ..PollConfig::default()
        };
        let (mut schedule, start) = schedule(&config);
        schedule.known(&known(&["a"], &["a"], &["q"], true), start);
        assert_eq!(schedule.next(), None);
    }
}
