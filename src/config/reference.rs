//! Lists every key with its accepted values and default, for the documentation.
//!
//! [`Config::reference`](super::Config::reference) collects the list by reading an empty file with
//! all its sections, so it always matches the code.

use super::shown::Shown;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// Full path; `[]` is an entry of a list: `brokers[].url`.
    pub path: String,
    /// Accepted values in words, as in a problem.
    pub expected: String,
    /// As YAML; `None` if there is no default.
    pub default: Option<String>,
    /// Whether the key is required in its section.
    pub is_needed: bool,
}

/// Keys requested while an empty file is read.
#[derive(Debug, Default)]
pub(super) struct Reference(Vec<KeyReference>);

impl Reference {
    /// Returns all keys in the order in which they were read.
    pub(super) fn into_keys(self) -> Vec<KeyReference> {
        self.0
    }

    /// Records the accepted values of a key. The last call wins, because it is the most specific.
    pub(super) fn expect(&mut self, path: String, expected: &str) {
        let path = general(&path);
        let expected = expected.to_owned();
        match self.0.iter_mut().find(|key| key.path == path) {
            Some(known) => known.expected = expected,
            None => self.0.push(KeyReference {
                path,
                expected,
                default: None,
                is_needed: false,
            }),
        }
    }

    /// Records that a key is required.
    pub(super) fn need(&mut self, path: &str) {
        let path = general(path);
        if let Some(key) = self.0.iter_mut().find(|key| key.path == path) {
            key.is_needed = true;
        }
    }

    /// Records the defaults of a section that is absent from the file.
    pub(super) fn defaults(&mut self, section: &str, shown: &[(String, Shown)]) {
        for (name, value) in shown {
            let path = match section {
                "" => name.clone(),
                section => format!("{}.{name}", general(section)),
            };
            if let Some(key) = self.0.iter_mut().find(|key| key.path == path) {
                key.default = in_a_line(value);
            }
        }
    }
}

/// Replaces the index of an entry with `[]`.
fn general(path: &str) -> String {
    path.replace("[0]", "[]")
}

/// Formats a default as one line of YAML; for a map, its entries.
fn in_a_line(value: &Shown) -> Option<String> {
    let is_map = |(_, value): &(String, Shown)| matches!(value, Shown::Map(_));
    if matches!(value, Shown::Map(entries) if entries.iter().any(is_map)) {
        return None;
    }
    let text = value.to_string();
    let text = text.trim().replace('\n', ", ");
    (*value != Shown::Null && !text.is_empty()).then_some(text)
}
