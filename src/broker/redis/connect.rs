//! Opens connections to a Redis server.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::net::UnixStream;

use super::bounded::Bounded;
use super::error::{failed, refused};
use crate::broker::error::LinkError;
use crate::broker::stream::{self, Stream};
use crate::config::{RedisAddress, RedisConfig, Secret, TlsConfig, host_and_port};

/// The future that drives a connection. It ends with the connection and returns the reason.
pub(in crate::broker) type Driver = Pin<Box<dyn Future<Output = LinkError> + Send>>;

/// The location of a server, once known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Tcp { host: String, port: u16 },
    Socket(PathBuf),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => f.write_str(&host_and_port(host, *port)),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A connection for commands, and the driver that must be polled along with it.
pub(super) async fn commands(
    redis: &RedisConfig,
    server: &Server,
    database: i64,
) -> Result<(MultiplexedConnection, Driver), LinkError> {
    let login = login(redis.username.as_ref(), redis.password.as_ref())?;
    let stream = stream(server, tls_of(redis)).await?;
    open(&login.set_db(database), stream).await
}

/// Logs in on a connection for commands.
pub(super) async fn open(
    login: &RedisConnectionInfo,
    stream: Box<dyn Stream>,
) -> Result<(MultiplexedConnection, Driver), LinkError> {
    // Rounds have deadlines of their own, and a blocking pop may wait longer than the library's
    // default timeout.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let bounded = Bounded::new(stream);
    let unfit = bounded.unfit();
    let opened = MultiplexedConnection::new_with_config(login, bounded, config).await;
    let (connection, driver) =
        opened.map_err(|error| refused("log in", error, "the command select"))?;
    let driver = async move {
        driver.await;
        match unfit.get() {
            Some(unfit) => failed("read", io::Error::from(*unfit).into()),
            None => LinkError::Closed,
        }
    };
    Ok((connection, Box::pin(driver)))
}

pub(super) fn login(
    username: Option<&String>,
    password: Option<&Secret>,
) -> Result<RedisConnectionInfo, LinkError> {
    let mut login =
        RedisConnectionInfo::default().set_lib_name("celeriac", env!("CARGO_PKG_VERSION"));
    if let Some(username) = username {
        login = login.set_username(username);
    }
    if let Some(password) = password {
        login = login.set_password(password.read()?);
    }
    Ok(login)
}

pub(super) fn tls_of(redis: &RedisConfig) -> Option<&TlsConfig> {
    match &redis.address {
        RedisAddress::Tcp { tls, .. } => tls.as_ref(),
        RedisAddress::Sentinel(sentinel) => sentinel.tls.as_ref(),
        RedisAddress::Socket(_) => None,
    }
}

pub(super) async fn stream(
    server: &Server,
    tls: Option<&TlsConfig>,
) -> Result<Box<dyn Stream>, LinkError> {
    match server {
        Server::Socket(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Server::Tcp { host, port } => stream::connect((host, *port), tls).await,
    }
}
