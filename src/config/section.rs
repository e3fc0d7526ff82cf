//! A map in the configuration file, read key by key.

mod lists;
mod variables;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::{Value, ValueKind};

use super::problem::{Problem, nearest};
use super::reference::Reference;
use super::scalar::{parse_bytes, parse_duration, show_bytes, show_duration};
use super::shown::Shown;
use super::value::{ENVIRONMENT, bool_of, found, structure, text_of, whole_of};
use crate::secret::Secret;

/// Maximum number of problems reported: nobody reads more before fixing the first ones.
const PROBLEMS_MAX: usize = 100;

/// Maximum length of a problem's key and of its message. They may contain the user's own keys and
/// expressions.
const PROBLEM_BYTES_MAX: usize = 2_000;

/// Maximum number of regular expressions in a file: each may use memory up to `Pattern`'s limit.
const EXPRESSIONS_MAX: usize = 1_000;

/// What all sections share while a file is read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) problems: Vec<Problem>,
    /// The environment used to replace `${NAME}`.
    pub(super) environment: BTreeMap<String, String>,
    /// Number of bytes inserted from the environment.
    pub(super) replaced_bytes: usize,
    /// Number of regular expressions compiled.
    pub(super) expressions: usize,
    /// The keys that were read, if a reference is generated. Absent sections are read too then.
    pub(super) asked: Option<Reference>,
}

/// A map in the file. Each method reads one key and marks it as known.
#[derive(Debug)]
pub(super) struct Section<'r> {
    reading: &'r mut Reading,
    path: String,
    table: BTreeMap<String, Value>,
    known: Vec<&'static str>,
    shown: Vec<(String, Shown)>,
}

impl<'r> Section<'r> {
    /// Reads the root of a file. A key that `read` does not read is reported as unknown.
    pub(super) fn read_root<T>(
        reading: &'r mut Reading,
        value: Value,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> (T, Shown) {
        let mut root = Section {
            reading,
            path: String::new(),
            table: BTreeMap::new(),
            known: Vec::new(),
            shown: Vec::new(),
        };
        root.open("", Some(value), read)
    }

    /// Reports a problem with a key of this section.
    pub(super) fn problem(&mut self, key: &str, what: impl Display) {
        let mut key = self.path_of(key);
        let mut what = what.to_string();
        let problems = &mut self.reading.problems;
        if problems.len() > PROBLEMS_MAX {
            return;
        }
        if problems.len() == PROBLEMS_MAX {
            what = "further problems are omitted; fix those above first".to_owned();
        }
        key.truncate(key.floor_char_boundary(PROBLEM_BYTES_MAX));
        what.truncate(what.floor_char_boundary(PROBLEM_BYTES_MAX));
        problems.push(Problem { key, what });
    }

    /// Reads a section below this one. An absent section is read as an empty one.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let value = self.remove_key(key);
        let (result, shown) = self.open(key, value, read);
        self.show(key, shown);
        result
    }

    /// Reads a section that may be absent.
    pub(super) fn optional_section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let value = self.remove_key(key);
        if value.is_none() && !self.is_reference() {
            return None;
        }
        let (result, shown) = self.open(key, value, read);
        self.show(key, shown);
        Some(result)
    }

    /// Whether a key is present and has a value.
    pub(super) fn has(&self, key: &str) -> bool {
        let value = self.table.get(key);
        value.is_some_and(|value| !matches!(value.kind, ValueKind::Nil))
    }

    pub(super) fn bool(&mut self, key: &'static str, default: bool) -> bool {
        let read = self.scalar(key, "true or false", bool_of);
        let value = read.unwrap_or(default);
        self.show(key, Shown::Plain(value.to_string()));
        value
    }

    pub(super) fn whole(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let value = self.optional_whole(key, range).unwrap_or(default);
        self.show(key, Shown::Plain(value.to_string()));
        value
    }

    /// Reads a whole number that has no default.
    pub(super) fn optional_whole(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let read = self.scalar(key, &expected, |value| {
            whole_of(value).filter(|number| range.contains(number))
        });
        let shown = read.map_or(Shown::Null, |number| Shown::Plain(number.to_string()));
        self.show(key, shown);
        read
    }

    pub(super) fn bytes(&mut self, key: &'static str, default: u64) -> u64 {
        // No real message would fit into less.
        let value = self.optional_bytes(key, 1 << 20).unwrap_or(default);
        self.show(key, Shown::Plain(show_bytes(value)));
        value
    }

    pub(super) fn optional_bytes(&mut self, key: &'static str, least: u64) -> Option<u64> {
        let expected = format!("a size such as 64MiB, at least {}", show_bytes(least));
        let read = self.scalar(key, &expected, |value| {
            let bytes = text_of(value).map_or_else(|| whole_of(value), |text| parse_bytes(&text));
            bytes.filter(|bytes| *bytes >= least)
        });
        let shown = read.map_or(Shown::Null, |bytes| Shown::Plain(show_bytes(bytes)));
        self.show(key, shown);
        read
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let (from, to) = (show_duration(*range.start()), show_duration(*range.end()));
        let expected = format!("a duration with a unit, such as 15s, from {from} to {to}");
        let read = self.scalar(key, &expected, |value| {
            parse_duration(&text_of(value)?).filter(|span| range.contains(span))
        });
        let value = read.unwrap_or(default);
        self.show(key, Shown::Plain(show_duration(value)));
        value
    }

    /// Reads a duration that has no default.
    pub(super) fn optional_duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let (from, to) = (show_duration(*range.start()), show_duration(*range.end()));
        let expected = format!("a duration with a unit, such as 15s, from {from} to {to}");
        let read = self.scalar(key, &expected, |value| {
            parse_duration(&text_of(value)?).filter(|span| range.contains(span))
        });
        let shown = read.map_or(Shown::Null, |span| Shown::Plain(show_duration(span)));
        self.show(key, shown);
        read
    }

    /// Reads an interval. Returns `None` if it is 0, which disables it.
    pub(super) fn interval_or_off(
        &mut self,
        key: &'static str,
        default: Duration,
    ) -> Option<Duration> {
        let expected = "a duration with a unit, such as 15s, from 1s to 1h, or 0 to disable it";
        let range = Duration::from_secs(1)..=Duration::from_secs(3_600);
        let read = self.scalar(key, expected, |value| {
            let zero = (whole_of(value) == Some(0)).then_some(Duration::ZERO);
            let span = zero.or_else(|| parse_duration(&text_of(value)?))?;
            (span.is_zero() || range.contains(&span)).then_some(span)
        });
        let value = read.unwrap_or(default);
        self.show(key, Shown::Plain(show_duration(value)));
        (!value.is_zero()).then_some(value)
    }

    /// Reads a string and replaces its variables.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Option<String> {
        let text = self
            .scalar(key, "a string", text_of)
            .and_then(|text| self.interpolate(key, &text));
        self.show(key, text.clone().map_or(Shown::Null, Shown::Text));
        text
    }

    pub(super) fn text(&mut self, key: &'static str, default: &str) -> String {
        let text = self
            .optional_text(key)
            .unwrap_or_else(|| default.to_owned());
        self.show(key, Shown::Text(text.clone()));
        text
    }

    /// Reads a required string.
    pub(super) fn needed_text(&mut self, key: &'static str, such_as: &str) -> Option<String> {
        let absent = !self.table.contains_key(key);
        let text = self.optional_text(key);
        if absent {
            self.problem(key, format!("is required (example: {such_as})"));
        }
        let path = self.path_of(key);
        if let Some(asked) = &mut self.reading.asked {
            asked.need(&path);
        }
        text
    }

    /// Reads a string that must be one of `words`.
    pub(super) fn word(&mut self, key: &'static str, default: &str, words: &[&str]) -> String {
        let text = self.text(key, default);
        self.expect(key, &words.join(" or "));
        if words.contains(&&*text) {
            return text;
        }
        self.problem(
            key,
            format!("expected {}, found `{text}`", words.join(" or ")),
        );
        default.to_owned()
    }

    /// Reads a secret, either inline under `key` or from the file that `file_key` names.
    pub(super) fn secret(&mut self, key: &'static str, file_key: &'static str) -> Option<Secret> {
        // Does not use `optional_text`, which shows the value.
        self.expect(key, "a string, never shown");
        let inline = self.remove_key(key).and_then(|value| {
            let text = text_of(&value);
            if text.is_none() {
                self.problem(key, "expected a string");
            }
            self.interpolate(key, &text?)
        });
        self.show(
            key,
            if inline.is_some() {
                Shown::Secret
            } else {
                Shown::Null
            },
        );
        let file = self.optional_text(file_key);
        if inline.is_some() && file.is_some() {
            self.problem(file_key, format!("either this or `{key}`, not both"));
        }
        inline
            .map(Secret::Inline)
            .or_else(|| file.map(|path| Secret::File(path.into())))
    }

    /// Returns an environment variable. An empty one counts as absent.
    pub(super) fn environment(&self, name: &str) -> Option<&str> {
        let value = self.reading.environment.get(name);
        value.map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Accepts a key that has no effect.
    pub(super) fn ignored(&mut self, key: &'static str) {
        self.expect(key, "any value, ignored");
        self.remove_key(key);
    }

    /// Refuses a key of Prometheus that is not supported, and says what to write instead.
    pub(super) fn unsupported(&mut self, key: &'static str, instead: &str) {
        self.expect(key, "not supported");
        if self.remove_key(key).is_some() {
            self.problem(key, instead);
        }
    }

    /// Counts a regular expression before it is compiled. Reports a problem and returns false if
    /// there are too many.
    pub(super) fn may_compile(&mut self, key: &str) -> bool {
        self.reading.expressions += 1;
        let may = self.reading.expressions <= EXPRESSIONS_MAX;
        if !may {
            let what = format!("more than {EXPRESSIONS_MAX} regular expressions in one file");
            self.problem(key, what);
        }
        may
    }

    /// Sets how a key is shown, if that differs from how it was read.
    pub(super) fn show(&mut self, key: &str, shown: Shown) {
        match self.shown.iter_mut().find(|(name, _)| name == key) {
            Some((_, known)) => *known = shown,
            None => self.shown.push((key.to_owned(), shown)),
        }
    }

    /// Changes how a key of an entry of a list is shown, after the list was read.
    pub(super) fn amend(&mut self, list: &str, at: usize, key: &str, shown: Shown) {
        let list = self.shown.iter_mut().find(|(name, _)| name == list);
        let Some((_, Shown::List(entries))) = list else {
            return;
        };
        let Some(Shown::Map(entry)) = entries.get_mut(at) else {
            return;
        };
        if let Some((_, known)) = entry.iter_mut().find(|(name, _)| name == key) {
            *known = shown;
        }
    }

    /// Reads a key that may have one of several types. `None` if it is absent or has another type.
    pub(super) fn scalar<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        self.expect(key, expected);
        let value = self.remove_key(key)?;
        let read = read(&value);
        if read.is_none() {
            self.problem(key, format!("expected {expected}, found {}", found(&value)));
        }
        read
    }

    /// Records which values a key accepts, if a reference is generated.
    pub(super) fn expect(&mut self, key: &str, expected: &str) {
        let path = self.path_of(key);
        if let Some(asked) = &mut self.reading.asked {
            asked.expect(path, expected);
        }
    }

    /// Whether a reference is generated, so that every key is read.
    pub(super) const fn is_reference(&self) -> bool {
        self.reading.asked.is_some()
    }

    /// Removes and returns a key's value. A key without a value counts as absent.
    fn remove_key(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table
            .remove(key)
            .filter(|value| !matches!(value.kind, ValueKind::Nil))
    }

    fn open<T>(
        &mut self,
        key: &str,
        value: Option<Value>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> (T, Shown) {
        let table = match value.map(|value| structure(value).kind) {
            None | Some(ValueKind::Nil) => BTreeMap::new(),
            Some(ValueKind::Table(table)) => table.into_iter().collect(),
            Some(kind) => {
                let found = found(&Value::new(None, kind));
                self.problem(key, format!("expected a map, found {found}"));
                BTreeMap::new()
            }
        };
        let mut section = Section {
            path: self.path_of(key),
            reading: self.reading,
            table,
            known: Vec::new(),
            shown: Vec::new(),
        };
        let result = read(&mut section);
        section.refuse_unknown();
        let Section { path, shown, .. } = section;
        if let Some(asked) = &mut self.reading.asked {
            asked.defaults(&path, &shown);
        }
        (result, Shown::Map(shown))
    }

    fn refuse_unknown(&mut self) {
        for (key, value) in std::mem::take(&mut self.table) {
            let hint = match nearest(&key, self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("valid keys: {}", self.known.join(", ")),
            };
            let from = if value.origin() == Some(ENVIRONMENT) {
                " (from the environment)"
            } else {
                ""
            };
            self.problem(&key, format!("unknown key{from}; {hint}"));
        }
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }
}
