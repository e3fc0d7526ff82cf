//! Asks the sentinels for the master before each connection, and repeatedly during it.
//!
//! Source: redis.io, "Guidelines for Redis clients with support for Redis Sentinel": ask the
//! sentinels in turn, connect, and verify the role, since a sentinel may learn of a failover late.

use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use super::connect::{self, Server};
use super::error::{failed, is_forbidden};
use crate::broker::error::LinkError;
use crate::config::{RedisAddress, RedisConfig, SentinelConfig};

/// How long to wait for one sentinel before trying the next.
const SENTINEL_TIMEOUT: Duration = Duration::from_secs(2);

/// Finds the server: as configured, or as reported by the sentinels.
pub(super) async fn server(redis: &RedisConfig) -> Result<Server, LinkError> {
    Ok(match &redis.address {
        RedisAddress::Socket(path) => Server::Socket(path.clone()),
        RedisAddress::Tcp { host, port, .. } => Server::Tcp {
            host: host.clone(),
            port: *port,
        },
        RedisAddress::Sentinel(config) => {
            let server = master(config).await?;
            // Right after a failover, the sentinels may still report the old master.
            let (mut connection, driver) = connect::commands(redis, &server, 0).await?;
            tokio::select! {
                role = is_master(&mut connection) => {
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

/// The location of the master, as reported by the first sentinel that knows it.
pub(super) async fn master(sentinel: &SentinelConfig) -> Result<Server, LinkError> {
    let mut hint = String::new();
    for (host, port) in &sentinel.servers {
        let server = Server::Tcp {
            host: host.clone(),
            port: *port,
        };
        match timeout(SENTINEL_TIMEOUT, ask(sentinel, &server)).await {
            Ok(Ok(Some(master))) => return Ok(master),
            Ok(Ok(None)) => hint = format!("; the one at {server} knows none of that name"),
            Ok(Err(error)) => hint = format!("; the one at {server}: {error}"),
            Err(_) => hint = format!("; the one at {server} is silent"),
        }
    }
    Err(LinkError::NoMaster {
        name: sentinel.master_name.clone(),
        hint,
    })
}

async fn ask(sentinel: &SentinelConfig, server: &Server) -> Result<Option<Server>, LinkError> {
    let login = connect::login(sentinel.username.as_ref(), sentinel.password.as_ref())?;
    let stream = connect::stream(server, sentinel.tls.as_ref()).await?;
    let (mut connection, driver) = connect::open(&login, stream).await?;
    let mut command = redis::cmd("SENTINEL");
    command
        .arg("get-master-addr-by-name")
        .arg(&sentinel.master_name);
    tokio::select! {
        answer = command.query_async::<Option<(String, u16)>>(&mut connection) => {
            let address = answer.map_err(|error| failed("ask a sentinel", error))?;
            Ok(address.map(|(host, port)| Server::Tcp { host, port }))
        }
        error = driver => Err(error),
    }
}

/// Whether a server is a master. If the user may not ask for the role, the sentinels are trusted.
pub(super) async fn is_master(connection: &mut MultiplexedConnection) -> Result<bool, LinkError> {
    match redis::cmd("ROLE")
        .query_async::<Vec<Value>>(connection)
        .await
    {
        Ok(role) => Ok(match role.first() {
            Some(Value::BulkString(role)) => role == b"master",
            Some(_) | None => false,
        }),
        Err(error) if is_forbidden(&error) => Ok(true),
        Err(error) => Err(failed("ask for the role", error)),
    }
}
