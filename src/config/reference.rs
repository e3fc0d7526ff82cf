//! Every key that a file may have, for the documentation: what it takes, and its default.
//!
//! It is learnt by reading an empty file of which every section is read, so it cannot be but what the code does.

use config::{Map, Value, ValueKind};

use super::load::Config;
use super::section::{Reading, Section};
use super::shown::Shown;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// From the top; the entry of a list is `[]`: `brokers[].url`.
    pub path: String,
    /// In words, as a problem says it.
    pub expected: String,
    /// As YAML; `None` where there is none.
    pub default: Option<String>,
    /// It has to be there, where its section is.
    pub is_needed: bool,
}

/// What was asked for while an empty file was read.
#[derive(Debug, Default)]
pub(super) struct Reference(Vec<KeyReference>);

/// All keys, in the order in which they are read.
pub fn reference() -> Vec<KeyReference> {
    let mut reading = Reading {
        asked: Some(Reference::default()),
        ..Reading::default()
    };
    let root = Value::new(None, ValueKind::Table(Map::new()));
    Section::read_root(&mut reading, root, |root| Config::read(root, "${HOSTNAME}"));
    reading.asked.map_or_else(Vec::new, |asked| asked.0)
}

impl Reference {
    /// Notes what a key takes. The last one that says so knows it best.
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

    /// Notes that a key has to be there.
    pub(super) fn need(&mut self, path: &str) {
        let path = general(path);
        if let Some(key) = self.0.iter_mut().find(|key| key.path == path) {
            key.is_needed = true;
        }
    }

    /// Notes what holds in a section of which nothing was written.
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

/// A path without the number of an entry.
fn general(path: &str) -> String {
    path.replace("[0]", "[]")
}

/// A default as YAML in one line; of a map, its entries.
fn in_a_line(value: &Shown) -> Option<String> {
    let is_map = |(_, value): &(String, Shown)| matches!(value, Shown::Map(_));
    if matches!(value, Shown::Map(entries) if entries.iter().any(is_map)) {
        return None;
    }
    let text = value.to_string();
    let text = text.trim().replace('\n', ", ");
    (*value != Shown::Null && !text.is_empty()).then_some(text)
}
