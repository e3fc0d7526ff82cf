//! Authentication of a sink: adds headers with credentials to a request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::transport::BuildError;
use crate::config::{Authorization, HttpClientConfig};
use crate::secret::{Secret, SecretError};

mod oauth2;
#[cfg(feature = "sigv4")]
mod sigv4;

/// An authentication method and its state.
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

/// The parts of a request that are signed. Only used for signatures.
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

/// Credentials for one request.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) headers: HeaderMap,
    /// A secret that does not appear verbatim in the headers and must be masked in messages.
    pub(super) password: Option<String>,
}

/// Why no credentials are available.
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
    #[error("the token endpoint's response {0}")]
    TokenAnswer(&'static str),
    #[error("no response from the token endpoint: {0}")]
    TokenHttp(String),
    /// A concurrent request for the same token failed with this error.
    #[error("{0}")]
    TokenToo(String),
    #[error("cannot sign the request: {0}")]
    Signature(String),
}

impl Login {
    /// Creates the configured method; makes no request yet.
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

    /// Returns the credentials for one request. Secrets in files are read again each time.
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

    /// Discards the credentials that were answered with 401, and returns whether newer ones are
    /// available.
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

/// Returns a header value that `Debug` does not print.
pub(super) fn sensitive(text: String) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| AuthError::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads the current value of a secret.
pub(super) async fn read(secret: &Secret) -> Result<String, SecretError> {
    match secret {
        Secret::Inline(_) => secret.read(),
        // The file may be on a slow volume.
        Secret::File(_) => {
            let secret = secret.clone();
            let read = tokio::task::spawn_blocking(move || secret.read());
            read.await.unwrap_or(Err(SecretError::Interrupted))
        }
    }
}
