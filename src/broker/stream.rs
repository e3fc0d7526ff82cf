//! The byte stream of a connection to a broker: TCP, with or without TLS.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::LinkError;
use crate::config::TlsConfig;
use crate::tls;

/// A connected socket, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Connects over TCP, and with TLS if it is configured.
pub(super) async fn connect(
    (host, port): (&str, u16),
    tls: Option<&TlsConfig>,
) -> Result<Box<dyn Stream>, LinkError> {
    let plain = TcpStream::connect((host, port)).await?;
    let _ = plain.set_nodelay(true);
    let Some(tls) = tls else {
        return Ok(Box::new(plain));
    };
    let connector = TlsConnector::from(Arc::new(tls::client_config(tls)?));
    let stream = connector.connect(tls::server_name(host)?, plain).await;
    Ok(Box::new(stream.map_err(|error| {
        if tls::is_plain(&error) {
            io::Error::new(error.kind(), tls::PLAIN)
        } else {
            error
        }
    })?))
}
