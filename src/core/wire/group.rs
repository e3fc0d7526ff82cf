//! The grouping key of a Pushgateway, encoded as the path of its URL.
//!
//! A Pushgateway stores pushes in groups, each identified by a job and optional labels in the path:
//! `/metrics/job/celery/instance/web-1`. A value that is not safe in a path is encoded as base64,
//! which the label name indicates: `/metrics/job/celery/instance@base64/YS9i`. Percent-encoding is
//! not an option: the gateway decodes `%2F` before it splits the path, so a value with an even
//! number of extra path segments would silently select a different group.
//!
//! Source: "API" in the Pushgateway's README; tested with 1.5.1 and 1.11.2.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::escape::safe_value;
use crate::series::LabelName;

/// Identifies a group. Its labels replace those of the same name on every series of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    job: String,
    /// By name.
    labels: Vec<(LabelName, String)>,
}

const JOB: &str = "job";

impl Group {
    /// Creates a group; `None` if the job is empty, if a label is repeated, or if one is named
    /// `job`.
    ///
    /// The gateway shows labels unchanged on a page, so characters that a receiver may reject are
    /// escaped.
    pub fn new(job: String, labels: Vec<(LabelName, String)>) -> Option<Self> {
        let job = safe_value(&job).into_owned();
        let labels = labels.into_iter();
        let mut labels: Vec<_> = labels
            .map(|(name, value)| (name, safe_value(&value).into_owned()))
            .collect();
        labels.sort_by(|(a, _), (b, _)| a.cmp(b));
        let unique = labels.windows(2).all(|pair| pair[0].0 != pair[1].0);
        let ours = labels.iter().any(|(name, _)| name.as_str() == JOB);
        (unique && !ours && !job.is_empty()).then_some(Self { job, labels })
    }

    /// Returns names and values, the job first.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.labels.iter();
        let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
        std::iter::once((JOB, self.job.as_str())).chain(labels)
    }

    /// Returns the path below the gateway's base URL. It needs no further encoding.
    pub fn path(&self) -> String {
        let mut path = "/metrics".to_owned();
        for (name, value) in self.labels() {
            path.push('/');
            path.push_str(name);
            if is_plain(value) {
                path.push('/');
                path.push_str(value);
            } else if value.is_empty() {
                // The base64 of an empty value is empty, and an empty path segment would be
                // dropped: use padding.
                path.push_str("@base64/=");
            } else {
                path.push_str("@base64/");
                URL_SAFE_NO_PAD.encode_string(value, &mut path);
            }
        }
        path
    }
}

/// Returns whether a value can be used in a path as it is. These characters have no special meaning
/// in a URL, except in the two names that refer to other directories.
fn is_plain(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.~-".contains(&byte);
    !value.is_empty() && value.bytes().all(plain) && !matches!(value, "." | "..")
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels();
        let labels: Vec<_> = labels
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        write!(f, "{{{}}}", labels.join(","))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::engine::general_purpose::GeneralPurpose;
    use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
    use proptest::prelude::*;

    use super::*;

    fn group(job: &str, labels: &[(&str, &str)]) -> Option<Group> {
        let labels = labels.iter().map(|(name, value)| {
            let name = LabelName::parse(name).expect("a label name");
            (name, (*value).to_owned())
        });
        Group::new(job.to_owned(), labels.collect())
    }

    #[test]
    fn a_group_is_a_path() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case<'_>; 9] = [
            ("celery", &[], "/metrics/job/celery"),
            (
                "celery",
                &[("instance", "web-1.example.com"), ("env", "prod")],
                "/metrics/job/celery/env/prod/instance/web-1.example.com",
            ),
            ("a/b", &[], "/metrics/job@base64/YS9i"),
            (
                "j",
                &[("path", "/var/tmp")],
                "/metrics/job/j/path@base64/L3Zhci90bXA",
            ),
            ("j", &[("empty", "")], "/metrics/job/j/empty@base64/="),
            ("j", &[("blank", "a b")], "/metrics/job/j/blank@base64/YSBi"),
            (
                "j",
                &[("name", "Προμηθεύς")],
                "/metrics/job/j/name@base64/zqDPgc6_zrzOt864zrXPjc-C",
            ),
            // Colons are allowed in a path; base64 can encode anything.
            (
                "j",
                &[("instance", "h:80")],
                "/metrics/job/j/instance@base64/aDo4MA",
            ),
            (".", &[("up", "..")], "/metrics/job@base64/Lg/up@base64/Li4"),
        ];
        for (job, labels, expected) in cases {
            let group = group(job, labels).expect("a group");
            assert_eq!(group.path(), expected, "{group}");
        }
    }

    #[test]
    fn a_group_shows_its_job_before_its_other_labels() {
        let group = group("j", &[("instance", "a \"b\""), ("env", "")]).expect("a group");
        assert_eq!(group.to_string(), r#"{job="j",env="",instance="a \"b\""}"#);
    }

    #[test]
    fn no_group_is_without_a_job_or_has_a_label_twice() {
        assert_eq!(group("", &[("instance", "a")]), None);
        assert_eq!(group("j", &[("job", "k")]), None);
        assert_eq!(group("j", &[("a", "1"), ("a", "2")]), None);
    }

    /// Decodes a path as described in the gateway's documentation: pairs after `/metrics`, with
    /// URL-safe base64, padded or not, if the name ends in `@base64`.
    fn decoded(path: &str) -> BTreeMap<String, String> {
        let config = GeneralPurposeConfig::new();
        let lenient = config.with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let engine = GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient);
        let parts: Vec<_> = path.split('/').collect();
        assert_eq!(parts[..2], ["", "metrics"], "{path}");
        assert!(parts[2].starts_with("job"), "{path}");
        assert_eq!(parts.len() % 2, 0, "{path}");
        let pairs = parts[2..].chunks(2).map(|pair| {
            let Some(name) = pair[0].strip_suffix("@base64") else {
                assert!(!pair[1].is_empty(), "{path}");
                return (pair[0].to_owned(), pair[1].to_owned());
            };
            let value = engine
                .decode(pair[1].trim_end_matches('='))
                .expect("base64");
            (name.to_owned(), String::from_utf8(value).expect("UTF-8"))
        });
        pairs.collect()
    }

    proptest! {
        #[test]
        fn a_path_gives_its_labels_back_even_when_a_url_was_made_of_it(
            job in prop_oneof!["[a-z./~]{1,4}", ".{1,12}"],
            labels in proptest::collection::btree_map(
                "[a-z_]{0,3}[a-z]", prop_oneof!["[-_.~/%+= a-z]{0,4}", ".{0,12}"], 0..5,
            ),
        ) {
            let valid = labels.iter().filter(|(name, _)| *name != JOB);
            let named = valid.filter_map(|(name, value)| Some((LabelName::parse(name)?, value.clone())));
            let group = Group::new(job, named.collect()).expect("a group");
            let mut expected: BTreeMap<_, _> = group.labels().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();

            let mut url = url::Url::parse("http://h/prefix").expect("a URL");
            url.set_path(&group.path());
            prop_assert_eq!(url.path(), group.path());
            let mut found = decoded(url.path());
            prop_assert_eq!(&mut found, &mut expected);
        }
    }
}
