//! Rules that rename, drop and merge series: label sets in, label sets out.
//!
//! They are Prometheus' relabelling rules: all its actions, with what it does about empty values, references and
//! names that are none. Source: "relabel_config" in Prometheus' documentation; where that is silent, what Prometheus
//! 3.5 does, which `tests/golden/relabel.yaml` holds and `tests/it/relabel.rs` asks. Label names are those of
//! before UTF-8 names (`metric_name_validation_scheme: legacy`), because receivers of every age have to take them.

mod case;
mod pattern;
mod template;

use std::num::NonZeroU64;
use std::sync::Arc;

use md5::{Digest, Md5};

use super::label::{is_label_name, is_metric_name};
pub use pattern::{COMPILED_BYTES_MAX, Pattern};
pub use template::{Template, may_be_label_name};

/// The label that holds a metric's name.
pub(super) const NAME: &str = "__name__";

/// Rules that are applied one after another; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Relabel(Arc<[Rule]>);

/// What rules make of a label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relabelled {
    /// By name in byte order, without empty values, with a metric's name among them.
    Kept(Vec<(String, String)>),
    /// By a rule, or because no label is left.
    Dropped,
    /// What is left is no series: it has no metric name, or a name that is not valid. Prometheus fails the whole
    /// scrape for one of these; whoever calls drops that series alone, and counts it.
    Invalid,
}

/// One rule, checked. Labels are set to what is not empty; setting one to an empty value takes it away.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Sets a label where the pattern matches, if the label that the target comes to has a valid name.
    Replace {
        source: Source,
        pattern: Pattern,
        target: Template,
        replacement: Template,
    },
    /// Drops what does not match.
    Keep {
        source: Source,
        pattern: Pattern,
    },
    /// Drops what matches.
    Drop {
        source: Source,
        pattern: Pattern,
    },
    /// Drops what is not equal to the target.
    KeepEqual {
        source: Source,
        target: String,
    },
    /// Drops what is equal to the target.
    DropEqual {
        source: Source,
        target: String,
    },
    /// Sets a label to a number below the modulus.
    HashMod {
        source: Source,
        target: String,
        modulus: NonZeroU64,
    },
    Lowercase {
        source: Source,
        target: String,
    },
    Uppercase {
        source: Source,
        target: String,
    },
    /// Sets, for each label whose name matches, the label of the name that the replacement comes to.
    LabelMap {
        pattern: Pattern,
        replacement: Template,
    },
    /// Takes the labels away whose names match.
    LabelDrop(Pattern),
    /// Takes the labels away whose names do not match.
    LabelKeep(Pattern),
}

/// Where a rule takes its text from: the values of labels, joined. One that is not there is empty.
#[derive(Clone, Debug)]
pub struct Source {
    pub labels: Vec<String>,
    pub separator: String,
}

impl Relabel {
    /// Takes rules in their order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules.into())
    }

    /// Whether there is no rule, so that every label set stays what it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the rules make of labels, which come by name in byte order, without empty values and with the metric's
    /// name among them.
    pub fn apply(&self, labels: Vec<(String, String)>) -> Relabelled {
        let mut labels = Labels {
            given: labels,
            set: Vec::new(),
        };
        if !self.0.iter().all(|rule| rule.apply(&mut labels)) {
            return Relabelled::Dropped;
        }
        let Labels { given, set } = labels;
        let mut labels = given;
        labels.extend(set);
        labels.sort_unstable();
        let name = labels.iter().find(|(name, _)| name == NAME);
        let valid = name.is_some_and(|(_, value)| is_metric_name(value))
            && labels.iter().all(|(name, _)| is_label_name(name));
        match (labels.is_empty(), valid) {
            (true, _) => Relabelled::Dropped,
            (false, true) => Relabelled::Kept(labels),
            (false, false) => Relabelled::Invalid,
        }
    }
}

impl Rule {
    /// Changes labels; `false`: they are dropped.
    fn apply(&self, labels: &mut Labels) -> bool {
        match self {
            Self::Replace {
                source,
                pattern,
                target,
                replacement,
            } => {
                let text = source.text(labels);
                if let Some(captures) = pattern.captures(&text) {
                    let target = target.expand(&captures);
                    if is_label_name(&target) {
                        labels.set(&target, replacement.expand(&captures));
                    }
                }
            }
            Self::Keep { source, pattern } => return pattern.is_match(&source.text(labels)),
            Self::Drop { source, pattern } => return !pattern.is_match(&source.text(labels)),
            Self::KeepEqual { source, target } => {
                return source.text(labels) == labels.get(target);
            }
            Self::DropEqual { source, target } => {
                return source.text(labels) != labels.get(target);
            }
            Self::HashMod {
                source,
                target,
                modulus,
            } => {
                let hash = u128::from_be_bytes(Md5::digest(source.text(labels)).into());
                let modulo = low_half(hash) % *modulus;
                labels.set(target, modulo.to_string());
            }
            Self::Lowercase { source, target } => {
                let text = source.text(labels).chars().map(case::lower).collect();
                labels.set(target, text);
            }
            Self::Uppercase { source, target } => {
                let text = source.text(labels).chars().map(case::upper).collect();
                labels.set(target, text);
            }
            Self::LabelMap {
                pattern,
                replacement,
            } => {
                for (name, value) in labels.all() {
                    if let Some(captures) = pattern.captures(&name) {
                        labels.set(&replacement.expand(&captures), value);
                    }
                }
            }
            Self::LabelDrop(pattern) => labels.retain(|name| !pattern.is_match(name)),
            Self::LabelKeep(pattern) => labels.retain(|name| pattern.is_match(name)),
        }
        true
    }
}

/// The last eight bytes of a hash: those that Prometheus divides.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn low_half(hash: u128) -> u64 {
    hash as u64
}

impl Source {
    fn text(&self, labels: &Labels) -> String {
        let values: Vec<&str> = self.labels.iter().map(|label| labels.get(label)).collect();
        values.join(&self.separator)
    }
}

/// Labels on their way through the rules.
///
/// What was set stands behind what was given, as in Prometheus: where two labels are mapped to one name, the later
/// one stays.
#[derive(Debug)]
struct Labels {
    given: Vec<(String, String)>,
    set: Vec<(String, String)>,
}

impl Labels {
    /// The value of a label; empty where it is not there.
    fn get(&self, name: &str) -> &str {
        let mut labels = self.set.iter().chain(&self.given);
        labels
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }

    fn set(&mut self, name: &str, value: String) {
        if value.is_empty() {
            self.retain(|known| known != name);
        } else if let Some((_, known)) = self.set.iter_mut().find(|(known, _)| known == name) {
            *known = value;
        } else {
            self.given.retain(|(known, _)| known != name);
            self.set.push((name.to_owned(), value));
        }
    }

    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.given.retain(|(name, _)| keep(name));
        self.set.retain(|(name, _)| keep(name));
    }

    /// All labels as they are now.
    fn all(&self) -> Vec<(String, String)> {
        self.given.iter().chain(&self.set).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
