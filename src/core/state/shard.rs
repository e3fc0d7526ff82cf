//! Sharding: several daemons share the events of one cluster, so that sums over all of them are right.
//!
//! Each gets all events of its share of the workers, and the task-sent of every task, because a client that sends a
//! task does not know which worker will run it. So the waits and the end of an attempt are told where it runs, from
//! the task-sent that everybody knows. The task-sent itself counts with one only, the *owner* of the task's id.
//!
//! What becomes of a task on its way is not known here: any shard's worker may have it by now. So nobody shows tasks
//! as sent or in retry, and nobody gives them up as lost. They are remembered, and forgotten when they are too many
//! or too old.

use super::{Stage, task::Task};

/// Which part of the workers' events is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Below `count`.
    pub index: u32,
    /// One at least.
    pub count: u32,
}

impl Shard {
    /// Whether the task-sent of the task with this id counts here. The owner of an id is the CRC-32C of its text,
    /// modulo the number of shards: the same in every release and on every machine.
    pub fn owns(self, uuid: &str) -> bool {
        crc32c::crc32c(uuid.as_bytes()) % self.count.max(1) == self.index
    }

    /// Whether this is the shard that does what is to be done once for all of them.
    pub const fn is_first(self) -> bool {
        self.index == 0
    }
}

/// Where a task is in flight, as far as that can be known with these shards.
pub(super) fn stage(task: &Task, shard: Option<Shard>) -> Option<Stage> {
    task.stage
        .filter(|stage| shard.is_none() || !stage.is_on_the_way())
}

#[cfg(test)]
mod tests;
