//! A connection for commands.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{RedisResult, Value};

use super::connect::{self, Driver, Server};
use super::sentinel;
use crate::broker::error::LinkError;
use crate::config::{RedisAddress, RedisConfig};

/// A connection to one database of a server.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) config: RedisConfig,
    pub(super) server: Server,
    pub(super) connection: MultiplexedConnection,
}

impl Client {
    /// Connects. The driver must be polled from then on.
    pub(super) async fn connect(
        config: &RedisConfig,
        database: i64,
    ) -> Result<(Self, Driver), LinkError> {
        let server = sentinel::server(config).await?;
        let (connection, driver) = connect::commands(config, &server, database).await?;
        let client = Self {
            config: config.clone(),
            server,
            connection,
        };
        Ok((client, driver))
    }

    /// Checks that the server is still the master, if that can change. A replica would answer with
    /// stale data.
    pub(super) async fn must_be_master(&mut self) -> Result<(), LinkError> {
        match self.config.address {
            RedisAddress::Sentinel(_) if !sentinel::is_master(&mut self.connection).await? => {
                Err(LinkError::NotMaster(self.server.to_string()))
            }
            RedisAddress::Sentinel(_) | RedisAddress::Tcp { .. } | RedisAddress::Socket(_) => {
                Ok(())
            }
        }
    }

    /// Adds the global key prefix to a key.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.config.global_keyprefix)
    }

    /// The answers to several commands, including errors.
    pub(super) async fn answers(
        &mut self,
        pipe: &redis::Pipeline,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        if pipe.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self
            .connection
            .req_packed_commands(pipe, 0, pipe.len())
            .await?;
        Ok(answers.into_iter().map(Value::extract_error).collect())
    }
}
