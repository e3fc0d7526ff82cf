//! The poller's connection to Redis.

use std::pin::Pin;

use redis::RedisResult;
use redis::Value;
use redis::aio::{ConnectionLike, MultiplexedConnection};

use super::bindings::Bindings;
use super::connect::{self, Server};
use super::unacked::Unacked;
use super::{control, sentinel};
use crate::broker::source::LinkError;
use crate::config::{RedisAddress, RedisConfig};

/// What has to be polled beside a connection; it ends with it, and says why.
pub(in crate::broker) type Driver = Pin<Box<dyn Future<Output = LinkError> + Send>>;

/// A connection for questions, and what is kept from one round to the next.
#[derive(Debug)]
pub(in crate::broker) struct Poll {
    pub(super) config: RedisConfig,
    pub(super) server: Server,
    pub(super) connection: MultiplexedConnection,
    /// The list that workers push their replies to, the key prefix included in neither.
    pub(super) replies: String,
    pub(super) bindings: Bindings,
    pub(super) unacked: Unacked,
}

impl Poll {
    /// Connects; the driver has to be polled from then on.
    pub(in crate::broker) async fn connect(
        config: &RedisConfig,
    ) -> Result<(Self, Driver), LinkError> {
        Self::connect_to(config, config.database).await
    }

    /// The same, to another database.
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

    /// Holds that the server still is the master, where that can change. A replica would answer, and with what is
    /// old.
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

    /// A key with the prefix of all keys.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.config.global_keyprefix)
    }

    /// The answers to several commands, errors among them.
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

    /// Says goodbye: what is ours on the server goes.
    pub(in crate::broker) async fn leave(mut self) {
        let key = self.key(&self.replies);
        // Nothing can be done about an error.
        let _: RedisResult<()> = redis::cmd("DEL")
            .arg(key)
            .query_async(&mut self.connection)
            .await;
    }
}
