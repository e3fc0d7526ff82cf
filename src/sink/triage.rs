//! Which series are sent with their record, which wait to be tried, and which are not sent.
//!
//! A series is ordinary until a request with it is refused. Then it is a suspect: its values wait in a backlog while
//! [`Search`] finds out, with a few requests a snapshot, which series the receiver refuses. What is accepted catches up,
//! oldest values first, and is ordinary again. What is refused goes to [`Quarantine`], and its values are failed; unless
//! it is refused for the time of its values, see [`Conflicts`].
//!
//! All other series go on meanwhile, at once and in as few requests as ever.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::backlog::{Backlog, Part, Waiting};
use super::conflicts::Conflicts;
use super::quarantine::Quarantine;
use super::search::{Found, Search};
use super::verdict::Cause;
use crate::counts::Counts;
use crate::wire::{self, Body, Key, Labels, Protocol, Series};

/// How many extra requests there are in a snapshot: of all kinds, and of those whose answer names no series.
const EXTRA_MAX: u32 = 46;
const UNNAMED_MIN: u32 = 6;
const UNNAMED_MAX: u32 = 45;
const UNNAMED_A_SECOND: u32 = 3;

/// Values of one snapshot are less than so much apart.
const SAME_MS: i64 = 500;

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

/// A request apart from the records.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) body: Body,
    /// How often it was tried in vain.
    pub(super) attempt: u32,
    pub(super) is_sending: bool,
    /// When it was first sent.
    pub(super) since: Instant,
    /// How often in a row it was answered with 5xx, and how often so after others had been accepted.
    pub(super) errors: u32,
    pub(super) errors_among_accepted: u32,
    /// When it was last tried in vain.
    pub(super) failed_at: Instant,
    kind: Kind,
    taken: Vec<Waiting>,
}

#[derive(Debug)]
enum Kind {
    Test,
    Conflict(Vec<Labels>),
    CatchUp,
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
    /// Why the search goes on.
    cause: Cause,
    conflicts: Conflicts,
    quarantine: Quarantine,
    /// Accepted since the search began.
    good: HashSet<Key>,
    /// Those that catch up.
    accepted: VecDeque<Key>,
    parcel: Option<Parcel>,
    settled: Settled,
    notice: Notice,
    extra: u32,
    unnamed: u32,
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

    /// How many values wait.
    pub(super) const fn points(&self) -> u64 {
        self.backlog.points()
    }

    /// What came of values that waited, since this was asked last.
    pub(super) fn take_settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    /// Series that were quarantined for the first time, since this was asked last.
    pub(super) fn take_notice(&mut self) -> Option<Notice> {
        (self.notice.series > 0).then(|| std::mem::take(&mut self.notice))
    }

    /// Whether what is searched for is answered with 5xx.
    pub(super) fn is_by_errors(&self) -> bool {
        self.cause == Cause::Errors && !self.search.is_idle()
    }

    /// New samples come, the time since those before being `interval`: some more may be tried.
    pub(super) fn begin_snapshot(&mut self, interval: Duration, now: Instant) {
        let seconds = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
        self.unnamed = seconds
            .saturating_mul(UNNAMED_A_SECOND)
            .clamp(UNNAMED_MIN, UNNAMED_MAX);
        self.extra = EXTRA_MAX;
        self.points_max = None;
        self.conflicts.begin_snapshot();
        for group in self.quarantine.due(now) {
            for labels in &group {
                self.states
                    .insert(labels.key, State::Suspect { is_bare: false });
            }
            self.search.probe(group);
        }
    }

    /// Tries again all that was refused, a few at a time: the receiver may be another one.
    pub(super) fn retry_all(&mut self, now: Instant) {
        self.quarantine.retry_all(now);
    }

    /// Takes out of the series of a record what is not to be sent with it.
    pub(super) fn sort(&mut self, all: Vec<Series>, sequence: u64, again: bool) -> Sorted {
        let mut sorted = Sorted::default();
        for series in all {
            match self.states.get(&series.labels.key) {
                None => sorted.ordinary.push(series),
                Some(State::Quarantined) => sorted.failed += series.counts(),
                Some(State::Suspect { is_bare: true }) => {
                    let mut waiting = Waiting::new(series, sequence, again);
                    let exemplars = waiting.drop_exemplars().into_iter();
                    sorted.failed += exemplars.map(|part| part.counts).sum();
                    sorted.held += waiting.series.counts();
                    self.backlog.push(waiting);
                }
                Some(_) => {
                    sorted.held += series.counts();
                    self.backlog.push(Waiting::new(series, sequence, again));
                }
            }
        }
        sorted
    }

    /// The series of a refused request, of which the answer names some. What is ordinary after that goes on.
    pub(super) fn refused(
        &mut self,
        all: Vec<Series>,
        (sequence, again): (u64, bool),
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
            if cause == Cause::AlreadyThere && again {
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
        if is_named && self.extra > 0 {
            self.extra -= 1;
            sorted.ordinary = rest;
            return sorted;
        }
        self.suspect(rest, (sequence, again), cause, &mut sorted);
        sorted
    }

    /// The series of a request that is answered with 5xx while others are accepted.
    pub(super) fn failing(&mut self, all: Vec<Series>, (sequence, again): (u64, bool)) -> Sorted {
        let mut sorted = Sorted::default();
        self.suspect(all, (sequence, again), Cause::Errors, &mut sorted);
        sorted
    }

    /// Makes suspects of series; but not of those that were accepted a short while ago, unless all were.
    fn suspect(
        &mut self,
        all: Vec<Series>,
        (sequence, again): (u64, bool),
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
        if !suspects.is_empty() {
            self.cause = cause;
        }
        for series in suspects {
            sorted.held += series.counts();
            self.look_into(series.labels.clone());
            self.backlog.push(Waiting::new(series, sequence, again));
        }
    }

    fn look_into(&mut self, labels: Labels) {
        let suspect = State::Suspect { is_bare: false };
        let before = self.states.insert(labels.key, suspect);
        if !matches!(before, Some(State::Suspect { .. })) {
            self.good.remove(&labels.key);
            self.search.add([labels]);
        }
    }

    /// Gives up what waits of a record, the oldest one that has something here; how much that is.
    pub(super) fn give_up(&mut self, sequence: u64) -> Counts {
        self.backlog.take_record(sequence)
    }

    /// The request that is on its way, or to be sent again.
    pub(super) const fn parcel(&mut self) -> Option<&mut Parcel> {
        self.parcel.as_mut()
    }

    /// The next request, with no more than so many values.
    ///
    /// `is_sorted`: all records that there are were sorted. Then a series without values does not exist any more.
    pub(super) fn next(
        &mut self,
        samples_max: usize,
        protocol: Protocol,
        is_sorted: bool,
        now: Instant,
    ) -> Option<&mut Parcel> {
        if self.parcel.is_none() {
            let samples_max = self.points_max.unwrap_or(samples_max).min(samples_max);
            while let Some((kind, taken)) = self.choose(samples_max, is_sorted, now) {
                match wire::together(taken.iter().map(|waiting| &waiting.series), protocol) {
                    Ok(body) => {
                        self.parcel = Some(Parcel {
                            body,
                            attempt: 0,
                            is_sending: false,
                            since: now,
                            errors: 0,
                            errors_among_accepted: 0,
                            failed_at: now,
                            kind,
                            taken,
                        });
                        break;
                    }
                    // Without a single value.
                    Err(wire::Unreadable) => self.accept(kind, taken, false, now),
                }
            }
        }
        self.parcel.as_mut()
    }

    fn choose(
        &mut self,
        samples_max: usize,
        is_sorted: bool,
        now: Instant,
    ) -> Option<(Kind, Vec<Waiting>)> {
        if self.accepted.len() >= samples_max
            && let Some(next) = self.catch_up(samples_max)
        {
            return Some(next);
        }
        if let Some(taken) = self.test(samples_max, is_sorted, now) {
            return Some((Kind::Test, taken));
        }
        self.conflict(samples_max, is_sorted)
            .or_else(|| self.catch_up(samples_max))
    }

    /// The oldest values of series that are refused for the time of their values. Newer ones may be accepted.
    fn conflict(&mut self, samples_max: usize, is_sorted: bool) -> Option<(Kind, Vec<Waiting>)> {
        while let Some(group) = self.conflicts.next() {
            let (mut group, idle) = self.waiting(group);
            if is_sorted {
                // There is a new snapshot without them.
                idle.iter().for_each(|labels| self.clear(labels.key));
            } else {
                self.conflicts.add(idle);
            }
            let times = group
                .iter()
                .filter_map(|labels| self.backlog.oldest(labels.key));
            let Some(oldest) = times.min() else {
                continue;
            };
            let (mut points, mut taken, mut sent) = (0, Vec::new(), 0);
            for labels in &group {
                if points >= samples_max {
                    break;
                }
                sent += 1;
                let time = self.backlog.oldest(labels.key);
                if time.is_some_and(|time| time - oldest < SAME_MS)
                    && let Some(waiting) = self.backlog.take_oldest(labels.key, 1)
                {
                    points += points_of(&waiting);
                    taken.push(waiting);
                }
            }
            let rest = group.split_off(sent);
            self.conflicts.put_back(rest);
            return Some((Kind::Conflict(group), taken));
        }
        None
    }

    /// Those that have values that wait, and the others.
    fn waiting(&self, group: Vec<Labels>) -> (Vec<Labels>, Vec<Labels>) {
        let waits = |labels: &Labels| self.backlog.contains(labels.key);
        group.into_iter().partition(waits)
    }

    /// Values of suspects.
    fn test(&mut self, samples_max: usize, is_sorted: bool, now: Instant) -> Option<Vec<Waiting>> {
        while self.unnamed > 0 && self.extra > 0 {
            let series = (self.backlog.len() as u64).max(1);
            let each = usize::try_from(self.backlog.points() / series).unwrap_or(usize::MAX);
            let keys = self.search.next(samples_max / (each.saturating_add(1)))?;
            let each = (samples_max / keys.len()).max(1) as u64;
            let taken = keys
                .iter()
                .filter_map(|key| self.backlog.take_oldest(*key, each));
            let taken: Vec<_> = taken.collect();
            if !taken.is_empty() {
                (self.unnamed, self.extra) = (self.unnamed - 1, self.extra - 1);
                return Some(taken);
            }
            if !is_sorted {
                self.search.inconclusive();
                return None;
            }
            let found = self.search.answered(true);
            self.apply(found, now);
        }
        None
    }

    /// Values of series that were accepted.
    fn catch_up(&mut self, samples_max: usize) -> Option<(Kind, Vec<Waiting>)> {
        let (mut points, mut taken) = (0, Vec::new());
        while points < samples_max
            && let Some(key) = self.accepted.pop_front()
        {
            if self.states.get(&key) != Some(&State::CatchingUp) {
                continue;
            }
            let left = (samples_max - points) as u64;
            match self.backlog.take_oldest(key, left) {
                Some(waiting) => {
                    points += points_of(&waiting);
                    taken.push(waiting);
                }
                None => {
                    self.states.remove(&key);
                }
            }
        }
        (!taken.is_empty()).then_some((Kind::CatchUp, taken))
    }

    /// The request was not answered, or with the wish to try again. `was_sent`: it may have been stored.
    pub(super) fn retried(&mut self, was_sent: bool) {
        if let Some(parcel) = &mut self.parcel {
            parcel.is_sending = false;
            parcel.attempt = parcel.attempt.saturating_add(1);
            let parts = parcel.taken.iter_mut().flat_map(|one| &mut one.parts);
            parts.for_each(|part| part.again |= was_sent);
        }
    }

    /// The receiver turned out to speak 1.0.
    pub(super) fn downgrade(&mut self) {
        if let Some(parcel) = &mut self.parcel
            && parcel.body.protocol == Protocol::V2
            && let Ok(body) = wire::together(
                parcel.taken.iter().map(|waiting| &waiting.series),
                Protocol::V1,
            )
        {
            parcel.body = body;
        }
    }

    /// The request was accepted.
    pub(super) fn delivered(&mut self, now: Instant) {
        if let Some(Parcel { kind, taken, .. }) = self.parcel.take() {
            self.accept(kind, taken, false, now);
        }
    }

    /// The receiver of 2.0 says how much of the request it stored.
    pub(super) fn stored_in_part(&mut self, stored: Counts, now: Instant) {
        if let Some(Parcel {
            body, kind, taken, ..
        }) = self.parcel.take()
        {
            self.settled.delivered += stored;
            self.settled.failed += body.counts - stored;
            self.accept(kind, taken, true, now);
        }
    }

    /// `is_counted`: what was delivered is counted already.
    fn accept(&mut self, kind: Kind, taken: Vec<Waiting>, is_counted: bool, now: Instant) {
        let keys: Vec<_> = taken.iter().map(|one| one.series.labels.key).collect();
        for part in taken.into_iter().flat_map(|waiting| waiting.parts) {
            if !is_counted {
                self.settled.delivered += part.counts;
            }
            self.settled.parts.push(part);
        }
        match kind {
            Kind::Test => {
                let found = self.search.answered(true);
                self.apply(found, now);
            }
            Kind::Conflict(mut group) => {
                let sent: HashSet<_> = keys.iter().copied().collect();
                group.retain(|labels| !sent.contains(&labels.key));
                self.go_on(group);
                keys.into_iter().for_each(|key| self.clear(key));
            }
            Kind::CatchUp => keys.into_iter().for_each(|key| self.clear(key)),
        }
    }

    /// The request was refused, with an answer that names some of its series.
    pub(super) fn parcel_refused(&mut self, cause: Cause, named: &HashSet<Key>, now: Instant) {
        let Some(Parcel { kind, taken, .. }) = self.parcel.take() else {
            return;
        };
        let labels: Vec<_> = taken.iter().map(|one| one.series.labels.clone()).collect();
        match kind {
            Kind::Conflict(group) if cause.is_of_time() => {
                for part in taken.into_iter().flat_map(|waiting| waiting.parts) {
                    self.give_back(part, cause);
                }
                return self.go_on(group);
            }
            Kind::Test => {
                self.put_back(taken);
                self.cause = cause;
                let is_named = labels.iter().any(|labels| named.contains(&labels.key));
                let found = if is_named {
                    self.unnamed += 1;
                    self.search.named(named)
                } else {
                    self.search.answered(false)
                };
                return self.apply(found, now);
            }
            Kind::Conflict(mut group) => {
                let sent: HashSet<_> = labels.iter().map(|labels| labels.key).collect();
                group.retain(|labels| !sent.contains(&labels.key));
                self.go_on(group);
                self.put_back(taken);
            }
            Kind::CatchUp => self.put_back(taken),
        }
        self.cause = cause;
        let (bad, suspects): (Vec<_>, Vec<_>) = labels
            .into_iter()
            .partition(|labels| named.contains(&labels.key));
        for labels in bad {
            self.condemn(vec![labels], now);
        }
        suspects
            .into_iter()
            .for_each(|labels| self.look_into(labels));
    }

    /// The request is larger than the receiver accepts.
    pub(super) fn too_large(&mut self, now: Instant) {
        let Some(parcel) = &self.parcel else {
            return;
        };
        let points = usize::try_from(parcel.body.counts.points()).unwrap_or(usize::MAX);
        let is_least = parcel.taken.len() == 1 && parcel.taken[0].parts.len() == 1;
        if is_least {
            return self.parcel_refused(Cause::Series, &HashSet::new(), now);
        }
        self.points_max = Some((points / 2).max(1));
        self.inconclusive();
    }

    /// The answer says nothing about the series in the request.
    pub(super) fn inconclusive(&mut self) {
        if let Some(Parcel { kind, taken, .. }) = self.parcel.take() {
            let keys: Vec<_> = taken.iter().map(|one| one.series.labels.key).collect();
            self.put_back(taken);
            self.undecided(kind, &keys);
        }
    }

    /// Nothing of the request will be stored, whatever its series are.
    pub(super) fn rejected(&mut self) {
        if let Some(Parcel { kind, taken, .. }) = self.parcel.take() {
            let keys: Vec<_> = taken.iter().map(|one| one.series.labels.key).collect();
            for part in taken.into_iter().flat_map(|waiting| waiting.parts) {
                self.give_back(part, Cause::Series);
            }
            self.undecided(kind, &keys);
        }
    }

    fn undecided(&mut self, kind: Kind, keys: &[Key]) {
        match kind {
            Kind::Test => self.search.inconclusive(),
            Kind::Conflict(group) => self.conflicts.add(group),
            Kind::CatchUp => self.accepted.extend(keys),
        }
    }

    /// Sends what else waits of a group; the others come with the next snapshot.
    fn go_on(&mut self, group: Vec<Labels>) {
        let (waiting, idle) = self.waiting(group);
        self.conflicts.put_back(waiting);
        self.conflicts.refused(idle);
    }

    fn put_back(&mut self, taken: Vec<Waiting>) {
        taken
            .into_iter()
            .for_each(|waiting| self.backlog.put_back(waiting));
    }

    fn apply(&mut self, found: Found, now: Instant) {
        found.good.iter().for_each(|labels| self.clear(labels.key));
        found
            .bad
            .into_iter()
            .for_each(|group| self.condemn(group, now));
        if self.search.is_idle() {
            self.good.clear();
            self.cause = Cause::default();
        }
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
    fn condemn(&mut self, group: Vec<Labels>, now: Instant) {
        let mut has_exemplars = false;
        for labels in &group {
            let is_bare = self.states.get(&labels.key) == Some(&State::Suspect { is_bare: true });
            if is_bare || self.cause.is_of_time() {
                continue;
            }
            for part in self.backlog.drop_exemplars(labels.key) {
                has_exemplars = true;
                self.give_back(part, self.cause);
            }
        }
        if has_exemplars {
            for labels in &group {
                let suspect = State::Suspect { is_bare: true };
                self.states.insert(labels.key, suspect);
            }
            return self.search.probe(group);
        }
        // What is refused for its time is sent again, value by value.
        let is_final = !self.cause.is_of_time();
        for labels in group.iter().filter(|_| is_final) {
            let waiting = self.backlog.take(labels.key);
            for part in waiting.into_iter().flat_map(|waiting| waiting.parts) {
                self.give_back(part, self.cause);
            }
        }
        self.put_away(group, self.cause, now);
    }

    /// Part of a record will not be stored, or is there already.
    fn give_back(&mut self, part: Part, cause: Cause) {
        if cause == Cause::AlreadyThere && part.again {
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
                self.quarantine.accepted(labels.key);
            }
            let (waiting, idle) = self.waiting(group);
            self.conflicts.join(waiting);
            return self.conflicts.add(idle);
        }
        let (series, first) = (group.len(), group.first().map(Labels::to_string));
        let (is_new, _) = self.quarantine.add(group, now);
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

fn points_of(waiting: &Waiting) -> usize {
    usize::try_from(waiting.series.counts().points()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
