//! Rules that rename, drop and merge series: label sets in, label sets out.
//!
//! These are Prometheus' relabeling rules, with all of its actions and its handling of empty
//! values, references and invalid names. Source: "relabel_config" in Prometheus' documentation.
//! Where the documentation is silent, the behaviour of Prometheus 3.5 applies, as recorded in
//! `tests/golden/relabel.yaml` and checked by `tests/it/relabel.rs`. Label names follow the rules
//! from before UTF-8 names (`metric_name_validation_scheme: legacy`), so that older receivers
//! accept them.

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

/// Rules that are applied in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Relabel(Arc<[Rule]>);

/// The result of applying rules to a label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relabelled {
    /// The remaining labels, sorted by name in byte order, without empty values and including the
    /// metric name.
    Kept(Vec<(String, String)>),
    /// Dropped by a rule, or because no label is left.
    Dropped,
    /// The remaining labels are not a valid series: the metric name is missing, or a name is
    /// invalid. Prometheus fails the entire scrape in this case; callers here drop and count only
    /// that series.
    Invalid,
}

/// A validated rule. Setting a label to an empty value removes it.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Sets a label if the pattern matches and the expanded target is a valid label name.
    Replace {
        source: Source,
        pattern: Pattern,
        target: Template,
        replacement: Template,
    },
    /// Drops label sets that do not match.
    Keep {
        source: Source,
        pattern: Pattern,
    },
    /// Drops label sets that match.
    Drop {
        source: Source,
        pattern: Pattern,
    },
    /// Drops label sets whose source does not equal the target.
    KeepEqual {
        source: Source,
        target: String,
    },
    /// Drops label sets whose source equals the target.
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
    /// Copies each label whose name matches to the label named by the expanded replacement.
    LabelMap {
        pattern: Pattern,
        replacement: Template,
    },
    /// Removes labels whose names match.
    LabelDrop(Pattern),
    /// Removes labels whose names do not match.
    LabelKeep(Pattern),
}

/// The input of a rule: the values of labels, joined. A missing label counts as empty.
#[derive(Clone, Debug)]
pub struct Source {
    pub labels: Vec<String>,
    pub separator: String,
}

impl Relabel {
    /// Creates rules that are applied in the given order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules.into())
    }

    /// Whether there are no rules, so that label sets never change.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the rules. The labels must be sorted by name in byte order, without empty values and
    /// including the metric name.
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
    /// Applies the rule to labels. Returns `false` if they are dropped.
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

/// The last eight bytes of a hash, the part that Prometheus uses.
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

/// Labels while rules are applied.
///
/// Labels that were set come after the original ones, as in Prometheus: if two labels are mapped to
/// one name, the later one wins.
#[derive(Debug)]
struct Labels {
    given: Vec<(String, String)>,
    set: Vec<(String, String)>,
}

impl Labels {
    /// The value of a label, or empty if it is absent.
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

    /// All labels in their current state.
    fn all(&self) -> Vec<(String, String)> {
        self.given.iter().chain(&self.set).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
