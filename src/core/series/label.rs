//! Label names and label sets.

use std::borrow::Cow;
use std::sync::Arc;

use crate::escape::{label_value, safe_value};

/// A valid label name: `[a-zA-Z_][a-zA-Z0-9_]*`, excluding the reserved names that begin with `__`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelName(Cow<'static, str>);

impl LabelName {
    /// Creates a name from a literal in the program.
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// Creates a name from external input. `None` if it is invalid.
    pub fn parse(name: &str) -> Option<Self> {
        let valid = is_label_name(name) && !name.starts_with("__");
        valid.then(|| Self(Cow::Owned(name.to_owned())))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether Prometheus accepts a label name, including reserved ones.
pub fn is_label_name(name: &str) -> bool {
    name.bytes().all(is_word) && !name.is_empty() && !name.as_bytes()[0].is_ascii_digit()
}

/// Whether Prometheus accepts a metric name.
pub(super) fn is_metric_name(name: &str) -> bool {
    let valid = |byte: u8| is_word(byte) || byte == b':';
    name.bytes().all(valid) && !name.is_empty() && !name.as_bytes()[0].is_ascii_digit()
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The longest label value that is restored. Relabeling rules can join several strings of 1 KiB.
const STORED_BYTES_MAX: usize = 64 << 10;

/// The labels of one series without its name: sorted by name, without duplicates or empty values,
/// and with characters escaped that a receiver may refuse ([`escape`](crate::escape)).
///
/// Values are shared: the thirty series of one task name store that name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSet(Box<[(LabelName, Arc<str>)]>);

impl LabelSet {
    /// Creates a set from labels with external values. Of several labels with the same name, the
    /// first wins. Labels with an empty value are left out, because Prometheus treats them as
    /// absent.
    pub fn new(labels: impl IntoIterator<Item = (LabelName, Arc<str>)>) -> Self {
        let labels = labels.into_iter();
        Self::sorted(labels.map(|(name, value)| (name, as_is_or(label_value(&value), &value))))
    }

    /// Creates a set from values that are already escaped.
    fn again(labels: impl IntoIterator<Item = (LabelName, Arc<str>)>) -> Self {
        let labels = labels.into_iter();
        Self::sorted(labels.map(|(name, value)| (name, as_is_or(safe_value(&value), &value))))
    }

    fn sorted(labels: impl IntoIterator<Item = (LabelName, Arc<str>)>) -> Self {
        let mut labels: Vec<_> = labels
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        labels.sort_by(|(a, _), (b, _)| a.cmp(b));
        labels.dedup_by(|(a, _), (b, _)| a == b);
        Self(labels.into_boxed_slice())
    }

    /// The result of applying rules to this set, with valid names. Unchanged labels are shared with
    /// this set. Reserved names are kept, as in Prometheus.
    pub(super) fn relabelled(&self, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        let labels = labels.into_iter().map(|(name, value)| {
            let same = |own: &&(LabelName, Arc<str>)| own.0.0 == name && *own.1 == *value;
            let own = self.0.iter().find(same).cloned();
            own.unwrap_or_else(|| (LabelName(Cow::Owned(name)), value.into()))
        });
        Self::again(labels)
    }

    /// Restores a stored set. `None` if a name is invalid or a value is too long. `known` lists the
    /// program's own names, which need no allocation.
    pub(super) fn restored(
        labels: impl IntoIterator<Item = (Arc<str>, Arc<str>)>,
        known: &[&'static str],
    ) -> Option<Self> {
        let labels = labels.into_iter().map(|(name, value)| {
            let own = known.iter().find(|known| ***known == *name);
            let name = match own {
                Some(own) => LabelName::from_static(own),
                // Reserved names are valid here: a rule may have made them.
                None => LabelName(Cow::Owned(is_label_name(&name).then(|| name.to_string())?)),
            };
            (value.len() <= STORED_BYTES_MAX).then_some((name, value))
        });
        let labels: Option<Vec<_>> = labels.collect();
        labels.map(Self::again)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_ref()))
    }
}

/// The escaped value; the original is shared if nothing had to be escaped.
fn as_is_or(escaped: Cow<'_, str>, value: &Arc<str>) -> Arc<str> {
    match escaped {
        Cow::Borrowed(_) => Arc::clone(value),
        Cow::Owned(escaped) => escaped.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_and_has_each_name_once_and_no_empty_values() {
        let labels = [
            ("queue", "q"),
            ("name", "n"),
            ("worker", ""),
            ("name", "other"),
        ];
        let set = LabelSet::new(labels.map(|(k, v)| (LabelName::from_static(k), v.into())));

        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [("name", "n"), ("queue", "q")]
        );
    }

    #[test]
    fn a_value_is_escaped_once_however_often_it_is_put_into_a_set() {
        let labels = |value: &str| LabelSet::new([(LabelName::from_static("name"), value.into())]);
        let set = labels("a%\0");
        let text = "a%25%00";
        assert_eq!(set.iter().collect::<Vec<_>>(), [("name", text)]);

        let stored = set.iter().map(|(name, value)| (name.into(), value.into()));
        assert_eq!(LabelSet::restored(stored, &["name"]), Some(set.clone()));
        let own = ("name".to_owned(), text.to_owned());
        let by_rule = ("zone".to_owned(), "a\0b".to_owned());
        let relabelled = set.relabelled([own, by_rule]);
        let expected = [("name", text), ("zone", "a%00b")];
        assert_eq!(relabelled.iter().collect::<Vec<_>>(), expected);
        assert_ne!(labels("a%00"), labels("a\0"));
    }

    #[test]
    fn a_stored_set_is_restored_unless_it_cannot_be_one() {
        let restored = |name: &str, value: &str| {
            let set = LabelSet::restored([(name.into(), value.into())], &["name"])?;
            let labels = set.iter().map(|(name, value)| format!("{name}={value}"));
            Some(labels.collect::<String>())
        };
        assert_eq!(restored("name", "x").as_deref(), Some("name=x"));
        assert_eq!(restored("__made", "x").as_deref(), Some("__made=x"));
        assert_eq!(restored("a-b", "x"), None);
        let longest = "x".repeat(64 << 10);
        assert!(restored("name", &longest).is_some());
        assert_eq!(restored("name", &(longest + "x")), None);
    }

    #[test]
    fn a_label_that_rules_left_alone_is_shared() {
        let set = LabelSet::new([(LabelName::from_static("name"), "a".into())]);
        let labels = [("name", "a"), ("zone", "b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let after = set.relabelled(labels);
        assert!(Arc::ptr_eq(&set.0[0].1, &after.0[0].1));
        let changed = set.relabelled([("name".to_owned(), "b".to_owned())]);
        assert_eq!(changed.iter().collect::<Vec<_>>(), [("name", "b")]);
        assert_eq!(LabelName::from_static("name").as_str(), "name");
    }

    #[test]
    fn only_valid_names_are_names() {
        for (name, valid) in [
            ("job", true),
            ("_x9", true),
            ("9x", false),
            ("a-b", false),
            ("", false),
            ("__x", false),
        ] {
            assert_eq!(LabelName::parse(name).is_some(), valid, "{name:?}");
        }
    }

    #[test]
    fn metric_names_may_have_colons_and_labels_may_not() {
        let cases = [
            ("a", true, true),
            ("_a9", true, true),
            ("a:b", true, false),
            (":a", true, false),
            ("9a", false, false),
            ("a-b", false, false),
            ("", false, false),
        ];
        for (name, metric, label) in cases {
            assert_eq!(
                (is_metric_name(name), is_label_name(name)),
                (metric, label),
                "{name}"
            );
        }
    }
}
