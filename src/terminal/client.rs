//! Fetches the document of a daemon.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT, HeaderValue, LOCATION};
use serde::Deserialize;
use url::Url;

use crate::config::TlsConfig;
use crate::escape::printable;
use crate::secret::{Secret, SecretError};
use crate::status::document::{Status, VERSION};
use crate::status::query::Window;
use crate::tls;

/// Path of the document, below the URL of the daemon.
const PATH: &str = "/api/v1/status";

/// After this long, a daemon is as good as unreachable. It answers from memory.
const TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of the document. 10,000 tasks with histories have a quarter of this.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Where the daemon is, and how to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Without credentials.
    url: Url,
    credentials: Credentials,
    tls: TlsConfig,
}

/// A login of the listener. Files are read again for each request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    #[default]
    None,
    Basic {
        user: String,
        password: Secret,
    },
    Bearer(Secret),
}

/// Why a target is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("not a URL ({0}); expected one such as http://127.0.0.1:9808")]
    Url(url::ParseError),
    #[error("expected an http or https URL such as http://127.0.0.1:9808, found the scheme `{0}`")]
    Scheme(String),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("cannot create an HTTP client: {0}")]
    Http(String),
}

/// A connection to a daemon.
pub struct Client {
    http: reqwest::Client,
    target: Target,
}

/// A document.
#[derive(Debug)]
pub struct Fetched {
    /// As it was sent.
    pub body: Bytes,
    pub status: Status,
}

/// Why there is no document. The message names the URL, the cause, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the status of {url}: {problem}")]
pub struct FetchError {
    /// Without credentials.
    url: String,
    problem: Problem,
}

impl FetchError {
    /// The cause alone, without the URL and what to do.
    pub fn brief(&self) -> String {
        let text = self.problem.to_string();
        text.split("; ").next().unwrap_or_default().to_owned()
    }
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{0}; check that the daemon runs and that http.listen has this address, or set --url")]
    Unreachable(String),
    #[error(
        "{0}; set --ca-file to the authority's certificate, or --insecure-skip-verify to accept any"
    )]
    Certificate(String),
    #[error("{0}; check that it is celeriac's port, and use an https:// URL if it serves TLS")]
    Closed(String),
    #[error(
        "{PATH} does not exist (HTTP 404); the daemon is older than this command, has http.status: false, or the URL \
         is another program's"
    )]
    NotFound,
    #[error(
        "the login was refused (HTTP {0}); set --user and --password-file, or --bearer-token-file"
    )]
    Login(u16),
    #[error("it redirects to {0}; use that address with --url")]
    Redirect(String),
    #[error("HTTP {0}; try again, and check the daemon's log if it persists")]
    Refused(u16),
    #[error("the response is longer than {} MiB; check that the URL is celeriac's", BODY_BYTES_MAX >> 20)]
    Long,
    #[error(
        "the response is not a status document ({0}); check that the URL is celeriac's, and that the daemon and this \
         command are the same release"
    )]
    Invalid(String),
    #[error(
        "the document has version {0} and this command reads version {VERSION}; use the celeriac of the same release \
         as the daemon"
    )]
    Version(u64),
}

impl Problem {
    /// Why there is no response.
    fn of(error: reqwest::Error) -> Self {
        let connected = !error.is_connect() && !error.is_timeout();
        let cause = cause(error);
        if cause.starts_with("invalid peer certificate") {
            Self::Certificate(cause)
        } else if connected {
            Self::Closed(cause)
        } else {
            Self::Unreachable(cause)
        }
    }
}

impl Target {
    /// Parses the URL of a daemon. A login in the URL counts unless there is another one.
    pub fn new(url: &str, credentials: Credentials, tls: TlsConfig) -> Result<Self, TargetError> {
        let mut url = Url::parse(url).map_err(TargetError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme(url.scheme().to_owned()));
        }
        let in_url = match (url.username(), url.password()) {
            ("", None) => Credentials::None,
            (user, password) => Credentials::Basic {
                user: decoded(user),
                password: Secret::Inline(decoded(password.unwrap_or_default())),
            },
        };
        // Only refused for URLs that cannot have any.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self {
            url,
            credentials: match credentials {
                Credentials::None => in_url,
                other @ (Credentials::Basic { .. } | Credentials::Bearer(_)) => other,
            },
            tls,
        })
    }

    /// The URL, for messages.
    pub fn shown(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    fn document(&self, window: Window) -> Url {
        let mut url = self.url.clone();
        let below = url.path().trim_end_matches('/');
        url.set_path(&format!("{below}{PATH}"));
        url.set_query(Some(&format!("window={}", window.name())));
        url
    }
}

impl Client {
    /// Creates a client. Reads the trust store and certificates.
    pub fn new(target: Target) -> Result<Self, TargetError> {
        let mut tls = tls::client_config(&target.tls)?;
        tls.alpn_protocols.push(b"http/1.1".to_vec());
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .http1_only()
            // As for receivers, a proxy from the environment is not used.
            .no_proxy()
            // A login must not follow to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| TargetError::Http(cause(error)))?;
        Ok(Self { http, target })
    }

    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Fetches the document with rates over a window.
    pub async fn fetch(&self, window: Window) -> Result<Fetched, FetchError> {
        let fetched = self.try_fetch(window).await;
        fetched.map_err(|problem| FetchError {
            url: self.target.shown().to_owned(),
            problem,
        })
    }

    async fn try_fetch(&self, window: Window) -> Result<Fetched, Problem> {
        let url = self.target.document(window);
        let request = self.http.get(url.clone());
        let request = request.header(ACCEPT, HeaderValue::from_static("application/json"));
        let request = match &self.target.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => {
                request.basic_auth(user, Some(password.read()?))
            }
            Credentials::Bearer(token) => request.bearer_auth(token.read()?),
        };
        let answer = request.send().await;
        let mut answer = answer.map_err(Problem::of)?;
        check(&answer, &url)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(Problem::of)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(Problem::Long);
            }
            body.extend_from_slice(&chunk);
        }
        let body = Bytes::from(body);
        // A large document takes longer than a frame of the screen.
        let parsed = tokio::task::spawn_blocking({
            let body = body.clone();
            move || parse(&body)
        });
        let status = parsed.await;
        let status = status.map_err(|error| Problem::Invalid(error.to_string()))??;
        Ok(Fetched { body, status })
    }
}

/// Refuses everything but a success.
fn check(answer: &reqwest::Response, url: &Url) -> Result<(), Problem> {
    match answer.status() {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND => Err(Problem::NotFound),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(Problem::Login(status.as_u16()))
        }
        status if status.is_redirection() => {
            let location = answer.headers().get(LOCATION);
            let to = location.and_then(|to| to.to_str().ok());
            let to = to.and_then(|to| url.join(to).ok());
            Err(match to {
                Some(to) => {
                    let to = to
                        .as_str()
                        .split(PATH)
                        .next()
                        .unwrap_or_default()
                        .to_owned();
                    Problem::Redirect(printable(&to).into_owned())
                }
                None => Problem::Refused(status.as_u16()),
            })
        }
        status => Err(Problem::Refused(status.as_u16())),
    }
}

fn parse(body: &[u8]) -> Result<Status, Problem> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let invalid =
        |error: serde_json::Error| Problem::Invalid(printable(&error.to_string()).into_owned());
    let Versioned { version } = serde_json::from_slice(body).map_err(invalid)?;
    if version != u64::from(VERSION) {
        return Err(Problem::Version(version));
    }
    serde_json::from_slice(body).map_err(invalid)
}

/// Decodes the percent escapes of a user or password.
fn decoded(text: &str) -> String {
    // A form would also decode these.
    let form = text
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    let mut pairs = url::form_urlencoded::parse(form.as_bytes());
    pairs
        .next()
        .map_or_else(String::new, |(text, _)| text.into_owned())
}

/// The last cause of an error, which says most; without the URL.
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no response in time".to_owned();
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if tls::is_plain(cause) {
            return "it does not serve TLS; use an http:// URL".to_owned();
        }
        text = cause.to_string();
        source = cause.source();
    }
    printable(&text).into_owned()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        f.debug_struct("Client")
            .field("target", target)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, credentials: Credentials) -> Target {
        Target::new(url, credentials, TlsConfig::default()).expect("a target")
    }

    #[test]
    fn the_document_is_below_the_url() {
        for (url, expected) in [
            ("http://h:9808", "http://h:9808/api/v1/status?window=1h"),
            ("http://h:9808/", "http://h:9808/api/v1/status?window=1h"),
            (
                "https://h/celeriac/?x#y",
                "https://h/celeriac/api/v1/status?window=1h",
            ),
        ] {
            let found = target(url, Credentials::None).document(Window::OneHour);
            assert_eq!(found.as_str(), expected);
        }
    }

    #[test]
    fn a_login_in_the_url_is_decoded_and_never_shown() {
        let in_url = target("http://a%2Bb:p%26+=%25@h", Credentials::None);
        let expected = Credentials::Basic {
            user: "a+b".to_owned(),
            password: Secret::Inline("p&+=%".to_owned()),
        };
        assert_eq!(in_url.credentials, expected);
        assert_eq!(in_url.shown(), "http://h");
        assert!(!format!("{in_url:?}").contains("p&"), "{in_url:?}");
        let token = Credentials::Bearer(Secret::Inline("t".to_owned()));
        assert_eq!(target("http://a:b@h", token.clone()).credentials, token);
    }

    #[test]
    fn other_documents_are_refused_with_the_reason() {
        for (body, expected) in [
            ("{\"version\": 2, \"queues\": {}}", "version 2"),
            (
                "{\"version\": 18446744073709551615}",
                "version 18446744073709551615",
            ),
            ("{\"version\": 1", "not a status document"),
            ("<html>\u{1b}[2J", "not a status document"),
            ("{\"version\": 1}", "missing field"),
            ("{}", "missing field `version`"),
            ("null", "not a status document"),
        ] {
            let error = parse(body.as_bytes()).expect_err(body).to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
