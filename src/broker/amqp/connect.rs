//! One connection to a RabbitMQ server, and what its errors say.

use std::sync::Arc;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

pub(super) use super::reactor::Pace;
use super::reactor::{self, PacedRuntime};
use crate::broker::source::LinkError;
use crate::config::AmqpServer;
use crate::tls;

/// Seconds after which a peer that says nothing is taken for gone.
const HEARTBEAT_SECONDS: u16 = 10;

/// AMQP's reply codes for what is not there, what is not allowed, and what belongs to another connection.
pub(super) const NOT_FOUND: u16 = 404;
pub(super) const ACCESS_REFUSED: u16 = 403;
pub(super) const NOT_ALLOWED: u16 = 530;
pub(super) const RESOURCE_LOCKED: u16 = 405;

/// And for what is there in another way, for what the broker does not know, and for what it does not do.
pub(super) const PRECONDITION_FAILED: u16 = 406;
pub(super) const COMMAND_INVALID: u16 = 503;
pub(super) const NOT_IMPLEMENTED: u16 = 540;

/// What is done when there is no connection yet.
pub(super) const CONNECT: &str = "connect";

/// What TLS to a server needs.
type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// Connects to one server.
pub(super) async fn connect(server: &AmqpServer, pace: Pace) -> Result<Connection, LinkError> {
    let tls = tls_to(server)?;
    let uri = uri(server)?;
    let runtime = reactor::current(pace);
    let properties = ConnectionProperties::default().with_connection_name("celeriac".into());
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri: AMQPUri, runtime: PacedRuntime| open(uri, runtime, tls.clone()).await,
        properties,
    );
    connecting.await.map_err(|error| failed(CONNECT, error))
}

/// The stream to one server, on which nothing was said yet.
pub(super) async fn stream(
    server: &AmqpServer,
) -> Result<lapin::tcp::AsyncTcpStream<TcpStream>, LinkError> {
    let opening = open(
        uri(server)?,
        reactor::current(Pace::AtOnce),
        tls_to(server)?,
    );
    opening.await.map_err(|error| failed(CONNECT, error))
}

fn tls_to(server: &AmqpServer) -> Result<Option<Tls>, LinkError> {
    Ok(match &server.tls {
        None => None,
        Some(tls) => Some((
            Arc::new(tls::client_config(tls)?),
            tls::server_name(&server.host)?,
        )),
    })
}

fn uri(server: &AmqpServer) -> Result<AMQPUri, LinkError> {
    Ok(AMQPUri {
        scheme: if server.tls.is_some() {
            AMQPScheme::AMQPS
        } else {
            AMQPScheme::AMQP
        },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: server.username.clone(),
                password: server.password.read()?,
            },
            host: server.host.clone(),
            port: server.port,
        },
        vhost: server.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(HEARTBEAT_SECONDS),
            ..AMQPQueryString::default()
        },
    })
}

type TcpStream = <PacedRuntime as async_rs::traits::Reactor>::TcpStream;

/// The stream that the client library speaks AMQP over.
async fn open(
    uri: AMQPUri,
    runtime: PacedRuntime,
    tls: Option<Tls>,
) -> lapin::Result<lapin::tcp::AsyncTcpStream<TcpStream>> {
    use async_rs::traits::Reactor;

    let address = runtime.to_socket_addrs((uri.authority.host, uri.authority.port));
    let plain = runtime.tcp_connect(address).await?;
    Ok(match tls {
        None => lapin::tcp::AsyncTcpStream::Plain(plain),
        Some((config, name)) => {
            let connector = futures_rustls::TlsConnector::from(config);
            lapin::tcp::AsyncTcpStream::Rustls(connector.connect(name, plain).await?)
        }
    })
}

pub(super) async fn channel(connection: &Connection) -> Result<Channel, LinkError> {
    connection
        .create_channel()
        .await
        .map_err(|error| failed("open a channel", error))
}

pub(super) fn reply_code(error: &lapin::Error) -> Option<u16> {
    if let lapin::ErrorKind::ProtocolError(error) = error.kind() {
        Some(error.get_id())
    } else {
        None
    }
}

pub(super) fn failed(doing: &'static str, error: lapin::Error) -> LinkError {
    explained(doing, error, String::new())
}

/// An error with what to do about it.
pub(super) fn explained(doing: &'static str, error: lapin::Error, hint: String) -> LinkError {
    LinkError::Amqp {
        doing,
        error: Arc::new(error),
        hint,
    }
}

/// An error that names the permission that is missing, if that is what it is.
pub(super) fn refused(doing: &'static str, error: lapin::Error, permission: &str) -> LinkError {
    let missing = reply_code(&error) == Some(ACCESS_REFUSED);
    let hint = if missing {
        format!("; the user needs {permission}")
    } else {
        String::new()
    };
    explained(doing, error, hint)
}
