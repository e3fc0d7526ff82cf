//! Every way to log in, against strict endpoints.

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode};
use celeriac::config::Config;
use celeriac::sink::client::{Answer, Client, Request, SendError};
use tempfile::TempDir;
use url::Url;

use super::support::celeriac::Celeriac;
use super::support::endpoint::{Endpoint, Reply, TokenServer};
use super::support::redis::Redis;
use super::support::{wait_for, wait_within};
use strict_receiver::Receiver;

/// A sink's HTTP client as configured, and its URL.
pub(super) struct Sender {
    client: Client,
    url: Url,
}

impl Sender {
    pub(super) fn new(url: &str, keys: &str) -> Self {
        let config = config(&format!(
            "brokers: [{{url: 'redis://h'}}]\nremote_write: [{{url: '{url}', {keys}}}]\n"
        ));
        let sink = &config.remote_write[0];
        let client = Client::new(&sink.client).expect("a client");
        let url = sink.url.clone();
        Self { client, url }
    }

    pub(super) async fn try_send(&self, body: &'static str) -> Result<Answer, SendError> {
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

    /// Returns the status of the response.
    pub(super) async fn send(&self, body: &'static str) -> StatusCode {
        let answer = self.try_send(body).await;
        answer.unwrap_or_else(|error| panic!("{error}")).status
    }
}

pub(super) fn config(text: &str) -> Config {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("celeriac.yaml");
    std::fs::write(&file, text).expect("a writable folder");
    Config::load(&file).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn write(folder: &TempDir, file: &str, text: &str) -> String {
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
        // One at a time, because they would push the same series.
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

/// The configuration for the token endpoint, with the client secret in a file.
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

    // Concurrent requests wait for one token.
    let (a, b, c) = tokio::join!(sender.send("a"), sender.send("b"), sender.send("c"));
    assert_eq!([a, b, c], [204, 204, 204]);
    assert_eq!(server.issued(), 1);

    // The same body is sent again with another token.
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

    // A token is stale ten seconds before it expires.
    server.change(|rules| rules.expires_in = Some(11));
    server.revoke();
    assert_eq!(sender.send("").await, 204);
    assert_eq!(sender.send("").await, 204);
    assert_eq!(server.issued(), 3);
    wait_within(5, "the token to be stale", async || {
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

    // Without an expiry it is used until it is rejected, and a new secret needs a new token.
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
    // Basic auth is tried once, and then the style that was accepted.
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

    // Both styles are tried, once for all waiting requests.
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
