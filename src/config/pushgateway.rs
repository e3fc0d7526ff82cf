//! `pushgateway`: groups of series to push to a Pushgateway.

use std::time::Duration;

use url::Url;

use super::client::{HttpClientConfig, url};
use super::profile::profile;
use super::section::Section;
use super::shown::Shown;
use super::url::without_credentials;
use crate::profile::ProfileName;
use crate::series::LabelName;
use crate::wire::Group;

/// One group in one Pushgateway.
#[derive(Clone, Debug, PartialEq)]
pub struct PushgatewayConfig {
    /// Used in the label `pushgateway` and the log.
    pub name: String,
    /// Base URL of the gateway; the path of the group is appended to it.
    pub url: Url,
    pub group: Group,
    /// Time between two pushes; `None`: every snapshot is pushed.
    pub interval: Option<Duration>,
    pub on_shutdown: OnShutdown,
    pub profile: ProfileName,
    pub format: PushFormat,
    pub client: HttpClientConfig,
}

/// What happens to the group when the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnShutdown {
    /// The group is deleted: a gateway never expires it otherwise.
    Delete,
    /// The group keeps its last values.
    Keep,
}

/// Format of the snapshots pushed to a Pushgateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushFormat {
    Text,
    Protobuf {
        /// Whether native histograms are sent alongside classic ones.
        native: bool,
    },
}

const JOB: &str = "job";

impl PushgatewayConfig {
    /// The URL without credentials.
    pub fn shown_url(&self) -> String {
        without_credentials(&self.url)
    }

    /// Whether native histograms are pushed.
    pub fn sends_native(&self) -> bool {
        self.format == PushFormat::Protobuf { native: true }
    }

    pub(super) fn read(section: &mut Section<'_>, external: &[(String, String)]) -> Option<Self> {
        let (url, login) = url(section, "http://pushgateway:9091");
        if let Some(url) = &url
            && url.path().contains("/metrics/job")
        {
            let what = "contains a group; use the gateway's base URL, and set the group with `job` \
                        and `grouping_key`";
            section.problem("url", what);
        }
        let name = section.optional_text("name");
        let group = group(section, external);
        let hour = Duration::from_secs(3600);
        let interval = section.optional_duration("interval", Duration::from_secs(1)..=hour);
        let on_shutdown = match &*section.word("on_shutdown", "delete", &["delete", "keep"]) {
            "keep" => OnShutdown::Keep,
            _ => OnShutdown::Delete,
        };
        let profile = profile(section);
        let format = section.word("format", "text", &["text", "protobuf"]);
        let native = section.bool("send_native_histograms", false);
        let format = match &*format {
            "protobuf" => PushFormat::Protobuf { native },
            _ => PushFormat::Text,
        };
        if native && format == PushFormat::Text {
            section.problem("send_native_histograms", "requires `format: protobuf`");
        }
        let client = HttpClientConfig::read(section, login);
        let url = url?;
        let host = url.host_str().unwrap_or_default();
        let name = name.unwrap_or_else(|| host.to_owned());
        section.show("name", Shown::Text(name.clone()));
        Some(Self {
            name,
            url,
            group: group?,
            interval,
            on_shutdown,
            profile,
            format,
            client,
        })
    }

    /// Rejects entries with the same group, which would overwrite each other.
    pub(super) fn refuse_same_group(root: &mut Section<'_>, all: &[Option<Self>]) {
        for (at, one) in all.iter().enumerate() {
            let base = |sink: &Self| sink.url.as_str().trim_end_matches('/').to_owned();
            let same = |other: &&Self| {
                let one = one.as_ref();
                one.is_some_and(|one| base(one) == base(other) && one.group == other.group)
            };
            if let Some(other) = all[..at].iter().flatten().find(same) {
                let group = &other.group;
                let what = format!(
                    "two entries push the group {group} to the same gateway and would overwrite \
                     each other; give one of them a different `job` or `grouping_key`"
                );
                root.problem("pushgateway", what);
            }
        }
    }
}

/// Reads `job` and `grouping_key`, which default to the external labels, so that every series
/// carries these.
fn group(section: &mut Section<'_>, external: &[(String, String)]) -> Option<Group> {
    let given = section.has("grouping_key");
    let written = section.text_map("grouping_key");
    let default_job = external.iter().find(|(name, _)| name == JOB);
    let default_job = default_job.map_or("", |(_, value)| value.as_str());
    let job = section.text(JOB, default_job);
    if job.is_empty() {
        section.problem(
            JOB,
            "is empty, and so is the external label `job`; set it, for example to celery, because \
             a Pushgateway requires one",
        );
    }
    let pairs = if given {
        written
    } else {
        let others = external.iter().filter(|(name, _)| name != JOB);
        others.cloned().collect()
    };
    let mut labels = Vec::with_capacity(pairs.len());
    let mut refused = false;
    for (name, value) in pairs {
        let what = match (name.as_str(), LabelName::parse(&name)) {
            (JOB, _) => "is not allowed here; set `job` next to `grouping_key` instead",
            // It would replace the bounds of all histogram buckets.
            ("le", _) => "is the label of a histogram's buckets; choose another name",
            (_, Some(label)) => {
                labels.push((label, value));
                continue;
            }
            (_, None) if given => {
                "not a valid label name; use letters, digits and _, not starting with a digit or __"
            }
            // Already reported for the external label itself.
            (_, None) => {
                refused = true;
                continue;
            }
        };
        section.problem(&format!("grouping_key.{name}"), what);
        refused = true;
    }
    let shown = labels
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), Shown::Text(value.clone())));
    section.show("grouping_key", Shown::Map(shown.collect()));
    if refused {
        return None;
    }
    Group::new(job, labels)
}

#[cfg(test)]
mod tests;
