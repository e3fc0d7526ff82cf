//! When tasks with a configured schedule are expected.

use std::time::Duration;

use super::crontab::Crontab;
use super::history::{Expected, observable, seconds};
use super::unseen::Unseen;
use crate::timestamp::Timestamp;

/// When a task should be sent, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The longest time between two sends.
    Every(Duration),
    Crontab(Box<Crontab>),
}

impl Schedule {
    /// When the send after the last one is expected.
    pub(super) fn expected(&self, last_sent: Timestamp, unseen: &Unseen) -> Option<Expected> {
        let last = i64::from(seconds(last_sent));
        match self {
            Self::Every(every) => {
                let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX);
                let after =
                    |from: i64| Some(Expected::configured(from, from.saturating_add(every)));
                observable(after(last)?, last_sent, unseen, |_, end| after(end))
            }
            Self::Crontab(crontab) => {
                let after = |from: i64| {
                    let due = crontab.next(from)?;
                    let expected = Expected::punctual(from, due);
                    let changes = crontab.clock_changes(from, expected.late);
                    Some(if changes {
                        expected.hour_later()
                    } else {
                        expected
                    })
                };
                observable(after(last)?, last_sent, unseen, |before, end| {
                    after(before.due.max(end))
                })
            }
        }
    }
}
