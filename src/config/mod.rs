//! Text to types, once: the configuration file as the program uses it.
//!
//! A file is read by [`Section`](section::Section)s, which hand out checked values, note every problem with
//! its key path, and record what holds in the end. So one line for each key is its name, its type, its default,
//! its place in `check-config --print`, and what makes it known. Behind this folder nothing can be wrong any
//! more, and nothing is checked again.

mod load;
mod problem;

mod scalar;
mod secret;
mod section;
mod shown;

mod amqp;
mod broker;
mod client;
mod global;
mod http;
mod metrics;
mod poll;
mod profile;
mod redis;
mod sink;
mod tls;
mod url;

pub use amqp::{AmqpConfig, AmqpServer};
pub use broker::{BrokerConfig, Transport};
pub use client::{Authorization, HttpClientConfig};
pub use global::GlobalConfig;
pub use http::{HttpConfig, LoginConfig, PasswordHash, ScrapeConfig, ServerTlsConfig};
pub use load::{Config, Flags, LoadError};
pub use metrics::{MetricsConfig, TaskFilter};
pub use poll::PollConfig;
pub use problem::Problem;
pub use redis::{FanoutPrefix, RedisAddress, RedisConfig, SentinelConfig};
pub use secret::{Secret, SecretError};
pub use shown::Shown;
pub use sink::{QueueConfig, RemoteWriteConfig};
pub use tls::TlsConfig;
