//! The poller's connection to Redis.

use std::pin::Pin;

use redis::RedisResult;
use redis::Value;
use redis::aio::{ConnectionLike, MultiplexedConnection};

use super::bindings::Bindings;
use super::connect::{self, Server};
use super::unacked::Unacked;
use super::{control, sentinel};
use crate::broker::error::LinkError;
use crate::config::{RedisAddress, RedisConfig};

/// The future that drives a connection. It ends with the connection and returns the reason.
pub(in crate::broker) type Driver = Pin<Box<dyn Future<Output = LinkError> + Send>>;

/// A connection for queries, and the state kept between rounds.
#[derive(Debug)]
pub(in crate::broker) struct Poll {
    pub(super) config: RedisConfig,
    pub(super) server: Server,
    pub(super) connection: MultiplexedConnection,
    /// The list to which workers push replies, without the key prefix.
    pub(super) replies: String,
    pub(super) bindings: Bindings,
    pub(super) unacked: Unacked,
}

impl Poll {
    /// Connects. The driver must be polled from then on.
    pub(in crate::broker) async fn connect(
        config: &RedisConfig,
    ) -> Result<(Self, Driver), LinkError> {
        Self::connect_to(config, config.database).await
    }

    /// Connects to a given database.
    pub(super) async fn connect_to(
        config: &RedisConfig,
        database: i64,
    ) -> Result<(Self, Driver), LinkError> {
        let server = connect::server(config).await?;
        let (connection, driver) = connect::commands(config, &server, database).await?;
        let poll = Self {
            config: config.clone(),
            server,
            connection,
            replies: control::replies_key(fastrand::u64(..)),
            bindings: Bindings::default(),
            unacked: Unacked::default(),
        };
        Ok((poll, driver))
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

    /// Deletes our keys on the server and closes the connection.
    pub(in crate::broker) async fn leave(mut self) {
        let key = self.key(&self.replies);
        // An error cannot be handled here.
        let _: RedisResult<()> = redis::cmd("DEL")
            .arg(key)
            .query_async(&mut self.connection)
            .await;
    }
}
