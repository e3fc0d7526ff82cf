//! Proxy settings, with Prometheus' key names.

use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::section::Section;
use super::shown::Shown;
use super::url::{UrlLogin, parse_http_with_login, without_credentials};

/// How to connect to a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyConfig {
    /// Directly, regardless of the environment.
    #[default]
    Direct,
    /// According to `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
    Environment,
    Server(Box<ProxyServer>),
}

/// A proxy from the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyServer {
    /// Without the login.
    pub url: Url,
    pub login: Option<UrlLogin>,
    /// Comma-separated hosts, domains and networks to connect to without the proxy.
    pub no_proxy: String,
    /// Headers of the CONNECT request, with which a tunnel for https is opened.
    pub connect_headers: HeaderMap,
}

impl ProxyConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let given = section.has("proxy_url");
        let text = section.optional_text("proxy_url");
        let server = text.and_then(|text| {
            let parsed = parse_http_with_login(&text, "http://proxy:3128");
            let shown = match &parsed {
                Ok((url, _)) => Shown::Text(without_credentials(url)),
                Err(_) => Shown::Null,
            };
            section.show("proxy_url", shown);
            if let Err(what) = &parsed {
                section.problem("proxy_url", what);
            }
            parsed.ok()
        });
        let no_proxy = section.optional_text("no_proxy");
        let from_environment = section.bool("proxy_from_environment", false);
        if from_environment && given {
            section.problem(
                "proxy_from_environment",
                "either this or `proxy_url`, not both",
            );
        }
        if no_proxy.is_some() && !given {
            section.problem(
                "no_proxy",
                "has no effect without `proxy_url`; with `proxy_from_environment`, set NO_PROXY",
            );
        }
        let connect_headers = connect_headers(section);
        if !connect_headers.is_empty() && !given {
            section.problem(
                "proxy_connect_header",
                "has no effect without `proxy_url`; set that instead of `proxy_from_environment`",
            );
        }
        match server {
            Some((url, login)) => Self::Server(Box::new(ProxyServer {
                url,
                login,
                no_proxy: no_proxy.unwrap_or_default(),
                connect_headers,
            })),
            None if from_environment => Self::Environment,
            None => Self::Direct,
        }
    }
}

/// Reads a map of header names to lists of values, which are never shown.
fn connect_headers(section: &mut Section<'_>) -> HeaderMap {
    const KEY: &str = "proxy_connect_header";
    let mut headers = HeaderMap::new();
    for (name, values) in section.secret_lists(KEY) {
        for value in values {
            let header = HeaderName::try_from(&name).ok();
            match header.zip(HeaderValue::try_from(value).ok()) {
                Some((header, mut value)) => {
                    value.set_sensitive(true);
                    headers.append(header, value);
                }
                None => section.problem(KEY, format!("`{name}` is no valid header")),
            }
        }
    }
    headers
}
