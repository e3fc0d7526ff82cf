//! Captures the state of a cluster at one instant, and converts it to and from the stored form.

use super::State;
use crate::saved;
use crate::state::beats::Beats;
use crate::state::held::CapturedHeld as Held;
use crate::state::periodic::CapturedPeriodic;
use crate::state::route::Home;
use crate::state::runtimes::Runtimes;
use crate::state::shard::place;
use crate::state::task::Label;
use crate::state::tasks::CapturedTasks as Tasks;
use crate::state::texts::{Restored, Texts};
use crate::state::workflows::CapturedWorkflows as Workflows;
use crate::state::{Change, Names, Symbol, Worker};
use crate::timestamp::Timestamp;

/// Tasks in one part of the stored form, which makes it some hundred kilobytes.
const PART: usize = 4_096;

/// A copy of everything that survives a restart. Cheap to make: tasks are shared until they change.
#[derive(Debug)]
pub struct CapturedCluster {
    names: Names,
    tasks: Tasks,
    workers: Vec<Worker>,
    homes: Vec<(Symbol, Home)>,
    held: Held,
    beats: Beats,
    runtimes: Runtimes,
    workflows: Workflows,
    sent: bool,
    /// How long ago each queue was last seen.
    watched: Vec<(Symbol, i64)>,
    periodic: CapturedPeriodic,
}

impl State {
    /// Copies everything that survives a restart.
    pub fn capture(&mut self) -> CapturedCluster {
        CapturedCluster {
            names: self.names.texts_only(),
            tasks: self.tasks.capture(),
            workers: self.workers.iter().cloned().collect(),
            homes: self.routes.homes().collect(),
            sent: self.routes.sent,
            held: self.held.capture(),
            beats: self.beats.clone(),
            runtimes: self.runtimes.clone(),
            workflows: self.workflows.capture(),
            watched: self.queues.watched.ages().collect(),
            periodic: self.periodic.capture(),
        }
    }

    /// Restores one stored part. Call it for each part in order, before anything else is applied.
    /// Invalid data is ignored. Adds the places of tasks in flight to `changes`.
    pub fn restore(&mut self, saved: &saved::Cluster, now: Timestamp, changes: &mut Vec<Change>) {
        self.resumed = now;
        self.unseen_until = now;
        for worker in &saved.workers {
            let mut texts = Restored::new(&saved.texts, &mut self.names);
            if let Some(name) = texts.node(worker.name)
                && let Some(known) = self.workers.find_or_insert(name, now)
            {
                known.restore(worker, &mut texts, now);
            }
        }
        for pair in &saved.queues_of_names {
            let mut texts = Restored::new(&saved.texts, &mut self.names);
            if let Some(name) = texts.name(pair.name) {
                let home = Home {
                    queue: texts.name(pair.queue),
                    several: pair.several,
                    unsent: u8::try_from(pair.unsent).unwrap_or(u8::MAX),
                };
                self.routes.restore(name, home);
                if let Some(queue) = home.queue
                    && saved.watched_queues.is_empty()
                {
                    // Older versions stored no other trace of a queue.
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
        self.restore_learned(saved, now);
        self.routes.sent |= saved.sent;
        let mut texts = Restored::new(&saved.texts, &mut self.names);
        self.held.restore_orphans(&saved.held, &mut texts, now);
        self.restore_workflows(saved, now);
        for stored in &saved.tasks {
            let mut texts = Restored::new(&saved.texts, &mut self.names);
            let Some(at) = self.tasks.restore(stored, &mut texts, now) else {
                continue;
            };
            self.held.restore(at, &stored.held, &mut texts, now);
            let task = self.tasks.get_mut(at);
            if !stored.held.is_empty() {
                task.set_label(Label::Held);
            }
            self.some_expire |= task.may_expire();
            self.routes.sent |= task.was_sent();
            let to = place(task, self.limits.shard);
            if to.is_some() {
                changes.push(Change::Moved { from: None, to });
            }
            self.restore_member(at, stored.workflow.as_ref(), now);
            self.evict(now, changes);
        }
    }
}

impl State {
    /// Restores beats, and what is usual for tasks.
    fn restore_learned(&mut self, saved: &saved::Cluster, now: Timestamp) {
        let mut texts = Restored::new(&saved.texts, &mut self.names);
        for beat in &saved.beats {
            self.beats.restore(beat, &mut texts, now);
        }
        for runtimes in &saved.runtimes {
            self.runtimes.restore(runtimes, &mut texts, now);
        }
        if let Some(periodic) = &saved.periodic {
            self.periodic.restore(periodic, &mut texts, now);
            self.periodic.not_observed(now);
        }
    }
}

impl CapturedCluster {
    /// The stored form, part by part. The first part contains everything except tasks.
    pub fn into_saved(
        self,
        broker: String,
        position: saved::Position,
    ) -> impl Iterator<Item = saved::Cluster> {
        let mut texts = Texts::default();
        let workers = self.workers.iter().map(|worker| worker.stored(&mut texts));
        let workers = workers.collect();
        let homes = self.homes.iter();
        let queues = homes.map(|(name, home)| saved::QueueOfName {
            name: texts.place(Some(*name)),
            queue: texts.place(home.queue),
            several: home.several,
            unsent: home.unsent.into(),
        });
        let queues_of_names = queues.collect();
        let watched = self.watched.iter();
        let watched = watched.map(|(queue, age)| saved::WatchedQueue {
            queue: texts.place(Some(*queue)),
            age: *age,
        });
        let watched_queues = watched.collect();
        let orphans = self.held.orphans(&self.tasks);
        let held = orphans.map(|step| step.stored(&mut texts)).collect();
        let beats = self.beats.stored(&mut texts);
        let runtimes = self.runtimes.stored(&mut texts);
        let workflows = self.workflows.stored(&mut texts);
        let periodic = Some(self.periodic.stored(&mut texts));
        let first = saved::Cluster {
            broker: broker.clone(),
            texts: texts.stored(&self.names),
            tasks: Vec::new(),
            workers,
            queues_of_names,
            watched_queues,
            held,
            beats,
            runtimes,
            workflows,
            sent: self.sent,
            position: Some(position),
            periodic,
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
            let tasks = part.iter().map(|at| saved::Task {
                held: self.held.stored(*at, self.tasks.label(*at), &mut texts),
                ..self.tasks.stored(*at, &mut texts)
            });
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
