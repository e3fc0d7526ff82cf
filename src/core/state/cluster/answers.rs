//! Applies the workers' remote-control answers, in particular the lists of their tasks.

use hashbrown::HashSet;

use super::State;
use super::reconcile::Round;
use crate::bounds::Limit;
use crate::state::generated::folded;
use crate::state::shard::place;
use crate::state::{BeatAnswer, Change, Shard, Symbol, TaskAnswer, WorkerAnswer};
use crate::timestamp::Timestamp;

impl State {
    /// Applies one round of answers.
    pub(super) fn workers_answered(
        &mut self,
        answers: &[WorkerAnswer],
        asked: Timestamp,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        self.queues.workers_asked();
        self.rounds = [self.rounds[1], now];
        if answers.iter().any(|answer| answer.registered.is_some()) {
            self.workers.settings_were_asked();
        }
        let mut named = HashSet::new();
        for answer in answers {
            self.answer(answer, now, &mut named, changes);
        }
        self.look_at_held(now, changes);
        let round = Round { asked, now };
        self.reconcile(answers, &named, round, changes);
        self.find_stalled(answers, round);
    }

    /// Applies one round of beats.
    pub(super) fn beats_answered(&mut self, answers: &[BeatAnswer], now: Timestamp) {
        // Every shard asks them, and one shows them.
        if self.limits.shard.is_none_or(Shard::is_first)
            && !self.beats.apply(answers, &mut self.names, now)
        {
            self.bounds.reached(Limit::Replies);
        }
    }

    /// Applies the answer of one worker.
    fn answer(
        &mut self,
        answer: &WorkerAnswer,
        now: Timestamp,
        named: &mut HashSet<u32>,
        changes: &mut Vec<Change>,
    ) {
        let Some(name) = self.names.intern_node(&answer.worker) else {
            return;
        };
        let names = &mut self.names;
        let queues = answer.queues.as_ref().map(|queues| {
            let queues = queues
                .iter()
                .map(|queue| names.intern_queue(&folded(queue)));
            let mut queues: Vec<_> = queues.collect();
            queues.sort_unstable();
            queues.dedup();
            queues
        });
        self.routes.bind(&answer.bindings, now);
        if let Some(tasks) = &answer.registered
            && !self.registered.apply(tasks)
        {
            self.bounds.reached(Limit::ReplyItems);
        }
        for queue in queues.iter().flatten() {
            self.queues.watched.name(*queue, now);
        }
        // Every shard asks all workers. Each worker is counted by the shard that receives its
        // events.
        let worker = match self.limits.shard {
            Some(_) => self.workers.find(name),
            None => self.workers.find_or_insert(name, now),
        };
        let Some(worker) = worker else {
            return;
        };
        worker.answered(answer, now);
        if queues.is_some() {
            worker.queues = queues;
            worker.asked = true;
        }
        // If a worker sends no task events, nothing is known of its other tasks, so counting the
        // ones it lists would be misleading.
        let speaks = worker.events() != Some(false);
        let tasks = [&answer.active, &answer.reserved, &answer.scheduled];
        for task in tasks.into_iter().flatten().flatten() {
            named.extend(self.task_answer(task, name, speaks, now, changes));
        }
    }

    /// Applies a task listed by a worker: its name, its queue, and that it exists. Returns its
    /// index.
    fn task_answer(
        &mut self,
        answer: &TaskAnswer,
        worker: Symbol,
        speaks: bool,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Option<u32> {
        let known = self.tasks.find(&answer.uuid).is_some();
        if !known && !speaks {
            return None;
        }
        let shard = self.limits.shard;
        let at = self.tasks.find_or_insert(&self.tasks.key(&answer.uuid));
        let before = place(self.tasks.get(at), shard);
        let name = answer.name.as_deref().map(|name| self.names.intern(name));
        let queue = answer
            .queue
            .as_deref()
            .map(|queue| self.names.intern_queue(&folded(queue)));
        if let Some(queue) = queue {
            self.queues.watched.name(queue, now);
        }
        let task = self.tasks.get_mut(at);
        if !known {
            task.answered(worker, answer, now);
        }
        task.name = task.name.or(name);
        if let Some(queue) = queue.filter(|_| !task.queue_told) {
            self.tell(at, queue, changes);
        } else if !known {
            self.settle(at, changes);
        }
        let after = place(self.tasks.get(at), shard);
        self.tasks.file(at, now);
        if before != after {
            changes.push(Change::Moved {
                from: before,
                to: after,
            });
        }
        self.evict(now, changes);
        Some(at)
    }
}
