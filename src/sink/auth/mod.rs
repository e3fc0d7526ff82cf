//! How a sink logs in: a request to the headers that say who sends it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::transport::BuildError;
use crate::config::{Authorization, HttpClientConfig, Secret, SecretError};

mod oauth2;
#[cfg(feature = "sigv4")]
mod sigv4;

/// One way to log in, with what it has to remember.
pub(super) enum Login {
    None,
    Basic {
        username: Secret,
        password: Option<Secret>,
    },
    Credentials {
        scheme: String,
        credentials: Secret,
    },
    OAuth2(Box<oauth2::TokenSource>),
    #[cfg(feature = "sigv4")]
    SigV4(sigv4::Signer),
}

/// What is signed. Only signatures look at it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "sigv4"),
    expect(dead_code, reason = "only signatures read it")
)]
pub(super) struct ToSign<'r> {
    pub(super) method: &'r Method,
    pub(super) url: &'r Url,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r [u8],
}

/// What shows who we are.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) headers: HeaderMap,
    /// What must not be told, and does not stand in the headers as it is.
    pub(super) password: Option<String>,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the credentials contain characters that are not allowed in a header")]
    Header,
    #[error("the token endpoint returned HTTP {status}: {text}")]
    TokenRefused {
        status: http::StatusCode,
        text: String,
    },
    #[error("the token endpoint's answer {0}")]
    TokenAnswer(&'static str),
    #[error("no answer from the token endpoint: {0}")]
    TokenHttp(String),
    /// What another request met that wanted the same token at the same time.
    #[error("{0}")]
    TokenToo(String),
    #[error("cannot sign the request: {0}")]
    Signature(String),
}

impl Login {
    /// As configured; nobody is asked yet.
    pub(super) fn new(config: &HttpClientConfig) -> Result<Self, BuildError> {
        Ok(match &config.authorization {
            Authorization::None => Self::None,
            Authorization::Basic { username, password } => Self::Basic {
                username: username.clone(),
                password: password.clone(),
            },
            Authorization::Credentials {
                scheme,
                credentials,
            } => Self::Credentials {
                scheme: scheme.clone(),
                credentials: credentials.clone(),
            },
            Authorization::OAuth2(oauth2) => {
                let source = oauth2::TokenSource::new(oauth2, config)?;
                Self::OAuth2(Box::new(source))
            }
            #[cfg(feature = "sigv4")]
            Authorization::SigV4(sigv4) => Self::SigV4(sigv4::Signer::new(sigv4)),
            #[cfg(not(feature = "sigv4"))]
            Authorization::SigV4(_) => return Err(BuildError::NoSigV4),
        })
    }

    /// The proof for one request, with secrets as they are at this moment: a file is read again.
    pub(super) async fn prove(&self, to_sign: ToSign<'_>) -> Result<Proof, AuthError> {
        let (text, password) = match self {
            Self::None => return Ok(Proof::default()),
            Self::Basic { username, password } => {
                let username = read(username).await?;
                let password = match password {
                    Some(secret) => read(secret).await?,
                    None => String::new(),
                };
                let both = STANDARD.encode(format!("{username}:{password}"));
                (format!("Basic {both}"), Some(password))
            }
            Self::Credentials {
                scheme,
                credentials,
            } => {
                let credentials = read(credentials).await?;
                (format!("{scheme} {credentials}"), Some(credentials))
            }
            Self::OAuth2(source) => {
                return Ok(Proof {
                    headers: HeaderMap::from_iter([(AUTHORIZATION, source.header().await?)]),
                    password: None,
                });
            }
            #[cfg(feature = "sigv4")]
            Self::SigV4(signer) => return signer.prove(to_sign, crate::clock::now()).await,
        };
        #[cfg(not(feature = "sigv4"))]
        let _ = to_sign;
        Ok(Proof {
            headers: HeaderMap::from_iter([(AUTHORIZATION, sensitive(text)?)]),
            password,
        })
    }

    /// After a 401: gives up what it showed, and says whether it can show something newer.
    pub(super) async fn renew(&self, shown: Option<&HeaderValue>) -> bool {
        match (self, shown) {
            (Self::OAuth2(source), Some(shown)) => {
                source.forget(shown).await;
                true
            }
            (Self::OAuth2(_) | Self::None | Self::Basic { .. } | Self::Credentials { .. }, _) => {
                false
            }
            #[cfg(feature = "sigv4")]
            (Self::SigV4(_), _) => false,
        }
    }
}

/// A value of a header that no `Debug` shows.
pub(super) fn sensitive(text: String) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| AuthError::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A secret as it is now.
pub(super) async fn read(secret: &Secret) -> Result<String, SecretError> {
    match secret {
        Secret::Inline(_) => secret.read(),
        // A file may lie on a volume that takes its time.
        Secret::File(_) => {
            let secret = secret.clone();
            let read = tokio::task::spawn_blocking(move || secret.read());
            read.await.unwrap_or(Err(SecretError::Interrupted))
        }
    }
}
