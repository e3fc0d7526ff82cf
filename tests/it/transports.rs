//! Connections to a receiver: TLS, certificate rotation and proxies, with a real Prometheus at the end.

use std::path::Path;
use std::process::Command;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

use super::logins::{Sender, write};
use super::support::celeriac::Celeriac;
use super::support::endpoint::{Endpoint, Reply};
use super::support::forward_proxy::Proxy;
use super::support::process::Process;
use super::support::redis::Redis;
use super::support::tls::{self, TlsFront};
use super::support::{certificates, free_port, made_by_setup, wait_for};
use strict_receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn it_pushes_over_tls_to_whom_it_trusts() {
    let redis = Redis::start().await;
    let receiver = Receiver::start().await;
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let port = tls::front(folder.path(), receiver.address).await;
    let path = folder.path().display();
    let with = |host: &str, tls: &str| {
        format!(
            "brokers: [{{url: {:?}}}]\nremote_write: [{{url: 'https://{host}:{port}/api/v1/write', tls_config: {{{tls}}}}}]\n",
            redis.url(0)
        )
    };
    let identity = format!("cert_file: {path}/client.pem, key_file: {path}/client.key");
    for (host, tls) in [
        ("localhost", format!("ca_file: {path}/ca.pem, {identity}")),
        (
            "127.0.0.1",
            format!("ca_file: {path}/ca.pem, server_name: broker.test, {identity}"),
        ),
        (
            "127.0.0.1",
            format!("insecure_skip_verify: true, {identity}"),
        ),
    ] {
        let celeriac = Celeriac::start(&with(host, &tls)).await;
        celeriac.ready().await;
    }
    for (host, tls, why) in [
        (
            "127.0.0.1",
            format!("ca_file: {path}/ca.pem, {identity}"),
            "certificate not valid for name",
        ),
        ("localhost", String::new(), "certificate"),
        // The TLS front end requires our certificate.
        (
            "localhost",
            format!("ca_file: {path}/ca.pem"),
            "certificate",
        ),
    ] {
        let celeriac = Celeriac::start(&with(host, &tls)).await;
        wait_for("the reason", 15, async || {
            match celeriac.get("/-/ready").await {
                (503, reasons) if reasons.to_lowercase().contains(why) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn proxies_are_those_that_are_named_and_get_their_login() {
    let (endpoint, proxy) = (
        Endpoint::start(|_| Reply::status(204)).await,
        Proxy::start("bob:canary:pw").await,
    );
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let path = folder.path().display();
    let front = tls::front(folder.path(), endpoint.address).await;
    let url = format!("http://bob:canary%3Apw@{}", proxy.address);

    let sender = Sender::new(&endpoint.url("/w"), &format!("proxy_url: '{url}'"));
    assert_eq!(sender.send("").await, 204);
    assert_eq!(
        proxy.lines(),
        [format!("POST {} HTTP/1.1", endpoint.url("/w"))]
    );
    assert_eq!(endpoint.last().header("proxy-authorization"), "");

    let tls = format!(
        "proxy_url: '{url}', tls_config: {{ca_file: {path}/ca.pem, cert_file: {path}/client.pem, key_file: {path}/client.key}}"
    );
    let sender = Sender::new(&format!("https://localhost:{front}/w"), &tls);
    assert_eq!(sender.send("").await, 204);
    let connect = format!("CONNECT localhost:{front} HTTP/1.1");
    assert_eq!(proxy.lines()[1], connect);

    let around = format!("proxy_url: '{url}', no_proxy: '127.0.0.0/8'");
    assert_eq!(
        Sender::new(&endpoint.url("/w"), &around).send("").await,
        204
    );
    assert_eq!(proxy.lines().len(), 2);

    let wrong = format!("proxy_url: 'http://bob:canary-wrong@{}'", proxy.address);
    assert_eq!(Sender::new(&endpoint.url("/w"), &wrong).send("").await, 407);
    let tls = tls.replace(&url, &format!("http://bob:canary-wrong@{}", proxy.address));
    let sender = Sender::new(&format!("https://localhost:{front}/w"), &tls);
    let error = sender
        .try_send("")
        .await
        .expect_err("no tunnel")
        .to_string();
    assert!(
        error.contains("authoriz") && !error.contains("canary"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_proxies_only_for_who_asks() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let proxy = Proxy::start("bob:pw").await;
    let url = format!("http://bob:pw@{}", proxy.address);
    for (asks, lines) in [("false", false), ("true", true)] {
        let config = format!(
            "brokers: [{{url: {:?}}}]\nremote_write: [{{url: {:?}, proxy_from_environment: {asks}}}]\n",
            redis.url(0),
            receiver.url()
        );
        let celeriac = Celeriac::start_with(&config, &[("HTTP_PROXY", &url)]).await;
        celeriac.ready().await;
        assert_eq!(!proxy.lines().is_empty(), lines, "{asks}");
        receiver.with(|received| received.series.clear());
    }
}

#[tokio::test]
async fn versions_of_tls_and_http_are_those_that_both_sides_have() {
    let endpoint = Endpoint::start(|_| Reply::status(204)).await;
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let path = folder.path().display();
    let pem = |file: &str| {
        let text = std::fs::read_to_string(folder.path().join(file)).expect("a file");
        text.replace('\n', "\\n")
    };
    // Inline in the configuration.
    let inline = format!(
        "ca: \"{}\", cert: \"{}\", key: \"{}\"",
        pem("ca.pem"),
        pem("client.pem"),
        pem("client.key")
    );
    let files = format!(
        "ca_file: {path}/ca.pem, cert_file: {path}/client.pem, key_file: {path}/client.key"
    );
    static OLD: [&SupportedProtocolVersion; 1] = [&TLS12];
    static NEW: [&SupportedProtocolVersion; 1] = [&TLS13];
    let (old, new) = (&OLD[..], &NEW[..]);
    for (versions, keys, good) in [
        (old, "min_version: TLS12", true),
        (old, "min_version: TLS13", false),
        (new, "max_version: TLS12", false),
        (new, "min_version: TLS13, max_version: TLS13", true),
    ] {
        let front = TlsFront::start(folder.path(), endpoint.address, versions, &["http/1.1"]).await;
        for pems in [&inline, &files] {
            let keys = format!("tls_config: {{{keys}, {pems}}}");
            let sender = Sender::new(&format!("https://localhost:{}/w", front.port), &keys);
            let sent = sender.try_send("").await;
            match sent {
                Ok(_) => assert!(good, "{keys}"),
                Err(error) => assert!(
                    !good && error.to_string().contains("rotocol"),
                    "{keys}: {error}"
                ),
            }
        }
    }

    for (keys, alpn) in [("", "h2"), ("enable_http2: false, ", "http/1.1")] {
        let both = &["h2", "http/1.1"];
        let front = TlsFront::start(folder.path(), endpoint.address, new, both).await;
        let keys = format!("{keys}remote_timeout: 2s, tls_config: {{{files}}}");
        let sender = Sender::new(&format!("https://localhost:{}/w", front.port), &keys);
        // The endpoint behind it only speaks the old version, which does not matter here.
        let _ = sender.try_send("").await;
        assert_eq!(front.handshakes()[0].alpn.as_deref(), Some(alpn));
    }
}

#[tokio::test]
async fn certificates_that_change_on_disk_are_used_without_a_restart() {
    let endpoint = Endpoint::start(|_| Reply::status(204)).await;
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let path = folder.path().display();
    let front = TlsFront::start(
        folder.path(),
        endpoint.address,
        rustls::ALL_VERSIONS,
        &["h2", "http/1.1"],
    );
    let front = front.await;
    let keys = format!(
        "enable_http2: false, tls_config: {{ca_file: {path}/ca.pem, cert_file: {path}/client.pem, key_file: {path}/client.key}}"
    );
    let sender = Sender::new(&format!("https://localhost:{}/w", front.port), &keys);
    assert_eq!(sender.send("").await, 204);
    let first = tls::certificate(&folder.path().join("client.pem"));

    // A new CA, too, so that nothing old is valid any more.
    certificates::write(folder.path());
    let second = tls::certificate(&folder.path().join("client.pem"));
    wait_for("the new certificate", 15, async || {
        let sent = sender.try_send("").await;
        let shown = front.handshakes().pop().expect("a handshake").certificate;
        if shown == second && sent.is_ok() {
            Ok(())
        } else {
            Err(format!("{sent:?}"))
        }
    })
    .await;
    assert_eq!(front.handshakes()[0].certificate, first);
}

/// A Prometheus 3 that requires a client certificate and a password.
struct Guarded {
    port: u16,
    folder: TempDir,
    process: Process,
}

/// `first-password` and `second-password`.
const HASHES: [&str; 2] = [
    "$2b$04$LROJY9Q1eZ.kW8Vx2gHDxeMrz6OClKXIs9U/doDUUhn1ew3wVT9TW",
    "$2b$04$LROJY9Q1eZ.kW8Vx2gHDxezMO9XDrQuIxYZfXEXikVFXMN0lCKy4m",
];

impl Guarded {
    fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let at = folder.path();
        std::fs::write(at.join("prometheus.yml"), "global: {}\n").expect("writable");
        Self::write(at, 0);
        let port = free_port();
        let mut command = Command::new(made_by_setup("prometheus-3/usr/bin/prometheus"));
        command
            .arg(format!("--config.file={}/prometheus.yml", at.display()))
            .arg(format!("--web.config.file={}/web.yml", at.display()))
            .arg(format!("--storage.tsdb.path={}/data", at.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver");
        let process = Process::start("prometheus", &mut command, at);
        Self {
            port,
            folder,
            process,
        }
    }

    /// Writes certificates, and the password of a user. Both are read at each connection or request.
    fn write(folder: &Path, password: usize) {
        certificates::write(folder);
        let web = format!(
            "tls_server_config: {{cert_file: server.pem, key_file: server.key, client_auth_type: \
             RequireAndVerifyClientCert, client_ca_file: ca.pem}}\nbasic_auth_users: {{ann: {}}}\n",
            HASHES[password]
        );
        std::fs::write(folder.join("web.yml"), web).expect("writable");
    }

    /// Waits until an expression has the expected result.
    async fn has(&mut self, expression: &str, password: &str, expected: &str) {
        let pem = |file: &str| std::fs::read(self.folder.path().join(file)).expect("a file");
        let identity = [pem("client.pem"), pem("client.key")].concat();
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&pem("ca.pem")).expect("a root")])
            .identity(reqwest::Identity::from_pem(&identity).expect("a pair"))
            .build()
            .expect("a client");
        let query = url::form_urlencoded::byte_serialize(expression.as_bytes());
        let query: String = query.collect();
        let url = format!("https://localhost:{}/api/v1/query?query={query}", self.port);
        wait_for("Prometheus to have it", 40, async || {
            self.process.must_run();
            let asked = client
                .get(&url)
                .basic_auth("ann", Some(password))
                .send()
                .await;
            let answer = asked.map_err(|error| format!("{error:?}"))?;
            let text = answer.text().await.map_err(|error| error.to_string())?;
            if text.contains(&format!(",\"{expected}\"]")) {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_prometheus_takes_samples_before_and_after_everything_was_rotated() {
    let redis = Redis::start().await;
    let mut prometheus = Guarded::start();
    let password = write(&prometheus.folder, "password", "first-password\n");
    let path = prometheus.folder.path().display();
    let config = format!(
        "brokers: [{{url: {:?}}}]\nremote_write: [{{url: 'https://localhost:{}/api/v1/write', \
         basic_auth: {{username: ann, password_file: {password}}}, tls_config: {{ca_file: {path}/ca.pem, \
         cert_file: {path}/client.pem, key_file: {path}/client.key, min_version: TLS13}}}}]\n",
        redis.url(0),
        prometheus.port,
    );
    let celeriac = Celeriac::start(&config).await;
    celeriac.ready().await;
    redis.publish_lives(0..10, "t").await;
    let stored = "sum(celery_task_succeeded_total)";
    prometheus.has(stored, "first-password", "10").await;

    Guarded::write(prometheus.folder.path(), 1);
    write(&prometheus.folder, "password", "second-password\n");
    // Until then the old connection is used, which Prometheus does not close.
    wait_for("the certificates to be read again", 20, async || {
        let log = celeriac.process.output();
        if log.contains("reloaded certificates; new connections use them") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    redis.publish_lives(10..20, "t").await;
    prometheus.has(stored, "second-password", "20").await;
    let log = celeriac.process.output();
    assert!(!log.contains("-password"), "{log}");
}
