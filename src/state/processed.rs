//! What a worker says it started, against what was heard of it.
//!
//! The `processed` of a heartbeat counts the tasks that the worker's process has started, and so its task-started
//! events. Both are stamped by one clock, so what was stamped up to a heartbeat must equal what the heartbeat
//! says, once it has come; a heartbeat can overtake events that the worker still buffers, so each is judged when
//! the next one comes.
//!
//! ```text
//!   started    · ··  ·    ···     ·   ·         stamps of task-started events
//!   heartbeat  │         │              │       processed: 7, 11, 16
//!            base        └ judged when ─┘ comes:   11 − 7 = 4 started, 4 heard
//! ```
//!
//! Source: Celery 4.4 to 5.7, `celery/worker/state.py` (`all_total_count`), and the recording
//! `tests/golden/events/amqp-events.jsonl`, which ends with 102 processed, 101 of them announced.

mod saved;

use crate::timestamp::Timestamp;

/// Heartbeats that lie so many of their intervals apart were not all heard: what they say of one another is no
/// sign that the worker sends no task events.
const APART_MAX: f64 = 2.5;

/// The count of one worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Processed {
    /// Tasks started since it was first seen, restarts and all.
    pub(super) total: u64,
    /// Whether it sends task events: `None` before there was anything to tell it by.
    pub(super) events: Option<bool>,
    run: Option<Run>,
    /// There was a process before: all that the next one has processed is new.
    restarted: bool,
    /// Of that process: its newest heartbeat, and the started events that were stamped later.
    before: Option<(Timestamp, u64)>,
}

/// Since its process began, or was first seen.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    /// What it had processed, and when.
    base: u64,
    since: Timestamp,
    /// The newest heartbeat.
    processed: u64,
    stamped: Timestamp,
    /// Started events, stamped up to that heartbeat, and later.
    heard: u64,
    heard_later: u64,
    /// In the interval before the newest heartbeat, if that counts: how many it started, and how many were heard.
    before: Option<(u64, u64)>,
    /// How many were found to be missing.
    missing: u64,
}

impl Processed {
    /// A task-started event.
    pub(super) fn started(&mut self, stamped: Timestamp) {
        self.events = Some(true);
        let Some(run) = &mut self.run else { return };
        if stamped > run.stamped {
            run.heard_later += 1;
        } else if stamped > run.since {
            run.heard += 1;
            if let Some((_, heard)) = &mut run.before {
                *heard += 1;
            }
        }
    }

    /// Another event about a task.
    pub(super) const fn task_event(&mut self) {
        self.events = Some(true);
    }

    /// A heartbeat that comes every `freq` seconds, or the one with which the worker came `online`. Returns how many more
    /// events are missing.
    pub(super) fn heartbeat(
        &mut self,
        processed: u64,
        stamped: Timestamp,
        freq: f64,
        online: bool,
    ) -> u64 {
        let Some(run) = &mut self.run else {
            self.begin(processed, stamped, online);
            return 0;
        };
        if stamped <= run.stamped {
            return 0;
        }
        let missing = run.judge();
        if let Some((moved, 0)) = run.before
            && moved > 0
            && run.heard_later == 0
        {
            self.events = Some(false);
        }
        let moved = processed.saturating_sub(run.processed);
        let near = stamped.seconds_since(run.stamped) <= freq * APART_MAX;
        run.before = near.then_some((moved, run.heard_later));
        run.heard += std::mem::take(&mut run.heard_later);
        run.processed = processed;
        run.stamped = stamped;
        self.total += moved;
        missing
    }

    /// Whether a heartbeat can only be that of another process.
    /// One that came `online` has counted every start that was heard of.
    pub(super) fn is_behind(&self, processed: u64, stamped: Timestamp, online: bool) -> bool {
        self.run.as_ref().is_some_and(|run| {
            let later = if online { run.heard_later } else { 0 };
            processed < run.processed + later && stamped > run.stamped
        })
    }

    /// When the newest heartbeat was stamped.
    pub(super) fn stamped(&self) -> Timestamp {
        self.run.as_ref().map(|run| run.stamped).unwrap_or_default()
    }

    /// The process is no more. Returns how many more of its events are missing.
    pub(super) fn end(&mut self) -> u64 {
        self.events = None;
        self.restarted = true;
        let Some(mut run) = self.run.take() else {
            return 0;
        };
        self.before = Some((run.stamped, run.heard_later));
        run.judge()
    }

    /// Two processes send heartbeats under one name: what they say of one another is nonsense.
    pub(super) fn abandon(&mut self) {
        self.run = None;
        self.restarted = false;
        self.before = None;
    }

    /// A process is seen for the first time, after it has processed some tasks.
    ///
    /// What one has processed that took the place of another unseen, in a gap, was started behind the newest heartbeat
    /// of that one; so was what was heard since then. One that comes online has not begun before.
    fn begin(&mut self, processed: u64, stamped: Timestamp, online: bool) {
        let before = self.before.take().filter(|_| !online);
        if std::mem::take(&mut self.restarted) {
            self.total += processed;
        }
        let (base, since, heard) = match before {
            Some((since, heard)) => (0, since, heard),
            None => (processed, stamped, 0),
        };
        self.run = Some(Run {
            base,
            since,
            processed,
            stamped,
            heard,
            heard_later: 0,
            before: None,
            missing: 0,
        });
    }
}

impl Run {
    fn judge(&mut self) -> u64 {
        let started = self.processed.saturating_sub(self.base);
        let missing = started.saturating_sub(self.heard);
        let more = missing.saturating_sub(self.missing);
        self.missing += more;
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREQ: f64 = 2.0;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    /// Plays `b<processed>@<millis>` and `s@<millis>`; what is missing after each heartbeat, and what is known
    /// of events in the end.
    fn played(script: &str) -> (Vec<u64>, Option<bool>) {
        let mut count = Processed::default();
        let mut missing = Vec::new();
        for word in script.split(' ') {
            let (what, millis) = word.split_once('@').expect("what@when");
            let stamped = at(millis.parse().expect("millis"));
            match what.strip_prefix('b') {
                Some(processed) => {
                    let processed = processed.parse().expect("a count");
                    missing.push(count.heartbeat(processed, stamped, FREQ, false));
                }
                None => count.started(stamped),
            }
        }
        missing.push(count.end());
        (missing, count.events)
    }

    #[test]
    fn what_is_missing_is_found_when_the_next_heartbeat_comes() {
        let cases = [
            (
                "all heard",
                "b7@0 s@10 s@20 b9@2000 s@2500 b10@4000",
                vec![0, 0, 0, 0],
            ),
            (
                "one missing",
                "b7@0 s@10 b9@2000 b9@4000 b9@6000",
                vec![0, 0, 1, 0, 0],
            ),
            (
                "one more later",
                "b0@0 b1@2000 b2@4000 b2@6000",
                vec![0, 0, 1, 1, 0],
            ),
            (
                "overtaken by its heartbeat",
                "b0@0 b1@2000 s@1999 b1@4000",
                vec![0, 0, 0, 0],
            ),
            (
                "before the first heartbeat",
                "s@-5 b1@0 s@-1 b1@2000 b1@4000",
                vec![0, 0, 0, 0],
            ),
            ("at the end", "b0@0 b3@2000 s@1000", vec![0, 0, 2]),
            (
                "a gap",
                "b0@0 s@1 b1@2000 b500@60000 b500@62000",
                vec![0, 0, 0, 499, 0],
            ),
        ];
        for (case, script, expected) in cases {
            assert_eq!(played(script).0, expected, "{case}");
        }
    }

    /// `events` is forgotten at the end of a process, so this plays without one.
    fn events(script: &str) -> Option<bool> {
        let mut count = Processed::default();
        for word in script.split(' ') {
            let (what, millis) = word.split_once('@').expect("what@when");
            let stamped = at(millis.parse().expect("millis"));
            match what.strip_prefix('b') {
                Some(processed) => {
                    count.heartbeat(processed.parse().expect("a count"), stamped, FREQ, false);
                }
                None => count.started(stamped),
            }
        }
        count.events
    }

    #[test]
    fn what_a_process_started_that_nobody_saw_begin_is_missing_too() {
        // `e` ends a process, `o` is the heartbeat of one that comes online.
        let cases = [
            // Four before its first heartbeat, of which one was heard.
            ("in a gap", "b7@0 s@30000 e@0 b4@31000 b4@33000", 3),
            ("heard whole", "b7@0 s@100 s@200 e@0 b2@2000 b2@4000", 0),
            (
                "seen to begin",
                "b7@0 e@0 o0@1000 s@1100 b1@2000 b1@4000",
                0,
            ),
            (
                "seen to begin, and one missing",
                "b7@0 s@1 e@0 o0@1000 b1@2000 b1@4000",
                1,
            ),
            // The end of the one before, heard before it was known to have ended.
            (
                "the tail of the one before",
                "b7@0 s@10 e@0 o0@1000 s@1100 b1@2000 b1@4000",
                0,
            ),
            (
                "two at once",
                "b7@0 e@0 b5000@1000 a@0 b5000@3000 b5000@5000",
                0,
            ),
        ];
        for (case, script, expected) in cases {
            let mut count = Processed::default();
            let mut missing = 0;
            for word in script.split(' ') {
                let (what, millis) = word.split_once('@').expect("what@when");
                let stamped = at(millis.parse().expect("millis"));
                let (kind, processed) = what.split_at(1);
                let processed = processed.parse().unwrap_or(0);
                missing += match kind {
                    "b" => count.heartbeat(processed, stamped, FREQ, false),
                    "o" => count.heartbeat(processed, stamped, FREQ, true),
                    "e" => count.end(),
                    _ => {
                        if kind == "a" {
                            count.abandon();
                        } else {
                            count.started(stamped);
                        }
                        0
                    }
                };
            }
            assert_eq!(missing, expected, "{case}");
        }
    }

    #[test]
    fn a_worker_that_only_beats_sends_no_task_events() {
        let cases = [
            ("nothing to tell it by", "b7@0 b7@2000 b7@4000", None),
            (
                "it moves and is silent",
                "b7@0 b8@2000 b8@4000",
                Some(false),
            ),
            ("not before the next heartbeat", "b7@0 b8@2000", None),
            ("late but there", "b7@0 b8@2000 s@1999 b8@4000", Some(true)),
            ("switched on", "b7@0 b8@2000 b9@4000 s@4500", Some(true)),
            (
                "switched off",
                "b7@0 s@1 b8@2000 b9@4000 b9@6000",
                Some(false),
            ),
            (
                "a gap proves nothing",
                "b7@0 s@1 b8@2000 b50@60000 b50@62000",
                Some(true),
            ),
        ];
        for (case, script, expected) in cases {
            assert_eq!(events(script), expected, "{case}");
        }
    }
}
