//! TLS settings of a client.

use std::path::PathBuf;

use super::section::Section;
use crate::secret::Secret;

/// TLS settings of a client. Files are read when the client is created; sinks reload them when they
/// change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Trusted authorities instead of the system's trust store.
    pub ca: Option<Secret>,
    /// Client certificate and key.
    pub identity: Option<(Secret, Secret)>,
    /// Name that the server's certificate must contain, if it is not the host of the URL.
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    /// `None`: the lowest version supported.
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

/// The versions that rustls supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsConfig {
    /// The files that the settings refer to.
    pub fn files(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        let files = self.ca.iter().chain(identity).filter_map(|pem| match pem {
            Secret::Inline(_) => None,
            Secret::File(path) => Some(path.clone()),
        });
        files.collect()
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let ca = section.secret("ca", "ca_file");
        let cert = section.secret("cert", "cert_file");
        let key = section.secret("key", "key_file");
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(cert), None) => {
                let (given, missing) = match cert {
                    Secret::Inline(_) => ("cert", "key"),
                    Secret::File(_) => ("cert_file", "key_file"),
                };
                section.problem(missing, format!("is missing; `{given}` requires its key"));
                None
            }
            (None, Some(key)) => {
                let (given, missing) = match key {
                    Secret::Inline(_) => ("key", "cert"),
                    Secret::File(_) => ("key_file", "cert_file"),
                };
                section.problem(
                    missing,
                    format!("is missing; `{given}` requires its certificate"),
                );
                None
            }
            (None, None) => None,
        };
        let server_name = section.optional_text("server_name");
        let insecure_skip_verify = section.bool("insecure_skip_verify", false);
        let min_version = version(section, "min_version");
        let max_version = version(section, "max_version");
        if min_version.is_some() && max_version.is_some() && min_version > max_version {
            section.problem("max_version", "is lower than `min_version`");
        }
        Self {
            ca,
            identity,
            server_name,
            insecure_skip_verify,
            min_version,
            max_version,
        }
    }
}

fn version(section: &mut Section<'_>, key: &'static str) -> Option<TlsVersion> {
    let text = section.optional_text(key)?;
    match text.as_str() {
        "TLS12" => Some(TlsVersion::Tls12),
        "TLS13" => Some(TlsVersion::Tls13),
        "TLS10" | "TLS11" => {
            // RFC 8996.
            let why = "is insecure and not supported; use TLS12 or TLS13";
            section.problem(key, format!("{text} {why}"));
            None
        }
        _ => {
            section.problem(key, format!("expected TLS12 or TLS13, found `{text}`"));
            None
        }
    }
}
