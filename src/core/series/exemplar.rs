//! Exemplars: one observation for many, with the task that it is of.
//!
//! An operator who sees that something took long gets from one to a task that did. A histogram has one for each bucket
//! and a counter has one, and each is replaced by the first that is counted after a snapshot: so an event costs a
//! comparison, and what goes out is one exemplar for each bucket and snapshot at most.
//!
//! Source: "Exemplars" in OpenMetrics 1.0, and what Prometheus takes by remote write.

use std::sync::Arc;

use crate::escape::label_value;
use crate::timestamp::Timestamp;

/// An observation, and the task that it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The value of the label `task_id`: the task's uuid, with what a receiver may refuse escaped.
    pub task_id: Box<str>,
    /// What was observed, or added.
    pub value: f64,
    /// When it was counted, in whole milliseconds. Later than that of the one before it on the same series, and of a
    /// histogram later than that of every one before it, in whichever bucket.
    pub at: Timestamp,
    /// The number of the first snapshot that has it: who has seen that one has sent it.
    pub snapshot: u64,
}

/// The task whose event is counted, as far as an exemplar may tell of it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    task_id: &'a str,
    received: Timestamp,
}

impl<'a> Origin<'a> {
    /// What OpenMetrics 1.0 allows, "Exemplars": 128 code points for names and values together, of which the name
    /// `task_id` takes 7.
    const TASK_ID_MAX: usize = 128 - "task_id".len();

    /// A task whose event was received at that time; `None` where its id is empty or too long for an exemplar.
    pub fn new(task_id: &'a str, received: Timestamp) -> Option<Self> {
        (Self::fits(task_id) && !task_id.is_empty()).then_some(Self { task_id, received })
    }

    fn fits(task_id: &str) -> bool {
        task_id.len() <= Self::TASK_ID_MAX || task_id.chars().nth(Self::TASK_ID_MAX).is_none()
    }

    /// What is counted, as an exemplar that `snapshot` is the first to have; later than `newest`, the one before it.
    /// `None`: escapes make the id too long, or the clock was set back and the one before is in the future. Escapes are only written here, since of most events no exemplar is made.
    ///
    /// Receivers refuse exemplars of one series that are not in the order of time. Many events have the same time, that
    /// of their message, and the clock may go back a little: then it is stamped a millisecond after the one before.
    pub(super) fn exemplar(
        self,
        value: f64,
        newest: Option<Timestamp>,
        snapshot: u64,
    ) -> Option<Arc<Exemplar>> {
        let task_id = label_value(self.task_id);
        if !Self::fits(&task_id) {
            return None;
        }
        let received = Timestamp::from_millis(self.received.millis());
        let next = |newest: Timestamp| Timestamp::from_millis(newest.millis() + 1);
        let at = newest.map_or(received, |newest| received.no_earlier_than(next(newest)));
        if newest.is_some_and(|newest| at <= newest) {
            return None;
        }
        Some(Arc::new(Exemplar {
            task_id: task_id.into(),
            value,
            at,
            snapshot,
        }))
    }
}
