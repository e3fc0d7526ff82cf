//! Looks for events published on channels that are not subscribed to, which indicates another
//! prefix or another database.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::timeout;

use super::channel::{escape, is_subscribed};
use super::connect::{self, Server};
use super::subscription::{Frame, Subscription};
use crate::broker::context::BATCH_BYTES;
use crate::broker::error::LinkError;
use crate::config::RedisConfig;

/// How long to listen. Workers send heartbeats every two seconds.
const LISTEN: Duration = Duration::from_secs(3);

/// Maximum number of channels to report.
const CHANNELS_MAX: usize = 10;

/// Channels that contain the name of the event exchange, are not subscribed to, and on which
/// something is being published. Uses a connection of its own, and only briefly: Redis would
/// disconnect it if it read too slowly, and it costs as much traffic as all these events.
pub(super) async fn find(redis: &RedisConfig, server: &Server, exchange: &str) -> Vec<String> {
    let mut channels = BTreeSet::new();
    // The usual error is a missing permission, and a hint is not worth a log message.
    let _ = timeout(LISTEN, listen(redis, server, exchange, &mut channels)).await;
    channels.into_iter().collect()
}

/// Listens until it is cancelled or an error occurs.
async fn listen(
    redis: &RedisConfig,
    server: &Server,
    exchange: &str,
    channels: &mut BTreeSet<String>,
) -> Result<Infallible, LinkError> {
    let stream = connect::stream(server, connect::tls_of(redis)).await?;
    let mut subscription = Subscription::open(stream, redis, BATCH_BYTES as u64).await?;
    let mut on_frame = |frame: Frame<'_>| {
        if let Frame::Message { channel, .. } = frame
            && let Ok(channel) = str::from_utf8(channel)
            && channels.len() < CHANNELS_MAX
            && !is_subscribed(redis, exchange, channel)
        {
            channels.insert(channel.to_owned());
        }
    };
    let pattern = format!("*{}*", escape(exchange));
    subscription.subscribe(&pattern, &mut on_frame).await?;
    loop {
        subscription.drain_frames(&mut on_frame)?;
        subscription.read().await?;
    }
}
