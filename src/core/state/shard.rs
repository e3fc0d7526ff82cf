//! Sharding: several daemons share the events of one cluster, so that sums over all of them are
//! correct.
//!
//! Each shard receives all events of its share of the workers, and the task-sent of every task,
//! because the client that sends a task does not know which worker will run it. So the shard of
//! that worker reports the waits and the end of an attempt, using the task-sent that every shard
//! receives. The task-sent itself is counted by one shard only, the *owner* of the task's id.
//!
//! A shard does not know what happens to a task on its way, because a worker of any shard may have
//! it by now. So no shard reports tasks as sent or in retry, or gives them up as lost. Such tasks
//! are remembered, and forgotten if there are too many or they get too old.

use super::task::{Label, Task};
use super::{Place, TaskKey, TaskStage};

/// The part of the workers' events that this daemon receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Less than `count`.
    pub index: u32,
    /// At least one.
    pub count: u32,
}

impl Shard {
    /// Whether this shard counts the task-sent of the task with this id. The owner of an id is the
    /// CRC-32C of its text modulo the number of shards, which is the same in every release and on
    /// every machine.
    pub fn owns(self, uuid: &str) -> bool {
        crc32c::crc32c(uuid.as_bytes()) % self.count.max(1) == self.index
    }

    /// Whether this shard performs actions that must happen only once.
    pub const fn is_first(self) -> bool {
        self.index == 0
    }
}

/// Where a task is in flight, as far as a shard can know.
pub(super) fn stage(task: &Task, shard: Option<Shard>) -> Option<TaskStage> {
    task.stage
        .filter(|stage| shard.is_none() || !stage.is_on_the_way())
}

/// The place and labels under which a task is in flight; `None` while its steps are held.
pub(super) fn place(task: &Task, shard: Option<Shard>) -> Option<Place> {
    if task.label() != Label::Settled {
        return None;
    }
    let stage = stage(task, shard)?;
    let of = task.key();
    let on_worker = matches!(stage, TaskStage::Received | TaskStage::Started);
    let worker = of.worker.filter(|_| on_worker);
    Some(Place {
        stage,
        of: TaskKey { worker, ..of },
        eta: task.eta,
    })
}

#[cfg(test)]
mod tests;
