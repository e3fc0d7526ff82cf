//! Limits queues per task name: each name has series for a limited number of queues, and one for
//! all others.

use hashbrown::HashMap;

use super::super::group::Key;
use crate::state::Symbol;

/// The queues that have groups, by task name.
#[derive(Debug, Default)]
pub(super) struct Places {
    names: HashMap<Option<Symbol>, HashMap<Symbol, usize>>,
}

impl Places {
    /// Whether a queue has a place or one of `max` is free. A task without a queue needs none.
    pub(super) fn has(&self, key: Key, max: usize) -> bool {
        let Some(queue) = key.queue else {
            return true;
        };
        let queues = self.names.get(&key.name);
        queues.is_none_or(|queues| queues.len() < max || queues.contains_key(&queue))
    }

    /// Records that a group was created.
    pub(super) fn add(&mut self, key: Key) {
        if let Some(queue) = key.queue {
            let queues = self.names.entry(key.name).or_default();
            *queues.entry(queue).or_default() += 1;
        }
    }

    /// Records that a group has ended.
    pub(super) fn remove(&mut self, key: Key) {
        let Some((queue, queues)) = key.queue.zip(self.names.get_mut(&key.name)) else {
            return;
        };
        if let Some(groups) = queues.get_mut(&queue) {
            *groups -= 1;
            if *groups == 0 {
                queues.remove(&queue);
            }
        }
        if queues.is_empty() {
            self.names.remove(&key.name);
        }
    }
}
