//! What is remembered of the past: sums at a few earlier times, from which rates are computed, and the histories that
//! sparklines show.
//!
//! A window's rates are over at least half of it, and at most all of it: two earlier sums are kept for each window, half of
//! it apart. Histories are kept for the 200 busiest tasks and the 200 busiest queues, which is less than 300 kB.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::document::POINTS;
use super::facts::{Counted, Facts, TaskCounts, TaskId};
use super::query::Window;
use crate::timestamp::Timestamp;

/// Seconds between two points of the short history. One is recorded at the end of each such interval.
pub(super) const FINE_SECONDS: u64 = 10;

/// Seconds between two points of the long history.
pub(super) const COARSE_SECONDS: u64 = 60;

/// Number of tasks, and of queues, with a history.
pub(super) const HISTORIES_MAX: usize = 200;

/// The share of its activity that a row keeps when a point is recorded: half is forgotten within 4 minutes.
const KEPT: f64 = 0.97;

/// A value that is not known.
const UNKNOWN: u32 = u32::MAX;

/// The past of everything that is shown.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By window: the sums at earlier times, oldest first.
    marks: [VecDeque<Arc<Counted>>; Window::ALL.len()],
    /// The sums when the latest point was recorded.
    latest: Option<Arc<Counted>>,
    pub rings: Rings,
    /// How busy each row has been, for choosing those with a history.
    activity: Activity,
}

#[derive(Debug, Default)]
struct Activity {
    tasks: HashMap<TaskId, f64>,
    queues: HashMap<QueueId, f64>,
}

/// The identity of a queue.
pub(super) type QueueId = (Option<Arc<str>>, Arc<str>);

/// The histories. They survive a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rings {
    pub completed: Ring,
    pub waiting: Ring,
    /// Completed tasks: in each 10 s, and in each minute.
    pub tasks: HashMap<TaskId, (Ring, Ring)>,
    /// Waiting messages.
    pub queues: HashMap<QueueId, Ring>,
}

/// The latest values of a series with regular points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// The number of the interval that the newest point belongs to, since the epoch.
    newest: u64,
    /// Oldest first; at most [`POINTS`].
    points: VecDeque<u32>,
}

impl Ring {
    const fn new() -> Self {
        Self {
            newest: 0,
            points: VecDeque::new(),
        }
    }

    /// Adds to the point of an interval; points in between are unknown.
    fn add(&mut self, interval: u64, value: u32) {
        self.advance(interval);
        if let Some(newest) = self.points.back_mut() {
            *newest = match *newest {
                UNKNOWN => value,
                known => known.saturating_add(value),
            }
            .min(UNKNOWN - 1);
        }
    }

    /// Sets the point of an interval.
    fn set(&mut self, interval: u64, value: u32) {
        self.advance(interval);
        if let Some(newest) = self.points.back_mut() {
            *newest = value.min(UNKNOWN - 1);
        }
    }

    fn advance(&mut self, interval: u64) {
        // The clock was set back, or this is the first point.
        if interval < self.newest || self.points.is_empty() {
            self.points.clear();
            self.points.push_back(UNKNOWN);
            self.newest = interval;
        }
        let missing = (interval - self.newest).min(POINTS as u64);
        self.points.extend((0..missing).map(|_| UNKNOWN));
        self.newest = interval;
        while self.points.len() > POINTS {
            self.points.pop_front();
        }
    }

    /// The points up to an interval, oldest first; always [`POINTS`].
    pub fn points(&self, interval: u64) -> Vec<Option<u32>> {
        let behind = interval.saturating_sub(self.newest).min(POINTS as u64);
        let behind = (0..behind).map(|_| None);
        let known = self.points.iter();
        let known = known.map(|&point| (point != UNKNOWN).then_some(point));
        let before = std::iter::repeat_n(None, POINTS);
        let all: Vec<Option<u32>> = before.chain(known).chain(behind).collect();
        all[all.len() - POINTS..].to_vec()
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Continues the histories of an earlier process.
    pub(super) fn resume(rings: Rings) -> Self {
        Self {
            rings,
            ..Self::default()
        }
    }

    /// Notes the first sums, so that there are rates before the first point is recorded.
    pub(super) fn begin(&mut self, counted: &Arc<Counted>) {
        for marks in &mut self.marks {
            if marks.is_empty() {
                marks.push_back(Arc::clone(counted));
            }
        }
        self.latest.get_or_insert_with(|| Arc::clone(counted));
    }

    /// Records a point: the tasks completed since the previous one, and the messages that wait now.
    pub(super) fn record(
        &mut self,
        facts: &Facts,
        counted: &Arc<Counted>,
        waiting: &HashMap<QueueId, u64>,
    ) {
        self.begin(counted);
        let counted = &self.shared(counted);
        let fine = interval(facts.counted.at, FINE_SECONDS);
        let coarse = interval(facts.counted.at, COARSE_SECONDS);
        let before = self.latest.replace(Arc::clone(counted));
        let mut completed = 0;
        let activity = &mut self.activity;
        activity.tasks.retain(|id, busy| {
            *busy *= KEPT;
            counted.tasks.contains_key(id)
        });
        activity.queues.retain(|id, busy| {
            *busy *= KEPT;
            waiting.contains_key(id)
        });
        let mut done = Vec::with_capacity(counted.tasks.len());
        for (id, now) in &counted.tasks {
            let earlier = before.as_ref().and_then(|before| before.tasks.get(id));
            let count = now.completed_since(earlier.map(Arc::as_ref));
            completed += count;
            *activity.tasks.entry(id.clone()).or_default() += f64::from(point(count));
            done.push((id, point(count)));
        }
        for (id, waiting) in waiting {
            *activity.queues.entry(id.clone()).or_default() += f64::from(point(*waiting));
        }
        keep_busiest(&mut self.rings.tasks, &activity.tasks);
        keep_busiest(&mut self.rings.queues, &activity.queues);
        self.rings.completed.set(fine, point(completed));
        self.rings.waiting.set(fine, point(waiting.values().sum()));
        for (id, count) in done {
            if let Some((in_seconds, in_minutes)) = self.rings.tasks.get_mut(id) {
                in_seconds.set(fine, count);
                in_minutes.add(coarse, count);
            }
        }
        for (id, ring) in &mut self.rings.queues {
            if let Some(waiting) = waiting.get(id) {
                ring.set(fine, point(*waiting));
            }
        }
        self.mark(counted);
    }

    /// The sums that a window's rates are relative to.
    pub(super) fn before(&self, window: Window, now: Timestamp) -> Option<&Arc<Counted>> {
        let marks = &self.marks[window as usize];
        let within = marks
            .iter()
            .find(|mark| now.since(mark.at) <= window.duration());
        within.or(marks.back())
    }

    /// The same sums, sharing what did not change with the latest ones.
    fn shared(&self, counted: &Arc<Counted>) -> Arc<Counted> {
        let Some(latest) = self
            .latest
            .as_ref()
            .filter(|latest| !Arc::ptr_eq(latest, counted))
        else {
            return Arc::clone(counted);
        };
        let tasks = counted.tasks.iter().map(|(id, now)| {
            let same = latest.tasks.get(id).filter(|before| *before == now);
            (id.clone(), Arc::clone(same.unwrap_or(now)))
        });
        Arc::new(Counted {
            at: counted.at,
            tasks: tasks.collect(),
            workers: counted.workers.clone(),
            own: counted.own.clone(),
        })
    }

    fn mark(&mut self, counted: &Arc<Counted>) {
        for window in Window::ALL {
            let marks = &mut self.marks[window as usize];
            let half = window.duration() / 2;
            if marks
                .back()
                .is_none_or(|newest| counted.at.since(newest.at) >= half)
            {
                marks.push_back(Arc::clone(counted));
            }
            // The oldest one is no longer needed once the next one is half a window old.
            while marks
                .get(1)
                .is_some_and(|next| counted.at.since(next.at) >= half)
            {
                marks.pop_front();
            }
            // The clock was set back.
            marks.retain(|mark| mark.at <= counted.at);
        }
    }
}

impl TaskCounts {
    /// The tasks that succeeded or failed since earlier sums.
    pub(super) fn completed_since(&self, before: Option<&Self>) -> u64 {
        let before = before.map_or(0, |before| before.succeeded + before.failed);
        (self.succeeded + self.failed).saturating_sub(before)
    }
}

/// The number of the interval that a time belongs to.
pub(super) fn interval(at: Timestamp, seconds: u64) -> u64 {
    u64::from(at.whole_seconds()) / seconds
}

/// Gives the busiest rows a history, and removes the histories of all others.
fn keep_busiest<K: Clone + Eq + Hash, R: Default>(
    rings: &mut HashMap<K, R>,
    busy: &HashMap<K, f64>,
) {
    if busy.len() <= HISTORIES_MAX {
        for id in busy.keys() {
            rings.entry(id.clone()).or_default();
        }
    } else {
        let mut ranked: Vec<(&K, f64)> = busy.iter().map(|(id, busy)| (id, *busy)).collect();
        ranked.sort_unstable_by(|(_, one), (_, other)| other.total_cmp(one));
        let busiest: HashSet<&K> = ranked[..HISTORIES_MAX].iter().map(|(id, _)| *id).collect();
        rings.retain(|id, _| busiest.contains(id));
        for id in busiest {
            rings.entry(id.clone()).or_default();
        }
    }
    // After a restart, those of rows that are gone stay until there are too many.
    if rings.len() > HISTORIES_MAX {
        rings.retain(|id, _| busy.contains_key(id));
    }
}

fn point(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).min(UNKNOWN - 1)
}

#[cfg(test)]
mod tests;
