//! `remote_write`: receivers, in Prometheus' own words.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::profile::profile;
use super::secret::Secret;
use super::section::Section;
use super::shown::Shown;
use super::tls::TlsConfig;
use super::url::{parse_http, without_credentials};
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

/// How a receiver is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpClientConfig {
    pub timeout: Duration,
    pub headers: HeaderMap,
    pub authorization: Authorization,
    pub tls: TlsConfig,
}

/// How a sink logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    None,
    Basic {
        username: String,
        password: Option<Secret>,
    },
    Credentials {
        scheme: String,
        credentials: Secret,
    },
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

/// What a request says about itself: a user's header cannot.
const RESERVED_HEADERS: [&str; 17] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "x-prometheus-remote-write-version",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "retry-attempt",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

impl RemoteWriteConfig {
    const TIMEOUT: Duration = Duration::from_secs(30);
    const METADATA_INTERVAL: Duration = Duration::from_secs(60);

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let url = url(section);
        let name = section.optional_text("name");
        let profile = profile(section);
        let timeout = section.duration(
            "remote_timeout",
            Self::TIMEOUT,
            Duration::from_millis(1)..=HOUR,
        );
        let headers = headers(section);
        let authorization = authorization(section);
        let tls = section.section("tls_config", TlsConfig::read);
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
        let client = HttpClientConfig {
            timeout,
            headers,
            authorization,
            tls,
        };
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

fn url(section: &mut Section<'_>) -> Option<Url> {
    let text = section.needed_text("url", "http://prometheus:9090/api/v1/write")?;
    match parse_http(&text) {
        Ok(url) => {
            section.show("url", Shown::Text(without_credentials(&url)));
            Some(url)
        }
        Err(what) => {
            section.show("url", Shown::Null);
            section.problem("url", what);
            None
        }
    }
}

fn headers(section: &mut Section<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut shown = Vec::new();
    for (name, value) in section.text_map("headers") {
        let key = format!("headers.{name}");
        let parsed = (HeaderName::try_from(&name), HeaderValue::try_from(&value));
        match parsed {
            (Ok(header), Ok(_)) if RESERVED_HEADERS.contains(&header.as_str()) => {
                let hint = if header == "authorization" {
                    "; use `basic_auth` or `authorization`"
                } else {
                    ": leave it out"
                };
                section.problem(&key, format!("the request sets this header itself{hint}"));
            }
            (Ok(header), Ok(value)) => {
                headers.insert(header, value);
            }
            (Err(_), _) => section.problem(&key, "not the name of a header"),
            (_, Err(_)) => {
                section.problem(&key, "its value has characters that no header may have")
            }
        }
        // Some receivers take their key in a header.
        shown.push((name, Shown::Secret));
    }
    section.show("headers", Shown::Map(shown));
    headers
}

fn authorization(section: &mut Section<'_>) -> Authorization {
    let basic = section.optional_section("basic_auth", |basic| {
        let username = basic.text("username", "");
        let password = basic.secret("password", "password_file");
        Authorization::Basic { username, password }
    });
    let authorization = section.optional_section("authorization", |authorization| {
        let scheme = authorization.text("type", "Bearer");
        let credentials = authorization.secret("credentials", "credentials_file");
        if credentials.is_none() {
            authorization.problem("credentials", "is missing; this, or `credentials_file`");
        }
        credentials.map(|credentials| Authorization::Credentials {
            scheme,
            credentials,
        })
    });
    if basic.is_some() && authorization.is_some() {
        section.problem("authorization", "either this or `basic_auth`, not both");
    }
    basic
        .or(authorization.flatten())
        .unwrap_or(Authorization::None)
}
