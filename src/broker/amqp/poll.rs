//! The poller's connection to RabbitMQ.

use lapin::{Channel, Connection};

use super::connect::{self, Pace, connect};
use crate::broker::source::LinkError;
use crate::config::AmqpServer;

/// A connection for questions, with a channel for each kind of them: one that the broker closes with its answer
/// costs no other.
#[derive(Debug)]
pub(in crate::broker) struct Poll {
    pub(super) connection: Connection,
    /// The channel that queues are asked for on, while it is open.
    queues: Option<Channel>,
}

impl Poll {
    pub(in crate::broker) async fn connect(server: &AmqpServer) -> Result<Self, LinkError> {
        let connection = connect(server, Pace::AtOnce).await?;
        Ok(Self {
            connection,
            queues: None,
        })
    }

    pub(super) async fn queues_channel(&mut self) -> Result<Channel, LinkError> {
        if let Some(channel) = &self.queues
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = connect::channel(&self.connection).await?;
        self.queues = Some(channel.clone());
        Ok(channel)
    }

    /// Says goodbye.
    pub(in crate::broker) async fn leave(self) {
        // Nothing can be done about an error, and nothing of ours stays behind either way.
        let _ = self.connection.close(200, "stopping".into()).await;
    }
}
