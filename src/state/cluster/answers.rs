//! What workers answer to remote control: the tasks that they have.

use hashbrown::HashSet;

use super::{State, place};
use crate::state::{Change, Name, TaskAnswer, WorkerAnswer};
use crate::timestamp::Timestamp;

/// A list of tasks that is as long as this may have been cut by whoever read it.
const ANSWERED_MAX: usize = 10_000;

impl State {
    /// Applies one round of answers.
    pub(super) fn workers_answered(
        &mut self,
        answers: &[WorkerAnswer],
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        self.queues.workers_asked();
        let mut told = HashSet::new();
        for answer in answers {
            self.answer(answer, now, &mut told, changes);
        }
        self.forget_untold(answers, &told, now, changes);
    }

    /// What a worker answered to remote control.
    fn answer(
        &mut self,
        answer: &WorkerAnswer,
        now: Timestamp,
        told: &mut HashSet<u32>,
        changes: &mut Vec<Change>,
    ) {
        let name = self.names.intern_node(&answer.worker);
        let names = &mut self.names;
        let queues = answer.queues.as_ref().map(|queues| {
            let queues = queues.iter().map(|queue| names.intern(queue));
            queues.collect::<Vec<_>>()
        });
        // Every shard asks all workers; each counts with the one that gets its events.
        let worker = match self.limits.shard {
            Some(_) => self.workers.find(name),
            None => self.workers.find_or_insert(name, now),
        };
        let Some(worker) = worker else {
            return;
        };
        worker.sign_of_life(now);
        worker.pool_size = answer.pool_size.or(worker.pool_size);
        worker.processes = answer.processes.or(worker.processes);
        worker.prefetch_count = answer.prefetch_count.or(worker.prefetch_count);
        if queues.is_some() {
            worker.queues = queues;
        }
        if !worker.has_heartbeats() {
            let running = answer.active.as_ref().map(|active| active.len() as u64);
            worker.active = running.or(worker.active);
        }
        // Of one that sends no task events nobody would hear that its tasks have ended.
        let speaks = worker.events() != Some(false);
        let tasks = [&answer.active, &answer.reserved];
        for task in tasks.into_iter().flatten().flatten() {
            told.extend(self.task_answer(task, name, speaks, now, changes));
        }
    }

    /// Tasks that workers told of before, and of which no event came, are no longer there when they are not told of
    /// any more: a task may have `send_events` off. Lists that may have been cut tell nothing.
    fn forget_untold(
        &mut self,
        answers: &[WorkerAnswer],
        told: &HashSet<u32>,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        if !std::mem::take(&mut self.some_by_answer) {
            return;
        }
        let whole = |tasks: &Option<Vec<TaskAnswer>>| {
            tasks
                .as_ref()
                .is_some_and(|tasks| tasks.len() < ANSWERED_MAX)
        };
        let whole = answers
            .iter()
            .filter(|answer| whole(&answer.active) && whole(&answer.reserved));
        let (names, shard) = (&self.names, self.limits.shard);
        let workers: HashSet<Name> = whole
            .filter_map(|answer| names.find(&answer.worker))
            .collect();
        let some = &mut self.some_by_answer;
        self.tasks.give_up(now, |at, task| {
            let of_these = task.worker.is_some_and(|worker| workers.contains(&worker));
            let untold = task.by_answer && of_these && !told.contains(&at);
            if untold {
                changes.push(Change::Moved {
                    from: place(task, shard),
                    to: None,
                });
            }
            *some |= task.by_answer && !untold;
            untold
        });
    }

    /// What a worker tells of a task: its name and queue, and that it is there. Returns its place.
    fn task_answer(
        &mut self,
        answer: &TaskAnswer,
        worker: Name,
        speaks: bool,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Option<u32> {
        let known = self.tasks.find(&answer.uuid).is_some();
        if !known && !speaks {
            return None;
        }
        let shard = self.limits.shard;
        let at = self.tasks.find_or_insert(&answer.uuid);
        let before = place(self.tasks.get(at), shard);
        let name = answer.name.as_deref().map(|name| self.names.intern(name));
        let queue = answer
            .queue
            .as_deref()
            .map(|queue| self.names.intern(queue));
        let task = self.tasks.get_mut(at);
        if !known {
            task.answered(worker, answer.started, now);
            self.some_by_answer = true;
        }
        task.name = task.name.or(name);
        if let Some(queue) = queue
            && !task.queue_told
        {
            task.queue = Some(queue);
            task.queue_told = true;
            if let Some(name) = task.name {
                self.queue_of_name.insert(name, queue);
            }
        }
        let after = place(self.tasks.get(at), shard);
        self.tasks.file(at, now);
        if before != after {
            changes.push(Change::Moved {
                from: before,
                to: after,
            });
        }
        self.evict(changes);
        Some(at)
    }

    /// Tasks that are known by a worker's answers alone, and of which no event will tell that they ended.
    pub(super) fn forget_answered(
        &mut self,
        worker: Name,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let shard = self.limits.shard;
        self.tasks.give_up(now, |_, task| {
            let answered = task.by_answer && task.worker == Some(worker);
            if answered {
                changes.push(Change::Moved {
                    from: place(task, shard),
                    to: None,
                });
            }
            answered
        });
    }
}
