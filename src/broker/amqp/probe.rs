//! Probes RabbitMQ once: which servers can be used, and what the user is permitted to do.
//!
//! Permissions are tested without changing anything. RabbitMQ checks permissions first, so an
//! impossible declaration, or a binding of an object that does not exist, fails with a different
//! code if the permissions are sufficient. Permissions apply to names, even of objects that do not
//! exist.

use std::time::Duration;

use amq_protocol::types::{AMQPValue, FieldTable};
use tokio::time::timeout;

use super::connect::{self, connect, server_properties};
use super::deliveries::{DeliveryCursor, body_max, collect};
use super::error::{ACCESS_REFUSED, AmqpError, NOT_ALLOWED};
use super::poll::Poll;
use super::receiving;
use super::session::Session;
use super::subscribe::{DECLARE, channel, has_exchange, is_there, queue_there, subscribe};
use super::topology::{self, QueueKind};
use crate::broker::error::LinkError;
use crate::broker::probe::{Look, ProbeFindingKind, answered, in_time, left};
use crate::config::{AmqpConfig, AmqpServer, BrokerConfig, Delivery};
use crate::event::Payload;

/// An impossible queue size, so that a declaration with it always fails.
const IMPOSSIBLE_BYTES: i64 = -1;

/// Routing keys of the events that task metrics depend on.
const NEEDED: [&str; 5] = [
    "worker.heartbeat",
    "task.sent",
    "task.received",
    "task.started",
    "task.succeeded",
];

/// Checks every server in turn, and probes the broker through the first usable one.
pub(in crate::broker) async fn look(
    config: &BrokerConfig,
    amqp: &AmqpConfig,
    listen: Duration,
    on_payload: &mut (dyn FnMut(Payload) + Send),
) -> Look {
    let mut look = Look::default();
    let Some((server, mut session)) = greet(config, amqp, &mut look).await else {
        return look;
    };
    look.unbound = unbound(amqp);
    if let Err(error) = answered(may_keep(&mut session, config, amqp)).await {
        look.refused(error);
    }
    match answered(has_exchange(&mut session, &config.event_exchange)).await {
        Ok(there) => look.has_exchange = Some(there),
        Err(error) => look.refused(error),
    }
    let listening = async {
        // Skipped if the exchange is absent, because this would create it.
        match look.has_exchange {
            Some(true) => {
                let listened = listen_on(&mut session, config, amqp, listen, on_payload);
                listened.await.map(|()| true)
            }
            Some(false) | None => Ok(false),
        }
    };
    let round = Look::round(config);
    let asking = async {
        let mut poll = in_time(Poll::connect(server)).await?;
        let queue_levels = answered(poll.queue_levels(&Look::queues(config)))
            .await
            .map(drop);
        let mut asked = None;
        if let Some(mut round) = round {
            let ended = answered(poll.ask(&config.poll.control_exchange, &mut round)).await;
            asked = Some((round, ended));
        }
        left(poll.leave()).await;
        Ok((queue_levels, asked))
    };
    let (listened, asked) = tokio::join!(listening, asking);
    match listened {
        Ok(listened) => look.listened = listened,
        Err(error) if is_needless(&error, amqp) => look.not_listened = Some(error.into()),
        Err(error) => look.refused(error),
    }
    match asked {
        Ok((queue_levels, asked)) => {
            if let Err(error) = queue_levels {
                look.refused(error);
            }
            if let Some((round, ended)) = asked {
                look.asked(round, ended);
            }
        }
        Err(error) => look.refused(error),
    }
    // The result does not matter: nothing of ours remains on the broker either way.
    left(session.close("looked")).await;
    look
}

/// Connects to each server and returns the first usable one.
async fn greet<'a>(
    config: &BrokerConfig,
    amqp: &'a AmqpConfig,
    look: &mut Look,
) -> Option<(&'a AmqpServer, Session)> {
    let body_max = body_max(config.queue_bytes_max);
    let mut usable = None;
    for server in &amqp.servers {
        let greeted = in_time(async {
            let version = server_properties(server).await?;
            Ok((version, connect(server, body_max, None).await?))
        });
        let answer = match greeted.await {
            Ok((version, session)) => {
                usable.get_or_insert((server, session));
                Ok(version)
            }
            Err(error) => Err(error.into()),
        };
        look.servers.push((server.address(), answer));
    }
    usable
}

/// The required events that no configured binding matches.
fn unbound(amqp: &AmqpConfig) -> Vec<&'static str> {
    let bindings = &amqp.bindings;
    let is_bound = |key: &str| bindings.iter().any(|binding| topology::takes(binding, key));
    NEEDED.into_iter().filter(|key| !is_bound(key)).collect()
}

/// Classifies an error of RabbitMQ.
pub(in crate::broker) fn trouble(doing: &str, error: &AmqpError) -> ProbeFindingKind {
    match error.code() {
        Some(ACCESS_REFUSED) if doing == connect::CONNECT => ProbeFindingKind::Login,
        Some(ACCESS_REFUSED) => ProbeFindingKind::Permission,
        Some(NOT_ALLOWED) if error.to_string().contains("limit") => ProbeFindingKind::Other,
        Some(NOT_ALLOWED) => ProbeFindingKind::Vhost,
        Some(_) => ProbeFindingKind::Other,
        None if matches!(error, AmqpError::Io(_) | AmqpError::Ended) => {
            ProbeFindingKind::Unreachable
        }
        None => ProbeFindingKind::Other,
    }
}

/// Whether the error only concerns the queue used for this probe, which the daemon does not need
/// because it uses another one.
fn is_needless(error: &LinkError, amqp: &AmqpConfig) -> bool {
    let LinkError::Amqp { doing, error, .. } = error else {
        return false;
    };
    let is_ours = *doing == DECLARE && error.code() == Some(ACCESS_REFUSED);
    is_ours && amqp.delivery != Delivery::Transient
}

/// Checks whether the user may use the durable queue and the shards' exchange.
async fn may_keep(
    session: &mut Session,
    config: &BrokerConfig,
    amqp: &AmqpConfig,
) -> Result<(), LinkError> {
    let stays = (amqp.delivery != Delivery::Transient).then(|| amqp.queue_name());
    let shards = amqp.shard.map(|shard| topology::shards_name(amqp, shard));
    if let Some(queue) = &stays
        && is_there(session, queue).await?
    {
        // Declaring an existing queue compares its arguments.
        queue_there(session, config, amqp).await?;
    }
    for name in stays.into_iter().chain(shards) {
        let mut arguments = FieldTable::default();
        let size = AMQPValue::LongLongInt(IMPOSSIBLE_BYTES);
        arguments.insert("x-max-length-bytes".into(), size);
        let number = channel(session).await?;
        let flags = QueueKind::Quorum.flags();
        let declared = session.queue_declare(number, &name, flags, arguments).await;
        let permission = format!("configure on {name}");
        only_refusals("declare the queue", declared.map(drop), &permission)?;

        let number = channel(session).await?;
        let own = (name.as_str(), name.as_str());
        let bound = session.queue_bind(number, own, "").await;
        if bound.is_ok() {
            // An exchange of that name exists.
            let unbound = session.queue_unbind(number, own, "").await;
            unbound.map_err(|error| error.while_doing("unbind the queue"))?;
        }
        only_refusals(
            "bind the queue",
            bound,
            &format!("write and read on {name}"),
        )?;
    }
    Ok(())
}

/// Keeps errors about permissions. Any other error is the expected outcome of the probe.
fn only_refusals(
    doing: &'static str,
    tried: Result<(), AmqpError>,
    permission: &str,
) -> Result<(), LinkError> {
    match tried {
        Err(error) if error.code() == Some(ACCESS_REFUSED) => Err(error.refused(doing, permission)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Consumes events as a daemon with `delivery: transient` does.
async fn listen_on(
    session: &mut Session,
    config: &BrokerConfig,
    amqp: &AmqpConfig,
    listen: Duration,
    on_payload: &mut (dyn FnMut(Payload) + Send),
) -> Result<(), LinkError> {
    let transient = AmqpConfig {
        delivery: Delivery::Transient,
        shard: None,
        bindings: vec!["#".to_owned()],
        ..amqp.clone()
    };
    let subscription = in_time(subscribe(session, config, &transient, None)).await?;
    let cursor = DeliveryCursor {
        delivery: Delivery::Transient,
        link: 0,
        next: None,
    };
    let listening = async {
        loop {
            let first = session.delivery().await.map_err(receiving)?;
            let taken = collect(session, first, cursor).map_err(receiving)?;
            taken.payloads.into_iter().for_each(&mut *on_payload);
            session.acknowledge(subscription.channel, taken.tag);
        }
    };
    // Listening always ends with this timeout, so it is not an error.
    timeout(listen, listening).await.unwrap_or(Ok(()))
}
