//! Probes a broker once during setup: whether it can be used, what is published there, and how the
//! workers are configured. [`crate::doctor`] interprets the result.
//!
//! Nothing is changed permanently: whatever is declared is deleted with the connection. Every
//! request has a deadline, and the remaining checks are still reported if one expires, since this
//! is run when something is already wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::context::CONNECT_TIMEOUT;
use super::control::{Asked, Round};
use super::error::LinkError;
use super::poller::{LEAVE_TIMEOUT, ROUND_TIMEOUT};
pub use super::redis::OutputBufferLimit;
use super::reply::Method;
pub use super::reply::{Settings, TransportOptions};
use super::{amqp, redis};
use crate::config::{BrokerConfig, Transport};
use crate::event::Payload;

/// Celery's default queue, which is checked if no other queue is configured.
const QUEUE: &str = "celery";

/// The result of probing a broker.
#[derive(Debug, Default)]
pub struct Look {
    /// Each server by address: its product and version, or why it cannot be used.
    pub servers: Vec<(String, Result<String, ProbeFinding>)>,
    /// Operations that the daemon performs and that failed here.
    pub refused: Vec<ProbeFinding>,
    /// Whether the event exchange exists. `None` if the broker has no exchanges, or was not asked.
    pub has_exchange: Option<bool>,
    /// Whether events were consumed.
    pub listened: bool,
    /// Why events were not consumed, if the refused operation is one that the daemon does not need.
    pub not_listened: Option<ProbeFinding>,
    /// Events that no binding matches.
    pub unbound: Vec<&'static str>,
    /// Channels with names similar to the event exchange on which events are published, and that
    /// celeriac does not subscribe to.
    pub unsubscribed_channels: Vec<String>,
    /// Redis: separators found in bindings that do not match the configured one, and whether any
    /// binding matches it.
    pub separators: Vec<String>,
    pub has_bindings: bool,
    /// Redis: how much the server buffers for a subscriber, if the user may know.
    pub output_buffer: Option<OutputBufferLimit>,
    /// The settings of the workers that replied; `None` if workers were not asked.
    pub workers: Option<BTreeMap<String, Option<Settings>>>,
    /// The beats that replied.
    pub beats: Vec<String>,
    /// How many replies could not be read, and why.
    pub unreadable: Option<(usize, String)>,
}

/// A problem, worded as in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeFinding {
    pub kind: ProbeFindingKind,
    pub text: String,
}

/// The area to fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFindingKind {
    /// A file with a secret or certificates cannot be read.
    Files,
    /// No server responds at the address, or it is not a server of this kind.
    Unreachable,
    /// The server's certificate is not trusted.
    Trust,
    /// The sentinels do not know the master, or do not answer.
    Sentinel,
    /// The user or password is wrong.
    Login,
    /// The vhost does not exist, or this user may not use it.
    Vhost,
    Permission,
    Other,
}

/// Probes a broker, and listens for the given time. `on_payload` receives what is published.
pub async fn look(
    config: &BrokerConfig,
    listen: Duration,
    on_payload: &mut (dyn FnMut(Payload) + Send),
) -> Look {
    match &config.transport {
        Transport::Amqp(amqp) => amqp::look(config, amqp, listen, on_payload).await,
        Transport::Redis(redis) => redis::look(config, redis, listen, on_payload).await,
    }
}

impl Look {
    /// A round that asks all workers for their settings. `None` if the configuration disables
    /// asking workers.
    pub(super) fn round(config: &BrokerConfig) -> Option<Round> {
        let poll = &config.poll;
        let asks = poll.control_interval.is_some() || poll.enable_events;
        asks.then(|| {
            let chance = || fastrand::u128(..);
            Round::new(Method::SETTINGS, Asked::default(), config.accept, chance)
        })
    }

    /// The queues whose lengths are requested.
    pub(super) fn queues(config: &BrokerConfig) -> Vec<String> {
        let poll = &config.poll;
        match poll.queue_interval {
            None => Vec::new(),
            Some(_) if poll.queues.is_empty() => vec![QUEUE.to_owned()],
            Some(_) => poll.queues.clone(),
        }
    }

    /// Adds the result of a round.
    pub(super) fn asked(&mut self, round: Round, ended: Result<(), LinkError>) {
        self.unreadable = round
            .unreadable_replies()
            .map(|(count, error)| (count, error.to_string()));
        match ended {
            Ok(()) => {
                self.beats = round.beats();
                self.workers = Some(round.settings());
            }
            Err(error) => self.refused(error),
        }
    }

    pub(super) fn refused(&mut self, error: LinkError) {
        self.refused.push(error.into());
    }
}

/// Applies the time limit of a round of requests.
pub(super) async fn answered<T>(
    asking: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let ended = timeout(ROUND_TIMEOUT, asking).await;
    ended.unwrap_or(Err(LinkError::Late(ROUND_TIMEOUT)))
}

/// Closes the connection, or gives up after a while.
pub(super) async fn left(leaving: impl Future) {
    let _ = timeout(LEAVE_TIMEOUT, leaving).await;
}

/// Applies the time limit for connecting.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let ended = timeout(CONNECT_TIMEOUT, work).await;
    ended.unwrap_or(Err(LinkError::Timeout(CONNECT_TIMEOUT)))
}

impl From<LinkError> for ProbeFinding {
    fn from(error: LinkError) -> Self {
        let kind = match &error {
            LinkError::Secret(_) | LinkError::Tls(_) => ProbeFindingKind::Files,
            LinkError::Connect(error) if is_about_trust(error) => ProbeFindingKind::Trust,
            LinkError::NoMaster { .. } => ProbeFindingKind::Sentinel,
            LinkError::Login(_) => ProbeFindingKind::Login,
            LinkError::Timeout(_)
            | LinkError::Connect(_)
            | LinkError::Closed
            | LinkError::FellBehind
            | LinkError::Silent
            | LinkError::Late(_)
            | LinkError::NotMaster(_)
            | LinkError::Abandoned => ProbeFindingKind::Unreachable,
            LinkError::Amqp { doing, error, .. } => amqp::trouble(doing, error),
            LinkError::Redis { error, .. } => redis::trouble(error),
        };
        Self {
            kind,
            text: error.to_string(),
        }
    }
}

/// Whether a connection failed because of certificates.
fn is_about_trust(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}
