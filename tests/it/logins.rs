//! Every way to log in, against strict endpoints and a real Prometheus; and that no secret is told on the way.

use std::path::Path;
use std::process::Command;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode};
use celeriac::config::Config;
use celeriac::sink::client::{Answer, Client, Request, SendError};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;
use url::Url;

use super::support::celeriac::Celeriac;
use super::support::endpoint::{Endpoint, Reply, TokenServer};
use super::support::process::Process;
use super::support::proxy::Proxy;
use super::support::receiver::Receiver;
use super::support::redis::Redis;
use super::support::tls::{self, TlsFront};
use super::support::{certificates, free_port, made_by_setup, wait_for};

/// What a sink sends with: a client as configured, and the URL.
struct Sender {
    client: Client,
    url: Url,
}

impl Sender {
    fn new(url: &str, keys: &str) -> Self {
        let config = config(&format!(
            "brokers: [{{url: 'redis://h'}}]\nremote_write: [{{url: '{url}', {keys}}}]\n"
        ));
        let sink = &config.remote_write[0];
        let client = Client::new(&sink.client).expect("a client");
        let url = sink.url.clone();
        Self { client, url }
    }

    async fn try_send(&self, body: &'static str) -> Result<Answer, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            "content-type",
            "application/x-protobuf".parse().expect("a value"),
        );
        let request = Request {
            method: Method::POST,
            url: self.url.clone(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        };
        self.client.send(request).await
    }

    /// The status that comes back.
    async fn send(&self, body: &'static str) -> StatusCode {
        let answer = self.try_send(body).await;
        answer.unwrap_or_else(|error| panic!("{error}")).status
    }
}

fn config(text: &str) -> Config {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("celeriac.yaml");
    std::fs::write(&file, text).expect("a writable folder");
    Config::load(&file).unwrap_or_else(|error| panic!("{error}"))
}

fn write(folder: &TempDir, file: &str, text: &str) -> String {
    let path = folder.path().join(file);
    std::fs::write(&path, text).expect("a writable folder");
    path.display().to_string()
}

async fn start(redis: &Redis, receiver: &Receiver, keys: &str) -> Celeriac {
    let config = format!(
        "brokers: [{{url: {:?}}}]\nremote_write: [{{url: {:?}, {keys}}}]\n",
        redis.url(0),
        receiver.url()
    );
    Celeriac::start(&config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_logs_in_and_says_what_it_was_told_to_say() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let folder = TempDir::new().expect("a temporary folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "first\n").expect("a writable folder");
    let cases = [
        (
            "basic_auth: {username: ann, password: 's3:cret'}".to_owned(),
            "Basic YW5uOnMzOmNyZXQ=",
        ),
        ("authorization: {credentials: abc}".to_owned(), "Bearer abc"),
        (
            "authorization: {type: Token, credentials: abc}".to_owned(),
            "Token abc",
        ),
        (
            format!("authorization: {{credentials_file: {token:?}}}"),
            "Bearer first",
        ),
    ];
    let header = |name: &str| {
        receiver.with(|received| {
            received
                .headers
                .get(name)
                .map(|value| value.to_str().expect("text").to_owned())
        })
    };
    let mut last = None;
    for (keys, expected) in cases {
        let keys = format!("{keys}, headers: {{X-Scope-OrgID: team-a}}");
        // One after the other: they would push the same series.
        drop(last.take());
        receiver.with(|received| received.series.clear());
        let celeriac = start(&redis, &receiver, &keys).await;
        celeriac.ready().await;
        assert_eq!(header("authorization").as_deref(), Some(expected), "{keys}");
        assert_eq!(header("x-scope-orgid").as_deref(), Some("team-a"));
        assert!(!celeriac.process.output().contains("s3:cret"));
        last = Some(celeriac);
    }
    // A file is read again: a rotation needs no restart.
    std::fs::write(&token, "second\n").expect("a writable folder");
    wait_for("the new token", 10, async || {
        match header("authorization").as_deref() {
            Some("Bearer second") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

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
        // The front wants a certificate of ours.
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
async fn names_passwords_and_headers_come_from_the_url_the_keys_or_files() {
    let endpoint = Endpoint::start(|_| Reply::status(204)).await;
    let folder = TempDir::new().expect("a temporary folder");
    let user = write(&folder, "user", "ann\n");
    let secret = write(&folder, "secret", "first\r\n");
    let in_url = format!("http://ann:s3%3Acret@{}/w", endpoint.address);
    assert_eq!(Sender::new(&in_url, "").send("").await, 204);
    assert_eq!(
        endpoint.last().header("authorization"),
        "Basic YW5uOnMzOmNyZXQ="
    );

    let keys = format!(
        "basic_auth: {{username_file: {user}, password_file: {secret}}}, \
         http_headers: {{X-A: {{values: [a, b], secrets: [c], files: [{secret}]}}}}"
    );
    let sender = Sender::new(&endpoint.url("/w"), &keys);
    for (password, encoded) in [("first", "YW5uOmZpcnN0"), ("second", "YW5uOnNlY29uZA==")] {
        write(&folder, "secret", password);
        assert_eq!(sender.send("").await, 204);
        let asked = endpoint.last();
        assert_eq!(asked.header("authorization"), format!("Basic {encoded}"));
        let values: Vec<_> = asked.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["a", "b", "c", password]);
    }
    std::fs::remove_file(&secret).expect("it was there");
    let error = sender.try_send("").await.expect_err("no password");
    assert!(error.to_string().contains(&secret), "{error}");
}

/// The keys that the server of tokens wants, with the client's secret in a file.
fn oauth2(server: &TokenServer, secret_file: &str) -> String {
    format!(
        "oauth2: {{client_id: 'celeriac:1', client_secret_file: {secret_file}, token_url: '{}', \
         scopes: [read, write], endpoint_params: {{audience: 'a&b'}}}}",
        server.endpoint.url("/token")
    )
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_is_stale_revoked_or_its_secret_changes() {
    let server = TokenServer::start("canary/secret").await;
    let guard = server.guard().await;
    let folder = TempDir::new().expect("a temporary folder");
    let secret = write(&folder, "secret", "canary/secret");
    let sender = Sender::new(&guard.url("/w"), &oauth2(&server, &secret));

    // All at once wait for one token.
    let (a, b, c) = tokio::join!(sender.send("a"), sender.send("b"), sender.send("c"));
    assert_eq!([a, b, c], [204, 204, 204]);
    assert_eq!(server.issued(), 1);

    // The same body comes again with another token.
    server.revoke();
    assert_eq!(sender.send("again").await, 204);
    assert_eq!(server.issued(), 2);
    let asked = guard.asked();
    let tries: Vec<_> = asked.iter().filter(|asked| asked.body == "again").collect();
    let tokens: Vec<_> = tries
        .iter()
        .map(|asked| asked.header("authorization"))
        .collect();
    assert_eq!(tokens, ["Bearer canary-token-1", "Bearer canary-token-2"]);

    // A token is stale ten seconds before its end.
    server.change(|rules| rules.expires_in = Some(11));
    server.revoke();
    assert_eq!(sender.send("").await, 204);
    assert_eq!(sender.send("").await, 204);
    assert_eq!(server.issued(), 3);
    wait_for("the token to be stale", 5, async || {
        assert_eq!(sender.send("").await, 204);
        if server.issued() > 3 {
            Ok(())
        } else {
            Err("still good".to_owned())
        }
    })
    .await;
    let no_401 = guard
        .asked()
        .iter()
        .filter(|asked| asked.body.is_empty())
        .count();
    assert!(no_401 > 2);

    // Without an end it is good until somebody says otherwise, and a new secret wants a new one.
    server.change(|rules| rules.expires_in = None);
    server.revoke();
    assert_eq!(sender.send("").await, 204);
    let before = server.issued();
    assert_eq!(sender.send("").await, 204);
    assert_eq!(server.issued(), before);
    server.change(|rules| rules.secret = "another".to_owned());
    write(&folder, "secret", "another");
    assert_eq!(sender.send("").await, 204);
    assert_eq!(server.issued(), before + 1);
}

#[tokio::test]
async fn a_receiver_that_refuses_every_token_is_asked_twice_and_no_more() {
    let server = TokenServer::start("s").await;
    let deaf = Endpoint::start(|asked| Reply(401, None, format!("not {:?}", asked.headers))).await;
    let folder = TempDir::new().expect("a temporary folder");
    let secret = write(&folder, "secret", "s");
    let sender = Sender::new(&deaf.url("/w"), &oauth2(&server, &secret));

    let answer = sender.try_send("").await.expect("an answer");

    assert_eq!((answer.status.as_u16(), deaf.asked().len()), (401, 2));
    assert!(!answer.text.contains("canary"), "{}", answer.text);
}

#[tokio::test]
async fn an_endpoint_that_wants_the_secret_in_the_form_gets_it_there() {
    let server = TokenServer::start("s").await;
    server.change(|rules| rules.in_form = true);
    let guard = server.guard().await;
    let folder = TempDir::new().expect("a temporary folder");
    let secret = write(&folder, "secret", "s");
    let sender = Sender::new(&guard.url("/w"), &oauth2(&server, &secret));
    for _ in 0..2 {
        assert_eq!(sender.send("").await, 204);
        server.revoke();
    }
    // By basic auth once, and from then on as it was taken.
    let by_basic = server.endpoint.asked();
    let by_basic = by_basic
        .iter()
        .filter(|asked| !asked.header("authorization").is_empty());
    assert_eq!(by_basic.count(), 1);
}

#[tokio::test]
async fn what_a_token_endpoint_refuses_is_told_without_the_secret() {
    let server = TokenServer::start("right").await;
    let guard = server.guard().await;
    let folder = TempDir::new().expect("a temporary folder");
    let secret = write(&folder, "secret", "canary wrong&");
    let sender = Sender::new(&guard.url("/w"), &oauth2(&server, &secret));
    server.change(|rules| rules.in_form = true);

    let error = sender
        .try_send("")
        .await
        .expect_err("a wrong secret")
        .to_string();

    assert!(
        error.contains("HTTP 401") && error.contains("invalid_client"),
        "{error}"
    );
    assert!(!error.contains("canary"), "{error}");
    assert_eq!(guard.asked().len(), 0);

    // In both ways, and once for all who wait.
    let before = server.endpoint.asked().len();
    let (a, b, c) = tokio::join!(
        sender.try_send(""),
        sender.try_send(""),
        sender.try_send("")
    );
    assert!(a.is_err() && b.is_err() && c.is_err());
    assert_eq!(server.endpoint.asked().len(), before + 2);
}

#[cfg(feature = "sigv4")]
#[tokio::test]
async fn signatures_are_those_of_aws_and_each_try_has_its_own() {
    use super::support::sigv4;

    let judged = |asked: &_| match sigv4::check(asked, "AKID", "canary/key") {
        Ok(()) => Reply::status(204),
        Err(why) => Reply(403, None, why),
    };
    let endpoint = Endpoint::start(judged).await;
    let folder = TempDir::new().expect("a temporary folder");
    let secret = write(&folder, "secret", "canary/key");
    let keys = format!(
        "sigv4: {{region: eu-west-1, access_key: AKID, secret_key_file: {secret}}}, headers: {{X-Scope: a  b}}"
    );
    for path in ["/workspaces/ws-1/api/v1/remote_write", "/", "/w?b=2&a=1"] {
        let sender = Sender::new(&endpoint.url(path), &keys);
        for body in ["", "a body"] {
            let answer = sender.try_send(body).await.expect("an answer");
            assert_eq!(answer.status, 204, "{path}: {}", answer.text);
        }
    }
    write(&folder, "secret", "canary/another");
    let sender = Sender::new(&endpoint.url("/w"), &keys);
    assert_eq!(
        sender.send("").await,
        403,
        "the key is read again, and the check checks"
    );
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
async fn redirects_repeat_the_request_and_take_no_login_to_another_host() {
    let other = Endpoint::start(|_| Reply::status(204)).await;
    let there = other.url("/there");
    let receiver = Endpoint::start(move |asked| match asked.uri.path() {
        "/away" => Reply(307, Some(there.clone()), String::new()),
        "/here" => Reply(308, Some("/end".to_owned()), String::new()),
        "/end" => Reply::status(204),
        "/round" => Reply(307, Some("/round".to_owned()), String::new()),
        "/get" => Reply(302, Some("/end".to_owned()), String::new()),
        "/odd" => Reply(307, Some("file:///etc/passwd".to_owned()), String::new()),
        path => panic!("{path}"),
    })
    .await;
    let keys = "authorization: {credentials: canary}, headers: {X-Api-Key: canary}";
    let to = |path: &str, more: &str| Sender::new(&receiver.url(path), &format!("{keys}{more}"));

    assert_eq!(to("/here", "").send("body").await, 204);
    let end = receiver.last();
    assert_eq!((end.method.as_str(), &*end.body), ("POST", &b"body"[..]));
    assert_eq!(
        (end.header("authorization"), end.header("x-api-key")),
        ("Bearer canary", "canary")
    );

    assert_eq!(to("/away", "").send("body").await, 204);
    let end = other.last();
    assert_eq!((end.method.as_str(), &*end.body), ("POST", &b"body"[..]));
    assert_eq!(end.header("content-type"), "application/x-protobuf");
    assert!(!format!("{:?}", end.headers).contains("canary"), "{end:?}");

    let before = receiver.asked().len();
    assert_eq!(to("/round", "").send("").await, 307);
    assert_eq!(receiver.asked().len() - before, 11);
    for (path, more, status) in [
        ("/get", "", 302),
        ("/odd", "", 307),
        ("/here", ", follow_redirects: false", 308),
    ] {
        assert_eq!(to(path, more).send("").await, status, "{path}");
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
    // In the configuration itself.
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
        // The endpoint behind speaks the old version only, which does not matter here.
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

    // Another authority, too: nothing of the old is good any more.
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

/// Prometheus 3 that lets in who has a certificate and a password.
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

    /// Certificates, and the password of a user; it reads both at each connection or request.
    fn write(folder: &Path, password: usize) {
        certificates::write(folder);
        let web = format!(
            "tls_server_config: {{cert_file: server.pem, key_file: server.key, client_auth_type: \
             RequireAndVerifyClientCert, client_ca_file: ca.pem}}\nbasic_auth_users: {{ann: {}}}\n",
            HASHES[password]
        );
        std::fs::write(folder.join("web.yml"), web).expect("writable");
    }

    /// Waits until it has stored so much of an expression.
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
    // Until then the old connection goes on, which Prometheus does not end.
    wait_for("the certificates to be read again", 20, async || {
        let log = celeriac.process.output();
        if log.contains("certificates have changed on disk, new connections use them") {
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

/// Endpoints that fail in every way, and a configuration with a secret in every place.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one configuration")]
async fn no_secret_is_told_whatever_fails() {
    let redis = Redis::start().await;
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let file = write(&folder, "secret", "canary-in-a-file-of-secrets\n");
    // It repeats all that it was told.
    let echo = |asked: &_| Reply(401, None, format!("{asked:?}"));
    let echo = Endpoint::start(echo).await;
    let nonsense =
        Endpoint::start(|_| Reply(200, None, "canary-token-in-nonsense".to_owned())).await;
    let tokens = TokenServer::start("canary-client-secret").await;
    let proxy = Proxy::start("bob:right").await;
    let front = tls::front(folder.path(), echo.address).await;
    let closed = free_port();
    let (to, path) = (echo.url("/w"), folder.path().display());
    let token_url = tokens.endpoint.url("/token");
    let by_token =
        "client_id: 'celeriac:1', scopes: [read, write], endpoint_params: {audience: 'a&b'}";
    let mut sinks = vec![
        format!("url: 'http://ann:canary-in-the-url@{}/w'", echo.address),
        format!("url: '{to}', basic_auth: {{username: ann, password: canary-of-basic-auth}}"),
        format!(
            "url: 'http://127.0.0.1:{closed}/w', basic_auth: {{username: ann, password_file: {file}}}"
        ),
        format!("url: '{to}', authorization: {{credentials: canary-bearer}}"),
        format!("url: '{to}', authorization: {{credentials_file: {file}}}"),
        format!(
            "url: 'https://localhost:{front}/w', authorization: {{credentials: canary-bearer}}"
        ),
        format!(
            "url: 'https://ann:canary-in-the-url@localhost:{front}/w', tls_config: {{ca_file: {path}/ca.pem}}"
        ),
        format!(
            "url: '{to}', oauth2: {{{by_token}, client_secret: canary-client-secret, token_url: '{token_url}'}}"
        ),
        format!(
            "url: '{to}', oauth2: {{{by_token}, client_secret: canary-wrong, token_url: '{token_url}'}}"
        ),
        format!(
            "url: '{to}', oauth2: {{{by_token}, client_secret_file: {file}, token_url: '{token_url}'}}"
        ),
        format!(
            "url: '{to}', oauth2: {{client_id: a, client_secret: canary, token_url: '{}', endpoint_params: {{key: canary}}}}",
            nonsense.url("/t")
        ),
        format!(
            "url: '{to}', oauth2: {{client_id: a, client_secret: canary, token_url: 'http://127.0.0.1:{closed}/t'}}"
        ),
        format!("url: '{to}', headers: {{X-Api-Key: canary-of-a-header}}"),
        format!(
            "url: '{to}', http_headers: {{X-Api-Key: {{secrets: [canary-of-a-header], files: [{file}]}}}}"
        ),
        format!(
            "url: '{to}', proxy_url: 'http://bob:canary-of-the-proxy@{}'",
            proxy.address
        ),
        format!(
            "url: 'https://localhost:{front}/w', proxy_url: 'http://bob:canary-of-the-proxy@{}'",
            proxy.address
        ),
    ];
    if cfg!(feature = "sigv4") {
        sinks.push(format!(
            "url: '{to}', sigv4: {{region: a, access_key: canary-access-key, secret_key: canary-secret-key}}"
        ));
    }
    let sinks: Vec<String> = sinks
        .iter()
        .enumerate()
        .map(|(n, keys)| format!("- {{name: sink{n}, {keys}}}\n"))
        .collect();
    let broker = redis
        .url(0)
        .replace("redis://", "redis://ann:canary-of-the-broker@");
    let text = format!(
        "global: {{interval: 1s}}\nbrokers:\n- {{name: redis, url: '{broker}'}}\n\
         - {{name: rabbit, url: 'amqp://ann:canary-of-the-broker@127.0.0.1:{closed}//'}}\nremote_write:\n{}",
        sinks.concat()
    );
    let told = |what: &str, text: &str| assert!(!text.contains("canary"), "{what}: {text}");

    let config = config(&text);
    told("Config", &format!("{config:#?}"));
    for sink in &config.remote_write {
        let client = Client::new(&sink.client).expect("a client");
        told("Client", &format!("{client:?}"));
    }
    let yaml = write(&folder, "celeriac.yaml", &text);
    let shown = Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .args(["check-config", "--print", &yaml])
        .output()
        .expect("it starts");
    assert!(shown.status.success());
    told(
        "check-config",
        &String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()),
    );

    let level = [("RUST_LOG", "debug,celeriac=trace")];
    let celeriac = Celeriac::start_with(&text, &level).await;
    let names = (0..sinks.len()).map(|n| format!("sink{n}: "));
    let names: Vec<String> = names
        .chain(["redis: ".to_owned(), "rabbit: ".to_owned()])
        .collect();
    let reasons = wait_for("a reason of each", 30, async || {
        let (_, reasons) = celeriac.get("/-/ready").await;
        let told = names.iter().all(|name| reasons.contains(name));
        if told && !reasons.contains(" yet") {
            Ok(reasons)
        } else {
            Err(reasons)
        }
    })
    .await;
    told("/-/ready", &reasons);
    let (_, page) = celeriac.get("/metrics").await;
    told("/metrics", &page);
    let log = celeriac.process.output();
    assert!(
        log.contains("<secret>"),
        "an endpoint repeated something: {log}"
    );
    told("the log", &log);
}
