//! Parses the URLs of brokers as Kombu does.

use url::form_urlencoded;

use super::url::decode;
use crate::secret::Secret;

/// The parts of a broker's URL, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokerUrl {
    pub(super) scheme: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// With its slashes.
    pub(super) path: String,
    /// The options that have a value.
    pub(super) query: Vec<(String, String)>,
}

impl BrokerUrl {
    /// Returns the value of an option. As in Kombu, the last one counts.
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        let found = self.query.iter().rfind(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Adds what Kombu keeps when it switches to another URL: the options of the first one, with
    /// `ssl_*` as a unit, and the port and vhost of the previous one.
    fn inherit(&mut self, first: &Self, previous: &Self) {
        if self.is_amqp() {
            self.port = self.port.or(previous.port);
            if matches!(self.path.as_str(), "" | "/") {
                self.path.clone_from(&previous.path);
            }
        }
        let own_tls = self.query.iter().any(|(name, _)| is_tls(name));
        let missing = first.query.iter().filter(|(name, _)| {
            let own = self.query.iter().any(|(own, _)| own == name);
            !(own || own_tls && is_tls(name))
        });
        let missing: Vec<_> = missing.cloned().collect();
        self.query.extend(missing);
    }
}

/// Returns whether an option configures TLS.
pub(super) fn is_tls(name: &str) -> bool {
    name.starts_with("ssl_")
}

/// Parses a broker's URL into one per server: Kombu's semicolon-separated list, or comma-separated
/// hosts. Error messages do not repeat the URL.
pub(super) fn parse_brokers(text: &str) -> Result<Vec<BrokerUrl>, String> {
    let mut urls: Vec<BrokerUrl> = Vec::new();
    for one in text.split(';').filter(|one| !one.is_empty()) {
        // As in Kombu, a bare host uses the other parts of the first URL.
        if let Some(first) = urls.first().filter(|_| !one.contains("://")).cloned() {
            if one.contains(['@', '/', '?', '#']) {
                return Err(format!(
                    "expected a URL or a host after each semicolon; {ESCAPES}"
                ));
            }
            let (host, port) = host_and_port(one)?;
            urls.push(BrokerUrl {
                host,
                port: port.or(first.port),
                ..first
            });
            continue;
        }
        for host in split_hosts(one) {
            let mut url = parse_broker(&host)?;
            if let Some((first, previous)) = urls.first().zip(urls.last()) {
                url.inherit(first, previous);
            }
            urls.push(url);
        }
    }
    if urls.is_empty() {
        return Err(format!("not a URL; one {SUCH_AS}"));
    }
    Ok(urls)
}

/// Splits `amqp://user@a,b/vhost` into one URL per host.
fn split_hosts(text: &str) -> Vec<String> {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        hosts.contains(',').then_some((scheme, login, hosts, path))
    });
    let Some((scheme, login, hosts, path)) = parts else {
        return vec![text.to_owned()];
    };
    let hosts = hosts.split(',').filter(|host| !host.is_empty());
    hosts
        .map(|host| format!("{scheme}://{login}{host}{path}"))
        .collect()
}

/// Replaces the password in `amqp://user:secret@host/` with `<secret>`, for each server.
pub(super) fn hide_password(urls: &str) -> String {
    let hidden = |url: &str| {
        let parts = url.split_once("://").and_then(|(scheme, rest)| {
            let (login, host) = rest.rsplit_once('@')?;
            let (user, _) = login.split_once(':')?;
            Some(format!("{scheme}://{user}:<secret>@{host}"))
        });
        parts.unwrap_or_else(|| url.to_owned())
    };
    let hidden: Vec<_> = urls.split(';').map(hidden).collect();
    hidden.join(";")
}

/// Explains why a Kombu transport cannot deliver events.
///
/// Events require an exchange that gives each receiver a copy. Source: kombu 5.7,
/// `transport/__init__.py`, and `implements.exchange_type` and `Channel.supports_fanout` of each
/// transport.
pub(super) fn no_events(scheme: &str) -> Option<String> {
    let base = scheme.split('+').next().unwrap_or_default();
    let why = match scheme.to_ascii_lowercase().as_str() {
        "rediscluster" | "redisclusters" | "redis+cluster" | "rediss+cluster" => {
            "Celery has no Redis Cluster transport that carries events"
        }
        _ => match base.to_ascii_lowercase().as_str() {
            "sqs" => "Celery sends no events over SQS, which has no fanout",
            "gcpubsub" => "Celery's events over Google Pub/Sub cannot be read from outside Celery",
            "azureservicebus" => "Celery sends no events over Azure Service Bus",
            "azurestoragequeues" => {
                "Celery sends no events over Azure Storage Queues, which have no fanout"
            }
            "kafka" | "confluentkafka" => "Celery sends no events over Kafka",
            "mongodb" => "Celery's events over MongoDB cannot be read from outside Celery",
            "db" | "sqla" | "sqlalchemy" | "django" => {
                "Celery sends no events over a database, which has no fanout"
            }
            "filesystem" => "Celery's events over the file system cannot be read from another host",
            "memory" => "Celery's events in memory do not leave its process",
            "zookeeper" => "Celery sends no events over ZooKeeper, which has no fanout",
            "consul" => "Celery sends no events over Consul, which has no fanout",
            "etcd" => "Celery sends no events over etcd, which has no fanout",
            "pyro" => "Celery's events over Pyro cannot be read from outside Celery",
            "qpid" => "Celery's transport for Qpid is no longer maintained",
            "slmq" => "Celery sends no events over SLMQ, which has no fanout",
            _ => return None,
        },
    };
    Some(why.to_owned())
}

const SUCH_AS: &str = "such as amqp://user:password@host:5672/vhost or redis://host:6379/0";
const ESCAPES: &str = "in a user name, password or vhost, write `/` as %2F, `#` as %23, `?` as \
                       %3F, `@` as %40 and `;` as %3B";

/// Parses the URL of one server. Error messages do not repeat the URL.
fn parse_broker(text: &str) -> Result<BrokerUrl, String> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| format!("not a URL; one {SUCH_AS}"))?;
    if rest.contains('#') {
        // Kombu drops the rest of the URL.
        return Err("contains `#`; write it as %23".to_owned());
    }
    let (authority, behind) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
    let (login, server) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = host_and_port(server)?;
    // An `@` this far right is that of a login whose password contains a `/` or `?`. Only the path
    // of a socket and the value of an option may contain one.
    let option = query.split('&').any(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        name.contains('@') || (login.is_empty() && value.contains('@'))
    });
    if option || (path.contains('@') && !scheme.ends_with("+socket")) {
        return Err(format!("contains `@` after the host; {ESCAPES}"));
    }
    let (username, password) = login.split_once(':').unwrap_or((login, ""));
    let username = decoded(username)?;
    let password = decoded(password)?;
    let query = form_urlencoded::parse(query.as_bytes()).into_owned();
    Ok(BrokerUrl {
        scheme: scheme.to_ascii_lowercase(),
        username: Some(username).filter(|username| !username.is_empty()),
        password: Some(password)
            .filter(|password| !password.is_empty())
            .map(Secret::Inline),
        host,
        port,
        path: decoded(path)?,
        query: query.filter(|(_, value)| !value.is_empty()).collect(),
    })
}

/// Parses a server's host and port: `localhost` and the transport's default if absent.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, ""),
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|_| digits);
    if !port.is_empty() && number.is_none() {
        return Err(format!(
            "not a URL (invalid port number); one {SUCH_AS}; {ESCAPES}, and an IPv6 address in \
             brackets"
        ));
    }
    let host = decoded(host)?;
    if host.contains(|one: char| one.is_whitespace() || one.is_control()) {
        return Err(format!("not a URL (invalid host); one {SUCH_AS}"));
    }
    let host = Some(host).filter(|host| !host.is_empty());
    Ok((
        host.unwrap_or_else(|| "localhost".to_owned()),
        number.filter(|number| *number != 0),
    ))
}

fn decoded(text: &str) -> Result<String, String> {
    decode(text).ok_or("a part of the URL is not valid UTF-8 after percent-decoding".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_url_is_taken_apart_and_decoded() {
        let url = parse_broker("amqp://us%40er:p%2Fw@rabbit:5673/foo%2Fbar").expect("a URL");
        assert_eq!(
            (url.scheme.as_str(), url.host.as_str(), url.port),
            ("amqp", "rabbit", Some(5673))
        );
        assert_eq!(url.username.as_deref(), Some("us@er"));
        assert_eq!(url.password, Some(Secret::Inline("p/w".into())));
        assert_eq!(url.path, "/foo/bar");
    }

    #[test]
    fn hosts_may_be_missing_and_sockets_have_paths() {
        let cases = [
            ("amqp://", "localhost", "", None),
            ("redis://:pw@h/2", "h", "/2", Some("pw")),
            ("amqp://[::1]:5673/v", "::1", "/v", None),
            (
                "redis+socket:///tmp/r.sock?virtual_host=3",
                "localhost",
                "/tmp/r.sock",
                None,
            ),
            (
                "redis+socket://:pw@/tmp/r.sock",
                "localhost",
                "/tmp/r.sock",
                Some("pw"),
            ),
        ];
        for (text, host, path, password) in cases {
            let url = parse_broker(text).expect(text);
            assert_eq!(
                (url.host.as_str(), url.path.as_str()),
                (host, path),
                "{text}"
            );
            assert_eq!(
                url.password,
                password.map(|text| Secret::Inline(text.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn several_servers_stand_with_semicolons_or_commas() {
        let cases: [(&str, &[&str]); 8] = [
            (
                "amqp://a//;amqp://b//",
                &["amqp guest a - //", "amqp guest b - //"],
            ),
            ("amqp://u:p@a:1/v;b:2", &["amqp u a 1 /v", "amqp u b 2 /v"]),
            ("amqp://u:p@a:1,b:2/v", &["amqp u a 1 /v", "amqp u b 2 /v"]),
            ("amqp://u:p@a:1/v;b", &["amqp u a 1 /v", "amqp u b 1 /v"]),
            (
                "amqp://u:p@a:1/v;amqp://b;amqps://c:2//",
                &["amqp u a 1 /v", "amqp guest b 1 /v", "amqps guest c 2 //"],
            ),
            ("amqp://u:p,w@a/v", &["amqp u a - /v"]),
            (
                "sentinel://a:1/2;sentinel://b",
                &["sentinel guest a 1 /2", "sentinel guest b - "],
            ),
            (
                "sentinel+tls://a,b/2;",
                &["sentinel+tls guest a - /2", "sentinel+tls guest b - /2"],
            ),
        ];
        for (text, expected) in cases {
            let urls = parse_brokers(text).expect(text);
            let shown = urls.iter().map(|url| {
                let user = url.username.as_deref().unwrap_or("guest");
                let port = url
                    .port
                    .map_or_else(|| "-".to_owned(), |port| port.to_string());
                format!("{} {user} {} {port} {}", url.scheme, url.host, url.path)
            });
            assert_eq!(shown.collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn every_password_is_hidden() {
        let cases = [
            (
                "amqp://u:hunter2@a//;amqp://u:hunter3@b//",
                "amqp://u:<secret>@a//;amqp://u:<secret>@b//",
            ),
            ("amqp://u:hunter2@a,b/v", "amqp://u:<secret>@a,b/v"),
            ("redis://h/2", "redis://h/2"),
        ];
        for (url, shown) in cases {
            assert_eq!(hide_password(url), shown);
        }
    }

    #[test]
    fn errors_do_not_tell_passwords() {
        let errors = [
            parse_brokers("amqp://user:hun;ter2@a//").expect_err("a semicolon"),
            parse_brokers("amqp://user:12;hunter2@a//").expect_err("a semicolon"),
            parse_broker("amqp://user:hunter2@h:port/").expect_err("port"),
            parse_broker("user:hunter2@h").expect_err("no scheme"),
            parse_broker("amqp://user:hun#ter2@h").expect_err("a hash"),
            parse_broker("amqp://user:12#hunter2@h").expect_err("a hash"),
            parse_broker("amqp://user:12/hunter2@h").expect_err("a slash"),
            parse_broker("amqp://user:12?hunter2@h/v").expect_err("a question mark"),
            parse_broker("amqp://user:12?a=hunter2@h/v").expect_err("a question mark"),
            parse_broker("amqp://user:1@2?hunter2@h/v").expect_err("a question mark"),
        ];
        for error in errors {
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
