//! What is known of a cluster, copied at one instant, in its stored form and back.

use super::{Change, Name, State, Timestamp, place};
use crate::saved;
use crate::state::tasks::Captured as Tasks;
use crate::state::texts::{Restored, Texts};
use crate::state::{Names, Worker};

/// Tasks in one part of the stored form: some hundred kilobytes.
const PART: usize = 4_096;

/// A copy of all that survives a restart. Making it is cheap: tasks are shared until they change.
#[derive(Debug)]
pub struct Captured {
    names: Names,
    tasks: Tasks,
    workers: Vec<Worker>,
    queue_of_name: Vec<(Name, Name)>,
    /// How long ago each queue was named.
    watched: Vec<(Name, i64)>,
}

impl State {
    /// Copies all that survives a restart.
    pub fn capture(&self) -> Captured {
        let queues = self.queue_of_name.iter();
        Captured {
            names: self.names.texts_only(),
            tasks: self.tasks.capture(),
            workers: self.workers.iter().cloned().collect(),
            queue_of_name: queues.map(|(name, queue)| (*name, *queue)).collect(),
            watched: self.queues.watched.ages().collect(),
        }
    }

    /// Goes on from one part of what was stored; to be called for each, in their order, before anything else. What makes
    /// no sense in it is left. Adds to `changes` where each task in flight is.
    pub fn restore(&mut self, saved: &saved::Cluster, now: Timestamp, changes: &mut Vec<Change>) {
        self.resumed = now;
        for worker in &saved.workers {
            let mut texts = Restored::new(&saved.texts, &mut self.names);
            if let Some(name) = texts.node(worker.name)
                && let Some(known) = self.workers.find_or_insert(name, now)
            {
                known.restore(worker, &mut texts);
            }
        }
        for pair in &saved.queues_of_names {
            let mut texts = Restored::new(&saved.texts, &mut self.names);
            if let (Some(name), Some(queue)) = (texts.name(pair.name), texts.name(pair.queue)) {
                self.queue_of_name.insert(name, queue);
                if saved.watched_queues.is_empty() {
                    // An older daemon stored no other trace of a queue.
                    self.queues.watched.restore(queue, 0, now);
                }
            }
        }
        for watched in &saved.watched_queues {
            let mut texts = Restored::new(&saved.texts, &mut self.names);
            if let Some(queue) = texts.name(watched.queue) {
                self.queues.watched.restore(queue, watched.age, now);
            }
        }
        for task in &saved.tasks {
            let mut texts = Restored::new(&saved.texts, &mut self.names);
            let Some(at) = self.tasks.restore(task, &mut texts) else {
                continue;
            };
            let task = self.tasks.get(at);
            self.some_expire |= task.may_expire();
            let to = place(task, self.limits.shard);
            if to.is_some() {
                changes.push(Change::Moved { from: None, to });
            }
            self.evict(changes);
        }
    }
}

impl Captured {
    /// The stored form, part by part. The first has everything but tasks.
    pub fn into_saved(
        self,
        broker: String,
        position: saved::Position,
    ) -> impl Iterator<Item = saved::Cluster> {
        let mut texts = Texts::default();
        let workers = self.workers.iter().map(|worker| worker.stored(&mut texts));
        let workers = workers.collect();
        let queues = self.queue_of_name.iter();
        let queues = queues.map(|(name, queue)| saved::QueueOfName {
            name: texts.place(Some(*name)),
            queue: texts.place(Some(*queue)),
        });
        let queues_of_names = queues.collect();
        let watched = self.watched.iter();
        let watched = watched.map(|(queue, age)| saved::WatchedQueue {
            queue: texts.place(Some(*queue)),
            age: *age,
        });
        let watched_queues = watched.collect();
        let first = saved::Cluster {
            broker: broker.clone(),
            texts: texts.stored(&self.names),
            tasks: Vec::new(),
            workers,
            queues_of_names,
            watched_queues,
            position: Some(position),
        };
        let places: Vec<_> = self.tasks.places().collect();
        let mut from = 0;
        let parts = std::iter::from_fn(move || {
            let part = places.get(from..places.len().min(from + PART))?;
            from += part.len();
            if part.is_empty() {
                return None;
            }
            let mut texts = Texts::default();
            let tasks = part.iter().map(|at| self.tasks.stored(*at, &mut texts));
            Some(saved::Cluster {
                broker: broker.clone(),
                tasks: tasks.collect(),
                texts: texts.stored(&self.names),
                ..saved::Cluster::default()
            })
        });
        std::iter::once(first).chain(parts)
    }
}

#[cfg(test)]
mod tests;
