//! Decides which tasks a profile shows.

use hashbrown::HashMap;

use crate::config::TaskFilter;
use crate::state::{Change, Names, Place, ReceivedEvent, Symbol};

/// The filter of one profile.
#[derive(Debug)]
pub(super) struct Filter {
    filter: Option<TaskFilter>,
    /// Cached decision for each name.
    known: HashMap<Symbol, bool>,
}

impl Filter {
    /// Creates a filter. Without a `task_filter`, all tasks are shown.
    pub(super) fn new(filter: Option<TaskFilter>) -> Self {
        Self {
            filter,
            known: HashMap::new(),
        }
    }

    /// Clears the cache, because symbols may have been reassigned to other names.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Returns the change without hidden tasks. The count of received events by type includes
    /// hidden tasks.
    #[inline]
    pub(super) fn pass(&mut self, change: Change, names: &Names) -> Option<Change> {
        if self.filter.is_none() {
            return Some(change);
        }
        self.pass_shown(change, names)
    }

    fn pass_shown(&mut self, change: Change, names: &Names) -> Option<Change> {
        match change {
            Change::Event(seen) => Some(Change::Event(ReceivedEvent {
                task: seen.task.filter(|task| self.shows(Some(*task), names)),
                ..seen
            })),
            Change::Duplicate | Change::Clamped | Change::Refused(_) | Change::Missing(_) => {
                Some(change)
            }
            Change::Task { of, .. }
            | Change::Ran { of, .. }
            | Change::QueueWaited { of, .. }
            | Change::PrefetchWaited { of, .. }
            | Change::TurnedAround { of, .. }
            | Change::Finished { of, .. }
            | Change::Lost { of, .. }
            | Change::Unreported { of, .. } => self.shows(of.name, names).then_some(change),
            Change::Workflow { root, .. } => self.shows(root, names).then_some(change),
            Change::Moved { from, to } => {
                let mut shown = |place: &Place| self.shows(place.of.name, names);
                let (from, to) = (from.filter(&mut shown), to.filter(&mut shown));
                (from != to).then_some(Change::Moved { from, to })
            }
        }
    }

    /// Returns whether tasks with this name are shown.
    pub(super) fn shows_name(&self, name: &str) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.shows(name))
    }

    /// Returns whether tasks with this name are shown. Tasks without a name always are.
    pub(super) fn shows(&mut self, name: Option<Symbol>, names: &Names) -> bool {
        let (Some(filter), Some(name)) = (&self.filter, name) else {
            return true;
        };
        let decide = || filter.shows(&names.text(name));
        *self.known.entry(name).or_insert_with(decide)
    }
}
