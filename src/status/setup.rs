//! What the configuration says about the things that are shown.

use std::sync::Arc;

use crate::config::{Config, Delivery, RemoteWriteConfig, Transport};
use crate::folder::host_name;
use crate::timestamp::Timestamp;

/// The names and limits of the daemon, its brokers and its receivers.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The host name.
    pub instance: String,
    pub started: Timestamp,
    /// The prefix of native families.
    pub prefix: Arc<str>,
    /// The queue of a task whose queue is not known.
    pub default_queue: Arc<str>,
    pub brokers: Vec<BrokerSetup>,
    pub receivers: Vec<ReceiverSetup>,
}

/// A configured broker.
#[derive(Clone, Debug)]
pub struct BrokerSetup {
    /// The name in metrics.
    pub name: Arc<str>,
    pub delivery: &'static str,
    /// The number of this shard, from 0, and how many there are.
    pub shard: Option<(u32, u32)>,
}

/// A configured receiver.
#[derive(Clone, Debug)]
pub struct ReceiverSetup {
    pub name: Arc<str>,
    pub kind: ReceiverKind,
    /// Without credentials.
    pub url: String,
    pub queue_limit_bytes: Option<u64>,
    pub on_disk: bool,
}

/// The kind of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    RemoteWrite,
    Pushgateway,
}

impl ReceiverKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::RemoteWrite => "remote_write",
            Self::Pushgateway => "pushgateway",
        }
    }
}

impl Setup {
    /// Reads a configuration; `only_broker` is the name of a broker without one.
    pub fn new(config: &Config, only_broker: &str, started: Timestamp) -> Self {
        let brokers = config.brokers.iter().map(|broker| BrokerSetup {
            name: broker.name.as_deref().unwrap_or(only_broker).into(),
            delivery: delivery(&broker.transport),
            shard: broker
                .transport
                .shard()
                .map(|shard| (shard.index, shard.count)),
        });
        let on_disk = config.data_dir.is_some();
        let sinks = config.remote_write.iter();
        let sinks = sinks.map(|sink| remote_write(sink, on_disk));
        let gateways = config.pushgateway.iter().map(|gateway| ReceiverSetup {
            name: gateway.name.as_str().into(),
            kind: ReceiverKind::Pushgateway,
            url: gateway.shown_url(),
            queue_limit_bytes: None,
            on_disk: false,
        });
        Self {
            instance: host_name(),
            started,
            prefix: Arc::clone(&config.metrics.native.prefix),
            default_queue: Arc::clone(&config.metrics.native.default_queue),
            brokers: brokers.collect(),
            receivers: sinks.chain(gateways).collect(),
        }
    }
}

fn remote_write(sink: &RemoteWriteConfig, on_disk: bool) -> ReceiverSetup {
    ReceiverSetup {
        name: sink.name.as_str().into(),
        kind: ReceiverKind::RemoteWrite,
        url: sink.shown_url(),
        queue_limit_bytes: Some(sink.queue.bytes_max),
        on_disk,
    }
}

const fn delivery(transport: &Transport) -> &'static str {
    match transport {
        Transport::Redis(_) => "pubsub",
        Transport::Amqp(amqp) => match amqp.delivery {
            Delivery::Transient => "transient",
            Delivery::Durable => "durable",
            Delivery::Stream => "stream",
        },
    }
}
