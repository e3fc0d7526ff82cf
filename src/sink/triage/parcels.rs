//! Requests outside the records, one at a time: values of series that are tested, conflicting or
//! catching up.

use std::collections::HashSet;
use std::time::Instant;

use super::{Suspicion, Triage};
use crate::counts::Counts;
use crate::sink::backlog::{Tried, Waiting};
use crate::sink::flight::{ERRORS_MIN, Failure};
use crate::sink::verdict::Cause;
use crate::wire::{self, Body, Key, Labels, Protocol};

/// Number of 5xx responses, while others are accepted, after which a request is blamed for them.
const ERRORS: u32 = 3;

/// Number of failed attempts, while others are accepted, after which other requests go first.
const ATTEMPTS: u32 = 8;

/// Maximum values of one series in a snapshot: the first value is preceded by a zero.
const VALUES: usize = 2;

/// Values of one snapshot are less than this many milliseconds apart.
const SAME_MS: i64 = 500;

/// A request outside the records.
#[derive(Debug)]
pub(in crate::sink) struct Parcel {
    pub(in crate::sink) body: Body,
    /// Number of failed attempts.
    pub(in crate::sink) attempt: u32,
    pub(in crate::sink) is_sending: bool,
    /// When it was first sent.
    since: Instant,
    /// Number of consecutive 5xx responses, and how many of them came after others had been
    /// accepted.
    errors: u32,
    errors_among_accepted: u32,
    /// When the last attempt failed.
    failed_at: Instant,
    kind: ParcelKind,
    taken: Vec<Waiting>,
}

#[derive(Debug)]
enum ParcelKind {
    Test,
    Conflict,
    CatchUp,
}

/// The likely reason that a parcel got no response or a 5xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Fault {
    /// The receiver is not working.
    Receiver,
    /// Not known yet.
    Unknown,
    /// The series in the parcel.
    Series,
}

impl Triage {
    /// Returns the request that is in flight or will be sent again.
    pub(in crate::sink) const fn parcel(&mut self) -> Option<&mut Parcel> {
        self.parcel.as_mut()
    }

    /// Returns the next request with at most `samples_max` values.
    ///
    /// With `is_sorted`, all existing records were sorted, so a series without values no longer
    /// exists.
    pub(in crate::sink) fn next(
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
                    // There were no values to send.
                    Err(wire::Unreadable) => self.accept(&kind, taken, false, now),
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
    ) -> Option<(ParcelKind, Vec<Waiting>)> {
        if self.accepted.len() >= samples_max
            && let Some(next) = self.catch_up(samples_max)
        {
            return Some(next);
        }
        if let Some(taken) = self.test(samples_max, is_sorted, now) {
            return Some((ParcelKind::Test, taken));
        }
        self.conflict(samples_max, is_sorted)
            .or_else(|| self.catch_up(samples_max))
    }

    /// Returns the oldest values of conflicting series. Newer values may be accepted.
    fn conflict(
        &mut self,
        samples_max: usize,
        is_sorted: bool,
    ) -> Option<(ParcelKind, Vec<Waiting>)> {
        let members = self.conflicts.drain_due();
        let (mut members, idle) = self.with_values(members);
        if is_sorted && !self.gave_up {
            // A newer snapshot no longer contains them.
            idle.iter().for_each(|labels| self.forget(labels.key));
        } else {
            self.conflicts.add(idle);
        }
        let oldest = |labels: &Labels| self.backlog.oldest(labels.key).unwrap_or(i64::MAX);
        members.sort_by_cached_key(oldest);
        let first = members.first().map_or(i64::MAX, oldest);
        let of_first = members.partition_point(|labels| oldest(labels) - first < SAME_MS);
        if of_first < samples_max && std::mem::replace(&mut self.has_conflicted, true) {
            if self.others == 0 {
                self.conflicts.add(members);
                return None;
            }
            self.others -= 1;
        }
        let (mut points, mut taken) = (0, Vec::new());
        for labels in &members[..of_first] {
            let waiting = self.backlog.take_oldest(labels.key, 1);
            points += waiting.as_ref().map_or(0, points_of);
            taken.extend(waiting);
            if points + VALUES > samples_max {
                break;
            }
        }
        self.conflicts.add(members.split_off(taken.len()));
        (!taken.is_empty()).then_some((ParcelKind::Conflict, taken))
    }

    /// Splits a group into series with values in the backlog, and the others.
    fn with_values(&self, group: Vec<Labels>) -> (Vec<Labels>, Vec<Labels>) {
        let waits = |labels: &Labels| self.backlog.contains(labels.key);
        group.into_iter().partition(waits)
    }

    /// Returns the oldest value of each of some suspects. With a single value of each series in
    /// flight, the order is kept even if the receiver stores part of a refused request.
    fn test(&mut self, samples_max: usize, is_sorted: bool, now: Instant) -> Option<Vec<Waiting>> {
        let are_ended = is_sorted && !self.gave_up;
        while self.unnamed > 0 && self.others > 0 {
            let keys = self
                .search
                .next(samples_max / VALUES, self.accepted_at, now)?;
            let all = keys.iter();
            let taken: Vec<_> = all
                .filter_map(|key| self.backlog.take_oldest(*key, 1))
                .collect();
            if taken.is_empty() && !are_ended {
                self.search.inconclusive();
                return None;
            }
            let mut idle: HashSet<Key> = keys.into_iter().collect();
            for waiting in &taken {
                idle.remove(&waiting.series.labels.key);
            }
            if !idle.is_empty() {
                self.search.withdraw(&idle, are_ended);
                if are_ended {
                    // A newer snapshot no longer contains them.
                    idle.into_iter().for_each(|key| self.forget(key));
                }
            }
            if !taken.is_empty() {
                self.unnamed -= 1;
                return Some(taken);
            }
        }
        None
    }

    /// Returns values of accepted series. If one value each does not fill a request, the number of
    /// requests is limited.
    fn catch_up(&mut self, samples_max: usize) -> Option<(ParcelKind, Vec<Waiting>)> {
        let (mut points, mut taken) = (0, Vec::new());
        while points < samples_max
            && let Some(key) = self.accepted.pop_front()
        {
            if self.states.get(&key) != Some(&Suspicion::CatchingUp) {
                continue;
            }
            if !self.backlog.contains(key) {
                self.states.remove(&key);
                continue;
            }
            if taken.is_empty() && self.accepted.len() < samples_max && !self.may_catch_up() {
                self.accepted.push_front(key);
                break;
            }
            let left = (samples_max - points) as u64;
            let waiting = self.backlog.take_oldest(key, left);
            points += waiting.as_ref().map_or(0, points_of);
            taken.extend(waiting);
        }
        (!taken.is_empty()).then_some((ParcelKind::CatchUp, taken))
    }

    /// Uses one request from the budget for catching up, or one that no test needs.
    const fn may_catch_up(&mut self) -> bool {
        let budget = if self.catch_ups > 0 {
            &mut self.catch_ups
        } else {
            &mut self.unnamed
        };
        let may = *budget > 0;
        *budget = budget.saturating_sub(1);
        may
    }

    /// Handles a request that got no response, or a response that asks for a retry.
    pub(in crate::sink) fn failed(&mut self, failure: Failure, now: Instant) -> Fault {
        let is_by_errors = self.search.is_by_errors();
        let accepted_at = self.accepted_at;
        let is_accepted_since = |at| accepted_at.is_some_and(|accepted| accepted > at);
        let Some(parcel) = &mut self.parcel else {
            return Fault::Receiver;
        };
        parcel.is_sending = false;
        parcel.attempt = parcel.attempt.saturating_add(1);
        if failure != Failure::Unsent {
            let taken = parcel.taken.iter_mut();
            taken.for_each(|waiting| waiting.tried(Tried::Unanswered));
        }
        let is_working = is_accepted_since(parcel.failed_at);
        parcel.failed_at = now;
        if failure == Failure::Error {
            parcel.errors += 1;
            parcel.errors_among_accepted += u32::from(is_working);
        } else {
            (parcel.errors, parcel.errors_among_accepted) = (0, 0);
        }
        if is_by_errors && matches!(parcel.kind, ParcelKind::Test) {
            if parcel.errors < ERRORS {
                return Fault::Unknown;
            }
            if self.search.errs(now) {
                return Fault::Series;
            }
            let waiting = self.parcel.take().into_iter();
            let waiting = waiting.flat_map(|parcel| parcel.taken);
            waiting.for_each(|waiting| self.backlog.put_back(waiting));
            return Fault::Unknown;
        }
        let is_long = now.saturating_duration_since(parcel.since) >= ERRORS_MIN;
        if is_long && parcel.errors_among_accepted >= ERRORS {
            Fault::Series
        } else if is_accepted_since(parcel.since) && parcel.attempt >= ATTEMPTS {
            // Something on the path blocks this request. Let others go first.
            self.inconclusive();
            Fault::Unknown
        } else if is_working {
            Fault::Unknown
        } else {
            Fault::Receiver
        }
    }

    /// Re-encodes the parcel if a receiver of this protocol cannot read it.
    pub(in crate::sink) fn downgrade(&mut self, receiver: Protocol) {
        if let Some(parcel) = &mut self.parcel
            && let Ok(body) = wire::downgrade(&parcel.body, receiver)
        {
            parcel.body = body;
        }
    }

    /// Handles an accepted request.
    pub(in crate::sink) fn delivered(&mut self, now: Instant) {
        if let Some(Parcel { kind, taken, .. }) = self.parcel.take() {
            self.accept(&kind, taken, false, now);
        }
    }

    /// Handles a 2.0 response that says how much of the request was stored.
    pub(in crate::sink) fn stored_in_part(&mut self, stored: Counts, now: Instant) {
        if let Some(Parcel {
            body, kind, taken, ..
        }) = self.parcel.take()
        {
            self.settled.delivered += stored;
            self.settled.failed += body.counts - stored;
            self.accept(&kind, taken, true, now);
        }
    }

    /// With `is_counted`, delivered values were already counted.
    fn accept(&mut self, kind: &ParcelKind, taken: Vec<Waiting>, is_counted: bool, now: Instant) {
        let labels = labels_of(&taken);
        for part in taken.into_iter().flat_map(|waiting| waiting.parts) {
            if !is_counted {
                self.settled.delivered += part.counts;
            }
            self.settled.parts.push(part);
        }
        match kind {
            ParcelKind::Test => {
                let found = self.search.answered(Ok(()));
                self.apply(found, now);
            }
            ParcelKind::Conflict | ParcelKind::CatchUp => {
                labels.iter().for_each(|labels| self.clear(labels.key));
            }
        }
    }

    /// Returns whether some of the request may already be stored.
    pub(in crate::sink) fn may_be_there(&self) -> bool {
        let taken = self.parcel.iter().flat_map(|parcel| &parcel.taken);
        let mut parts = taken.flat_map(|waiting| &waiting.parts);
        parts.any(|part| part.may_be_there)
    }

    /// Handles a refusal, which may name some of the series.
    pub(in crate::sink) fn parcel_refused(
        &mut self,
        cause: Cause,
        named: &HashSet<Key>,
        now: Instant,
    ) {
        let Some(Parcel { kind, taken, .. }) = self.parcel.take() else {
            return;
        };
        let labels = labels_of(&taken);
        if matches!(kind, ParcelKind::Conflict) && cause.is_of_time() {
            for part in taken.into_iter().flat_map(|waiting| waiting.parts) {
                self.give_back(part, cause);
            }
            self.conflicts.refused();
            return self.conflict_sent(labels);
        }
        for mut waiting in taken {
            waiting.tried(Tried::Refused);
            self.backlog.put_back(waiting);
        }
        let (bad, others): (Vec<_>, Vec<_>) = labels
            .into_iter()
            .partition(|labels| named.contains(&labels.key));
        if matches!(kind, ParcelKind::Test) {
            let found = if bad.is_empty() {
                self.search.answered(Err(cause))
            } else {
                self.unnamed += 1;
                self.others = self.others.saturating_sub(1);
                self.search.named(named, cause)
            };
            return self.apply(found, now);
        }
        for labels in bad {
            self.condemn(vec![labels], cause, now);
        }
        for labels in others {
            self.look_into(labels, cause);
        }
    }

    /// Handles a request that is larger than the receiver accepts.
    pub(in crate::sink) fn too_large(&mut self, now: Instant) {
        let Some(parcel) = &self.parcel else {
            return;
        };
        let points = usize::try_from(parcel.body.counts.points()).unwrap_or(usize::MAX);
        let is_least = parcel.taken.len() == 1 && parcel.taken[0].parts.len() == 1;
        if is_least {
            // This single value is too large, which says nothing about the limit for others.
            self.points_max = None;
            return self.parcel_refused(Cause::Series, &HashSet::new(), now);
        }
        self.points_max = Some((points / 2).max(1));
        self.inconclusive();
    }

    /// Handles a response that says nothing about the series in the request.
    fn inconclusive(&mut self) {
        if let Some(Parcel { kind, taken, .. }) = self.parcel.take() {
            let labels = labels_of(&taken);
            taken
                .into_iter()
                .for_each(|waiting| self.backlog.put_back(waiting));
            self.undecided(&kind, labels);
        }
    }

    /// Handles a response that rejects the request regardless of its series.
    pub(in crate::sink) fn rejected(&mut self) {
        if let Some(Parcel { kind, taken, .. }) = self.parcel.take() {
            let labels = labels_of(&taken);
            for part in taken.into_iter().flat_map(|waiting| waiting.parts) {
                self.give_back(part, Cause::Series);
            }
            self.gave_up = true;
            self.undecided(&kind, labels);
        }
    }

    fn undecided(&mut self, kind: &ParcelKind, labels: Vec<Labels>) {
        match kind {
            ParcelKind::Test => self.search.inconclusive(),
            ParcelKind::Conflict => self.conflict_sent(labels),
            ParcelKind::CatchUp => self
                .accepted
                .extend(labels.into_iter().map(|labels| labels.key)),
        }
    }

    /// Continues conflicting series with the rest of their backlog, or with the next snapshot.
    pub(super) fn conflict_sent(&mut self, members: Vec<Labels>) {
        let (waiting, idle) = self.with_values(members);
        self.conflicts.add(waiting);
        self.conflicts.idle(idle);
    }
}

fn labels_of(taken: &[Waiting]) -> Vec<Labels> {
    taken.iter().map(|one| one.series.labels.clone()).collect()
}

fn points_of(waiting: &Waiting) -> usize {
    usize::try_from(waiting.series.counts().points()).unwrap_or(usize::MAX)
}
