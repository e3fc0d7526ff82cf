//! Broker URLs, as Kombu and celeriac understand them.

use std::path::Path;

use celeriac::config::{BrokerConfig, Config, RedisAddress, TlsConfig, Transport};
use celeriac::secret::Secret;
use serde_json::{Value, json};

use super::support::celery::Celery;

/// The same for Celery and celeriac.
const SAME: [&str; 46] = [
    "amqp://",
    "amqp://h",
    "amqp://h/",
    "amqp://h//",
    "amqp://h/%2F",
    "amqp://h/v",
    "amqp://h//v",
    "amqp://h/%2Fv/w",
    "amqp://h/a/../b",
    "amqp://h/a b",
    "AMQP://h/v",
    "pyamqp://h",
    "amqp://h:5673",
    "amqp://h:0",
    "amqp://h:",
    "amqp://[::1]:5673/v",
    "amqp://[::1]",
    "amqp://u@h",
    "amqp://u:@h",
    "amqp://:p@h",
    "amqp://u:p@h:1/v",
    "amqp://u%40x:p%2F%23%3F%40%3A%3B%25@h",
    "amqp://u:p@w:x@h",
    "amqp://u:%zz%+1%@h",
    "amqp://u:a b+c@h",
    "amqp://u:p@h?heartbeat=30",
    "amqp://h?heartbeat=0",
    "amqp://h?login_method=PLAIN",
    "amqp://h?heartbeat=",
    "amqp://h?heartbeat=3&heartbeat=4",
    "amqp://a//;amqp://b//",
    "amqp://u:p@a:1/v;b",
    "amqp://u:p@a:1/v;amqp://b",
    "amqp://a?heartbeat=4;amqp://b;amqp://c?heartbeat=5",
    "redis://",
    "redis://h:7000/3",
    "redis://h//3",
    "redis://:p%40w@h",
    "redis://u:p@h/0",
    "redis://u@h",
    "redis+socket:///tmp/a%20b.sock",
    "redis+socket://u:p@/tmp/s?virtual_host=3",
    "redis://h?ssl_ca_certs=/c+a",
    "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false",
    "rediss://h?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/a&ssl_certfile=/b&ssl_keyfile=/c",
    "sentinel://:p@a/2",
];

/// Refused by both, with celeriac's words.
const REFUSED: [(&str, &str); 24] = [
    ("amqp://u:p#w@h", "contains `#`; write it as %23"),
    ("amqp://u:p/w@h", "write `/` as %2F"),
    ("amqp://u:p?w@h", "`?` as %3F"),
    ("amqp://u:p;w@h", "`;` as %3B"),
    ("amqp://h:port", "invalid port number"),
    ("amqp://h:70000", "invalid port number"),
    ("amqp://::1", "an IPv6 address in brackets"),
    ("amqp://h?virtual_host=v", "use amqp://host/vhost"),
    (
        "amqp://h?visibility_timeout=9",
        "the option `visibility_timeout` is not supported",
    ),
    (
        "amqp://h?connect_timeout=3",
        "the option `connect_timeout` is not supported",
    ),
    (
        "amqps://h?ssl_ca_certs=/a",
        "use amqps:// and the keys under `tls`",
    ),
    (
        "amqp://h?ssl_cert_reqs=none",
        "use amqps:// and the keys under `tls`",
    ),
    ("amqp://h?heartbeat=x", "whole number of seconds"),
    ("redis://h?ssl=true", "use rediss://"),
    ("redis://h?db=3", "use redis://host/0"),
    (
        "redis://h?password=x",
        "write user:password@ before the host",
    ),
    (
        "redis://h?global_keyprefix=x",
        "set the broker's key of that name",
    ),
    (
        "redis://h?health_check_interval=3",
        "the option `health_check_interval` is not supported",
    ),
    (
        "redis://h?socket_timeout=3",
        "the option `socket_timeout` is not supported",
    ),
    (
        "rediss://h?ssl_cert_reqs=NONE",
        "must be none, optional or required",
    ),
    ("redis://h/3/", "expected a database number"),
    ("redis://h/x", "expected a database number"),
    ("valkey://h", "found the scheme `valkey`"),
    ("unknown+socket://h", "found the scheme `unknown+socket`"),
];

/// Accepted by Celery and refused here, with the words.
const REFUSED_HERE: [(&str, &str); 13] = [
    ("amqp://h/v#w", "contains `#`; write it as %23"),
    ("amqp://u:12#w@h", "contains `#`; write it as %23"),
    ("amqp://u:12/w@h", "write `/` as %2F"),
    ("amqp://u:%FF@h", "not valid UTF-8"),
    ("amqp://h?ssl=true", "use amqps://"),
    ("amqp://h?login_method=EXTERNAL", "must be PLAIN"),
    ("amqp://h?insist=1", "the option `insist` is not supported"),
    ("amqp://h?heartbeat=2.5", "whole number of seconds"),
    ("redis://h?heartbeat=3", "has no effect on Redis; remove it"),
    (
        "redis://h?connect_timeout=3",
        "the option `connect_timeout` is not supported",
    ),
    ("redis://h/-1", "expected a database number"),
    (
        "rediss://h?ssl_check_hostname=false&ssl_ca_certs=/a",
        "set `tls.server_name`",
    ),
    (
        "redis+socket:///tmp/s?socket_timeout=3",
        "the option `socket_timeout` is not supported",
    ),
];

/// Certificates are checked here, and not by Celery.
const VERIFIED_HERE: [&str; 2] = ["amqps://h", "rediss://h"];

fn broker(url: &str) -> Result<BrokerConfig, String> {
    let sentinel = if url.starts_with("sentinel") {
        "\n    sentinel: {master_name: m}"
    } else {
        ""
    };
    let text = format!("brokers:\n  - url: {url:?}{sentinel}\nhttp: {{listen: 'localhost:0'}}\n");
    let config = Config::parse(&text, Path::new("c.yaml"), []);
    let mut config = config.map_err(|error| error.to_string())?;
    Ok(config.brokers.remove(0))
}

fn tls(tls: Option<&TlsConfig>) -> Value {
    let file = |secret: &Secret| match secret {
        Secret::File(path) => json!(path),
        Secret::Inline(_) => panic!("a file"),
    };
    tls.map_or(Value::Null, |tls| {
        let identity = tls.identity.as_ref();
        let certificate = identity.map(|(certificate, _)| certificate);
        let key = identity.map(|(_, key)| key);
        json!([
            !tls.insecure_skip_verify,
            tls.ca.as_ref().map(file),
            certificate.map(file),
            key.map(file)
        ])
    })
}

fn text(secret: Option<&Secret>) -> Option<&str> {
    secret.map(|secret| match secret {
        Secret::Inline(text) => text.as_str(),
        Secret::File(_) => panic!("inline"),
    })
}

/// What celeriac makes of a URL, in the form of `python/urls.py`.
fn servers(broker: &BrokerConfig) -> Vec<Value> {
    match &broker.transport {
        Transport::Amqp(amqp) => amqp
            .servers
            .iter()
            .map(|server| {
                json!([
                    server.host,
                    server.port,
                    server.username,
                    text(Some(&server.password)),
                    server.vhost,
                    tls(server.tls.as_ref()),
                    f64::from(server.heartbeat)
                ])
            })
            .collect(),
        Transport::Redis(redis) => {
            let (host, port, secured) = match &redis.address {
                RedisAddress::Tcp { host, port, tls } => (host.clone(), Some(*port), tls.as_ref()),
                RedisAddress::Socket(path) => (path.display().to_string(), None, None),
                RedisAddress::Sentinel(sentinel) => {
                    let (host, port) = &sentinel.servers[0];
                    (host.clone(), Some(*port), sentinel.tls.as_ref())
                }
            };
            let password = text(redis.password.as_ref());
            let database = redis.database;
            vec![json!([
                host,
                port,
                redis.username,
                password,
                database,
                tls(secured),
                null
            ])]
        }
    }
}

/// Makes up for the differences that have no effect on which server is asked for what.
fn normalized(mut server: Value) -> Value {
    if server[0] == "localhost" {
        server[0] = json!("127.0.0.1");
    }
    // As in Python, the file of a certificate contains its key unless there is another file.
    if server[5][3].is_null() && !server[5][2].is_null() {
        server[5][3] = server[5][2].clone();
    }
    server
}

async fn verdicts(version: &str, urls: &[&str]) -> Vec<Value> {
    let celery = Celery::new(version, "", "").with("URLS", &json!(urls).to_string());
    let output = celery.script("urls.py", 60).await;
    let line = output.lines().find(|line| line.starts_with('['));
    let line = line.unwrap_or_else(|| panic!("{output}"));
    serde_json::from_str(line).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_url_means_what_it_means_to_celery() {
    for version in ["5.6", "5.7"] {
        for (url, kombu) in SAME.iter().zip(verdicts(version, &SAME).await) {
            let kombu = kombu.as_array().unwrap_or_else(|| panic!("{url}")).clone();
            let ours = broker(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            let ours: Vec<_> = servers(&ours).into_iter().map(normalized).collect();
            let kombu: Vec<_> = kombu
                .into_iter()
                .map(|mut server| {
                    let amqp = server[4].is_string();
                    server[6] = match server[6].as_f64() {
                        Some(seconds) => json!(seconds),
                        None if amqp && url.contains("heartbeat=0") => json!(0.0),
                        None if amqp => json!(10.0),
                        None => Value::Null,
                    };
                    normalized(server)
                })
                .collect();
            assert_eq!(ours, kombu, "{version} {url}");
        }
        for (cases, refuses) in [(&REFUSED[..], true), (&REFUSED_HERE[..], false)] {
            let urls: Vec<_> = cases.iter().map(|(url, _)| *url).collect();
            for ((url, words), kombu) in cases.iter().zip(verdicts(version, &urls).await) {
                assert_eq!(kombu.is_null(), refuses, "{version} {url}: {kombu}");
                let error = broker(url).err().unwrap_or_else(|| panic!("{url}"));
                assert!(error.contains(words), "{url}: {error}");
            }
        }
        for (url, kombu) in VERIFIED_HERE
            .iter()
            .zip(verdicts(version, &VERIFIED_HERE).await)
        {
            let ours = servers(&broker(url).expect(url));
            assert_eq!(ours[0][5][0], true, "{url}");
            assert_eq!(kombu[0][5][0], false, "{version} {url}");
        }
    }
}
