//! TLS as a client.

use std::path::PathBuf;

use super::section::Section;

/// How a TLS connection is made. The files are read when a client is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Trusted in place of the system's store.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key that we show.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the other side's certificate must have, where it is not the host of the URL.
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
}

impl TlsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let ca_file = section.optional_text("ca_file").map(PathBuf::from);
        let cert_file = section.optional_text("cert_file").map(PathBuf::from);
        let key_file = section.optional_text("key_file").map(PathBuf::from);
        let identity = match (cert_file, key_file) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) => {
                section.problem("key_file", "is missing; `cert_file` needs its key");
                None
            }
            (None, Some(_)) => {
                section.problem("cert_file", "is missing; `key_file` needs its certificate");
                None
            }
            (None, None) => None,
        };
        Self {
            ca_file,
            identity,
            server_name: section.optional_text("server_name"),
            insecure_skip_verify: section.bool("insecure_skip_verify", false),
        }
    }
}
