//! Configuration of a RabbitMQ broker.

use super::broker_url::BrokerUrl;
use super::section::Section;
use super::tls::TlsConfig;
use super::url::host_and_port;
use crate::secret::Secret;
use crate::state::Shard;

/// A RabbitMQ broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpConfig {
    /// At least one; tried in this order.
    pub servers: Vec<AmqpServer>,
    pub bindings: Vec<String>,
    /// Maximum number of unacknowledged messages.
    pub prefetch: u16,
    pub delivery: Delivery,
    /// Name of the durable queue or the stream.
    pub queue: String,
    pub shard: Option<Shard>,
}

/// What happens to events while nobody reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// They are lost: the queue lives as long as the connection.
    Transient,
    /// They stay in a queue until a checkpoint contains them.
    Durable,
    /// They stay in a log with any number of readers, until it is full.
    Stream,
}

/// One server of a RabbitMQ broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpServer {
    pub host: String,
    pub port: u16,
    pub vhost: String,
    pub username: String,
    pub password: Secret,
    pub tls: Option<TlsConfig>,
    /// Longest heartbeat interval in seconds, whatever the server proposes; 0 for none.
    pub heartbeat: u16,
}

/// The keys that only RabbitMQ has, except `bindings` and `prefetch`.
#[derive(Debug)]
pub(super) struct AmqpKeys {
    pub(super) delivery: Delivery,
    queue: String,
    pub(super) shard: Option<Shard>,
}

impl AmqpKeys {
    /// AMQP's maximum length of a name, minus the suffix for shards.
    const QUEUE_MAX: usize = 200;
    const SHARDS_MAX: u64 = 1_000;

    pub(super) fn read(section: &mut Section<'_>, broker: Option<&str>) -> Self {
        const DURABLE: &str = "durable";
        const STREAM: &str = "stream";
        let word = section.word("delivery", "transient", &["transient", DURABLE, STREAM]);
        let delivery = match word.as_str() {
            DURABLE => Delivery::Durable,
            STREAM => Delivery::Stream,
            _ => Delivery::Transient,
        };
        let queue = section.text("queue", &format!("celeriac.{}", broker.unwrap_or("main")));
        let valid = !queue.is_empty() && queue.len() <= Self::QUEUE_MAX;
        if !valid || queue.starts_with("amq.") {
            let max = Self::QUEUE_MAX;
            section.problem(
                "queue",
                format!("expected 1 to {max} bytes, not starting with `amq.`"),
            );
        }
        let shard = section.optional_section("shard", |section| {
            let count = section.whole("count", 1, 1..=Self::SHARDS_MAX);
            let index = section.whole("index", 0, 0..=Self::SHARDS_MAX);
            if index >= count {
                let last = count.saturating_sub(1);
                section.problem(
                    "index",
                    format!("with a `count` of {count}, the highest index is {last}"),
                );
            }
            let number = |n| u32::try_from(n).unwrap_or_default();
            Shard {
                index: number(index),
                count: number(count),
            }
        });
        Self {
            delivery,
            queue,
            shard,
        }
    }
}

impl AmqpKeys {
    /// Reports the keys that are set as unsupported by this broker.
    pub(super) fn refuse(&self, section: &mut Section<'_>) {
        if self.delivery != Delivery::Transient {
            section.problem(
                "delivery",
                "not supported with Redis, which does not keep events for absent readers; use \
                 `transient`",
            );
        }
        if self.shard.is_some() {
            section.problem(
                "shard",
                "not supported with Redis; only RabbitMQ can divide events among daemons",
            );
        }
    }
}

impl AmqpConfig {
    pub(super) fn of(
        section: &mut Section<'_>,
        urls: Vec<BrokerUrl>,
        tls: Option<TlsConfig>,
        bindings: Vec<String>,
        prefetch: u16,
        keys: AmqpKeys,
    ) -> Self {
        if tls.is_some() && !urls.iter().any(BrokerUrl::secure) {
            section.problem(
                "tls",
                "has no effect on a connection without TLS; use amqps:// in `url`",
            );
        }
        let servers = urls
            .into_iter()
            .map(|url| AmqpServer::of(url, tls.as_ref()))
            .collect();
        Self {
            servers,
            bindings,
            prefetch,
            delivery: keys.delivery,
            queue: keys.queue,
            shard: keys.shard,
        }
    }

    /// Name of the durable queue or the stream. Each shard has its own, and the names change with
    /// the shard count.
    pub fn queue_name(&self) -> String {
        match self.shard {
            None => self.queue.clone(),
            Some(Shard { index, count }) => format!("{}.{index}-of-{count}", self.queue),
        }
    }

    /// The server at an index, wrapping around.
    pub fn server(&self, at: usize) -> &AmqpServer {
        &self.servers[at % self.servers.len()]
    }
}

impl AmqpServer {
    const HEARTBEAT: u16 = 10;

    fn of(url: BrokerUrl, tls: Option<&TlsConfig>) -> Self {
        let tls = url.tls(tls);
        let heartbeat = url.heartbeat().unwrap_or(Self::HEARTBEAT);
        // `amqp://h`, `amqp://h/` and `amqp://h//` all mean the vhost "/", as in Celery.
        let vhost = url
            .path
            .strip_prefix('/')
            .filter(|vhost| !vhost.is_empty())
            .unwrap_or("/");
        Self {
            host: url.host,
            port: url.port.unwrap_or(if tls.is_some() { 5671 } else { 5672 }),
            vhost: vhost.to_owned(),
            username: url.username.unwrap_or_else(|| "guest".to_owned()),
            password: url
                .password
                .unwrap_or_else(|| Secret::Inline("guest".to_owned())),
            tls,
            heartbeat,
        }
    }

    /// Address without credentials.
    pub fn address(&self) -> String {
        format!("{}/{}", host_and_port(&self.host, self.port), self.vhost)
    }
}
