//! Finds the series that a receiver refuses without naming them, by sending groups of suspects.
//!
//! Every test is an extra request, so each must yield as much information as possible. Accepted
//! series are cleared immediately. A refused group contains at least one refused series; if one
//! part of it turns out to be good, another part must be at fault and needs no test of its own. The
//! group size is chosen so that about half of the tests are accepted.
//!
//! Series that share a label value (a task name, a queue) are likely to be refused together. A few
//! single series show whether many are refused. Labels are then tried in turn until one is found
//! whose values seem to decide; from then on, a group consists of all series with one value. Such a
//! group is not divided down to single series: if every series sampled from it is refused, all of
//! it is presumed refused.
//!
//! Errors (5xx) are weaker evidence than refusals, because an outage looks the same. Series
//! answered with errors are therefore set aside, and only blamed if they fail again after others
//! were accepted.

mod choose;
mod groups;
mod learn;

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use self::choose::spread;
pub(super) use self::groups::Found;
use self::groups::{Group, GroupKind, Suspect, Test, Trial};
use super::verdict::Cause;
use crate::wire::{Key, Labels};

/// Maximum number of samples in a request while the receiver refuses some. A smaller request makes
/// fewer series suspects.
pub(super) const REQUEST_MAX: usize = 2_000;

/// Minimum and maximum number of single series to test first. If the maximum is reached without an
/// accepted one, all series are presumed refused. With one good series in four, that is wrong once
/// in 5,000 times.
const SINGLES_MIN: u32 = 4;
const SINGLES_MAX: u32 = 30;

/// Upper bound of the group size; no request has that many series.
const TARGET_MAX: usize = 1 << 24;

/// How long series that were answered with errors are left alone if there is nothing else to test.
const ERRING: Duration = Duration::from_secs(5);

/// Number of responses that name series after which single series are tested.
const NAMED_MAX: u32 = 12;

/// The suspects and what is known about them.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Suspects of unknown state, sorted so that those sharing a label value are adjacent.
    pool: Vec<Suspect>,
    /// Suspects of unknown state, regardless of labels.
    loose: Vec<Suspect>,
    /// Groups that contain at least one refused series each.
    bad: Vec<Group>,
    /// Groups that were refused as a whole when last sent, some time ago.
    probes: VecDeque<Group>,
    /// Whether the next test is a probe, provided there are other suspects too.
    is_probes_turn: bool,
    /// Tests that were answered with errors, and the times of the errors.
    erring: VecDeque<(Test, Instant)>,
    labels: Trial,
    /// Whether the pool must be sorted, because suspects were added or the label changed.
    is_unsorted: bool,
    singles: u32,
    /// Why single series were refused; a cause related to time takes precedence.
    singles_cause: Cause,
    /// Single series that were accepted.
    seeds: Vec<Labels>,
    /// Number of series to test together.
    target: usize,
    /// Whether more than one series was accepted at once.
    accepted: bool,
    /// Number of responses that named series since a test was last accepted.
    named: u32,
    testing: Option<Test>,
}

impl Search {
    pub(super) fn is_idle(&self) -> bool {
        self.testing.is_none() && self.suspects() == 0
    }

    fn suspects(&self) -> usize {
        let groups = self.bad.iter().chain(&self.probes);
        let grouped: usize = groups.map(|group| group.members.len()).sum();
        let erring: usize = self.erring.iter().map(|(test, _)| test.len()).sum();
        self.pool.len() + self.loose.len() + grouped + erring
    }

    /// Adds series that may be refused and are not suspects yet.
    pub(super) fn add(&mut self, suspects: impl IntoIterator<Item = Labels>, cause: Cause) {
        if self.is_idle() {
            *self = Self::default();
        }
        let suspects = suspects.into_iter();
        self.pool
            .extend(suspects.map(|labels| Suspect::new(labels, cause)));
        self.is_unsorted = true;
    }

    /// Adds a group that was refused when last sent and whose series are not suspects yet.
    pub(super) fn probe(&mut self, group: impl IntoIterator<Item = Labels>, cause: Cause) {
        if self.is_idle() {
            *self = Self::default();
        }
        let suspects = group.into_iter();
        self.probes.push_back(Group {
            members: suspects.map(|labels| Suspect::new(labels, cause)).collect(),
            is_whole: true,
            sampled: 0,
        });
    }

    /// Discards what is known about the suspects, because the receiver has changed.
    pub(super) fn reset(&mut self) {
        let mut pool = self.testing.take().map_or_else(Vec::new, Test::all);
        pool.append(&mut self.pool);
        pool.append(&mut self.loose);
        let groups = self.bad.drain(..).chain(self.probes.drain(..));
        pool.extend(groups.flat_map(|group| group.members));
        pool.extend(self.erring.drain(..).flat_map(|(test, _)| test.all()));
        *self = Self {
            pool,
            is_unsorted: true,
            ..Self::default()
        };
    }

    /// Returns whether the tested series were added, or last refused, because of errors.
    pub(super) fn is_by_errors(&self) -> bool {
        let members = self.testing.iter().flat_map(|test| &test.members);
        members
            .into_iter()
            .any(|suspect| suspect.cause == Cause::Errors)
    }

    /// Handles an error (5xx) for the current test. Returns `true`, which counts as a refusal, if
    /// the test already failed before and others were accepted since. Otherwise the test is set
    /// aside until they are.
    pub(super) fn errs(&mut self, now: Instant) -> bool {
        if self.testing.as_ref().is_some_and(|test| test.is_again) {
            return true;
        }
        let erring = self.testing.take().map(|test| (test, now));
        self.erring.extend(erring);
        false
    }

    /// Returns the series to test next, at most `max`, or nothing while a test is in progress.
    /// Other series were last accepted at `accepted_at`.
    pub(super) fn next(
        &mut self,
        max: usize,
        accepted_at: Option<Instant>,
        now: Instant,
    ) -> Option<Vec<Key>> {
        if self.testing.is_some() {
            return None;
        }
        let is_due = |(_, erred): &mut (Test, Instant)| accepted_at.is_some_and(|at| at > *erred);
        let due = self.erring.pop_front_if(is_due);
        if self.pool.len() + self.loose.len() + self.bad.len() + self.probes.len() == 0 {
            self.divide_erring();
        }
        let has_others = self.pool.len() + self.loose.len() + self.bad.len() > 0;
        self.is_probes_turn = !self.is_probes_turn || !has_others;
        let test = if let Some((test, _)) = due {
            Test {
                is_again: true,
                ..test
            }
        } else if let Some(group) = self.probes.pop_front_if(|_| self.is_probes_turn) {
            Test::one_of(group, GroupKind::Probe)
        } else if !has_others {
            // Without this test, the end of an outage would go unnoticed.
            let is_old = |(_, erred): &mut (Test, Instant)| now >= *erred + ERRING;
            self.erring.pop_front_if(is_old)?.0
        } else if self.wants_single() {
            let at = spread(self.singles as usize, self.pool.len());
            Test::new(vec![self.pool.swap_remove(at)], GroupKind::Single)
        } else {
            self.sort();
            self.choose(max.max(1))?
        };
        let keys = test
            .members
            .iter()
            .map(|suspect| suspect.labels.key)
            .collect();
        self.testing = Some(test);
        Some(keys)
    }

    /// Handles the response to the test: accepted, or the cause of the refusal.
    pub(super) fn answered(&mut self, answer: Result<(), Cause>) -> Found {
        let mut found = Found::default();
        let Some(test) = self.testing.take() else {
            return found;
        };
        let accepted = answer.is_ok();
        if accepted && test.is_again {
            // The errors were due to an outage, so these series are not to blame.
            let erring = self.erring.drain(..);
            self.loose.extend(erring.flat_map(|(test, _)| test.all()));
        }
        let Test {
            mut members, kind, ..
        } = test;
        self.accepted |= accepted && members.len() > 1;
        match answer {
            Ok(()) => self.named = 0,
            Err(cause) => members.iter_mut().for_each(|suspect| suspect.cause = cause),
        }
        match kind {
            GroupKind::Single => self.single(members, accepted, &mut found),
            GroupKind::Pool { is_one_value } => {
                self.group(members, is_one_value, accepted, &mut found)
            }
            GroupKind::Loose => self.group(members, false, accepted, &mut found),
            GroupKind::Half(rest) => self.half(members, rest, accepted, &mut found),
            GroupKind::Sample(group) => self.sample(members, group, accepted, &mut found),
            GroupKind::Probe(group) => self.probed(members, group, accepted, &mut found),
        }
        found
    }

    /// Handles a response that names refused series. The others may be good.
    pub(super) fn named(&mut self, named: &HashSet<Key>, cause: Cause) -> Found {
        if self
            .testing
            .as_ref()
            .is_some_and(|test| test.members.len() == 1)
        {
            return self.answered(Err(cause));
        }
        let mut found = Found::default();
        let tested = self.testing.take().map_or_else(Vec::new, Test::all);
        for mut suspect in tested {
            if named.contains(&suspect.labels.key) {
                suspect.cause = cause;
                found.condemn(vec![suspect]);
            } else {
                self.pool.push(suspect);
            }
        }
        self.is_unsorted = true;
        // Larger tests name or clear more series, unless all series are refused.
        self.named += 1;
        self.target = if self.named < NAMED_MAX {
            TARGET_MAX
        } else {
            0
        };
        found
    }

    /// Handles a response without information about the series: others are tested first.
    pub(super) fn inconclusive(&mut self) {
        let Some(Test {
            mut members, kind, ..
        }) = self.testing.take()
        else {
            return;
        };
        match kind {
            // Pushed to the end, so another suspect takes its place.
            GroupKind::Single => self.pool.append(&mut members),
            GroupKind::Pool { .. } | GroupKind::Loose => {
                self.loose.splice(0..0, members);
            }
            GroupKind::Half(mut rest) => {
                rest.append(&mut members);
                self.bad.push(Group::new(rest));
            }
            GroupKind::Sample(mut group) => {
                group.members.append(&mut members);
                self.bad.push(group);
            }
            GroupKind::Probe(mut group) => {
                group.members.append(&mut members);
                self.probes.push_back(group);
            }
        }
    }

    /// Removes series from the test that have nothing to send. If they have ended, they are no
    /// longer suspects.
    pub(super) fn withdraw(&mut self, idle: &HashSet<Key>, are_ended: bool) {
        let Some(Test {
            members,
            kind,
            is_again,
        }) = self.testing.take()
        else {
            return;
        };
        let is_idle = |suspect: &Suspect| idle.contains(&suspect.labels.key);
        let (withdrawn, members): (Vec<_>, Vec<_>) = members.into_iter().partition(is_idle);
        let kind = match kind {
            kind if withdrawn.is_empty() => kind,
            // The refused series may be among those withdrawn, so the rest may be good.
            GroupKind::Half(rest) => {
                self.loose.extend(rest);
                GroupKind::Loose
            }
            GroupKind::Sample(group) | GroupKind::Probe(group) => {
                self.loose.extend(group.members);
                GroupKind::Loose
            }
            GroupKind::Single | GroupKind::Pool { .. } | GroupKind::Loose => kind,
        };
        if !are_ended {
            self.loose.splice(0..0, withdrawn);
        }
        self.testing = (!members.is_empty()).then_some(Test {
            members,
            kind,
            is_again,
        });
    }

    /// Divides a group that was answered with errors. Called if all groups were: either there is
    /// an outage, or each of them contains a bad series.
    fn divide_erring(&mut self) {
        let divisible = |(test, _): &(Test, Instant)| test.len() > 1;
        if let Some(at) = self.erring.iter().position(divisible)
            && let Some((test, _)) = self.erring.remove(at)
        {
            self.target = (test.members.len() / 2).max(1);
            self.loose.extend(test.all());
        }
    }
}

#[cfg(test)]
mod tests;
