//! The poller's connection to Redis.

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::RedisResult;

use super::bindings::Bindings;
use super::client::Client;
use super::connect::Driver;
use super::error::failed;
use super::output_buffer::OutputBufferLimit;
use super::unacked::Unacked;
use super::{control, queues, unsubscribed_channels};
use crate::broker::control::Round;
use crate::broker::error::LinkError;
use crate::config::RedisConfig;
use crate::state::{Binding, QueueLevel};

/// A connection for queries, and the state kept between rounds.
#[derive(Debug)]
pub(in crate::broker) struct Poll {
    pub(super) client: Client,
    /// The list to which workers push replies, without the key prefix.
    replies: String,
    pub(super) bindings: Bindings,
    unacked: Unacked,
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
        let (client, driver) = Client::connect(config, database).await?;
        let poll = Self {
            client,
            replies: control::replies_key(fastrand::u64(..)),
            bindings: Bindings::default(),
            unacked: Unacked::default(),
        };
        Ok((poll, driver))
    }

    /// The levels of the given queues, and of those found in bindings and unacknowledged messages.
    pub(in crate::broker) async fn queue_levels(
        &mut self,
        names: &[String],
    ) -> Result<Vec<QueueLevel>, LinkError> {
        self.client.must_be_master().await?;
        self.bindings.read(&mut self.client).await?;
        let bound = self.bindings.all.iter();
        let bound = bound.map(|binding| binding.queue.clone());
        let mut queues: BTreeSet<String> = names.iter().cloned().chain(bound).collect();
        let (client, bindings) = (&mut self.client, &self.bindings.all);
        let unacked = self.unacked.count(client, bindings).await?;
        if let Some(unacked) = &unacked {
            queues.extend(unacked.keys().cloned());
        }
        let queues: Vec<String> = queues.into_iter().collect();
        let lengths = queues::lengths(&mut self.client, &queues).await?;
        let level = |(queue, length): (String, Option<u64>)| {
            let unacked = unacked.as_ref();
            Some(QueueLevel {
                length: length?,
                unacked: unacked.map(|unacked| unacked.get(&queue).copied().unwrap_or(0)),
                consumers: None,
                queue,
            })
        };
        Ok(queues.into_iter().zip(lengths).filter_map(level).collect())
    }

    /// Whether a limit on exchanges or bindings was reached since the last call.
    pub(in crate::broker) const fn has_more_bindings(&mut self) -> bool {
        std::mem::replace(&mut self.bindings.has_more, false)
    }

    /// The bindings from the last read.
    pub(in crate::broker) fn bindings(&self) -> &[Binding] {
        &self.bindings.all
    }

    /// Sends requests to the workers, and collects replies until the round is over.
    pub(in crate::broker) async fn ask(
        &mut self,
        control_exchange: &str,
        round: &mut Round,
    ) -> Result<(), LinkError> {
        control::ask(&mut self.client, &self.replies, control_exchange, round).await
    }

    /// Asks workers to enable events. They do not reply.
    pub(in crate::broker) async fn enable_events(
        &mut self,
        control_exchange: &str,
        workers: &[Arc<str>],
    ) -> Result<(), LinkError> {
        control::enable_events(&mut self.client, control_exchange, workers).await
    }

    /// How much Redis buffers for a subscriber. `None` if the server has no such setting.
    pub(in crate::broker) async fn output_buffer_limit(
        &mut self,
    ) -> Result<Option<OutputBufferLimit>, LinkError> {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg("client-output-buffer-limit");
        let answer = command.query_async(&mut self.client.connection).await;
        // The name of the setting, and its value.
        let texts: Vec<String> = answer.map_err(|error| failed("read the limits", error))?;
        Ok(texts
            .get(1)
            .and_then(|value| OutputBufferLimit::parse(value)))
    }

    /// Channels with events that are not subscribed to.
    pub(in crate::broker) async fn unsubscribed_channels(&self, exchange: &str) -> Vec<String> {
        unsubscribed_channels::find(&self.client.config, &self.client.server, exchange).await
    }

    /// Deletes our keys on the server and closes the connection.
    pub(in crate::broker) async fn leave(mut self) {
        let key = self.client.key(&self.replies);
        // An error cannot be handled here.
        let _: RedisResult<()> = redis::cmd("DEL")
            .arg(key)
            .query_async(&mut self.client.connection)
            .await;
    }
}
