//! `remote_write`: receivers, with Prometheus' key names.

use std::time::Duration;

use url::Url;

use xxhash_rust::xxh3::xxh3_64;

use super::client::{HttpClientConfig, url};
use super::login::Authorization;
use super::profile::profile;
use super::relabel::relabel;
use super::section::Section;
use super::shown::Shown;
use super::url::without_credentials;
use crate::backoff::Backoff;
use crate::profile::ProfileName;
use crate::secret::Secret;
use crate::series::Relabel;
use crate::wire::Protocol;

/// Identifies a remote-write receiver by its index in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkId(usize);

impl SinkId {
    /// Returns the id of the receiver at `index` in the configuration.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Returns the receiver's index in everything that is kept by sink.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// A remote-write receiver.
#[derive(Clone, Debug)]
pub struct RemoteWriteConfig {
    /// Used in the label `remote_name` and the log.
    pub name: String,
    /// Whether the name is that of the URL's host, because none was set.
    pub(super) is_unnamed: bool,
    pub url: Url,
    pub profile: ProfileName,
    pub client: HttpClientConfig,
    pub message: Message,
    pub relabel: Relabel,
    pub send_exemplars: bool,
    pub send_native_histograms: bool,
    /// Whether classic histograms are sent alongside native ones.
    pub send_classic_histograms: bool,
    /// Whether 2.0 requests also contain start timestamps in the field from drafts of the
    /// specification.
    pub draft_created_timestamps: bool,
    /// The labels `cluster` and `__replica__`.
    pub replica: Option<ReplicaConfig>,
    /// Interval for sending metadata; `None`: never.
    pub metadata_interval: Option<Duration>,
    pub queue: QueueConfig,
}

/// The remote-write version to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// 2.0, or 1.0 if the receiver does not support it.
    Auto,
    V1,
    V2,
}

/// Identifies one of several redundant daemons, for receivers that deduplicate them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    pub cluster: String,
    pub replica: String,
}

/// Queue limits and retries.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueConfig {
    /// Maximum number of samples per request, if configured.
    pub samples_max: Option<usize>,
    /// Maximum number of concurrent requests: with one pending snapshot, and with several.
    pub shards_min: usize,
    pub shards_max: usize,
    /// Older samples are dropped.
    pub sample_age_limit: Option<Duration>,
    pub bytes_max: u64,
    pub backoff: Backoff,
    pub retry_on_429: bool,
}

const V1_MESSAGE: &str = Protocol::V1.message();
const V2_MESSAGE: &str = Protocol::V2.message();

const HOUR: Duration = Duration::from_secs(3600);

impl RemoteWriteConfig {
    const METADATA_INTERVAL: Duration = Duration::from_secs(60);

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let (url, login) = url(section, "http://prometheus:9090/api/v1/write");
        let name = section.optional_text("name");
        let profile = profile(section);
        let client = HttpClientConfig::read(section, login);
        let metadata_interval = section.section("metadata_config", |metadata| {
            let send = metadata.bool("send", true);
            let second = Duration::from_secs(1);
            let interval =
                metadata.duration("send_interval", Self::METADATA_INTERVAL, second..=24 * HOUR);
            // Accepted and ignored: these requests have as many entries as those of samples.
            metadata.ignored("max_samples_per_send");
            send.then_some(interval)
        });
        let message = section.word(
            "protobuf_message",
            "auto",
            &["auto", V1_MESSAGE, V2_MESSAGE],
        );
        let message = match message.as_str() {
            V1_MESSAGE => Message::V1,
            V2_MESSAGE => Message::V2,
            _ => Message::Auto,
        };
        let relabel = relabel(section, "write_relabel_configs");
        if section.bool("round_robin_dns", false) {
            section.problem(
                "round_robin_dns",
                "is not supported; remove it, and put a load balancer in front of the receivers",
            );
        }
        let send_exemplars = section.bool("send_exemplars", true);
        let send_native_histograms = section.bool("send_native_histograms", false);
        let send_classic_histograms = section.bool("send_classic_histograms", true);
        let draft_created_timestamps = section.bool("draft_created_timestamps", false);
        let replica = section.optional_section("replica", |replica| {
            let cluster = replica.needed_text("cluster", "the name of the cluster");
            let replica = replica.needed_text("replica", "${HOSTNAME}");
            Some(ReplicaConfig {
                cluster: cluster?,
                replica: replica?,
            })
        });
        let queue = section.section("queue_config", QueueConfig::read);
        let url = url?;
        let host = url.host_str().unwrap_or_default();
        let is_unnamed = name.is_none();
        let name = name.unwrap_or_else(|| host.to_owned());
        section.show("name", Shown::Text(name.clone()));
        Some(Self {
            name,
            is_unnamed,
            url,
            profile,
            client,
            message,
            relabel,
            send_exemplars,
            send_native_histograms,
            send_classic_histograms,
            draft_created_timestamps,
            replica: replica.flatten(),
            metadata_interval,
            queue,
        })
    }
}

impl RemoteWriteConfig {
    /// Tells this receiver from others at the same host: a hash of the URL, the tenant and the user
    /// name. Secrets are left out, because a changed name starts a new queue.
    pub(super) fn fingerprint(&self) -> String {
        const TENANTS: [&str; 2] = ["x-scope-orgid", "thanos-tenant"];
        let tenants = TENANTS.map(|name| self.client.headers.get(name));
        let tenants = tenants.map(|value| value.map(|value| value.as_bytes()));
        let user = match &self.client.authorization {
            Authorization::Basic {
                username: Secret::Inline(name),
                ..
            } => Some(name.as_str()),
            Authorization::Basic { .. }
            | Authorization::None
            | Authorization::Credentials { .. }
            | Authorization::OAuth2(_)
            | Authorization::SigV4(_) => None,
        };
        let identity = format!("{:?}", (self.shown_url(), tenants, user));
        format!("{:06x}", xxh3_64(identity.as_bytes()) & 0xff_ffff)
    }

    /// The URL without credentials.
    pub fn shown_url(&self) -> String {
        without_credentials(&self.url)
    }

    /// Labels of every series: the given external labels, plus those that identify the replica.
    pub fn external(&self, mut labels: Vec<(String, String)>) -> Vec<(String, String)> {
        if let Some(ReplicaConfig { cluster, replica }) = &self.replica {
            labels.retain(|(name, _)| name != "cluster");
            labels.push(("cluster".to_owned(), cluster.clone()));
            labels.push(("__replica__".to_owned(), replica.clone()));
        }
        labels
    }
}

impl QueueConfig {
    /// Returns the maximum number of samples per request.
    ///
    /// 2.0 repeats its symbols in each request, so larger requests take fewer bytes per sample. A
    /// receiver of plain 1.0 may refuse a whole request because of one series, and the others wait
    /// until it is found.
    pub fn samples_max(&self, protocol: Protocol) -> usize {
        self.samples_max.unwrap_or(match protocol {
            Protocol::V2 | Protocol::V1Zstd => 10_000,
            Protocol::V1 => 2_000,
        })
    }

    fn read(section: &mut Section<'_>) -> Self {
        let samples_max = section.optional_whole("max_samples_per_send", 1..=1_000_000);
        let tick = Duration::from_millis(1);
        let min = section.duration("min_backoff", Duration::from_millis(30), tick..=HOUR);
        let max = section.duration("max_backoff", Duration::from_secs(5), tick..=HOUR);
        let backoff = Backoff::new(min, max).unwrap_or_else(|| {
            section.problem(
                "max_backoff",
                "is shorter than `min_backoff`; make it at least as long",
            );
            Backoff::new(max, min).expect("the other way round they are in order")
        });
        let shards_min = section.whole("min_shards", 1, 1..=1_000);
        let shards_max = section.whole("max_shards", shards_min.max(10), 1..=1_000);
        // As in Prometheus, the upper limit wins.
        let shards_min = shards_min.min(shards_max);
        let sample_age_limit = section.duration(
            "sample_age_limit",
            Duration::ZERO,
            Duration::ZERO..=365 * 24 * HOUR,
        );
        // Accepted because a block of prometheus.yml may contain them, and ignored: a snapshot is
        // queued immediately and as a whole.
        section.ignored("capacity");
        section.ignored("batch_send_deadline");
        Self {
            samples_max: samples_max.and_then(|samples| usize::try_from(samples).ok()),
            shards_min: usize::try_from(shards_min).unwrap_or(usize::MAX),
            shards_max: usize::try_from(shards_max).unwrap_or(usize::MAX),
            sample_age_limit: (!sample_age_limit.is_zero()).then_some(sample_age_limit),
            backoff,
            retry_on_429: section.bool("retry_on_http_429", true),
            bytes_max: section.bytes("max_bytes", 128 << 20),
        }
    }
}
