//! Events that are published where we do not listen: the sign of another prefix, or another database.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use super::channel::{escape, is_subscribed};
use super::connect;
use super::poll::Poll;

/// How long it is listened. Workers send heartbeats every two seconds.
const LISTEN: Duration = Duration::from_secs(3);

/// Channels that are told.
const CHANNELS_MAX: usize = 10;

impl Poll {
    /// Channels whose names hold that of the event exchange and that are not subscribed to, on which something was
    /// published just now. On a connection of its own, and for a moment only: it would be cut off if it read too
    /// slowly, and costs what all these events cost.
    pub(in crate::broker) async fn elsewhere(&self, exchange: &str) -> Vec<String> {
        // What fails is mostly a user who may not, and a hint is not worth a complaint.
        let Ok(mut pubsub) = connect::subscriber(&self.config, &self.server).await else {
            return Vec::new();
        };
        let pattern = format!("*{}*", escape(exchange));
        if pubsub.psubscribe(pattern).await.is_err() {
            return Vec::new();
        }
        let mut messages = pubsub.into_on_message();
        let mut channels = BTreeSet::new();
        let listening = async {
            while channels.len() < CHANNELS_MAX
                && let Some(message) = messages.next().await
            {
                let channel = message.get_channel_name();
                if !is_subscribed(&self.config, exchange, channel) {
                    channels.insert(channel.to_owned());
                }
            }
        };
        let _ = timeout(LISTEN, listening).await;
        channels.into_iter().collect()
    }
}
