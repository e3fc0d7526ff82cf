//! Draws conclusions from the response to a test.

use super::groups::{Found, Group, Suspect, Trial};
use super::{SINGLES_MAX, Search, TARGET_MAX};
use crate::sink::verdict::Cause;

/// Number of groups to divide everything into if this receiver seems to refuse all series.
const GROUPS: usize = 16;

/// Number of refused single-value groups after which the next label is tried.
const LOST_MAX: u32 = 2;

/// Number of groups after which the label is considered wrong unless a tenth of them was accepted.
const TRIED_MIN: u32 = 12;

/// A refused single-value group with more series than this may be refused as a whole.
const WHOLE_MIN: usize = 5;

/// Number of series of such a group to test individually; fewer once several values were refused
/// entirely.
const SAMPLED: u8 = 4;
const SAMPLED_MIN: u8 = 1;
pub(super) const WHOLES_MIN: u32 = 2;

/// Size of a large group, and the number of series to test in it: a wrong conclusion costs more
/// there.
const LARGE: usize = 200;
const SAMPLED_LARGE: u8 = 16;
const SAMPLED_LARGE_MIN: u8 = 4;

/// Number of series of a previously refused group to test before all of it is presumed refused
/// again.
const PROBED: u8 = 2;

impl Search {
    pub(super) fn single(&mut self, members: Vec<Suspect>, accepted: bool, found: &mut Found) {
        self.singles += 1;
        self.is_unsorted = true;
        if accepted {
            self.seeds
                .extend(members.iter().map(|suspect| suspect.labels.clone()));
            found.clear(members);
        } else {
            self.singles_cause = self.singles_cause.or_time(members[0].cause);
            found.condemn(members);
        }
        let cause = self.singles_cause;
        let is_refusal = cause != Cause::Errors;
        if self.singles >= SINGLES_MAX && self.seeds.is_empty() && is_refusal {
            // Nothing was accepted, so the receiver seems to refuse everything. Use several groups,
            // in case it only refuses most series.
            let bad = self.bad.drain(..).flat_map(|group| group.members);
            let all = self.pool.drain(..).chain(self.loose.drain(..)).chain(bad);
            let mut groups: [Vec<Suspect>; GROUPS] = Default::default();
            for (at, suspect) in all.enumerate() {
                groups[at % GROUPS].push(suspect);
            }
            for mut group in groups {
                group.iter_mut().for_each(|suspect| suspect.cause = cause);
                found.condemn(group);
            }
            *self = Self {
                probes: std::mem::take(&mut self.probes),
                erring: std::mem::take(&mut self.erring),
                ..Self::default()
            };
        }
    }

    pub(super) fn group(
        &mut self,
        members: Vec<Suspect>,
        is_one_value: bool,
        accepted: bool,
        found: &mut Found,
    ) {
        let size = members.len();
        let is_of_label = is_one_value && !self.labels.names.is_empty();
        if is_of_label {
            let count = if accepted {
                &mut self.labels.accepted
            } else {
                &mut self.labels.refused
            };
            *count += 1;
            self.labels.is_found |= accepted;
        }
        if accepted {
            if size * 2 > self.target {
                self.target = (self.target + self.target / 8 + 1).min(TARGET_MAX);
            }
            return found.clear(members);
        }
        if !is_of_label || size > self.target {
            self.target = if self.accepted {
                size.min(self.target) * 7 / 8
            } else {
                size / 4
            }
            .max(1);
        }
        self.blame(members, is_of_label, found);
        let Trial {
            is_found,
            accepted,
            refused,
            ..
        } = self.labels;
        let is_wrong = if is_found {
            accepted + refused >= TRIED_MIN && accepted * 10 < refused
        } else {
            refused >= LOST_MAX
        };
        if is_wrong {
            self.try_next_label();
        }
    }

    /// Concludes that the suspects contain a refused series.
    fn blame(&mut self, mut members: Vec<Suspect>, is_of_label: bool, found: &mut Found) {
        if members.len() == 1 {
            return found.condemn(members);
        }
        let mut is_whole = false;
        if is_of_label {
            // Series of the same value that did not fit into the request belong to the group.
            let value = members[0].value;
            let is_same = |suspect: &mut Suspect| suspect.value == value;
            members.extend(self.pool.extract_if(.., is_same));
            is_whole = members.len() >= WHOLE_MIN && self.labels.is_by_value();
        }
        self.bad.push(Group {
            is_whole,
            ..Group::new(members)
        });
    }

    /// Moves on to the next label, because the receiver does not seem to decide by this one.
    fn try_next_label(&mut self) {
        if self.labels.names.is_empty() {
            return;
        }
        self.labels = Trial {
            names: self.labels.names.split_off(1),
            ..Trial::default()
        };
        // That a group contains a refused series says little if most series are refused.
        let groups = self.bad.drain(..).map(|group| group.members);
        self.pool.extend(groups.flatten());
        self.pool.append(&mut self.loose);
        self.is_unsorted = true;
    }

    pub(super) fn half(
        &mut self,
        members: Vec<Suspect>,
        rest: Vec<Suspect>,
        accepted: bool,
        found: &mut Found,
    ) {
        let (blamed, others) = if accepted {
            found.clear(members);
            (rest, Vec::new())
        } else {
            (members, rest)
        };
        let is_one = |group: &[Suspect]| group.windows(2).all(|two| two[0].value == two[1].value);
        let is_cut = others
            .first()
            .is_some_and(|one| Some(one.value) == blamed.last().map(|one| one.value));
        let is_whole = self.labels.is_found
            && is_one(&blamed)
            && !is_cut
            && !accepted
            && self.labels.is_by_value()
            && blamed.len() >= WHOLE_MIN;
        if is_cut || !self.labels.is_found {
            self.loose.extend(others);
        } else {
            self.is_unsorted |= !others.is_empty();
            self.pool.extend(others);
        }
        self.blame(blamed, false, found);
        if let Some(group) = self.bad.last_mut().filter(|_| is_whole) {
            group.is_whole = true;
        }
    }

    pub(super) fn probed(
        &mut self,
        members: Vec<Suspect>,
        mut group: Group,
        accepted: bool,
        found: &mut Found,
    ) {
        if accepted {
            self.singles += 1;
            self.seeds
                .extend(members.iter().map(|suspect| suspect.labels.clone()));
            found.clear(members);
            self.pool.append(&mut group.members);
            // Other groups may be accepted too, so they are tested together.
            let others = self.probes.drain(..).map(|group| group.members);
            self.pool.extend(others.flatten());
            self.is_unsorted = true;
            return;
        }
        group.refused(members);
        if group.sampled >= PROBED || group.members.len() == 1 {
            return found.condemn(group.members);
        }
        self.probes.push_front(group);
    }

    pub(super) fn sample(
        &mut self,
        members: Vec<Suspect>,
        mut group: Group,
        accepted: bool,
        found: &mut Found,
    ) {
        if accepted {
            found.clear(members);
            if self.labels.wholes == 0 {
                self.pool.append(&mut group.members);
                self.is_unsorted = true;
                return self.try_next_label();
            }
            // The group is not refused as a whole, so each series has to be found.
            self.labels.mixed += 1;
            return self.blame(group.members, false, found);
        }
        group.refused(members);
        let is_usual = self.labels.wholes >= WHOLES_MIN;
        let enough = match (group.members.len() > LARGE, is_usual) {
            (false, false) => SAMPLED,
            (false, true) => SAMPLED_MIN,
            (true, false) => SAMPLED_LARGE,
            (true, true) => SAMPLED_LARGE_MIN,
        };
        if group.sampled >= enough {
            self.labels.wholes += 1;
            return found.condemn(group.members);
        }
        self.bad.push(group);
    }
}
