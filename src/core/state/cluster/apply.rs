//! Applies events.

use super::State;
use crate::event::{Detail, Event};
use crate::state::tasks::TaskId;
use crate::state::{Change, EVENTS_TOGETHER, ReceivedEvent};
use crate::timestamp::Timestamp;

impl State {
    /// Applies events that were received at `now`. Appends their effects to `changes`, and to
    /// `ends` the index at which each event's effects end.
    pub fn apply_all(
        &mut self,
        events: &[Event<'_>],
        now: Timestamp,
        changes: &mut Vec<Change>,
        ends: &mut Vec<usize>,
    ) {
        for events in events.chunks(EVENTS_TOGETHER) {
            let ids: [_; EVENTS_TOGETHER] = std::array::from_fn(|at| {
                let id = events.get(at).and_then(Event::task_id);
                id.map(|id| self.tasks.key(id))
            });
            self.tasks.load(&ids);
            for (event, id) in events.iter().zip(&ids) {
                self.apply_one(event, id.as_ref(), now, changes);
                ends.push(changes.len());
            }
        }
    }

    /// Applies an event that was received at `now` and adds its effects to `changes`.
    #[cfg(test)]
    pub(crate) fn apply(&mut self, event: &Event<'_>, now: Timestamp, changes: &mut Vec<Change>) {
        let events = std::slice::from_ref(event);
        self.apply_all(events, now, changes, &mut Vec::new());
    }

    fn apply_one(
        &mut self,
        event: &Event<'_>,
        id: Option<&TaskId<'_>>,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        self.evidence.event(now);
        if self.first_event == Timestamp::default() {
            self.first_event = now;
        }
        let stamped = self.stamped(event.timestamp, now, changes);
        if stamped == event.timestamp {
            self.newest = self.newest.max(stamped);
        }
        let sender = self.sender(&event.hostname);
        let mut seen = ReceivedEvent {
            kind: event.kind(),
            other: None,
            sender: sender.worker.or(sender.client),
            task: None,
        };
        match &event.detail {
            Detail::Task(task) => {
                if let Some(id) = id {
                    self.apply_task((task, id), (stamped, now), sender, changes);
                }
            }
            Detail::Worker(worker) => {
                if let Some(name) = sender.worker {
                    self.apply_worker(name, worker, event, (stamped, now), changes);
                }
                changes.push(Change::Event(seen));
            }
            Detail::Other(other) => {
                if let Some(worker) = sender.worker
                    && let Some(worker) = self.workers.find_or_insert(worker, now)
                {
                    worker.sign_of_life(now);
                }
                if self.limits.keep_foreign {
                    seen.other = Some(self.names.intern(&other.kind));
                    let task = other.uuid.as_deref().and_then(|uuid| self.tasks.find(uuid));
                    seen.task = task.and_then(|at| self.tasks.get(at).name);
                }
                changes.push(Change::Event(seen));
            }
        }
    }
}
