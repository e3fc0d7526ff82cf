//! Finds the series that a receiver refuses without naming them, by sending groups of suspects.
//!
//! Every test is an extra request, so each must tell much. Whatever is accepted is cleared at once. A group that is
//! refused holds at least one refused series; if one part of it turns out to be good, another part is at fault and
//! needs no test of its own. Parts are chosen about as large as will be accepted every other time.
//!
//! Series that share a label value (a task name, a queue) are likely to be refused together. A few single series tell
//! whether many are refused. Then labels are tried in turn until one is found by whose values the receiver seems to
//! decide: groups are made of all series of one value from there on. Such a group is not divided down to each series:
//! where every small part is refused, all of it is.
//!
//! Errors are weaker evidence than refusals: an outage looks the same. So what is answered with errors is set aside, and
//! is to blame if it is again after other series were accepted.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use super::verdict::Cause;
use crate::wire::{Key, Labels};

/// Groups up to this size are halved without a look at labels.
const SMALL: usize = 16;

/// How many single series are tested first, and how many until all are believed to be refused: where three of four are,
/// that is wrong once in 5,000 times.
const SINGLES_MIN: u32 = 4;
const SINGLES_MAX: u32 = 30;

/// No request has as many series.
const TARGET_MAX: usize = 1 << 24;

/// After how many answers that name series single ones are tested.
const NAMED_MAX: u32 = 12;

/// Into how many groups these are divided.
const GROUPS: usize = 16;

/// After how many refused groups of one value the next label is tried.
const LOST_MAX: u32 = 2;

/// Of how many groups at least every tenth has to be accepted, or the label is the wrong one after all.
const TRIED_MIN: u32 = 12;

/// A refused group of one value with more series than this may be refused as a whole.
const WHOLE_MIN: usize = 5;

/// So many of its series are tested then, one by one; fewer once this was the answer for several values.
const SAMPLED: u8 = 4;
const SAMPLED_MIN: u8 = 1;
const WHOLES_MIN: u32 = 2;

/// The same for groups with more series than this, where a wrong answer costs more.
const LARGE: usize = 200;
const SAMPLED_LARGE: u8 = 16;
const SAMPLED_LARGE_MIN: u8 = 4;

/// So many groups may be refused in part before it is no longer expected that one is refused as a whole.
const MIXED_MAX: u32 = 2;

/// How many series of a group that was refused before are tested until all of it is believed to be refused still.
const PROBED: u8 = 2;

/// The suspects, and what is known about them.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Not known to be good or bad; those that share a label value are adjacent.
    pool: Vec<Suspect>,
    /// Likewise, without regard to labels.
    loose: Vec<Suspect>,
    /// Groups that hold at least one refused series each.
    bad: Vec<Group>,
    /// Groups of which all series were refused when they were last sent, some time ago.
    probes: VecDeque<Group>,
    /// Whether the next test is one of those, if there are others.
    is_probes_turn: bool,
    /// Were answered with errors, and when.
    erring: VecDeque<(Test, Instant)>,
    labels: Trial,
    /// Suspects joined, or another label is looked at.
    is_unsorted: bool,
    singles: u32,
    /// Single series that were accepted.
    seeds: Vec<Labels>,
    /// How many are tested together.
    target: usize,
    /// Whether more than a single series was accepted at once.
    accepted: bool,
    /// How many answers named series, since a test was accepted.
    named: u32,
    testing: Option<Test>,
}

/// The labels that may be the ones by which a receiver refuses.
#[derive(Debug, Default)]
struct Trial {
    /// By name. The first is looked at.
    names: Vec<String>,
    /// Whether a group with one value of it was accepted.
    is_found: bool,
    accepted: u32,
    refused: u32,
    /// Refused groups of one value of which every series is refused, and of which some were accepted.
    wholes: u32,
    mixed: u32,
}

impl Trial {
    /// Whether it is known by which label the receiver decides, or that it decides by none.
    const fn is_settled(&self) -> bool {
        self.is_found || self.names.is_empty()
    }

    /// Whether all series of a value are likely to be refused together.
    const fn is_by_value(&self) -> bool {
        self.mixed <= MIXED_MAX + 2 * self.wholes
    }
}

#[derive(Clone, Debug)]
struct Suspect {
    labels: Labels,
    /// Why the last request with it was refused.
    cause: Cause,
    /// Stands for the value of the label that is looked at.
    value: usize,
}

impl Suspect {
    const fn new(labels: Labels, cause: Cause) -> Self {
        Self {
            labels,
            cause,
            value: usize::MAX,
        }
    }
}

#[derive(Debug)]
struct Group {
    members: Vec<Suspect>,
    /// All series of one label value, all of which may be refused.
    is_whole: bool,
    /// How many of its series were refused one by one.
    sampled: u8,
}

impl Group {
    const fn new(members: Vec<Suspect>) -> Self {
        Self {
            members,
            is_whole: false,
            sampled: 0,
        }
    }

    /// Takes back one that was refused, as all of them may be.
    fn refused(&mut self, one: Vec<Suspect>) {
        self.sampled += 1;
        if let Some(cause) = one.first().map(|suspect| suspect.cause) {
            self.members
                .iter_mut()
                .for_each(|suspect| suspect.cause = cause);
        }
        self.members.extend(one);
    }
}

#[derive(Debug)]
struct Test {
    members: Vec<Suspect>,
    kind: Kind,
    /// It was answered with errors before others were accepted.
    is_again: bool,
}

impl Test {
    const fn new(members: Vec<Suspect>, kind: Kind) -> Self {
        Self {
            members,
            kind,
            is_again: false,
        }
    }

    /// Tests one series of a group.
    fn one_of(mut group: Group, kind: fn(Group) -> Kind) -> Self {
        let one = fastrand::usize(..group.members.len());
        let members = vec![group.members.swap_remove(one)];
        Self::new(members, kind(group))
    }

    /// Its series, and those that only its answer would say something about.
    fn all(self) -> Vec<Suspect> {
        let mut all = self.members;
        all.extend(match self.kind {
            Kind::Single | Kind::Pool { .. } | Kind::Loose => Vec::new(),
            Kind::Half(rest) => rest,
            Kind::Sample(group) | Kind::Probe(group) => group.members,
        });
        all
    }

    const fn len(&self) -> usize {
        let others = match &self.kind {
            Kind::Single | Kind::Pool { .. } | Kind::Loose => 0,
            Kind::Half(rest) => rest.len(),
            Kind::Sample(group) | Kind::Probe(group) => group.members.len(),
        };
        self.members.len() + others
    }
}

#[derive(Debug)]
enum Kind {
    Single,
    /// Suspects from the pool; whether all have one label value.
    Pool {
        is_one_value: bool,
    },
    Loose,
    /// A part of a bad group, and the rest of it.
    Half(Vec<Suspect>),
    /// One series of a group of one value, and the rest of it.
    Sample(Group),
    /// Likewise of a group that was refused before.
    Probe(Group),
}

/// What a test has shown.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) good: Vec<Labels>,
    /// Each is to be quarantined as one, for that reason.
    pub(super) bad: Vec<(Vec<Labels>, Cause)>,
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

    /// Adds series that may be refused. They are not suspects yet.
    pub(super) fn add(&mut self, suspects: impl IntoIterator<Item = Labels>, cause: Cause) {
        if self.is_idle() {
            *self = Self::default();
        }
        let suspects = suspects.into_iter();
        self.pool
            .extend(suspects.map(|labels| Suspect::new(labels, cause)));
        self.is_unsorted = true;
    }

    /// Adds series that were refused together when they were last sent. They are not suspects yet.
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

    /// Forgets what is known about the suspects: they go to another receiver.
    pub(super) fn begin_anew(&mut self) {
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

    /// Whether the series that are tested came here, or were last refused, for errors.
    pub(super) fn is_by_errors(&self) -> bool {
        let members = self.testing.iter().flat_map(|test| &test.members);
        members
            .into_iter()
            .any(|suspect| suspect.cause == Cause::Errors)
    }

    /// The test is answered with errors. Returns whether it was before, others having been accepted since: then this is an
    /// answer. Else it waits until they are.
    pub(super) fn errs(&mut self, now: Instant) -> bool {
        if self.testing.as_ref().is_some_and(|test| test.is_again) {
            return true;
        }
        let erring = self.testing.take().map(|test| (test, now));
        self.erring.extend(erring);
        false
    }

    /// The series to test next, at most so many; nothing while a test is under way. Others were last accepted at `accepted_at`.
    pub(super) fn next(&mut self, max: usize, accepted_at: Option<Instant>) -> Option<Vec<Key>> {
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
            Test::one_of(group, Kind::Probe)
        } else if !has_others {
            return None;
        } else if self.wants_single() {
            let at = spread(self.singles as usize, self.pool.len());
            Test::new(vec![self.pool.swap_remove(at)], Kind::Single)
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

    /// Takes the answer to the test: that it was accepted, or why not.
    pub(super) fn answered(&mut self, answer: Result<(), Cause>) -> Found {
        let mut found = Found::default();
        let Some(test) = self.testing.take() else {
            return found;
        };
        let accepted = answer.is_ok();
        if accepted && test.is_again {
            // It was an outage, and no fault of theirs.
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
            Kind::Single => self.single(members, accepted, &mut found),
            Kind::Pool { is_one_value } => self.group(members, is_one_value, accepted, &mut found),
            Kind::Loose => self.group(members, false, accepted, &mut found),
            Kind::Half(rest) => self.half(members, rest, accepted, &mut found),
            Kind::Sample(group) => self.sample(members, group, accepted, &mut found),
            Kind::Probe(group) => self.probed(members, group, accepted, &mut found),
        }
        found
    }

    /// The answer to the test names refused series, so the others may be good.
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
        // The more series in a test, the more of them are named or cleared; unless all are refused.
        self.named += 1;
        self.target = if self.named < NAMED_MAX {
            TARGET_MAX
        } else {
            0
        };
        found
    }

    /// The answer to the test said nothing about its series: others are tested first.
    pub(super) fn inconclusive(&mut self) {
        let Some(Test {
            mut members, kind, ..
        }) = self.testing.take()
        else {
            return;
        };
        match kind {
            // Adding it at the end moves another one to its place.
            Kind::Single => self.pool.append(&mut members),
            Kind::Pool { .. } | Kind::Loose => {
                self.loose.splice(0..0, members);
            }
            Kind::Half(mut rest) => {
                rest.append(&mut members);
                self.bad.push(Group::new(rest));
            }
            Kind::Sample(mut group) => {
                group.members.append(&mut members);
                self.bad.push(group);
            }
            Kind::Probe(mut group) => {
                group.members.append(&mut members);
                self.probes.push_back(group);
            }
        }
    }

    /// Takes series out of the test that have nothing to send. Those that have ended are no suspects any more.
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
            // The refused one may be among those that are withdrawn: the others are not known to hold one.
            Kind::Half(rest) => {
                self.loose.extend(rest);
                Kind::Loose
            }
            Kind::Sample(group) | Kind::Probe(group) => {
                self.loose.extend(group.members);
                Kind::Loose
            }
            Kind::Single | Kind::Pool { .. } | Kind::Loose => kind,
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

    /// Everything was answered with errors, so that it may be an outage; or all of it was too large to be good.
    fn divide_erring(&mut self) {
        let divisible = |(test, _): &(Test, Instant)| test.len() > 1;
        if let Some(at) = self.erring.iter().position(divisible)
            && let Some((test, _)) = self.erring.remove(at)
        {
            self.target = (test.members.len() / 2).max(1);
            self.loose.extend(test.all());
        }
    }

    fn wants_single(&self) -> bool {
        let is_over = self.singles >= SINGLES_MIN && !self.seeds.is_empty();
        let is_small = self.singles == 0 && self.pool.len() <= SMALL;
        !self.labels.is_found && !is_over && !is_small && !self.pool.is_empty() && self.target == 0
    }

    fn single(&mut self, members: Vec<Suspect>, accepted: bool, found: &mut Found) {
        self.singles += 1;
        self.is_unsorted = true;
        let cause = members[0].cause;
        if accepted {
            self.seeds
                .extend(members.iter().map(|suspect| suspect.labels.clone()));
            found.clear(members);
        } else {
            found.condemn(members);
        }
        if self.singles >= SINGLES_MAX && self.seeds.is_empty() {
            // Nothing was accepted: this receiver refuses everything. In case it is only most, there are several groups to
            // try again.
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

    /// Orders the pool by the value of the label that is looked at.
    fn sort(&mut self) {
        if self.target == 0 {
            self.begin();
        }
        if !std::mem::take(&mut self.is_unsorted) {
            return;
        }
        let Some(name) = self.labels.names.first() else {
            self.loose.append(&mut self.pool);
            return;
        };
        let mut values = HashMap::<String, usize>::new();
        for suspect in &mut self.pool {
            let value = suspect.labels.value(name);
            let next = values.len();
            suspect.value = match values.get(value) {
                Some(known) => *known,
                None => *values.entry(value.to_owned()).or_insert(next),
            };
        }
        self.pool.sort_by_key(|suspect| suspect.value);
    }

    /// The labels to look at, and the size to begin with.
    fn begin(&mut self) {
        let refused = self.singles as usize - self.seeds.len().min(self.singles as usize);
        self.target = match refused {
            0 => self.pool.len() / 2,
            // Half of the groups of this size are expected to be good.
            refused => self.singles as usize * 7 / (10 * refused),
        }
        .max(1);
        if self.singles == 0 {
            return;
        }
        let mut values = HashMap::<&str, (usize, HashSet<&str>)>::new();
        for suspect in &self.pool {
            for (name, value) in suspect.labels.iter() {
                let (series, distinct) = values.entry(name).or_default();
                *series += 1;
                distinct.insert(value);
            }
        }
        let all = self.pool.len();
        let useful = values.into_iter().filter(|(_, (series, distinct))| {
            // One that all series share tells nothing, and so does one that no two share.
            let is_shared = distinct.len() * 2 <= *series;
            is_shared && (distinct.len() > 1 || *series < all)
        });
        // Those that most series have come first, and of those the ones with few values.
        let mut useful: Vec<_> = useful
            .map(|(name, (series, distinct))| (series * 2 < all, distinct.len(), name.to_owned()))
            .collect();
        useful.sort();
        self.labels.names = useful.into_iter().map(|(_, _, name)| name).collect();
    }

    /// The largest test there is: that is the one that may clear most.
    fn choose(&mut self, max: usize) -> Option<Test> {
        if self.labels.is_found && self.labels.wholes < WHOLES_MIN {
            // Tells whether the label is the right one.
            let whole = self.bad.iter().position(|group| group.is_whole);
            if let Some(group) = whole {
                return Some(self.divide(group, 1, max));
            }
        }
        let pool = self.pool_run(max);
        let loose = self.target.min(max).min(self.loose.len());
        let sizes = self.bad.iter().map(|group| self.part_size(group, max));
        let (group, part) = sizes
            .enumerate()
            .max_by_key(|(_, size)| *size)
            .unwrap_or_default();
        let is_trial = !self.labels.is_settled();
        if (is_trial || pool.len() >= loose.max(part)) && !pool.is_empty() {
            let is_one_value = self.pool[pool.start].value == self.pool[pool.end - 1].value;
            let members = self.pool.drain(pool).collect();
            return Some(Test::new(members, Kind::Pool { is_one_value }));
        }
        if loose >= part && loose > 0 {
            let members = self.loose.split_off(self.loose.len() - loose);
            return Some(Test::new(members, Kind::Loose));
        }
        (part > 0).then(|| self.divide(group, part, max))
    }

    /// The suspects of the pool to test: all of one value at least, and those of several up to the target.
    fn pool_run(&self, max: usize) -> std::ops::Range<usize> {
        let Some(last) = self.pool.len().checked_sub(1) else {
            return 0..0;
        };
        let name = self.labels.names.first().filter(|_| !self.labels.is_found);
        let seed = name.and_then(|name| {
            let values: HashSet<&str> = self.seeds.iter().map(|seed| seed.value(name)).collect();
            let is_good = |suspect: &Suspect| values.contains(suspect.labels.value(name));
            self.pool.iter().rposition(is_good)
        });
        let end = seed.unwrap_or(last) + 1;
        let begin = |end: usize| {
            let value = self.pool[end - 1].value;
            self.pool[..end].partition_point(|suspect| suspect.value < value)
        };
        let mut start = begin(end);
        while self.labels.is_settled() && start > 0 && end - begin(start) <= self.target {
            start = begin(start);
        }
        start.max(end.saturating_sub(max))..end
    }

    /// How many of a bad group to test.
    fn part_size(&self, group: &Group, max: usize) -> usize {
        let size = group.members.len();
        if group.is_whole {
            1
        } else {
            (size / 2).min(self.target).min(max).max(1)
        }
    }

    fn divide(&mut self, at: usize, size: usize, max: usize) -> Test {
        let mut group = self.bad.swap_remove(at);
        if group.is_whole {
            // Members that are neighbours may be alike.
            let one = spread(group.sampled.into(), group.members.len());
            let one = vec![group.members.swap_remove(one)];
            return Test::new(one, Kind::Sample(group));
        }
        let value = |at: usize| group.members[at].value;
        let ends = 1..group.members.len();
        let between = ends.filter(|end| value(end - 1) != value(*end));
        let end = between
            .min_by_key(|end| end.abs_diff(size))
            .filter(|end| *end <= max.min(size * 2));
        let rest = group.members.split_off(end.unwrap_or(size));
        Test::new(group.members, Kind::Half(rest))
    }

    fn group(
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

    /// The suspects hold a refused series.
    fn blame(&mut self, mut members: Vec<Suspect>, is_of_label: bool, found: &mut Found) {
        if members.len() == 1 {
            return found.condemn(members);
        }
        let mut is_whole = false;
        if is_of_label {
            // What of the same value did not fit into the request belongs to it.
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

    /// The receiver does not seem to decide by this label.
    fn try_next_label(&mut self) {
        if self.labels.names.is_empty() {
            return;
        }
        self.labels = Trial {
            names: self.labels.names.split_off(1),
            ..Trial::default()
        };
        // That one of these is refused says little where most series are.
        let groups = self.bad.drain(..).map(|group| group.members);
        self.pool.extend(groups.flatten());
        self.pool.append(&mut self.loose);
        self.is_unsorted = true;
    }

    fn half(
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

    fn probed(
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
            // Others may be accepted too, and are tested together.
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

    fn sample(
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
            // Not all of it is refused, so that every series counts.
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

/// A place among so many, far from those before.
const fn spread(number: usize, among: usize) -> usize {
    // The golden ratio, as a fraction.
    (number * 618 + 309) % 1_000 * among / 1_000
}

impl Found {
    fn clear(&mut self, members: Vec<Suspect>) {
        self.good
            .extend(members.into_iter().map(|suspect| suspect.labels));
    }

    fn condemn(&mut self, members: Vec<Suspect>) {
        if let Some(cause) = members.first().map(|suspect| suspect.cause) {
            let labels = members.into_iter().map(|suspect| suspect.labels);
            self.bad.push((labels.collect(), cause));
        }
    }
}

#[cfg(test)]
mod tests;
