//! TLS for the HTTP listener. The certificate files may change while the daemon runs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{PEM_BYTES_MAX, TlsError};
use crate::config::ServerTlsConfig;
use crate::regular_file;

/// The server's TLS setup, and the file contents it was built from.
pub struct ServerTls {
    files: ServerTlsConfig,
    held: Held,
    settings: Arc<ServerConfig>,
}

/// Contents of the files.
#[derive(PartialEq, Eq)]
struct Held {
    certificates: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
}

impl ServerTls {
    /// Reads the files.
    pub fn load(files: &ServerTlsConfig) -> Result<Self, TlsError> {
        let held = Held::read(files)?;
        let settings = Arc::new(held.settings(files)?);
        Ok(Self {
            files: files.clone(),
            held,
            settings,
        })
    }

    /// Reads the files again; `None` if their contents are unchanged. Compares contents, because
    /// secret volumes are updated through symbolic links and their modification times are not
    /// reliable.
    pub fn changed(&self) -> Result<Option<Self>, TlsError> {
        if Held::read(&self.files)? == self.held {
            return Ok(None);
        }
        Self::load(&self.files).map(Some)
    }

    pub fn settings(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.settings)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never print the key.
        f.debug_struct("ServerTls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Held {
    fn read(files: &ServerTlsConfig) -> Result<Self, TlsError> {
        let client_ca_file = files.client_ca_file.as_deref();
        Ok(Self {
            certificates: read(&files.cert_file, TlsError::Certificates)?,
            key: read(&files.key_file, TlsError::Key)?,
            client_authorities: client_ca_file
                .map(|path| read(path, TlsError::Certificates))
                .transpose()?,
        })
    }

    fn settings(&self, files: &ServerTlsConfig) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Identity)?;
        let builder = match (&self.client_authorities, &files.client_ca_file) {
            (Some(authorities), Some(path)) => {
                let wrong = |what: String| TlsError::Certificates(path.display().to_string(), what);
                let mut roots = RootCertStore::empty();
                let (added, _) = roots.add_parsable_certificates(certificates(authorities, path)?);
                if added == 0 {
                    return Err(wrong("it contains no CA certificate".to_owned()));
                }
                let clients =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let clients = clients.build().map_err(|error| wrong(error.to_string()))?;
                builder.with_client_cert_verifier(clients)
            }
            _ => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            TlsError::Key(files.key_file.display().to_string(), error.to_string())
        })?;
        let mut settings = builder
            .with_single_cert(certificates(&self.certificates, &files.cert_file)?, key)
            .map_err(TlsError::Identity)?;
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(settings)
    }
}

fn read(path: &Path, wrong: fn(String, String) -> TlsError) -> Result<Vec<u8>, TlsError> {
    let read = regular_file::read(path, PEM_BYTES_MAX);
    read.map_err(|error| wrong(path.display().to_string(), error.to_string()))
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let wrong = |what: String| TlsError::Certificates(path.display().to_string(), what);
    let read = read.map_err(|error| wrong(error.to_string()))?;
    if read.is_empty() {
        return Err(wrong("it contains no certificate".to_owned()));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn write(folder: &Path) {
        let made = generate_simple_self_signed(["localhost".to_owned()]);
        let CertifiedKey { cert, signing_key } = made.expect("a certificate");
        std::fs::write(folder.join("server.pem"), cert.pem()).expect("a writable folder");
        std::fs::write(folder.join("server.key"), signing_key.serialize_pem())
            .expect("a writable folder");
    }

    fn files(folder: &Path) -> ServerTlsConfig {
        ServerTlsConfig {
            cert_file: folder.join("server.pem"),
            key_file: folder.join("server.key"),
            client_ca_file: None,
        }
    }

    #[test]
    fn new_files_are_taken_when_they_fit_together() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        write(folder.path());
        let first = ServerTls::load(&files(folder.path())).expect("TLS");
        assert!(first.changed().expect("readable").is_none());

        let key = std::fs::read(folder.path().join("server.key")).expect("a key");
        write(folder.path());
        let new_key = std::fs::read(folder.path().join("server.key")).expect("a key");
        std::fs::write(folder.path().join("server.key"), key).expect("a writable folder");
        assert!(first.changed().is_err(), "a certificate without its key");

        std::fs::write(folder.path().join("server.key"), new_key).expect("a writable folder");
        assert!(first.changed().expect("readable").is_some());
    }

    #[test]
    fn a_file_that_will_not_do_is_named() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        write(folder.path());
        std::fs::write(folder.path().join("empty"), "").expect("a writable folder");
        let good = files(folder.path());
        let empty: PathBuf = folder.path().join("empty");
        let cases = [
            ServerTlsConfig {
                cert_file: "/nowhere".into(),
                ..good.clone()
            },
            ServerTlsConfig {
                cert_file: empty.clone(),
                ..good.clone()
            },
            ServerTlsConfig {
                key_file: empty.clone(),
                ..good.clone()
            },
            ServerTlsConfig {
                client_ca_file: Some(empty),
                ..good
            },
        ];
        for files in cases {
            let error = ServerTls::load(&files).expect_err("no TLS").to_string();
            assert!(
                error.contains("/nowhere") || error.contains("/empty"),
                "{error}"
            );
        }
    }
}
