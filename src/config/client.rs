//! HTTP client settings of a receiver, with Prometheus' key names.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::login::Authorization;
use super::proxy::ProxyConfig;
use super::section::Section;
use super::shown::Shown;
use super::tls::TlsConfig;
use super::url::{UrlLogin, parse_http_with_login, without_credentials};

/// HTTP client settings of a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpClientConfig {
    pub timeout: Duration,
    /// Headers of every request. All are marked as sensitive, because some receivers expect their
    /// API key in a header.
    pub headers: HeaderMap,
    /// Headers whose values come from files, which are read at each request.
    pub header_files: Vec<(HeaderName, PathBuf)>,
    pub authorization: Authorization,
    pub tls: TlsConfig,
    pub proxy: ProxyConfig,
    pub follow_redirects: bool,
    /// Whether to use HTTP/2 if TLS negotiates it.
    pub enable_http2: bool,
}

/// Headers that celeriac sets itself; users cannot override them.
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

    /// Reads the keys that all HTTP sinks share, given the login from the sink's URL.
    pub(super) fn read(section: &mut Section<'_>, login: Option<UrlLogin>) -> Self {
        let timeout = section.duration(
            "remote_timeout",
            Self::TIMEOUT,
            Duration::from_millis(1)..=Duration::from_secs(3600),
        );
        let mut headers = headers(section);
        let header_files = http_headers(section, &mut headers);
        Self {
            timeout,
            headers,
            header_files,
            authorization: Authorization::read(section, login),
            tls: section.section("tls_config", TlsConfig::read),
            proxy: ProxyConfig::read(section),
            follow_redirects: section.bool("follow_redirects", true),
            enable_http2: section.bool("enable_http2", true),
        }
    }
}

/// Reads the `url` of a sink, and separates the login from it.
pub(super) fn url(section: &mut Section<'_>, such_as: &str) -> (Option<Url>, Option<UrlLogin>) {
    let Some(text) = section.needed_text("url", such_as) else {
        return (None, None);
    };
    match parse_http_with_login(&text, such_as) {
        Ok((url, login)) => {
            section.show("url", Shown::Text(without_credentials(&url)));
            (Some(url), login)
        }
        Err(what) => {
            section.show("url", Shown::Null);
            section.problem("url", what);
            (None, None)
        }
    }
}

fn headers(section: &mut Section<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut shown = Vec::new();
    for (name, value) in section.text_map("headers") {
        let key = format!("headers.{name}");
        if let Some(header) = header_name(section, &key, &name) {
            headers.extend(header_value(section, &key, &value).map(|value| (header, value)));
        }
        shown.push((name, Shown::Secret));
    }
    section.show("headers", Shown::Map(shown));
    headers
}

/// Reads `http_headers`, which can have several values each. Returns those in files and adds the
/// others to `headers`.
fn http_headers(section: &mut Section<'_>, headers: &mut HeaderMap) -> Vec<(HeaderName, PathBuf)> {
    let read = section.named_sections("http_headers", |section| {
        let mut texts = Vec::new();
        for key in ["values", "secrets"] {
            let some = section.texts(key, &[]);
            section.show(key, Shown::List(vec![Shown::Secret; some.len()]));
            texts.extend(some);
        }
        let files = section.texts("files", &[]);
        if texts.is_empty() && files.is_empty() {
            section.problem("", "is empty; set `values`, `secrets` or `files`");
        }
        (texts, files)
    });
    let mut in_files = Vec::new();
    for (name, (texts, files)) in read {
        let key = format!("http_headers.{name}");
        let Some(header) = header_name(section, &key, &name) else {
            continue;
        };
        if headers.contains_key(&header) {
            section.problem(&key, "is also in `headers`; remove one of the two");
        }
        for text in texts {
            if let Some(value) = header_value(section, &key, &text) {
                headers.append(header.clone(), value);
            }
        }
        let files = files.into_iter();
        in_files.extend(files.map(|path| (header.clone(), PathBuf::from(path))));
    }
    in_files
}

fn header_name(section: &mut Section<'_>, key: &str, name: &str) -> Option<HeaderName> {
    match HeaderName::try_from(name) {
        Ok(header) if RESERVED_HEADERS.contains(&header.as_str()) => {
            let hint = if header == "authorization" {
                "; use `basic_auth`, `authorization` or `oauth2`"
            } else {
                "; remove it"
            };
            section.problem(key, format!("celeriac sets this header itself{hint}"));
            None
        }
        Ok(header) => Some(header),
        Err(_) => {
            section.problem(key, "not a valid header name");
            None
        }
    }
}

fn header_value(section: &mut Section<'_>, key: &str, value: &str) -> Option<HeaderValue> {
    let Ok(mut value) = HeaderValue::try_from(value) else {
        section.problem(
            key,
            "the value contains characters that are not allowed in a header",
        );
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}
