//! OAuth 2 with client credentials: a client's secret to a token, and the token to a header.
//!
//! RFC 6749, 2.3.1, 4.4 and 5. Where it leaves a choice, as Go's `clientcredentials`, and so Prometheus, has it: the
//! client shows who it is by basic auth, and in the form to an endpoint that does not take that; a token is stale ten
//! seconds before its end. Unlike there, a receiver that answers 401 gets a new token before its end.

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
use crate::sink::response::{KEY_BYTES_MIN, beginning, chain, secrets_in_query, told};
use crate::sink::transport::{BuildError, Settings, Transport};

/// How much of an answer is read: tokens with many claims take some 10 KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How much of an error is told.
const ERROR_BYTES_MAX: usize = 512;

/// How long before its end a token is no longer used.
const STALE_BEFORE: Duration = Duration::from_secs(10);

/// Gets tokens, and keeps each as long as it is good.
pub(in crate::sink) struct TokenSource {
    config: OAuth2Config,
    transport: Transport,
    /// Held while the endpoint is asked, on purpose: whoever sends meanwhile waits for the same token.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// How the endpoint wants to know who we are, once it has given a token.
    style: Option<Style>,
    /// When a token was asked for in vain at last, and why.
    failed: Option<(Instant, String)>,
}

struct Token {
    header: HeaderValue,
    /// What it was got with: a rotated secret wants a new token.
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

    /// The value of `Authorization` for now.
    pub(in crate::sink) async fn header(&self) -> Result<HeaderValue, AuthError> {
        let secret = match &self.config.client_secret {
            Some(secret) => read(secret).await?,
            None => String::new(),
        };
        let came = clock::monotonic();
        let mut state = self.state.lock().await;
        let now = clock::monotonic();
        if let Some(token) = &state.token
            && token.secret == secret
            && token.stale.is_none_or(|stale| now < stale)
        {
            return Ok(token.header.clone());
        }
        // Asked again for each that waited, an endpoint that hangs would hold up the last for all their timeouts.
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

    /// Gives up a token, unless there is a newer one already.
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
            let secrets = self.never_told(&secret)?;
            let secrets = secrets.iter().map(String::as_str);
            let text = told(answer, ERROR_BYTES_MAX, secrets).await;
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

    /// RFC 6749, 2.3.1: encoded as in a form, before they are joined.
    fn basic(&self, secret: &str) -> String {
        let (id, secret) = (encoded(&self.config.client_id), encoded(secret));
        STANDARD.encode(format!("{id}:{secret}"))
    }

    /// What of a request some endpoints repeat in their errors.
    fn never_told(&self, secret: &str) -> Result<Vec<String>, AuthError> {
        let mut secrets = vec![self.basic(secret), secret.to_owned()];
        for (_, value) in &self.config.endpoint_params {
            let value = value.read()?;
            // Short ones are no secrets, and would make an error unreadable.
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

/// The header that a token makes, and how long it is good (RFC 6749, 5.1).
fn parse(body: &[u8]) -> Result<(HeaderValue, Option<Duration>), AuthError> {
    // What it holds instead is not told: it may be a token all the same.
    let answer: Value =
        serde_json::from_slice(body).map_err(|_| AuthError::TokenAnswer("is no JSON"))?;
    let token = answer.get("access_token").and_then(Value::as_str);
    let token = token
        .filter(|token| !token.is_empty())
        .ok_or(AuthError::TokenAnswer("has no access_token"))?;
    let scheme = match answer.get("token_type").and_then(Value::as_str) {
        None | Some("") => "Bearer",
        // The name is the same in any case, and some receivers are not as patient.
        Some(scheme) if scheme.eq_ignore_ascii_case("bearer") => "Bearer",
        Some(scheme) => scheme,
    };
    let lifetime = answer.get("expires_in");
    // A number, and with some endpoints a number in quotes. 0 is what some say for ever.
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
            ("hunter2", "is no JSON"),
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
