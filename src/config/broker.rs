//! `brokers`: where Celery's events are read.

use std::path::PathBuf;

use super::amqp::{AmqpConfig, AmqpKeys, Delivery};
use super::broker_options::check_options;
use super::broker_url::{BrokerUrl, hide_password, no_events, parse_brokers};
use super::poll::PollConfig;
use super::problem::did_you_mean;
use super::redis::{RedisAddress, RedisConfig, SentinelKeys};
use super::scalar::show_bytes;
use super::section::Section;
use super::shown::Shown;
use super::tls::TlsConfig;
use super::url::host_and_port;
use crate::event::{Accept, ContentType};
use crate::secret::Secret;
use crate::state::Shard;

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Value of the label `broker`; optional if there is only one broker.
    pub name: Option<String>,
    pub event_exchange: String,
    /// The accepted serializers.
    pub accept: Accept,
    /// Maximum size of pending events: in the broker's queue, or in our memory.
    pub queue_bytes_max: u64,
    pub poll: PollConfig,
    pub transport: Transport,
}

/// The protocol of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    Amqp(AmqpConfig),
    Redis(Box<RedisConfig>),
}

impl Transport {
    /// Whether the broker itself drops expired messages: Celery sets their expiration there since
    /// 5.2.
    pub const fn drops_expired(&self) -> bool {
        matches!(self, Self::Amqp(_))
    }

    /// The share of the workers' events to receive, or `None` for all.
    pub const fn shard(&self) -> Option<Shard> {
        match self {
            Self::Amqp(amqp) => amqp.shard,
            Self::Redis(_) => None,
        }
    }
}

impl BrokerConfig {
    const QUEUE_BYTES_MAX: u64 = 256 << 20;
    const PREFETCH: u64 = 10_000;

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.optional_text("name");
        let urls = urls(section);
        let password_file = section.optional_text("password_file").map(PathBuf::from);
        let tls = section.optional_section("tls", TlsConfig::read);
        let sentinel = section.optional_section("sentinel", SentinelKeys::read);
        let mut redis = Box::new(RedisConfig::read(section));
        let event_exchange = section.text("event_exchange", "celeryev");
        let accept = accept_content(section);
        let keys = AmqpKeys::read(section, name.as_deref());
        let queue_bytes_max = section.bytes("queue_max_bytes", Self::QUEUE_BYTES_MAX);
        let bindings = section.texts("bindings", &["#"]);
        if bindings.is_empty() {
            section.problem(
                "bindings",
                "is empty, so no events would arrive; use [\"#\"] for all events",
            );
        }
        let prefetch = section.whole("prefetch", Self::PREFETCH, 1..=65_535);
        let poll = PollConfig::read(section);
        let mut urls = urls?;
        if let Some(path) = password_file {
            if urls.iter().any(|url| url.password.is_some()) {
                section.problem(
                    "password_file",
                    "either this or a password in `url`, not both",
                );
            }
            for url in &mut urls {
                url.password = Some(Secret::File(path.clone()));
            }
        }
        let kind = kind(section, &urls)?;
        check_options(section, &urls, tls.as_ref());
        if sentinel.is_some() && kind != Scheme::Sentinel {
            section.problem(
                "sentinel",
                "has no effect without sentinels; use sentinel://host:26379 in `url`",
            );
        }
        if kind != Scheme::Amqp {
            keys.refuse(section);
        }
        let transport = match kind {
            Scheme::Amqp => {
                let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
                Transport::Amqp(AmqpConfig::of(section, urls, tls, bindings, prefetch, keys))
            }
            Scheme::Redis => {
                redis.parse_address(section, urls, tls)?;
                Transport::Redis(redis)
            }
            Scheme::Sentinel => {
                redis.reach_by_sentinel(section, urls, sentinel, tls)?;
                Transport::Redis(redis)
            }
        };
        section.show("queue_max_bytes", Shown::Plain(show_bytes(queue_bytes_max)));
        Some(Self {
            name,
            event_exchange,
            accept,
            queue_bytes_max,
            poll,
            transport,
        })
    }

    /// Whether events stay with the broker until a checkpoint contains them.
    pub fn waits_for_checkpoints(&self) -> bool {
        match &self.transport {
            Transport::Amqp(amqp) => amqp.delivery != Delivery::Transient,
            Transport::Redis(_) => false,
        }
    }

    /// Number of servers to try in turn.
    pub fn servers(&self) -> usize {
        match &self.transport {
            Transport::Amqp(amqp) => amqp.servers.len(),
            Transport::Redis(_) => 1,
        }
    }

    /// Address of one of the broker's servers for the log, without credentials.
    pub fn address(&self, server: usize) -> String {
        match &self.transport {
            Transport::Amqp(amqp) => amqp.server(server).address(),
            Transport::Redis(redis) => match &redis.address {
                RedisAddress::Tcp { host, port, .. } => {
                    format!("{}/{}", host_and_port(host, *port), redis.database)
                }
                RedisAddress::Socket(path) => format!("{}?{}", path.display(), redis.database),
                RedisAddress::Sentinel(sentinel) => {
                    format!("{}/{}", sentinel.address(), redis.database)
                }
            },
        }
    }
}

/// What the scheme of a URL selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Amqp,
    Redis,
    Sentinel,
}

/// Returns the kind of all URLs, which must be the same.
fn kind(section: &mut Section<'_>, urls: &[BrokerUrl]) -> Option<Scheme> {
    let mut kinds = Vec::new();
    for url in urls {
        kinds.push(match url.scheme.as_str() {
            _ if url.is_amqp() => Scheme::Amqp,
            "redis" | "rediss" | "redis+socket" => Scheme::Redis,
            "sentinel" | "sentinel+tls" => Scheme::Sentinel,
            other => {
                let what = no_events(other).map_or_else(
                    || format!("expected amqp, amqps, redis, rediss, redis+socket or sentinel, found the scheme `{other}`"),
                    |why| format!("{why}; celeriac reads events from RabbitMQ and Redis"),
                );
                section.problem("url", what);
                return None;
            }
        });
    }
    let first = *kinds.first()?;
    if kinds.iter().any(|kind| *kind != first) {
        section.problem("url", "all servers of a broker must be of the same kind");
        return None;
    }
    Some(first)
}

/// Parses the URL into one per server. It is shown without its passwords.
fn urls(section: &mut Section<'_>) -> Option<Vec<BrokerUrl>> {
    let text = section.needed_text("url", "amqp://user:password@host:5672/vhost")?;
    let urls = parse_brokers(&text);
    let shown = match &urls {
        Ok(_) => hide_password(&text),
        Err(_) => "<not a URL>".to_owned(),
    };
    section.show("url", Shown::Text(shown));
    urls.map_err(|what| section.problem("url", what)).ok()
}

/// Reads Celery's setting of the same name: serializers by name or content type.
fn accept_content(section: &mut Section<'_>) -> Accept {
    const KEY: &str = "accept_content";
    let named = |text: &str| {
        let by_name = ContentType::READ.into_iter().find(|one| one.name() == text);
        by_name.unwrap_or_else(|| ContentType::of(text))
    };
    let names = ContentType::READ.map(ContentType::name);
    let texts = section.texts(KEY, &[ContentType::Json.name()]);
    if texts.is_empty() {
        section.problem(
            KEY,
            "is empty, so no event could be decoded; use [json], Celery's default",
        );
    }
    let mut accepted = Vec::new();
    for text in texts {
        let content_type = named(&text);
        if content_type == ContentType::Unknown {
            let hint = did_you_mean(&text, names);
            let what = format!("expected json, msgpack, yaml or pickle, found `{text}`{hint}");
            section.problem(KEY, what);
        } else if !accepted.contains(&content_type) {
            accepted.push(content_type);
        }
    }
    let shown = accepted
        .iter()
        .map(|one| Shown::Text(one.name().to_owned()));
    section.show(KEY, Shown::List(shown.collect()));
    accepted.into_iter().collect()
}
