//! One look at RabbitMQ.
//!
//! What the user may do is found out without doing it: RabbitMQ looks at permissions before anything else, so a
//! declaration that it cannot carry out, or a binding of what is not there, is refused with another code where they are
//! enough. Permissions are for names, whatever bears them.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::QueueBindOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ErrorKind};
use tokio::time::timeout;

use super::connect::{self, ACCESS_REFUSED, NOT_ALLOWED, Pace, connect, refused, reply_code};
use super::deliveries::{Noting, take};
use super::greeting::greeting;
use super::poll::Poll;
use super::subscribe::{has_exchange, subscribe};
use super::topology::{self, Kind};
use crate::broker::probe::{Look, TroubleKind, in_time};
use crate::broker::source::LinkError;
use crate::config::{AmqpConfig, BrokerConfig, Delivery};
use crate::event::Payload;

/// A queue cannot be as large as this.
const IMPOSSIBLE_BYTES: i64 = -1;

/// Looks at the servers one after the other, and through the first that can be used at what is behind it.
pub(in crate::broker) async fn look(
    config: &BrokerConfig,
    amqp: &AmqpConfig,
    listen: Duration,
    hear: &mut (dyn FnMut(Payload) + Send),
) -> Look {
    let mut look = Look::default();
    let mut usable = None;
    for server in &amqp.servers {
        let greeted = in_time(async {
            let version = greeting(server).await?;
            Ok((version, connect(server, Pace::AtOnce).await?))
        });
        let answer = match greeted.await {
            Ok((version, connection)) => {
                usable.get_or_insert((server, connection));
                Ok(version)
            }
            Err(error) => Err(error.into()),
        };
        look.servers.push((server.address(), answer));
    }
    let Some((server, connection)) = usable else {
        return look;
    };
    if let Err(error) = may_keep(&connection, amqp).await {
        look.refused(error);
    }
    match has_exchange(&connection, &config.event_exchange).await {
        Ok(there) => look.has_exchange = Some(there),
        Err(error) => look.refused(error),
    }
    let listening = async {
        // Not where it is absent: it would be made.
        match look.has_exchange {
            Some(true) => {
                let listened = listen_on(&connection, config, amqp, listen, hear);
                listened.await.map(|()| true)
            }
            Some(false) | None => Ok(false),
        }
    };
    let round = Look::round(config);
    let asking = async {
        let mut poll = in_time(Poll::connect(server)).await?;
        let levels = poll.levels(&Look::queues(config)).await.map(drop);
        let Some(mut round) = round else {
            poll.leave().await;
            return levels.map(|()| None);
        };
        let ended = poll.ask(&config.poll.control_exchange, &mut round).await;
        poll.leave().await;
        levels.map(|()| Some((round, ended)))
    };
    let (listened, asked) = tokio::join!(listening, asking);
    match listened {
        Ok(listened) => look.listened = listened,
        Err(error) => look.refused(error),
    }
    match asked {
        Ok(Some((round, ended))) => look.asked(round, ended),
        Ok(None) => {}
        Err(error) => look.refused(error),
    }
    // Nothing of ours stays behind either way.
    let _ = connection.close(200, "looked".into()).await;
    look
}

/// What an error of RabbitMQ is about.
pub(in crate::broker) fn trouble(doing: &str, error: &lapin::Error) -> TroubleKind {
    match reply_code(error) {
        Some(ACCESS_REFUSED) if doing == connect::CONNECT => TroubleKind::Login,
        Some(ACCESS_REFUSED) => TroubleKind::Permission,
        Some(NOT_ALLOWED) => TroubleKind::Vhost,
        Some(_) => TroubleKind::Other,
        None if matches!(error.kind(), ErrorKind::IOError(_)) => TroubleKind::Unreachable,
        None => TroubleKind::Other,
    }
}

/// Whether the user may have the queue that stays, and the exchange of the shards.
async fn may_keep(connection: &Connection, amqp: &AmqpConfig) -> Result<(), LinkError> {
    if amqp.delivery == Delivery::Transient {
        return Ok(());
    }
    let shards = amqp.shard.map(|shard| topology::shards_name(amqp, shard));
    for name in std::iter::once(amqp.queue_name()).chain(shards) {
        let mut arguments = FieldTable::default();
        let size = AMQPValue::LongLongInt(IMPOSSIBLE_BYTES);
        arguments.insert("x-max-length-bytes".into(), size);
        let channel = connect::channel(connection).await?;
        let options = Kind::Quorum.options();
        let declared = channel
            .queue_declare(name.as_str().into(), options, arguments)
            .await;
        let permission = format!("configure on {name}");
        only_refusals("declare the queue", declared.map(drop), &permission)?;

        let channel = connect::channel(connection).await?;
        let (source, key) = (name.as_str().into(), "".into());
        let bound = channel
            .queue_bind(
                name.as_str().into(),
                source,
                key,
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await;
        only_refusals(
            "bind the queue",
            bound,
            &format!("write and read on {name}"),
        )?;
    }
    Ok(())
}

/// An error that is about permissions; any other is what was asked for.
fn only_refusals(
    doing: &'static str,
    tried: lapin::Result<()>,
    permission: &str,
) -> Result<(), LinkError> {
    match tried {
        Err(error) if reply_code(&error) == Some(ACCESS_REFUSED) => {
            Err(refused(doing, error, permission))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Listens as a daemon with `delivery: transient` does.
async fn listen_on(
    connection: &Connection,
    config: &BrokerConfig,
    amqp: &AmqpConfig,
    listen: Duration,
    hear: &mut (dyn FnMut(Payload) + Send),
) -> Result<(), LinkError> {
    let transient = AmqpConfig {
        delivery: Delivery::Transient,
        shard: None,
        ..amqp.clone()
    };
    let mut subscription = in_time(subscribe(connection, config, &transient, None)).await?;
    let noting = Noting {
        delivery: Delivery::Transient,
        link: 0,
        next: None,
    };
    let listening = async {
        while let Some(delivery) = subscription.consumer.next().await {
            let taken = take(&mut subscription.consumer, delivery, noting).await?;
            taken.payloads.into_iter().for_each(&mut *hear);
            let options = lapin::options::BasicAckOptions { multiple: true };
            let acknowledged = subscription.channel.basic_ack(taken.tag, options).await;
            acknowledged.map_err(|error| connect::failed("acknowledge", error))?;
        }
        Err(LinkError::Closed)
    };
    // That the time is over is how it ends.
    timeout(listen, listening).await.unwrap_or(Ok(()))
}
