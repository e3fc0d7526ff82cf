//! What is known about workers, queues and waiting tasks, for people: with texts instead of symbols.

use std::sync::Arc;

use hashbrown::HashMap;

use super::super::{
    Beat, LongRunning, PeriodicTask, Queue, Software, Symbol, TaskStage, Worker, WorkflowLevel,
    shard,
};
use super::State;
use crate::state::task::Label;
use crate::timestamp::Timestamp;

/// The levels of one cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterOverview {
    pub workers: Vec<WorkerOverview>,
    pub queues: Vec<(Arc<str>, Queue)>,
    /// For each queue and stage, when its longest wait began. The queue is absent if it is not known.
    pub oldest: Vec<(Option<Arc<str>>, TaskStage, Timestamp)>,
    /// The beats whose state is known.
    pub beats: Vec<(Arc<str>, Beat)>,
    /// The names that have been sent, with what is known of their schedule.
    pub periodic: Vec<(Arc<str>, PeriodicTask)>,
    /// The names of tasks that run too long, with the worker of the oldest.
    pub long_running: Vec<(Arc<str>, Option<Arc<str>>, LongRunning)>,
    /// The open workflows by the name of their root task, if known.
    pub workflows: Vec<(Option<Arc<str>>, WorkflowLevel)>,
    /// When the first event arrived; `None` if none has.
    pub first_event: Option<Timestamp>,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct WorkerOverview {
    pub name: Arc<str>,
    pub worker: Worker,
    /// Name and version, such as `py-celery 5.6.3`.
    pub software: Option<String>,
    pub queues: Option<Vec<Arc<str>>>,
    /// Number of tasks that it has received and not started.
    pub prefetched: u64,
    /// The queues that have messages and from which it accepts none, although it has free slots, and
    /// since when.
    pub stalled: Vec<(Arc<str>, Timestamp)>,
}

impl State {
    /// The current levels.
    pub fn overview(&self, now: Timestamp) -> ClusterOverview {
        let text = |name: Symbol| self.names.text(name);
        let prefetched = self.prefetched();
        let workers = self.workers.iter().map(|worker| WorkerOverview {
            name: text(worker.name),
            software: self.software(worker.software),
            queues: worker
                .queues
                .as_ref()
                .map(|queues| queues.iter().map(|queue| text(*queue)).collect()),
            prefetched: prefetched.get(&worker.name).copied().unwrap_or_default(),
            stalled: self
                .stalled_queues(worker, now)
                .map(|(queue, since)| (text(queue), since))
                .collect(),
            worker: worker.clone(),
        });
        let queues = self.queues().into_iter();
        let oldest = self.oldest().into_iter();
        ClusterOverview {
            workers: workers.collect(),
            queues: queues.map(|(name, queue)| (text(name), queue)).collect(),
            oldest: oldest
                .map(|((queue, stage), since)| (queue.map(text), stage, since))
                .collect(),
            beats: self
                .beats(now)
                .map(|beat| (text(beat.name), *beat))
                .collect(),
            periodic: self
                .periodic_tasks(now)
                .map(|task| (text(task.name), task))
                .collect(),
            long_running: self
                .long_running(now)
                .into_iter()
                .map(|one| (text(one.name), one.worker.map(text), one))
                .collect(),
            workflows: self
                .workflows()
                .into_iter()
                .map(|(root, level)| (root.map(text), level))
                .collect(),
            first_event: (self.first_event != Timestamp::default()).then_some(self.first_event),
        }
    }

    /// The start of the longest wait, by queue and stage: when that task entered the stage or, if
    /// later, when it was due.
    pub fn oldest(&self) -> HashMap<(Option<Symbol>, TaskStage), Timestamp> {
        let mut oldest: HashMap<_, Timestamp> = HashMap::new();
        // Most tasks are in the same place as the one before, so one look-up per run suffices.
        let mut run = None;
        let mut add = |run: Option<(_, Timestamp)>| {
            if let Some((key, since)) = run {
                let known = oldest.entry(key).or_insert(since);
                *known = since.min(*known);
            }
        };
        for task in self.tasks.in_flight() {
            let stage = shard::stage(task, self.limits.shard);
            let stage = stage.filter(|_| task.label() == Label::Settled);
            let Some((stage, since)) = stage.zip(task.waits_since()) else {
                continue;
            };
            let key = (task.queue, stage);
            run = match run {
                Some((same, before)) if same == key => Some((key, since.min(before))),
                other => {
                    add(other);
                    Some((key, since))
                }
            };
        }
        add(run);
        oldest
    }

    fn software(&self, software: Software) -> Option<String> {
        let Software { ident, version, .. } = software;
        let words: Vec<Arc<str>> = [ident, version]
            .into_iter()
            .flatten()
            .map(|name| self.names.text(name))
            .collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// The number of tasks that each worker has received and not started.
    fn prefetched(&self) -> HashMap<Symbol, u64> {
        let mut counts = HashMap::new();
        for task in self.tasks.in_flight() {
            if shard::stage(task, self.limits.shard) == Some(TaskStage::Received)
                && let Some(worker) = task.worker
            {
                *counts.entry(worker).or_default() += 1;
            }
        }
        counts
    }
}
