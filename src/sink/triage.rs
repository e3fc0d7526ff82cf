//! Decides which series are sent with their record, which wait to be tested, and which are not
//! sent.
//!
//! A series is ordinary until a request that contains it is refused. It then becomes a suspect: its
//! values wait in a backlog while [`Search`] uses a few requests per snapshot to find out which
//! series the receiver refuses. An accepted series catches up, oldest values first, and becomes
//! ordinary again. A refused series goes to [`Quarantine`] and its values count as failed, unless
//! it is refused because of the time of its values: see [`Conflicts`].
//!
//! All other series continue immediately and in as few requests as before.

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

/// Extra requests per snapshot whose responses name no series. Each response yields one bit, so a
/// hundred scattered series take hundreds of requests, however they are spread. More are sent if
/// the interval is long enough.
const UNNAMED_MIN: u32 = 6;
const UNNAMED_A_SECOND: u32 = 3;
const UNNAMED_A_SECOND_LONG: u32 = 20;
const UNNAMED_MAX: u32 = 300;
const LONG: Duration = Duration::from_secs(15);

/// Extra requests per snapshot whose responses name series, or that concern values refused for
/// their time.
const OTHERS_MAX: u32 = 30;

/// Number of example series in a message.
const EXAMPLES: usize = 3;

/// State of a series that is not ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    Suspect {
        /// Whether it waits without exemplars, because these may be the reason for the refusal.
        is_bare: bool,
    },
    Conflicting,
    /// Accepted, but with values still in the backlog.
    CatchingUp,
    Quarantined,
}

/// The outcome of values from the backlog.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) delivered: Counts,
    pub(super) failed: Counts,
    /// The records that these values came from.
    pub(super) parts: Vec<Part>,
}

/// The series of a record, sorted.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// To be sent now.
    pub(super) ordinary: Vec<Series>,
    /// Added to the backlog.
    pub(super) held: Counts,
    pub(super) failed: Counts,
    pub(super) delivered: Counts,
}

/// Newly quarantined series, for the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) series: usize,
    pub(super) examples: Vec<String>,
}

/// All series that are not ordinary, and their backlog.
#[derive(Debug, Default)]
pub(super) struct Triage {
    states: HashMap<Key, Suspicion>,
    backlog: Backlog,
    search: Search,
    conflicts: Conflicts,
    quarantine: Quarantine,
    /// Series accepted since the search began.
    good: HashSet<Key>,
    /// Series that are catching up.
    accepted: VecDeque<Key>,
    parcel: Option<Parcel>,
    /// When a request was last accepted, of any kind.
    accepted_at: Option<Instant>,
    settled: Settled,
    notice: Notice,
    /// Extra requests left until the next snapshot: tests, others, and catching up.
    unnamed: u32,
    others: u32,
    catch_ups: u32,
    /// Whether conflicting series were sent since the last snapshot, and whether values were given
    /// up.
    has_conflicted: bool,
    gave_up: bool,
    /// Maximum values per request, set after a request was too large.
    points_max: Option<usize>,
}

impl Triage {
    /// Returns whether all series are ordinary.
    pub(super) fn is_clear(&self) -> bool {
        self.states.is_empty()
    }

    /// Returns how many series are refused and, apart from retries, not sent.
    pub(super) fn quarantined(&self) -> usize {
        self.quarantine.len()
    }

    /// Returns some of them as examples for the log.
    pub(super) fn examples(&self) -> Vec<String> {
        let some = self.quarantine.examples().take(EXAMPLES);
        some.map(Labels::to_string).collect()
    }

    /// Returns the size of the backlog.
    pub(super) const fn waiting(&self) -> Counts {
        self.backlog.counts()
    }

    /// Records that the receiver accepted a request.
    pub(super) const fn accepted(&mut self, now: Instant) {
        self.accepted_at = Some(now);
    }

    /// Returns the outcome of backlog values since the last call.
    pub(super) fn take_settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    /// Returns the series that were first quarantined since the last call.
    pub(super) fn take_notice(&mut self) -> Option<Notice> {
        (self.notice.series > 0).then(|| std::mem::take(&mut self.notice))
    }

    /// Starts a snapshot, `interval` after the last one, with a new budget of extra requests.
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

    /// Removes the limit on requests for catching up, because no more samples will arrive.
    pub(super) const fn end(&mut self) {
        self.catch_ups = u32::MAX;
    }

    fn suspects(&mut self, members: &[Labels]) {
        let suspect = Suspicion::Suspect { is_bare: false };
        let keys = members.iter().map(|labels| labels.key);
        self.states.extend(keys.map(|key| (key, suspect)));
    }

    /// Retries all refused series, a few at a time, and repeats the search, because the receiver
    /// may have changed.
    pub(super) fn restart(&mut self, now: Instant) {
        self.quarantine.retry_all(now);
        self.search.reset();
        self.points_max = None;
        self.accepted_at = None;
    }

    /// Removes the series that must not be sent with their record.
    pub(super) fn sort(&mut self, all: Vec<Series>, (sequence, tried): (u64, Tried)) -> Sorted {
        let mut sorted = Sorted::default();
        for series in all {
            match self.states.get(&series.labels.key) {
                None => sorted.ordinary.push(series),
                Some(Suspicion::Quarantined) => sorted.failed += series.counts(),
                Some(Suspicion::Suspect { is_bare: true }) => {
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

    /// Handles a refused request, some of whose series may be named in the response. Returns what
    /// remains ordinary.
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

    /// Handles a request that gets a 5xx response while others are accepted.
    pub(super) fn failing(&mut self, all: Vec<Series>, origin: (u64, Tried)) -> Sorted {
        let mut sorted = Sorted::default();
        self.suspect(all, origin, Cause::Errors, &mut sorted);
        sorted
    }

    /// Marks series as suspects, except those accepted shortly before, unless no others are left.
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
        let suspect = Suspicion::Suspect { is_bare: false };
        let before = self.states.insert(labels.key, suspect);
        if !matches!(before, Some(Suspicion::Suspect { .. })) {
            self.good.remove(&labels.key);
            self.search.add([labels], cause);
        }
    }

    /// Gives up the backlog of a record, which must be the oldest here, and returns its size.
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

    /// Forgets a series that no longer exists.
    fn forget(&mut self, key: Key) {
        self.states.remove(&key);
        self.good.remove(&key);
        self.quarantine.forget(key);
    }

    /// Clears a series that was accepted.
    fn clear(&mut self, key: Key) {
        self.quarantine.accepted(key);
        if !self.search.is_idle() {
            self.good.insert(key);
        }
        if self.backlog.contains(key) {
            self.states.insert(key, Suspicion::CatchingUp);
            self.accepted.push_back(key);
        } else {
            self.states.remove(&key);
        }
    }

    /// Marks all series of a group as refused.
    fn condemn(&mut self, group: Vec<Labels>, cause: Cause, now: Instant) {
        let mut has_exemplars = false;
        for labels in &group {
            let is_bare =
                self.states.get(&labels.key) == Some(&Suspicion::Suspect { is_bare: true });
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
                let suspect = Suspicion::Suspect { is_bare: true };
                self.states.insert(labels.key, suspect);
            }
            return self.search.probe(group, cause);
        }
        // Series refused for the time of their values are retried value by value.
        let is_final = !cause.is_of_time();
        for labels in group.iter().filter(|_| is_final) {
            let waiting = self.backlog.remove(labels.key);
            for part in waiting.into_iter().flat_map(|waiting| waiting.parts) {
                self.give_back(part, cause);
            }
        }
        self.put_away(group, cause, now);
    }

    /// Handles a part of a record that will not be stored, or that is already stored.
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
            Suspicion::Conflicting
        } else {
            Suspicion::Quarantined
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

/// Returns whether all entries belong to one series. A native histogram and samples with the same
/// labels are two entries.
fn is_one(all: &[Series]) -> bool {
    all.windows(2)
        .all(|two| two[0].labels.key == two[1].labels.key)
}

#[cfg(test)]
mod tests;
