//! Access to the pages: TLS, client certificates, users and tokens, with Prometheus and with clients that lack them.

use std::io::Read;
use std::path::Path;

use celeriac::config::TlsConfig;
use celeriac::secret::Secret;
use celeriac::tls::client_config;
use tempfile::TempDir;

use super::support::celeriac::Celeriac;
use super::support::certificates;
use super::support::prometheus::{Options, Prometheus, Release};
use super::support::redis::Redis;
use super::support::wait_for;

/// "hunter2", as the system's crypt(3) hashes it, in the form that `htpasswd -B` prints.
const HASH: &str = "$2y$10$abcdefghijklmnopqrstuu7gIUFBKrYXdzQy8HrouzMJyZ4cijAb2";

/// A daemon with TLS and logins, and the files that they come from.
struct Guarded {
    celeriac: Celeriac,
    folder: TempDir,
    #[expect(dead_code, reason = "stopped when dropped")]
    redis: Redis,
}

/// The credentials of a client.
#[derive(Clone, Copy, Debug)]
enum Login {
    None,
    User(&'static str, &'static str),
    Token(&'static str),
}

impl Guarded {
    async fn start(mutual: bool) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        certificates::write(folder.path());
        std::fs::write(folder.path().join("token"), "let-me-in\n").expect("a writable folder");
        let redis = Redis::start().await;
        let path = folder.path().display();
        let clients = if mutual {
            format!(", client_ca_file: {path}/ca.pem")
        } else {
            String::new()
        };
        let config = format!(
            "brokers: [{{url: {:?}}}]\nhttp:\n  listen: \"{{listen}}\"\n  tls: {{cert_file: {path}/server.pem, key_file: {path}/server.key{clients}}}\n  basic_auth_users: {{prometheus: '{HASH}'}}\n  bearer_token_file: {path}/token\n",
            redis.url(0)
        );
        let celeriac = Celeriac::start(&config).await;
        Self {
            celeriac,
            folder,
            redis,
        }
    }

    /// Returns a client that trusts the current CA, with or without a certificate.
    fn client(&self, certificate: bool) -> reqwest::Client {
        let file = |name: &str| self.folder.path().join(name);
        let tls = TlsConfig {
            ca: Some(Secret::File(file("ca.pem"))),
            identity: certificate.then(|| {
                (
                    Secret::File(file("client.pem")),
                    Secret::File(file("client.key")),
                )
            }),
            ..TlsConfig::default()
        };
        let tls = client_config(&tls).expect("TLS");
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
        client.build().expect("a client")
    }

    /// Returns the status of the response and its challenge, or an error if there is no connection.
    async fn ask(
        &self,
        client: &reqwest::Client,
        path: &str,
        login: Login,
    ) -> Result<(u16, Vec<String>), reqwest::Error> {
        let url = format!("https://localhost:{}{path}", self.celeriac.port);
        let asked = client.get(url);
        let asked = match login {
            Login::None => asked,
            Login::User(name, password) => asked.basic_auth(name, Some(password)),
            Login::Token(token) => asked.bearer_auth(token),
        };
        let answer = asked.send().await?;
        let challenges = answer.headers().get_all("www-authenticate").iter();
        let challenges = challenges.map(|challenge| challenge.to_str().expect("a text").to_owned());
        Ok((answer.status().as_u16(), challenges.collect()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_wants_a_login_and_either_will_do() {
    let guarded = Guarded::start(false).await;
    let client = guarded.client(false);
    let cases = [
        (Login::None, false),
        (Login::User("prometheus", "hunter3"), false),
        (Login::User("nobody", "hunter2"), false),
        (Login::User("prometheus", "hunter2"), true),
        (Login::User("prometheus", "hunter2"), true),
        (Login::User("prometheus", "hunter3"), false),
        (Login::Token("let-me-out"), false),
        (Login::Token("let-me-in"), true),
    ];
    for path in ["/metrics", "/-/healthy", "/-/ready", "/nothing"] {
        for (login, allowed) in cases {
            let (status, challenges) = guarded
                .ask(&client, path, login)
                .await
                .expect("a connection");
            assert_eq!(status != 401, allowed, "{path} {login:?}: {status}");
            assert_eq!(
                challenges.len(),
                if allowed { 0 } else { 2 },
                "{challenges:?}"
            );
        }
    }
    std::fs::write(guarded.folder.path().join("token"), "another").expect("a writable folder");
    for (token, status) in [("let-me-in", 401), ("another", 200)] {
        let answer = guarded.ask(&client, "/metrics", Login::Token(token)).await;
        assert_eq!(answer.expect("a connection").0, status, "{token}");
    }
    let plain = format!("http://localhost:{}/metrics", guarded.celeriac.port);
    assert!(
        reqwest::get(plain).await.is_err(),
        "no plain HTTP beside TLS"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_comes_in_with_what_it_was_given_and_not_without() {
    let guarded = Guarded::start(true).await;
    let path = guarded.folder.path().display();
    let certificate = format!(", cert_file: {path}/client.pem, key_file: {path}/client.key");
    let basic = |password| format!("basic_auth: {{username: prometheus, password: {password}}}");
    let bearer = "authorization: {credentials: let-me-in}".to_owned();
    let jobs = [
        ("basic", basic("hunter2"), certificate.as_str()),
        ("bearer", bearer.clone(), &certificate),
        ("wrong", basic("hunter3"), &certificate),
        ("nothing", "honor_labels: false".to_owned(), &certificate),
        ("stranger", bearer, ""),
    ];
    let jobs = jobs.map(|(name, login, certificate)| {
        format!(
            "  - job_name: {name}\n    scheme: https\n    {login}\n    tls_config: {{ca_file: {path}/ca.pem, server_name: localhost{certificate}}}\n    static_configs: [{{targets: [\"127.0.0.1:{}\"]}}]\n",
            guarded.celeriac.port
        )
    });
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n{}",
        jobs.concat()
    );
    for release in [Release::Two, Release::Three] {
        let prometheus = Prometheus::start_with(Options::scraping(release, &config, "")).await;
        prometheus.has("count(up)", 5.0).await;
        prometheus.has("sum(up{job=~\"basic|bearer\"})", 2.0).await;
        prometheus.has("count(celeriac_samples > 0)", 2.0).await;
        let targets = prometheus.api("targets", &[]).await;
        for target in targets["activeTargets"].as_array().expect("targets") {
            let error = target["lastError"].as_str().expect("a text");
            let expected = match target["labels"]["job"].as_str().expect("a job") {
                "basic" | "bearer" => "",
                "wrong" | "nothing" => "401",
                _ => "certificate required",
            };
            assert!(
                error.contains(expected) && error.is_empty() == expected.is_empty(),
                "{release:?}: {target}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_connection_where_certificates_are_asked_for() {
    let guarded = Guarded::start(true).await;
    let login = Login::Token("let-me-in");
    let answer = guarded.ask(&guarded.client(true), "/metrics", login).await;
    assert_eq!(answer.expect("a connection").0, 200);
    let answer = guarded.ask(&guarded.client(false), "/metrics", login).await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_served_without_a_restart() {
    let guarded = Guarded::start(true).await;
    let login = Login::Token("let-me-in");
    let old = guarded.client(true);
    assert_eq!(
        guarded
            .ask(&old, "/metrics", login)
            .await
            .expect("a connection")
            .0,
        200
    );

    // A new CA, which neither side knows yet.
    certificates::write(guarded.folder.path());
    wait_for("the new certificates", 20, async || {
        let answer = guarded.ask(&guarded.client(true), "/metrics", login).await;
        match answer {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}\n{}", guarded.celeriac.process.output())),
        }
    })
    .await;

    // An invalid key changes nothing and is reported.
    std::fs::write(guarded.folder.path().join("server.key"), "half a").expect("writable");
    let told = "reloading the listener's certificates failed; keeping the old ones";
    wait_for("a warning", 20, async || {
        let answer = guarded.ask(&guarded.client(true), "/metrics", login).await;
        assert_eq!(answer.expect("a connection").0, 200);
        let log = guarded.celeriac.process.output();
        if log.contains(told) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_and_says_nothing_holds_up_nobody_and_is_hung_up_on() {
    let guarded = Guarded::start(false).await;
    let port = guarded.celeriac.port;
    let silent: Vec<_> = (0..100)
        .map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection"))
        .collect();
    let answer = guarded
        .ask(
            &guarded.client(false),
            "/metrics",
            Login::Token("let-me-in"),
        )
        .await;
    assert_eq!(answer.expect("a connection").0, 200);
    let hung_up = tokio::task::spawn_blocking(move || {
        silent.into_iter().all(|mut silent| {
            let timeout = Some(std::time::Duration::from_secs(30));
            silent.set_read_timeout(timeout).expect("a socket");
            // No data arrives before the connection is closed.
            matches!(silent.read(&mut [0]), Ok(0))
        })
    });
    assert!(hung_up.await.expect("it ends"));
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_silent_connections_hold_up_no_scrape_over_tls() {
    let guarded = Guarded::start(false).await;
    let port = guarded.celeriac.port;
    let _silent: Vec<_> = (0..600)
        .map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection"))
        .collect();
    for _ in 0..10 {
        let started = std::time::Instant::now();
        let client = guarded.client(false);
        let answer = guarded
            .ask(&client, "/metrics", Login::Token("let-me-in"))
            .await;
        assert_eq!(answer.expect("a connection").0, 200);
        let took = started.elapsed();
        assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    }
    // Connections without a handshake are closed, and both limits are counted.
    wait_for("limits to be counted", 20, async || {
        let client = guarded.client(false);
        let url = format!("https://localhost:{port}/metrics");
        let asked = client.get(url).bearer_auth("let-me-in").send().await;
        let page = asked.expect("a connection").text().await.expect("a page");
        let limited = |limit: &str| {
            let name = format!("celeriac_http_limited_total{{limit=\"{limit}\"}} ");
            let value = page.lines().find_map(|line| line.strip_prefix(&name));
            value.and_then(|value| value.parse::<f64>().ok())
        };
        let (places, handshakes) = (limited("connections"), limited("handshake"));
        if places > Some(300.0) && handshakes > Some(100.0) {
            Ok(())
        } else {
            Err(format!("{places:?} {handshakes:?}"))
        }
    })
    .await;
}

#[test]
fn certificates_that_cannot_be_used_end_the_start() {
    let folder = TempDir::new().expect("a temporary folder");
    let config = |folder: &Path| {
        let path = folder.display();
        format!(
            "brokers: [{{url: redis://h}}]\nhttp: {{listen: '127.0.0.1:0', tls: {{cert_file: {path}/server.pem, key_file: {path}/server.key}}}}\n"
        )
    };
    let file = folder.path().join("celeriac.yaml");
    std::fs::write(&file, config(folder.path())).expect("a writable folder");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .args(["run", "--config"])
        .arg(&file)
        .output()
        .expect("it starts");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("cannot listen with TLS") && log.contains("server.pem"),
        "{log}"
    );
}
