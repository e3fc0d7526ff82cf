//! Authenticates requests: users with passwords, as in Prometheus' web configuration, or a bearer
//! token.
//!
//! bcrypt is deliberately slow, and scrapers log in every few seconds. Once verified, a user's
//! password is therefore remembered as an HMAC under a key that exists only in this process, and
//! accepted immediately. Any other password is hashed each time, on a separate thread, and
//! addresses take turns (`turns.rs`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::SystemRandom;
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, StatusCode};
use tracing::{debug, warn};

use super::activity::Phase;
use super::connections::Client;
use super::limits::Limits;
use super::turns::Turns;
use crate::config::{LoginConfig, PasswordHash};
use crate::secret::Secret;
use crate::telemetry::http::HttpLimit;

/// The accepted credentials.
#[derive(Debug)]
pub(super) struct Login {
    users: HashMap<String, User>,
    /// Hash to compare an unknown user's password with, so that it takes as long as for a known
    /// user.
    decoy: Option<PasswordHash>,
    token: Option<Secret>,
    /// Whether a missing token was already logged, so that clients cannot fill the log.
    complained: AtomicBool,
    /// Used to compare secrets in constant time.
    key: hmac::Key,
    turns: Turns,
    limits: Arc<Limits>,
}

#[derive(Debug)]
struct User {
    hash: PasswordHash,
    /// The correct password, once seen.
    known: OnceLock<hmac::Tag>,
}

/// The outcome of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Refused,
    /// Too many logins from the same address are being checked.
    TooMany,
}

/// The credentials of a client.
#[derive(Debug, PartialEq, Eq)]
enum Credentials {
    Basic { user: String, password: String },
    Bearer(String),
}

impl Login {
    /// Returns `None` if no login is required.
    pub(super) fn new(config: LoginConfig, limits: Arc<Limits>) -> Option<Self> {
        if config.users.is_empty() && config.bearer_token.is_none() {
            return None;
        }
        let decoy = config.users.first().map(|(_, hash)| hash.clone());
        let users = config.users.into_iter().map(|(name, hash)| {
            let known = OnceLock::new();
            (name, User { hash, known })
        });
        let key = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new());
        Some(Self {
            users: users.collect(),
            decoy,
            token: config.bearer_token,
            complained: AtomicBool::new(false),
            key: key.expect("the system has random numbers"),
            turns: Turns::new(),
            limits,
        })
    }

    async fn judge(&self, headers: &HeaderMap, client: &Client) -> Outcome {
        match Credentials::read(headers) {
            Some(Credentials::Basic { user, password }) => {
                self.judge_user(&user, password, client).await
            }
            Some(Credentials::Bearer(token)) => self.takes(&token).await.into(),
            None => Outcome::Refused,
        }
    }

    async fn judge_user(&self, name: &str, password: String, client: &Client) -> Outcome {
        let user = self.users.get(name);
        let known = user.and_then(|user| user.known.get());
        if known.is_some_and(|tag| self.is(&password, tag)) {
            return Outcome::Allowed;
        }
        let Some(hash) = user.map(|user| &user.hash).or(self.decoy.as_ref()).cloned() else {
            return Outcome::Refused;
        };
        let tag = hmac::sign(&self.key, password.as_bytes());
        client.activity.enter(Phase::LoggingIn);
        let turn = self.turns.wait(client.peer.ip()).await;
        client.activity.enter(Phase::Working);
        let Some(turn) = turn else {
            return Outcome::TooMany;
        };
        let hashing = move || {
            // Held until hashing has finished, even if the client has gone.
            let _turn = turn;
            bcrypt::verify(password, hash.as_str()).unwrap_or(false)
        };
        let right = tokio::task::spawn_blocking(hashing).await.unwrap_or(false);
        match user {
            Some(user) if right => {
                // Two requests may get here at once; both store the same value.
                let _ = user.known.set(tag);
                Outcome::Allowed
            }
            _ => Outcome::Refused,
        }
    }

    /// Returns whether a token matches the current content of the file.
    async fn takes(&self, token: &str) -> bool {
        let Some(secret) = self.token.clone() else {
            return false;
        };
        let read = tokio::task::spawn_blocking(move || secret.read()).await;
        match read {
            // An empty file must not accept an empty token.
            Ok(Ok(expected)) if expected.is_empty() => {
                if !self.complained.swap(true, Relaxed) {
                    warn!("bearer_token_file is empty; token logins are refused");
                }
                false
            }
            Ok(Ok(expected)) => {
                self.complained.store(false, Relaxed);
                self.is(token, &hmac::sign(&self.key, expected.as_bytes()))
            }
            Ok(Err(error)) => {
                if !self.complained.swap(true, Relaxed) {
                    warn!(%error, "reading bearer_token_file failed; token logins are refused");
                }
                false
            }
            Err(_) => false,
        }
    }

    fn is(&self, text: &str, tag: &hmac::Tag) -> bool {
        hmac::verify(&self.key, text.as_bytes(), tag.as_ref()).is_ok()
    }

    /// Returns the `WWW-Authenticate` challenges: one for each accepted method.
    fn challenges(&self) -> Vec<(HeaderName, &'static str)> {
        let basic =
            (!self.users.is_empty()).then_some("Basic realm=\"celeriac\", charset=\"UTF-8\"");
        let bearer = self.token.as_ref().map(|_| "Bearer realm=\"celeriac\"");
        let both = basic.into_iter().chain(bearer);
        both.map(|challenge| (WWW_AUTHENTICATE, challenge))
            .collect()
    }
}

impl From<bool> for Outcome {
    fn from(allowed: bool) -> Self {
        if allowed {
            Self::Allowed
        } else {
            Self::Refused
        }
    }
}

impl Credentials {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Self::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// Rejects requests without valid credentials, on every path, including those that do not exist.
pub(super) async fn require(
    State(login): State<Arc<Login>>,
    Extension(client): Extension<Client>,
    request: Request,
    next: Next,
) -> Response {
    match login.judge(request.headers(), &client).await {
        Outcome::Allowed => return next.run(request).await,
        Outcome::Refused => {}
        Outcome::TooMany => {
            login.limits.reached(HttpLimit::Logins);
            let why = "too many logins are being checked; try again later\n";
            let later = [(RETRY_AFTER, "1")];
            return (StatusCode::TOO_MANY_REQUESTS, later, why).into_response();
        }
    }
    debug!(path = request.uri().path(), "credentials missing or wrong");
    let mut answer = (StatusCode::UNAUTHORIZED, "login required\n").into_response();
    for (name, challenge) in login.challenges() {
        let challenge = http::HeaderValue::from_static(challenge);
        answer.headers_mut().append(name, challenge);
    }
    answer
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::activity::Activity;
    use super::*;

    /// The hash of "hunter2" at the lowest cost.
    fn hash() -> PasswordHash {
        let hash = bcrypt::hash("hunter2", 4).expect("a hash");
        PasswordHash::parse(&hash).expect("a hash")
    }

    fn login(config: LoginConfig) -> Option<Login> {
        Login::new(config, Arc::default())
    }

    async fn judge(login: &Login, headers: &HeaderMap) -> Outcome {
        let client = Client {
            peer: ([127, 0, 0, 1], 1).into(),
            activity: Arc::new(Activity::new(Phase::Working)),
        };
        login.judge(headers, &client).await
    }

    fn basic(login: &str) -> HeaderMap {
        authorization(&format!("Basic {}", STANDARD.encode(login)))
    }

    fn authorization(value: &str) -> HeaderMap {
        let value = HeaderValue::try_from(value).expect("a header");
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    #[tokio::test]
    async fn a_user_comes_in_with_the_right_password_the_first_time_and_later() {
        let users = vec![("prometheus".to_owned(), hash())];
        let login = login(LoginConfig {
            users,
            bearer_token: None,
        });
        let login = login.expect("a login is asked for");
        let cases = [
            ("prometheus:hunter3", false),
            ("prometheus:hunter2", true),
            ("prometheus:hunter2", true),
            ("prometheus:hunter3", false),
            ("prometheus:", false),
            ("nobody:hunter2", false),
            ("prometheus", false),
        ];
        for (credentials, allowed) in cases {
            let outcome = judge(&login, &basic(credentials)).await;
            assert_eq!(outcome, allowed.into(), "{credentials}");
        }
        for headers in [
            HeaderMap::new(),
            authorization("Basic ?"),
            authorization("Bearer hunter2"),
        ] {
            assert_eq!(judge(&login, &headers).await, Outcome::Refused);
        }
        assert!(login.users["prometheus"].known.get().is_some());
        assert_eq!(login.challenges().len(), 1);
    }

    #[tokio::test]
    async fn a_token_is_read_again_and_an_empty_file_lets_nobody_in() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let login = login(LoginConfig {
            users: Vec::new(),
            bearer_token: Some(Secret::File(file.path().to_owned())),
        });
        let login = login.expect("a login is asked for");
        let cases = [
            ("first\n", "Bearer first", true),
            ("first\n", "bearer first", true),
            ("second\n", "Bearer first", false),
            ("second\n", "Bearer secon", false),
            ("\n", "Bearer ", false),
            ("second", "Basic c2Vjb25kOnNlY29uZA==", false),
        ];
        for (held, shown, allowed) in cases {
            std::fs::write(file.path(), held).expect("a writable file");
            let outcome = judge(&login, &authorization(shown)).await;
            assert_eq!(outcome, allowed.into(), "{shown} for {held:?}");
        }
    }

    #[test]
    fn without_users_and_token_everybody_comes_in() {
        assert!(login(LoginConfig::default()).is_none());
    }
}
