//! Parses and validates the configuration file into typed values.
//!
//! A file is read through [`Section`](section::Section)s, which return checked values, record every
//! problem with its key path, and record the effective configuration. One line of code per key thus
//! defines its name, its type, its default, its place in `check-config --print`, and that the key
//! is known. The rest of the program can rely on valid values and checks nothing again.

// How keys are read, whatever section they are in.
mod problem;
mod reference;
mod scalar;
mod section;
mod shown;
mod url;
mod value;
mod yaml;

// The sections of a file.
mod amqp;
mod broker;
mod broker_options;
mod broker_url;
mod client;
mod global;
mod http;
mod limits;
mod login;
mod metrics;
mod poll;
mod profile;
mod proxy;
mod pushgateway;
mod redis;
mod relabel;
mod sink;
mod tls;

// A file as a whole.
mod load;
mod reload;

pub use amqp::{AmqpConfig, AmqpServer, Delivery};
pub use broker::{BrokerConfig, Transport};
pub use client::HttpClientConfig;
pub use global::GlobalConfig;
pub use http::{
    HttpConfig, LoginConfig, PasswordHash, ScrapeConfig, ServerTlsConfig, StatusConfig, path_prefix,
};
pub use limits::LimitsConfig;
pub use load::{Config, Flags, LoadError};
pub use login::{Authorization, OAuth2Config, SigV4Config};
pub use metrics::{MetricsConfig, TaskFilter};
pub use poll::PollConfig;
pub use problem::Problem;
pub(crate) use problem::nearest;
pub use proxy::{ProxyConfig, ProxyServer};
pub use pushgateway::{OnShutdown, PushFormat, PushgatewayConfig};
pub use redis::{FanoutPrefix, RedisAddress, RedisConfig, SentinelConfig};
pub use reference::KeyReference;
pub use reload::Changes;
pub use shown::Shown;
pub use sink::{Message, QueueConfig, RemoteWriteConfig, ReplicaConfig, SinkId};
pub use tls::{TlsConfig, TlsVersion};
pub use url::{UrlLogin, host_and_port};
pub(crate) use yaml::check as check_yaml;
