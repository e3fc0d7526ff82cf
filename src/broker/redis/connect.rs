//! Opens connections to a Redis server, and classifies errors.

use std::fmt;
use std::io;
use std::path::PathBuf;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use tokio::net::UnixStream;

use super::bounded::Bounded;
use super::poll::Driver;
use super::sentinel;
use super::subscription::Subscription;
use crate::broker::error::LinkError;
use crate::broker::stream::{self, Stream};
use crate::config::{RedisAddress, RedisConfig, TlsConfig, host_and_port};
use crate::secret::Secret;

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

/// Finds the server: as configured, or as reported by the sentinels.
pub(super) async fn server(redis: &RedisConfig) -> Result<Server, LinkError> {
    Ok(match &redis.address {
        RedisAddress::Socket(path) => Server::Socket(path.clone()),
        RedisAddress::Tcp { host, port, .. } => Server::Tcp {
            host: host.clone(),
            port: *port,
        },
        RedisAddress::Sentinel(config) => {
            let server = sentinel::master(config).await?;
            // Right after a failover, the sentinels may still report the old master.
            let (mut connection, driver) = commands(redis, &server, 0).await?;
            tokio::select! {
                role = sentinel::is_master(&mut connection) => {
                    if !role? {
                        return Err(LinkError::NotMaster(server.to_string()));
                    }
                }
                error = driver => return Err(error),
            }
            server
        }
    })
}

/// A connection for subscriptions that accepts messages with bodies of up to `body_bytes_max`
/// bytes.
pub(super) async fn subscriber(
    redis: &RedisConfig,
    server: &Server,
    body_bytes_max: u64,
) -> Result<Subscription, LinkError> {
    let login = login(redis.username.as_ref(), redis.password.as_ref())?;
    let stream = stream(server, tls_of(redis)).await?;
    Subscription::open(&login, stream, body_bytes_max).await
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

fn tls_of(redis: &RedisConfig) -> Option<&TlsConfig> {
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

pub(super) const fn failed(doing: &'static str, error: RedisError) -> LinkError {
    LinkError::Redis {
        doing,
        error,
        hint: String::new(),
    }
}

/// Whether the user lacks permission for a command.
pub(super) fn is_forbidden(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

/// Whether a command is unavailable: the user may not run it, or the server does not have it.
/// Proxies and managed servers leave some commands out, and `rename-command` hides them.
pub(super) fn is_unavailable(error: &RedisError) -> bool {
    is_forbidden(error) || error.code() == Some("ERR")
}

/// Adds the missing permission to an error, if a permission is missing.
pub(super) fn refused(doing: &'static str, error: RedisError, permission: &str) -> LinkError {
    let hint = if is_forbidden(&error) {
        format!("; the user needs {permission}")
    } else {
        String::new()
    };
    LinkError::Redis { doing, error, hint }
}
