//! OAuth 2 client credentials: exchanges a client secret for a token, and puts the token in a
//! header.
//!
//! Implements RFC 6749, 2.3.1, 4.4 and 5. Where the RFC leaves a choice, this follows Go's
//! `clientcredentials`, and therefore Prometheus: the client authenticates with basic auth, or in
//! the form if the endpoint does not accept that, and a token expires ten seconds early. Unlike
//! there, a 401 from the receiver fetches a new token before the old one expires.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use tokio::sync::Mutex;
use url::form_urlencoded;

use super::{AuthError, read, sensitive};
use crate::clock;
use crate::config::{HttpClientConfig, OAuth2Config};
use crate::sink::response::{KEY_BYTES_MIN, beginning, chain, read_masked, secrets_in_query};
use crate::sink::transport::{BuildError, Settings, Transport};

/// Maximum size of a response. Tokens with many claims take some 10 KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Maximum length of an error text in messages.
const ERROR_BYTES_MAX: usize = 512;

/// How long before its expiry a token is no longer used.
const STALE_BEFORE: Duration = Duration::from_secs(10);

/// Fetches tokens and caches each until it expires.
pub(in crate::sink) struct TokenSource {
    config: OAuth2Config,
    transport: Transport,
    /// Deliberately held during a request to the endpoint, so that concurrent senders wait for the
    /// same token.
    state: Mutex<TokenState>,
}

#[derive(Default)]
struct TokenState {
    token: Option<Token>,
    /// How the endpoint expects the client to authenticate, known after the first token.
    style: Option<Style>,
    /// Time and reason of the last failed token request.
    failed: Option<(Instant, String)>,
}

struct Token {
    header: HeaderValue,
    /// The secret used to get the token: after a rotation, a new token is needed.
    secret: String,
    stale: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Basic,
    Form,
}

impl TokenSource {
    pub(in crate::sink) fn new(
        config: &OAuth2Config,
        client: &HttpClientConfig,
    ) -> Result<Self, BuildError> {
        let transport = Transport::new(Settings {
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            timeout: client.timeout,
            http2: client.enable_http2,
        })?;
        Ok(Self {
            config: config.clone(),
            transport,
            state: Mutex::default(),
        })
    }

    /// Returns the current value of `Authorization`.
    pub(in crate::sink) async fn header(&self) -> Result<HeaderValue, AuthError> {
        let came = clock::monotonic();
        let secret = match &self.config.client_secret {
            Some(secret) => read(secret).await?,
            None => String::new(),
        };
        let mut state = self.state.lock().await;
        let now = clock::monotonic();
        if let Some(token) = &state.token
            && token.secret == secret
            && token.stale.is_none_or(|stale| now < stale)
        {
            return Ok(token.header.clone());
        }
        // Don't repeat the request for each waiter: with a hanging endpoint, the last one would
        // wait for all of their timeouts.
        if let Some((at, why)) = &state.failed
            && *at >= came
        {
            return Err(AuthError::TokenToo(why.clone()));
        }
        let asked = self.ask(state.style, secret).await;
        if let Err(error) = &asked {
            state.failed = Some((clock::monotonic(), error.to_string()));
        }
        let (style, token) = asked?;
        state.style = Some(style);
        let header = token.header.clone();
        state.token = Some(token);
        Ok(header)
    }

    /// Discards a token, unless it has already been replaced.
    pub(in crate::sink) async fn forget(&self, shown: &HeaderValue) {
        let mut state = self.state.lock().await;
        if state
            .token
            .as_ref()
            .is_some_and(|token| token.header == shown)
        {
            state.token = None;
        }
    }

    async fn ask(&self, known: Option<Style>, secret: String) -> Result<(Style, Token), AuthError> {
        let style = known.unwrap_or(Style::Basic);
        let asked = self.ask_in(style, secret.clone()).await;
        let refused = matches!(
            asked,
            Err(AuthError::TokenRefused {
                status: StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED,
                ..
            })
        );
        if refused
            && known.is_none()
            && let Ok(token) = self.ask_in(Style::Form, secret).await
        {
            return Ok((Style::Form, token));
        }
        asked.map(|token| (style, token))
    }

    async fn ask_in(&self, style: Style, secret: String) -> Result<Token, AuthError> {
        let http = self.transport.client().await;
        let url = self.config.token_url.clone();
        let mut request = http
            .post(url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if style == Style::Basic {
            let both = sensitive(format!("Basic {}", self.basic(&secret)))?;
            request = request.header(AUTHORIZATION, both);
        }
        let asked = clock::monotonic();
        let answer = request.body(self.form(style, &secret)?).send().await;
        let answer = answer.map_err(|error| AuthError::TokenHttp(chain(error)))?;
        let status = answer.status();
        if !status.is_success() {
            let secrets = self.secrets_to_mask(&secret)?;
            let secrets = secrets.iter().map(String::as_str);
            let text = read_masked(answer, ERROR_BYTES_MAX, secrets).await;
            return Err(AuthError::TokenRefused { status, text });
        }
        let body = beginning(answer, ANSWER_BYTES_MAX).await;
        let (header, lifetime) = parse(&body)?;
        let good_for = lifetime.map(|lifetime| lifetime.saturating_sub(STALE_BEFORE));
        Ok(Token {
            header,
            secret,
            stale: good_for.and_then(|good_for| asked.checked_add(good_for)),
        })
    }

    /// RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
    fn basic(&self, secret: &str) -> String {
        let (id, secret) = (encoded(&self.config.client_id), encoded(secret));
        STANDARD.encode(format!("{id}:{secret}"))
    }

    /// Returns the secrets in a request that some endpoints repeat in their errors.
    fn secrets_to_mask(&self, secret: &str) -> Result<Vec<String>, AuthError> {
        let mut secrets = vec![self.basic(secret), secret.to_owned()];
        for (_, value) in &self.config.endpoint_params {
            let value = value.read()?;
            // Short values are not secrets, and masking them would make errors unreadable.
            secrets.extend((value.len() >= KEY_BYTES_MIN).then_some(value));
        }
        secrets.extend(secrets_in_query(&self.config.token_url));
        secrets.extend(self.transport.proxy_secrets());
        Ok(secrets)
    }

    fn form(&self, style: Style, secret: &str) -> Result<String, AuthError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.config.scopes.is_empty() {
            form.append_pair("scope", &self.config.scopes.join(" "));
        }
        if style == Style::Form {
            form.append_pair("client_id", &self.config.client_id);
            if !secret.is_empty() {
                form.append_pair("client_secret", secret);
            }
        }
        for (name, value) in &self.config.endpoint_params {
            form.append_pair(name, &value.read()?);
        }
        Ok(form.finish())
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Returns the header for a token, and the token's lifetime (RFC 6749, 5.1).
fn parse(body: &[u8]) -> Result<(HeaderValue, Option<Duration>), AuthError> {
    // The body is not quoted in the error, because it may still be a token.
    let answer: Value =
        serde_json::from_slice(body).map_err(|_| AuthError::TokenAnswer("is not JSON"))?;
    let token = answer.get("access_token").and_then(Value::as_str);
    let token = token
        .filter(|token| !token.is_empty())
        .ok_or(AuthError::TokenAnswer("has no access_token"))?;
    let scheme = match answer.get("token_type").and_then(Value::as_str) {
        None | Some("") => "Bearer",
        // The scheme is case-insensitive, but some receivers are strict.
        Some(scheme) if scheme.eq_ignore_ascii_case("bearer") => "Bearer",
        Some(scheme) => scheme,
    };
    let lifetime = answer.get("expires_in");
    // Usually a number; some endpoints send a quoted number. Some use 0 for "never expires".
    let seconds = lifetime
        .and_then(|seconds| seconds.as_f64().or_else(|| seconds.as_str()?.parse().ok()))
        .filter(|seconds| *seconds > 0.0);
    let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok((sensitive(format!("{scheme} {token}"))?, lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_token_endpoints_are_read_as_leniently_as_go_reads_them() {
        let cases = [
            (r#"{"access_token": "abc"}"#, "Bearer abc", None),
            (
                r#"{"access_token": "abc", "token_type": "bearer", "expires_in": 3600}"#,
                "Bearer abc",
                Some(3600),
            ),
            (
                r#"{"access_token": "abc", "token_type": "MAC", "expires_in": "60"}"#,
                "MAC abc",
                Some(60),
            ),
            (
                r#"{"access_token": "abc", "expires_in": 0}"#,
                "Bearer abc",
                None,
            ),
            (
                r#"{"access_token": "abc", "expires_in": "soon"}"#,
                "Bearer abc",
                None,
            ),
        ];
        for (body, header, seconds) in cases {
            let (value, lifetime) = parse(body.as_bytes()).expect(body);
            assert_eq!(value, header, "{body}");
            assert!(value.is_sensitive());
            assert_eq!(lifetime, seconds.map(Duration::from_secs), "{body}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_telling_what_it_is() {
        for (body, why) in [
            ("hunter2", "is not JSON"),
            (r#"{"token": "hunter2"}"#, "has no access_token"),
            (r#"{"access_token": ""}"#, "has no access_token"),
            (r#"{"access_token": ["hunter2"]}"#, "has no access_token"),
            (r#"{"access_token": "hunter2\n"}"#, "in a header"),
        ] {
            let error = parse(body.as_bytes()).expect_err(body).to_string();
            assert!(error.contains(why), "{body}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
