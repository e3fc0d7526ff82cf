//! Exemplars: sample observations, each with the id of its task.
//!
//! Exemplars link a slow histogram bucket to a concrete task id. A histogram has one per bucket and
//! a counter has one. Each is replaced by the first observation after a snapshot, so an event costs
//! one comparison, and at most one exemplar per bucket and snapshot is sent.
//!
//! Source: "Exemplars" in OpenMetrics 1.0, and Prometheus' checks on exemplars received by remote
//! write.

use std::sync::Arc;

use crate::escape::label_value;
use crate::timestamp::Timestamp;

/// An observation and its task.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The value of the label `task_id`: the task's uuid, with characters escaped that a receiver
    /// may refuse.
    pub task_id: Box<str>,
    /// The value observed or added.
    pub value: f64,
    /// When it was counted, in whole milliseconds. Always later than the previous exemplar of the
    /// series; in a histogram, later than those of all its buckets.
    pub at: Timestamp,
    /// The number of the first snapshot that contains it. A consumer that has already seen that
    /// snapshot has already sent the exemplar.
    pub snapshot: u64,
}

/// The task whose event is being counted: the data needed for an exemplar.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    task_id: &'a str,
    received: Timestamp,
}

impl<'a> Origin<'a> {
    /// The limit of OpenMetrics 1.0, "Exemplars": 128 code points for names and values together,
    /// including the name `task_id`.
    const TASK_ID_MAX: usize = 128 - "task_id".len();

    /// Creates the origin for a task whose event was received at that time. `None` if its id is
    /// empty or too long for an exemplar.
    pub fn new(task_id: &'a str, received: Timestamp) -> Option<Self> {
        (Self::fits(task_id) && !task_id.is_empty()).then_some(Self { task_id, received })
    }

    fn fits(task_id: &str) -> bool {
        task_id.len() <= Self::TASK_ID_MAX || task_id.chars().nth(Self::TASK_ID_MAX).is_none()
    }

    /// Makes an exemplar that first appears in `snapshot`, with a time later than `newest`, the
    /// previous one. `None` if escaping makes the id too long, or if the clock was set back and the
    /// previous exemplar is in the future. Ids are only escaped here, because most events produce
    /// no exemplar.
    ///
    /// Receivers refuse exemplars of a series that are out of order. Many events share the time of
    /// their message, and the clock may go back a little: such an exemplar is stamped a millisecond
    /// after the previous one.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_at_most_121_characters_and_times_increase() {
        let at = Timestamp::from_millis(5_000);
        let made = |id: &str, newest: Option<i64>| {
            let newest = newest.map(Timestamp::from_millis);
            Origin::new(id, at)?.exemplar(2.0, newest, 7)
        };
        let exemplar = made("id", None).expect("an exemplar");
        assert_eq!((&*exemplar.task_id, exemplar.value), ("id", 2.0));
        assert_eq!((exemplar.at, exemplar.snapshot), (at, 7));
        // Many events have the time of their message.
        let next = made("id", Some(5_000)).expect("an exemplar");
        assert_eq!(next.at, Timestamp::from_millis(5_001));
        // The clock was set back by less than a second, and by one.
        let back = made("id", Some(5_998)).expect("an exemplar");
        assert_eq!(back.at, Timestamp::from_millis(5_999));
        assert!(made("id", Some(5_999)).is_none());
        let longest = "ä".repeat(121);
        assert!(made(&longest, None).is_some());
        assert!(made(&format!("{longest}x"), None).is_none());
        assert!(made("", None).is_none());
        // Escaping makes it too long.
        assert!(made(&format!("{}\u{1}", "x".repeat(120)), None).is_none());
    }
}
