//! AWS Signature Version 4, for Amazon Managed Service for Prometheus.
//!
//! Specification: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>. The
//! signature is calculated by AWS' own crate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use http::HeaderName;

use super::{AuthError, Proof, ToSign, read, sensitive};
use crate::config::SigV4Config;
use crate::timestamp::Timestamp;

/// Name of the service in signatures.
const SERVICE: &str = "aps";

/// Signs requests with the configured region and credentials.
pub(in crate::sink) struct Signer {
    config: SigV4Config,
}

impl Signer {
    pub(in crate::sink) fn new(config: &SigV4Config) -> Self {
        Self {
            config: config.clone(),
        }
    }

    pub(in crate::sink) async fn prove(
        &self,
        to_sign: ToSign<'_>,
        now: Timestamp,
    ) -> Result<Proof, AuthError> {
        let secret_key = read(&self.config.secret_key).await?;
        let token = match &self.config.session_token {
            Some(token) => Some(read(token).await?),
            None => None,
        };
        let access_key = read(&self.config.access_key).await?;
        let identity = Credentials::new(access_key, secret_key.clone(), token, None, "celeriac");
        let identity = identity.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.config.region)
            .name(SERVICE)
            .time(system_time(now))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| AuthError::Signature(error.to_string()))?;
        let params = SigningParams::from(params);
        // Values that are not ASCII cannot be signed, and no service requires it.
        let headers = to_sign.headers.iter();
        let headers =
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signed = SignableRequest::new(
            to_sign.method.as_str(),
            to_sign.url.as_str(),
            headers,
            SignableBody::Bytes(to_sign.body),
        )
        .and_then(|request| sign(request, &params))
        .map_err(|error| AuthError::Signature(error.to_string()))?;
        let (instructions, _) = signed.into_parts();
        let (added, _) = instructions.into_parts();
        let mut proof = Proof {
            password: Some(secret_key),
            ..Proof::default()
        };
        for header in added {
            let mut value = sensitive(header.value().to_owned())?;
            value.set_sensitive(header.sensitive() || header.name() == "authorization");
            let name = HeaderName::from_static(header.name());
            proof.headers.insert(name, value);
        }
        Ok(proof)
    }
}

fn system_time(now: Timestamp) -> SystemTime {
    let micros = u64::try_from(now.micros()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_micros(micros)
}
