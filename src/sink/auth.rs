//! How a sink logs in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::config::{Authorization, Secret, SecretError};

/// The value of the `Authorization` header, with secrets as they are at this moment: a file is read again.
pub async fn header(authorization: &Authorization) -> Result<Option<HeaderValue>, AuthError> {
    let text = match authorization {
        Authorization::None => return Ok(None),
        Authorization::Basic { username, password } => {
            let password = match password {
                Some(secret) => read(secret).await?,
                None => String::new(),
            };
            format!(
                "Basic {}",
                STANDARD.encode(format!("{username}:{password}"))
            )
        }
        Authorization::Credentials {
            scheme,
            credentials,
        } => {
            format!("{scheme} {}", read(credentials).await?)
        }
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| AuthError::Header)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the credentials hold characters that no header may have")]
    Header,
}

async fn read(secret: &Secret) -> Result<String, SecretError> {
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
