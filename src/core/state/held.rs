//! Holds steps of tasks until their label `queue` is known.
//!
//! On RabbitMQ a task's other events can overtake its task-sent, and a new worker has not yet
//! reported which queues it consumes. A step of a task whose queue is still unknown is held until
//! it becomes known, and for at most one whole snapshot interval: steps held at one snapshot are
//! counted in the next. Until then the task is not in flight anywhere. Steps are not held if the
//! queue is unlikely to be reported.

mod saved;

use hashbrown::HashMap;

use super::cluster::{Arrived, State};
use super::generated::folded;
use super::task::Intervals;
use super::tasks::At;
use super::{Change, Step, Symbol, TaskKey, worker};
use crate::bounds::Limit;
use crate::event::{TaskEvent, TaskKind};
use crate::timestamp::Timestamp;
pub(super) use saved::CapturedHeld;

/// The most steps that are held, at about 200 bytes each. Further steps are counted at once.
const HELD_MAX: usize = 65_536;

/// If the capacity exceeds this, the memory is freed once no step is held.
const KEPT: usize = 1_024;

/// Whether the queue that a task is counted under is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Label {
    /// Nothing has been counted yet.
    #[default]
    Open,
    /// Its steps are held.
    Held,
    Settled,
}

/// A step of a task with everything that it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct HeldStep {
    /// `None`: another shard counts the step, and only its intervals count here.
    pub(super) step: Option<Step>,
    pub(super) at: Timestamp,
    pub(super) sender: Option<Symbol>,
    /// The task's name, if known.
    pub(super) name: Option<Symbol>,
    pub(super) worker: Option<Symbol>,
    /// The worker to which the intervals belong.
    pub(super) ran_by: Option<Symbol>,
    pub(super) eta: bool,
    pub(super) intervals: Intervals,
}

/// The exchange and key of a task-sent, kept until the bindings are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    exchange: Symbol,
    key: Symbol,
    queue: Option<Symbol>,
}

/// All held steps, as one chain per task.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The first held step of each task.
    chains: HashMap<At, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// `None`: the slot is free.
    step: Option<HeldStep>,
    next: Option<u32>,
    /// Only for the first step of a chain.
    head: Option<Head>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    last: u32,
    task: At,
    /// Whether a snapshot was made since.
    old: bool,
    published: Option<Published>,
}

impl Held {
    /// The number of held steps.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn is_full(&self) -> bool {
        self.len() >= HELD_MAX
    }

    /// Appends a step to a task's chain, or starts a chain. Returns the first step.
    fn push(&mut self, begins: bool, task: At, step: HeldStep) -> u32 {
        let slot = Slot {
            step: Some(step),
            next: None,
            head: None,
        };
        let at = if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            at
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("bounded above")
        };
        let chain = self.chains.get(&task).filter(|_| !begins);
        let Some(&first) = chain else {
            // Steps of an earlier task at this index are counted when they are old.
            self.chains.insert(task, at);
            self.slots[at as usize].head = Some(Head {
                last: at,
                task,
                old: false,
                published: None,
            });
            return at;
        };
        if let Some(head) = &mut self.slots[first as usize].head {
            let last = std::mem::replace(&mut head.last, at);
            self.slots[last as usize].next = Some(at);
        }
        first
    }

    /// Removes the first remaining step of a chain. Returns it with the next one.
    fn pop(&mut self, at: u32) -> (Option<HeldStep>, Option<u32>) {
        let slot = &mut self.slots[at as usize];
        let (step, next) = (slot.step.take(), slot.next.take());
        slot.head = None;
        self.free.push(at);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT {
            *self = Self::default();
        }
        (step, next)
    }

    /// Removes the chain of a task.
    fn take_chain(&mut self, task: At) -> Option<u32> {
        self.chains.remove(&task)
    }

    fn head_mut(&mut self, chain: u32) -> Option<&mut Head> {
        self.slots[chain as usize].head.as_mut()
    }

    /// All chains.
    fn heads(&self) -> Vec<(u32, Head)> {
        let slots = (0..).zip(&self.slots);
        slots
            .filter_map(|(at, slot)| Some((at, slot.head?)))
            .collect()
    }

    /// The names that the steps refer to.
    pub(super) fn names(&self) -> impl Iterator<Item = Symbol> {
        let steps = self.slots.iter().filter_map(|slot| slot.step);
        let steps = steps.flat_map(|step| {
            let class = match step.step {
                Some(Step::Failed(class) | Step::Retried(class)) => class,
                _ => None,
            };
            [step.sender, step.name, step.worker, step.ran_by, class]
        });
        let heads = self.slots.iter().filter_map(|slot| slot.head?.published);
        let heads = heads.flat_map(|to| [Some(to.exchange), Some(to.key), to.queue]);
        steps.chain(heads).flatten()
    }
}

impl HeldStep {
    /// Counts the step for a task with that name and queue.
    pub(super) fn count(
        &self,
        name: Option<Symbol>,
        queue: Option<Symbol>,
        changes: &mut Vec<Change>,
    ) {
        let of = TaskKey {
            name,
            queue,
            worker: self.worker,
        };
        if let Some(step) = self.step {
            changes.push(Change::Task {
                step,
                of,
                at: self.at,
                sender: self.sender,
            });
        }
        let of = TaskKey {
            worker: self.ran_by,
            ..of
        };
        let Intervals {
            ran,
            queue_wait,
            prefetch_wait,
            turnaround,
            attempts,
            clamped: _,
            refused: _,
        } = self.intervals;
        let ran = ran.map(|(outcome, seconds)| Change::Ran {
            outcome,
            seconds,
            of,
        });
        let waited = queue_wait.map(|seconds| Change::QueueWaited { seconds, of });
        let eta = self.eta;
        let prefetched = prefetch_wait.map(|seconds| Change::PrefetchWaited { seconds, of, eta });
        let turned = turnaround.map(|(outcome, seconds)| Change::TurnedAround {
            outcome,
            seconds,
            of,
        });
        let finished = attempts.map(|(outcome, attempts)| Change::Finished {
            outcome,
            attempts,
            of,
        });
        let all = [ran, waited, prefetched, turned, finished];
        changes.extend(all.into_iter().flatten());
    }

    /// Whether there is nothing to count.
    fn is_empty(&self) -> bool {
        let counted = self.step.is_some();
        !counted && self.intervals == Intervals::default()
    }
}

impl State {
    /// The number of events waiting for the queue of their task.
    pub fn events_held(&self) -> usize {
        self.held.len()
    }

    /// Holds a step while its task's queue may still become known. Otherwise counts it.
    pub(super) fn hold(
        &mut self,
        at: At,
        step: HeldStep,
        arrived: &Arrived<'_>,
        changes: &mut Vec<Change>,
    ) {
        let (event, now) = (arrived.event, arrived.now);
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
            self.release(chain, name, queue, changes);
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

    fn release(
        &mut self,
        chain: u32,
        name: Option<Symbol>,
        queue: Option<Symbol>,
        changes: &mut Vec<Change>,
    ) {
        let mut next = Some(chain);
        while let Some(at) = next {
            let (step, behind) = self.held.pop(at);
            if let Some(step) = step {
                step.count(name.or(step.name), queue, changes);
            }
            next = behind;
        }
    }

    /// Whether a chain belongs to the task at this index: an earlier one may have been forgotten
    /// meanwhile.
    fn is_of(&self, chain: u32, at: At) -> bool {
        self.tasks.label(at) == Label::Held && self.held.chains.get(&at) == Some(&chain)
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
            let step = self.held.slots[chain as usize].step;
            let name = step.and_then(|step| step.name);
            let queue = self.routes.fallback(name);
            if self.held.chains.get(&at) == Some(&chain) {
                self.held.take_chain(at);
            }
            self.release(chain, name, queue, changes);
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
