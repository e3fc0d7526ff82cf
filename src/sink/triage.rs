//! Which series are sent with their record, which wait to be tried, and which are not sent.
//!
//! A series is ordinary until a request with it is refused. Then it is a suspect: its values wait in a backlog while
//! [`Search`] finds out, with a few requests a snapshot, which series the receiver refuses. What is accepted catches up,
//! oldest values first, and is ordinary again. What is refused goes to [`Quarantine`], and its values are failed; unless
//! it is refused for the time of its values, see [`Conflicts`].
//!
//! All other series go on meanwhile, at once and in as few requests as ever.

pub(super) mod parcels;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use self::parcels::Parcel;
use super::backlog::{Backlog, Part, Tried, Waiting};
use super::conflicts::Conflicts;
use super::quarantine::Quarantine;
use super::search::{Found, Search};
use super::verdict::Cause;
use crate::counts::Counts;
use crate::wire::{Key, Labels, Series};

/// How many extra requests there are in a snapshot whose answers name no series. An answer tells one bit, so that a hundred
/// scattered series are found after hundreds of requests, however these are spread. Where the interval is long enough for
/// them, they are sent at once.
const UNNAMED_MIN: u32 = 6;
const UNNAMED_A_SECOND: u32 = 3;
const UNNAMED_A_SECOND_LONG: u32 = 20;
const UNNAMED_MAX: u32 = 300;
const LONG: Duration = Duration::from_secs(15);

/// How many whose answers name series, or that are of values refused for their time.
const OTHERS_MAX: u32 = 30;

/// How many series a message gives as examples.
const EXAMPLES: usize = 3;

/// What a series is that is not an ordinary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Suspect {
        /// It waits without exemplars, since these may be what is refused.
        is_bare: bool,
    },
    Conflicting,
    /// Accepted, with values that still wait.
    CatchingUp,
    Quarantined,
}

/// What came of values that waited.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) delivered: Counts,
    pub(super) failed: Counts,
    /// Of which records that was.
    pub(super) parts: Vec<Part>,
}

/// The series of a record.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// To be sent now.
    pub(super) ordinary: Vec<Series>,
    /// Waits in the backlog.
    pub(super) held: Counts,
    pub(super) failed: Counts,
    pub(super) delivered: Counts,
}

/// Series that were quarantined, for the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) series: usize,
    pub(super) examples: Vec<String>,
}

/// All series that are not ordinary, and what waits of them.
#[derive(Debug, Default)]
pub(super) struct Triage {
    states: HashMap<Key, State>,
    backlog: Backlog,
    search: Search,
    conflicts: Conflicts,
    quarantine: Quarantine,
    /// Accepted since the search began.
    good: HashSet<Key>,
    /// Those that catch up.
    accepted: VecDeque<Key>,
    parcel: Option<Parcel>,
    /// When a request was accepted last, be it one apart or not.
    accepted_at: Option<Instant>,
    settled: Settled,
    notice: Notice,
    /// How many extra requests may be sent until the next snapshot: tests, others, and those to catch up.
    unnamed: u32,
    others: u32,
    catch_ups: u32,
    /// Whether series with conflicts were sent since the last snapshot, and whether values were given up.
    has_conflicted: bool,
    gave_up: bool,
    /// How many values may be in a request since one was too large.
    points_max: Option<usize>,
}

impl Triage {
    /// Whether all series are ordinary.
    pub(super) fn is_clear(&self) -> bool {
        self.states.is_empty()
    }

    /// How many series are refused and are not sent, but for trying them again.
    pub(super) fn quarantined(&self) -> usize {
        self.quarantine.len()
    }

    /// Some of them, as text.
    pub(super) fn examples(&self) -> Vec<String> {
        let some = self.quarantine.examples().take(EXAMPLES);
        some.map(Labels::to_string).collect()
    }

    /// How much waits.
    pub(super) const fn waiting(&self) -> Counts {
        self.backlog.counts()
    }

    /// The receiver accepted a request.
    pub(super) const fn accepted(&mut self, now: Instant) {
        self.accepted_at = Some(now);
    }

    /// What came of values that waited, since this was asked last.
    pub(super) fn take_settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    /// Series that were quarantined for the first time, since this was asked last.
    pub(super) fn take_notice(&mut self) -> Option<Notice> {
        (self.notice.series > 0).then(|| std::mem::take(&mut self.notice))
    }

    /// New samples come, the time since those before being `interval`: some more may be tried.
    pub(super) fn begin_snapshot(&mut self, interval: Duration, now: Instant) {
        let seconds = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
        let a_second = if interval < LONG {
            UNNAMED_A_SECOND
        } else {
            UNNAMED_A_SECOND_LONG
        };
        self.unnamed = seconds
            .saturating_mul(a_second)
            .clamp(UNNAMED_MIN, UNNAMED_MAX);
        self.others = OTHERS_MAX;
        self.catch_ups = self.unnamed / 3;
        self.has_conflicted = false;
        self.gave_up = false;
        let conflicting = self.conflicts.begin_snapshot();
        self.suspects(&conflicting);
        self.search.add(conflicting, Cause::AlreadyThere);
        for (group, cause) in self.quarantine.due(now, interval) {
            self.suspects(&group);
            self.search.probe(group, cause);
        }
    }

    /// No more samples come: all that can be sent is.
    pub(super) const fn end(&mut self) {
        self.catch_ups = u32::MAX;
    }

    fn suspects(&mut self, members: &[Labels]) {
        let suspect = State::Suspect { is_bare: false };
        let keys = members.iter().map(|labels| labels.key);
        self.states.extend(keys.map(|key| (key, suspect)));
    }

    /// The receiver may be another one: tries again all that was refused, a few at a time, and searches anew.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.quarantine.retry_all(now);
        self.search.begin_anew();
        self.points_max = None;
        self.accepted_at = None;
    }

    /// Takes out of the series of a record what is not to be sent with it.
    pub(super) fn sort(&mut self, all: Vec<Series>, (sequence, tried): (u64, Tried)) -> Sorted {
        let mut sorted = Sorted::default();
        for series in all {
            match self.states.get(&series.labels.key) {
                None => sorted.ordinary.push(series),
                Some(State::Quarantined) => sorted.failed += series.counts(),
                Some(State::Suspect { is_bare: true }) => {
                    let mut waiting = Waiting::new(series, sequence, tried);
                    let exemplars = waiting.drop_exemplars().into_iter();
                    sorted.failed += exemplars.map(|part| part.counts).sum();
                    sorted.held += waiting.series.counts();
                    self.backlog.push(waiting);
                }
                Some(_) => {
                    sorted.held += series.counts();
                    self.backlog.push(Waiting::new(series, sequence, tried));
                }
            }
        }
        sorted
    }

    /// The series of a refused request, of which the answer names some. What is ordinary after that goes on.
    pub(super) fn refused(
        &mut self,
        all: Vec<Series>,
        (sequence, tried): (u64, Tried),
        cause: Cause,
        named: &HashSet<Key>,
        now: Instant,
    ) -> Sorted {
        let mut sorted = Sorted::default();
        let (condemned, rest): (Vec<_>, Vec<_>) = if is_one(&all) {
            (all, Vec::new())
        } else {
            let is_named = |series: &Series| named.contains(&series.labels.key);
            all.into_iter().partition(is_named)
        };
        let is_named = !condemned.is_empty();
        let mut labels: Vec<Labels> = Vec::new();
        for series in condemned {
            if cause == Cause::AlreadyThere && tried.may_be_there(series.counts()) {
                sorted.delivered += series.counts();
            } else {
                sorted.failed += series.counts();
            }
            if labels.iter().all(|known| known.key != series.labels.key) {
                labels.push(series.labels);
            }
        }
        for labels in labels {
            self.put_away(vec![labels], cause, now);
        }
        if is_named && self.others > 0 {
            self.others -= 1;
            sorted.ordinary = rest;
            return sorted;
        }
        let tried = tried.max(Tried::Refused);
        self.suspect(rest, (sequence, tried), cause, &mut sorted);
        sorted
    }

    /// The series of a request that is answered with 5xx while others are accepted.
    pub(super) fn failing(&mut self, all: Vec<Series>, origin: (u64, Tried)) -> Sorted {
        let mut sorted = Sorted::default();
        self.suspect(all, origin, Cause::Errors, &mut sorted);
        sorted
    }

    /// Makes suspects of series; but not of those that were accepted a short while ago, unless all were.
    fn suspect(
        &mut self,
        all: Vec<Series>,
        (sequence, tried): (u64, Tried),
        cause: Cause,
        sorted: &mut Sorted,
    ) {
        let is_good = |series: &Series| self.good.contains(&series.labels.key);
        let (good, suspects): (Vec<_>, Vec<_>) = all.into_iter().partition(is_good);
        let (ordinary, suspects) = if suspects.is_empty() {
            (suspects, good)
        } else {
            (good, suspects)
        };
        sorted.ordinary = ordinary;
        for series in suspects {
            sorted.held += series.counts();
            self.look_into(series.labels.clone(), cause);
            self.backlog.push(Waiting::new(series, sequence, tried));
        }
    }

    fn look_into(&mut self, labels: Labels, cause: Cause) {
        let suspect = State::Suspect { is_bare: false };
        let before = self.states.insert(labels.key, suspect);
        if !matches!(before, Some(State::Suspect { .. })) {
            self.good.remove(&labels.key);
            self.search.add([labels], cause);
        }
    }

    /// Gives up what waits of a record, the oldest one that has something here; how much that is.
    pub(super) fn give_up(&mut self, sequence: u64) -> Counts {
        self.gave_up = true;
        self.backlog.take_record(sequence)
    }

    fn apply(&mut self, found: Found, now: Instant) {
        found.good.iter().for_each(|labels| self.clear(labels.key));
        found
            .bad
            .into_iter()
            .for_each(|(group, cause)| self.condemn(group, cause, now));
        if self.search.is_idle() {
            self.good.clear();
        }
    }

    /// A series does not exist any more.
    fn forget(&mut self, key: Key) {
        self.states.remove(&key);
        self.good.remove(&key);
        self.quarantine.forget(key);
    }

    /// A series is accepted.
    fn clear(&mut self, key: Key) {
        self.quarantine.accepted(key);
        if !self.search.is_idle() {
            self.good.insert(key);
        }
        if self.backlog.contains(key) {
            self.states.insert(key, State::CatchingUp);
            self.accepted.push_back(key);
        } else {
            self.states.remove(&key);
        }
    }

    /// All series of a group are refused.
    fn condemn(&mut self, group: Vec<Labels>, cause: Cause, now: Instant) {
        let mut has_exemplars = false;
        for labels in &group {
            let is_bare = self.states.get(&labels.key) == Some(&State::Suspect { is_bare: true });
            if is_bare || cause.is_of_time() {
                continue;
            }
            for part in self.backlog.drop_exemplars(labels.key) {
                has_exemplars = true;
                self.give_back(part, cause);
            }
        }
        if has_exemplars {
            for labels in &group {
                let suspect = State::Suspect { is_bare: true };
                self.states.insert(labels.key, suspect);
            }
            return self.search.probe(group, cause);
        }
        // What is refused for its time is sent again, value by value.
        let is_final = !cause.is_of_time();
        for labels in group.iter().filter(|_| is_final) {
            let waiting = self.backlog.take(labels.key);
            for part in waiting.into_iter().flat_map(|waiting| waiting.parts) {
                self.give_back(part, cause);
            }
        }
        self.put_away(group, cause, now);
    }

    /// Part of a record will not be stored, or is there already.
    fn give_back(&mut self, part: Part, cause: Cause) {
        if cause == Cause::AlreadyThere && part.may_be_there {
            self.settled.delivered += part.counts;
        } else {
            self.settled.failed += part.counts;
        }
        self.settled.parts.push(part);
    }

    /// Keeps refused series out of the records.
    fn put_away(&mut self, group: Vec<Labels>, cause: Cause, now: Instant) {
        let is_conflict = cause.is_of_time();
        let state = if is_conflict {
            State::Conflicting
        } else {
            State::Quarantined
        };
        for labels in &group {
            self.states.insert(labels.key, state);
            self.good.remove(&labels.key);
        }
        if is_conflict {
            for labels in &group {
                self.quarantine.forget(labels.key);
            }
            return self.conflict_sent(group);
        }
        let (series, first) = (group.len(), group.first().map(Labels::to_string));
        let (is_new, _) = self.quarantine.add(group, cause, now);
        if is_new {
            self.notice.series += series;
            let room = EXAMPLES.saturating_sub(self.notice.examples.len());
            self.notice.examples.extend(first.into_iter().take(room));
        }
    }
}

/// Whether all is of one series; a native histogram and samples of one name are two entries.
fn is_one(all: &[Series]) -> bool {
    all.windows(2)
        .all(|two| two[0].labels.key == two[1].labels.key)
}

#[cfg(test)]
mod tests;
