//! Tracks which queues are watched, and decides which of them to poll next.

use std::collections::{BTreeMap, BTreeSet};

use crate::bounds::{Bounds, Limit};
use crate::state::is_uuid;

/// Maximum number of queues to watch. Beyond that, those last in alphabetical order are ignored.
const QUEUES_MAX: usize = 10_000;

/// AMQP's limit on the length of a name, in bytes. Redis has no practical limit.
const NAME_MAX: usize = 255;

/// An absent queue is polled again after this many rounds.
const ABSENT_EVERY: u64 = 10;

/// Queues whose names have these prefixes and suffixes hold no tasks, or belong to a single worker.
const NO_TASKS_SUFFIXES: [&str; 2] = [".pidbox", ".dq2"];
const NO_TASKS_PREFIXES: [&str; 4] = ["celeryev.", "celeriac.", "amq.", "celery_delayed_"];

/// Whether a queue with this name holds tasks for workers in general.
pub(super) fn is_task_queue(name: &str) -> bool {
    let in_length = !name.is_empty() && name.len() <= NAME_MAX;
    let other = NO_TASKS_SUFFIXES.iter().any(|end| name.ends_with(end))
        || NO_TASKS_PREFIXES
            .iter()
            .any(|start| name.starts_with(start))
        || name.contains(".reply.")
        // The result queues of the `rpc` backend.
        || is_uuid(name);
    in_length && !other
}

/// The queues of one broker.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The configured queues, even if their names suggest that they hold no tasks.
    configured: BTreeSet<String>,
    /// The queues that each worker reported consuming in its last answer.
    consumed: BTreeMap<String, Vec<String>>,
    /// Absent queues, and the round in which each is polled again.
    absent: BTreeMap<String, u64>,
    round: u64,
    bounds: Bounds,
}

impl Watch {
    pub(super) fn new(configured: &[String], bounds: Bounds) -> Self {
        Self {
            bounds,
            configured: configured.iter().cloned().collect(),
            ..Self::default()
        }
    }

    /// Records the queues that workers consume. Returns whether there is a new one.
    pub(super) fn consumed(&mut self, answers: BTreeMap<String, Vec<String>>) -> bool {
        let before = std::mem::replace(&mut self.consumed, answers);
        let before: BTreeSet<&String> = before.values().flatten().collect();
        let mut now = self.consumed.values().flatten();
        now.any(|queue| !before.contains(queue))
    }

    /// All watched queues.
    pub(super) fn all<'a>(&'a self, known: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let consumed = self.consumed.values().flatten().map(String::as_str);
        let discovered = consumed.chain(known).filter(|name| is_task_queue(name));
        let configured = self.configured.iter().map(String::as_str);
        let mut all: BTreeSet<_> = configured.chain(discovered).collect();
        if all.len() > QUEUES_MAX {
            self.bounds.reached(Limit::PolledQueues);
        }
        while all.len() > QUEUES_MAX {
            all.pop_last();
        }
        all
    }

    /// The queues to poll in the next round.
    pub(super) fn next<'a>(&'a mut self, known: impl Iterator<Item = &'a str>) -> Vec<String> {
        self.round += 1;
        let due = |name: &&str| self.absent.get(*name).is_none_or(|at| *at <= self.round);
        let names = self.all(known).into_iter().filter(due);
        names.map(str::to_owned).collect()
    }

    /// Records which of the polled queues are absent.
    pub(super) fn asked(&mut self, names: &[String], absent: Vec<String>) {
        for name in names {
            self.absent.remove(name);
        }
        let again = self.round + ABSENT_EVERY;
        self.absent
            .extend(absent.into_iter().map(|name| (name, again)));
        // Names that are no longer watched must not accumulate.
        self.absent.retain(|_, at| *at + ABSENT_EVERY > self.round);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_without_tasks_are_told_by_their_names() {
        let tasks = [
            "celery",
            "high",
            "a.b",
            "очередь",
            "celeryevents",
            "reply",
            "0b1f",
        ];
        let others = [
            "",
            "celeryev.4ced9c12-797b-4fd2-8a5b-fe1d8febbb55",
            "w1@vm.celery.pidbox",
            "995c47ff-90c7-4b03-bda1-54f255a7c82c.reply.celery.pidbox",
            "amq.gen-x",
            "89b52a6c-7128-3718-af37-46b52613f2d3",
            "celery_delayed_27",
            "w1@vm.dq2",
            "celeriac.0123456789abcdef",
            &"x".repeat(256),
        ];
        for name in tasks {
            assert!(is_task_queue(name), "{name}");
        }
        for name in others {
            assert!(!is_task_queue(name), "{name}");
        }
    }

    #[test]
    fn a_queue_that_is_not_there_is_asked_for_every_tenth_round() {
        let mut watch = Watch::new(&["amq.mine".to_owned()], Bounds::default());
        let known = ["b", "amq.other", "a"];
        assert_eq!(watch.next(known.into_iter()), ["a", "amq.mine", "b"]);
        watch.asked(
            &["a".into(), "amq.mine".into(), "b".into()],
            vec!["b".into()],
        );
        for _ in 0..ABSENT_EVERY - 1 {
            let names = watch.next(known.into_iter());
            assert_eq!(names, ["a", "amq.mine"]);
            watch.asked(&names, Vec::new());
        }
        assert_eq!(watch.next(known.into_iter()), ["a", "amq.mine", "b"]);
        watch.asked(&["a".into(), "amq.mine".into(), "b".into()], Vec::new());
        assert_eq!(watch.next(known.into_iter()).len(), 3);
    }

    #[test]
    fn what_workers_consume_is_watched() {
        let mut watch = Watch::default();
        let answers = [(
            "w1".to_owned(),
            vec!["high".to_owned(), "w1.dq2".to_owned()],
        )];
        assert!(watch.consumed(answers.into()));
        assert_eq!(watch.next(std::iter::empty()), ["high"]);
        assert!(!watch.consumed(BTreeMap::new()));
        assert_eq!(watch.next(["low"].into_iter()), ["low"]);
    }

    #[test]
    fn queues_beyond_the_limit_are_counted_and_not_polled() {
        let bounds = Bounds::default();
        let mut watch = Watch::new(&[], bounds.clone());
        let names: Vec<_> = (0..=QUEUES_MAX).map(|n| format!("q{n:05}")).collect();
        let known = |count| names[..count].iter().map(String::as_str);
        assert_eq!(watch.next(known(QUEUES_MAX)).len(), QUEUES_MAX);
        assert_eq!(bounds.times(Limit::PolledQueues), 0);
        assert_eq!(watch.next(known(QUEUES_MAX + 1)), names[..QUEUES_MAX]);
        assert_eq!(bounds.times(Limit::PolledQueues), 1);
    }
}
