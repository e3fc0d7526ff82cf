//! Parses URLs as users of Prometheus and Celery write them.

use url::Url;

use crate::secret::Secret;

/// User and password from a URL, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlLogin {
    pub username: Secret,
    pub password: Option<Secret>,
}

/// Parses a receiver's URL and the login in it. Error messages do not repeat the URL.
pub(super) fn parse_http_with_login(
    text: &str,
    such_as: &str,
) -> Result<(Url, Option<UrlLogin>), String> {
    let url =
        Url::parse(text).map_err(|error| format!("not a URL ({error}); one such as {such_as}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!(
            "expected an http or https URL such as {such_as}, found the scheme `{}`",
            url.scheme()
        ));
    }
    if url.username().is_empty() && url.password().is_none() {
        return Ok((url, None));
    }
    let decoded = |text: &str| {
        let text =
            decode(text).ok_or("the credentials are not valid UTF-8 after percent-decoding")?;
        Ok::<_, &str>(Secret::Inline(text))
    };
    let login = UrlLogin {
        username: decoded(url.username())?,
        password: url.password().map(decoded).transpose()?,
    };
    let mut url = url;
    // Only refused for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok((url, Some(login)))
}

/// Formats a URL for the log and for labels.
pub(super) fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    // Only refused for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    // Some receivers expect their API key in the query.
    let names: Vec<String> = url
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect();
    if !names.is_empty() {
        let shown = names.iter().map(|name| format!("{name}=<secret>"));
        let shown = shown.collect::<Vec<_>>().join("&");
        url.set_query(None);
        return format!("{url}?{shown}");
    }
    url.into()
}

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
    pub(super) query: Vec<(String, String)>,
}

impl BrokerUrl {
    /// Returns the value of a query parameter.
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        let found = self.query.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// Parses a broker's URL into one per server: Kombu's semicolon-separated list, or comma-separated
/// hosts. Error messages do not repeat the URL.
pub(super) fn parse_brokers(text: &str) -> Result<Vec<BrokerUrl>, String> {
    let mut urls: Vec<BrokerUrl> = Vec::new();
    for one in text.split(';').filter(|one| !one.is_empty()) {
        // As in Kombu, a bare host uses the other parts of the first URL.
        if let Some(first) = urls.first().filter(|_| !one.contains("://")).cloned() {
            if one.contains('@') {
                return Err(
                    "expected a URL or a host after each semicolon; write a `;` in a \
                            password as %3B"
                        .to_owned(),
                );
            }
            let other = parse_broker(&format!("{}://{one}", first.scheme))?;
            urls.push(BrokerUrl {
                host: other.host,
                port: other.port,
                ..first
            });
            continue;
        }
        for host in split_hosts(one) {
            urls.push(parse_broker(&host)?);
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

/// Parses the URL of one server, as Kombu does. Error messages do not repeat the URL.
fn parse_broker(text: &str) -> Result<BrokerUrl, String> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or(format!("not a URL; one {SUCH_AS}"))?;
    // A socket's URL has no host, which the parser rejects in combination with credentials.
    let socket = scheme.ends_with("+socket");
    let filled = match rest.split_once('@') {
        Some((user, path)) if socket => format!("{scheme}://{user}@localhost{path}"),
        None if socket => format!("{scheme}://localhost{rest}"),
        _ => text.to_owned(),
    };
    let url = Url::parse(&filled).map_err(|error| format!("not a URL ({error}); one {SUCH_AS}"))?;
    let decoded = |text: &str| {
        decode(text).ok_or("a part of the URL is not valid UTF-8 after percent-decoding".to_owned())
    };
    let username = Some(url.username())
        .filter(|name| !name.is_empty())
        .map(decoded)
        .transpose()?;
    let password = url.password().map(decoded).transpose()?;
    Ok(BrokerUrl {
        scheme: url.scheme().to_owned(),
        username,
        password: password.map(Secret::Inline),
        host: decoded(
            url.host_str()
                .filter(|host| !host.is_empty())
                .map_or("localhost", without_brackets),
        )?,
        port: url.port(),
        path: decoded(url.path())?,
        query: url
            .query_pairs()
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect(),
    })
}

/// Removes the brackets of an IPv6 host.
fn without_brackets(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// Formats a host and a port as in a URL.
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| first == b'%');
        let code = digits
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).ok()
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
    fn an_ipv6_host_stands_in_brackets() {
        assert_eq!(host_and_port("::1", 5672), "[::1]:5672");
        assert_eq!(host_and_port("rabbit", 5672), "rabbit:5672");
    }

    #[test]
    fn several_servers_stand_with_semicolons_or_commas() {
        let cases: [(&str, &[&str]); 6] = [
            (
                "amqp://a//;amqp://b//",
                &["amqp guest a - //", "amqp guest b - //"],
            ),
            ("amqp://u:p@a:1/v;b:2", &["amqp u a 1 /v", "amqp u b 2 /v"]),
            ("amqp://u:p@a:1,b:2/v", &["amqp u a 1 /v", "amqp u b 2 /v"]),
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
            parse_http_with_login("http://user:hunter2@h:port/", "").expect_err("port"),
            parse_http_with_login("ftp://user:hunter2@h/", "").expect_err("scheme"),
            parse_http_with_login("http://user:hunter2%FF@h/", "").expect_err("no UTF-8"),
            parse_brokers("amqp://user:hun;ter2@a//").expect_err("a semicolon"),
            parse_brokers("amqp://user:12;hunter2@a//").expect_err("a semicolon"),
            parse_broker("amqp://user:hunter2@h:port/").expect_err("port"),
            parse_broker("user:hunter2@h").expect_err("no scheme"),
        ];
        for error in errors {
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
