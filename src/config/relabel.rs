//! `relabel_configs`: lists of rules, with Prometheus' keys, defaults and checks.
//!
//! Environment variables are not expanded here, because `${name}` refers to a group of the regular
//! expression, as in Prometheus.

use std::num::NonZeroU64;

use super::problem::did_you_mean;
use super::section::Section;
use super::shown::Shown;
use super::value::text_of;
use crate::series::{Pattern, Relabel, Rule, Source, Template, is_label_name, may_be_label_name};

const ACTIONS: [&str; 11] = [
    "replace",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
];
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";
const SEPARATOR: &str = ";";

/// Reads the rules of a key; none if it is absent.
pub(super) fn relabel(section: &mut Section<'_>, key: &'static str) -> Relabel {
    let rules: Vec<_> = section.sections(key, rule);
    if rules.is_empty() {
        section.show(key, Shown::List(Vec::new()));
    }
    Relabel::new(rules.into_iter().flatten().collect())
}

/// A rule as written in the file.
struct Written {
    action: String,
    labels: Vec<String>,
    separator: String,
    regex: String,
    target: String,
    modulus: u64,
    replacement: String,
}

fn rule(section: &mut Section<'_>) -> Option<Rule> {
    let written = Written {
        labels: section.texts("source_labels", &[]),
        separator: verbatim(section, "separator", SEPARATOR),
        regex: verbatim(section, "regex", REGEX),
        target: verbatim(section, "target_label", ""),
        modulus: section.whole("modulus", 0, 0..=i64::MAX.unsigned_abs()),
        replacement: verbatim(section, "replacement", REPLACEMENT),
        action: verbatim(section, "action", "replace").to_lowercase(),
    };
    for label in &written.labels {
        if !is_label_name(label) {
            section.problem("source_labels", format!("`{label}` is {NO_NAME}"));
        }
    }
    written.refuse_unused(section);
    if !section.may_compile("regex") {
        return None;
    }
    let pattern = Pattern::new(&written.regex)
        .map_err(|reason| section.problem("regex", format!("`{}`: {reason}", written.regex)))
        .ok();
    written.rule(section, pattern)
}

const NO_NAME: &str =
    "not a valid label name; use letters, digits and _, not starting with a digit";

impl Written {
    fn rule(self, section: &mut Section<'_>, pattern: Option<Pattern>) -> Option<Rule> {
        let action = self.action.as_str();
        let source = Source {
            labels: self.labels.clone(),
            separator: self.separator.clone(),
        };
        Some(match action {
            "replace" => {
                let target = self.target(section, may_be_label_name);
                let (target, pattern) = (target?, pattern?);
                Rule::Replace {
                    source,
                    target: Template::new(&target, &pattern),
                    replacement: Template::new(&self.replacement, &pattern),
                    pattern,
                }
            }
            "keep" => Rule::Keep {
                source,
                pattern: pattern?,
            },
            "drop" => Rule::Drop {
                source,
                pattern: pattern?,
            },
            "keepequal" => Rule::KeepEqual {
                source,
                target: self.target(section, is_label_name)?,
            },
            "dropequal" => Rule::DropEqual {
                source,
                target: self.target(section, is_label_name)?,
            },
            "hashmod" => self.hash_mod(section, source)?,
            "labelmap" => self.label_map(section, pattern)?,
            "labeldrop" => Rule::LabelDrop(pattern?),
            "labelkeep" => Rule::LabelKeep(pattern?),
            "lowercase" => Rule::Lowercase {
                source,
                target: self.target(section, is_label_name)?,
            },
            "uppercase" => Rule::Uppercase {
                source,
                target: self.target(section, is_label_name)?,
            },
            unknown => {
                let hint = did_you_mean(unknown, ACTIONS);
                let expected = ACTIONS.join(", ");
                let what = format!("expected one of {expected}, found `{unknown}`{hint}");
                section.problem("action", what);
                return None;
            }
        })
    }

    fn hash_mod(&self, section: &mut Section<'_>, source: Source) -> Option<Rule> {
        let modulus = NonZeroU64::new(self.modulus);
        if modulus.is_none() {
            let hint = "is missing; `hashmod` requires it";
            section.problem("modulus", hint);
        }
        let target = self.target(section, is_label_name);
        Some(Rule::HashMod {
            source,
            target: target?,
            modulus: modulus?,
        })
    }

    fn label_map(&self, section: &mut Section<'_>, pattern: Option<Pattern>) -> Option<Rule> {
        if !may_be_label_name(&self.replacement) {
            let what = format!("`{}` is {NO_NAME}", self.replacement);
            section.problem("replacement", what);
            return None;
        }
        let pattern = pattern?;
        Some(Rule::LabelMap {
            replacement: Template::new(&self.replacement, &pattern),
            pattern,
        })
    }

    /// Returns the label that the rule sets or compares with, which is required.
    fn target(&self, section: &mut Section<'_>, valid: fn(&str) -> bool) -> Option<String> {
        let what = match (self.target.as_str(), self.action.as_str()) {
            (target, _) if valid(target) => return Some(target.to_owned()),
            ("", action) => format!("is missing; the action `{action}` requires it"),
            (target, _) => format!("`{target}` is {NO_NAME}"),
        };
        section.problem("target_label", what);
        None
    }

    /// Reports keys that the action does not use, which Prometheus rejects too. Default values are
    /// allowed, so that the output of `check-config --print` remains valid.
    fn refuse_unused(&self, section: &mut Section<'_>) {
        let only = match self.action.as_str() {
            "labeldrop" | "labelkeep" => "uses only `regex`",
            "keepequal" | "dropequal" => "uses only `source_labels` and `target_label`",
            "lowercase" | "uppercase" => "has no `replacement`",
            _ => return,
        };
        let reads = |key: &str| match key {
            "replacement" => false,
            _ if only.starts_with("has") => true,
            key => only.contains(key),
        };
        let written = [
            ("source_labels", !self.labels.is_empty()),
            ("separator", self.separator != SEPARATOR),
            ("regex", self.regex != REGEX),
            ("target_label", !self.target.is_empty()),
            ("modulus", self.modulus != 0),
            ("replacement", self.replacement != REPLACEMENT),
        ];
        for (key, is_written) in written {
            if is_written && !reads(key) {
                let action = &self.action;
                section.problem(key, format!("remove it: `{action}` {only}"));
            }
        }
    }
}

/// Reads a text without expanding variables.
fn verbatim(section: &mut Section<'_>, key: &'static str, default: &str) -> String {
    let read = section.scalar(key, "a string", text_of);
    let text = read.unwrap_or_else(|| default.to_owned());
    section.show(key, Shown::Text(text.clone()));
    text
}

#[cfg(test)]
mod tests;
