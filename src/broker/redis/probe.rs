//! Probes Redis once.

use std::time::Duration;

use redis::{ErrorKind, RedisError};
use tokio::time::timeout;

use super::client::Client;
use super::error::{failed, is_forbidden, is_unavailable};
use super::poll::Poll;
use super::subscribe;
use super::subscription::Frame;
use crate::bounds::Bounds;
use crate::broker::error::LinkError;
use crate::broker::probe::{Look, ProbeFindingKind, answered, in_time, left};
use crate::config::{BrokerConfig, RedisConfig};
use crate::event::{Form, Payload};

/// Probes a server, or the master reported by the sentinels.
pub(in crate::broker) async fn look(
    config: &BrokerConfig,
    redis: &RedisConfig,
    listen: Duration,
    on_payload: &mut (dyn FnMut(Payload) + Send),
) -> Look {
    let mut look = Look::default();
    let address = config.address(0);
    // Without polling, the user needs no access to the database, whose number is only part of the
    // channel names.
    let asks = config.poll.queue_interval.is_some() || Look::round(config).is_some();
    let database = if asks { redis.database } else { 0 };
    match in_time(Poll::connect_to(redis, database)).await {
        Ok((mut poll, driver)) => {
            let looking = async {
                let ended = looked(config, redis, (&mut poll, listen), &mut look, on_payload).await;
                // Also removes the replies of workers that answer late.
                left(poll.leave()).await;
                ended
            };
            let ended = tokio::select! {
                ended = looking => ended,
                error = driver => Err(error),
            };
            look.servers.push((address, ended.map_err(Into::into)));
        }
        Err(error) => look.servers.push((address, Err(error.into()))),
    }
    look
}

/// Classifies an error of Redis.
pub(in crate::broker) fn trouble(error: &RedisError) -> ProbeFindingKind {
    let is_login = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
    if is_login {
        ProbeFindingKind::Login
    } else if is_forbidden(error) {
        ProbeFindingKind::Permission
    } else if error.is_io_error() {
        ProbeFindingKind::Unreachable
    } else {
        ProbeFindingKind::Other
    }
}

/// Probes the server. Returns its product and version; everything else goes into `look`.
async fn looked(
    config: &BrokerConfig,
    redis: &RedisConfig,
    (poll, listen): (&mut Poll, Duration),
    look: &mut Look,
    on_payload: &mut (dyn FnMut(Payload) + Send),
) -> Result<String, LinkError> {
    let version = answered(version(&mut poll.client)).await?;
    // The usual error is a missing permission, which the daemon does not need.
    let limit = answered(poll.output_buffer_limit()).await;
    look.output_buffer = limit.ok().flatten();
    let server = poll.client.server.clone();
    let listening = async {
        let mut on_frame = |frame: Frame<'_>| {
            if let Frame::Message { body, .. } = frame {
                on_payload(Payload {
                    bytes: body.to_vec(),
                    form: Form::Envelope,
                });
            }
        };
        let unbounded = Bounds::default();
        let subscribing = subscribe(config, redis, (&server, &unbounded), &mut on_frame);
        let mut subscription = in_time(subscribing).await?;
        let listening = async {
            loop {
                subscription.drain_frames(&mut on_frame)?;
                subscription.read().await?;
            }
        };
        // Listening always ends with this timeout, so it is not an error.
        timeout(listen, listening).await.unwrap_or(Ok(()))
    };
    let asking = async {
        let queue_levels = match config.poll.queue_interval {
            Some(_) => answered(poll.queue_levels(&Look::queues(config)))
                .await
                .map(drop),
            None => Ok(()),
        };
        let mut asked = None;
        if let Some(mut round) = Look::round(config) {
            let ended = answered(poll.ask(&config.poll.control_exchange, &mut round)).await;
            asked = Some((round, ended));
        }
        let unsubscribed_channels = poll.unsubscribed_channels(&config.event_exchange).await;
        (unsubscribed_channels, queue_levels, asked)
    };
    let (listened, (unsubscribed_channels, queue_levels, asked)) = tokio::join!(listening, asking);
    match listened {
        Ok(()) => look.listened = true,
        Err(error) => look.refused(error),
    }
    look.unsubscribed_channels = unsubscribed_channels;
    look.separators = poll.bindings.foreign.iter().cloned().collect();
    look.has_bindings = !poll.bindings.all.is_empty();
    if let Err(error) = queue_levels {
        look.refused(error);
    }
    if let Some((round, ended)) = asked {
        look.asked(round, ended);
    }
    Ok(version)
}

/// Product and version, as far as the user may read them.
async fn version(client: &mut Client) -> Result<String, LinkError> {
    let mut info = redis::cmd("INFO");
    info.arg("server");
    let info: String = match info.query_async(&mut client.connection).await {
        Ok(info) => info,
        // The command may have been renamed or disabled, which is common.
        Err(error) if is_unavailable(&error) => {
            return Ok("Redis".to_owned());
        }
        Err(error) => return Err(failed("read the version", error)),
    };
    let line = |key: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
    };
    // Valkey reports both; its `redis_version` is the version it is compatible with.
    let known = [("Valkey", "valkey_version"), ("Redis", "redis_version")];
    let found = known
        .into_iter()
        .find_map(|(product, key)| Some(format!("{product} {}", line(key)?)));
    Ok(found.unwrap_or_else(|| "Redis".to_owned()))
}
