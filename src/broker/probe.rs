//! One look at a broker, for who sets things up: whether it can be used, what is published there, and what the
//! workers are set to. What that means is for [`crate::doctor`] to say.
//!
//! Nothing is changed: what is declared is gone with the connection. Whatever is asked has a deadline, and all the rest
//! is told where one passed: it is when something is wrong that one looks.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::control::{Asked, Round};
use super::poller::{LEAVE_TIMEOUT, ROUND_TIMEOUT};
use super::reply::Method;
pub use super::reply::{Settings, TransportOptions};
use super::source::{CONNECT_TIMEOUT, LinkError};
use super::{amqp, redis};
use crate::config::{BrokerConfig, Transport};
use crate::event::Payload;

/// Celery's default queue, which is asked for where no other is named.
const QUEUE: &str = "celery";

/// What one look at a broker shows.
#[derive(Debug, Default)]
pub struct Look {
    /// Each server by its address: what it is, or why it cannot be used.
    pub servers: Vec<(String, Result<String, Trouble>)>,
    /// What is done while the daemon runs, and does not work.
    pub refused: Vec<Trouble>,
    /// Whether the event exchange is there; `None` where a broker has none, or was not asked.
    pub has_exchange: Option<bool>,
    /// Whether events were listened to.
    pub listened: bool,
    /// Why not, where the daemon has no need of what was refused.
    pub not_listened: Option<Trouble>,
    /// Events that no binding takes.
    pub unbound: Vec<&'static str>,
    /// Where something was published that is named like the event exchange, and is not listened to.
    pub elsewhere: Vec<String>,
    /// Redis: separators of bindings that cannot be read by the one that is configured, and whether any can.
    pub separators: Vec<String>,
    pub has_bindings: bool,
    /// What those workers are set to that answered; `None`: they were not asked.
    pub workers: Option<BTreeMap<String, Option<Settings>>>,
    /// How many answers could not be read, and why.
    pub unreadable: Option<(usize, String)>,
}

/// What does not work, in the words of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    pub text: String,
}

/// What has to be seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// A file with a secret, or with certificates, cannot be read.
    Files,
    /// Nobody answers there, or not as that kind of server does.
    Unreachable,
    /// The certificate of who answers.
    Trust,
    /// The sentinels know no such master, or do not say.
    Sentinel,
    /// The user, or its password.
    Login,
    /// The vhost, or that this user may not use it.
    Vhost,
    Permission,
    Other,
}

/// Looks at a broker, and listens for so long. `hear` gets what is published.
pub async fn look(
    config: &BrokerConfig,
    listen: Duration,
    hear: &mut (dyn FnMut(Payload) + Send),
) -> Look {
    match &config.transport {
        Transport::Amqp(amqp) => amqp::look(config, amqp, listen, hear).await,
        Transport::Redis(redis) => redis::look(config, redis, listen, hear).await,
    }
}

impl Look {
    /// A round that asks all workers for their settings; none where the configuration says that they are not asked.
    pub(super) fn round(config: &BrokerConfig) -> Option<Round> {
        let poll = &config.poll;
        let asks = poll.control_interval.is_some() || poll.enable_events;
        asks.then(|| {
            let chance = || fastrand::u128(..);
            Round::new(Method::SETTINGS, Asked::default(), config.accept, chance)
        })
    }

    /// The queues whose lengths are asked for.
    pub(super) fn queues(config: &BrokerConfig) -> Vec<String> {
        let poll = &config.poll;
        match poll.queue_interval {
            None => Vec::new(),
            Some(_) if poll.queues.is_empty() => vec![QUEUE.to_owned()],
            Some(_) => poll.queues.clone(),
        }
    }

    /// Takes in what came of a round.
    pub(super) fn asked(&mut self, round: Round, ended: Result<(), LinkError>) {
        self.unreadable = round
            .unreadable_replies()
            .map(|(count, error)| (count, error.to_string()));
        match ended {
            Ok(()) => self.workers = Some(round.settings()),
            Err(error) => self.refused(error),
        }
    }

    pub(super) fn refused(&mut self, error: LinkError) {
        self.refused.push(error.into());
    }
}

/// As long as a round of questions may take.
pub(super) async fn answered<T>(
    asking: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let ended = timeout(ROUND_TIMEOUT, asking).await;
    ended.unwrap_or(Err(LinkError::Late(ROUND_TIMEOUT)))
}

/// Says goodbye, or does without.
pub(super) async fn left(leaving: impl Future) {
    let _ = timeout(LEAVE_TIMEOUT, leaving).await;
}

/// As long as connecting may take.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let ended = timeout(CONNECT_TIMEOUT, work).await;
    ended.unwrap_or(Err(LinkError::Timeout(CONNECT_TIMEOUT)))
}

impl From<LinkError> for Trouble {
    fn from(error: LinkError) -> Self {
        let kind = match &error {
            LinkError::Secret(_) | LinkError::Tls(_) => TroubleKind::Files,
            LinkError::Connect(error) if is_about_trust(error) => TroubleKind::Trust,
            LinkError::NoMaster { .. } => TroubleKind::Sentinel,
            LinkError::Login(_) => TroubleKind::Login,
            LinkError::Timeout(_)
            | LinkError::Connect(_)
            | LinkError::Closed
            | LinkError::Silent
            | LinkError::Late(_)
            | LinkError::NotMaster(_)
            | LinkError::Abandoned => TroubleKind::Unreachable,
            LinkError::Amqp { doing, error, .. } => amqp::trouble(doing, error),
            LinkError::Redis { error, .. } => redis::trouble(error),
        };
        Self {
            kind,
            text: error.to_string(),
        }
    }
}

/// Whether a connection failed over certificates.
fn is_about_trust(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}
