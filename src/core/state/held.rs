//! The bounded store of held steps: those of tasks whose label `queue` is not decided yet.

mod saved;

use hashbrown::HashMap;

use super::task::Intervals;
use super::tasks::At;
use super::{Change, Step, Symbol, TaskKey};
use crate::timestamp::Timestamp;
pub(super) use saved::CapturedHeld;

/// The most steps that are held, at about 200 bytes each. Further steps are counted at once.
pub(super) const HELD_MAX: usize = 65_536;

/// If the capacity exceeds this, the memory is freed once no step is held.
const KEPT: usize = 1_024;

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
    pub(super) exchange: Symbol,
    pub(super) key: Symbol,
    pub(super) queue: Option<Symbol>,
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

/// What is known of a whole chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    last: u32,
    pub(super) task: At,
    /// Whether a snapshot was made since.
    pub(super) old: bool,
    pub(super) published: Option<Published>,
}

impl Held {
    /// The number of held steps.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= HELD_MAX
    }

    /// Appends a step to a task's chain, or starts a chain. Returns the first step.
    pub(super) fn push(&mut self, begins: bool, task: At, step: HeldStep) -> u32 {
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

    /// The first held step of a task.
    pub(super) fn chain(&self, task: At) -> Option<u32> {
        self.chains.get(&task).copied()
    }

    /// Removes the chain of a task from the index. [`release`](Self::release) it next.
    pub(super) fn take_chain(&mut self, task: At) -> Option<u32> {
        self.chains.remove(&task)
    }

    pub(super) fn head_mut(&mut self, chain: u32) -> Option<&mut Head> {
        self.slots[chain as usize].head.as_mut()
    }

    /// The name of a chain's task, if its first step came with one.
    pub(super) fn name(&self, chain: u32) -> Option<Symbol> {
        self.slots[chain as usize].step?.name
    }

    /// Removes the steps of a chain and counts them under this queue. `name` takes precedence over
    /// the name that each step came with.
    pub(super) fn release(
        &mut self,
        chain: u32,
        name: Option<Symbol>,
        queue: Option<Symbol>,
        changes: &mut Vec<Change>,
    ) {
        let mut next = Some(chain);
        while let Some(at) = next {
            let (step, behind) = self.pop(at);
            if let Some(step) = step {
                step.count(name.or(step.name), queue, changes);
            }
            next = behind;
        }
    }

    /// All chains.
    pub(super) fn heads(&self) -> Vec<(u32, Head)> {
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
            exhausted,
            clamped: _,
            refused: _,
        } = self.intervals;
        if let Some((outcome, seconds)) = ran {
            changes.push(Change::Ran {
                outcome,
                seconds,
                of,
            });
        }
        if let Some(seconds) = queue_wait {
            changes.push(Change::QueueWaited { seconds, of });
        }
        if let Some(seconds) = prefetch_wait {
            let eta = self.eta;
            changes.push(Change::PrefetchWaited { seconds, of, eta });
        }
        if let Some((outcome, seconds)) = turnaround {
            changes.push(Change::TurnedAround {
                outcome,
                seconds,
                of,
            });
        }
        if let Some((outcome, attempts)) = attempts {
            changes.push(Change::Finished {
                outcome,
                attempts,
                exhausted,
                of,
            });
        }
    }

    /// Whether there is nothing to count.
    pub(super) fn is_empty(&self) -> bool {
        let counted = self.step.is_some();
        !counted && self.intervals == Intervals::default()
    }
}

#[cfg(test)]
mod tests;
