//! What rates are relative to.

use std::sync::Arc;

use super::facts::{Counted, TaskCounts, TaskId};
use super::history::History;
use super::number::float;
use super::query::Window;
use crate::timestamp::Timestamp;

/// Rates over less than this many seconds mean little.
const RATE_SECONDS_MIN: f64 = 3.0;

/// The sums that a window's rates are relative to.
pub(super) struct Before<'a> {
    pub(super) counted: Option<&'a Counted>,
    /// The time since then, if it is long enough for a rate.
    pub(super) seconds: Option<f64>,
}

impl<'a> Before<'a> {
    pub(super) fn new(history: &'a History, window: Window, now: Timestamp) -> Self {
        let counted = history.before(window, now).map(Arc::as_ref);
        let seconds = counted.map(|before| now.seconds_since(before.at));
        Self {
            counted,
            seconds: seconds.filter(|seconds| *seconds >= RATE_SECONDS_MIN),
        }
    }

    pub(super) fn task(&self, id: &TaskId) -> Option<&TaskCounts> {
        self.counted?.tasks.get(id).map(Arc::as_ref)
    }

    /// A rate per second. A count that was not known before is not one that happened since.
    pub(super) fn own(&self, name: &'static str, of: &Arc<str>, now: u64) -> Option<f64> {
        let before = self.counted?.own.get(&(name, Arc::clone(of)))?;
        Some(float(now.saturating_sub(*before)) / self.seconds?)
    }

    pub(super) fn per_minute(&self, count: u64) -> Option<f64> {
        Some(float(count) * 60.0 / self.seconds?)
    }
}
