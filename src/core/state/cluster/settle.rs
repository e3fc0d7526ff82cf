//! Decides the queue that a task is counted under, and holds its steps until then.
//!
//! On RabbitMQ a task's other events can overtake its task-sent, and a new worker has not yet
//! reported which queues it consumes. A step of a task whose queue is still unknown is held until
//! it becomes known, and for at most one whole snapshot interval: steps held at one snapshot are
//! counted in the next. Until then the task is not in flight anywhere. Steps are not held if the
//! queue is unlikely to be reported.

use super::State;
use crate::bounds::Limit;
use crate::event::{TaskEvent, TaskKind};
use crate::state::generated::folded;
use crate::state::held::{HeldStep, Published};
use crate::state::task::Label;
use crate::state::tasks::At;
use crate::state::{Change, Symbol, worker};
use crate::timestamp::Timestamp;

impl State {
    /// Holds a step while its task's queue may still become known. Otherwise counts it.
    pub(super) fn hold(
        &mut self,
        at: At,
        step: HeldStep,
        event: &TaskEvent<'_>,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let task = self.tasks.get(at);
        let label = task.label();
        let waits = !task.queue_told && self.may_be_told(at, now);
        let is_full = self.held.is_full();
        if waits && is_full {
            self.bounds.reached(Limit::HeldEvents);
        }
        if is_full || !waits {
            self.settle(at, changes);
            let task = self.tasks.get(at);
            step.count(task.name, task.queue, changes);
            return;
        }
        if step.is_empty() {
            return;
        }
        let chain = self.held.push(label == Label::Open, at, step);
        self.tasks.get_mut(at).set_label(Label::Held);
        if event.kind == TaskKind::Sent
            && let (Some(exchange), Some(key)) = (&event.exchange, &event.routing_key)
        {
            let published = Published {
                exchange: self.names.intern_queue(exchange),
                key: self.names.intern_queue(key),
                queue: event
                    .queue
                    .as_deref()
                    .map(|queue| self.names.intern_queue(queue)),
            };
            if let Some(head) = self.held.head_mut(chain) {
                head.published = Some(published);
            }
        }
    }

    /// Whether the queue of a task is likely to be reported soon: by its task-sent, by the first
    /// answer of its worker, or, after a task-sent that names an exchange, by the bindings that the
    /// first workers report.
    fn may_be_told(&self, at: At, now: Timestamp) -> bool {
        let task = self.tasks.get(at);
        let asked_soon = |worker| {
            let worker = self.workers.get(worker);
            worker.is_some_and(|worker| worker.is_to_answer(self.asked_since(), now))
        };
        let no_bindings = || {
            let since = self.first_event.max(self.resumed);
            let since = since.max(self.workers.begun_at);
            self.limits.asks_workers && self.rounds[1] <= since && now.since(since) < worker::NEW
        };
        (!task.was_sent()
            && self
                .routes
                .expects_sent(task.name, self.limits.asks_workers))
            || task.worker.is_some_and(asked_soon)
            || (task.was_sent() && no_bindings())
    }

    /// The queue of a task-sent that names an exchange.
    pub(super) fn published(&mut self, event: &TaskEvent<'_>) -> Option<Symbol> {
        let hint = event.queue.as_deref();
        let queue = match (event.exchange.as_deref(), event.routing_key.as_deref()) {
            (None, _) => hint,
            (Some(exchange), key) => {
                let key = key.unwrap_or_default();
                let only_hint = !self.limits.asks_workers;
                self.routes.published(exchange, key, hint, only_hint)
            }
        }?;
        Some(self.names.intern_queue(&folded(queue)))
    }

    /// Records the queue of a task, and counts its held steps.
    pub(super) fn tell(&mut self, at: At, queue: Symbol, changes: &mut Vec<Change>) {
        let task = self.tasks.get_mut(at);
        task.queue = Some(queue);
        task.queue_told = true;
        if let Some(name) = task.name {
            self.routes.seen(name, queue);
        }
        self.settle(at, changes);
    }

    /// Decides the queue that a task is counted under, and counts its held steps.
    pub(super) fn settle(&mut self, at: At, changes: &mut Vec<Change>) {
        let task = self.tasks.get(at);
        let (label, name) = (task.label(), task.name);
        if label == Label::Settled {
            return;
        }
        let queue = task.queue.or_else(|| self.routes.fallback(name));
        let task = self.tasks.get_mut(at);
        task.set_label(Label::Settled);
        task.queue = queue;
        if label == Label::Held
            && let Some(chain) = self.held.take_chain(at)
        {
            self.held.release(chain, name, queue, changes);
        }
    }

    /// Like [`settle`](Self::settle), if something other than an event of this task decides the
    /// queue.
    pub(super) fn settle_moved(&mut self, at: At, told: Option<Symbol>, changes: &mut Vec<Change>) {
        let from = self.place_of(at);
        match told {
            Some(queue) => self.tell(at, queue, changes),
            None => self.settle(at, changes),
        }
        let to = self.place_of(at);
        if from != to {
            changes.push(Change::Moved { from, to });
        }
    }

    /// Whether a chain belongs to the task at this index: an earlier one may have been forgotten
    /// meanwhile.
    fn is_of(&self, chain: u32, at: At) -> bool {
        self.tasks.label(at) == Label::Held && self.held.chain(at) == Some(chain)
    }

    /// Called before a snapshot: counts the steps that were already held at the previous one.
    pub(super) fn expire_held(&mut self, changes: &mut Vec<Change>) {
        if self.held.len() == 0 {
            return;
        }
        for (chain, head) in self.held.heads() {
            if head.old {
                self.give_up_waiting(chain, head.task, changes);
            } else if let Some(head) = self.held.head_mut(chain) {
                head.old = true;
            }
        }
    }

    /// Counts all held steps.
    pub fn release_held(&mut self, changes: &mut Vec<Change>) {
        for (chain, head) in self.held.heads() {
            self.give_up_waiting(chain, head.task, changes);
        }
    }

    fn give_up_waiting(&mut self, chain: u32, at: At, changes: &mut Vec<Change>) {
        if self.is_of(chain, at) {
            let task = self.tasks.get(at);
            if !task.was_sent() {
                self.routes.unsent(task.name);
            }
            self.settle_moved(at, None, changes);
        } else {
            let name = self.held.name(chain);
            let queue = self.routes.fallback(name);
            if self.held.chain(at) == Some(chain) {
                self.held.take_chain(at);
            }
            self.held.release(chain, name, queue, changes);
        }
    }

    /// Called after workers have answered: counts steps whose queue is now known, or will not
    /// become known.
    pub(super) fn look_at_held(&mut self, now: Timestamp, changes: &mut Vec<Change>) {
        if self.held.len() == 0 {
            return;
        }
        for (chain, head) in self.held.heads() {
            if !self.is_of(chain, head.task) {
                continue;
            }
            let worker = self.tasks.get(head.task).worker;
            let worker = worker.and_then(|worker| self.workers.get(worker));
            let only = worker.and_then(|worker| worker.only_queue(self.asked_since(), now));
            let told = only.or_else(|| self.bound(head.published?));
            if told.is_some() || !self.may_be_told(head.task, now) {
                self.settle_moved(head.task, told, changes);
            }
        }
    }

    /// Where a task-sent leads, now that bindings are known which were missing when it arrived.
    fn bound(&mut self, published: Published) -> Option<Symbol> {
        let Published {
            exchange,
            key,
            queue,
        } = published;
        let (exchange, key) = (self.names.text(exchange), self.names.text(key));
        let hint = queue.map(|queue| self.names.text(queue));
        let queue = self
            .routes
            .published(&exchange, &key, hint.as_deref(), false)?;
        Some(self.names.intern_queue(&folded(queue)))
    }
}

#[cfg(test)]
mod tests;
