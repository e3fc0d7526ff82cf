//! Why the daemon cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::sink::client::BuildError;
use crate::sink::queues;
use crate::tls::TlsError;

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}; is the port in use?")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot listen with TLS: {0}")]
    Tls(#[source] TlsError),
    #[error("cannot create an HTTP client for {name}: {source}")]
    Client { name: String, source: BuildError },
    #[error(transparent)]
    Queue(#[from] queues::QueuesError),
    #[error("cannot use data_dir {}: {source}", folder.display())]
    DataDir {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot install signal handlers: {0}")]
    Signals(#[source] std::io::Error),
}
