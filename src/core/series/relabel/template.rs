//! Replacement strings that refer to captured groups: `$1`, `${1}` and `${name}`; `$$` is a dollar
//! sign.
//!
//! Source: `Regexp.Expand` of Go's package `regexp`. A reference to a missing group is empty, and a
//! `$` that is not followed by a name is kept literally.

use regex::Captures;

use super::Pattern;

/// A parsed replacement string with references to the groups of one pattern.
#[derive(Clone, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Parses a replacement string that refers to the groups of `pattern`.
    pub fn new(text: &str, pattern: &Pattern) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            parts.push(Part::Text(before.to_owned()));
            if let Some(after) = behind.strip_prefix('$') {
                parts.push(Part::Text("$".to_owned()));
                rest = after;
            } else if let Some((name, after)) = reference(behind) {
                parts.extend(group(name, pattern).map(Part::Group));
                rest = after;
            } else {
                parts.push(Part::Text("$".to_owned()));
                rest = behind;
            }
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Self(parts)
    }

    /// Expands the references of a match. A group that did not take part in the match is empty.
    pub(super) fn expand(&self, captures: &Captures<'_>) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Group(index) => captures.get(*index).map_or("", |group| group.as_str()),
        });
        parts.collect()
    }
}

/// Whether a string could expand to a label name: letters, digits, `_` and references, not starting
/// with a digit.
pub fn may_be_label_name(text: &str) -> bool {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_first = rest.len() == text.len();
        rest = &rest[c.len_utf8()..];
        if c == '$' {
            match reference(rest) {
                Some((name, after)) if name.is_ascii() => rest = after,
                Some(_) | None => return false,
            }
        } else if !(c == '_' || c.is_ascii_alphabetic() || (c.is_ascii_digit() && !is_first)) {
            return false;
        }
    }
    !text.is_empty()
}

/// The name after a `$`, in braces or as long as possible without, and the text after it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (name, after) = match text.strip_prefix('{') {
        Some(braced) => braced.split_once('}')?,
        None => text.split_at(text.find(|c| !word(c)).unwrap_or(text.len())),
    };
    (!name.is_empty() && name.chars().all(word)).then_some((name, after))
}

/// The group with a number or a name. A number with a leading zero is a name.
fn group(name: &str, pattern: &Pattern) -> Option<usize> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && (name == "0" || !name.starts_with('0')) {
        return name.parse().ok();
    }
    pattern.group(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_those_of_go() {
        let pattern = Pattern::new("(?P<first>[a-z]+)-([a-z]*)(x)?").expect("a pattern");
        let captures = pattern.captures("ab-cd").expect("a match");
        let cases = [
            ("$1", "ab"),
            ("${1}x", "abx"),
            ("$1x", ""),
            ("$1-$2", "ab-cd"),
            ("$0", "ab-cd"),
            ("$3", ""),
            ("$9", ""),
            ("$01", ""),
            ("${first}", "ab"),
            ("$first.", "ab."),
            ("$$1", "$1"),
            ("$", "$"),
            ("a$", "a$"),
            ("$-", "$-"),
            ("${1", "${1"),
            ("${}", "${}"),
            ("${a-b}", "${a-b}"),
            ("plain", "plain"),
            ("", ""),
            ("$99999999999999999999999", ""),
        ];
        for (text, expected) in cases {
            let template = Template::new(text, &pattern);
            assert_eq!(template.expand(&captures), expected, "{text}");
        }
    }

    #[test]
    fn a_target_is_a_name_or_may_come_to_one() {
        for (text, may) in [
            ("a", true),
            ("a9", true),
            ("$1", true),
            ("${1}_a", true),
            ("a_${name}", true),
            ("_", true),
            ("", false),
            ("9a", false),
            ("a-b", false),
            ("$", false),
            ("${", false),
            ("${a", false),
            ("a$$", false),
            ("é", false),
        ] {
            assert_eq!(may_be_label_name(text), may, "{text}");
        }
    }
}
