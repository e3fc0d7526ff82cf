//! Suspects, the groups in which they are tested, and the results of tests.

use crate::sink::verdict::Cause;
use crate::wire::Labels;

/// Number of partly refused groups after which groups are no longer expected to be refused as a
/// whole.
const MIXED_MAX: u32 = 2;

/// The search for a label that decides which series a receiver refuses.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// Names of the candidate labels. The first is the current one.
    pub(super) names: Vec<String>,
    /// Whether a group with a single value of the current label was accepted.
    pub(super) is_found: bool,
    pub(super) accepted: u32,
    pub(super) refused: u32,
    /// Single-value groups that were refused entirely (`wholes`) or in part (`mixed`).
    pub(super) wholes: u32,
    pub(super) mixed: u32,
}

impl Trial {
    /// Returns whether the deciding label is known, or known not to exist.
    pub(super) const fn is_decided(&self) -> bool {
        self.is_found || self.names.is_empty()
    }

    /// Returns whether all series with the same value are likely to be refused together.
    pub(super) const fn is_by_value(&self) -> bool {
        self.mixed <= MIXED_MAX + 2 * self.wholes
    }
}

#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) labels: Labels,
    /// Why the last request with it was refused.
    pub(super) cause: Cause,
    /// Identifies the value of the current label.
    pub(super) value: usize,
}

impl Suspect {
    pub(super) const fn new(labels: Labels, cause: Cause) -> Self {
        Self {
            labels,
            cause,
            value: usize::MAX,
        }
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: Vec<Suspect>,
    /// Whether the group has all series of one label value, all of which may be refused.
    pub(super) is_whole: bool,
    /// How many of its series were refused individually.
    pub(super) sampled: u8,
}

impl Group {
    pub(super) const fn new(members: Vec<Suspect>) -> Self {
        Self {
            members,
            is_whole: false,
            sampled: 0,
        }
    }

    /// Puts back a single series that was refused, because the whole group may be refused.
    pub(super) fn refused(&mut self, one: Vec<Suspect>) {
        self.sampled += 1;
        if let Some(one) = one.first() {
            for suspect in &mut self.members {
                suspect.cause = suspect.cause.or_time(one.cause);
            }
        }
        self.members.extend(one);
    }
}

#[derive(Debug)]
pub(super) struct Test {
    pub(super) members: Vec<Suspect>,
    pub(super) kind: GroupKind,
    /// Whether it was answered with errors before others were accepted.
    pub(super) is_again: bool,
}

impl Test {
    pub(super) const fn new(members: Vec<Suspect>, kind: GroupKind) -> Self {
        Self {
            members,
            kind,
            is_again: false,
        }
    }

    /// Creates a test of one random series of a group.
    pub(super) fn one_of(mut group: Group, kind: fn(Group) -> GroupKind) -> Self {
        let one = fastrand::usize(..group.members.len());
        let members = vec![group.members.swap_remove(one)];
        Self::new(members, kind(group))
    }

    /// Returns its series, and those whose state depends on its response.
    pub(super) fn all(self) -> Vec<Suspect> {
        let mut all = self.members;
        all.extend(match self.kind {
            GroupKind::Single | GroupKind::Pool { .. } | GroupKind::Loose => Vec::new(),
            GroupKind::Half(rest) => rest,
            GroupKind::Sample(group) | GroupKind::Probe(group) => group.members,
        });
        all
    }

    pub(super) const fn len(&self) -> usize {
        let others = match &self.kind {
            GroupKind::Single | GroupKind::Pool { .. } | GroupKind::Loose => 0,
            GroupKind::Half(rest) => rest.len(),
            GroupKind::Sample(group) | GroupKind::Probe(group) => group.members.len(),
        };
        self.members.len() + others
    }
}

#[derive(Debug)]
pub(super) enum GroupKind {
    Single,
    /// Suspects from the pool, and whether all of them share one label value.
    Pool {
        is_one_value: bool,
    },
    Loose,
    /// A part of a bad group. Contains the rest.
    Half(Vec<Suspect>),
    /// One series of a single-value group. Contains the rest.
    Sample(Group),
    /// One series of a group that was refused before. Contains the rest.
    Probe(Group),
}

/// The result of a test.
#[derive(Debug, Default)]
pub(in crate::sink) struct Found {
    pub(in crate::sink) good: Vec<Labels>,
    /// Groups to quarantine as a whole, each with the cause.
    pub(in crate::sink) bad: Vec<(Vec<Labels>, Cause)>,
}

impl Found {
    pub(super) fn clear(&mut self, members: Vec<Suspect>) {
        self.good
            .extend(members.into_iter().map(|suspect| suspect.labels));
    }

    pub(super) fn condemn(&mut self, members: Vec<Suspect>) {
        let is_of_time = |suspect: &Suspect| suspect.cause.is_of_time();
        let (of_time, others): (Vec<_>, Vec<_>) = members.into_iter().partition(is_of_time);
        for members in [of_time, others] {
            if let Some(cause) = members.first().map(|suspect| suspect.cause) {
                let labels = members.into_iter().map(|suspect| suspect.labels);
                self.bad.push((labels.collect(), cause));
            }
        }
    }
}
