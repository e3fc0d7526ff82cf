//! The poller's connection to RabbitMQ.

use super::connect::connect;
use super::session::Session;
use super::subscribe::channel;
use crate::broker::control::REPLY_BYTES_MAX;
use crate::broker::error::LinkError;
use crate::config::AmqpServer;

/// A connection for queries, with a channel for each kind. The broker closes a channel to report an
/// error; this way that affects no other query.
pub(in crate::broker) struct Poll {
    pub(super) session: Session,
    /// The channel on which queue lengths are queried, while it is open.
    pub(super) queues: Option<u16>,
}

impl Poll {
    pub(in crate::broker) async fn connect(server: &AmqpServer) -> Result<Self, LinkError> {
        let session = connect(server, REPLY_BYTES_MAX, None).await?;
        Ok(Self {
            session,
            queues: None,
        })
    }

    pub(super) async fn queues_channel(&mut self) -> Result<u16, LinkError> {
        if let Some(channel) = self.queues.filter(|channel| self.session.is_open(*channel)) {
            return Ok(channel);
        }
        let channel = channel(&mut self.session).await?;
        self.queues = Some(channel);
        Ok(channel)
    }

    /// Waits for something else while keeping the connection alive.
    pub(in crate::broker) async fn rest<T>(
        &mut self,
        waiting: impl Future<Output = T>,
    ) -> Result<T, LinkError> {
        let rested = self.session.idle(waiting).await;
        rested.map_err(|error| error.while_doing("keep the connection alive"))
    }

    /// Closes the connection.
    pub(in crate::broker) async fn leave(mut self) {
        // An error here can be ignored: nothing of ours remains on the broker either way.
        let _ = self.session.close("stopping").await;
    }
}

impl std::fmt::Debug for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poll").finish_non_exhaustive()
    }
}
