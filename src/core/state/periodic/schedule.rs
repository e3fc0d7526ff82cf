//! When tasks with a configured schedule are expected.

use std::fmt;
use std::time::Duration;

use super::crontab::Crontab;
use super::history::{Expected, Model, SLACK_MIN, observable, seconds};
use super::unseen::Unseen;
use crate::timestamp::Timestamp;

/// When a task should be sent, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The longest time between two sends.
    Every(Duration),
    Crontab(Box<Crontab>),
}

/// A task with a configured schedule.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    pub(super) schedule: Schedule,
    /// When sends were first observed with this schedule; the epoch until then.
    pub(super) since: Timestamp,
}

impl Configured {
    /// When the task is expected to be sent next.
    pub(super) fn expected(
        &self,
        last_sent: Option<Timestamp>,
        unseen: &Unseen,
    ) -> Option<Expected> {
        let since = last_sent.map_or(self.since, |last_sent| last_sent.max(self.since));
        let last = i64::from(seconds(since));
        match &self.schedule {
            Schedule::Every(every) => {
                let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX);
                let after = |from: i64| {
                    let due = from.saturating_add(every);
                    Some(Expected::new(from, due, Model::Configured))
                };
                observable(after(last)?, since, unseen, |_, end| after(end))
            }
            Schedule::Crontab(crontab) => {
                // The clock that stamped it may be a little behind beat's.
                let after = |from: i64| {
                    let due = crontab.next(from + SLACK_MIN)?;
                    Some(Expected::punctual(from, due))
                };
                observable(after(last)?, since, unseen, |before, end| {
                    after(before.due.max(end))
                })
            }
        }
    }
}

/// Identifies the schedule in storage.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(every) => write!(f, "every {}s", every.as_secs()),
            Self::Crontab(crontab) => crontab.fmt(f),
        }
    }
}
