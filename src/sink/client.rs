//! The HTTP client of a sink: one request, one answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::auth;
use crate::config::{Authorization, HttpClientConfig};
use crate::tls;

/// How much of a receiver's answer is read: what Prometheus reads.
const ANSWER_BYTES_MAX: usize = 1024;

/// How often a 307 or 308 is followed.
const REDIRECTS_MAX: usize = 10;

/// A client for one receiver.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    headers: HeaderMap,
    authorization: Authorization,
}

/// What is asked: everything but the login and the user's headers, which the client adds.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    /// These win over the user's headers of the same name.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The beginning of the body, for the log.
    pub text: String,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Auth(#[from] auth::AuthError),
    #[error("no answer: {0}")]
    Http(String),
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("cannot make an HTTP client")]
    Http(#[source] reqwest::Error),
}

impl Client {
    /// A client as configured; its trust store and certificates are read now.
    pub fn new(config: &HttpClientConfig) -> Result<Self, BuildError> {
        let redirect = reqwest::redirect::Policy::custom(|attempt| {
            // 301, 302 and 303 would make the POST a GET without a body, and its 200 a loss that nobody sees.
            let repeats = matches!(
                attempt.status(),
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            );
            if repeats && attempt.previous().len() < REDIRECTS_MAX {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&config.tls)?)
            .timeout(config.timeout)
            .connect_timeout(config.timeout.min(Duration::from_secs(10)))
            .redirect(redirect)
            // Every try goes through our verdict and our counters.
            .retry(reqwest::retry::never())
            .build()
            .map_err(BuildError::Http)?;
        let headers = config.headers.clone();
        Ok(Self {
            http,
            headers,
            authorization: config.authorization.clone(),
        })
    }

    /// Sends one request.
    pub async fn send(&self, request: Request) -> Result<Answer, SendError> {
        let mut headers = self.headers.clone();
        headers.insert(USER_AGENT, OUR_NAME);
        headers.extend(request.headers);
        if let Some(value) = auth::header(&self.authorization).await? {
            headers.insert(AUTHORIZATION, value);
        }
        let request = self
            .http
            .request(request.method, request.url)
            .headers(headers)
            .body(request.body);
        let answer = request
            .send()
            .await
            .map_err(|error| SendError::Http(chain(error)))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        // The body of an answer is for the log, and of no use when all went well.
        let text = if status.is_success() {
            String::new()
        } else {
            beginning(answer).await
        };
        Ok(Answer {
            status,
            headers,
            text,
        })
    }
}

const OUR_NAME: HeaderValue =
    HeaderValue::from_static(concat!("celeriac/", env!("CARGO_PKG_VERSION")));

async fn beginning(mut answer: reqwest::Response) -> String {
    let mut text = Vec::new();
    while text.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        text.extend_from_slice(&chunk);
    }
    text.truncate(ANSWER_BYTES_MAX);
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// An error and its causes, without the URL, which may hold credentials.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
