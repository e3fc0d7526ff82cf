//! TLS configuration: a single client setup for brokers and receivers, and [one for
//! servers](server).
//!
//! The crypto provider (aws-lc-rs) is named here rather than installed for the process, so that no
//! library can select another one.

pub mod server;

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_platform_verifier::Verifier;

use crate::config::{TlsConfig, TlsVersion};
use crate::regular_file;
use crate::secret::Secret;

/// Maximum size of a certificate or key file. System bundles are a few hundred kilobytes.
const PEM_BYTES_MAX: usize = 4 << 20;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the certificates in {0}: {1}")]
    Certificates(String, String),
    #[error("cannot read the key in {0}: {1}")]
    Key(String, String),
    #[error("the certificate and key are invalid or do not match")]
    Identity(#[source] Error),
    #[error("cannot use the system's trusted certificates; set ca_file")]
    System(#[source] Error),
    #[error("`{0}` is not a valid server name")]
    Name(String, #[source] InvalidDnsNameError),
}

/// The message for an error for which [`is_plain`] returns true.
pub const PLAIN: &str =
    "the server does not speak TLS on this port; use its TLS port, or a URL without TLS";

/// Returns whether a handshake failed because the server's response was not TLS. rustls only
/// reports a corrupt message.
pub fn is_plain(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<Error>() {
        return matches!(error, Error::InvalidMessage(_));
    }
    let inner = error.downcast_ref::<std::io::Error>();
    let inner = inner.and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| is_plain(inner))
}

/// Builds the client configuration. Reads the files named in `config`.
pub fn client_config(config: &TlsConfig) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if config.insecure_skip_verify {
        Arc::new(Trusting(Arc::clone(&provider)))
    } else {
        let strict: Arc<dyn ServerCertVerifier> = match &config.ca {
            Some(ca) => private_verifier(ca, &provider)?,
            None => Arc::new(Verifier::new(Arc::clone(&provider)).map_err(TlsError::System)?),
        };
        match &config.server_name {
            Some(name) => Arc::new(Renaming {
                name: server_name(name)?,
                verifier: strict,
            }),
            None => strict,
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(config))
        .map_err(TlsError::Identity)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match &config.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let pem = read(key).map_err(|error| TlsError::Key(place(key), error))?;
            let key = PrivateKeyDer::from_pem_slice(&pem)
                .map_err(|error| TlsError::Key(place(key), error.to_string()))?;
            let certificates = certificates(certificate)?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(TlsError::Identity)
        }
    }
}

/// Parses a host as a TLS server name.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let name = ServerName::try_from(host.to_owned());
    name.map_err(|error| TlsError::Name(host.to_owned(), error))
}

fn private_verifier(
    ca: &Secret,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(ca)?);
    if added == 0 {
        let what = "it contains no CA certificate".to_owned();
        return Err(TlsError::Certificates(place(ca), what));
    }
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder
        .build()
        .map_err(|error| TlsError::Certificates(place(ca), error.to_string()))
}

fn certificates(pem: &Secret) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| TlsError::Certificates(place(pem), error);
    let text = read(pem).map_err(failed)?;
    let read = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>();
    read.map_err(|error| failed(error.to_string()))
}

fn read(pem: &Secret) -> Result<Vec<u8>, String> {
    match pem {
        Secret::Inline(text) => Ok(text.clone().into_bytes()),
        // Not read as text, because comments in these files can have any encoding.
        Secret::File(path) => {
            regular_file::read(path, PEM_BYTES_MAX).map_err(|error| error.to_string())
        }
    }
}

/// Describes where a certificate or key comes from, for error messages.
fn place(pem: &Secret) -> String {
    match pem {
        Secret::Inline(_) => "the configuration".to_owned(),
        Secret::File(path) => path.display().to_string(),
    }
}

fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let spoken = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
    let spoken = spoken.into_iter().filter(|(version, _)| {
        config.min_version.is_none_or(|min| *version >= min)
            && config.max_version.is_none_or(|max| *version <= max)
    });
    spoken.map(|(_, version)| version).collect()
}

/// Verifies the certificate against a configured name instead of the URL's host.
#[derive(Debug)]
struct Renaming {
    name: ServerName<'static>,
    verifier: Arc<dyn ServerCertVerifier>,
}

impl ServerCertVerifier for Renaming {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = &self.name;
        self.verifier
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Accepts every certificate (`insecure_skip_verify`). Still checks that the server holds its key.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
