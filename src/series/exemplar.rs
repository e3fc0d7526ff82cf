//! Exemplars: one observation for many, with the task that it is from.

use crate::timestamp::Timestamp;

/// An observation, and the task that it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The value of the label `task_id`: the task's uuid.
    pub task_id: Box<str>,
    /// What was observed, or added.
    pub value: f64,
    /// When it was counted. Later than that of the one before it on the same series.
    pub at: Timestamp,
    /// The number of the first snapshot that has it: who has seen that one has sent it.
    pub snapshot: u64,
}
