//! The HTTP client of a sink: sends one request and returns one response.

use std::path::PathBuf;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use super::auth::{self, Login, ToSign};
use super::response::{chain, read_masked, secrets, secrets_in_query};
use super::transport::{Settings, Transport};
use crate::config::HttpClientConfig;
use crate::secret::Secret;

pub use super::transport::BuildError;

/// Maximum number of bytes to read from a response. A refusal may name many series.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Maximum number of redirects (307 or 308) to follow.
const REDIRECTS_MAX: usize = 10;

/// A client for one receiver.
pub struct Client {
    transport: Transport,
    login: Login,
    headers: HeaderMap,
    header_files: Vec<(HeaderName, PathBuf)>,
    follow_redirects: bool,
}

/// A request without credentials and user-defined headers, which the client adds.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    /// These override user-defined headers of the same name.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The receiver's response.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The beginning of the body; empty after a success.
    pub text: String,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Auth(#[from] auth::AuthError),
    #[error("no response: {0}")]
    Http(String),
    /// The connection failed, so nothing was sent.
    #[error("no response: {0}")]
    Unreachable(String),
}

impl Client {
    /// Creates a client. Reads the trust store and certificates.
    pub fn new(config: &HttpClientConfig) -> Result<Self, BuildError> {
        let transport = Transport::new(Settings {
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            timeout: config.timeout,
            http2: config.enable_http2,
        })?;
        Ok(Self {
            transport,
            login: Login::new(config)?,
            headers: config.headers.clone(),
            header_files: config.header_files.clone(),
            follow_redirects: config.follow_redirects,
        })
    }

    /// Sends a request, and sends it again if a new token may fix a 401.
    pub async fn send(&self, request: Request) -> Result<Answer, SendError> {
        let (answer, shown) = self.send_once(&request).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.login.renew(shown.as_ref()).await {
            return Ok(self.send_once(&request).await?.0);
        }
        Ok(answer)
    }

    /// Follows redirects. Also returns the credentials sent to the server that answered.
    async fn send_once(
        &self,
        request: &Request,
    ) -> Result<(Answer, Option<HeaderValue>), SendError> {
        let mut url = request.url.clone();
        let mut redirects = 0;
        loop {
            let (headers, password) = self.headers(request, &url).await?;
            let http = self.transport.client().await;
            let asked = http
                .request(request.method.clone(), url.clone())
                .headers(headers.clone())
                .body(request.body.clone());
            let answer = asked.send().await;
            let answer = answer.map_err(|error| {
                if error.is_connect() {
                    SendError::Unreachable(chain(error))
                } else {
                    SendError::Http(chain(error))
                }
            })?;
            if redirects < REDIRECTS_MAX
                && self.follow_redirects
                && let Some(next) = redirect(&answer, &url)
            {
                redirects += 1;
                url = next;
                continue;
            }
            let (status, answered) = (answer.status(), answer.headers().clone());
            // The body explains an error and is not needed after a success.
            let text = if status.is_success() {
                String::new()
            } else {
                let mut more = secrets_in_query(&request.url);
                more.extend(self.transport.proxy_secrets());
                more.extend(password);
                let more = more.iter().map(String::as_str);
                read_masked(answer, ANSWER_BYTES_MAX, secrets(&headers).chain(more)).await
            };
            let answer = Answer {
                status,
                headers: answered,
                text,
            };
            return Ok((answer, headers.get(AUTHORIZATION).cloned()));
        }
    }

    /// Returns all headers for a URL, and a password contained in them, if any.
    async fn headers(
        &self,
        request: &Request,
        url: &Url,
    ) -> Result<(HeaderMap, Option<String>), SendError> {
        // Never send credentials or user-defined headers to the target of a cross-origin redirect.
        let to_receiver = url.origin() == request.url.origin();
        let mut headers = HeaderMap::new();
        if to_receiver {
            headers.clone_from(&self.headers);
            for (name, path) in &self.header_files {
                let value = auth::read(&Secret::File(path.clone())).await;
                let value = value.map_err(auth::AuthError::Secret)?;
                headers.append(name, auth::sensitive(value)?);
            }
        }
        headers.insert(USER_AGENT, OUR_NAME);
        headers.extend(request.headers.clone());
        if !to_receiver {
            return Ok((headers, None));
        }
        let to_sign = ToSign {
            method: &request.method,
            url,
            headers: &headers,
            body: &request.body,
        };
        let proof = self.login.prove(to_sign).await?;
        headers.extend(proof.headers);
        Ok((headers, proof.password))
    }
}

const OUR_NAME: HeaderValue =
    HeaderValue::from_static(concat!("celeriac/", env!("CARGO_PKG_VERSION")));

/// Returns the target of a redirect that repeats the request. With 301, 302 or 303, the POST would
/// become a GET without a body, and its 200 would silently lose the samples.
fn redirect(answer: &reqwest::Response, from: &Url) -> Option<Url> {
    let repeats = matches!(
        answer.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    );
    let location = answer.headers().get(LOCATION).filter(|_| repeats)?;
    let mut to = from.join(location.to_str().ok()?).ok()?;
    if !matches!(to.scheme(), "http" | "https") {
        return None;
    }
    // Remove credentials that the redirect contains. Fails only for URLs that cannot have any.
    let _ = to.set_username("");
    let _ = to.set_password(None);
    Some(to)
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
