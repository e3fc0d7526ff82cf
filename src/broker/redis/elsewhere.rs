//! Events that are published where we do not listen: the sign of another prefix, or another database.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::timeout;

use super::channel::{escape, is_subscribed};
use super::connect;
use super::poll::Poll;
use super::subscription::Frame;
use crate::broker::source::{BATCH_BYTES, LinkError};

/// How long it is listened. Workers send heartbeats every two seconds.
const LISTEN: Duration = Duration::from_secs(3);

/// Channels that are told.
const CHANNELS_MAX: usize = 10;

impl Poll {
    /// Channels whose names hold that of the event exchange and that are not subscribed to, on which something was
    /// published just now. On a connection of its own, and for a moment only: it would be cut off if it read too
    /// slowly, and costs what all these events cost.
    pub(in crate::broker) async fn elsewhere(&self, exchange: &str) -> Vec<String> {
        let mut channels = BTreeSet::new();
        // What fails is mostly a user who may not, and a hint is not worth a complaint.
        let _ = timeout(LISTEN, self.listen(exchange, &mut channels)).await;
        channels.into_iter().collect()
    }

    /// Listens until it is told to stop, or cannot.
    async fn listen(
        &self,
        exchange: &str,
        channels: &mut BTreeSet<String>,
    ) -> Result<Infallible, LinkError> {
        let mut subscription =
            connect::subscriber(&self.config, &self.server, BATCH_BYTES as u64).await?;
        let mut heard = |frame: Frame<'_>| {
            if let Frame::Message { channel, .. } = frame
                && let Ok(channel) = str::from_utf8(channel)
                && channels.len() < CHANNELS_MAX
                && !is_subscribed(&self.config, exchange, channel)
            {
                channels.insert(channel.to_owned());
            }
        };
        let pattern = format!("*{}*", escape(exchange));
        subscription.subscribe(&pattern, &mut heard).await?;
        loop {
            subscription.take(&mut heard)?;
            subscription.read().await?;
        }
    }
}
