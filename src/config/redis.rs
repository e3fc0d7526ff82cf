//! Configuration of a Redis server, or of several with sentinels.

use std::path::PathBuf;

use super::broker_url::BrokerUrl;
use super::section::Section;
use super::shown::Shown;
use super::tls::TlsConfig;
use super::url::host_and_port;
use super::value::{bool_of, text_of};
use crate::secret::Secret;

/// A Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    pub address: RedisAddress,
    pub database: i64,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub global_keyprefix: String,
    pub fanout_prefix: FanoutPrefix,
    pub fanout_patterns: bool,
    /// Kombu's `priority_steps`: each has its own list.
    pub priority_steps: Vec<u8>,
    /// Kombu's `sep`: between a queue and its priority, and between the parts of a binding.
    pub sep: String,
    /// Kombu's `unacked_key`.
    pub unacked_key: String,
}

/// Kombu's transport option `fanout_prefix`: the part of a channel name before the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FanoutPrefix {
    /// `/{db}.`
    Default,
    None,
    /// A custom prefix, with `{db}` for the database number.
    Template(String),
}

/// Address of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    Tcp {
        host: String,
        port: u16,
        tls: Option<TlsConfig>,
    },
    Socket(PathBuf),
    /// The master that the sentinels report.
    Sentinel(SentinelConfig),
}

/// Sentinels, which report the address of the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelConfig {
    /// Hosts and ports; at least one.
    pub servers: Vec<(String, u16)>,
    pub master_name: String,
    /// Credentials for the sentinels; those for the master are in the URL.
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// For the sentinels and the master.
    pub tls: Option<TlsConfig>,
}

/// The section `sentinel`.
#[derive(Debug)]
pub(super) struct SentinelKeys {
    master_name: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
}

impl SentinelKeys {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            master_name: section.needed_text("master_name", "mymaster"),
            username: section.optional_text("username"),
            password: section.secret("password", "password_file"),
        }
    }
}

impl SentinelConfig {
    pub(super) fn address(&self) -> String {
        let servers = self.servers.iter();
        let servers: Vec<_> = servers
            .map(|(host, port)| host_and_port(host, *port))
            .collect();
        format!("{}@{}", self.master_name, servers.join(","))
    }
}

impl RedisConfig {
    /// Kombu's default.
    pub const PRIORITY_STEPS: [u8; 4] = [0, 3, 6, 9];
    pub const SEP: &str = "\x06\x16";

    /// Reads the keys of a broker's section. The address comes later from its URL.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            address: RedisAddress::Socket(PathBuf::new()),
            database: 0,
            username: None,
            password: None,
            global_keyprefix: section.text("global_keyprefix", ""),
            fanout_prefix: fanout_prefix(section),
            fanout_patterns: section.bool("fanout_patterns", true),
            priority_steps: priority_steps(section),
            sep: sep(section),
            unacked_key: section.text("unacked_key", "unacked"),
        }
    }

    /// Sets the address from the URL of a single server.
    pub(super) fn parse_address(
        &mut self,
        section: &mut Section<'_>,
        urls: Vec<BrokerUrl>,
        tls: Option<TlsConfig>,
    ) -> Option<()> {
        let mut urls = urls.into_iter();
        let url = urls.next()?;
        if urls.next().is_some() {
            section.problem(
                "url",
                "several Redis servers require sentinels, because Celery uses \
                             one at a time; use one server or sentinel://",
            );
            return None;
        }
        refuse_idle_tls(section, &url, tls.as_ref());
        let socket = url.scheme == "redis+socket";
        let database = if socket {
            url.query("virtual_host").unwrap_or_default()
        } else {
            in_path(&url)
        };
        self.database = number(section, database)?;
        self.address = if socket {
            RedisAddress::Socket(url.path.clone().into())
        } else {
            RedisAddress::Tcp {
                host: url.host.clone(),
                port: url.port.unwrap_or(6379),
                tls: url.tls(tls.as_ref()),
            }
        };
        self.username = url.username;
        self.password = url.password;
        Some(())
    }

    /// Sets the address from the sentinels' URLs. As in Kombu, the database and the master's
    /// credentials are those of the first.
    pub(super) fn reach_by_sentinel(
        &mut self,
        section: &mut Section<'_>,
        urls: Vec<BrokerUrl>,
        keys: Option<SentinelKeys>,
        tls: Option<TlsConfig>,
    ) -> Option<()> {
        let Some(keys) = keys else {
            section.problem("sentinel.master_name", "is required (example: mymaster)");
            return None;
        };
        let servers = urls.iter();
        let servers = servers
            .map(|url| (url.host.clone(), url.port.unwrap_or(26_379)))
            .collect();
        let url = urls.into_iter().next()?;
        refuse_idle_tls(section, &url, tls.as_ref());
        self.database = number(section, in_path(&url))?;
        self.address = RedisAddress::Sentinel(SentinelConfig {
            servers,
            master_name: keys.master_name?,
            username: keys.username,
            password: keys.password,
            tls: url.tls(tls.as_ref()),
        });
        self.username = url.username;
        self.password = url.password;
        Some(())
    }
}

fn refuse_idle_tls(section: &mut Section<'_>, url: &BrokerUrl, tls: Option<&TlsConfig>) {
    if tls.is_some() && !url.secure() {
        section.problem(
            "tls",
            "has no effect on a connection without TLS; use rediss:// in `url`",
        );
    }
}

/// Returns the database in the path of a URL.
fn in_path(url: &BrokerUrl) -> &str {
    url.path.strip_prefix('/').unwrap_or_default()
}

/// Parses a database number, which Kombu allows a slash before.
fn number(section: &mut Section<'_>, text: &str) -> Option<i64> {
    let database = text.strip_prefix('/').unwrap_or(text);
    let number = if database.is_empty() {
        Some(0)
    } else {
        database.parse().ok()
    };
    let number = number.filter(|number| *number >= 0);
    if number.is_none() {
        section.problem(
            "url",
            format!("expected a database number, found `{database}`"),
        );
    }
    number
}

fn priority_steps(section: &mut Section<'_>) -> Vec<u8> {
    let numbers = section.numbers(
        "priority_steps",
        &RedisConfig::PRIORITY_STEPS.map(f64::from),
    );
    let step = |number: &f64| (0..=u8::MAX).find(|step| f64::from(*step) == *number);
    let steps: Vec<u8> = numbers.iter().filter_map(step).collect();
    if steps.is_empty() || steps.len() < numbers.len() {
        section.problem(
            "priority_steps",
            "expected whole numbers from 0 to 255, such as [0, 3, 6, 9]",
        );
    }
    steps
}

fn sep(section: &mut Section<'_>) -> String {
    let sep = section.text("sep", RedisConfig::SEP);
    if sep.is_empty() {
        section.problem("sep", "is empty; Kombu's default is \"\\x06\\x16\"");
    }
    sep
}

fn fanout_prefix(section: &mut Section<'_>) -> FanoutPrefix {
    let expected = "true, false or a template such as \"/{db}.\"";
    let read = section.scalar("fanout_prefix", expected, |value| match bool_of(value) {
        Some(true) => Some(FanoutPrefix::Default),
        Some(false) => Some(FanoutPrefix::None),
        None => text_of(value).map(FanoutPrefix::Template),
    });
    let prefix = read.unwrap_or(FanoutPrefix::Default);
    let shown = match &prefix {
        FanoutPrefix::Default => Shown::Plain("true".to_owned()),
        FanoutPrefix::None => Shown::Plain("false".to_owned()),
        FanoutPrefix::Template(template) => Shown::Text(template.clone()),
    };
    section.show("fanout_prefix", shown);
    prefix
}
