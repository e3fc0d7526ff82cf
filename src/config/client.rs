//! How a receiver is asked over HTTP, and how we log in there: in Prometheus' own words.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::secret::Secret;
use super::section::Section;
use super::shown::Shown;
use super::tls::TlsConfig;
use super::url::{parse_http, without_credentials};

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

impl HttpClientConfig {
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// The keys that every sink has which speaks HTTP.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let timeout = section.duration(
            "remote_timeout",
            Self::TIMEOUT,
            Duration::from_millis(1)..=Duration::from_secs(3600),
        );
        Self {
            timeout,
            headers: headers(section),
            authorization: authorization(section),
            tls: section.section("tls_config", TlsConfig::read),
        }
    }
}

/// The `url` of a sink.
pub(super) fn url(section: &mut Section<'_>, such_as: &str) -> Option<Url> {
    let text = section.needed_text("url", such_as)?;
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
