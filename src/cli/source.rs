//! Where the configuration comes from: a file, or flags that replace one.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::config::{Config, Flags, LoadError};

/// The arguments that commands with a configuration share.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").args(["config", "broker"]).required(true)))]
pub(super) struct ConfigSource {
    /// Configuration file in YAML or TOML, depending on its extension.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Without a file: URL of the broker, such as amqp://user:password@host:5672/vhost or redis://host:6379/0.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Without a file: turn on task events on workers that send none.
    #[arg(long, requires = "broker")]
    enable_events: bool,
    /// Without a file: URL to push to, such as http://prometheus:9090/api/v1/write.
    #[arg(long, value_name = "URL", requires = "broker")]
    remote_write: Option<String>,
    /// Without a file: URL of a Pushgateway, such as http://pushgateway:9091.
    #[arg(long, value_name = "URL", requires = "broker")]
    pushgateway: Option<String>,
    /// Without a file: address to serve /metrics on [default: 127.0.0.1:9808, unless pushing].
    #[arg(long, value_name = "ADDR", requires = "broker")]
    listen: Option<String>,
}

/// The listener's address if there is no other output.
const LISTEN: &str = "127.0.0.1:9808";

impl ConfigSource {
    pub(super) fn load(&self) -> Result<Config, LoadError> {
        if let Some(path) = &self.config {
            return Config::load(path);
        }
        let pushes = self.remote_write.is_some() || self.pushgateway.is_some();
        let listen = self.listen.clone();
        Config::from_flags(&Flags {
            broker: self.broker.clone(),
            enable_events: self.enable_events,
            remote_write: self.remote_write.clone(),
            pushgateway: self.pushgateway.clone(),
            listen: listen.or_else(|| (!pushes).then(|| LISTEN.to_owned())),
        })
    }
}
