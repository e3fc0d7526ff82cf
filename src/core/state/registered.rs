//! The settings of tasks that workers report: how often they may be retried, and how long they may
//! run.
//!
//! Kept by a hash of the task's name, because a worker knows many tasks that may never run.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::RegisteredTask;

/// The most tasks whose settings are kept, at 32 bytes each.
const TASKS_MAX: usize = 20_000;

/// The settings of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct TaskSettings {
    /// Absent if there is no limit.
    pub(super) max_retries: Option<u32>,
    /// In seconds.
    pub(super) time_limit: Option<f64>,
}

/// The settings of all tasks that workers reported.
#[derive(Debug, Default)]
pub(super) struct Registered {
    tasks: HashMap<u64, TaskSettings>,
    hasher: DefaultHashBuilder,
}

impl Registered {
    /// Applies what a worker reported. Returns whether all of it had room.
    pub(super) fn apply(&mut self, reported: &[RegisteredTask]) -> bool {
        for task in reported {
            let hash = self.hasher.hash_one(task.name.as_str());
            if self.tasks.len() < TASKS_MAX || self.tasks.contains_key(&hash) {
                let settings = TaskSettings {
                    max_retries: task.max_retries,
                    time_limit: task.time_limit,
                };
                self.tasks.insert(hash, settings);
            }
        }
        self.tasks.len() < TASKS_MAX
    }

    /// The settings of a task, if a worker reported it.
    pub(super) fn get(&self, name: &str) -> Option<TaskSettings> {
        self.tasks.get(&self.hasher.hash_one(name)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, max_retries: u32) -> RegisteredTask {
        RegisteredTask {
            name: name.to_owned(),
            max_retries: Some(max_retries),
            ..RegisteredTask::default()
        }
    }

    #[test]
    fn the_latest_report_of_a_task_counts() {
        let mut registered = Registered::default();
        assert!(registered.apply(&[task("a", 3)]));
        assert!(registered.apply(&[task("a", 5)]));
        let retries = |name: &str| registered.get(name).map(|it| it.max_retries);
        assert_eq!(retries("a"), Some(Some(5)));
        assert_eq!(retries("b"), None);
    }

    #[test]
    fn further_tasks_are_ignored_and_known_ones_updated() {
        let mut registered = Registered::default();
        let many: Vec<_> = (0..=TASKS_MAX).map(|n| task(&n.to_string(), 1)).collect();
        assert!(!registered.apply(&many));
        assert_eq!(registered.tasks.len(), TASKS_MAX);
        assert!(!registered.apply(&[task("0", 2)]));
        let first = registered.get("0").expect("known");
        assert_eq!(first.max_retries, Some(2));
        assert_eq!(registered.get(&TASKS_MAX.to_string()), None);
    }
}
