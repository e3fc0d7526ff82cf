//! Suspects, the groups of them that are tested, and what tests have shown.

use crate::sink::verdict::Cause;
use crate::wire::Labels;

/// So many groups may be refused in part before it is no longer expected that one is refused as a whole.
const MIXED_MAX: u32 = 2;

/// The labels that may be the ones by which a receiver refuses.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// By name. The first is looked at.
    pub(super) names: Vec<String>,
    /// Whether a group with one value of it was accepted.
    pub(super) is_found: bool,
    pub(super) accepted: u32,
    pub(super) refused: u32,
    /// Refused groups of one value of which every series is refused, and of which some were accepted.
    pub(super) wholes: u32,
    pub(super) mixed: u32,
}

impl Trial {
    /// Whether it is known by which label the receiver decides, or that it decides by none.
    pub(super) const fn is_settled(&self) -> bool {
        self.is_found || self.names.is_empty()
    }

    /// Whether all series of a value are likely to be refused together.
    pub(super) const fn is_by_value(&self) -> bool {
        self.mixed <= MIXED_MAX + 2 * self.wholes
    }
}

#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) labels: Labels,
    /// Why the last request with it was refused.
    pub(super) cause: Cause,
    /// Stands for the value of the label that is looked at.
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
    /// All series of one label value, all of which may be refused.
    pub(super) is_whole: bool,
    /// How many of its series were refused one by one.
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

    /// Takes back one that was refused, as all of them may be.
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
    pub(super) kind: Kind,
    /// It was answered with errors before others were accepted.
    pub(super) is_again: bool,
}

impl Test {
    pub(super) const fn new(members: Vec<Suspect>, kind: Kind) -> Self {
        Self {
            members,
            kind,
            is_again: false,
        }
    }

    /// Tests one series of a group.
    pub(super) fn one_of(mut group: Group, kind: fn(Group) -> Kind) -> Self {
        let one = fastrand::usize(..group.members.len());
        let members = vec![group.members.swap_remove(one)];
        Self::new(members, kind(group))
    }

    /// Its series, and those that only its answer would say something about.
    pub(super) fn all(self) -> Vec<Suspect> {
        let mut all = self.members;
        all.extend(match self.kind {
            Kind::Single | Kind::Pool { .. } | Kind::Loose => Vec::new(),
            Kind::Half(rest) => rest,
            Kind::Sample(group) | Kind::Probe(group) => group.members,
        });
        all
    }

    pub(super) const fn len(&self) -> usize {
        let others = match &self.kind {
            Kind::Single | Kind::Pool { .. } | Kind::Loose => 0,
            Kind::Half(rest) => rest.len(),
            Kind::Sample(group) | Kind::Probe(group) => group.members.len(),
        };
        self.members.len() + others
    }
}

#[derive(Debug)]
pub(super) enum Kind {
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
pub(in crate::sink) struct Found {
    pub(in crate::sink) good: Vec<Labels>,
    /// Each is to be quarantined as one, for that reason.
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
