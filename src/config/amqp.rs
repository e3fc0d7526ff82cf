//! What is to be known of a RabbitMQ broker.

use super::secret::Secret;
use super::section::Section;
use super::tls::TlsConfig;
use super::url::BrokerUrl;
pub use crate::state::Shard;

/// A RabbitMQ broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpConfig {
    /// One at least, tried in this order.
    pub servers: Vec<AmqpServer>,
    pub bindings: Vec<String>,
    /// Messages that the broker sends ahead of our acknowledgements.
    pub prefetch: u16,
    pub delivery: Delivery,
    /// Of the durable queue, or the stream.
    pub queue: String,
    pub shard: Option<Shard>,
}

/// What becomes of events while nobody reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// They are gone: the queue lives as long as the connection.
    Transient,
    /// They wait in a queue of ours, and leave it when a checkpoint holds them.
    Durable,
    /// They stay in a log that anybody may read, for as long as there is room.
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
}

impl AmqpConfig {
    pub(super) fn of(
        section: &mut Section<'_>,
        urls: Vec<BrokerUrl>,
        tls: Option<TlsConfig>,
        bindings: Vec<String>,
        prefetch: u16,
    ) -> Self {
        if tls.is_some() && urls.iter().all(|url| url.scheme != "amqps") {
            section.problem(
                "tls",
                "is of no use for a connection without TLS; amqps:// makes one with it",
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
            delivery: Delivery::Transient,
            queue: String::new(),
            shard: None,
        }
    }

    /// The server at a place in the order, which goes round.
    pub fn server(&self, at: usize) -> &AmqpServer {
        &self.servers[at % self.servers.len()]
    }
}

impl AmqpServer {
    fn of(url: BrokerUrl, tls: Option<&TlsConfig>) -> Self {
        let secure = url.scheme == "amqps";
        // `amqp://h`, `amqp://h/` and `amqp://h//` all are the vhost "/", as in Celery.
        let vhost = url
            .path
            .strip_prefix('/')
            .filter(|vhost| !vhost.is_empty())
            .unwrap_or("/");
        Self {
            host: url.host,
            port: url.port.unwrap_or(if secure { 5671 } else { 5672 }),
            vhost: vhost.to_owned(),
            username: url.username.unwrap_or_else(|| "guest".to_owned()),
            password: url
                .password
                .unwrap_or_else(|| Secret::Inline("guest".to_owned())),
            tls: secure.then(|| tls.cloned().unwrap_or_default()),
        }
    }

    pub(super) fn address(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.vhost)
    }
}
