//! `brokers`: where Celery's events are read.

use std::path::PathBuf;

use config::ValueKind;

use super::problem::nearest;
use super::scalar::show_bytes;
use super::secret::Secret;
use super::section::Section;
use super::shown::Shown;
use super::tls::TlsConfig;
use super::url::{BrokerUrl, parse_broker};
use crate::event::{Accept, ContentType};

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// The value of the label `broker`; optional where there is one.
    pub name: Option<String>,
    pub event_exchange: String,
    /// The serializers whose bodies are read.
    pub accept: Accept,
    /// The bound of what waits for us: in the broker's queue, or in our memory.
    pub queue_bytes_max: u64,
    pub transport: Transport,
}

/// What a broker speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    Amqp(AmqpConfig),
    Redis(RedisConfig),
}

/// A RabbitMQ broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpConfig {
    pub host: String,
    pub port: u16,
    pub vhost: String,
    pub username: String,
    pub password: Secret,
    pub tls: Option<TlsConfig>,
    pub bindings: Vec<String>,
    /// Messages that the broker sends ahead of our acknowledgements.
    pub prefetch: u16,
}

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
}

/// Kombu's transport option `fanout_prefix`: what stands before the exchange in a channel's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FanoutPrefix {
    /// `/{db}.`
    Default,
    None,
    /// A text of the user's own, with `{db}` for the number of the database.
    Template(String),
}

/// Where a Redis server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    Tcp {
        host: String,
        port: u16,
        tls: Option<TlsConfig>,
    },
    Socket(PathBuf),
}

impl BrokerConfig {
    const QUEUE_BYTES_MAX: u64 = 256 << 20;
    const PREFETCH: u64 = 10_000;

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.optional_text("name");
        let url = url(section);
        let password_file = section.optional_text("password_file").map(PathBuf::from);
        let tls = section.optional_section("tls", TlsConfig::read);
        let global_keyprefix = section.text("global_keyprefix", "");
        let fanout_prefix = fanout_prefix(section);
        let fanout_patterns = section.bool("fanout_patterns", true);
        let event_exchange = section.text("event_exchange", "celeryev");
        let accept = accept_content(section);
        section.word("delivery", "transient", &["transient"]);
        let queue_bytes_max = section.bytes("queue_max_bytes", Self::QUEUE_BYTES_MAX);
        let bindings = section.texts("bindings", &["#"]);
        if bindings.is_empty() {
            section.problem(
                "bindings",
                "is empty, so nothing would come; [\"#\"] is everything",
            );
        }
        let prefetch = section.whole("prefetch", Self::PREFETCH, 1..=65_535);
        let mut url = url?;
        if let Some(path) = password_file {
            if url.password.is_some() {
                section.problem(
                    "password_file",
                    "either this or a password in `url`, not both",
                );
            }
            url.password = Some(Secret::File(path));
        }
        let transport = match url.scheme.as_str() {
            "amqp" | "pyamqp" | "librabbitmq" | "amqps" => {
                let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
                Transport::Amqp(amqp(section, url, tls, bindings, prefetch))
            }
            "redis" | "rediss" | "redis+socket" => {
                let (address, database) = redis_address(section, &url, tls)?;
                Transport::Redis(RedisConfig {
                    address,
                    database,
                    username: url.username,
                    password: url.password,
                    global_keyprefix,
                    fanout_prefix,
                    fanout_patterns,
                })
            }
            other => {
                section.problem("url", format!("expected amqp, amqps, redis, rediss or redis+socket, found the scheme `{other}`"));
                return None;
            }
        };
        section.show("queue_max_bytes", Shown::Plain(show_bytes(queue_bytes_max)));
        Some(Self {
            name,
            event_exchange,
            accept,
            queue_bytes_max,
            transport,
        })
    }

    /// Where the broker is, for the log: without credentials.
    pub fn address(&self) -> String {
        match &self.transport {
            Transport::Amqp(amqp) => format!("{}:{}/{}", amqp.host, amqp.port, amqp.vhost),
            Transport::Redis(redis) => match &redis.address {
                RedisAddress::Tcp { host, port, .. } => format!("{host}:{port}/{}", redis.database),
                RedisAddress::Socket(path) => format!("{}?{}", path.display(), redis.database),
            },
        }
    }
}

/// The URL, shown without its password.
fn url(section: &mut Section<'_>) -> Option<BrokerUrl> {
    let text = section.needed_text("url", "amqp://user:password@host:5672/vhost")?;
    let url = parse_broker(&text);
    let shown = match &url {
        Ok(_) => hide_password(&text),
        Err(_) => "<not a URL>".to_owned(),
    };
    section.show("url", Shown::Text(shown));
    url.map_err(|what| section.problem("url", what)).ok()
}

/// `amqp://user:secret@host/` with `<secret>` in its place.
fn hide_password(url: &str) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let (login, host) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:<secret>@{host}"))
    });
    parts.unwrap_or_else(|| url.to_owned())
}

/// Celery's setting of the same name: serializers by their names or their content types.
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
            "is empty, so nothing would be read; [json] is Celery's default",
        );
    }
    let mut accepted = Vec::new();
    for text in texts {
        let content_type = named(&text);
        if content_type == ContentType::Unknown {
            let hint = nearest(&text, names)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
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

fn fanout_prefix(section: &mut Section<'_>) -> FanoutPrefix {
    let expected = "true, false or a template such as \"/{db}.\"";
    let read = section.scalar("fanout_prefix", expected, |value| {
        if let ValueKind::Boolean(on) = value.kind {
            return Some(if on {
                FanoutPrefix::Default
            } else {
                FanoutPrefix::None
            });
        }
        let ValueKind::String(template) = &value.kind else {
            return None;
        };
        Some(FanoutPrefix::Template(template.clone()))
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

fn amqp(
    section: &mut Section<'_>,
    url: BrokerUrl,
    tls: Option<TlsConfig>,
    bindings: Vec<String>,
    prefetch: u16,
) -> AmqpConfig {
    let secure = url.scheme == "amqps";
    if tls.is_some() && !secure {
        section.problem(
            "tls",
            "is of no use for a connection without TLS; amqps:// makes one with it",
        );
    }
    // `amqp://h`, `amqp://h/` and `amqp://h//` all are the vhost "/", as in Celery.
    let vhost = url
        .path
        .strip_prefix('/')
        .filter(|vhost| !vhost.is_empty())
        .unwrap_or("/");
    AmqpConfig {
        host: url.host,
        port: url.port.unwrap_or(if secure { 5671 } else { 5672 }),
        vhost: vhost.to_owned(),
        username: url.username.unwrap_or_else(|| "guest".to_owned()),
        password: url
            .password
            .unwrap_or_else(|| Secret::Inline("guest".to_owned())),
        tls: secure.then(|| tls.unwrap_or_default()),
        bindings,
        prefetch,
    }
}

fn redis_address(
    section: &mut Section<'_>,
    url: &BrokerUrl,
    tls: Option<TlsConfig>,
) -> Option<(RedisAddress, i64)> {
    let query = |key: &str| {
        url.query
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, v)| v.as_str())
    };
    let secure = url.scheme == "rediss";
    let socket = url.scheme == "redis+socket";
    if tls.is_some() && !secure {
        section.problem(
            "tls",
            "is of no use for a connection without TLS; rediss:// makes one with it",
        );
    }
    let database = if socket {
        query("virtual_host").unwrap_or_default()
    } else {
        url.path.trim_matches('/')
    };
    let number = if database.is_empty() {
        Some(0)
    } else {
        database.parse().ok()
    };
    let Some(number) = number.filter(|number| *number >= 0) else {
        section.problem(
            "url",
            format!("expected the number of a database, found `{database}`"),
        );
        return None;
    };
    if socket {
        return Some((RedisAddress::Socket(url.path.clone().into()), number));
    }
    let tls = secure.then(|| {
        let mut tls = tls.unwrap_or_default();
        let path = |key: &str| query(key).map(PathBuf::from);
        // As Celery has them in the URL: ssl_cert_reqs=none, or CERT_NONE.
        tls.insecure_skip_verify |=
            query("ssl_cert_reqs").is_some_and(|reqs| reqs.to_ascii_lowercase().ends_with("none"));
        tls.ca_file = tls.ca_file.or_else(|| path("ssl_ca_certs"));
        tls.identity = tls
            .identity
            .or_else(|| path("ssl_certfile").zip(path("ssl_keyfile")));
        tls
    });
    let port = url.port.unwrap_or(6379);
    Some((
        RedisAddress::Tcp {
            host: url.host.clone(),
            port,
            tls,
        },
        number,
    ))
}
