//! No secret is exposed, in whatever way a login fails.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use celeriac::sink::client::Client;
use tempfile::TempDir;

use super::logins::{config, write};
use super::support::celeriac::Celeriac;
use super::support::endpoint::{Endpoint, Reply, TokenServer};
use super::support::forward_proxy::Proxy;
use super::support::redis::Redis;
use super::support::{certificates, free_port, tls, wait_for};

/// Endpoints that fail in every way, and a configuration with a secret in every place.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one configuration")]
async fn no_secret_is_told_whatever_fails() {
    let redis = Redis::start().await;
    let folder = TempDir::new().expect("a temporary folder");
    certificates::write(folder.path());
    let file = write(&folder, "secret", "canary-in-a-file-of-secrets\n");
    // It repeats everything it receives.
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
        // Here the proxy repeats everything.
        format!(
            "url: 'http://127.0.0.1:{closed}/w', proxy_url: 'http://bob:canary-of-the-proxy@{}'",
            echo.address
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
    let encoded = STANDARD.encode("bob:canary-of-the-proxy");
    let told = |what: &str, text: &str| {
        assert!(
            !text.contains("canary") && !text.contains(&encoded),
            "{what}: {text}"
        );
    };

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

/// Longer than the part of an unknown command that Redis repeats.
const LONG: &str = "canary-0123456789abcdef-0123456789abcdef-0123456789abcdef-0123456789abcdef-0123456789abcdef-\
                    0123456789abcdef-0123456789abcdef-0123456789abcdef";

/// The beginning of a secret, which is not part of any other word.
const PART: &str = "canary";

#[tokio::test(flavor = "multi_thread")]
async fn half_a_secret_is_not_told_wherever_an_answer_is_cut() {
    // The lengths at which a token endpoint's error, and a receiver's in `doctor`, are cut; and a response cut by the
    // receiver itself.
    let filled = |to: usize, text: &str| format!("{}{text}{}", "_".repeat(to), "x".repeat(2_000));
    let answers = [
        filled(500, LONG),
        filled((16 << 10) - 12, LONG),
        format!("HTTP 401 for Bearer {}", &LONG[..40]),
    ];
    let redis = Redis::start_with(&["--rename-command", "AUTH", ""]).await;
    let broker = redis
        .url(0)
        .replace("redis://", &format!("redis://ann:{LONG}@"));
    let endpoints =
        answers.map(|answer| Endpoint::start(move |_| Reply(401, None, answer.clone())));
    let endpoints = futures_util::future::join_all(endpoints).await;
    let sinks = endpoints.iter().enumerate().map(|(n, endpoint)| {
        let (url, token_url) = (endpoint.url("/w"), endpoint.url("/t"));
        format!(
            "- {{name: bearer{n}, url: '{url}', authorization: {{credentials: {LONG}}}}}\n\
             - {{name: token{n}, url: '{url}', oauth2: {{client_id: a, client_secret: {LONG}, token_url: '{token_url}'}}}}\n"
        )
    });
    // Some receivers expect their key in the URL, and repeat it.
    let echo = |asked: &_| Reply(401, None, format!("no such path: {asked:?}"));
    let echo = Endpoint::start(echo).await;
    let by_query = format!("- {{name: query, url: '{}?key={LONG}'}}\n", echo.url("/w"));
    let sinks: String = sinks.chain([by_query]).collect();
    let text = format!("brokers: [{{name: redis, url: '{broker}'}}]\nremote_write:\n{sinks}");
    let celeriac = Celeriac::start(&text).await;
    let reasons = wait_for("a reason of each", 30, async || {
        let (_, reasons) = celeriac.get("/-/ready").await;
        if reasons.contains(" yet") {
            Err(reasons)
        } else {
            Ok(reasons)
        }
    })
    .await;
    let said = Celeriac::doctor(&format!("{text}http: {{listen: '127.0.0.1:0'}}\n")).await;
    let log = celeriac.process.output();
    for (what, text) in [("/-/ready", &reasons), ("the log", &log), ("doctor", &said)] {
        assert!(
            text.contains("<secret>"),
            "something was repeated: {what}: {text}"
        );
        assert!(!text.contains(PART), "{what}: {text}");
    }
    assert!(
        log.contains("unknown command 'AUTH'"),
        "Redis repeats the password: {log}"
    );
}
