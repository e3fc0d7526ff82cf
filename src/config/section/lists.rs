//! Keys that hold a list or a map.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use super::Section;
use crate::config::shown::Shown;
use crate::config::value::{ENVIRONMENT, found, list_of, number_of, structure, text_of};

impl Section<'_> {
    pub(in crate::config) fn texts(&mut self, key: &'static str, default: &[&str]) -> Vec<String> {
        let items = self.scalar(key, "a list of strings", |value| {
            list_of(value)?
                .iter()
                .map(text_of)
                .collect::<Option<Vec<_>>>()
        });
        let items = match items {
            Some(items) => items
                .iter()
                .filter_map(|text| self.interpolate(key, text))
                .collect(),
            None => default
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>(),
        };
        self.show(
            key,
            Shown::List(items.iter().cloned().map(Shown::Text).collect()),
        );
        items
    }

    pub(in crate::config) fn numbers(&mut self, key: &'static str, default: &[f64]) -> Vec<f64> {
        let read = self.scalar(key, "a list of numbers", |value| {
            list_of(value)?
                .iter()
                .map(number_of)
                .collect::<Option<Vec<_>>>()
        });
        let numbers = read.unwrap_or_else(|| default.to_vec());
        let shown = numbers
            .iter()
            .map(|number| Shown::Plain(number.to_string()));
        self.show(key, Shown::List(shown.collect()));
        numbers
    }

    /// Reads a map of user-defined keys to strings.
    pub(in crate::config) fn text_map(&mut self, key: &'static str) -> Vec<(String, String)> {
        self.expect(key, "a map of strings");
        let Some(value) = self.remove_key(key) else {
            self.show(key, Shown::Map(Vec::new()));
            return Vec::new();
        };
        let value = structure(value);
        let ValueKind::Table(table) = value.kind else {
            self.problem(
                key,
                format!("expected a map of strings, found {}", found(&value)),
            );
            return Vec::new();
        };
        let mut entries = Vec::new();
        // The loader does not keep the order. Sort by name, so that the order of messages is
        // stable.
        let mut table: Vec<(String, Value)> = table.into_iter().collect();
        table.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, value) in table {
            match text_of(&value) {
                Some(text) => {
                    let text = self.interpolate(&format!("{key}.{name}"), &text);
                    entries.extend(text.map(|text| (name, text)));
                }
                None => self.problem(
                    &format!("{key}.{name}"),
                    format!("expected a string, found {}", found(&value)),
                ),
            }
        }
        let shown = entries
            .iter()
            .map(|(name, text)| (name.clone(), Shown::Text(text.clone())));
        self.show(key, Shown::Map(shown.collect()));
        entries
    }

    /// Reads a map of user-defined keys to lists of secrets.
    pub(in crate::config) fn secret_lists(
        &mut self,
        key: &'static str,
    ) -> Vec<(String, Vec<String>)> {
        let read = self.scalar(key, "a map of lists of strings", |value| {
            let ValueKind::Table(table) = structure(value.clone()).kind else {
                return None;
            };
            let list = |value: &Value| -> Option<Vec<String>> {
                list_of(value)?.iter().map(text_of).collect()
            };
            let lists = table.into_iter();
            lists
                .map(|(name, value)| Some((name, list(&value)?)))
                .collect::<Option<Vec<(String, Vec<String>)>>>()
        });
        let mut lists = read.unwrap_or_default();
        lists.sort();
        for (name, values) in &mut lists {
            let path = format!("{key}.{name}");
            let texts = values.iter();
            *values = texts
                .filter_map(|text| self.interpolate(&path, text))
                .collect();
        }
        let shown = lists.iter().map(|(name, values)| {
            let values = Shown::List(vec![Shown::Secret; values.len()]);
            (name.clone(), values)
        });
        self.show(key, Shown::Map(shown.collect()));
        lists
    }

    /// Reads a map of user-defined keys to sections.
    pub(in crate::config) fn named_sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<(String, T)> {
        self.expect(key, "a map of maps");
        let table = match self.remove_key(key).map(|value| structure(value).kind) {
            None if self.is_reference() => {
                BTreeMap::from([("NAME".to_owned(), Value::new(None, ValueKind::Nil))])
            }
            None => BTreeMap::new(),
            Some(ValueKind::Table(table)) => table.into_iter().collect(),
            Some(kind) => {
                let found = found(&Value::new(None, kind));
                self.problem(key, format!("expected a map of maps, found {found}"));
                BTreeMap::new()
            }
        };
        let mut results = Vec::with_capacity(table.len());
        let mut shown = Vec::with_capacity(table.len());
        for (name, value) in table {
            let (result, one) = self.open(&format!("{key}.{name}"), Some(value), &mut read);
            shown.push((name.clone(), one));
            results.push((name, result));
        }
        self.show(key, Shown::Map(shown));
        results
    }

    /// Reads a list of sections. It is empty if the key is absent.
    pub(in crate::config) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        let one = || Value::new(None, vec![config::Map::<String, Value>::new()]);
        let asked = self.is_reference().then(one);
        let Some(value) = self.remove_key(key).or(asked) else {
            return Vec::new();
        };
        let from_environment = value.origin() == Some(ENVIRONMENT);
        let value = structure(value);
        let ValueKind::Array(items) = value.kind else {
            let found = found(&value);
            let only_here = if from_environment || matches!(value.kind, ValueKind::Table(_)) {
                "; an environment variable cannot override an entry of a list"
            } else {
                ""
            };
            self.problem(
                key,
                format!("expected a list of maps, found {found}{only_here}"),
            );
            return Vec::new();
        };
        let mut results = Vec::with_capacity(items.len());
        let mut shown = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            let (result, item) = self.open(&format!("{key}[{at}]"), Some(item), &mut read);
            results.push(result);
            shown.push(item);
        }
        self.show(key, Shown::List(shown));
        results
    }
}
