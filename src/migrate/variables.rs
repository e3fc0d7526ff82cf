//! The environment of the exporter, and references to it: `$(NAME)`, `$NAME` and `${NAME}`.
//!
//! A known value replaces its reference. Any other reference becomes `${NAME}`, which celeriac
//! expands from its own environment.

use std::collections::{BTreeMap, BTreeSet};

/// How deeply values may refer to other variables. Deeper references are left as they are.
const NESTED_MAX: usize = 8;

/// How the name of an environment file among [`Variables::opaque`] begins.
pub(super) const ENV_FILE: &str = "environment file ";

/// The variables of an exporter.
#[derive(Debug, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, String>,
    /// Variables whose value is stored elsewhere, and where.
    pub(super) elsewhere: BTreeMap<String, String>,
    /// Sources of variables whose names are unknown, such as a secret.
    pub(super) opaque: Vec<String>,
    /// Whether `$$` means `$`, as in manifests.
    escapes: bool,
}

impl Variables {
    pub(super) fn of_manifest() -> Self {
        Self {
            escapes: true,
            ..Self::default()
        }
    }

    /// Sets a variable, replacing any earlier value.
    pub(super) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.elsewhere.remove(&name);
        self.values.insert(name, value.into());
    }

    /// Records where the value of a variable is stored.
    pub(super) fn set_elsewhere(&mut self, name: impl Into<String>, place: impl Into<String>) {
        let name = name.into();
        self.values.remove(&name);
        self.elsewhere.insert(name, place.into());
    }

    /// Adds variables unless they are set: lines of `NAME=value`, as in Docker and systemd.
    pub(super) fn add_file(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            let name = name.trim();
            if is_name(name) && !self.values.contains_key(name) {
                self.set(name, unquoted(value.trim()));
            }
        }
    }

    /// Adds the variables of a command, which take precedence.
    pub(super) fn extend(&mut self, other: Self) {
        for (name, value) in other.values {
            self.set(name, value);
        }
        for (name, place) in other.elsewhere {
            self.set_elsewhere(name, place);
        }
        self.opaque.extend(other.opaque);
    }

    /// Returns the value of a variable, or a reference to it if its value is stored elsewhere.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        match self.values.get(name) {
            Some(value) => Some(self.resolve(value)),
            None => {
                let known = self.elsewhere.contains_key(name);
                known.then(|| reference(name, None))
            }
        }
    }

    /// Replaces the references in a text.
    pub(super) fn resolve(&self, text: &str) -> String {
        self.resolve_nested(text, NESTED_MAX)
    }

    fn resolve_nested(&self, text: &str, depth: usize) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(behind) = behind.strip_prefix('$').filter(|_| self.escapes) {
                out.push('$');
                rest = behind;
            } else if let Some((name, default, after)) = first_reference(behind) {
                match self.values.get(name) {
                    Some(value) if depth > 0 => {
                        out.push_str(&self.resolve_nested(value, depth - 1));
                    }
                    _ => out.push_str(&reference(name, default)),
                }
                rest = after;
            } else {
                out.push('$');
                rest = behind;
            }
        }
        out.push_str(rest);
        out
    }
}

/// Reads a reference whose `$` has been read: its name, its default and the text after it.
fn first_reference(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (name, default, after) = if let Some(inner) = text.strip_prefix('(') {
        let (name, after) = inner.split_once(')')?;
        (name, None, after)
    } else if let Some(inner) = text.strip_prefix('{') {
        let (inner, after) = inner.split_once('}')?;
        let end = inner.find([':', '-', '?']).unwrap_or(inner.len());
        let (name, modifier) = inner.split_at(end);
        let modifier = modifier.strip_prefix(':').unwrap_or(modifier);
        (name, modifier.strip_prefix('-'), after)
    } else {
        // Lower-case names are rare, while a password may contain `$` and letters.
        let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        (&text[..end], None, &text[end..])
    };
    is_name(name).then_some((name, default, after))
}

/// A reference as in celeriac's configuration.
pub(super) fn reference(name: &str, default: Option<&str>) -> String {
    match default {
        Some(default) => format!("${{{name}:-{default}}}"),
        None => format!("${{{name}}}"),
    }
}

/// Collects the names of the variables without a default that a value refers to. Returns false if
/// it contains a `${` that starts no reference.
pub(super) fn collect_references(text: &str, names: &mut BTreeSet<String>) -> bool {
    let mut well_formed = true;
    for behind in text.split("${").skip(1) {
        match behind.split_once('}') {
            Some((name, _)) if is_name(name) => {
                names.insert(name.to_owned());
            }
            Some((inner, _))
                if inner
                    .split_once(":-")
                    .is_some_and(|(name, _)| is_name(name)) => {}
            _ => well_formed = false,
        }
    }
    well_formed
}

/// Whether a text can be the name of an environment variable.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(is_part)
}

fn unquoted(value: &str) -> &str {
    let quoted = ['"', '\''].iter().find_map(|&quote| {
        let inner = value.strip_prefix(quote)?;
        inner.strip_suffix(quote)
    });
    quoted.unwrap_or(value)
}
