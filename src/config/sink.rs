//! `remote_write`: receivers, in Prometheus' own words.

use std::time::Duration;

use url::Url;

use super::client::{HttpClientConfig, url};
use super::profile::profile;
use super::section::Section;
use super::shown::Shown;
use crate::backoff::Backoff;
use crate::profile::ProfileName;

/// One receiver of remote write.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteWriteConfig {
    /// For the label `remote_name` and the log.
    pub name: String,
    pub url: Url,
    pub profile: ProfileName,
    pub client: HttpClientConfig,
    /// The time between two times of sending metadata; `None`: never.
    pub metadata_interval: Option<Duration>,
    pub queue: QueueConfig,
}

/// What waits, and when it is sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueConfig {
    pub samples_max: usize,
    pub bytes_max: u64,
    pub backoff: Backoff,
    pub retry_on_429: bool,
}

const HOUR: Duration = Duration::from_secs(3600);

impl RemoteWriteConfig {
    const METADATA_INTERVAL: Duration = Duration::from_secs(60);

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let url = url(section, "http://prometheus:9090/api/v1/write");
        let name = section.optional_text("name");
        let profile = profile(section);
        let client = HttpClientConfig::read(section);
        let metadata_interval = section.section("metadata_config", |metadata| {
            let send = metadata.bool("send", true);
            let second = Duration::from_secs(1);
            let interval =
                metadata.duration("send_interval", Self::METADATA_INTERVAL, second..=24 * HOUR);
            send.then_some(interval)
        });
        let queue = section.section("queue_config", QueueConfig::read);
        let url = url?;
        let host = url.host_str().unwrap_or_default();
        let name = name.unwrap_or_else(|| host.to_owned());
        section.show("name", Shown::Text(name.clone()));
        Some(Self {
            name,
            url,
            profile,
            client,
            metadata_interval,
            queue,
        })
    }
}

impl QueueConfig {
    fn read(section: &mut Section<'_>) -> Self {
        let samples_max = section.whole("max_samples_per_send", 2_000, 1..=1_000_000);
        let tick = Duration::from_millis(1);
        let min = section.duration("min_backoff", Duration::from_millis(30), tick..=HOUR);
        let max = section.duration("max_backoff", Duration::from_secs(5), tick..=HOUR);
        let backoff = Backoff::new(min, max).unwrap_or_else(|| {
            section.problem(
                "max_backoff",
                "is shorter than `min_backoff`; at least as long would do",
            );
            Backoff::new(max, min).expect("the other way round they are in order")
        });
        Self {
            samples_max: usize::try_from(samples_max).unwrap_or(usize::MAX),
            backoff,
            retry_on_429: section.bool("retry_on_http_429", true),
            bytes_max: section.bytes("max_bytes", 128 << 20),
        }
    }
}
